"""Another cluster, or one restored with its old id, answers at the producer's bootstrap address.

Its brokers may take a batch with a foreign producer id for a duplicate, and acknowledge it unstored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import Producer
from tests.integration.kafka import NEWEST, KafkaCluster
from tests.net.quick import insides

if TYPE_CHECKING:
    from aioproducer import Delivery

pytestmark = pytest.mark.slow

TOPIC = "orders"
PATIENCE = 60.0
SENT = 5
"""The number of a producer's batches that a broker remembers."""


def new_producer(kafka: KafkaCluster) -> Producer[Any, Any]:
    """Return a producer with one record per batch."""
    return Producer(kafka.bootstrap, linger_ms=0, batch_size=1)


def producer_id(producer: Producer[Any, Any]) -> int:
    sequencer = insides(producer)._sequencer  # noqa: SLF001 - no public name
    assert sequencer is not None
    return sequencer.producer_id


async def send_singly(producer: Producer[Any, Any], word: str, count: int) -> list[bytes]:
    """Send records, each after the one before is stored."""
    values = [f"{word} {number}".encode() for number in range(count)]
    async with asyncio.timeout(PATIENCE):
        for value in values:
            await producer.send(TOPIC, value)
    return values


@pytest.mark.parametrize(
    ("version", "keeps_id"),
    [(NEWEST, False), (NEWEST, True), ("3.6.1", False), ("3.6.1", True), ("2.8.2", False)],
)
async def test_acknowledged_records_are_in_new_log(version: str, *, keeps_id: bool) -> None:
    with KafkaCluster(version) as kafka:
        kafka.create_topic(TOPIC)
        async with new_producer(kafka) as old:
            await send_singly(old, "before", SENT)
            id_before = producer_id(old)

            await asyncio.to_thread(kafka.replace, keeps_id=keeps_id)
            kafka.create_topic(TOPIC)
            async with new_producer(kafka) as other:
                acknowledged = await send_singly(other, "other", 2 * SENT)
                assert producer_id(other) == id_before
                acknowledged += await send_singly(old, "after", 2 * SENT)
                id_after = producer_id(old)

        records = kafka.consume(TOPIC, expected=2 * SENT)

    assert sorted(record.value or b"" for record in records) == sorted(acknowledged)
    assert id_after != id_before


@pytest.mark.parametrize(("version", "keeps_id"), [(NEWEST, False), (NEWEST, True), ("3.6.1", True)])
async def test_records_in_flight_end(version: str, *, keeps_id: bool) -> None:
    """Records in flight end, and acknowledged ones are in the old or the new log."""
    with KafkaCluster(version) as kafka:
        kafka.create_topic(TOPIC)
        async with new_producer(kafka) as old:
            await send_singly(old, "before", SENT)
            await asyncio.to_thread(kafka.pause, 1)
            pending: dict[bytes, Delivery] = {}

            def send(count: int) -> None:
                for _ in range(count):
                    value = b"pending %d" % len(pending)
                    pending[value] = old.send(TOPIC, value)

            send(SENT)
            await asyncio.sleep(0.2)
            replacing = asyncio.create_task(asyncio.to_thread(kafka.replace, keeps_id=keeps_id))
            while not replacing.done():
                send(1)
                await asyncio.sleep(0.05)
            await replacing
            kafka.create_topic(TOPIC)
            async with new_producer(kafka) as other:
                others = await send_singly(other, "other", 4 * SENT)
                async with asyncio.timeout(PATIENCE):
                    await asyncio.gather(*[delivery.future() for delivery in pending.values()])

        records = kafka.consume(TOPIC, expected=len(others) + len(pending))

    values = [record.value for record in records]
    assert [value for value in values if value in pending] == list(pending)
    assert set(others) <= set(values)
    assert len(values) == len(others) + len(pending)
