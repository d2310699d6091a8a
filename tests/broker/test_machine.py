"""Random operations of several clients, beside a simple model of what queues hold."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pika import spec
from tests.broker.peer import Content, Received, connected, make_node

CLIENTS = (0, 1)
CHANNELS = (1, 2)
QUEUES = ("q0", "q1", "q2")
EXCHANGES = ("amq.fanout", "amq.direct", "amq.topic")
KEYS = ("a", "b")
NOBODY = -1

Place = tuple[int, int]


class Entry:
    """A message in a queue.

    :param position: where in the queue it belongs
    :param body: what tells it apart
    """

    def __init__(self, position: int, body: bytes) -> None:
        self.position = position
        self.body = body
        self.redelivered = False


class Queue:
    """What the model knows of a queue.

    :param owner: the client whose alone it is, or NOBODY
    :param auto_delete: whether it goes with its last consumer
    """

    def __init__(self, owner: int, auto_delete: bool) -> None:
        self.owner = owner
        self.auto_delete = auto_delete
        self.ready: list[Entry] = []
        self.published = 0

    def add(self, body: bytes) -> None:
        self.ready.append(Entry(self.published, body))
        self.published += 1

    def requeue(self, entry: Entry) -> None:
        entry.redelivered = True
        self.ready = sorted([*self.ready, entry], key=lambda item: item.position)


class Consumer:
    """What the model knows of a consumer."""

    def __init__(self, queue: Queue, no_ack: bool, prefetch: int) -> None:
        self.queue = queue
        self.no_ack = no_ack
        self.prefetch = prefetch


class Unsettled:
    """A delivery that is not settled yet."""

    def __init__(self, queue: Queue, entry: Entry, consumer: Consumer | None) -> None:
        self.queue = queue
        self.entry = entry
        self.consumer = consumer


class Channel:
    """What the model knows of a channel."""

    def __init__(self) -> None:
        self.next_tag = 1
        self.prefetch = 0
        self.limit = 0
        self.consumers: dict[str, Consumer] = {}
        self.unsettled: dict[int, Unsettled] = {}

    def has_room(self, consumer: Consumer) -> bool:
        """Whether a consumer may get something."""
        if consumer.no_ack:
            return True
        consumed = [held.consumer for held in self.unsettled.values() if held.consumer is not None]
        mine = sum(holder is consumer for holder in consumed)
        return not (consumer.prefetch and mine >= consumer.prefetch) and not (
            self.limit and len(consumed) >= self.limit
        )


places = st.tuples(st.sampled_from(CLIENTS), st.sampled_from(CHANNELS))
queues = st.sampled_from(QUEUES)


class BrokerMachine(RuleBasedStateMachine):
    """Two clients with two channels each, and three queues."""

    def __init__(self) -> None:
        super().__init__()
        self.node = make_node()
        self.peers = [connected(self.node, *CHANNELS) for _ in CLIENTS]
        self.channels: dict[Place, Channel] = {(client, number): Channel() for client in CLIENTS for number in CHANNELS}
        self.queues: dict[str, Queue] = {}
        self.bindings: set[tuple[str, str, str]] = set()
        self.bodies = 0
        self.tags = 0
        # Whose consumers lost their queue in this step, and must be told.
        self.cancelled: set[tuple[Place, str]] = set()

    # What arrives

    def observe(self, place: Place | None = None, found: list[tuple[int, Received]] | None = None) -> list[Received]:
        """Take what arrived at all clients, check the deliveries in it, and return the rest that came to `place`."""
        rest: list[Received] = []
        arrived: list[tuple[Place, Content]] = []
        cancelled: set[tuple[Place, str]] = set()
        for client, peer in enumerate(self.peers):
            received = peer.received()
            if found is not None and place is not None and client == place[0]:
                received = found + received
            for number, item in received:
                if isinstance(item, Content) and isinstance(item.method, spec.Basic.Deliver):
                    arrived.append(((client, number), item))
                elif isinstance(item, spec.Basic.Cancel):
                    cancelled.add(((client, number), item.consumer_tag))
                else:
                    assert place == (client, number), f"out of the blue on {(client, number)}: {item!r}"
                    rest.append(item)
        assert cancelled == self.cancelled
        self.cancelled = set()
        self.deliver(arrived)
        return rest

    def deliver(self, arrived: list[tuple[Place, Content]]) -> None:
        """See that the deliveries are what may have been delivered: the first of each queue, to who had room."""
        by_queue: dict[int, list[bytes]] = {}
        before = {id(queue): list(queue.ready) for queue in self.queues.values()}
        for place, content in arrived:
            channel, method = self.channels[place], content.method
            assert isinstance(method, spec.Basic.Deliver)
            consumer = channel.consumers[method.consumer_tag]
            queue = consumer.queue
            entry = next(item for item in queue.ready if item.body == content.body)
            assert method.redelivered == entry.redelivered
            assert method.delivery_tag == channel.next_tag
            assert channel.has_room(consumer)
            mine = [held.entry.position for held in channel.unsettled.values() if held.consumer is consumer]
            assert entry.redelivered or not mine or entry.position > max(mine)
            queue.ready.remove(entry)
            by_queue.setdefault(id(queue), []).append(entry.body)
            channel.next_tag += 1
            if not consumer.no_ack:
                channel.unsettled[method.delivery_tag] = Unsettled(queue, entry, consumer)
        for key, delivered in by_queue.items():
            assert sorted(delivered) == sorted(entry.body for entry in before[key][: len(delivered)])
        for channel in self.channels.values():
            for consumer in channel.consumers.values():
                assert not (consumer.queue.ready and channel.has_room(consumer)), "a consumer with room waits"

    def call(self, place: Place, method: Any, *, sent: bytes = b"") -> Any:
        """Send a method, and return its answer."""
        peer = self.peers[place[0]]
        found = peer.feed(sent) if sent else peer.send(place[1], method)
        rest = self.observe(place, found)
        assert len(rest) == 1, rest
        return rest[0]

    def refused(self, place: Place, answer: Any, code: int) -> None:
        """See that the channel was closed, and open it again. What the model says of it was said before."""
        assert isinstance(answer, spec.Channel.Close), answer
        assert answer.reply_code == code
        ((number, opened),) = self.peers[place[0]].send(place[1], spec.Channel.CloseOk(), spec.Channel.Open())
        assert number == place[1]
        assert isinstance(opened, spec.Channel.OpenOk)

    # What the model does

    def accessible(self, place: Place, name: str) -> int:
        """The code with which an access to a queue is refused, or 0."""
        queue = self.queues.get(name)
        if queue is None:
            return 404
        return 405 if queue.owner not in (NOBODY, place[0]) else 0

    def forget(self, place: Place) -> None:
        """The channel is gone: consumers, and unsettled messages back into their queues."""
        channel, self.channels[place] = self.channels[place], Channel()
        for held in channel.unsettled.values():
            held.queue.requeue(held.entry)
        for consumer in channel.consumers.values():
            self.consumer_gone(consumer.queue)

    def has_consumers(self, queue: Queue) -> int:
        return sum(consumer.queue is queue for c in self.channels.values() for consumer in c.consumers.values())

    def consumer_gone(self, queue: Queue) -> None:
        if queue.auto_delete and not self.has_consumers(queue):
            self.drop(queue)

    def drop(self, queue: Queue) -> None:
        """The queue is gone: bindings, and its consumers are told."""
        for name in [name for name, other in self.queues.items() if other is queue]:
            del self.queues[name]
            self.bindings = {binding for binding in self.bindings if binding[2] != name}
        for place, channel in self.channels.items():
            for tag in [tag for tag, consumer in channel.consumers.items() if consumer.queue is queue]:
                del channel.consumers[tag]
                self.cancelled.add((place, tag))

    def routed(self, exchange: str, key: str) -> list[Queue]:
        if not exchange:
            return [self.queues[key]] if key in self.queues else []
        names = {queue for e, k, queue in self.bindings if e == exchange and (e == "amq.fanout" or k == key)}
        return [self.queues[name] for name in sorted(names)]

    # Operations

    @rule(place=places, name=queues, exclusive=st.booleans(), auto_delete=st.booleans())
    def declare(self, place: Place, name: str, exclusive: bool, auto_delete: bool) -> None:
        code = self.accessible(place, name)
        queue = self.queues.get(name)
        if queue is not None and not code:
            # RabbitMQ looks at who owns it first.
            code = 405 if exclusive != (queue.owner != NOBODY) else 406 if auto_delete != queue.auto_delete else 0
        if queue is None:
            code = 0
            self.queues[name] = Queue(place[0] if exclusive else NOBODY, auto_delete)
        if code:
            self.forget(place)
        answer = self.call(place, spec.Queue.Declare(queue=name, exclusive=exclusive, auto_delete=auto_delete))
        if code:
            self.refused(place, answer, code)
        else:
            assert isinstance(answer, spec.Queue.DeclareOk)

    @rule(place=places, exchange=st.sampled_from(EXCHANGES), key=st.sampled_from(KEYS), name=queues, bind=st.booleans())
    def bind(self, place: Place, exchange: str, key: str, name: str, bind: bool) -> None:
        code = self.accessible(place, name)
        # To unbind what is not there is no error, whoever asks.
        if code and (bind or (exchange, key, name) in self.bindings):
            self.forget(place)
            method = spec.Queue.Bind if bind else spec.Queue.Unbind
            self.refused(place, self.call(place, method(queue=name, exchange=exchange, routing_key=key)), code)
        elif bind:
            self.bindings.add((exchange, key, name))
            answer = self.call(place, spec.Queue.Bind(queue=name, exchange=exchange, routing_key=key))
            assert isinstance(answer, spec.Queue.BindOk)
        else:
            self.bindings.discard((exchange, key, name))
            answer = self.call(place, spec.Queue.Unbind(queue=name, exchange=exchange, routing_key=key))
            assert isinstance(answer, spec.Queue.UnbindOk)

    @rule(
        place=places,
        address=st.one_of(st.tuples(st.just(""), queues), st.tuples(st.sampled_from(EXCHANGES), st.sampled_from(KEYS))),
        count=st.integers(1, 4),
        mandatory=st.booleans(),
    )
    def publish(self, place: Place, address: tuple[str, str], count: int, mandatory: bool) -> None:
        for _ in range(count):
            self.bodies += 1
            body = b"%d" % self.bodies
            found = self.routed(*address)
            for queue in found:
                queue.add(body)
            rest = self.observe(
                place, self.peers[place[0]].publish(*address, body, number=place[1], mandatory=mandatory)
            )
            if mandatory and not found:
                assert len(rest) == 1
                assert isinstance(rest[0], Content)
                assert isinstance(rest[0].method, spec.Basic.Return)
                assert rest[0].body == body
            else:
                assert rest == []

    @rule(place=places, name=queues, no_ack=st.booleans())
    def get(self, place: Place, name: str, no_ack: bool) -> None:
        code = self.accessible(place, name)
        if code:
            self.forget(place)
            self.refused(place, self.call(place, spec.Basic.Get(queue=name)), code)
            return
        channel, queue = self.channels[place], self.queues[name]
        expected = queue.ready.pop(0) if queue.ready else None
        answer = self.call(place, spec.Basic.Get(queue=name, no_ack=no_ack))
        if expected is None:
            assert isinstance(answer, spec.Basic.GetEmpty)
            return
        assert isinstance(answer, Content)
        method = answer.method
        assert isinstance(method, spec.Basic.GetOk)
        assert (answer.body, method.redelivered) == (expected.body, expected.redelivered)
        assert (method.delivery_tag, method.message_count) == (channel.next_tag, len(queue.ready))
        channel.next_tag += 1
        if not no_ack:
            channel.unsettled[method.delivery_tag] = Unsettled(queue, expected, None)

    @rule(place=places, name=queues, no_ack=st.booleans())
    def consume(self, place: Place, name: str, no_ack: bool) -> None:
        code = self.accessible(place, name)
        if code:
            self.forget(place)
            self.refused(place, self.call(place, spec.Basic.Consume(queue=name)), code)
            return
        self.tags += 1
        tag = f"consumer-{self.tags}"
        channel = self.channels[place]
        channel.consumers[tag] = Consumer(self.queues[name], no_ack, channel.prefetch)
        answer = self.call(place, spec.Basic.Consume(queue=name, consumer_tag=tag, no_ack=no_ack))
        assert answer == spec.Basic.ConsumeOk(tag)

    @rule(place=places, data=st.data())
    def cancel(self, place: Place, data: st.DataObject) -> None:
        channel = self.channels[place]
        tag = data.draw(st.sampled_from([*sorted(channel.consumers), "nobody"]))
        gone = channel.consumers.pop(tag, None)
        if gone is not None:
            self.consumer_gone(gone.queue)
        assert self.call(place, spec.Basic.Cancel(consumer_tag=tag)) == spec.Basic.CancelOk(tag)

    @rule(place=places, count=st.integers(0, 3), whole_channel=st.booleans())
    def qos(self, place: Place, count: int, whole_channel: bool) -> None:
        channel = self.channels[place]
        if whole_channel:
            channel.limit = count
        else:
            channel.prefetch = count
        answer = self.call(place, spec.Basic.Qos(prefetch_count=count, global_qos=whole_channel))
        assert isinstance(answer, spec.Basic.QosOk)

    @rule(
        place=places,
        data=st.data(),
        how=st.sampled_from(["ack", "nack", "reject"]),
        multiple=st.booleans(),
        requeue=st.booleans(),
    )
    def settle(self, place: Place, data: st.DataObject, how: str, multiple: bool, requeue: bool) -> None:
        channel = self.channels[place]
        multiple = multiple and how != "reject"
        tag = data.draw(st.sampled_from([*channel.unsettled, *([0] if multiple else []), 1000]))
        known = tag in channel.unsettled or not tag
        settled = [t for t in channel.unsettled if t == tag or (multiple and (t < tag or not tag))] if known else []
        for number in settled:
            held = channel.unsettled.pop(number)
            if how != "ack" and requeue:
                held.queue.requeue(held.entry)
        if not known:
            self.forget(place)
        method: Any = {
            "ack": spec.Basic.Ack(tag, multiple),
            "nack": spec.Basic.Nack(tag, multiple, requeue),
            "reject": spec.Basic.Reject(tag, requeue),
        }[how]
        rest = self.observe(place, self.peers[place[0]].send(place[1], method))
        if known:
            assert rest == []
        else:
            self.refused(place, rest[0], 406)

    @rule(place=places)
    def recover(self, place: Place) -> None:
        channel = self.channels[place]
        for held in channel.unsettled.values():
            held.queue.requeue(held.entry)
        channel.unsettled.clear()
        assert isinstance(self.call(place, spec.Basic.Recover(requeue=True)), spec.Basic.RecoverOk)

    @rule(place=places, name=queues)
    def purge(self, place: Place, name: str) -> None:
        code = self.accessible(place, name)
        if code:
            self.forget(place)
            self.refused(place, self.call(place, spec.Queue.Purge(queue=name)), code)
            return
        count = len(self.queues[name].ready)
        self.queues[name].ready.clear()
        assert self.call(place, spec.Queue.Purge(queue=name)) == spec.Queue.PurgeOk(count)

    @rule(place=places, name=queues, if_unused=st.booleans(), if_empty=st.booleans())
    def delete(self, place: Place, name: str, if_unused: bool, if_empty: bool) -> None:
        queue = self.queues.get(name)
        code = self.accessible(place, name) if queue is not None else 0
        count = 0
        if queue is not None and not code:
            count = len(queue.ready)
            code = 406 if (if_unused and self.has_consumers(queue)) or (if_empty and count) else 0
        if code:
            self.forget(place)
        elif queue is not None:
            self.drop(queue)
        answer = self.call(place, spec.Queue.Delete(queue=name, if_unused=if_unused, if_empty=if_empty))
        if code:
            self.refused(place, answer, code)
        else:
            assert answer == spec.Queue.DeleteOk(count)

    @rule(place=places)
    def close_channel(self, place: Place) -> None:
        self.forget(place)
        assert self.call(place, spec.Channel.Close(200, "", 0, 0)) == spec.Channel.CloseOk()
        assert isinstance(self.call(place, spec.Channel.Open()), spec.Channel.OpenOk)

    @rule(client=st.sampled_from(CLIENTS), politely=st.booleans())
    def close_connection(self, client: int, politely: bool) -> None:
        for number in CHANNELS:
            self.forget((client, number))
        for queue in [queue for queue in self.queues.values() if queue.owner == client]:
            self.drop(queue)
        old = self.peers[client]
        if politely:
            assert old.send(0, spec.Connection.Close(200, "", 0, 0)) == [(0, spec.Connection.CloseOk())]
        old.connection.lost()
        self.peers[client] = connected(self.node, *CHANNELS)
        # The client that is gone hears nothing more.
        self.cancelled = {(place, tag) for place, tag in self.cancelled if place[0] != client}
        self.observe()

    # What holds after each of them

    @invariant()
    def counts_are_right(self) -> None:
        for name, queue in self.queues.items():
            place = (max(queue.owner, 0), 1)
            answer = self.call(place, spec.Queue.Declare(queue=name, passive=True))
            assert answer == spec.Queue.DeclareOk(name, len(queue.ready), self.has_consumers(queue))

    @precondition(lambda self: not self.queues)
    @invariant()
    def nothing_is_bound_to_nothing(self) -> None:
        assert self.bindings == set()


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    settings(),
    max_examples=60 if settings().max_examples <= 100 else settings().max_examples,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
