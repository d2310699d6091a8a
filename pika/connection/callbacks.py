"""The registry of what a connection and its channels call back, which programs and tracers reach as ``callbacks``."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Mapping
from typing import Any, Callable

from pika import frame
from pika._arguments import call_each
from pika.amqp_object import AMQPObject

LOGGER = logging.getLogger(__name__)

OnEvent = Callable[..., object]


class _Entry:
    """A callback, and when it is called."""

    __slots__ = ("arguments", "callback", "one_shot", "only_caller", "order", "uses")

    def __init__(
        self,
        order: int,
        callback: OnEvent,
        one_shot: bool,
        only_caller: object,
        arguments: Mapping[str, Any] | None,
    ) -> None:
        self.order = order
        self.callback = callback
        self.one_shot = one_shot
        self.only_caller = only_caller
        self.arguments = arguments
        self.uses = 1

    def applies(self, caller: object, values: tuple[Any, ...]) -> bool:
        """Whether it is to be called for an event."""
        if self.only_caller is not None and self.only_caller is not caller:
            return False
        return self.arguments is None or (bool(values) and _has(values[0], self.arguments))


class Callbacks:
    """What is called at which event.

    An event is a number, that of its channel or 0 for the connection's own, and a key: a method's class of
    :mod:`pika.spec`, or a name such as ``Connection.ON_CONNECTION_CLOSED``.
    """

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, list[_Entry]]] = {}
        self._order = itertools.count()

    def add(
        self,
        prefix: int | str,
        key: object,
        callback: OnEvent,
        one_shot: bool = True,
        only_caller: object = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> tuple[str, str]:
        """Have a function called at an event. One that is there already is not called twice for the same event.

        :param prefix: the channel's number; 0 for the connection
        :param key: a method's class or a name
        :param callback: called with what the event has to tell: for a method its frame
        :param one_shot: whether to call it once only, or as often as it was added
        :param only_caller: the only one whose events count; None for anybody's
        :param arguments: what the method's arguments must be for it to be called; None for whatever they are
        :returns: prefix and key, as texts
        """
        number, name = str(prefix), _name(key)
        entries = self._entries.setdefault(number, {}).setdefault(name, [])
        for entry in entries:
            if (entry.callback, entry.only_caller, entry.arguments) == (callback, only_caller, arguments):
                if entry.one_shot:
                    entry.uses += 1
                else:
                    LOGGER.warning('Duplicate callback found for "%s:%s"', number, name)
                return number, name
        entries.append(_Entry(self.next_order(), callback, one_shot, only_caller, arguments))
        return number, name

    def has(self, prefix: int, name: str) -> bool:
        """Whether an event has callbacks: asked before what they would be called with is made.

        :param prefix: the channel's number; 0 for the connection
        :param name: the method's NAME
        """
        by_name = self._entries.get(str(prefix))
        return by_name is not None and name in by_name

    def pending(self, prefix: int | str, key: object) -> int | None:
        """Return how many callbacks an event has; None when it has none.

        :param prefix: the channel's number; 0 for the connection
        :param key: a method's class or a name
        """
        return len(self._of(prefix, key)) or None

    def process(self, prefix: int | str, key: object, caller: object, *args: Any, **keywords: Any) -> bool:
        """Call what an event has, in the order of adding, also when one raises; then raise what the first one raised.

        :param prefix: the channel's number; 0 for the connection
        :param key: a method's class or a name
        :param caller: whose event it is
        :param args: what to call them with
        :param keywords: what else to call them with
        :returns: whether there was a callback
        """
        known = bool(self._of(prefix, key))
        if not known:
            return False
        due = [callback for _, callback in self.take(prefix, key, caller, *args)]
        call_each([functools.partial(callback, **keywords) for callback in due] if keywords else due, *args)
        return known

    def take(self, prefix: int | str, key: object, caller: object, *args: Any) -> list[tuple[int, OnEvent]]:
        """Return what an event is to call, each with its place in the order; what is called only once is forgotten."""
        entries = self._of(prefix, key)
        if not entries:
            return []
        due = [entry for entry in entries if entry.applies(caller, args)]
        for entry in due:
            if entry.one_shot:
                entry.uses -= 1
                if not entry.uses:
                    entries.remove(entry)
        self._prune(prefix, key)
        return [(entry.order, entry.callback) for entry in due]

    def next_order(self) -> int:
        """Return the place in the order of what is added now."""
        return next(self._order)

    def remove(
        self,
        prefix: int | str,
        key: object,
        callback_value: OnEvent | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> bool:
        """Take a callback back.

        :param prefix: the channel's number; 0 for the connection
        :param key: a method's class or a name
        :param callback_value: the callback; None removes nothing
        :param arguments: those that it was added with
        :returns: whether the event had any callback
        """
        entries = self._of(prefix, key)
        if not entries:
            return False
        entries[:] = [
            entry
            for entry in entries
            if entry.callback != callback_value or not _has(arguments or {}, entry.arguments or {})
        ]
        self._prune(prefix, key)
        return True

    def remove_all(self, prefix: int | str, key: object) -> None:
        """Take back every callback of an event.

        :param prefix: the channel's number; 0 for the connection
        :param key: a method's class or a name
        """
        self._of(prefix, key).clear()
        self._prune(prefix, key)

    def cleanup(self, prefix: int | str) -> bool:
        """Take back every callback of a channel, or of the connection's own events.

        :param prefix: the channel's number; 0 for the connection
        :returns: whether there was one
        """
        return self._entries.pop(str(prefix), None) is not None

    def clear(self) -> None:
        """Take back everything."""
        self._entries.clear()

    def _of(self, prefix: int | str, key: object) -> list[_Entry]:
        return self._entries.get(str(prefix), {}).get(_name(key), [])

    def _prune(self, prefix: int | str, key: object) -> None:
        by_name = self._entries.get(str(prefix))
        if by_name is not None and not by_name.get(_name(key), True):
            del by_name[_name(key)]
            if not by_name:
                del self._entries[str(prefix)]


def _name(key: object) -> str:
    """The text that stands for a key: a method's NAME, be it given as a class, an instance or a frame."""
    if type(key) is str:
        return key
    if isinstance(key, frame.Method):
        key = key.method
    if isinstance(key, AMQPObject) or (isinstance(key, type) and issubclass(key, AMQPObject)):
        return key.NAME
    return str(key)


def _has(value: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether a method, alone or in its frame, or a dict has these arguments."""
    if isinstance(value, frame.Method):
        value = value.method
    if isinstance(value, Mapping):
        return all(name in value and value[name] == wanted for name, wanted in arguments.items())
    return all(hasattr(value, name) and getattr(value, name) == wanted for name, wanted in arguments.items())
