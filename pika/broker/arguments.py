"""The arguments of declarations and consumers: which RabbitMQ knows, what it accepts, when two are the same.

The texts are those of RabbitMQ 3.10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pika.broker import errors, terms

Table = Mapping[str, Any]

# Timers of Erlang end here, so does every duration in milliseconds.
_LONGEST = 0xFFFFFFFF
_Check = Callable[[Any], str]

_FIT = ""


def _integer(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return f'"expected integer, got {terms.kind(value)}"'
    return _FIT


def _not_negative(value: Any) -> str:
    return _integer(value) or (f"{{value_negative,{int(value)}}}" if value < 0 else _FIT)


def _duration(value: Any) -> str:
    return _not_negative(value) or (f"{{value_too_large,{int(value)}}}" if value > _LONGEST else _FIT)


def _positive_duration(value: Any) -> str:
    return _duration(value) or (f"{{value_zero,{int(value)}}}" if value == 0 else _FIT)


def _priorities(value: Any) -> str:
    return _not_negative(value) or (f"{{max_value_exceeded,{int(value)}}}" if value > 255 else _FIT)


def _boolean(value: Any) -> str:
    return _FIT if isinstance(value, bool) else f"{{unacceptable_type,{terms.kind(value)}}}"


def _text(value: Any) -> str:
    return _FIT if isinstance(value, str) else f"{{unacceptable_type,{terms.kind(value)}}}"


def _one_of(otherwise: str, *words: str) -> _Check:
    def check(value: Any) -> str:
        return _text(value) or (_FIT if value in words else otherwise.format(value))

    return check


def _version(value: Any) -> str:
    return _integer(value) or (_FIT if value in {1, 2} else f"\"unsupported queue version '{int(value)}'\"")


#: What a classic queue takes and how each is checked, in the order in which RabbitMQ compares them.
_QUEUE: dict[str, _Check] = {
    "x-expires": _positive_duration,
    "x-message-ttl": _duration,
    "x-dead-letter-exchange": lambda value: _FIT,
    "x-dead-letter-routing-key": _text,
    "x-max-length": _not_negative,
    "x-max-length-bytes": _not_negative,
    "x-max-priority": _priorities,
    "x-overflow": _one_of("invalid_overflow", "drop-head", "reject-publish", "reject-publish-dlx"),
    "x-queue-mode": _one_of("\"unsupported queue mode '{}'\"", "default", "lazy"),
    "x-queue-version": _version,
    "x-single-active-consumer": _boolean,
    "x-queue-type": _one_of("\"unsupported queue type '{}'\"", "classic", "quorum", "stream"),
    "x-queue-master-locator": _text,
}

_NOT_CLASSIC = frozenset(
    {
        "x-dead-letter-strategy",
        "x-delivery-limit",
        "x-initial-cluster-size",
        "x-max-age",
        "x-max-in-memory-bytes",
        "x-max-in-memory-length",
        "x-queue-leader-locator",
        "x-quorum-initial-group-size",
        "x-stream-max-segment-size-bytes",
    }
)

_CONSUMER: dict[str, _Check] = {
    "x-priority": _integer,
    "x-cancel-on-ha-failover": _boolean,
}

ALTERNATE = "alternate-exchange"


def check_queue(arguments: Table, name: str, vhost: str, *, durable: bool, exclusive: bool) -> None:
    """Refuse the arguments of a new queue that RabbitMQ refuses; those it does not know pass.

    :raises errors.Refusal: 406, naming the argument
    """
    where = errors.resource("queue", name, vhost)
    _check(_QUEUE, arguments, where)
    exchange = arguments.get("x-dead-letter-exchange", "")
    if not isinstance(exchange, str):
        raise errors.precondition(f"invalid type '{terms.kind(exchange)}' for arg 'x-dead-letter-exchange' in {where}")
    if "x-dead-letter-routing-key" in arguments and "x-dead-letter-exchange" not in arguments:
        raise errors.precondition(
            f"invalid arg 'x-dead-letter-routing-key' for {where}: routing_key_but_no_dlx_defined"
        )
    if arguments.get("x-queue-type", "classic") != "classic":
        # They are classic queues here, but a declaration that RabbitMQ would refuse is refused.
        if exclusive:
            raise errors.precondition(f"invalid property 'exclusive-owner' for {where}")
        if not durable:
            raise errors.precondition(f"invalid property 'non-durable' for {where}")
    else:
        _refuse_foreign(_NOT_CLASSIC, arguments, where)


def check_consumer(arguments: Table, queue: str, vhost: str) -> None:
    """Refuse the arguments of a new consumer that RabbitMQ refuses.

    :raises errors.Refusal: 406, naming the argument
    """
    where = errors.resource("queue", queue, vhost)
    _check(_CONSUMER, arguments, where)
    _refuse_foreign({"x-stream-offset"}, arguments, where)


def check_exchange(arguments: Table, name: str, vhost: str) -> None:
    """Refuse an alternate exchange that is no name.

    :raises errors.Refusal: 406
    """
    alternate = arguments.get(ALTERNATE, "")
    if not isinstance(alternate, str):
        where = errors.resource("exchange", name, vhost)
        raise errors.precondition(f"invalid type '{terms.kind(alternate)}' for arg '{ALTERNATE}' in {where}")


def _check(checks: dict[str, _Check], arguments: Table, where: str) -> None:
    for key, check in checks.items():
        if key in arguments:
            fault = check(arguments[key])
            if fault:
                raise errors.precondition(f"invalid arg '{key}' for {where}: {fault}")


def _refuse_foreign(names: frozenset[str] | set[str], arguments: Table, where: str) -> None:
    for key in arguments:
        if key in names:
            raise errors.precondition(f"invalid arg '{key}' for {where} of queue type rabbit_classic_queue")


def same_queue(current: Table, received: Table, where: str) -> None:
    """Refuse a redeclaration whose arguments differ where it matters.

    :raises errors.Refusal: 406, naming the first argument that differs
    """
    _same(_QUEUE, {"x-queue-type": "classic", **current}, {"x-queue-type": "classic", **received}, where)


def same_exchange(current: Table, received: Table, where: str) -> None:
    """Refuse a redeclaration with another alternate exchange.

    :raises errors.Refusal: 406
    """
    _same((ALTERNATE,), current, received, where)


def _same(names: Mapping[str, _Check] | tuple[str, ...], current: Table, received: Table, where: str) -> None:
    for key in names:
        if key in current and key in received:
            same_value(key, current[key], received[key], where)
        elif key in received:
            raise _inequivalent(key, where, f"received {_described(received[key])} but current is none")
        elif key in current:
            raise _inequivalent(key, where, f"received none but current is {_described(current[key])}")


def same_value(name: str, current: Any, received: Any, where: str) -> None:
    """Refuse a redeclaration in which one property differs.

    :raises errors.Refusal: 406, naming it
    """
    if terms.plain(current) != terms.plain(received):
        raise _inequivalent(name, where, f"received '{terms.shown(received)}' but current is '{terms.shown(current)}'")


def _inequivalent(name: str, where: str, difference: str) -> errors.Refusal:
    return errors.precondition(f"inequivalent arg '{name}' for {where}: {difference}")


def _described(value: Any) -> str:
    return f"the value '{terms.shown(value)}' of type '{terms.kind(value)}'"
