"""What exceptions say, and that they survive copying and pickling."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from pika import exceptions

WITH_CODE = [
    exceptions.ConnectionClosed,
    exceptions.ConnectionClosedByBroker,
    exceptions.ConnectionClosedByClient,
    exceptions.ChannelClosed,
    exceptions.ChannelClosedByBroker,
    exceptions.ChannelClosedByClient,
]
WITH_MESSAGES = [exceptions.UnroutableError, exceptions.NackError, exceptions.PublishOutcomeUnknown]
EVERY = [
    value
    for name, value in vars(exceptions).items()
    if isinstance(value, type) and issubclass(value, Exception) and not name.startswith("_")
]
PLAIN = [cls for cls in EVERY if cls not in WITH_CODE and cls not in WITH_MESSAGES]


def an_instance(cls: type[Exception], *args: Any) -> Exception:
    if cls in WITH_CODE:
        return cls(404, "NOT_FOUND - no queue 'q'")
    if cls in WITH_MESSAGES:
        return cls(["first", "second"])
    return cls(*args)


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (exceptions.AMQPConnectionError, (exceptions.AMQPError,)),
        (exceptions.AMQPChannelError, (exceptions.AMQPError,)),
        (exceptions.AMQPHeartbeatTimeout, (exceptions.AMQPConnectionError,)),
        (exceptions.NoFreeChannels, (exceptions.AMQPConnectionError,)),
        (exceptions.ChannelClosedByBroker, (exceptions.ChannelClosed, exceptions.AMQPChannelError)),
        (exceptions.ConnectionClosedByClient, (exceptions.ConnectionClosed, exceptions.AMQPConnectionError)),
        (exceptions.NackError, (exceptions.AMQPChannelError,)),
        (exceptions.InvalidFrameError, (exceptions.ProtocolSyntaxError, exceptions.AMQPError)),
        (exceptions.ShortStringTooLong, (exceptions.AMQPError,)),
        (exceptions.DuplicateGetOkCallback, (exceptions.ChannelError,)),
    ],
)
def test_families(cls: type[Exception], bases: tuple[type[Exception], ...]) -> None:
    for base in bases:
        assert issubclass(cls, base)


def test_the_channel_error_and_reentrancy_error_stand_outside_the_amqp_family() -> None:
    assert not issubclass(exceptions.ChannelError, exceptions.AMQPError)
    assert not issubclass(exceptions.ReentrancyError, exceptions.AMQPError)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("args", [(), ("",), ("why",), (b"why",), (7, "why"), (OSError(),), (None, None, None)])
def test_str_and_repr_are_never_empty(cls: type[Exception], args: tuple[Any, ...]) -> None:
    error = an_instance(cls, *args)
    assert str(error).strip()
    assert repr(error).startswith(cls.__name__)


@pytest.mark.parametrize("cls", PLAIN)
def test_without_arguments_str_is_a_sentence_that_the_class_does_not_share(cls: type[Exception]) -> None:
    text = str(cls())
    assert text.endswith(".")
    assert [other for other in PLAIN if str(other()) == text] == [cls]


@pytest.mark.parametrize("cls", EVERY)
def test_arguments_are_kept(cls: type[Exception]) -> None:
    error = an_instance(cls, "one", 2)
    if cls in WITH_CODE:
        assert error.args == (404, "NOT_FOUND - no queue 'q'")
    elif cls not in WITH_MESSAGES:
        assert error.args == ("one", 2)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("args", [(), ("why",), (7, "why")])
def test_round_trip(cls: type[Exception], args: tuple[Any, ...]) -> None:
    error = an_instance(cls, *args)
    error.mark = "mine"  # type: ignore[attr-defined]  # any exception takes attributes
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is cls
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert (str(twin), repr(twin)) == (str(error), repr(error))


@pytest.mark.parametrize("cls", WITH_CODE)
def test_closed_with_a_code(cls: Any) -> None:
    error = cls("404", b"gone")
    assert error.reply_code == 404
    assert error.reply_text == "b'gone'"
    assert cls(reply_code=404, reply_text="gone").reply_text == "gone"
    assert str(cls(404, "gone")) == "(404, 'gone')"
    assert repr(cls(404, "gone")) == f"{cls.__name__}: (404) 'gone'"
    with pytest.raises(AttributeError):
        error.reply_code = 1
    with pytest.raises(TypeError):
        cls(404)
    with pytest.raises(ValueError, match="abc"):
        cls("abc", "gone")


def test_messages_of_a_publish_that_failed() -> None:
    returned = exceptions.UnroutableError(["a", "b"])
    assert returned.messages == ["a", "b"]
    assert str(returned) == "2 unroutable message(s) returned"
    assert repr(returned) == "UnroutableError: 2 unroutable messages returned by broker"
    refused = exceptions.NackError(["a"])
    assert refused.messages == ["a"]
    assert str(refused) == "1 message(s) NACKed"
    assert repr(refused) == "NackError: 1 message(s) NACKed"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (exceptions.AMQPError("x"), "AMQPError: An unspecified AMQP error has occurred; ('x',)"),
        (exceptions.AMQPConnectionError(320, "bye"), "AMQPConnectionError: (320) bye"),
        (exceptions.AMQPConnectionError("bye"), "AMQPConnectionError: ('bye',)"),
        (exceptions.StreamLostError(), "StreamLostError: ()"),
        (exceptions.DuplicateConsumerTag("t"),
         "DuplicateConsumerTag: The consumer tag specified already exists for this channel: t"),
        (exceptions.InvalidFrameError("short"), "InvalidFrameError: Invalid frame received: 'short'"),
        (exceptions.BodyTooLongError(5, 3),
         "BodyTooLongError: Received too many bytes for a message delivery: Received 5, expected 3"),
        (exceptions.UnsupportedAMQPFieldException([], object()),
         "UnsupportedAMQPFieldException: Unsupported field kind <class 'object'>"),
        (exceptions.ConsumerCancelled(), "ConsumerCancelled: Server cancelled consumer"),
        (exceptions.ConsumerCancelled("tag"), "ConsumerCancelled: Server cancelled consumer: ('tag',)"),
        (exceptions.ReentrancyError("x"), "ReentrancyError('x')"),
    ],
)  # fmt: skip
def test_repr(error: Exception, text: str) -> None:
    assert repr(error) == text


def test_a_bare_value_does_not_stand_alone_in_str() -> None:
    assert str(exceptions.DuplicateConsumerTag("ctag1")) != "ctag1"
    assert "ctag1" in str(exceptions.DuplicateConsumerTag("ctag1"))
    assert "70000" in str(exceptions.InvalidChannelNumber(70000))
    assert str(exceptions.AMQPConnectionError("no route to host")) == "no route to host"


def test_a_subclass_inherits_the_words() -> None:
    class Mine(exceptions.AMQPConnectionError):
        pass

    assert str(Mine()) == str(exceptions.AMQPConnectionError())
    assert repr(Mine("x")) == "Mine: ('x',)"
