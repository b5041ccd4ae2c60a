"""A steady stream of numbered records, and a check that each is in the log once and in order.

stream = Stream(producer, "orders", partitions=3)
async with stream.flowing():                    # sends in the background, to all partitions in turn
    await stream.acknowledged(50_000)
    ...                                         # a fault
    await stream.sent(200_000)
await stream.check(kafka)                       # every record, at its delivery's offset
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
        self._progress = asyncio.Event()

    @asynccontextmanager
    async def flowing(self, pause: float = 0.0) -> AsyncIterator[None]:
        """Send while the block runs, with pauses in seconds; then wait for all results."""
        with anyio.fail_after(_LONGEST):
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(pause))
                yield
                sending.cancel()
            await self._producer.flush()

    async def acknowledged(self, count: int) -> None:
        """Wait until the first `count` records are acknowledged, or have failed."""
        await self.sent(count)
        for delivery in self.deliveries[count - self._partitions : count]:
            await asyncio.wait([delivery.future()])

    async def sent(self, count: int) -> None:
        """Wait until `count` records are sent."""
        while len(self.deliveries) < count:
            self._progress.clear()
            await self._progress.wait()

    @property
    def pending(self) -> int:
        """The number of records without a result."""
        return sum(not delivery.done() for delivery in self.deliveries)

    async def check(self, kafka: Topics) -> None:
        """Assert that the log has all sent records and no others, each at its delivery's offset."""
        for delivery in self.deliveries:
            delivery.result()
        assert await self.landed(kafka) == len(self.deliveries)

    async def landed(self, kafka: Topics) -> int:
        """Return the number of records in the log; some of them may have failed for the producer.

        Asserts that each is there once and in order, that acknowledged ones are at their offset, and
        that the others failed with `may_be_written`.
        """
        told: list[dict[int, int]] = [{} for _ in range(self._partitions)]
        doubtful = set()
        for number, delivery in enumerate(self.deliveries):
            error = delivery.exception()
            if error is None:
                metadata = delivery.result()
                assert metadata.partition == number % self._partitions
                told[metadata.partition][metadata.offset] = number
            elif error.may_be_written:
                doubtful.add(number)
        records = await asyncio.to_thread(kafka.consume, self._topic, sum(map(len, told)))
        logs: list[dict[int, int]] = [{} for _ in range(self._partitions)]
        for record in records:
            logs[record.partition][record.offset] = int(record.value or b"")
        for partition, log in enumerate(logs):
            numbers = list(log.values())
            assert numbers == sorted(set(numbers))
            assert log.items() >= told[partition].items()
            assert {log[offset] for offset in log.keys() - told[partition].keys()} <= doubtful
        return len(records)

    async def _send(self, pause: float) -> None:
        send, drain, partitions = self._producer.send, self._producer.drain, self._partitions
        while True:
            for number in range(len(self.deliveries), len(self.deliveries) + _BURST):
                self.deliveries.append(send(self._topic, b"%d" % number, partition=number % partitions))
                await drain()
            self._progress.set()
            await asyncio.sleep(pause)
