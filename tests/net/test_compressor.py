"""Compression: small batches at once, large ones in a thread, always in order."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aioproducer import Delivery, Producer, ProducerClosedError, ProducerFailedError
from aioproducer.config import AllOptions
from aioproducer.core.batch import ProducerBatch
from aioproducer.net.compressor import Compressor
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import insides, quick, turns, until
from tests.net.traces import no_traces

SOON = 30
CODECS = ["gzip", "snappy", "lz4", "zstd"]
LARGE: AllOptions = {"compression_type": "gzip", "batch_size": 400_000, "linger_ms": 5}
WORDS = [b"%d-" % number + os.urandom(500) * 40 for number in range(20)]


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


class _Watched:
    """Replaces the codec: records its threads, and can be blocked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None
        squeeze = Compressor._squeeze  # noqa: SLF001 - the function that threads run

        def watched(compressor: Compressor, batches: list[ProducerBatch]) -> list[ProducerBatch]:
            self.threads.append(threading.get_ident())
            assert self.go_on.wait(SOON)
            if self.error is not None:
                raise self.error
            return squeeze(compressor, batches)

        monkeypatch.setattr(Compressor, "_squeeze", watched)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> _Watched:
    return _Watched(monkeypatch)


@pytest.mark.parametrize("codec", CODECS)
async def test_small_batches_need_no_thread(cluster: FakeCluster, watched: _Watched, codec: str) -> None:
    async with quick(cluster, compression_type=codec) as producer:
        for number in range(5):
            await producer.send("orders", b"%d" % number * 100)
        assert producer.metrics()["producer-metrics"]["compression-rate-avg"] < 1.01
    assert [record.value for record in cluster.records("orders")] == [b"%d" % n * 100 for n in range(5)]
    assert set(watched.threads) == {threading.get_ident()}


async def test_thread_keeps_batch_order(cluster: FakeCluster, watched: _Watched) -> None:
    """Large batches are compressed in a thread and sent in order."""
    async with quick(cluster, **LARGE) as producer:
        for word in WORDS * 3:
            producer.send("orders", word)
            await producer.drain()
        await producer.flush()
    assert [record.value for record in cluster.records("orders")] == WORDS * 3
    assert set(watched.threads) - {threading.get_ident()}


async def _held_up(
    cluster: FakeCluster, watched: _Watched, *, timeout_ms: int = 30_000
) -> tuple[Producer[Any, Any], list[Delivery]]:
    options: AllOptions = {**LARGE, "request_timeout_ms": timeout_ms - 10, "delivery_timeout_ms": timeout_ms}
    producer = quick(cluster, **options)
    await producer.start()
    await producer.send("orders", b"first")
    watched.go_on.clear()
    deliveries = [producer.send("orders", word) for word in WORDS]
    count = len(watched.threads)
    await until(lambda: len(watched.threads) > count)
    return producer, deliveries


async def test_stop_ends_thread(cluster: FakeCluster, watched: _Watched) -> None:
    async with no_traces():
        producer, deliveries = await _held_up(cluster, watched)
        stopping = asyncio.create_task(producer.stop(0))
        await until(deliveries[0].done)
        watched.go_on.set()
        await asyncio.wait_for(stopping, SOON)
        for delivery in deliveries:
            error = delivery.exception()
            assert isinstance(error, ProducerClosedError)


async def test_connection_lost_during_compression(cluster: FakeCluster, watched: _Watched) -> None:
    producer, deliveries = await _held_up(cluster, watched)
    cluster.drop_connections()
    await until(lambda: not producer.metrics()["producer-metrics"]["connection-count"])
    watched.go_on.set()
    async with asyncio.timeout(SOON):
        for number, delivery in enumerate(deliveries, 1):
            assert (await delivery).offset == number
    assert producer.metrics()["producer-metrics"]["record-retry-total"] == 0
    await producer.stop()


async def test_records_expire_during_compression(cluster: FakeCluster, watched: _Watched) -> None:
    producer, deliveries = await _held_up(cluster, watched, timeout_ms=2_000)
    await until(lambda: all(delivery.done() for delivery in deliveries))
    watched.go_on.set()
    for delivery in deliveries:
        assert delivery.exception() is not None
    assert (await asyncio.wait_for(producer.send("orders", b"last"), SOON)).offset == 1
    await producer.stop()
    assert [record.value for record in cluster.records("orders")] == [b"first", b"last"]


async def test_codec_error_fails_producer(cluster: FakeCluster, watched: _Watched) -> None:
    producer, deliveries = await _held_up(cluster, watched)
    watched.error = MemoryError("no memory")
    watched.go_on.set()
    async with asyncio.timeout(SOON):
        with pytest.raises(ProducerFailedError) as raised:
            await deliveries[-1]
        assert raised.value.__cause__ is watched.error
        await producer.stop()
    for delivery in deliveries:
        assert isinstance(delivery.exception(), ProducerFailedError)


async def test_bug_after_compression_fails_producer(
    cluster: FakeCluster, watched: _Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer, deliveries = await _held_up(cluster, watched)
    bug = ValueError("a bug")

    def write(*_arguments: object) -> None:
        raise bug

    monkeypatch.setattr("aioproducer.net.sender.Sender._write", write)
    watched.go_on.set()
    with pytest.raises(ProducerFailedError) as raised:
        await asyncio.wait_for(deliveries[-1], SOON)
    assert raised.value.__cause__ is bug
    await asyncio.wait_for(producer.stop(), SOON)


@pytest.mark.scenario("ratio-estimate")
async def test_compressible_batches_hold_more(cluster: FakeCluster) -> None:
    async with quick(cluster, compression_type="zstd", batch_size=2_000, linger_ms=50) as producer:
        for _ in range(5):
            for _ in range(40):
                producer.send("orders", b"the same again and again " * 4, partition=0)
            await producer.flush()
        figures = producer.metrics()["producer-metrics"]
        assert figures["compression-rate-avg"] < 0.7
        assert insides(producer).accumulator.topics["orders"].batch_limit > 2_000


@pytest.mark.scenario("split-too-large")
async def test_split_batch_is_recompressed(cluster: FakeCluster) -> None:
    async with quick(cluster, compression_type="lz4") as producer:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.MESSAGE_TOO_LARGE)
        deliveries = [producer.send("orders", b"%d" % number * 100) for number in range(40)]
        async with asyncio.timeout(SOON):
            assert [(await delivery).offset for delivery in deliveries] == list(range(40))
        await turns()
