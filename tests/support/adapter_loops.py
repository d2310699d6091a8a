"""The two loops that asynchronous adapters are tested on, seen alike."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.base_connection import BaseConnection
from pika.adapters.select_connection import IOLoop

PATIENCE = 60.0
KINDS = ("select", "asyncio")


class Loop:
    """A loop, which is run until something holds.

    :param kind: ``select`` for pika's own, or ``asyncio``
    :param native: the loop itself; a new one if None
    """

    def __init__(self, kind: str, native: Any = None) -> None:
        self.kind = kind
        self.native: Any = native
        if native is None:
            self.native = IOLoop() if kind == "select" else asyncio.new_event_loop()
        self.adapter: type[BaseConnection] = pika.SelectConnection if kind == "select" else AsyncioConnection
        #: What callbacks of this loop's tests have to tell, in order.
        self.log: list[Any] = []
        #: What callbacks raised, where it does not leave :meth:`run`.
        self.raised: list[BaseException] = []
        if kind == "asyncio":
            self.native.set_exception_handler(lambda _loop, context: self.raised.append(context["exception"]))

    def connect(self, parameters: Any = None, **options: Any) -> Any:
        """Make a connection whose ends go to the log, as ``(name, exception)``."""
        connect: Any = self.adapter
        return connect(
            parameters,
            **{
                "on_open_callback": lambda connection: self.log.append("open"),
                "on_open_error_callback": lambda connection, error: self.log.append(("error", error)),
                "on_close_callback": lambda connection, error: self.log.append(("close", error)),
                "custom_ioloop": self.native,
                **options,
            },
        )

    def run(self, until: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Run until something holds.

        :raises AssertionError: it does not within some seconds
        """
        late = self.call_later(seconds, self.native.stop)
        held: list[bool] = []

        def look() -> None:
            if until():
                held.append(True)
                self.native.stop()
            else:
                looks.append(self.native.call_later(0.002, look))

        looks = [self.native.call_later(0, look)]
        try:
            (self.native.start if self.kind == "select" else self.native.run_forever)()
        finally:
            self.cancel(late)
            self.cancel(looks[-1])
        assert held, f"it never came to it; the log is {self.log}"

    def run_until_stopped(self, seconds: float = PATIENCE) -> None:
        """Run until somebody stops the loop.

        :raises AssertionError: nobody does within some seconds
        """
        late: list[bool] = []

        def give_up() -> None:
            late.append(True)
            self.native.stop()

        timer = self.call_later(seconds, give_up)
        (self.native.start if self.kind == "select" else self.native.run_forever)()
        self.cancel(timer)
        assert not late, "nobody stopped the loop"

    def run_for(self, seconds: float) -> None:
        """Run for some time."""
        over: list[bool] = []
        self.call_later(seconds, lambda: over.append(True))
        self.run(lambda: over, seconds + PATIENCE)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Any:
        """Have something called, in some seconds."""
        return self.native.call_later(seconds, callback)

    def cancel(self, timer: Any) -> None:
        """Cancel what :meth:`call_later` returned."""
        if self.kind == "select":
            self.native.remove_timeout(timer)
        else:
            timer.cancel()

    def leftovers(self) -> str:
        """What of a connection is still there: descriptors that are watched, and timers."""
        if self.kind == "select":
            text = repr(self.native)
            return "" if "0 descriptors, 0 timers, 0 callbacks" in text else text
        # Its own waker is watched, too.
        watched = len(self.native._selector.get_map()) - 1
        timers = [handle for handle in self.native._scheduled if not handle.cancelled()]
        return f"{watched} descriptors, {timers}" if watched or timers else ""

    def close(self) -> None:
        """Close the loop."""
        self.native.close()
