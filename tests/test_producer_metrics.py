"""`producer.metrics()` counts exactly, under Java's names."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aioproducer import Producer
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick, until
from tests.net.relay import Relay

SOON = 5


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1, "audit": 1}) as cluster:
        yield cluster


def _producer_figures(producer: Producer[Any, Any]) -> dict[str, float]:
    return producer.metrics()["producer-metrics"]


NAMES = {
    "record-send-rate",
    "record-send-total",
    "record-error-rate",
    "record-error-total",
    "record-retry-rate",
    "record-retry-total",
    "record-queue-time-avg",
    "record-queue-time-max",
    "request-latency-avg",
    "request-latency-max",
    "batch-size-avg",
    "batch-size-max",
    "records-per-request-avg",
    "compression-rate-avg",
    "produce-throttle-time-avg",
    "produce-throttle-time-max",
    "requests-in-flight",
    "metadata-age",
    "buffer-total-bytes",
    "buffer-available-bytes",
    "waiting-threads",
    "buffer-exhausted-rate",
    "buffer-exhausted-total",
    "connection-count",
}


async def test_it_has_javas_names_before_during_and_after(cluster: FakeCluster) -> None:
    producer = quick(cluster)
    for act in (producer.start, lambda: producer.send("orders", b"1").future(), producer.stop):
        assert set(_producer_figures(producer)) >= NAMES
        await act()
    metrics = producer.metrics()
    assert set(metrics["producer-metrics"]) >= NAMES
    topic = metrics["producer-topic-metrics"]["orders"]
    assert {"record-send-total", "byte-total", "record-error-total", "record-retry-total"} <= set(topic)
    node = metrics["producer-node-metrics"]["node-1"]
    assert {"request-total", "outgoing-byte-total", "request-latency-avg"} <= set(node)
    assert all(math.isfinite(figure) for figure in metrics["producer-metrics"].values())


@pytest.mark.scenario(89)
async def test_what_is_sent_is_counted_once_and_by_topic(cluster: FakeCluster) -> None:
    async with Relay(cluster) as relay, quick(cluster) as producer:
        await asyncio.gather(*[producer.send("orders", bytes(100)).future() for _ in range(10)])
        await asyncio.gather(*[producer.send("audit", bytes(50)).future() for _ in range(5)])
        figures = _producer_figures(producer)
        topics = producer.metrics()["producer-topic-metrics"]
        assert figures["record-send-total"] == 15
        assert topics["orders"]["record-send-total"] == 10
        assert topics["audit"]["record-send-total"] == 5
        assert figures["record-error-total"] == figures["record-retry-total"] == 0
        assert figures["request-total"] == len(relay.requests)
        assert figures["outgoing-byte-total"] == sum(len(asked.frame) for asked in relay.requests)
        assert figures["records-per-request-avg"] == 15 / len(relay.asked(ApiKey.PRODUCE))
        assert figures["connection-creation-total"] == relay.connections == 2
        assert figures["connection-close-total"] == 1
        assert figures["connection-count"] == 1
        stored = cluster.topology.topic("orders").partitions[0].log
        assert topics["orders"]["byte-total"] > 1_000
        assert len(list(stored)) <= 10


@pytest.mark.scenario(89)
async def test_errors_retries_and_splits_are_counted_by_record(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        await producer.send("orders", b"0")
        cluster.on(ApiKey.PRODUCE, times=2).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        await asyncio.gather(*[producer.send("orders", b"1").future() for _ in range(3)])
        assert _producer_figures(producer)["record-retry-total"] == 6
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
        results = await asyncio.gather(
            *[producer.send("orders", b"2").future() for _ in range(4)], return_exceptions=True
        )
        assert all(isinstance(result, Exception) for result in results)
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.MESSAGE_TOO_LARGE)
        await asyncio.gather(*[producer.send("orders", b"3").future() for _ in range(2)])
        figures = _producer_figures(producer)
        assert figures["record-error-total"] == 4
        assert figures["record-send-total"] == 6
        assert figures["batch-split-total"] == 1
        assert producer.metrics()["producer-topic-metrics"]["orders"]["record-error-total"] == 4


@pytest.mark.scenario(89)
async def test_the_state_of_the_buffer_is_shown(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=2_000) as producer:
        figures = _producer_figures(producer)
        assert figures["buffer-total-bytes"] == figures["buffer-available-bytes"] == 2_000
        await producer.send("orders", b"")
        held = cluster.on(ApiKey.PRODUCE).hold()
        for _ in range(3):
            producer.send("orders", bytes(900))
        await held.hit()
        figures = _producer_figures(producer)
        assert figures["buffer-available-bytes"] < 200
        assert figures["waiting-threads"] == 1
        assert figures["requests-in-flight"] >= 1
        held.release()
        await producer.flush()
        await until(lambda: _producer_figures(producer)["buffer-available-bytes"] == 2_000)
        assert _producer_figures(producer)["flush-time-ns-total"] > 0
