"""What few producers ever meet, and none may be undone by: destructors that send, lies in metadata."""

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
from aioproducer.core.settlement import RECORDS_A_SLICE
from aioproducer.error_code import ErrorCode
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import drained, insides, quick, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer import Producer
    from aioproducer.protocol.init_producer_id import InitProducerIdResponse
    from aioproducer.protocol.metadata import MetadataResponse

SOON = 10


@pytest.fixture
def usual_collection() -> Iterator[None]:
    """Put the garbage collector's thresholds back."""
    usual = gc.get_threshold()
    yield
    gc.set_threshold(*usual)


@pytest.mark.usefixtures("usual_collection")
async def test_a_destructor_that_sends_while_a_batch_is_opened_takes_nothing_away() -> None:
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


async def test_a_value_with_a_will_of_its_own_is_taken_for_its_bytes() -> None:
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


async def test_two_topics_that_metadata_gives_one_id_are_written_to_by_name() -> None:
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


async def test_what_is_stored_while_no_producer_id_is_given_any_more_may_be_written() -> None:
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


async def test_flushes_that_give_up_leave_nothing_with_the_batches() -> None:
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
        waiters = [delivery.result_of_batch.waiters or () for delivery in deliveries]
        assert sum(map(len, waiters)) <= 20
        held.release()


async def test_memory_that_fails_with_a_batch_that_cannot_be_written_is_given_to_who_waits() -> None:
    """The broker is too old for zstd, which shows when the batch is to be written; no timer helps."""
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


async def test_a_throttle_of_weeks_keeps_no_memory_for_weeks() -> None:
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


async def test_a_broker_that_greets_and_hangs_up_is_tried_ever_less_often() -> None:
    async with (
        FakeCluster(topics={"orders": 1}) as cluster,
        quick(
            cluster,
            reconnect_backoff_ms=10,
            reconnect_backoff_max_ms=10_000,
            retry_backoff_ms=1,
            delivery_timeout_ms=2_000,
        ) as producer,
    ):
        await producer.send("orders", b"first")
        cluster.on(ApiKey.PRODUCE, times=None).disconnect()
        cluster.on(ApiKey.METADATA, times=None, optional=True).disconnect()
        lost = producer.send("orders", b"lost")
        assert isinstance(await _failure_of(lost), DeliveryTimeoutError)
        broker = insides(producer)._cluster.brokers[1]  # type: ignore[union-attr] # noqa: SLF001 - started
        assert broker._failures > 1  # noqa: SLF001 - what the backoff grows by


async def _failure_of(delivery: Delivery) -> ProducerError:
    with pytest.raises(ProducerError) as failure:
        await asyncio.wait_for(delivery.future(), SOON)
    return failure.value


async def test_who_tries_a_refused_topic_again_at_once_keeps_nobody_waiting() -> None:
    """Not even itself: the brokers are asked again, and have changed their mind."""
    many = 3 * RECORDS_A_SLICE
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


async def test_room_that_a_refused_topics_records_leave_is_told_of() -> None:
    """Too little of it is free before the last slice, and nothing else goes on that would tell."""
    async with (
        FakeCluster(topics={"orders": 1, "secret": 1}) as cluster,
        quick(cluster, buffer_memory=70_000, max_block_ms=60_000, delivery_timeout_ms=60_000) as producer,
    ):
        await producer.send("orders", b"first")
        refused = cluster.on(ApiKey.METADATA, topic="secret").hold()
        cluster.on(ApiKey.METADATA, topic="secret").answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        deliveries = [producer.send("secret", b"") for _ in range(3 * RECORDS_A_SLICE)]
        room = asyncio.ensure_future(drained(producer))
        await asyncio.wait_for(refused.hit(), SOON)
        assert not room.done()
        refused.release()
        await asyncio.wait_for(room, SOON)
        assert all(isinstance(delivery.exception(), AuthorizationError) for delivery in deliveries)


async def test_a_stop_tells_everybody_in_a_long_line() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        producer = quick(cluster, max_block_ms=60_000)
        await producer.start()
        cluster.on(ApiKey.METADATA, times=None).hold()
        deliveries = [producer.send("unknown", b"") for _ in range(3 * RECORDS_A_SLICE + 1)]
        awaited = asyncio.gather(*[delivery.future() for delivery in deliveries], return_exceptions=True)
        stopping = asyncio.create_task(producer.stop(timeout=0))
        told = set()
        while not stopping.done():
            told.add(sum(delivery.done() for delivery in deliveries))
            await asyncio.sleep(0)
        assert told & {RECORDS_A_SLICE, 2 * RECORDS_A_SLICE}, "the loop had no turn in between"
        assert {type(error) for error in await awaited} == {ProducerClosedError}
        assert len(insides(producer).accumulator.buffer.records) == 0
        cluster.heal()
