"""A consumer and a publisher on Twisted that come back when the connection is lost.

When to use it: in programs that stand on Twisted. Everything happens in the reactor's thread, and what takes time
returns a Deferred, or goes to ``deferToThread``; ``prefetch_count`` bounds how many messages are there at a time.

    python examples/twisted_consumer.py [amqp-url] [message ...]

consumes the queue "tasks" until Ctrl-C, after publishing the messages, if there are any. For TLS the endpoint is
``"tls:host:5671"``.
"""

import sys

from twisted.application.internet import backoffPolicy
from twisted.internet import defer, endpoints, protocol, task

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection

QUEUE = "tasks"
PREFETCH = 10
delay_after = backoffPolicy(initialDelay=0.5, maxDelay=30)


async def work(reactor, body):
    """Do the work of a message, which may take its time, and may fail."""
    await task.deferLater(reactor, 0.1)
    print("got", body.decode(), flush=True)


async def handle(reactor, message):
    """Work, and tell the broker how it went: what fails is tried once more."""
    tag = message.method.delivery_tag
    try:
        await work(reactor, message.body)
        settle, arguments = message.channel.basic_ack, {}
    except Exception as error:
        print(f"failed: {message.body.decode()}: {error!r}", flush=True)
        settle, arguments = message.channel.basic_reject, {"requeue": not message.method.redelivered}
    # On a channel that is gone there is nothing to tell: the broker gives the message to the next.
    if message.channel.is_open:
        settle(tag, **arguments)


async def publish(connection, bodies):
    """Publish messages, and return when the broker has taken them all."""
    channel = await connection.channel()
    await channel.queue_declare(QUEUE, durable=True)
    await channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)
    while bodies:
        # It fails with UnroutableError, with NackError, or with the reason of the connection's end.
        await channel.basic_publish("", QUEUE, bodies[0].encode(), properties, mandatory=True)
        print("published", bodies.pop(0), flush=True)
    channel.close()


async def consume(reactor, connection):
    """Consume until the consumer ends, and raise why."""
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=PREFETCH)
    await channel.queue_declare(QUEUE, durable=True)
    messages, _tag = await channel.basic_consume(QUEUE)
    print("consuming", flush=True)
    while True:
        message = await messages.get()
        # Each on its own; what it raises is logged as an unhandled error of its Deferred.
        defer.ensureDeferred(handle(reactor, message))


async def run(reactor, url, bodies):
    parameters = pika.URLParameters(url)
    endpoint = endpoints.HostnameEndpoint(reactor, parameters.host, parameters.port)
    factory = protocol.Factory.forProtocol(lambda: TwistedProtocolConnection(parameters, reactor))
    attempt = 0
    while True:
        connection = None
        try:
            connection = await endpoint.connect(factory)
            await connection.ready
            attempt = 0
            await publish(connection, bodies)
            await consume(reactor, connection)
        except defer.CancelledError:
            raise
        except Exception as error:
            delay = delay_after(attempt)
            attempt += 1
            print(f"no connection, trying again in {delay:.1f} seconds: {error!r}", flush=True)
        finally:
            if connection is not None and connection.is_open:
                await connection.close()
            elif connection is not None:
                connection.transport.loseConnection()
        await task.deferLater(reactor, delay)


def main(reactor, url="amqp://guest:guest@localhost/%2F", *bodies):
    running = defer.ensureDeferred(run(reactor, url, list(bodies)))
    over = defer.Deferred()
    running.addErrback(lambda failure: failure.trap(defer.CancelledError))
    running.addBoth(over.callback)

    def stop():
        running.cancel()
        return over

    # The reactor waits for that before it closes what is open, with Ctrl-C too.
    reactor.addSystemEventTrigger("before", "shutdown", stop)
    return running


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
