"""Globus Compute's endpoint: its two threads take tasks and publish results, each on a select connection of its own."""

from __future__ import annotations

import queue
import sys
from typing import Any

from common import PATIENCE, proxy_to, wait_until
from globus_compute_endpoint.endpoint.rabbit_mq import ResultPublisher, TaskQueueSubscriber

import pika

TASKS, RESULTS = "globus.tasks", "globus.results"


def check(url: str) -> str:
    proxy, through = proxy_to(url)
    with proxy, pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.exchange_declare(RESULTS, "topic")
        for name in (TASKS, RESULTS):
            channel.queue_declare(name)
        channel.queue_bind(RESULTS, RESULTS, "#")
        tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        subscriber = TaskQueueSubscriber(
            cred_fn=lambda: {"connection_url": through, "queue": TASKS}, pending_task_queue=tasks, poll_period_s=0.05
        )
        publishing = {
            "exchange": RESULTS,
            "routing_key": "result",
            "mandatory": True,
            "properties": {"delivery_mode": 2},
        }
        publisher = ResultPublisher(
            cred_fn=lambda: {
                "connection_url": through,
                "exchange": RESULTS,
                "queue": RESULTS,
                "queue_publish_kwargs": publishing,
            },
            poll_period_s=0.05,
        )
        with subscriber, publisher:
            do_tasks(channel, tasks, subscriber, publisher, 50)
            proxy.reset()
            do_tasks(channel, tasks, subscriber, publisher, 50)
            publisher.stop(block=False)
        for thread in (subscriber, publisher):
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread
        # What is acknowledged is gone.
        assert channel.queue_declare(TASKS, passive=True).method.message_count == 0
    return "tasks, confirmed results, reconnecting, stopping"


def do_tasks(channel: Any, tasks: Any, subscriber: Any, publisher: Any, number: int) -> None:
    """Publish tasks, do them as an engine does, and see their results."""
    bodies = {b"task %d" % index for index in range(number)}
    for body in bodies:
        channel.basic_publish("", TASKS, body, pika.BasicProperties(headers={"function_uuid": body.decode()}))
    done: set[bytes] = set()
    confirmed = []
    while done < bodies:
        tag, headers, body = tasks.get(timeout=PATIENCE)
        assert headers["function_uuid"] == body.decode()
        done.add(body)
        confirmed.append(publisher.publish(body))
        subscriber.ack(tag)
    for future in confirmed:
        assert future.result(PATIENCE) is None
    results: set[bytes] = set()
    while results < bodies:
        method, properties, body = channel.basic_get(RESULTS, auto_ack=True)
        assert method is not None and properties.delivery_mode == 2
        results.add(body)
    # It sends acknowledgements from time to time, and none when it is asked to stop.
    wait_until(subscriber._to_ack.empty, "acknowledgements")


if __name__ == "__main__":
    print(check(sys.argv[1]))
