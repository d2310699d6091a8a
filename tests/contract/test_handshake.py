"""The handshake, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import pytest

from pika import data, exceptions, frame, spec
from tests.contract.conftest import DRIVERS, Contractor
from tests.contract.profiles import Profile, profile_for
from tests.contract.users import STRANGER
from tests.contract.wire import CAPABILITIES, Hangup, Wire
from tests.support.bounded import PATIENCE

LOGIN_REFUSED = (
    "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."
)

NewWire = Callable[[], Wire]


def amqplain(**fields: str) -> bytes:
    pieces: list[bytes] = []
    data.encode_table(pieces, dict(fields))
    return b"".join(pieces)[4:]


def test_start_introduces_the_broker(new_wire: NewWire) -> None:
    start = new_wire().start()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert isinstance(start.mechanisms, bytes)
    assert {b"PLAIN", b"AMQPLAIN"} <= set(start.mechanisms.split())
    assert start.locales == b"en_US"
    assert start.server_properties is not None
    assert start.server_properties["product"]
    assert start.server_properties["version"]
    assert start.server_properties["capabilities"].items() >= CAPABILITIES.items()
    assert start.server_properties["capabilities"]["direct_reply_to"] is True
    assert start.server_properties["capabilities"]["consumer_priorities"] is True
    assert start.server_properties["capabilities"]["per_consumer_qos"] is True


def test_tune_proposes(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    wire.log_in()
    tune = wire.tune()
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


def test_open_names_no_hosts(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    wire.log_in()
    wire.tune()
    wire.send(spec.Connection.Open(wire.parameters.virtual_host), channel=0)
    assert wire.expect(spec.Connection.OpenOk, 0).known_hosts == ""


def test_amqplain(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    response = amqplain(LOGIN=wire.username, PASSWORD=wire.password)
    wire.send(spec.Connection.StartOk({}, "AMQPLAIN", response, "en_US"), channel=0)
    wire.tune()
    wire.open()


@pytest.mark.parametrize("header", [b"AMQP\0\0\x08\0", b"GET / HT", b"\0\0\0\0\0\0\0\0"], ids=["0-8", "http", "zeros"])
def test_another_protocol_is_answered_with_a_header(new_wire: NewWire, profile: Profile, header: bytes) -> None:
    wire = new_wire()
    wire.send_bytes(header)
    assert wire.receive_bytes(8) == profile.protocol_header
    wire.expect_hangup()


@pytest.mark.parametrize(("username", "password"), [("guest", "wrong"), ("nobody", "guest"), ("", "")])
def test_wrong_credentials(new_wire: NewWire, username: str, password: str) -> None:
    wire = new_wire()
    wire.start()
    wire.log_in(username, password)
    wire.expect_closed(403, LOGIN_REFUSED.format("PLAIN"))
    wire.expect_hangup()


def test_wrong_credentials_by_amqplain(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    response = amqplain(LOGIN="guest", PASSWORD="wrong")
    wire.send(spec.Connection.StartOk({"capabilities": CAPABILITIES}, "AMQPLAIN", response, "en_US"), channel=0)
    wire.expect_closed(403, LOGIN_REFUSED.format("AMQPLAIN"))


@pytest.mark.parametrize("driver", DRIVERS)
def test_wrong_credentials_through_a_client(broker: Contractor, driver: str) -> None:
    with pytest.raises(exceptions.ProbableAuthenticationError) as caught:
        DRIVERS[driver](broker.url_as("guest", "wrong"))
    assert "(403) " + repr(LOGIN_REFUSED.format("PLAIN")) in str(caught.value)


def test_missing_virtual_host(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    wire.log_in()
    wire.tune()
    wire.send(spec.Connection.Open("contract-missing"), channel=0)
    wire.expect_closed(530, "NOT_ALLOWED - vhost contract-missing not found", spec.Connection.Open)


@pytest.mark.parametrize("driver", DRIVERS)
def test_missing_virtual_host_through_a_client(broker: Contractor, driver: str) -> None:
    url = broker.url[: broker.url.rindex("/")] + "/contract-missing"
    with pytest.raises(exceptions.ProbableAccessDeniedError) as caught:
        DRIVERS[driver](url)
    assert "(530) 'NOT_ALLOWED - vhost contract-missing not found'" in str(caught.value)


@pytest.mark.usefixtures("users")
def test_virtual_host_that_the_user_may_not_enter(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    wire.log_in(STRANGER.name, STRANGER.password)
    wire.tune()
    wire.send(spec.Connection.Open("/"), channel=0)
    wire.expect_closed(
        530, f"NOT_ALLOWED - access to vhost '/' refused for user '{STRANGER.name}'", spec.Connection.Open
    )


def test_channel_before_the_virtual_host_is_open(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    wire.log_in()
    wire.tune()
    wire.send(spec.Channel.Open())
    wire.expect_closed(505, "UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>")


def test_close_before_the_virtual_host_is_open(new_wire: NewWire) -> None:
    wire = new_wire()
    wire.start()
    wire.log_in()
    wire.tune()
    wire.send(spec.Connection.Close(200, "", 0, 0), channel=0)
    wire.expect_closed(504, "CHANNEL_ERROR - unexpected method in connection state opening", spec.Connection.Close)


@pytest.mark.parametrize("method", [spec.Connection.Open("/"), spec.Connection.StartOk({}, "PLAIN", "x", "en_US")])
def test_method_of_the_handshake_when_it_is_over(wire: Wire, method: spec.Connection.Open) -> None:
    wire.send(method, channel=0)
    wire.expect_closed(504, "CHANNEL_ERROR - unexpected method in connection state running", type(method))


def test_smaller_frame_max(new_wire: NewWire, profile: Profile) -> None:
    wire = new_wire().connect(frame_max=profile.frame_max_minimum)
    wire.open_channel()
    queue = wire.declare_queue()
    body = b"x" * 3 * profile.frame_max_minimum
    wire.publish("", queue, body)
    wire.send(spec.Basic.Get(0, queue, no_ack=True))
    sizes: list[int] = []
    while sum(sizes) < len(body):
        received = wire.next_frame()
        if received.kind == spec.FRAME_BODY:
            sizes.append(len(received.payload))
    assert sizes == [profile.frame_max_minimum - frame.FRAME_OVERHEAD] * 3 + [3 * frame.FRAME_OVERHEAD]


def test_smaller_channel_max_bounds_the_number_of_channels(new_wire: NewWire) -> None:
    wire = new_wire().connect(channel_max=2)
    wire.open_channel(1)
    wire.open_channel(2)
    wire.send(spec.Channel.Open(), channel=3)
    wire.expect_closed(530, "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)")


def test_channel_max_does_not_bound_the_numbers(new_wire: NewWire) -> None:
    wire = new_wire().connect(channel_max=2)
    wire.open_channel(60000)


def test_closed_channels_do_not_count(new_wire: NewWire) -> None:
    wire = new_wire().connect(channel_max=1)
    for number in (1, 2, 1):
        wire.open_channel(number)
        wire.send(spec.Channel.Close(200, "", 0, 0), channel=number)
        wire.expect(spec.Channel.CloseOk, number)


def test_update_secret(wire: Wire) -> None:
    wire.send(spec.Connection.UpdateSecret("guest", "renewed"), channel=0)
    wire.expect(spec.Connection.UpdateSecretOk, 0)


# What RabbitMQ ends without a word, after a pause that slows guessing down. All of it is begun at once.


def _no_failure_close(wire: Wire) -> None:
    wire.log_in("guest", "wrong", capabilities={})


def _unknown_mechanism(wire: Wire) -> None:
    wire.send(spec.Connection.StartOk({"capabilities": CAPABILITIES}, "NONE", "x", "en_US"), channel=0)


def _malformed_plain(wire: Wire) -> None:
    wire.send(spec.Connection.StartOk({"capabilities": CAPABILITIES}, "PLAIN", "x", "en_US"), channel=0)


def _open_first(wire: Wire) -> None:
    wire.send(spec.Connection.Open("/"), channel=0)


def _open_before_tune_ok(wire: Wire) -> None:
    wire.log_in()
    wire.expect(spec.Connection.Tune, 0)
    _open_first(wire)


def _frame_max_below_the_minimum(wire: Wire) -> None:
    wire.log_in()
    wire.tune(frame_max=profile_for(wire.server_properties).frame_max_minimum - 1)


def _frame_max_above_the_proposal(wire: Wire) -> None:
    wire.log_in()
    wire.tune(frame_max=131073)


def _no_frame_max(wire: Wire) -> None:
    wire.log_in()
    wire.tune(frame_max=0)


def _channel_max_above_the_proposal(wire: Wire) -> None:
    wire.log_in()
    wire.tune(channel_max=2048)


def _no_channel_max(wire: Wire) -> None:
    wire.log_in()
    wire.tune(channel_max=0)


SILENCED = {
    function.__name__.strip("_").replace("_", "-"): function
    for function in (
        _no_failure_close,
        _unknown_mechanism,
        _malformed_plain,
        _open_first,
        _open_before_tune_ok,
        _frame_max_below_the_minimum,
        _frame_max_above_the_proposal,
        _no_frame_max,
        _channel_max_above_the_proposal,
        _no_channel_max,
    )
}


@pytest.fixture(scope="module")
def silenced(broker: Contractor) -> Iterator[dict[str, Wire]]:
    wires = {}
    for name, offend in SILENCED.items():
        wires[name] = Wire(broker.url)
        wires[name].start()
        offend(wires[name])
    yield wires
    for wire in wires.values():
        wire.disconnect()


@pytest.mark.parametrize("offence", SILENCED)
def test_ended_without_a_word(silenced: dict[str, Wire], offence: str) -> None:
    with pytest.raises(Hangup):
        silenced[offence].next(PATIENCE)
