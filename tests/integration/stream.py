"""Numbered records in a steady stream, and the question whether each is in the log once and in order.

    stream = Stream(producer, "orders", partitions=3)
    async with stream.flowing():                    # sends in the background, to all partitions in turn
        await stream.acknowledged(50_000)
        ...                                         # what must not hurt it
        await stream.sent(200_000)
    await stream.check(kafka)                       # every record, at the offset that its delivery tells
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioproducer import Delivery, Producer
    from tests.integration.topics import Topics

_BURST = 300
_LONGEST = 120.0


class Stream:
    """Record n has the value n as decimal text and goes to partition n modulo `partitions`."""

    def __init__(self, producer: Producer, topic: str, partitions: int = 1) -> None:
        self.deliveries: list[Delivery] = []
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._goal = 0

    @asynccontextmanager
    async def flowing(self, pause: float = 0.0) -> AsyncIterator[None]:
        """Send for as long as the block lasts and wait for the rest at its end; `pause` seconds between bursts."""
        with anyio.fail_after(_LONGEST):
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(pause))
                yield
                sending.cancel()
            await self._producer.flush()

    async def acknowledged(self, count: int) -> None:
        """Wait until the first `count` records are acknowledged."""
        await self.sent(count)
        for delivery in self.deliveries[count - self._partitions : count]:
            await delivery

    async def sent(self, count: int) -> None:
        """Wait until `count` records were given to the producer."""
        while len(self.deliveries) < count:
            await asyncio.sleep(0.005)

    @property
    def pending(self) -> int:
        """How many records are neither acknowledged nor failed."""
        return sum(not delivery.done() for delivery in self.deliveries)

    async def check(self, kafka: Topics) -> None:
        """Assert that all that was sent is in the log and nothing else, each at the offset that was told."""
        told: list[dict[int, bytes]] = [{} for _ in range(self._partitions)]
        for number, delivery in enumerate(self.deliveries):
            metadata = delivery.result()
            assert metadata.partition == number % self._partitions
            told[metadata.partition][metadata.offset] = b"%d" % number
        expected = len(self.deliveries)
        records = await asyncio.to_thread(kafka.consume, self._topic, expected)
        logs: list[list[bytes | None]] = [[] for _ in range(self._partitions)]
        found: list[dict[int, bytes | None]] = [{} for _ in range(self._partitions)]
        for record in records:
            logs[record.partition].append(record.value)
            found[record.partition][record.offset] = record.value
        for partition, log in enumerate(logs):
            assert log == [b"%d" % number for number in range(partition, expected, self._partitions)]
            assert found[partition] == told[partition]

    async def _send(self, pause: float) -> None:
        send, drain, partitions = self._producer.send, self._producer.drain, self._partitions
        while True:
            for number in range(len(self.deliveries), len(self.deliveries) + _BURST):
                self.deliveries.append(send(self._topic, b"%d" % number, partition=number % partitions))
                await drain()
            await asyncio.sleep(pause)
