"""The end of a whole producer: nothing is left behind, and bugs in the background are reported."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from aioproducer import Delivery, Producer, ProducerClosedError, ProducerFailedError, UnknownTopicError
from aioproducer.core.settlement import Settlement
from aioproducer.net.sender import Sender
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import PATIENCE, drained, insides, outcome, quick, turns, until
from tests.net.traces import at_each_await, no_traces


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


async def test_start_is_cancelled_at_any_await(cluster: FakeCluster) -> None:
    for cut in at_each_await():
        async with no_traces():
            producer = quick(cluster)
            error = await cut.run(producer.start())
            assert cut.happened == isinstance(error, asyncio.CancelledError)
            if cut.happened:
                with pytest.raises(ProducerClosedError):
                    producer.send("orders", b"1")
            await producer.stop()


@pytest.mark.scenario("stop")
async def test_stop_is_cancelled_at_any_await(cluster: FakeCluster) -> None:
    for cut in at_each_await():
        async with no_traces():
            producer = quick(cluster)
            await producer.start()
            delivery = producer.send("orders", b"1")
            await cut.run(producer.stop())
            await producer.stop()
            assert delivery.done()
            delivery.exception()


@pytest.mark.scenario("stop")
async def test_cancelled_stop_ends_at_once(cluster: FakeCluster) -> None:
    """It does not wait for a silent broker any longer."""
    for cut in at_each_await():
        silent = cluster.on(ApiKey.PRODUCE).fall_silent()
        async with no_traces():
            producer = quick(cluster, request_timeout_ms=5_000)
            await producer.start()
            delivery = producer.send("orders", b"1")
            await silent.hit()
            stopping = asyncio.create_task(producer.stop(1))
            await cut.run(producer.stop())
            await stopping
            error = delivery.exception()
            assert isinstance(error, ProducerClosedError)
            assert error.may_be_written
        if cut.at > 4:
            break


@pytest.mark.scenario("cancelled-awaiter")
@pytest.mark.parametrize("wait", ["flush", "drain", "delivery", "partitions_for"])
async def test_waiting_call_is_cancelled(cluster: FakeCluster, wait: str) -> None:
    count = 0
    for cut in at_each_await():
        count += 1
        async with no_traces():
            producer = quick(cluster, buffer_memory=2_500, batch_size=400)
            await producer.start()
            deliveries = [producer.send("orders", b"%d" % number * 20) for number in range(20)]
            waiting: Coroutine[Any, Any, object]
            match wait:
                case "flush":
                    waiting = producer.flush()
                case "drain":
                    waiting = drained(producer)
                case "delivery":
                    waiting = outcome(deliveries[-1])
                case _:
                    waiting = producer.partitions_for("other")
            await cut.run(waiting)
            await producer.stop()
            for delivery in deliveries:
                delivery.result()
    assert len(cluster.records("orders")) == 20 * count


@pytest.mark.simulated
async def test_short_max_block_keeps_no_processor_busy(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing expires in this time, so there is hardly a look at what has expired."""
    looks: list[float] = []
    expire = Settlement.expire

    def counted(settlement: Settlement, now: float) -> bool:
        looks.append(now)
        return expire(settlement, now)

    monkeypatch.setattr(Settlement, "expire", counted)
    async with quick(cluster, max_block_ms=0, request_timeout_ms=5_000) as producer:
        while "orders" not in insides(producer).metadata.topics:
            with suppress(UnknownTopicError):
                await producer.send("orders", b"0")
        await producer.flush()
        held = cluster.on(ApiKey.PRODUCE).hold()
        delivery = producer.send("orders", b"1")
        await held.hit()
        looks.clear()
        await asyncio.sleep(0.5)
        held.release()
        await delivery
    assert len(looks) <= 10


async def test_many_producers_leave_nothing(cluster: FakeCluster) -> None:
    async with no_traces():
        for number in range(100):
            async with quick(cluster) as producer:
                await producer.send("orders", b"%d" % number)
    assert len(cluster.records("orders")) == 100
    await until(lambda: cluster.connections(1) == 0)


@pytest.mark.simulated
@pytest.mark.scenario("stop")
async def test_stop_timeout_without_cluster(cluster: FakeCluster) -> None:
    async with no_traces():
        producer = quick(cluster)
        await producer.start()
        await producer.send("orders", b"1")
        await cluster.stop()
        await until(lambda: not producer.metrics()["producer-metrics"]["connection-count"])
        delivery = producer.send("orders", b"2")
        async with asyncio.timeout(PATIENCE):
            await producer.stop(0.1)
        error = delivery.exception()
        assert isinstance(error, ProducerClosedError)
        assert not error.may_be_written


@pytest.mark.simulated
@pytest.mark.scenario("stop")
async def test_shortest_stop_timeout_decides(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
    producer = quick(cluster, request_timeout_ms=5_000)
    await producer.start()
    delivery = producer.send("orders", b"1")
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(producer.stop(), producer.stop(4), producer.stop(0.1))
    assert isinstance(delivery.exception(), ProducerClosedError)


@pytest.fixture
def bug() -> ValueError:
    return ValueError("a bug")


async def _expect_failure(
    producer: Producer[Any, Any], delivery: Delivery, cause: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(PATIENCE):
        for call in (delivery, producer.flush(), drained(producer), producer.partitions_for("orders")):
            with pytest.raises(ProducerFailedError) as failed:
                await call
            assert failed.value.__cause__ is cause
            assert failed.value.fatal
        with pytest.raises(ProducerFailedError) as failed:
            producer.send("orders", b"late")
        assert failed.value.__cause__ is cause
        assert "failed" in repr(producer)
        assert "background failed" in caplog.text
        await producer.stop()


async def test_bug_in_pump_fails_producer(
    cluster: FakeCluster, bug: ValueError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compress(*_arguments: object) -> None:
        raise bug

    monkeypatch.setattr(Sender, "_compress", compress)
    async with no_traces():
        producer = quick(cluster)
        await producer.start()
        await _expect_failure(producer, producer.send("orders", b"1"), bug, caplog)


async def test_bug_in_response_fails_producer(
    cluster: FakeCluster, bug: ValueError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(*_arguments: object) -> None:
        raise bug

    monkeypatch.setattr(Sender, "_receive", receive)
    async with no_traces():
        producer = quick(cluster)
        await producer.start()
        delivery = producer.send("orders", b"1")
        await _expect_failure(producer, delivery, bug, caplog)
        error = delivery.exception()
        assert error is not None
        assert error.may_be_written


async def test_bug_in_task_fails_producer(
    cluster: FakeCluster, bug: ValueError, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.on(ApiKey.METADATA, skip=1).hold()
    async with no_traces():
        producer = quick(cluster)
        await producer.start()
        delivery = producer.send("orders", b"1")
        waiting = asyncio.gather(
            producer.flush(),
            producer.partitions_for("orders"),
            producer.partitions_for("other"),
            return_exceptions=True,
        )
        await turns()

        async def raises() -> None:
            raise bug

        insides(producer)._tasks.spawn("bug", raises)  # type: ignore[union-attr] # noqa: SLF001 - a failing task
        async with asyncio.timeout(PATIENCE):
            errors = await waiting
        assert errors[0] is None
        assert [type(error) for error in errors[1:]] == [ProducerFailedError] * 2
        await _expect_failure(producer, delivery, bug, caplog)
        cluster.heal()


async def test_failure_ends_drain(cluster: FakeCluster, bug: ValueError) -> None:
    held = cluster.on(ApiKey.PRODUCE).hold()
    async with quick(cluster, buffer_memory=2_500) as producer:
        deliveries = [producer.send("orders", b"x" * 500) for _ in range(4)]
        await held.hit()
        draining = asyncio.create_task(drained(producer))
        await turns()
        assert not draining.done()
        insides(producer).crash(bug)
        with pytest.raises(ProducerFailedError):
            await asyncio.wait_for(draining, 2)
        for delivery in deliveries:
            assert isinstance(delivery.exception(), ProducerFailedError)
        held.release()


async def test_cancelled_background_fails_producer(cluster: FakeCluster) -> None:
    """A program cancels all tasks of the loop."""
    mine = asyncio.all_tasks()
    async with no_traces():
        producer = quick(cluster)
        await producer.start()
        cluster.on(ApiKey.PRODUCE, optional=True).fall_silent()
        delivery = producer.send("orders", b"1")
        await turns()
        for task in asyncio.all_tasks() - mine:
            task.cancel()
        with pytest.raises(ProducerFailedError):
            await asyncio.wait_for(delivery, 2)
        await asyncio.wait_for(producer.stop(), 2)


async def test_unread_failure_is_logged(cluster: FakeCluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with quick(cluster) as producer:
        await producer.send("orders", b"0")
        cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
        for _ in range(3):
            producer.send("orders", b"1")
        await turns()
        await producer.stop(0)
    assert "3 of 3 records for orders-0 failed and their deliveries were never looked at" in caplog.text


async def test_bug_in_timer_fails_producer(
    cluster: FakeCluster, bug: ValueError, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Settlement):
        def expire(self, now: float) -> bool:  # noqa: ARG002 - the bug comes first
            raise bug

    # A record that waits for its topic is ended by nothing but the timer.
    cluster.on(ApiKey.METADATA, topic="held", times=None).hold()
    async with no_traces():
        producer = quick(cluster, max_block_ms=200)
        insides(producer)._settlement.__class__ = Buggy  # noqa: SLF001 - the bug
        await producer.start()
        await _expect_failure(producer, producer.send("held", b"1"), bug, caplog)
