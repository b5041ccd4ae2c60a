"""The order of records without idempotence, and with cancelled awaiters."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aioproducer import Producer
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.faults.stored import (
    AMPLE,
    expire_oldest,
    figure,
    in_flight,
    numbers,
    offsets_of,
    producer_ids,
    send,
    values,
)
from tests.net.quick import PATIENCE, insides, outcome, quick, turns, until


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


def without_idempotence(cluster: FakeCluster, *, metadata_max_age_ms: int = AMPLE) -> Producer[Any, Any]:
    """Return a producer without idempotence that sends one request at a time."""
    return quick(
        cluster,
        enable_idempotence=False,
        max_in_flight_requests_per_connection=1,
        batch_size=1,
        metadata_max_age_ms=metadata_max_age_ms,
        request_timeout_ms=AMPLE,
        delivery_timeout_ms=AMPLE,
        max_block_ms=1_000,
    )


@pytest.mark.scenario("one-in-flight")
async def test_one_in_flight_keeps_order(cluster: FakeCluster) -> None:
    async with without_idempotence(cluster) as producer:
        await producer.send("orders", b"first")
        cluster.on(ApiKey.PRODUCE, times=2).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        first = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = send(producer, 10)
        await first.hit()
        await turns()
        assert in_flight(producer) == 1

        first.release()

        assert await offsets_of(deliveries) == list(range(1, 11))
    assert values(cluster) == [b"first", *[b"%d" % number for number in range(10)]]
    assert producer_ids(cluster) == [-1] * 11


@pytest.mark.scenario("one-in-flight")
async def test_leader_change_waits_for_response() -> None:
    """The new leader gets no request before the old leader has answered."""
    async with (
        FakeCluster(2, {"orders": 2}) as cluster,
        without_idempotence(cluster, metadata_max_age_ms=20) as producer,
    ):
        for partition in (0, 1):
            await producer.send("orders", b"first", partition=partition)
        at_the_new = cluster.on(ApiKey.PRODUCE, node=2, partition=0, times=None).throttle(0)
        held = cluster.on(ApiKey.PRODUCE, node=1).hold()
        older = producer.send("orders", b"older", partition=0)
        await held.hit()
        cluster.move_leader("orders", 0, to=2)
        metadata = insides(producer).metadata
        await until(lambda: metadata.topics["orders"].partitions[0].leader_id == 2)

        younger = producer.send("orders", b"younger", partition=0)
        assert await offsets_of([producer.send("orders", b"elsewhere", partition=1)]) == [1]
        assert at_the_new.hits == 0

        held.release()
        assert await offsets_of([older, younger]) == [1, 2]
        assert values(cluster) == [b"first", b"older", b"younger"]


@pytest.mark.scenario("one-in-flight")
async def test_expired_batch_still_blocks_partition(cluster: FakeCluster) -> None:
    """The next batch waits for the response to an expired batch."""
    async with without_idempotence(cluster) as producer:
        await producer.send("orders", b"first")
        held = cluster.on(ApiKey.PRODUCE).hold()
        older = producer.send("orders", b"older")
        await held.hit()
        await expire_oldest(producer, older)

        younger = producer.send("orders", b"younger")
        await turns()
        assert (in_flight(producer), younger.done()) == (1, False)

        held.release()
        assert await offsets_of([younger]) == [2]
    assert values(cluster) == [b"first", b"older", b"younger"]


@pytest.mark.scenario("cancelled-awaiter")
async def test_cancelled_awaiters_change_nothing(cluster: FakeCluster) -> None:
    options: Any = {"batch_size": 1, "buffer_memory": 1_500, "request_timeout_ms": AMPLE}
    async with quick(cluster, delivery_timeout_ms=AMPLE, **options) as producer:
        await producer.send("orders", b"first")
        cluster.on(ApiKey.PRODUCE, skip=1).disconnect(after_storing=True)
        first = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = [producer.send("orders", b"%02d" % number * 50) for number in range(14)]
        waiting = [asyncio.create_task(outcome(delivery)) for delivery in deliveries]
        await until(lambda: in_flight(producer) == 5)
        assert figure(producer, "waiting-threads") > 0

        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        first.release()
        await asyncio.wait_for(producer.flush(), PATIENCE)

        assert all(task.cancelled() for task in waiting)
        assert await offsets_of(deliveries) == list(range(1, 15))
    assert values(cluster) == [b"first", *[b"%02d" % number * 50 for number in range(14)]]
    assert numbers(cluster) == [(0, number) for number in range(15)]
