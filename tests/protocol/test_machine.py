"""Random calls of a client against a random broker, right and wrong: what must hold whatever happens."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pika import exceptions, frame, protocol, spec
from pika.protocol import ChannelState, ConnectionState, states
from tests import strategies
from tests.protocol import broker as peer
from tests.protocol.broker import START, TUNE, Broker, body, content, deliver, header, method

NAMES = st.sampled_from(["a", "a", "b", "b", "c", "", "x" * 300])
NUMBERS = st.sampled_from([1, 1, 1, 2, 2, 3, 9])
TAGS = st.sampled_from([0, 1, 2, 3, 2**64 - 1])

CALLS = st.one_of(
    st.tuples(st.just("queue_declare"), st.tuples(NAMES), st.booleans()),
    st.tuples(st.just("queue_bind"), st.tuples(NAMES, NAMES), st.booleans()),
    st.tuples(st.just("exchange_delete"), st.tuples(NAMES), st.booleans()),
    st.tuples(st.just("basic_consume"), st.tuples(NAMES, NAMES), st.booleans()),
    st.tuples(st.just("basic_cancel"), st.tuples(NAMES), st.booleans()),
    st.tuples(st.just("confirm_select"), st.just(()), st.booleans()),
    st.tuples(st.sampled_from(["basic_get", "queue_unbind"]), st.tuples(NAMES, NAMES), st.none()),
    st.tuples(
        st.sampled_from(["tx_select", "tx_commit", "tx_rollback", "basic_qos", "basic_recover"]), st.just(()), st.none()
    ),
    st.tuples(st.sampled_from(["basic_ack", "basic_nack", "basic_reject"]), st.tuples(TAGS), st.none()),
    st.tuples(st.sampled_from(["open", "close"]), st.just(()), st.none()),
    st.tuples(st.just("flow"), st.tuples(st.booleans()), st.none()),
)

#: What no broker should say, here and now.
NONSENSE = st.one_of(
    st.builds(deliver, NUMBERS, st.sampled_from("abcd")),
    st.builds(lambda n, t: method(n, spec.Basic.Ack(t, False)), NUMBERS, TAGS),
    st.builds(lambda n: method(n, spec.Channel.Close(404, "NOT_FOUND", 0, 0)), NUMBERS),
    st.binary(min_size=1, max_size=30),
    st.builds(lambda n, b: peer.raw_frame(1, n, b), NUMBERS, st.binary(max_size=30)),
    st.builds(method, st.sampled_from([0, 1, 2]), strategies.methods()),
    st.builds(header, NUMBERS, st.integers(0, 5)),
    st.builds(body, NUMBERS, st.binary(max_size=5)),
)

SAMPLES: dict[type[Any], Any] = {
    spec.Queue.DeclareOk: lambda request: spec.Queue.DeclareOk("q", 0, 0),
    spec.Queue.DeleteOk: lambda request: spec.Queue.DeleteOk(0),
    spec.Basic.ConsumeOk: lambda request: spec.Basic.ConsumeOk(request.consumer_tag or "named"),
    spec.Basic.CancelOk: lambda request: spec.Basic.CancelOk(request.consumer_tag),
    spec.Basic.GetOk: lambda request: spec.Basic.GetEmpty(),
    spec.Channel.FlowOk: lambda request: spec.Channel.FlowOk(request.active),
}


def answer_to(request: Any) -> Any:
    """Return what a broker answers, or None."""
    accepted = spec.replies.get(type(request))
    if accepted is None or getattr(request, "nowait", False):
        return None
    make = SAMPLES.get(accepted[0])
    return accepted[0]() if make is None else make(request)


def steps(table: Any, before: Any) -> set[Any]:
    """Return where a state may get to by its table, in any number of steps."""
    reached = {before}
    while True:
        more = reached | {after for state in reached for after in table[state].values()}
        if more == reached:
            return reached
        reached = more


class Conversation(RuleBasedStateMachine):
    """A client whose calls are random, and a broker that answers when, and if, it likes."""

    @initialize(channels=st.sampled_from([None, 0, 1, 2, 2]))
    def begin(self, channels: int | None) -> None:
        self.connection = protocol.Connection(peer.settings(max_message_size=1000))
        self.broker = Broker(self.connection)
        self.connection.start(0.0)
        self.over = False
        self.replies: list[protocol.Reply[Any]] = []
        self.questions: list[tuple[Any, protocol.Reply[Any]]] = []
        self.confirmations: list[protocol.Confirmation] = []
        self.ended: list[Any] = []
        self.channels: list[protocol.Channel] = []
        self.seen: dict[Any, Any] = {}
        # What the broker has read and not answered, by channel.
        self.unanswered: dict[int, list[Any]] = {}
        if channels is not None:
            self.take(method(0, START, TUNE, spec.Connection.OpenOk()))
            for _ in range(channels):
                self.make_channel(None, True)
                self.take(method(self.channels[-1].number, spec.Channel.OpenOk()))
            if channels == 2:
                self.call(self.channels[1].confirm_select)
                self.take(method(2, spec.Confirm.SelectOk()))
            self.broker.frames()

    # The client

    def call(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Call something that may be illegal now; only errors of the library may come out."""
        try:
            result = function(*arguments, **options)
        except (exceptions.AMQPError, ValueError) as error:
            assert str(error)
            return None
        if isinstance(result, protocol.Reply):
            self.replies.append(result)
            self.questions.append((getattr(function, "__self__", None), result))
            result.on_done = self.ended.append
        return result

    @rule(number=st.none() | NUMBERS, opened=st.booleans())
    def make_channel(self, number: int | None, opened: bool) -> None:
        channel = self.call(self.connection.open_channel, number)
        if channel is not None:
            self.channels.append(channel)
            if opened:
                self.call(channel.open)

    @precondition(lambda self: self.channels)
    @rule(data=st.data(), call=CALLS)
    def operate(self, data: st.DataObject, call: Any) -> None:
        name, arguments, nowait = call
        channel = data.draw(st.sampled_from(self.channels))
        options = {} if nowait is None else {"nowait": nowait}
        if name == "basic_get":
            arguments = arguments[:1]
        self.call(getattr(channel, name), *arguments, **options)

    @precondition(lambda self: self.channels)
    @rule(data=st.data(), key=NAMES, mandatory=st.booleans(), large=st.booleans())
    def publish(self, data: st.DataObject, key: str, mandatory: bool, large: bool) -> None:
        channel = data.draw(st.sampled_from(self.channels))
        confirmation = protocol.Confirmation()
        properties = spec.BasicProperties(headers={"a": "x" * 140_000}) if large else None
        try:
            channel.basic_publish("", key, b"body", properties, mandatory, confirmation)
        except (exceptions.AMQPError, ValueError):
            assert confirmation.delivery_tag == 0
            return
        if channel.confirms is not None:
            self.confirmations.append(confirmation)
            confirmation.on_done = self.ended.append

    @rule()
    def update_secret(self) -> None:
        self.call(self.connection.update_secret, "secret", "reason")

    @rule(chance=st.integers(0, 9))
    def close(self, chance: int) -> None:
        if chance == 0:
            self.call(self.connection.close)

    # The broker

    def take(self, *data: bytes) -> None:
        for piece in data:
            self.connection.receive_data(piece, self.broker.now)
        for event in self.connection.events():
            assert not self.over, "an event behind Closed"
            if isinstance(event, protocol.Closed):
                self.over = True
                assert self.connection.error is event.error
            elif isinstance(event, protocol.ChannelClosed):
                assert event.channel.state is ChannelState.CLOSED
                assert event.channel.error is event.error
                assert event.channel.unanswered == 0
            elif isinstance(event, protocol.Replied):
                assert event.reply.done and event.reply.error is None

    @rule()
    def listen(self) -> None:
        """Read what the client sent, and check that it may be sent."""
        for item in self.broker.frames():
            if not isinstance(item, frame.Method):
                continue
            pending = self.unanswered.setdefault(item.channel_number, [])
            kind = type(item.method)
            if kind in (spec.Channel.CloseOk, spec.Connection.CloseOk):
                pending[:] = [request for request in pending if isinstance(request, spec.Channel.Close)]
                continue
            holding = [type(request) for request in pending if type(request) not in states.PIPELINED]
            if item.channel_number and not self.refused(item.channel_number):
                if kind in spec.replies:
                    assert kind in states.PIPELINED or not pending, (kind, pending)
                    assert not holding, (kind, pending)
                else:
                    assert not set(holding) & states.HOLDS_ALL or kind in (spec.Channel.FlowOk, spec.Basic.CancelOk)
            if answer_to(item.method) is not None:
                pending.append(item.method)

    def refused(self, number: int) -> bool:
        """Whether a channel was closed over a message that is too large, which waits for nothing."""
        return any(
            channel.number == number and channel.error is not None and channel.error.args[:1] == (311,)
            for channel in self.channels
        )

    @precondition(lambda self: any(self.unanswered.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.listen()
        waiting = sorted(number for number, requests in self.unanswered.items() if requests)
        if not waiting:
            return
        number = data.draw(st.sampled_from(waiting))
        requests = self.unanswered[number]
        request = requests.pop(data.draw(st.integers(0, min(len(requests) - 1, 2))))
        if isinstance(request, spec.Basic.Get) and data.draw(st.booleans()):
            self.take(content(number, spec.Basic.GetOk(1, False, "", "key", 0), b"got"))
        else:
            self.take(method(number, answer_to(request)))

    @rule()
    def shake_hands(self) -> None:
        following = {
            ConnectionState.PROTOCOL: START,
            ConnectionState.START: TUNE,
            ConnectionState.TUNE: spec.Connection.OpenOk(),
        }.get(self.connection.state)
        if following is not None:
            self.listen()
            self.unanswered.clear()
            self.take(method(0, following))

    def asked(self, channel: protocol.Channel) -> list[protocol.Reply[Any]]:
        return [reply for owner, reply in self.questions if owner is channel]

    def opened_channels(self) -> list[protocol.Channel]:
        """Return the channels that the broker knows."""
        return [
            channel
            for channel in self.channels
            if channel.state in (ChannelState.OPEN, ChannelState.CLOSING)
            and not any(isinstance(item.request, spec.Channel.Open) and not item.done for item in self.asked(channel))
        ]

    @precondition(lambda self: self.opened_channels())
    @rule(data=st.data(), kind=st.sampled_from(["deliver", "deliver", "confirm", "return", "flow", "cancel", "large"]))
    def tell(self, data: st.DataObject, kind: str) -> None:
        """Say what a broker may say without having been asked."""
        channel = data.draw(st.sampled_from(self.opened_channels()))
        number = channel.number
        tags = sorted({*channel.consumers, *channel.cancelled})
        if kind in ("deliver", "cancel", "large") and not tags:
            return
        if kind == "deliver":
            said = deliver(number, data.draw(st.sampled_from(tags)), 1, data.draw(st.binary(max_size=10)))
        elif kind == "cancel":
            said = method(number, spec.Basic.Cancel(data.draw(st.sampled_from(tags)), True))
        elif kind == "large":
            said = method(number, spec.Basic.Deliver(tags[0], 1, False, "", "k")) + header(number, 2000)
        elif kind == "return":
            said = content(number, spec.Basic.Return(312, "NO_ROUTE", "", data.draw(st.sampled_from("abc"))), b"body")
        elif kind == "flow":
            said = method(number, spec.Channel.Flow(data.draw(st.booleans())))
        elif channel.confirms is not None:
            confirm = data.draw(st.sampled_from([spec.Basic.Ack, spec.Basic.Nack]))
            said = method(number, confirm(data.draw(TAGS), data.draw(st.booleans())))
        else:
            return
        cut = data.draw(st.integers(0, len(said)))
        self.take(said[:cut], said[cut:])

    @precondition(lambda self: self.opened_channels())
    @rule(data=st.data(), chance=st.integers(0, 3))
    def close_a_channel(self, data: st.DataObject, chance: int) -> None:
        if chance == 0:
            number = data.draw(st.sampled_from(self.opened_channels())).number
            self.take(method(number, spec.Channel.Close(404, "NOT_FOUND", 0, 0)))

    @rule(blocked=st.booleans())
    def raise_an_alarm(self, blocked: bool) -> None:
        if self.connection.state is ConnectionState.OPEN:
            self.take(method(0, spec.Connection.Blocked("memory") if blocked else spec.Connection.Unblocked()))
            # Nonsense that lay in the buffer may have come before it, and have ended the connection.
            if self.connection.state is ConnectionState.OPEN:
                assert self.connection.blocked == ("memory" if blocked else None)

    @rule(data=NONSENSE, chance=st.integers(0, 30))
    def talk_nonsense(self, data: bytes, chance: int) -> None:
        if chance == 0:
            self.take(data)

    @rule(kind=st.sampled_from(["close", "lost", "silence", "time", "time", "time"]), chance=st.integers(0, 9))
    def let_something_happen(self, kind: str, chance: int) -> None:
        if kind == "time":
            self.broker.now += 10
            self.connection.tick(self.broker.now)
        elif chance == 0:
            if kind == "close":
                self.take(method(0, spec.Connection.Close(320, "CONNECTION_FORCED", 0, 0)))
            elif kind == "lost":
                self.connection.stream_lost(exceptions.StreamLostError("gone"))
            else:
                self.broker.now += 1000
                self.connection.tick(self.broker.now)
        self.take()

    # What must hold

    @invariant()
    def states_move_along_their_tables(self) -> None:
        for item, table in [(self.connection, states.CONNECTION), *((c, states.CHANNEL) for c in self.channels)]:
            before = self.seen.get(id(item), item.state)
            assert item.state in steps(table, before)
            self.seen[id(item)] = item.state

    @invariant()
    def what_has_ended_has_ended_once(self) -> None:
        assert len(self.ended) == len({id(item) for item in self.ended})
        done = [item for item in self.replies if item.done]
        settled = [item for item in self.confirmations if item.outcome is not None]
        assert len(self.ended) == len(done) + len(settled)

    @invariant()
    def nothing_is_pending_behind_the_end(self) -> None:
        for channel in self.channels:
            if channel.state is ChannelState.CLOSED:
                assert channel.unanswered == 0
                assert not channel.consumers and not channel.cancelled
        if self.over:
            assert self.connection.state is ConnectionState.CLOSED
            assert all(reply.done for reply in self.replies)
            assert all(confirmation.outcome is not None for confirmation in self.confirmations)
            assert all(channel.state is ChannelState.CLOSED for channel in self.channels)
            assert self.connection.next_deadline() is None

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.stream_lost(exceptions.StreamLostError("the end of the test"))
            self.take()
            assert self.over
            self.nothing_is_pending_behind_the_end()


TestConversation = Conversation.TestCase
TestConversation.settings = settings(
    max_examples=min(2 * settings().max_examples, 10_000), stateful_step_count=40, deadline=None
)
