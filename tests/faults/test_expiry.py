"""A batch expires: unsent, half written, in flight, or while it waits for its topic."""

import asyncio
import random
from typing import Any

import pytest

from aioproducer import Delivery, DeliveryTimeoutError, UnknownTopicError
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.faults.outcomes import (
    SOON,
    all_stored,
    buffer_is_free,
    expire_all,
    failure,
    note_end,
    patient,
    stored,
    values,
)
from tests.faults.stalling_proxy import StallingProxy
from tests.faults.stored import TOPIC, figure
from tests.net.quick import insides, quick, until


def _noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - nothing is secret


@pytest.mark.scenario("expired-batch-memory")
async def test_expired_batch_keeps_its_memory() -> None:
    """The batch expires half written.

    Its memory is not reused for later records while the rest of it is still to be written.
    """
    large = _noise(900_000)
    async with (
        FakeCluster(topics={TOPIC: 1, "audit": 1}) as cluster,
        StallingProxy(cluster) as proxy,
        patient(cluster, batch_size=1_000_000, send_buffer_bytes=4_096) as producer,
    ):
        await all_stored([producer.send(topic, b"first") for topic in (TOPIC, "audit")])
        total = figure(producer, "buffer-available-bytes")
        proxy.stall()
        expired = producer.send(TOPIC, large)
        await until(lambda: figure(producer, "requests-in-flight") == 1)

        expire_all(producer)
        error = await failure(expired)
        assert isinstance(error, DeliveryTimeoutError)
        assert error.may_be_written
        # The memory stays in use until the broker has answered.
        assert figure(producer, "buffer-available-bytes") < total - len(large)

        sent = [_noise(size) for size in range(900, 960)]
        later = [producer.send(topic, value) for value in sent for topic in (TOPIC, "audit")]
        await asyncio.sleep(0.05)
        assert not any(delivery.done() for delivery in later)
        proxy.resume()
        await all_stored(later)
        await buffer_is_free(producer)

    # The expired batch was stored, as the error allows: its own bytes, in its own topic.
    assert values(cluster) == [b"first", large, *sent]
    assert values(cluster, "audit") == [b"first", *sent]


@pytest.mark.simulated
@pytest.mark.scenario("expired-unsent")
@pytest.mark.parametrize(
    ("leaderless", "why"), [(False, "no attempt was made: broker 2"), (True, "the partition has no leader")]
)
async def test_unsent_batches_expire_without_leader(*, leaderless: bool, why: str) -> None:
    async with FakeCluster(2, {TOPIC: 4}, replication_factor=1) as cluster:
        if leaderless:
            for partition in (1, 3):
                cluster.move_leader(TOPIC, partition, to=-1)
        else:
            cluster.on(ApiKey.API_VERSIONS, node=2, times=None).disconnect()
        async with quick(cluster, request_timeout_ms=1_500, delivery_timeout_ms=1_500) as producer:
            deliveries = [
                [producer.send(TOPIC, b"%d" % number, partition=partition) for number in range(3)]
                for partition in range(4)
            ]
            for partition in (1, 3):
                for delivery in deliveries[partition]:
                    error = await failure(delivery)
                    assert isinstance(error, DeliveryTimeoutError)
                    assert (error.topic, error.partition) == (TOPIC, partition)
                    assert why in str(error)
                    assert not error.may_be_written
            for partition in (0, 2):
                assert [each.offset for each in await all_stored(deliveries[partition])] == [0, 1, 2]
            await buffer_is_free(producer)

            # Unsent batches leave no gap: the partitions work as soon as they can be reached.
            cluster.heal()
            for partition in (1, 3):
                cluster.move_leader(TOPIC, partition, to=2)
            await until(lambda: insides(producer).accumulator.topics[TOPIC].partitions[3].node.node_id == 2)
            await all_stored([producer.send(TOPIC, b"again", partition=partition) for partition in (1, 3)])
    assert values(cluster, partition=1) == values(cluster, partition=3) == [b"again"]


@pytest.mark.simulated
@pytest.mark.scenario("expired-in-flight")
async def test_batch_expires_in_flight() -> None:
    """The batch expires before its request times out: a retry after one second leaves it less time."""
    loop = asyncio.get_running_loop()
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        quick(
            cluster,
            request_timeout_ms=2_000,
            delivery_timeout_ms=2_000,
            retry_backoff_ms=1_000,
            retry_backoff_max_ms=1_000,
        ) as producer,
    ):
        await stored(producer.send(TOPIC, b"first"))
        connections = figure(producer, "connection-close-total")
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        held = cluster.on(ApiKey.PRODUCE, skip=1).hold()
        started = loop.time()
        delivery = producer.send(TOPIC, b"expires")
        async with asyncio.timeout(SOON):
            await held.hit()
        assert not delivery.done()

        error = await failure(delivery)
        assert isinstance(error, DeliveryTimeoutError)
        assert error.may_be_written
        assert loop.time() - started >= 1.997
        assert figure(producer, "requests-in-flight") == 1
        assert figure(producer, "connection-close-total") == connections

        held.release()
        await buffer_is_free(producer)
        # The expired batch is in the log: the next record gets the offset after it.
        assert (await stored(producer.send(TOPIC, b"next"))).offset == 2
    assert values(cluster) == [b"first", b"expires", b"next"]


@pytest.mark.scenario("late-response")
@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.NONE,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.INVALID_RECORD,
    ],
)
async def test_late_response_changes_nothing(code: ErrorCode) -> None:
    """A response to an expired batch counts, retries and splits nothing."""
    told: list[tuple[Delivery, Any]] = []
    async with FakeCluster(topics={TOPIC: 1}) as cluster, patient(cluster) as producer:
        await stored(producer.send(TOPIC, b"first"))
        requests = cluster.on(ApiKey.PRODUCE, times=None).rewrite(lambda response: response)
        held = cluster.on(ApiKey.PRODUCE).hold()
        if code:
            cluster.on(ApiKey.PRODUCE).answer(code)
        deliveries = [producer.send(TOPIC, b"a"), producer.send(TOPIC, b"b")]
        for delivery in deliveries:
            delivery.add_done_callback(lambda done: told.append((done, done.exception())))
        async with asyncio.timeout(SOON):
            await held.hit()
        expire_all(producer)
        for delivery in deliveries:
            assert isinstance(await failure(delivery), DeliveryTimeoutError)

        held.release()
        await until(lambda: figure(producer, "requests-in-flight") == 0, SOON)
        await buffer_is_free(producer)
        assert requests.hits == 1
        assert figure(producer, "record-retry-total") == figure(producer, "batch-split-total") == 0
        assert [(done, type(error)) for done, error in told] == [
            (delivery, DeliveryTimeoutError) for delivery in deliveries
        ]
        assert (figure(producer, "record-send-total"), figure(producer, "record-error-total")) == (1, 2)
        assert (await stored(producer.send(TOPIC, b"next"))).offset == (1 if code else 3)
    assert values(cluster) == ([b"first", b"next"] if code else [b"first", b"a", b"b", b"next"])


@pytest.mark.simulated
@pytest.mark.scenario("delivery-timeout")
async def test_retry_and_split_keep_deadline() -> None:
    """A retried and split record expires before a younger record without retries."""
    loop = asyncio.get_running_loop()
    ended: list[str] = []
    async with FakeCluster(2, {TOPIC: 2}, replication_factor=1) as cluster:
        cluster.on(ApiKey.API_VERSIONS, node=2, times=None).disconnect()
        async with quick(cluster, request_timeout_ms=2_000, delivery_timeout_ms=2_000) as producer:
            await stored(producer.send(TOPIC, b"first", partition=0))
            first = cluster.on(ApiKey.PRODUCE, partition=0).hold()
            cluster.on(ApiKey.PRODUCE, partition=0).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
            cluster.on(ApiKey.PRODUCE, partition=0, skip=1).answer(ErrorCode.MESSAGE_TOO_LARGE)
            pieces = cluster.on(ApiKey.PRODUCE, partition=0, skip=2, times=None).hold()
            started = loop.time()
            old = [producer.send(TOPIC, value, partition=0) for value in (b"a", b"b")]
            async with asyncio.timeout(SOON):
                await first.hit()
            young = producer.send(TOPIC, b"young", partition=1)
            for name, delivery in {"a": old[0], "b": old[1], "young": young}.items():
                delivery.add_done_callback(note_end(name, ended))
            # A deadline that started again now would be a second late, and fail the test.
            await asyncio.sleep(1)
            first.release()
            async with asyncio.timeout(SOON):
                await pieces.hit()
            assert figure(producer, "record-retry-total") == 2
            assert figure(producer, "batch-split-total") == 1

            for delivery in (*old, young):
                assert isinstance(await failure(delivery), DeliveryTimeoutError)
                assert loop.time() - started >= 1.997
            await until(lambda: len(ended) == 3, SOON)
            cluster.heal()
    assert ended == ["a", "b", "young"]


@pytest.mark.simulated
async def test_delivery_timeout_ends_waiting_for_topic() -> None:
    async with (
        FakeCluster(auto_create_topics=False) as cluster,
        quick(cluster, request_timeout_ms=300, delivery_timeout_ms=400, max_block_ms=60_000) as producer,
    ):
        error = await failure(producer.send("nowhere", b"1"))

    assert isinstance(error, UnknownTopicError)
    assert "within delivery_timeout_ms (400)" in str(error)


@pytest.mark.simulated
async def test_topic_wait_counts_for_delivery_timeout() -> None:
    async with (
        FakeCluster(auto_create_topics=False) as cluster,
        patient(cluster, max_block_ms=60_000) as producer,
    ):
        accumulator = insides(producer).accumulator
        silent = cluster.on(ApiKey.PRODUCE, topic="late", times=None).fall_silent()
        delivery = producer.send("late", b"1")
        await asyncio.sleep(0.3)
        cluster.create_topic("late")
        await silent.hit()
        (batch,) = accumulator.incomplete

        assert batch.created - batch.oldest_send >= 0.29
        timeout = producer.config.delivery_timeout
        assert accumulator.next_deadline(timeout) == batch.oldest_send + timeout
        expire_all(producer)
        assert isinstance(await failure(delivery), DeliveryTimeoutError)
