"""The generated methods and properties."""

from __future__ import annotations

import copy
import pickle
import struct
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pika import amqp_object, data, spec
from pika.delivery_mode import DeliveryMode
from pika.exceptions import (
    InvalidFrameError,
    ProtocolSyntaxError,
    ShortStringTooLong,
    UnsupportedAMQPFieldException,
)
from pika.exchange_type import ExchangeType
from tests import strategies

Basic, Connection, Channel, Queue, Exchange = spec.Basic, spec.Connection, spec.Channel, spec.Queue, spec.Exchange


def wire_of(thing: Any) -> bytes:
    return b"".join(thing.encode())


def every_method() -> list[Any]:
    return [pytest.param(method, id=method.NAME) for method in spec.methods.values()]


# What every method has


@pytest.mark.parametrize("method", every_method())
def test_names_and_indexes(method: Any) -> None:
    class_name, name = method.NAME.split(".")
    owner = getattr(spec, class_name)
    assert getattr(owner, name) is method
    assert method.INDEX >> 16 == owner.INDEX
    assert spec.methods[method.INDEX] is method
    assert issubclass(owner, amqp_object.Class)
    assert class_name == owner.NAME
    assert vars(method()).keys() == dict(method.FIELDS).keys()


def test_all_methods_are_there() -> None:
    assert len(spec.methods) == 66
    assert spec.Basic.Deliver.INDEX == 0x003C003C
    assert spec.props == {60: spec.BasicProperties}


@pytest.mark.parametrize("method", every_method())
def test_replies(method: Any) -> None:
    answers = spec.replies.get(method, ())
    assert method().synchronous is bool(answers)
    for reply in answers:
        assert reply.NAME.startswith(method.NAME.split(".")[0])
        assert reply.NAME.endswith(("Ok", "Empty"))


def test_some_replies() -> None:
    assert spec.replies[Basic.Get] == (Basic.GetOk, Basic.GetEmpty)
    assert spec.replies[Basic.Recover] == (Basic.RecoverOk,)
    assert Basic.RecoverAsync not in spec.replies
    assert spec.replies[Queue.Declare] == (Queue.DeclareOk,)


def test_methods_with_content() -> None:
    found = {method for index, method in spec.methods.items() if spec.has_content(index)}
    assert found == {Basic.Publish, Basic.Return, Basic.Deliver, Basic.GetOk}
    assert spec.has_content(99) is False


@given(st.data())
def test_any_method_survives(draw: st.DataObject) -> None:
    method = draw.draw(strategies.methods())
    wire = wire_of(method)
    decoded = type(method)().decode(b"skip" + wire, 4)
    assert decoded == method
    assert wire_of(decoded) == wire


@given(st.sampled_from(list(spec.methods.values())), st.binary(max_size=80))
def test_any_bytes_are_a_method_or_an_error(method: Any, wire: bytes) -> None:
    try:
        decoded = method().decode(wire)
    except ProtocolSyntaxError as error:
        assert str(error)
    else:
        again = method().decode(wire_of(decoded))
        assert wire_of(again) == wire_of(decoded)


SAMPLES: dict[str, Any] = {
    "octet": 1,
    "short": 2,
    "long": 3,
    "longlong": 4,
    "bit": True,
    "shortstr": "text",
    "longstr": b"bytes",
    "table": {"a": [1, "b"]},
}


@pytest.mark.parametrize("method", every_method())
def test_method_with_every_argument_survives(method: Any) -> None:
    sample = method(**{name: SAMPLES[kind] for name, kind in method.FIELDS})
    assert method().decode(wire_of(sample)) == sample


@pytest.mark.parametrize("method", every_method())
def test_method_cut_short_is_an_error(method: Any) -> None:
    wire = wire_of(method(**{name: SAMPLES[kind] for name, kind in method.FIELDS}))
    for length in range(len(wire)):
        with pytest.raises(InvalidFrameError):
            method().decode(wire[:length])


# Bytes


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        (Connection.Start(), b"\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US"),
        (Connection.Tune(2047, 131072, 60), b"\x07\xff\x00\x02\x00\x00\x00\x3c"),
        (Connection.Open(), b"\x01/\x00\x00"),
        (Connection.Close(320, "bye", 0, 0), b"\x01\x40\x03bye\x00\x00\x00\x00"),
        (Channel.Open(), b"\x00"),
        (Channel.Flow(True), b"\x01"),
        (spec.Access.Request(), b"\x05/data\x1e"),
        (Exchange.Declare(exchange="x", durable=True), b"\x00\x00\x01x\x06direct\x02\x00\x00\x00\x00"),
        (Queue.Declare(queue="q", nowait=True), b"\x00\x00\x01q\x10\x00\x00\x00\x00"),
        (Queue.DeclareOk("q", 1, 2), b"\x01q\x00\x00\x00\x01\x00\x00\x00\x02"),
        (Basic.Qos(0, 200, True), b"\x00\x00\x00\x00\x00\xc8\x01"),
        (Basic.Publish(exchange="e", routing_key="r", mandatory=True), b"\x00\x00\x01e\x01r\x01"),
        (Basic.Publish(immediate=True), b"\x00\x00\x00\x00\x02"),
        (Basic.Deliver("c", 1, True, "e", "r"), b"\x01c" + b"\x00" * 7 + b"\x01\x01\x01e\x01r"),
        (Basic.Ack(5, True), b"\x00" * 7 + b"\x05\x01"),
        (Basic.Nack(5), b"\x00" * 7 + b"\x05\x02"),
        (Basic.Nack(5, True, False), b"\x00" * 7 + b"\x05\x01"),
        (spec.Tx.Select(), b""),
        (spec.Confirm.Select(True), b"\x01"),
    ],
    ids=repr,
)
def test_method_on_the_wire(method: Any, wire: bytes) -> None:
    assert wire_of(method) == wire


def test_bits_beyond_the_known_are_ignored() -> None:
    nack = Basic.Nack().decode(b"\x00" * 8 + b"\xff")
    assert (nack.multiple, nack.requeue) == (True, True)


def test_long_strings_arrive_as_bytes() -> None:
    start = Connection.Start().decode(wire_of(Connection.Start(mechanisms="PLAIN EXTERNAL")))
    assert start.mechanisms == b"PLAIN EXTERNAL"
    assert start.server_properties == {}


def test_short_strings_that_are_no_utf8_survive() -> None:
    wire = b"\x01\xff" + b"\x00" * 9 + b"\x00\x02\xc3("
    deliver = Basic.Deliver().decode(wire)
    assert (deliver.consumer_tag, deliver.routing_key) == ("\udcff", "\udcc3(")
    assert wire_of(deliver) == wire


# Objects


def test_repr() -> None:
    deliver = Basic.Deliver("c", 1, False, "e", "r")
    expected = "['consumer_tag=c', 'delivery_tag=1', 'exchange=e', 'redelivered=False', 'routing_key=r']"
    assert repr(deliver) == f"<Basic.Deliver({expected})>"
    assert repr(Channel.Flow()) == "<Channel.Flow>"
    assert repr(spec.BasicProperties()) == "<BasicProperties>"
    assert repr(Basic()) == "<Basic>"
    assert repr(amqp_object.AMQPObject()) == "<AMQPObject>"


def test_equality() -> None:
    assert Basic.Ack(1) == Basic.Ack(1)
    assert Basic.Ack(1) != Basic.Ack(2)
    assert Basic.Ack(1) != 1
    with pytest.raises(TypeError):
        hash(Basic.Ack(1))


def test_instances_take_attributes_and_classes_can_be_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = Basic.Deliver.__init__

    def traced(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        seen.append(self)
        self.trace = "t"

    monkeypatch.setattr(Basic.Deliver, "__init__", traced)
    deliver: Any = spec.methods[Basic.Deliver.INDEX]()
    deliver.decode(b"\x01c" + b"\x00" * 9 + b"\x01e\x01r")
    assert seen == [deliver]
    assert (deliver.trace, deliver.exchange) == ("t", "e")


def test_content_of_a_method() -> None:
    deliver = Basic.Deliver()
    with pytest.raises(AttributeError):
        deliver.get_properties()
    with pytest.raises(AttributeError):
        deliver.get_body()
    deliver._set_content(spec.BasicProperties(type="t"), b"body")
    assert deliver.get_properties() == spec.BasicProperties(type="t")
    assert deliver.get_body() == b"body"


def test_base_classes_are_abstract() -> None:
    method = amqp_object.Method()
    assert method.synchronous is False
    with pytest.raises(NotImplementedError):
        method.encode()
    with pytest.raises(NotImplementedError):
        method.decode(b"")


def test_copies() -> None:
    deliver = Basic.Deliver("c", 1, False, "e", "r")
    assert pickle.loads(pickle.dumps(deliver)) == deliver
    properties = spec.BasicProperties(headers={"a": [1]})
    assert copy.deepcopy(properties) == properties


def test_exchange_types_are_text() -> None:
    assert Exchange.Declare(exchange="x").type == "direct"
    assert wire_of(Exchange.Declare(exchange="x", type=ExchangeType.topic)) == wire_of(
        Exchange.Declare(exchange="x", type="topic")
    )


# Mistakes


@pytest.mark.parametrize("value", [5, None, bytearray(b"a"), [], 1.5, True])
def test_text_of_a_wrong_type(value: Any) -> None:
    with pytest.raises(AssertionError, match=r"Basic\.Publish: exchange: .* must be str"):
        Basic.Publish(exchange=value).encode()
    with pytest.raises(AssertionError, match=r"Connection\.SecureOk: response: .* must be str or bytes"):
        Connection.SecureOk(value).encode()


@pytest.mark.parametrize("method", every_method())
def test_every_argument_of_a_wrong_type_is_named(method: Any) -> None:
    for wrong, kind in method.FIELDS:
        if kind != "bit":  # anything is true or false
            given_arguments = {name: object() if name == wrong else SAMPLES[kind] for name, kind in method.FIELDS}
            with pytest.raises((AssertionError, struct.error, AttributeError), match=f"{method.NAME}: {wrong}"):
                method(**given_arguments).encode()


def test_the_mistake_is_found_behind_what_is_right() -> None:
    with pytest.raises(AssertionError, match=r"Basic\.Publish: routing_key: .*of type UUID"):
        Basic.Publish(exchange="e", routing_key=uuid.uuid4()).encode()  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("value", ["x" * 256, "é" * 128])
def test_text_that_is_too_long(value: str) -> None:
    with pytest.raises(ShortStringTooLong, match=r"Basic\.Publish: routing_key takes 256 bytes") as caught:
        Basic.Publish(exchange="e", routing_key=value).encode()
    assert caught.value.args == (value.encode(),)


def test_text_with_a_lone_surrogate() -> None:
    with pytest.raises(UnicodeEncodeError):
        Basic.Publish(routing_key="\ud800").encode()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Basic.Ack(-1), r"Basic\.Ack: delivery_tag must be from 0 to 18446744073709551615, not -1"),
        (Basic.Ack(1 << 64), r"Basic\.Ack: delivery_tag must be from 0"),
        (Basic.Qos(prefetch_count=70000), r"Basic\.Qos: prefetch_count must be from 0 to 65535, not 70000"),
        (Basic.Reject(), r"Basic\.Reject: delivery_tag must be an integer, not None of type NoneType"),
        (Basic.Publish(ticket=1.5), r"Basic\.Publish: ticket must be an integer"),  # type: ignore[arg-type]
        (Connection.Close(), r"Connection\.Close: reply_code must be an integer"),
    ],
    ids=str,
)
def test_integer_that_does_not_fit(method: Any, message: str) -> None:
    with pytest.raises(struct.error, match=message) as caught:
        method.encode()
    assert isinstance(caught.value, ValueError)


def test_table_of_a_wrong_type() -> None:
    with pytest.raises(AttributeError, match=r"Queue\.Declare: arguments: a table must be a dict, not 5"):
        Queue.Declare(queue="q", arguments=5).encode()  # type: ignore[arg-type]  # the mistake


def test_table_with_a_value_that_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedAMQPFieldException, match=r"Queue\.Declare: arguments\.x-a\.b") as caught:
        Queue.Declare(queue="q", arguments={"x-a": {"b": {1}}}).encode()
    assert caught.value.args[1] == {1}


def test_table_with_a_name_that_is_too_long() -> None:
    with pytest.raises(ShortStringTooLong, match=r"Queue\.Declare: arguments: the name of a field takes 256 bytes"):
        Queue.Declare(queue="q", arguments={"k" * 256: 1}).encode()


def test_an_attribute_that_was_deleted() -> None:
    ack = Basic.Ack(1)
    del ack.delivery_tag
    with pytest.raises(AttributeError, match="delivery_tag"):
        ack.encode()


def test_an_error_that_no_argument_explains() -> None:
    class Fickle(str):
        asked = 0

        def encode(self, *args: Any, **kwargs: Any) -> bytes:
            self.asked += 1
            if self.asked == 1:
                raise TypeError("not now")
            return str.encode(self, *args, **kwargs)

    with pytest.raises(TypeError, match="not now"):
        Basic.Publish(routing_key=Fickle("a fickle routing key")).encode()


# Properties

ALL_PROPERTIES: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"a": 1},
    "delivery_mode": 2,
    "priority": 0,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 1577836800,
    "type": "t",
    "user_id": "guest",
    "app_id": "a",
    "cluster_id": "",
}


def test_flags() -> None:
    properties = spec.BasicProperties
    flags = [getattr(properties, f"FLAG_{name.upper()}") for name in ALL_PROPERTIES]
    assert flags == [1 << bit for bit in range(15, 1, -1)]
    assert properties.CLASS is Basic
    assert (properties.INDEX, properties.NAME) == (60, "BasicProperties")


@pytest.mark.parametrize("name", ALL_PROPERTIES)
def test_one_property(name: str) -> None:
    properties = spec.BasicProperties(**{name: ALL_PROPERTIES[name]})
    wire = wire_of(properties)
    assert int.from_bytes(wire[:2], "big") == getattr(spec.BasicProperties, f"FLAG_{name.upper()}")
    decoded = spec.BasicProperties().decode(wire)
    assert decoded == properties
    assert list(vars(decoded)) == list(ALL_PROPERTIES)


def test_all_and_none() -> None:
    properties = spec.BasicProperties(**ALL_PROPERTIES)
    assert vars(properties) == ALL_PROPERTIES
    assert spec.BasicProperties().decode(wire_of(properties)) == properties
    assert wire_of(spec.BasicProperties()) == b"\x00\x00"
    assert vars(spec.BasicProperties()) == dict.fromkeys(ALL_PROPERTIES)


@given(strategies.property_sets())
def test_any_properties_survive(properties: spec.BasicProperties) -> None:
    wire = wire_of(properties)
    for _ in range(2):  # the second time, those that repeat are looked up
        decoded = spec.BasicProperties.__new__(spec.BasicProperties).decode(b"skip" + wire, 4)
        assert decoded == properties
        assert list(vars(decoded)) == list(ALL_PROPERTIES)


@given(st.binary(max_size=120))
def test_any_bytes_are_properties_or_an_error(wire: bytes) -> None:
    try:
        decoded = spec.BasicProperties().decode(wire)
    except ProtocolSyntaxError as error:
        assert str(error)
    else:
        assert vars(decoded).keys() == ALL_PROPERTIES.keys()
        decoded.encode()


@pytest.mark.parametrize("name", ALL_PROPERTIES)
def test_properties_cut_short(name: str) -> None:
    wire = wire_of(spec.BasicProperties(**{name: ALL_PROPERTIES[name]}))
    for length in range(len(wire)):
        with pytest.raises(InvalidFrameError):
            spec.BasicProperties().decode(wire[:length])


def test_further_words_of_flags_are_skipped() -> None:
    assert spec.BasicProperties().decode(b"\x80\x01\x00\x01\x00\x00\x01a") == spec.BasicProperties(content_type="a")
    with pytest.raises(InvalidFrameError):
        spec.BasicProperties().decode(b"\x00\x01\xff\xff")


def test_decoding_again_forgets_what_was_there() -> None:
    properties = spec.BasicProperties(content_type="a", app_id="b")
    assert properties.decode(b"\x00\x00") == spec.BasicProperties()


def test_decoded_properties_are_not_shared() -> None:
    wire = wire_of(spec.BasicProperties(content_type="a", delivery_mode=2))
    first = spec.BasicProperties().decode(wire)
    second = spec.BasicProperties().decode(wire)
    first.content_type = "changed"
    first.headers = {"trace": 1}
    assert second == spec.BasicProperties().decode(wire) == spec.BasicProperties(content_type="a", delivery_mode=2)
    assert spec.BasicProperties().decode(b"\x00\x00") == spec.BasicProperties()


def test_headers_are_encoded_each_time() -> None:
    properties = spec.BasicProperties(headers={})
    before = wire_of(properties)
    assert properties.headers is not None
    properties.headers["trace"] = "x"
    assert wire_of(properties) != before


def test_headers_of_an_unknown_type_do_not_fail() -> None:
    wire = b"\x20\x00\x00\x00\x00\x04\x01a?!"
    properties = spec.BasicProperties().decode(wire)
    assert properties.headers == data.RawTable(b"\x01a?!")
    assert wire_of(properties) == wire


def test_delivery_mode() -> None:
    properties = spec.BasicProperties(delivery_mode=DeliveryMode.Persistent)
    assert properties.delivery_mode == spec.PERSISTENT_DELIVERY_MODE == 2
    assert wire_of(properties) == b"\x10\x00\x02"


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("priority", 256, struct.error, "BasicProperties: priority must be from 0 to 255, not 256"),
        ("priority", "1", struct.error, "BasicProperties: priority must be an integer"),
        ("timestamp", -1, struct.error, "BasicProperties: timestamp must be from 0"),
        ("expiration", 5, AssertionError, "BasicProperties: expiration: .*must be str, not 5"),
        ("correlation_id", uuid.UUID(int=1), AssertionError, "BasicProperties: correlation_id"),
        ("headers", 5, AttributeError, "BasicProperties: headers: a table must be a dict"),
        ("headers", {"a": {1}}, UnsupportedAMQPFieldException, r"BasicProperties: headers\.a"),
        ("headers", {1: 2}, AttributeError, r"BasicProperties: headers.*1 of type int is no name of a field"),
        ("user_id", "x" * 256, ShortStringTooLong, "BasicProperties: user_id takes 256 bytes"),
    ],
)
def test_property_that_cannot_be_sent(name: str, value: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        spec.BasicProperties(**{name: value}).encode()
