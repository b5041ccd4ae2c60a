"""Steps of a test with one record per batch: send, wait, age, read the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import DeliveryTimeoutError
from aioproducer.testing import ApiKey
from tests.net.quick import PATIENCE, insides, quick, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioproducer import Delivery, Producer
    from aioproducer.protocol.produce import ProduceResponse
    from aioproducer.testing import FakeCluster
    from aioproducer.testing.log import PartitionLog

TOPIC = "orders"

AMPLE = 20_000
"""A timeout in milliseconds that no test reaches."""


def patient(cluster: FakeCluster) -> Producer[Any, Any]:
    """Return a producer with one record per batch and long timeouts, which expires records often."""
    return quick(
        cluster, batch_size=1, request_timeout_ms=AMPLE, delivery_timeout_ms=AMPLE, max_block_ms=1_000
    )


def send(producer: Producer[Any, Any], count: int, first: int = 0) -> list[Delivery]:
    """Send numbered records."""
    return [producer.send(TOPIC, b"%d" % number) for number in range(first, first + count)]


async def send_at_once(producer: Producer[Any, Any], count: int) -> list[Delivery]:
    """Send batches until `count` requests are in flight; the broker holds the first."""
    deliveries = send(producer, count)
    await until(lambda: in_flight(producer) == count)
    return deliveries


def log_of(cluster: FakeCluster, partition: int = 0) -> PartitionLog:
    """Return a partition's log."""
    return cluster.topology.partition(TOPIC, partition).log


def values(cluster: FakeCluster, partition: int = 0) -> list[bytes | None]:
    """Return the values in a partition's log."""
    return [record.value for record in cluster.records(TOPIC, partition)]


def numbers(cluster: FakeCluster, partition: int = 0) -> list[tuple[int, int]]:
    """Return the epoch and the first sequence of each batch in a partition's log."""
    batches = [stored.batch for stored in log_of(cluster, partition)]
    return [(batch.producer_epoch, batch.base_sequence) for batch in batches]


def producer_ids(cluster: FakeCluster, partition: int = 0) -> list[int]:
    """Return the producer id of each batch in a partition's log."""
    return [stored.batch.producer_id for stored in log_of(cluster, partition)]


@dataclass
class ResponseCodes:
    """Notes the error codes of all Produce responses from now on, in order."""

    cluster: FakeCluster
    codes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster.on(ApiKey.PRODUCE, times=None).rewrite(self._note)

    def _note(self, answer: ProduceResponse) -> ProduceResponse:
        self.codes += [each.error_code for topic in answer.responses for each in topic.partition_responses]
        return answer


async def offsets_of(deliveries: Iterable[Delivery]) -> list[int]:
    """Wait until all records are acknowledged, and return their offsets."""
    async with asyncio.timeout(PATIENCE):
        return [(await delivery).offset for delivery in deliveries]


def figure(producer: Producer[Any, Any], name: str) -> float:
    """Return one of the producer's metrics."""
    return producer.metrics()["producer-metrics"][name]


def in_flight(producer: Producer[Any, Any]) -> float:
    """Return the number of requests without a response."""
    return figure(producer, "requests-in-flight")


def age_batches(producer: Producer[Any, Any], count: int | None = None) -> None:
    """Move the oldest `count` batches (or all) one delivery timeout into the past."""
    for batch in list(insides(producer).accumulator.incomplete)[:count]:
        batch.created -= producer.config.delivery_timeout
        batch.oldest_send = batch.created


async def expire_oldest(producer: Producer[Any, Any], delivery: Delivery) -> None:
    """Let the oldest batch expire while it is in flight."""
    age_batches(producer, 1)
    with pytest.raises(DeliveryTimeoutError) as expired:
        await asyncio.wait_for(delivery, PATIENCE)
    assert expired.value.may_be_written
