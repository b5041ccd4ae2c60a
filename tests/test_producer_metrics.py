"""`producer.metrics()` counts exactly, under Java's names."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aioproducer import Producer, ProducerError
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick, until
from tests.net.relay import Relay

BUFFER = "bufferpool-wait-time-ns-total"
METADATA = "metadata-wait-time-ns-total"


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


async def test_metrics_have_javas_names(cluster: FakeCluster) -> None:
    """Before the start, while running and after the stop."""
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


@pytest.mark.scenario("metrics")
async def test_deliveries_are_counted_by_topic(cluster: FakeCluster) -> None:
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


@pytest.mark.scenario("metrics")
async def test_failures_are_counted_by_record(cluster: FakeCluster) -> None:
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


@pytest.mark.simulated
@pytest.mark.scenario("metrics")
async def test_buffer_gauges(cluster: FakeCluster) -> None:
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
        flushing = asyncio.create_task(producer.flush())
        await asyncio.sleep(0.01)  # uvloop's clock has milliseconds
        held.release()
        await flushing
        await until(lambda: _producer_figures(producer)["buffer-available-bytes"] == 2_000)
        assert _producer_figures(producer)["flush-time-ns-total"] > 0


class _Wait:
    """Bounds of a wait that begins in `send` and ends when the record is delivered."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._before_send = self._clock()
        self._sent = self._before_send
        self._released = self._before_send

    def sent(self) -> None:
        self._sent = self._clock()

    def released(self) -> None:
        self._released = self._clock()

    def contains(self, nanoseconds: float, records: int = 1) -> bool:
        """Return whether that is a time these records can have waited."""
        least, most = self._released - self._sent, self._clock() - self._before_send
        return least * records <= nanoseconds / 1e9 + 1e-6 <= most * records + 2e-6


@pytest.mark.simulated
@pytest.mark.scenario("metrics")
async def test_waits_for_topic_are_counted(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        await producer.send("orders", b"")
        before = _producer_figures(producer)[METADATA]
        cluster.create_topic("late")
        held = cluster.on(ApiKey.METADATA).hold()
        wait = _Wait()
        deliveries = [producer.send("late", b"") for _ in range(2)]
        wait.sent()
        await held.hit()
        await asyncio.sleep(0.02)
        wait.released()
        held.release()
        await asyncio.gather(*[delivery.future() for delivery in deliveries])
        after = _producer_figures(producer)[METADATA]
        assert wait.contains(after - before, records=2)


@pytest.mark.simulated
@pytest.mark.scenario("metrics")
async def test_waits_for_room_are_counted(cluster: FakeCluster) -> None:
    async with quick(cluster, buffer_memory=1_000) as producer:
        await producer.send("orders", b"")
        before = _producer_figures(producer)
        held = cluster.on(ApiKey.PRODUCE).hold()
        producer.send("orders", bytes(800))
        await held.hit()
        wait = _Wait()
        waiting = producer.send("orders", bytes(800))
        wait.sent()
        await asyncio.sleep(0.02)
        assert _producer_figures(producer)[BUFFER] == before[BUFFER]
        wait.released()
        held.release()
        await waiting
        figures = _producer_figures(producer)
        assert wait.contains(figures[BUFFER] - before[BUFFER])
        assert figures[METADATA] == before[METADATA]


@pytest.mark.simulated
@pytest.mark.scenario("metrics")
@pytest.mark.parametrize(
    ("topic", "name"),
    [("orders", BUFFER), ("unknown", METADATA)],
)
async def test_expired_waits_are_counted(cluster: FakeCluster, topic: str, name: str) -> None:
    async with quick(cluster, buffer_memory=1_000, max_block_ms=100) as producer:
        await producer.send("orders", b"")
        before = _producer_figures(producer)[name]
        held = cluster.on(ApiKey.PRODUCE).hold()
        producer.send("orders", bytes(800))
        await held.hit()
        cluster.on(ApiKey.METADATA, times=None, optional=True).answer(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        with pytest.raises(ProducerError):
            await producer.send(topic, bytes(800))
        assert _producer_figures(producer)[name] - before >= 99_000_000  # 100 ms, rounded
        held.release()
