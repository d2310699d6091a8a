"""What users hand in, to connections and channels alike: checks of arguments, and the calling of callbacks."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Callable, TypeVar

#: Of callbacks that raise, under the name that programs know.
LOGGER = logging.getLogger("pika.callback")

C = TypeVar("C", bound=Callable[..., Any])


class ArgumentTypeError(TypeError, AttributeError):
    """An argument is of a type that cannot be sent; pika 1.x raises ``AttributeError`` where this is raised."""


class NegativeTimeError(ValueError, AssertionError):
    """A wait of less than no time; pika 1.x raises one or the other of these."""


class MissingArgument(TypeError, AssertionError):
    """An argument is None that cannot be; pika 1.x raises ``AssertionError`` where this is raised."""


def require_callable(callback: C, name: str = "callback") -> C:
    """Return a callback.

    :param callback: what was handed in
    :param name: the name of its parameter
    :raises TypeError: when it is not callable
    """
    if not callable(callback):
        raise TypeError(f"{name} must be callable, but got {callback!r}")
    return callback


def nowait_unless(callback: object) -> bool:
    """Whether there is no completion callback: then no answer is asked for, where AMQP has a ``nowait``.

    :param callback: the completion callback, or None
    :raises TypeError: when it is neither callable nor None
    """
    if callback is None:
        return True
    if not callable(callback):
        raise TypeError(f"completion callback must be callable if not None, but got {callback!r}")
    return False


def require_text(name: str, value: object) -> None:
    """Raise ``TypeError`` unless an argument is a str.

    :param name: the name of its parameter
    :param value: the argument
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, but got {value!r}")


def require_given(name: str, value: str | None) -> str:
    """Return an argument that may not be left out, though its parameter has a default.

    :param name: the name of its parameter
    :param value: the argument
    :raises MissingArgument: when it is None
    """
    if value is None:
        raise MissingArgument(f"{name} must be given, but got None")
    return value


def as_body(body: object) -> bytes:
    """Return a message's body as bytes; a str is encoded as UTF-8.

    :raises ArgumentTypeError: when it is neither str nor bytes-like
    """
    if isinstance(body, str):
        return body.encode("utf-8")
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise ArgumentTypeError(f"a message's body must be bytes or str, but got {type(body).__name__}: {body!r:.80}")


def call_each(callbacks: Iterable[Callable[..., object]], *arguments: object) -> None:
    """Call every callback, also when one raises; then raise what the first one raised.

    :param callbacks: what to call; a callback that adds another does not have that called
    :param arguments: what to call them with
    """
    first: BaseException | None = None
    for callback in tuple(callbacks):
        try:
            callback(*arguments)
        except BaseException as error:
            if first is None:
                first = error
                LOGGER.error("%r raised %r, which is passed on", callback, error)
            else:
                LOGGER.exception("A second callback of the same event raised; only the first error is passed on")
    if first is not None:
        raise first
