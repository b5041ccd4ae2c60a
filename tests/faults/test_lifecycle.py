"""Stop, callbacks and metrics of a whole producer."""

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator

import pytest

from aioproducer import (
    Delivery,
    DeliveryTimeoutError,
    InvalidRecordError,
    ProducerClosedError,
    UnknownTopicError,
)
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.faults.stored import AMPLE, age_batches, figure, in_flight, offsets_of, patient, send, values
from tests.net.quick import PATIENCE, insides, quick, turns, until
from tests.net.traces import no_traces


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


# Stop.


@pytest.mark.scenario("stop")
async def test_stop_waits_for_accepted_records(cluster: FakeCluster) -> None:
    async with no_traces():
        producer = patient(cluster)
        await producer.start()
        await offsets_of(send(producer, 1))
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = send(producer, 8)
        await held.hit()

        stopping = asyncio.create_task(producer.stop())
        await turns()
        with pytest.raises(ProducerClosedError):
            producer.send("orders", b"too late")
        assert not stopping.done()
        held.release()
        await asyncio.wait_for(stopping, PATIENCE)

        assert [delivery.result().offset for delivery in deliveries] == list(range(1, 9))
        await until(lambda: not cluster.connections(1))


@pytest.mark.simulated
@pytest.mark.scenario("stop")
async def test_stop_timeout_fails_the_rest(
    cluster: FakeCluster,
) -> None:
    """After the timeout the remaining records fail; those in flight may be written."""
    async with no_traces():
        producer = patient(cluster)
        await producer.start()
        await offsets_of(send(producer, 1))
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = send(producer, 8)
        await held.hit()
        await until(lambda: in_flight(producer) == 5)

        await asyncio.wait_for(producer.stop(0.05), PATIENCE)

        in_doubt = []
        for delivery in deliveries:
            with pytest.raises(
                ProducerClosedError, match="stopped before the record was acknowledged"
            ) as told:
                await delivery
            in_doubt.append(told.value.may_be_written)
        assert in_doubt == [True] * 5 + [False] * 3
        held.release()
        await until(lambda: not cluster.connections(1))


@pytest.mark.scenario("stop")
@pytest.mark.parametrize("timeout", [None, 0])
async def test_callback_may_stop_producer(cluster: FakeCluster, timeout: float | None) -> None:
    """Java's `close` in a callback has no time, because it would wait for itself; here it has."""
    async with no_traces():
        producer = patient(cluster)
        await producer.start()
        await offsets_of(send(producer, 1))
        stopping: list[asyncio.Task[None]] = []
        held = cluster.on(ApiKey.PRODUCE, skip=1).hold()
        deliveries = send(producer, 3)
        deliveries[0].add_done_callback(
            lambda _delivery: stopping.append(asyncio.create_task(producer.stop(timeout)))
        )
        await until(lambda: stopping)
        await held.hit()
        if timeout is None:
            held.release()

        await asyncio.wait_for(stopping[0], PATIENCE)

        if timeout is None:
            assert [delivery.result().offset for delivery in deliveries] == [1, 2, 3]
        else:
            assert all(isinstance(each.exception(), ProducerClosedError) for each in deliveries[1:])
        held.release()
        await until(lambda: not cluster.connections(1))


@pytest.mark.scenario("stop")
@pytest.mark.parametrize("timeout", [None, 0])
async def test_stop_while_waiting_for_metadata(cluster: FakeCluster, timeout: float | None) -> None:
    async with no_traces():
        producer = patient(cluster)
        await producer.start()
        asked = cluster.on(ApiKey.METADATA, times=None).hold()
        delivery = producer.send("orders", b"waits")
        asking = asyncio.create_task(producer.partitions_for("orders"))
        await asked.hit()

        await asyncio.wait_for(producer.stop(timeout), PATIENCE)

        error = delivery.exception()
        assert isinstance(error, UnknownTopicError if timeout is None else ProducerClosedError)
        assert not error.may_be_written
        with pytest.raises((UnknownTopicError, ProducerClosedError)):
            await asking
        cluster.heal()
        await until(lambda: not cluster.connections(1))


# Callbacks.


@pytest.mark.scenario("callbacks")
async def test_raising_callbacks_are_logged(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    called: list[object] = []
    called_next: list[Delivery] = []

    def harmful(delivery: Delivery) -> None:
        called.append(delivery.exception())
        msg = "a bug of a user"
        raise ValueError(msg)

    async with patient(cluster) as producer:
        await offsets_of(send(producer, 1))
        cluster.on(ApiKey.PRODUCE, skip=1).answer(ErrorCode.INVALID_RECORD)
        deliveries = send(producer, 3)
        for delivery in deliveries:
            delivery.add_done_callback(harmful)
            delivery.add_done_callback(called_next.append)
        refused = deliveries.pop(1)
        with pytest.raises(InvalidRecordError):
            await refused
        assert await offsets_of(deliveries) == [1, 2]
        await until(lambda: len(called) == len(called_next) == 3)

        assert await offsets_of(send(producer, 1)) == [3]
        assert repr(producer).startswith(f"<Producer {producer.client_id!r} running")
    assert [type(each) for each in called] == [type(None), InvalidRecordError, type(None)]
    assert sum("a bug of a user" in (record.exc_text or "") for record in caplog.records) == 3


@pytest.mark.scenario("callbacks")
async def test_callback_of_expired_record_sends(cluster: FakeCluster) -> None:
    async with patient(cluster) as producer:
        await offsets_of(send(producer, 1))
        held = cluster.on(ApiKey.PRODUCE).hold()
        expiring = send(producer, 3)
        again: list[Delivery] = []
        for delivery in expiring:
            delivery.add_done_callback(lambda _delivery: again.append(producer.send("orders", b"again")))
        await held.hit()
        await until(lambda: in_flight(producer) == 3)
        age_batches(producer)
        for delivery in expiring:
            with pytest.raises(DeliveryTimeoutError):
                await asyncio.wait_for(delivery, PATIENCE)
        await until(lambda: len(again) == 3)

        held.release()

        assert await offsets_of(again) == [4, 5, 6]
    assert values(cluster) == [b"0", b"0", b"1", b"2", b"again", b"again", b"again"]


@pytest.mark.scenario("callbacks")
async def test_callback_may_flush(cluster: FakeCluster) -> None:
    """Java forbids it, because callbacks run in the thread that reads responses; here they do not."""
    async with patient(cluster) as producer:
        await offsets_of(send(producer, 1))
        flushing: list[asyncio.Task[None]] = []
        held = cluster.on(ApiKey.PRODUCE, skip=1).hold()
        deliveries = send(producer, 3)
        deliveries[0].add_done_callback(
            lambda _delivery: flushing.append(asyncio.create_task(producer.flush()))
        )
        await until(lambda: flushing)
        await held.hit()
        await turns()
        assert not flushing[0].done()
        held.release()

        await asyncio.wait_for(flushing[0], PATIENCE)

        assert [delivery.result().offset for delivery in deliveries] == [1, 2, 3]


# Metrics.


@pytest.mark.scenario("metrics")
async def test_records_are_counted_by_result(cluster: FakeCluster) -> None:
    async with quick(cluster, request_timeout_ms=AMPLE, delivery_timeout_ms=AMPLE) as producer:
        await offsets_of(send(producer, 1))
        cluster.on(ApiKey.PRODUCE, times=2).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        await offsets_of(send(producer, 10))
        cluster.on(ApiKey.PRODUCE).disconnect(after_storing=True)
        await offsets_of(send(producer, 7))
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
        refused = send(producer, 5)
        await asyncio.wait_for(producer.flush(), PATIENCE)
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.MESSAGE_TOO_LARGE)
        await offsets_of(send(producer, 4))

        assert all(isinstance(delivery.exception(), InvalidRecordError) for delivery in refused)
        sent, errors, retries = (
            figure(producer, f"record-{count}-total") for count in ("send", "error", "retry")
        )
        assert (sent, errors, retries) == (1 + 10 + 7 + 4, 5, 2 * 10 + 7)
        assert figure(producer, "batch-split-total") == 1
        of_topic = producer.metrics()["producer-topic-metrics"]["orders"]
        assert of_topic["record-send-total"] == sent == len(values(cluster))
        assert (of_topic["record-error-total"], of_topic["record-retry-total"]) == (errors, retries)


@pytest.mark.scenario("metrics")
async def test_expired_records_are_counted_once(cluster: FakeCluster) -> None:
    """A late response to an expired batch is not counted again."""
    async with patient(cluster) as producer:
        await offsets_of(send(producer, 1))
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = send(producer, 7)
        await until(lambda: in_flight(producer) == 5)
        await held.hit()
        age_batches(producer)
        for delivery in deliveries:
            with pytest.raises(DeliveryTimeoutError):
                await asyncio.wait_for(delivery, PATIENCE)

        held.release()
        await until(lambda: not in_flight(producer))

        assert (figure(producer, "record-send-total"), figure(producer, "record-error-total")) == (1, 7)
        assert figure(producer, "record-retry-total") == 0
        assert figure(producer, "buffer-available-bytes") == figure(producer, "buffer-total-bytes")


@pytest.mark.scenario("metrics")
async def test_metrics_outlive_stop(cluster: FakeCluster) -> None:
    """Java's metrics live in a registry that closing clears; here they belong to the producer alone."""
    async with patient(cluster) as producer:
        await offsets_of(send(producer, 3))
    assert figure(producer, "record-send-total") == 3
    assert figure(producer, "connection-count") == figure(producer, "requests-in-flight") == 0
    assert figure(producer, "connection-creation-total") == figure(producer, "connection-close-total")

    kept = weakref.ref(insides(producer))
    del producer
    gc.collect()

    assert kept() is None
