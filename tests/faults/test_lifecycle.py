"""Stopping, callbacks and counting: what holds from the first record to the last."""

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
from tests.faults.stored import AMPLE, figure, grow_old, in_flight, landed, patient, send, values
from tests.net.quick import PATIENCE, insides, quick, turns, until
from tests.net.traces import no_traces


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


# Stop.


@pytest.mark.scenario("stop")
async def test_stop_waits_for_what_is_in_flight_and_what_is_queued_behind_it(cluster: FakeCluster) -> None:
    async with no_traces():
        producer = patient(cluster)
        await producer.start()
        await landed(send(producer, 1))
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


@pytest.mark.scenario("stop")
async def test_a_stop_whose_time_is_up_fails_the_rest_and_says_what_may_be_written(
    cluster: FakeCluster,
) -> None:
    async with no_traces():
        producer = patient(cluster)
        await producer.start()
        await landed(send(producer, 1))
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
async def test_a_callback_may_stop_the_producer(cluster: FakeCluster, timeout: float | None) -> None:
    """In Java a close in a callback has no time at all, for it would wait for itself; here it has."""
    async with no_traces():
        producer = patient(cluster)
        await producer.start()
        await landed(send(producer, 1))
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
async def test_stop_while_records_wait_for_metadata_ends_in_time(
    cluster: FakeCluster, timeout: float | None
) -> None:
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
async def test_callbacks_that_raise_are_logged_and_everything_goes_on(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    called: list[object] = []
    called_next: list[Delivery] = []

    def harmful(delivery: Delivery) -> None:
        called.append(delivery.exception())
        msg = "a bug of a user"
        raise ValueError(msg)

    async with patient(cluster) as producer:
        await landed(send(producer, 1))
        cluster.on(ApiKey.PRODUCE, skip=1).answer(ErrorCode.INVALID_RECORD)
        deliveries = send(producer, 3)
        for delivery in deliveries:
            delivery.add_done_callback(harmful)
            delivery.add_done_callback(called_next.append)
        refused = deliveries.pop(1)
        with pytest.raises(InvalidRecordError):
            await refused
        assert await landed(deliveries) == [1, 2]
        await until(lambda: len(called) == len(called_next) == 3)

        assert await landed(send(producer, 1)) == [3]
        assert repr(producer).startswith(f"<Producer {producer.client_id!r} running")
    assert [type(each) for each in called] == [type(None), InvalidRecordError, type(None)]
    assert sum("a bug of a user" in (record.exc_text or "") for record in caplog.records) == 3


@pytest.mark.scenario("callbacks")
async def test_in_the_callback_of_an_expired_record_another_may_be_sent(cluster: FakeCluster) -> None:
    async with patient(cluster) as producer:
        await landed(send(producer, 1))
        held = cluster.on(ApiKey.PRODUCE).hold()
        expiring = send(producer, 3)
        again: list[Delivery] = []
        for delivery in expiring:
            delivery.add_done_callback(lambda _delivery: again.append(producer.send("orders", b"again")))
        await held.hit()
        await until(lambda: in_flight(producer) == 3)
        grow_old(producer)
        for delivery in expiring:
            with pytest.raises(DeliveryTimeoutError):
                await asyncio.wait_for(delivery, PATIENCE)
        await until(lambda: len(again) == 3)

        held.release()

        assert await landed(again) == [4, 5, 6]
    assert values(cluster) == [b"0", b"0", b"1", b"2", b"again", b"again", b"again"]


@pytest.mark.scenario("callbacks")
async def test_a_flush_that_a_callback_begins_ends(cluster: FakeCluster) -> None:
    """Java refuses it, as its callbacks run where the answers are read; here it waits elsewhere."""
    async with patient(cluster) as producer:
        await landed(send(producer, 1))
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
async def test_every_record_is_counted_by_what_became_of_it(cluster: FakeCluster) -> None:
    async with quick(cluster, request_timeout_ms=AMPLE, delivery_timeout_ms=AMPLE) as producer:
        await landed(send(producer, 1))
        cluster.on(ApiKey.PRODUCE, times=2).answer(ErrorCode.NOT_ENOUGH_REPLICAS)
        await landed(send(producer, 10))
        cluster.on(ApiKey.PRODUCE).disconnect(after_storing=True)
        await landed(send(producer, 7))
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
        refused = send(producer, 5)
        await asyncio.wait_for(producer.flush(), PATIENCE)
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.MESSAGE_TOO_LARGE)
        await landed(send(producer, 4))

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
async def test_what_expires_is_counted_once_though_its_answer_comes_later(cluster: FakeCluster) -> None:
    async with patient(cluster) as producer:
        await landed(send(producer, 1))
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = send(producer, 7)
        await until(lambda: in_flight(producer) == 5)
        await held.hit()
        grow_old(producer)
        for delivery in deliveries:
            with pytest.raises(DeliveryTimeoutError):
                await asyncio.wait_for(delivery, PATIENCE)

        held.release()
        await until(lambda: not in_flight(producer))

        assert (figure(producer, "record-send-total"), figure(producer, "record-error-total")) == (1, 7)
        assert figure(producer, "record-retry-total") == 0
        assert figure(producer, "buffer-available-bytes") == figure(producer, "buffer-total-bytes")


@pytest.mark.scenario("metrics")
async def test_after_stop_the_figures_can_be_read_and_nobody_else_keeps_them(cluster: FakeCluster) -> None:
    """Java's metrics are in a registry that closing clears; here they belong to the producer alone."""
    async with patient(cluster) as producer:
        await landed(send(producer, 3))
    assert figure(producer, "record-send-total") == 3
    assert figure(producer, "connection-count") == figure(producer, "requests-in-flight") == 0
    assert figure(producer, "connection-creation-total") == figure(producer, "connection-close-total")

    kept = weakref.ref(insides(producer))
    del producer
    gc.collect()

    assert kept() is None
