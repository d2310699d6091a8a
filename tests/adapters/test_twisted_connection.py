"""TwistedProtocolConnection on Twisted's reactor, against both brokers: opening, closing, dying, liveness."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import pika
from pika import exceptions, frame
from pika.adapters.utils.outflow import OutputLimitExceeded
from tests.support.programs import ROOT
from tests.support.proxy import Proxy
from tests.support.rabbitmq import Broker
from tests.support.reactor_cases import Case, Cases, chosen
from tests.support.scripted_broker import Session, scripted_broker

pytest.importorskip("twisted", reason="no Twisted for this interpreter")

cases = Cases("tests.adapters.test_twisted_connection")


@pytest.mark.parametrize("name", cases)
def test_on_the_reactor(name: str, broker: Broker, request: pytest.FixtureRequest) -> None:
    cases.check(name, broker.url, chosen(request))


# Opening


@cases
async def opens_and_closes(case: Case) -> None:
    built = await case.build()
    ready = built.ready
    assert not built.is_open
    assert built.closed is None
    assert await ready is built
    assert built.ready is None
    assert built.is_open
    closed = built.closed
    closing = built.close(200, "enough")
    assert closing is closed
    assert not built.is_open
    reason = await closing
    assert isinstance(reason, exceptions.ConnectionClosedByClient)
    assert (reason.reply_code, reason.reply_text) == (200, "enough")
    assert built.is_closed
    assert built.closed is None
    assert built.close() is None


@cases
async def a_wrong_password_is_told_of(case: Case) -> None:
    from twisted.internet.error import ConnectionDone

    built = await case.build(case.parameters(credentials=pika.PlainCredentials("guest", "wrong")))
    error = await case.outcome(built.ready)
    assert isinstance(error, exceptions.ProbableAuthenticationError)
    assert isinstance(error, ConnectionDone)
    assert "ACCESS_REFUSED" in str(error)
    assert built.ready is None
    assert built.closed is None


@cases
async def a_virtual_host_that_is_not_there_is_told_of(case: Case) -> None:
    built = await case.build(case.parameters(virtual_host="nowhere"))
    assert isinstance(await case.outcome(built.ready), exceptions.ProbableAccessDeniedError)
    assert built.is_closed


@cases
async def closing_before_it_is_open_fails_ready(case: Case) -> None:
    built = await case.build()
    ready = built.ready
    assert built.close() is None
    assert isinstance(await case.outcome(ready), exceptions.ConnectionOpenAborted)
    assert built.is_closed


@cases
async def closing_before_there_is_a_transport_fails_ready(case: Case) -> None:
    from twisted.internet import protocol

    from pika.adapters.twisted_connection import TwistedProtocolConnection

    built = TwistedProtocolConnection(case.parameters())
    ready = built.ready
    assert built.close() is None
    assert isinstance(await case.outcome(ready), exceptions.ConnectionOpenAborted)
    assert built.is_closed
    # A transport that comes late is given back.
    own = case.parameters()
    from twisted.internet import endpoints

    endpoint = endpoints.HostnameEndpoint(case.reactor, own.host, own.port)
    await endpoint.connect(protocol.Factory.forProtocol(lambda: built))
    await case.until(lambda: not built.transport.connected)


@cases
async def what_is_no_broker_is_told_of(case: Case) -> None:
    with scripted_broker(lambda session: session.peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as peer:
        built = await case.build(port=peer.port)
        assert isinstance(await case.outcome(built.ready), exceptions.IncompatibleProtocolError)


@cases
async def parameters_of_another_kind_are_refused(case: Case) -> None:
    from pika.adapters.twisted_connection import TwistedProtocolConnection

    with pytest.raises(ValueError, match="URLParameters"):
        TwistedProtocolConnection("amqp://localhost")  # type: ignore[arg-type]  # what is tested


# Subclasses


@cases
async def a_subclass_hears_of_all_of_its_life(case: Case) -> None:
    from twisted.internet import protocol
    from twisted.python.failure import Failure

    from pika.adapters.twisted_connection import TwistedProtocolConnection

    log: list[str] = []

    class Listening(TwistedProtocolConnection):
        def connectionMade(self) -> None:
            log.append("made")

        def _on_connection_ready(self, connection: Any) -> None:
            log.append(f"before ready: {self.is_open} {self.ready is not None}")
            super()._on_connection_ready(connection)
            log.append(f"after ready: {self.ready is None} {self.closed is not None}")

        def connectionReady(self) -> Any:
            log.append("ready")
            return super().connectionReady()

        def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
            log.append("lost")
            super().connectionLost(reason)

        def _on_connection_closed(self, connection: Any, exception: BaseException) -> None:
            log.append(f"closed: {self.closed is not None}")
            super()._on_connection_closed(connection, exception)

    built = await case.connect(kind=Listening)
    await case.sleep()
    assert log == ["made", "before ready: True True", "ready", "after ready: True True"]
    log.clear()
    await built.close()
    await case.sleep()
    assert log == ["lost", "closed: True"]


@cases
async def connection_ready_may_take_its_time(case: Case) -> None:
    from pika.adapters.twisted_connection import TwistedProtocolConnection

    class Slow(TwistedProtocolConnection):
        async def _prepare(self) -> Any:
            channel = await self.channel()
            await channel.basic_qos(prefetch_count=3)
            return channel

        def connectionReady(self) -> Any:
            from twisted.internet import defer

            return defer.ensureDeferred(self._prepare())

    built = await case.build(kind=Slow)
    channel = await built.ready
    assert channel.is_open
    assert channel.connection.is_open


@cases
async def ready_fails_with_what_connection_ready_raises(case: Case) -> None:
    from pika.adapters.twisted_connection import TwistedProtocolConnection

    class Failing(TwistedProtocolConnection):
        def connectionReady(self) -> Any:
            raise LookupError("in connectionReady")

    built = await case.build(kind=Failing)
    assert isinstance(await case.outcome(built.ready), LookupError)
    assert built.is_open


@cases
async def ready_fails_with_what_an_override_raises(case: Case) -> None:
    from pika.adapters.twisted_connection import TwistedProtocolConnection

    class Failing(TwistedProtocolConnection):
        def _on_connection_ready(self, connection: Any) -> None:
            raise LookupError("in _on_connection_ready")

    built = await case.build(kind=Failing)
    assert isinstance(await case.outcome(built.ready), LookupError)
    assert built.is_open


@cases
async def ready_fails_when_the_connection_ends_before_connection_ready(case: Case) -> None:
    from twisted.internet import defer

    from pika.adapters.twisted_connection import TwistedProtocolConnection

    forever: list[Any] = []

    class Waiting(TwistedProtocolConnection):
        def connectionReady(self) -> Any:
            forever.append(defer.Deferred())
            return forever[0]

    built = await case.build(kind=Waiting)
    ready = built.ready
    await case.until(lambda: forever)
    built.transport.abortConnection()
    assert isinstance(await case.outcome(ready), exceptions.StreamLostError)
    # Too late, and no error of anybody's.
    forever[0].callback(None)


# Dying


async def pending(case: Case, built: Any) -> list[Any]:
    """Ask for all sorts of things that are not answered yet, and return what waits for them."""
    channel = await case.channel(built)
    queue = await case.queue(channel)
    messages, _tag = await channel.basic_consume(queue)
    return [messages.get(), channel.queue_declare("", exclusive=True), built.channel(), channel.tx_select()]


async def check_end(case: Case, built: Any, waiting: list[Any], kinds: Any) -> Any:
    """See that everything that waits fails as the connection ends, and return the connection's reason."""
    closed = built.closed
    ends = [await case.outcome(deferred) for deferred in waiting]
    assert all(isinstance(end, kinds) for end in ends), ends
    reason = await closed
    assert built.is_closed
    assert built.closed is None
    return reason


@cases
async def a_cut_is_told_to_all_that_waits(case: Case) -> None:
    from twisted.internet.error import ConnectionDone

    own = case.parameters()
    with Proxy(own.port, own.host) as proxy:
        built = await case.connect(port=proxy.port)
        waiting = await pending(case, built)
        closed = built.closed
        proxy.cut()
        # What was answered before the cut has its answer.
        ends = [await case.outcome(deferred) for deferred in waiting]
        reason = await closed
    assert isinstance(ends[0], ConnectionDone)
    assert isinstance(reason, exceptions.StreamLostError)
    assert isinstance(reason, ConnectionDone)
    assert isinstance(reason.__cause__, ConnectionDone)
    assert "Transport indicated EOF" in str(reason)


@cases
async def a_reset_is_told_to_all_that_waits(case: Case) -> None:
    from twisted.internet.error import ConnectionLost

    own = case.parameters()
    with Proxy(own.port, own.host) as proxy:
        built = await case.connect(port=proxy.port)
        proxy.freeze(["to_server"])
        channel_waits = built.channel()
        proxy.reset()
        reason = await check_end(case, built, [channel_waits], exceptions.StreamLostError)
    assert isinstance(reason, ConnectionLost)
    with pytest.raises(exceptions.ConnectionWrongStateError):
        built.channel()


@cases
async def aborting_the_transport_is_told_to_all_that_waits(case: Case) -> None:
    from twisted.internet.error import ConnectionAborted

    built = await case.connect()
    waiting = await pending(case, built)
    built.transport.abortConnection()
    reason = await check_end(case, built, waiting, (exceptions.StreamLostError, ConnectionAborted))
    assert isinstance(reason, ConnectionAborted)


@cases
async def the_brokers_reason_is_told(case: Case) -> None:
    from twisted.internet.error import ConnectionDone

    def script(session: Session) -> None:
        session.open()
        session.open_channel()
        session.send(encoded(pika.spec.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0)))
        session.expect(pika.spec.Connection.CloseOk)

    with scripted_broker(script) as peer:
        built = await case.connect(port=peer.port)
        reason = await check_end(
            case, built, [(await built.channel()).queue_declare("x")], exceptions.ConnectionClosedByBroker
        )
    assert isinstance(reason, ConnectionDone)
    assert reason.reply_code == 320
    assert "maintenance" in str(reason)


def encoded(method: Any) -> bytes:
    from tests.support.encoding import method as encode

    return encode(0, method)


@cases
async def closing_ends_all_that_waits(case: Case) -> None:
    built = await case.connect()
    channel = await case.channel(built)
    messages, _tag = await channel.basic_consume(await case.queue(channel))
    waiting = [messages.get(), built.channel()]
    reason = built.close()
    assert isinstance(await case.outcome(waiting[0]), exceptions.ChannelClosedByClient)
    assert isinstance(await case.outcome(waiting[1]), exceptions.ConnectionClosedByClient)
    assert isinstance(await channel.on_closed, exceptions.ChannelClosedByClient)
    assert isinstance(await reason, exceptions.ConnectionClosedByClient)


@cases
async def closing_twice_is_refused_and_the_first_counts(case: Case) -> None:
    built = await case.connect()
    closing = built.close()
    with pytest.raises(exceptions.ConnectionWrongStateError):
        built.close()
    assert isinstance(await closing, exceptions.ConnectionClosedByClient)


@cases
async def closing_has_a_bound(case: Case) -> None:
    def script(session: Session) -> None:
        session.open()
        session.hold()

    with scripted_broker(script) as peer:
        built = await case.connect(port=peer.port)
        built._impl.CLOSE_TIMEOUT = 0.1
        assert isinstance(await built.close(), exceptions.ConnectionClosedByClient)


@cases
async def an_error_in_a_callback_of_the_connection_costs_no_connection(case: Case) -> None:
    built = await case.connect()
    channel = await case.channel(built)

    def on_return(_message: Any) -> None:
        raise LookupError("in a return callback")

    channel.add_on_return_callback(on_return)
    channel.basic_publish("", "nowhere", b"", mandatory=True)
    await case.until(lambda: case.errors)
    (error,) = case.errors
    assert isinstance(error, LookupError)
    case.errors.clear()
    assert (await channel.queue_declare("", exclusive=True)).method.queue
    assert built.is_open


@cases
async def an_error_in_a_deferreds_callback_is_the_programs(case: Case) -> None:
    channel = await case.channel()

    def fail(_answer: Any) -> None:
        raise LookupError("in a callback of a Deferred")

    deferred = channel.queue_declare("", exclusive=True)
    deferred.addCallback(fail)
    error = await case.outcome(deferred)
    assert isinstance(error, LookupError)
    assert channel.is_open


# Channels


@cases
async def a_channel_that_nobody_waits_for_any_more_is_closed(case: Case) -> None:
    from twisted.internet.defer import CancelledError

    built = await case.connect()
    deferred = built.channel(5)
    deferred.cancel()
    assert isinstance(await case.outcome(deferred), CancelledError)
    await case.until(lambda: 5 not in built._impl._channels)
    assert (await built.channel(5)).channel_number == 5


@cases
async def channel_numbers_are_checked(case: Case) -> None:
    built = await case.connect()
    assert (await built.channel(7)).channel_number == 7
    for number in (7, -1, 65536, "x"):
        with pytest.raises(exceptions.InvalidChannelNumber):
            built.channel(number)
    assert (await built.channel()).channel_number == 1


# Liveness


@cases
async def heartbeats_keep_an_idle_connection(case: Case) -> None:
    own = case.parameters()
    with Proxy(own.port, own.host) as proxy:
        built = await case.connect(case.parameters(heartbeat=1), port=proxy.port)
        # So long that the broker would not take it for alive without them.
        await case.sleep(2.5)
        await case.until(lambda: proxy.record("to_server").count(frame.HEARTBEAT_FRAME) >= 2)
        assert built.is_open
        await built.close()


@cases
async def a_silent_broker_is_dead(case: Case) -> None:
    own = case.parameters()
    with Proxy(own.port, own.host) as proxy:
        built = await case.connect(case.parameters(heartbeat=1), port=proxy.port)
        proxy.freeze()
        waiting = [built.channel()]
        reason = await check_end(case, built, waiting, exceptions.AMQPHeartbeatTimeout)
    assert isinstance(reason, exceptions.AMQPHeartbeatTimeout)


@cases
async def time_in_a_callback_is_no_silence_and_the_log_tells_of_it(case: Case) -> None:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    with scripted_broker(beat) as peer:
        built = await case.connect(case.parameters(heartbeat=1), port=peer.port)
        logging.getLogger("pika").addHandler(handler)
        try:
            await case.sleep(0.05)
            # As a callback that takes too long.
            time.sleep(2.5)
            await case.sleep(0.3)
        finally:
            logging.getLogger("pika").removeHandler(handler)
        assert built.is_open
        built.transport.abortConnection()
        await built.closed
    assert any("the loop was blocked for so long" in text for text in records), records


def beat(session: Session) -> None:
    session.open(pika.spec.Connection.Tune(10, 131072, 1))
    session.beat(0.1)


@cases
async def another_thread_is_refused(case: Case) -> None:
    built = await case.connect()
    raised: list[BaseException] = []

    def call() -> None:
        try:
            built.channel()
        except exceptions.WrongThreadError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    (error,) = raised
    assert "add_callback_threadsafe" in str(error)
    called: list[int] = []
    thread = threading.Thread(
        target=built._impl.add_callback_threadsafe, args=(lambda: called.append(threading.get_ident()),)
    )
    thread.start()
    await case.until(lambda: called)
    thread.join()
    assert called == [threading.get_ident()]


# Back-pressure


@cases
async def what_the_broker_does_not_take_is_counted(case: Case) -> None:
    own = case.parameters()
    with Proxy(own.port, own.host) as proxy:
        built = await case.connect(port=proxy.port)
        channel = await case.channel(built)
        queue = await case.queue(channel)
        connection = channel.connection
        connection.OUTPUT_HIGH_MARK, connection.OUTPUT_LOW_MARK = 4_000_000, 1_000_000
        connection.OUTPUT_LIMIT = 20_000_000
        log: list[str] = []
        connection.add_on_output_paused_callback(lambda _connection: log.append("paused"))
        connection.add_on_output_resumed_callback(lambda _connection: log.append("resumed"))
        proxy.freeze(["to_server"])
        body, count = bytes(1_000_000), 0
        with pytest.raises(OutputLimitExceeded):
            while count < 100:
                channel.basic_publish("", queue, body)
                count += 1
        assert log == ["paused"]
        assert 19_000_000 < connection.unsent_bytes < 23_000_000
        proxy.thaw(["to_server"])
        await case.until(lambda: "resumed" in log)
        await case.until(lambda: connection.unsent_bytes == 0)
        # None is lost, and none comes twice.
        await channel.flow(True)
        assert (await channel.queue_delete(queue)).method.message_count == count


@cases
async def an_alarm_that_takes_too_long_ends_the_connection(case: Case) -> None:
    def script(session: Session) -> None:
        session.open()
        session.send(encoded(pika.spec.Connection.Blocked("low on memory")))
        session.hold()

    with scripted_broker(script) as peer:
        built = await case.connect(case.parameters(blocked_connection_timeout=0.2), port=peer.port)
        assert isinstance(await built.closed, exceptions.ConnectionBlockedTimeout)


# Without Twisted


def test_without_twisted_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['twisted'] = None; import pika.adapters.twisted_connection"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install pika[twisted]" in done.stderr.splitlines()[-1]


def test_importing_the_adapter_installs_no_reactor() -> None:
    code = (
        "import sys\nimport pika.adapters.twisted_connection\nassert 'twisted.internet.reactor' not in sys.modules\n"
        "from twisted.internet import selectreactor\nselectreactor.install()\n"
        "pika.adapters.twisted_connection.TwistedProtocolConnection()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
