"""Misuse fails the record concerned and nothing else."""

import asyncio
import copy
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from aioproducer import AuthorizationError, ErrorCode, PartitionerError, Producer, ProducerClosedError
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import quick

SOON = 30


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}, auto_create_topics=False) as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        ("\ud800", ValueError),
        ("x" * 40_000, ValueError),
        ("", TypeError),
        (b"orders", TypeError),
        (5, TypeError),
    ],
)
async def test_impossible_topic_names_are_refused(
    cluster: FakeCluster, topic: object, error: type[Exception]
) -> None:
    async with quick(cluster) as producer:
        with pytest.raises(error, match="topic"):
            producer.send(cast("Any", topic), b"")
        with pytest.raises(error, match="topic"):
            await producer.partitions_for(cast("Any", topic))
        assert (await producer.send("orders", b"still at work")).offset == 0


async def test_cancelled_partitioner_fails_one_record(
    cluster: FakeCluster,
) -> None:
    cluster.create_topic("late")

    def partitioner(_topic: str, key: bytes | None, _partitions: int) -> int:
        if key == b"bad":
            raise asyncio.CancelledError
        return 0

    async with quick(cluster, partitioner=partitioner) as producer:
        bad, good = producer.send("late", b"", key=b"bad"), producer.send("late", b"", key=b"good")
        with pytest.raises(PartitionerError, match="CancelledError"):
            await asyncio.wait_for(bad.future(), SOON)
        assert (await asyncio.wait_for(good.future(), SOON)).offset == 0


async def test_drain_without_buffer(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=0) as producer:
        await asyncio.wait_for(producer.drain(), SOON)


async def test_metadata_request_has_new_topics_only(
    cluster: FakeCluster,
) -> None:
    asked: list[int] = []

    def count(response: Any) -> Any:  # noqa: ANN401 - a response of the fake cluster
        asked.append(len(response.topics))
        return response

    cluster.on(ApiKey.METADATA, times=None).rewrite(count)
    async with quick(cluster, retry_backoff_ms=10_000, retry_backoff_max_ms=10_000) as producer:
        for number in range(60):
            producer.send(f"unknown-{number}", b"").add_done_callback(lambda delivery: delivery.exception())
            await asyncio.sleep(0.002)
        await producer.stop(0)
    assert 60 <= sum(asked) <= 90


async def test_failed_waiting_records_are_logged_once(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with quick(cluster) as producer:
        first, *_ = [producer.send("unknown", b"") for _ in range(10_000)]
        waiting = first.future()
        await producer.stop(0)
        with pytest.raises(ProducerClosedError):
            await waiting
    del first, _
    # Deliveries of an earlier test may be collected now, and log the same of other topics.
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    (message,) = [message for message in logged if "unknown" in message]
    assert "9999 of 10000 records for unknown-?" in message


async def test_unauthorized_topic_fails_waiting_records(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.METADATA, topic="secret", times=None).answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
    async with quick(cluster) as producer:
        deliveries = [producer.send("secret", b"%d" % number) for number in range(3)]
        for delivery in deliveries:
            with pytest.raises(AuthorizationError, match="secret"):
                await asyncio.wait_for(delivery.future(), SOON)


async def test_delivery_cannot_be_copied(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        delivery = producer.send("orders", b"")
        with pytest.raises(TypeError, match="keep its RecordMetadata"):
            copy.deepcopy(delivery)
        assert copy.copy(await delivery) == await delivery


def test_stop_after_loop_has_ended() -> None:
    producers: list[Producer[Any, Any]] = []

    async def forget_to_stop() -> None:
        cluster = FakeCluster(topics={"orders": 1})
        async with cluster:
            producers.append(quick(cluster))
            await producers[0].start()
            await producers[0].send("orders", b"")

    async def come_back() -> None:
        with pytest.raises(Exception, match="event loop ended, before stop"):
            producers[0].send("orders", b"")
        await producers[0].stop()

    asyncio.run(forget_to_stop())
    asyncio.run(come_back())
