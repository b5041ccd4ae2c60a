"""Rare situations: destructors that send, wrong metadata, endless throttles."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aioproducer import (
    AuthorizationError,
    CallTimeoutError,
    Delivery,
    DeliveryTimeoutError,
    ProducerClosedError,
    ProducerError,
)
from aioproducer.core.settlement import FAILURES_A_SLICE
from aioproducer.delivery import result_of
from aioproducer.error_code import ErrorCode
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import drained, insides, quick, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer import Producer
    from aioproducer.protocol.init_producer_id import InitProducerIdResponse
    from aioproducer.protocol.metadata import MetadataResponse

SOON = 30


@pytest.fixture
def restore_gc() -> Iterator[None]:
    """Restore the garbage collector's thresholds."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("restore_gc")
async def test_destructor_may_send() -> None:
    """The garbage collector calls a destructor that sends, at any allocation inside `send`."""
    async with FakeCluster(topics={"orders": 1}) as cluster:
        sent: list[Delivery] = []
        for allocations in range(1, 14):
            async with quick(cluster) as producer:
                await producer.partitions_for("orders")

                class Dying:
                    def __init__(self) -> None:
                        self.itself = self

                    def __del__(self, producer: Producer[bytes, bytes] = producer) -> None:
                        sent.append(producer.send("orders", b"inner"))

                gc.collect()
                Dying()
                gc.set_threshold(gc.get_count()[0] + allocations, 1_000, 1_000)
                sent.append(producer.send("orders", b"outer"))
                gc.set_threshold(700, 10, 10)
                gc.collect()
                await asyncio.wait_for(producer.flush(), SOON)
        assert len(sent) == 26
        assert len({delivery.result().offset for delivery in sent}) == 26


async def test_bytes_subclass_is_sent_as_bytes() -> None:
    """A subclass of bytes that overrides `__len__` and `__bytes__` is sent with its real bytes."""

    class Payload(bytes):
        def __bytes__(self) -> Payload:
            return self

        def __len__(self) -> int:
            return 3

    async with FakeCluster() as cluster, quick(cluster) as producer:
        deliveries = [
            producer.send("new", Payload(b"hello"), headers={"name": Payload(b"value")}),
            producer.send("new", b"innocent"),
        ]
        await asyncio.wait_for(asyncio.gather(*[delivery.future() for delivery in deliveries]), SOON)
        assert [record.value for record in cluster.records("new")] == [b"hello", b"innocent"]
        assert cluster.records("new")[0].headers == (("name", b"value"),)


async def test_shared_topic_id_forces_names() -> None:
    """Metadata gives two topics one id: requests name the topics."""

    def lie(answer: MetadataResponse) -> MetadataResponse:
        first = next((topic.topic_id for topic in answer.topics or () if topic.topic_id.int), None)
        if first is None:
            return answer
        return replace(answer, topics=tuple(replace(topic, topic_id=first) for topic in answer.topics or ()))

    async with FakeCluster(topics={"a": 1, "b": 1}) as cluster:
        cluster.on(ApiKey.METADATA, times=None).rewrite(lie)
        async with quick(cluster, linger_ms=50) as producer:
            deliveries = [producer.send(topic, b"") for topic in "ab"]
            for delivery in deliveries:
                await asyncio.wait_for(delivery.future(), SOON)
            assert insides(producer).accumulator.buffer.used == 0


async def test_lost_producer_id_leaves_doubt() -> None:
    """No new producer id is allowed: a stored batch without a response may be written."""

    def use_up(answer: InitProducerIdResponse) -> InitProducerIdResponse:
        return replace(answer, producer_epoch=32767)

    async with FakeCluster(2, {"orders": 2}) as cluster:
        cluster.on(ApiKey.INIT_PRODUCER_ID).rewrite(use_up)
        cluster.on(ApiKey.INIT_PRODUCER_ID, skip=1, times=None).answer(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
        async with quick(cluster) as producer:
            for partition in range(2):
                await producer.send("orders", b"first", partition=partition)
            held = cluster.on(ApiKey.PRODUCE, partition=1).hold(after_storing=True)
            stored = producer.send("orders", b"stored", partition=1)
            await held.hit()
            cluster.on(ApiKey.PRODUCE, partition=0).answer(ErrorCode.INVALID_PRODUCER_EPOCH)
            bad = producer.send("orders", b"bad", partition=0)
            await until(bad.done)
            new = producer.send("orders", b"new", partition=0)
            error = await _failure_of(new)
            assert isinstance(error, AuthorizationError)
            assert not error.may_be_written
            assert (await _failure_of(stored)).may_be_written
            held.release()
            bad.exception()
    assert b"stored" in [record.value for record in cluster.records("orders", 1)]


async def test_abandoned_flushes_leave_no_waiters() -> None:
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        quick(cluster, batch_size=1, delivery_timeout_ms=60_000, request_timeout_ms=30_000) as producer,
    ):
        await producer.send("orders", b"first")
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = [producer.send("orders", b"more") for _ in range(50)]
        for _ in range(20):
            with pytest.raises(CallTimeoutError):
                await producer.flush(0)
        waiters = [result_of(delivery).waiters or () for delivery in deliveries]
        assert sum(map(len, waiters)) <= 20
        held.release()


async def test_failed_encoding_frees_memory() -> None:
    """The broker is too old for zstd, so batches fail before they are written.

    Waiting records get their memory; no timer helps.
    """
    async with (
        FakeCluster(topics={"orders": 1}, max_versions={ApiKey.PRODUCE: 6}) as cluster,
        quick(
            cluster,
            compression_type="zstd",
            buffer_memory=4_000,
            batch_size=1_000,
            max_block_ms=60_000,
            delivery_timeout_ms=60_000,
        ) as producer,
    ):
        await producer.partitions_for("orders")
        deliveries = [producer.send("orders", bytes(900)) for _ in range(6)]
        await asyncio.wait_for(drained(producer), SOON)
        errors = [await _failure_of(delivery) for delivery in deliveries]
        assert {type(error).__name__ for error in errors} == {"UnsupportedVersionError"}


@pytest.mark.simulated
async def test_long_throttle_frees_memory() -> None:
    """A throttle of weeks does not keep the memory of expired batches."""
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        quick(
            cluster, batch_size=1, buffer_memory=1_000, request_timeout_ms=300, delivery_timeout_ms=400
        ) as producer,
    ):
        await producer.send("orders", b"first")
        cluster.on(ApiKey.PRODUCE).throttle(2**31 - 1)
        cluster.on(ApiKey.PRODUCE, skip=1, times=None).fall_silent()
        deliveries = [producer.send("orders", bytes(200)) for _ in range(4)]
        for delivery in deliveries[1:]:
            assert isinstance(await _failure_of(delivery), DeliveryTimeoutError)
        await asyncio.wait_for(drained(producer), SOON)


@pytest.mark.simulated
async def test_early_disconnects_grow_backoff() -> None:
    """A broker that accepts connections and then closes them is retried with a growing backoff."""
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        quick(
            cluster,
            reconnect_backoff_ms=10,
            reconnect_backoff_max_ms=10_000,
            retry_backoff_ms=1,
            request_timeout_ms=1_000,
            delivery_timeout_ms=2_000,
        ) as producer,
    ):
        await producer.send("orders", b"first")
        cluster.on(ApiKey.PRODUCE, times=None).disconnect()
        cluster.on(ApiKey.METADATA, times=None, optional=True).disconnect()
        lost = producer.send("orders", b"lost")
        assert isinstance(await _failure_of(lost), DeliveryTimeoutError)
        broker = insides(producer)._cluster.brokers[1]  # type: ignore[union-attr] # noqa: SLF001 - started
        assert broker._failures > 1  # noqa: SLF001 - the backoff's counter


async def _failure_of(delivery: Delivery) -> ProducerError:
    with pytest.raises(ProducerError) as failure:
        await asyncio.wait_for(delivery.future(), SOON)
    return failure.value


async def test_immediate_resend_to_refused_topic() -> None:
    """Callers that resend at once are answered from new metadata, and delay no other record."""
    many = 3 * FAILURES_A_SLICE
    async with (
        FakeCluster(topics={"orders": 1, "secret": 1}) as cluster,
        quick(cluster, max_block_ms=60_000) as producer,
    ):
        await producer.send("orders", b"first")
        cluster.on(ApiKey.METADATA, topic="secret").answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED)

        async def insist() -> int:
            refusals = 0
            while True:
                try:
                    await producer.send("secret", b"x")
                except AuthorizationError:
                    refusals += 1
                else:
                    return refusals

        refusals = await asyncio.wait_for(asyncio.gather(*[insist() for _ in range(many)]), SOON)
        assert sum(refusals) == many
        await producer.send("orders", b"last")
    assert len(cluster.records("secret")) == many


async def test_refused_topic_frees_memory() -> None:
    """Enough memory is free only after the last slice of rejected records; `drain` returns then."""
    async with (
        FakeCluster(topics={"orders": 1, "secret": 1}) as cluster,
        quick(cluster, buffer_memory=70_000, max_block_ms=60_000, delivery_timeout_ms=60_000) as producer,
    ):
        await producer.send("orders", b"first")
        refused = cluster.on(ApiKey.METADATA, topic="secret").hold()
        cluster.on(ApiKey.METADATA, topic="secret").answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        deliveries = [producer.send("secret", b"") for _ in range(3 * FAILURES_A_SLICE)]
        room = asyncio.ensure_future(drained(producer))
        await asyncio.wait_for(refused.hit(), SOON)
        assert not room.done()
        refused.release()
        await asyncio.wait_for(room, SOON)
        assert all(isinstance(delivery.exception(), AuthorizationError) for delivery in deliveries)


async def test_stop_fails_waiting_records_in_slices() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        producer = quick(cluster, max_block_ms=60_000)
        await producer.start()
        cluster.on(ApiKey.METADATA, times=None).hold()
        deliveries = [producer.send("unknown", b"") for _ in range(3 * FAILURES_A_SLICE + 1)]
        awaited = asyncio.gather(*[delivery.future() for delivery in deliveries], return_exceptions=True)
        stopping = asyncio.create_task(producer.stop(timeout=0))
        told = set()
        while not stopping.done():
            told.add(sum(delivery.done() for delivery in deliveries))
            await asyncio.sleep(0)
        assert told & {FAILURES_A_SLICE, 2 * FAILURES_A_SLICE}, "the loop had no turn in between"
        assert {type(error) for error in await awaited} == {ProducerClosedError}
        assert len(insides(producer).accumulator.buffer.records) == 0
        cluster.heal()
