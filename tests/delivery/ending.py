"""How records ended: what the log of a fake cluster holds, and what deliveries say.

The one idea: a test that sends waits for everything here, with a patience that a slow machine
does not use up, and looks at batches as they were stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

import pytest

from aioproducer import ProducerError
from tests.delivery.stored import TOPIC, figure
from tests.net.quick import insides, quick, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aioproducer import Delivery, Producer, RecordMetadata
    from aioproducer.config import AllOptions
    from aioproducer.records.reader import RecordBatch
    from aioproducer.testing import FakeCluster

T = TypeVar("T")

SOON = 20.0
"""Seconds within which everything ends that a test lets end."""


def patient(cluster: FakeCluster, **options: Unpack[AllOptions]) -> Producer[Any, Any]:
    """Make a producer that loses no patience with a broker that a test holds up."""
    patience: AllOptions = {"request_timeout_ms": 30_000, "delivery_timeout_ms": 60_000}
    return quick(cluster, **cast("AllOptions", {**patience, **options}))


def values(cluster: FakeCluster, topic: str = TOPIC, partition: int | None = None) -> list[bytes | None]:
    """Return what was stored, partition by partition."""
    return [record.value for record in cluster.records(topic, partition)]


def batches(cluster: FakeCluster, topic: str = TOPIC, partition: int = 0) -> list[RecordBatch]:
    """Return the batches of a partition as they are in its log."""
    return [stored.batch for stored in cluster.topology.partition(topic, partition).log]


async def stored(delivery: Delivery) -> RecordMetadata:
    """Wait until a record is acknowledged."""
    async with asyncio.timeout(SOON):
        return await delivery


async def all_stored(deliveries: Iterable[Delivery]) -> list[RecordMetadata]:
    """Wait until every one of these records is acknowledged."""
    return [await stored(delivery) for delivery in deliveries]


async def failure(delivery: Delivery) -> ProducerError:
    """Wait until a record has failed."""
    with pytest.raises(ProducerError) as raised:
        await stored(delivery)
    return raised.value


def ending(name: T, order: list[T]) -> Callable[[Delivery], None]:
    """Make a callback that puts a record's name behind those that have ended before."""

    def append(_delivery: Delivery) -> None:
        order.append(name)

    return append


async def buffer_is_whole(producer: Producer[Any, Any]) -> None:
    """Wait until nothing of the buffer is in use, and nobody waits for it."""
    total = figure(producer, "buffer-total-bytes")
    await until(lambda: figure(producer, "buffer-available-bytes") == total, SOON)
    accumulator = insides(producer).accumulator
    buffer = accumulator.buffer
    assert (buffer.waiting, len(buffer.records), buffer.records.bytes) == (0, 0, 0)


def let_time_run_out(producer: Producer[Any, Any]) -> None:
    """Have the delivery timeout pass for everything that is on its way, at once."""
    engine = insides(producer)
    later = engine.clock() + 2 * engine.config.delivery_timeout
    engine._settlement.expire(later)  # noqa: SLF001 - rather than to wait for it
