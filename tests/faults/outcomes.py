"""Results of records: deliveries awaited with a generous timeout, and batches read from the log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

import pytest

from aioproducer import ProducerError
from tests.faults.stored import TOPIC, figure
from tests.net.quick import insides, quick, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aioproducer import Delivery, Producer, RecordMetadata
    from aioproducer.config import AllOptions
    from aioproducer.records.reader import RecordBatch
    from aioproducer.testing import FakeCluster

T = TypeVar("T")

SOON = 30.0
"""Seconds that every wait of a test may take, on a slow machine too."""


def patient(cluster: FakeCluster, **options: Unpack[AllOptions]) -> Producer[Any, Any]:
    """Return a producer with long timeouts, for tests that hold a broker."""
    patience: AllOptions = {"request_timeout_ms": 30_000, "delivery_timeout_ms": 60_000}
    return quick(cluster, **cast("AllOptions", {**patience, **options}))


def values(cluster: FakeCluster, topic: str = TOPIC, partition: int | None = None) -> list[bytes | None]:
    """Return the stored values, partition by partition."""
    return [record.value for record in cluster.records(topic, partition)]


def batches(cluster: FakeCluster, topic: str = TOPIC, partition: int = 0) -> list[RecordBatch]:
    """Return the batches in a partition's log."""
    return [stored.batch for stored in cluster.topology.partition(topic, partition).log]


async def stored(delivery: Delivery) -> RecordMetadata:
    """Wait until a record is acknowledged."""
    async with asyncio.timeout(SOON):
        return await delivery


async def all_stored(deliveries: Iterable[Delivery]) -> list[RecordMetadata]:
    """Wait until all these records are acknowledged."""
    return [await stored(delivery) for delivery in deliveries]


async def failure(delivery: Delivery) -> ProducerError:
    """Wait until a record fails, and return its error."""
    with pytest.raises(ProducerError) as raised:
        await stored(delivery)
    return raised.value


def note_end(name: T, order: list[T]) -> Callable[[Delivery], None]:
    """Return a callback that appends `name` to `order`."""

    def append(_delivery: Delivery) -> None:
        order.append(name)

    return append


async def buffer_is_free(producer: Producer[Any, Any]) -> None:
    """Wait until no memory is in use, and assert that no record waits for it."""
    total = figure(producer, "buffer-total-bytes")
    await until(lambda: figure(producer, "buffer-available-bytes") == total, SOON)
    accumulator = insides(producer).accumulator
    buffer = accumulator.buffer
    assert (buffer.waiting, len(buffer.records), buffer.records.bytes) == (0, 0, 0)


def expire_all(producer: Producer[Any, Any]) -> None:
    """Expire all accepted records now."""
    engine = insides(producer)
    later = engine.clock() + 2 * engine.config.delivery_timeout
    engine._settlement.expire(later)  # noqa: SLF001 - instead of a wait
