"""The publisher of ``pika.Connection``: confirms that are waited for by threads, or not at all."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Callable

from pika import exceptions, protocol, spec
from pika._arguments import require_callable
from pika.client import confirming
from pika.client.confirming import Body
from pika.client.session import REPLY_TIMEOUT
from pika.client.threaded_link import Link
from pika.client.threaded_waiting import Gate

#: So many threads are woken at a time of those that wait for room.
_WOKEN_TOGETHER = 32


class Confirmation(confirming.BaseConfirmation):
    """What becomes of a published message; :meth:`Publisher.publish` returns it.

    It ends in exactly one way: the broker took the message; it refused it (:class:`~pika.exceptions.NackError`); no
    queue took it and it came back, if it was mandatory (:class:`~pika.exceptions.UnroutableError`); or the channel or
    the connection ended before the broker said (:class:`~pika.exceptions.PublishOutcomeUnknown`).
    """

    __slots__ = ("_publisher",)

    _publisher: Publisher

    def result(self, timeout: float | None = None) -> None:
        """Wait for its end, and raise unless the broker took the message.

        :param timeout: seconds; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :raises pika.exceptions.NackError: when the broker refused it
        :raises pika.exceptions.UnroutableError: when no queue took it; ``messages`` has what came back
        :raises pika.exceptions.PublishOutcomeUnknown: when the channel or the connection ended before
        :raises pika.exceptions.AMQPTimeoutError: when it has not ended in time
        :raises pika.exceptions.ReentrancyError: in a signal handler that interrupts a call of the same connection
        """
        error = self.exception(timeout)
        if error is not None:
            raise error

    def exception(self, timeout: float | None = None) -> exceptions.AMQPError | None:
        """Wait for its end, and return what :meth:`result` raises over it; None when the broker took the message.

        :param timeout: seconds; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :raises pika.exceptions.AMQPTimeoutError: when it has not ended in time
        :raises pika.exceptions.ReentrancyError: in a signal handler that interrupts a call of the same connection
        """
        if self.outcome is None:
            link = self._publisher._link
            link.require_patience("a confirmation's result()")
            gate = Gate()
            with link.lock:
                self._watch(gate)
            try:
                link.wait(gate, "the publisher confirm", timeout)
            except BaseException:
                with link.lock:
                    self._look_away(gate)
                raise
        elif self._watchers is None:
            self._watchers = []
        return confirming.gather([self], self._publisher._where)

    def _look_away(self, gate: Gate) -> None:
        """Have it count as what nobody has looked at, unless others do: who waited has given up."""
        self._watchers = [one for one in self._watchers or () if one is not gate] or None
        if self._watchers is None and self.outcome not in (None, protocol.Outcome.ACKED):
            self._publisher._note_failure(self)

    def add_done_callback(self, callback: Callable[[Confirmation], object]) -> None:
        """Have a function called when it ends, or soon if it has.

        :param callback: called as ``callback(confirmation)``, in the connection's callback thread
        :raises TypeError: when it cannot be called
        """
        require_callable(callback)
        link = self._publisher._link
        with link.lock:
            if self.outcome is None:
                self._watch(callback)
            else:
                self._watchers = self._watchers or []
                link.callbacks.call(callback, self)

    def _watch(self, watcher: Gate | Callable[[Confirmation], object]) -> None:
        if self._watchers is None:
            self._watchers = []
        if self.outcome is not None and isinstance(watcher, Gate):
            watcher.open()
        else:
            self._watchers.append(watcher)


def _deadline(timeout: float | None) -> float:
    return time.monotonic() + (REPLY_TIMEOUT if timeout is None else timeout)


class Publisher(confirming.Window[Confirmation]):
    """Publishes with confirms; :meth:`pika.client.Channel.publisher` makes it. Threads may share it.

    Leaving its ``with`` block waits for all confirmations, and raises what nobody has looked at.

    :param link: the connection
    :param rules: the channel, in confirm mode
    :param max_in_flight: how many messages may be unconfirmed
    :param mandatory: whether messages come back that reach no queue
    """

    def __init__(self, link: Link, rules: protocol.Channel, max_in_flight: int, mandatory: bool) -> None:
        super().__init__(max_in_flight, f"{link.peer}; channel {rules.number}")
        self._link = link
        self._rules = rules
        self._mandatory = mandatory
        # Who waits for room, in the order of coming, and who waits for the end of all.
        self._for_room: deque[Gate] = deque()
        self._for_end: deque[Gate] = deque()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.wait()

    @property
    def in_flight(self) -> int:
        """How many are under way."""
        # What has an outcome may still be counted while the thread that has read it is at work.
        with self._link.lock:
            return len(self._flight)

    def publish(
        self,
        body: Body,
        exchange: str = "",
        routing_key: str = "",
        properties: spec.BasicProperties | None = None,
        timeout: float | None = None,
    ) -> Confirmation:
        """Publish a message; waits only for room: while `max_in_flight` are unconfirmed, or the network is full.

        :param body: the body; a str is encoded as UTF-8
        :param exchange: the exchange; empty is the default exchange, which routes to the queue that `routing_key` names
        :param routing_key: what the exchange routes it by
        :param properties: its properties; None is none at all
        :param timeout: seconds to wait for room; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :returns: what becomes of it
        :raises pika.exceptions.AMQPTimeoutError: when there is no room in time; it was not published
        :raises pika.exceptions.ReentrancyError: when it would have to wait for confirms in a signal handler that
            interrupts a call of the same connection; it was not published
        :raises pika.exceptions.ChannelWrongStateError: when the channel is closed
        """
        if type(body) is not bytes:
            body = confirming.body_of(body, exchange, routing_key)
        link = self._link
        confirmation = Confirmation()
        confirmation._content = (exchange, routing_key, properties, body)
        confirmation._watchers = None
        confirmation._publisher = self
        confirmation.on_done = self._on_done  # type: ignore[assignment]  # it is called with its own
        deadline: float | None = None
        if link.congested:
            deadline = _deadline(timeout)
            link.await_room(timeout)
        while True:
            # As Sending says.
            try:
                with link.lock:
                    try:
                        if len(self._flight) < self.limit:
                            self._flight.add(confirmation)
                            self._rules.basic_publish(
                                exchange, routing_key, body, properties, self._mandatory, confirmation
                            )
                            link.flush()
                            return confirmation
                        self._rules.require_open()
                    except BaseException as error:
                        self._uncount(confirmation)
                        link.cut_short(error)
                        raise
            except BaseException:
                link.let_go()
                self._pass_on()
                raise
            if deadline is None:
                deadline = _deadline(timeout)
            self._await(self._for_room, lambda: self.in_flight < self.limit, "room for a message", deadline)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until no message is unconfirmed, and raise what nobody has looked at.

        :param timeout: seconds; None for :data:`pika.client.session.REPLY_TIMEOUT`
        :raises pika.exceptions.NackError: when the broker refused messages
        :raises pika.exceptions.UnroutableError: when no queue took messages
        :raises pika.exceptions.PublishOutcomeUnknown: when the channel or the connection ended before it had said
        :raises pika.exceptions.AMQPTimeoutError: when messages are unconfirmed when the time is over
        :raises pika.exceptions.ReentrancyError: in a signal handler that interrupts a call of the same connection
        """
        self._await_all(timeout)
        with self._link.lock:
            error = self._take_failure()
        if error is not None:
            raise error

    def _uncount(self, confirmation: Confirmation) -> None:
        # What was cut short behind the books of the channel is settled with it, and counted there.
        if confirmation.outcome is None and not confirmation.delivery_tag:
            # It may wait its turn, and be settled all the same.
            confirmation.on_done = None
            self._land(confirmation)

    def _await_all(self, timeout: float | None) -> None:
        self._await(self._for_end, lambda: not self.in_flight, "confirming all messages", _deadline(timeout))

    def _await(self, gates: deque[Gate], done: Callable[[], bool], what: str, deadline: float) -> None:
        link = self._link
        link.require_patience(what)
        while True:
            gate = Gate()
            with link.lock:
                if done():
                    return
                gates.append(gate)
                self._set_threshold()
            try:
                link.wait(gate, what, max(deadline - time.monotonic(), 0))
            except BaseException:
                with contextlib.suppress(ValueError), link.lock:
                    gates.remove(gate)
                self._pass_on()
                raise

    def _set_threshold(self) -> None:
        self._threshold = self._roomy if self._for_room else 0 if self._for_end else -1

    def _wake(self) -> None:
        waiting = self._for_room
        # Some at a time, which publish more than one each: many more would only take the interpreter from each other.
        # Each message that one of them publishes wakes others when it is confirmed.
        count = min(self.limit - self.in_flight, _WOKEN_TOGETHER)
        if self._rules.state is not protocol.ChannelState.OPEN:
            count = len(waiting)
        for _ in range(min(count, len(waiting))):
            waiting.popleft().open()
        if not self.in_flight:
            while self._for_end:
                self._for_end.popleft().open()
        self._set_threshold()

    def _pass_on(self) -> None:
        """Wake somebody else in place of one who was woken and does not publish."""
        with self._link.lock:
            self._wake()

    def _report(self, confirmation: Confirmation) -> None:
        watchers, confirmation._watchers = confirmation._watchers, []
        for watcher in watchers or ():
            if isinstance(watcher, Gate):
                watcher.open()
            else:
                self._link.callbacks.call(watcher, confirmation)
