"""Six: a call over queues: a request says where the answer goes, and which one it is."""

from __future__ import annotations

import asyncio
import uuid

import pika
from pika.aio import Channel, connect


def fibonacci(number: int) -> int:
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


async def on_request(
    channel: Channel, method: pika.spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
) -> None:
    if properties.reply_to is not None:
        answer = pika.BasicProperties(correlation_id=properties.correlation_id)
        await channel.basic_publish("", properties.reply_to, str(fibonacci(int(body))), answer)
    await channel.basic_ack(method.delivery_tag)


class FibonacciClient:
    """Any number of calls at a time, whose answers come in any order."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._answers = ""
        self._calls: dict[str, asyncio.Future[int]] = {}

    async def start(self) -> None:
        self._answers = (await self._channel.queue_declare("", exclusive=True)).method.queue
        await self._channel.basic_consume(self._answers, self._on_answer, auto_ack=True)

    def _on_answer(
        self, _channel: Channel, _method: pika.spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes
    ) -> None:
        call = self._calls.pop(properties.correlation_id or "", None)
        if call is not None and not call.done():
            call.set_result(int(body))

    async def call(self, number: int) -> int:
        correlation_id = str(uuid.uuid4())
        call = self._calls[correlation_id] = asyncio.get_running_loop().create_future()
        properties = pika.BasicProperties(reply_to=self._answers, correlation_id=correlation_id)
        await self._channel.basic_publish("", "rpc", str(number), properties)
        return await asyncio.wait_for(call, timeout=30)


async def main(url: str) -> list[str]:
    async with connect(url, name="server") as server, connect(url, name="client") as connection:
        channel = await server.channel(prefetch=1)
        await channel.queue_declare("rpc", exclusive=False, auto_delete=True)
        await channel.basic_consume("rpc", on_request)
        client = FibonacciClient(await connection.channel())
        await client.start()
        numbers = (1, 10, 15)
        results = await asyncio.gather(*(client.call(number) for number in numbers))
        return [f"fibonacci({number}) = {result}" for number, result in zip(numbers, results)]
