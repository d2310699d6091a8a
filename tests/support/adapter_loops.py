"""The loops that asynchronous adapters are tested on, seen alike."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging
from typing import Any, Callable

import pytest

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.base_connection import BaseConnection
from pika.adapters.select_connection import IOLoop
from tests.support.bounded import PATIENCE, side_by_side


class _Select:
    """pika's own loop. What callbacks raise leaves it."""

    def __init__(self) -> None:
        self.adapter: type[BaseConnection] = pika.SelectConnection

    def make(self) -> Any:
        return IOLoop()

    def collect(self, native: Any, raised: list[BaseException]) -> Callable[[], object]:
        """Put what callbacks raise into a list; returns what ends that."""
        return lambda: None

    def start(self, native: Any) -> None:
        native.start()

    def cancel(self, native: Any, timer: Any) -> None:
        native.remove_timeout(timer)

    def leftovers(self, native: Any) -> str:
        text = repr(native)
        return "" if "0 descriptors, 0 timers, 0 callbacks" in text else text


class _Asyncio(_Select):
    """asyncio's. What callbacks raise goes to its exception handler."""

    def __init__(self) -> None:
        self.adapter = AsyncioConnection

    def make(self) -> Any:
        return asyncio.new_event_loop()

    def collect(self, native: Any, raised: list[BaseException]) -> Callable[[], object]:
        native.set_exception_handler(lambda _loop, context: raised.append(context["exception"]))
        return lambda: None

    def start(self, native: Any) -> None:
        native.run_forever()

    def cancel(self, native: Any, timer: Any) -> None:
        timer.cancel()

    def leftovers(self, native: Any) -> str:
        # Its own waker is watched, too.
        return self._counted(len(native._selector.get_map()) - 1, native)

    @staticmethod
    def _counted(watched: int, native: Any) -> str:
        timers = [handle for handle in native._scheduled if not handle.cancelled()]
        return f"{watched} descriptors, {timers}" if watched or timers else ""


class _Tornado(_Select):
    """Tornado's, which is on asyncio. What callbacks raise goes to the exception handler there, or to Tornado's log."""

    def __init__(self) -> None:
        pytest.importorskip("tornado", reason="no Tornado for this interpreter")
        from pika.adapters.tornado_connection import TornadoConnection

        self.adapter = TornadoConnection

    def make(self) -> Any:
        import tornado.ioloop

        return tornado.ioloop.IOLoop(make_current=False)

    def collect(self, native: Any, raised: list[BaseException]) -> Callable[[], object]:
        class Collector(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.exc_info and record.exc_info[1]:
                    raised.append(record.exc_info[1])

        native.asyncio_loop.set_exception_handler(lambda _loop, context: raised.append(context["exception"]))
        log, handler = logging.getLogger("tornado.application"), Collector()
        log.addHandler(handler)
        return lambda: log.removeHandler(handler)

    def leftovers(self, native: Any) -> str:
        return _Asyncio._counted(len(native.handlers), native.asyncio_loop)


class _Gevent(_Select):
    """gevent's hub. What callbacks raise goes to its error handler."""

    def __init__(self) -> None:
        require("gevent")
        from pika.adapters.gevent_connection import GeventConnection

        self.adapter = GeventConnection

    def make(self) -> Any:
        make: Any = self.adapter
        return make(internal_connection_workflow=False).ioloop

    def collect(self, native: Any, raised: list[BaseException]) -> Callable[[], object]:
        import gevent

        hub = gevent.get_hub()
        hub.print_exception = lambda _context, _type, value, _traceback: raised.append(value)
        return lambda: vars(hub).pop("print_exception")

    def leftovers(self, native: Any) -> str:
        text = repr(native)
        return "" if "0 descriptors, 0 timers" in text else text


_KINDS: dict[str, Callable[[], _Select]] = {
    "select": _Select,
    "asyncio": _Asyncio,
    "tornado": _Tornado,
    "gevent": _Gevent,
}
KINDS = tuple(_KINDS)


def require(kind: str) -> None:
    """Skip the test if this interpreter cannot have that kind of loop."""
    if kind == "gevent":
        pytest.importorskip("gevent", reason="no gevent for this interpreter")


class Loop:
    """A loop, which is run until something holds.

    :param kind: one of KINDS
    :param native: the loop itself; a new one if None
    """

    def __init__(self, kind: str, native: Any = None) -> None:
        self.kind = kind
        self._own = _KINDS[kind]()
        self.native: Any = self._own.make() if native is None else native
        self.adapter = self._own.adapter
        #: What callbacks of this loop's tests have to tell, in order.
        self.log: list[Any] = []
        #: What callbacks raised, where it does not leave :meth:`run`.
        self.raised: list[BaseException] = []
        self._stop_collecting = self._own.collect(self.native, self.raised)

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
            self._own.start(self.native)
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
        self._own.start(self.native)
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
        self._own.cancel(self.native, timer)

    def leftovers(self) -> str:
        """What of a connection is still there: descriptors that are watched, and timers."""
        return self._own.leftovers(self.native)

    def close(self) -> None:
        """Close the loop."""
        self._stop_collecting()
        self.native.close()


def on_each_at_once(use: Callable[[Loop], object]) -> list[str]:
    """Have a loop of each kind that this interpreter has, each in a thread of its own, all at the same time.

    :param use: what to do with it
    :returns: the kinds
    """
    kinds = [kind for kind in KINDS if importlib.util.find_spec(kind) is not None]

    def run(kind: str) -> None:
        loop = Loop(kind)
        try:
            use(loop)
        finally:
            loop.close()
            if kind == "gevent":
                import gevent

                # That of this thread, which nobody else can give back.
                gevent.get_hub().destroy(destroy_loop=True)

    side_by_side([functools.partial(run, kind) for kind in kinds])
    return kinds
