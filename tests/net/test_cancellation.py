"""Cancellation at any moment, once or twice: nothing is left behind, lost or stored twice.

`test_engine.py` cancels each call at each of its own awaits. Here cancellation falls between any
two turns of the event loop, while other tasks work.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypedDict

import pytest

from aioproducer import Delivery, DeliveryTimeoutError, Producer, ProducerClosedError
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import drained, outcome, quick
from tests.net.traces import at_each_await, at_each_turn, no_traces

SOON = 30
PARTITIONS = 2

numbers = itertools.count()


class How(TypedDict, total=False):
    """The kind of cancellation."""

    again: int
    insists: bool


EVERY_WAY = pytest.mark.parametrize(
    "how",
    [How(), How(again=0), How(again=1), How(again=7), How(insists=True)],
    ids=["once", "twice at once", "again a turn later", "again some turns later", "by a scope that insists"],
)


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(2, {"orders": PARTITIONS}) as cluster:
        yield cluster


class Ledger:
    """The records that producers have sent, for a comparison with the log."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._sent: list[tuple[int, bytes, Delivery]] = []

    def send(self, producer: Producer[Any, Any]) -> Delivery:
        """Send one record with a value of its own."""
        number = len(self._sent)
        value, partition = b"%08d" % number * 20, number % PARTITIONS
        delivery = producer.send("orders", value, partition=partition)
        self._sent.append((partition, value, delivery))
        return delivery

    def check(self, *, all_stored: bool = False) -> None:
        """Check that each delivery tells the truth, and that the order was kept."""
        logs = [[record.value for record in self._cluster.records("orders", at)] for at in range(PARTITIONS)]
        for log in logs:
            assert max(Counter(log).values(), default=1) == 1
            assert log == sorted(log, key=lambda value: value or b"")
        for partition, value, delivery in self._sent:
            error = delivery.exception()
            if error is None:
                assert logs[partition][delivery.result().offset] == value
            else:
                assert not all_stored, error
                assert isinstance(error, ProducerClosedError)
                assert error.may_be_written or value not in logs[partition]


async def _live(producer: Producer[Any, Any], ledger: Ledger) -> None:
    """Call every method that waits, from start to stop."""
    async with producer:
        await ledger.send(producer)
        for _ in range(6):
            ledger.send(producer)
            await producer.drain()
        await producer.flush()
        await producer.partitions_for("orders")
        await asyncio.gather(ledger.send(producer).future(), producer.flush())
        ledger.send(producer)
        ledger.send(producer)


def _assert_all_closed(producer: Producer[Any, Any], how: How) -> None:
    """Check that `stop`, cancelled once, has closed everything; cancelled twice, it closes later."""
    if "again" not in how:
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not [name for name in names if name.startswith(f"aioproducer-{producer.client_id}")]


@EVERY_WAY
async def test_whole_life_is_cancelled_anywhere(cluster: FakeCluster, how: How) -> None:
    ledger = Ledger(cluster)
    for cut in at_each_turn(**how):
        async with no_traces():
            producer = quick(cluster)
            error = await cut.run(_live(producer, ledger))
            assert error is None or isinstance(error, asyncio.CancelledError)
            assert cut.happened or error is None
            _assert_all_closed(producer, how)
            with pytest.raises(ProducerClosedError):
                producer.send("orders", b"late")
            await producer.stop()
    ledger.check()


@EVERY_WAY
async def test_start_is_cancelled_anywhere(cluster: FakeCluster, how: How) -> None:
    for cut in at_each_turn(**how):
        async with no_traces():
            producer = quick(cluster)
            error = await cut.run(producer.start())
            assert error is None or isinstance(error, asyncio.CancelledError)
            if error is not None:
                _assert_all_closed(producer, how)
            await producer.stop()


@pytest.mark.scenario("stop")
@EVERY_WAY
async def test_stop_is_cancelled_anywhere(cluster: FakeCluster, how: How) -> None:
    ledger = Ledger(cluster)
    for cut in at_each_turn(**how):
        async with no_traces():
            producer = quick(cluster, linger_ms=60_000, delivery_timeout_ms=120_000)
            await producer.start()
            for _ in range(4):
                ledger.send(producer)
            await cut.run(producer.stop())
            _assert_all_closed(producer, how)
            await producer.stop()
    ledger.check()


@pytest.mark.scenario("cancelled-awaiter")
@EVERY_WAY
@pytest.mark.parametrize(
    "wait",
    [
        lambda _, delivery: outcome(delivery),
        lambda _, delivery: outcome(asyncio.shield(delivery.future())),
        lambda producer, _: producer.flush(),
        lambda producer, _: drained(producer),
        lambda producer, _: producer.partitions_for(f"audit-{next(numbers)}"),
    ],
    ids=["delivery", "shielded future", "flush", "drain", "partitions_for"],
)
async def test_waiting_call_is_cancelled_anywhere(
    cluster: FakeCluster,
    how: How,
    wait: Callable[[Producer[Any, Any], Delivery], Coroutine[Any, Any, object]],
) -> None:
    """Other calls that wait for the same records are not cancelled."""
    ledger = Ledger(cluster)
    async with no_traces(), quick(cluster, buffer_memory=2_000, batch_size=300) as producer:
        await ledger.send(producer)
        for cut in at_each_turn(**how):
            deliveries = [ledger.send(producer) for _ in range(12)]
            others = [
                asyncio.create_task(each)
                for each in (producer.flush(), drained(producer), outcome(deliveries[-1]))
            ]
            await cut.run(wait(producer, deliveries[-1]))
            async with asyncio.timeout(SOON):
                await asyncio.gather(*others)
            assert producer.metrics()["producer-metrics"]["buffer-available-bytes"] == 2_000
    ledger.check(all_stored=True)


async def test_stop_is_cancelled_with_silent_cluster(cluster: FakeCluster) -> None:
    for cut in at_each_turn(30):
        silent = cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
        async with no_traces():
            producer = quick(cluster, request_timeout_ms=5_000)
            await producer.start()
            delivery = producer.send("orders", b"")
            await silent.hit()
            await cut.run(producer.stop())
            error = delivery.exception()
            assert isinstance(error, ProducerClosedError)
            assert error.may_be_written
        cluster.heal()
        if cut.at == 20:
            # By now it waits for the broker.
            break


async def test_leaving_body_is_cancelled(cluster: FakeCluster) -> None:
    """The body of `async with` is cancelled while another error leaves it."""
    ledger = Ledger(cluster)

    async def fail(producer: Producer[Any, Any]) -> None:
        async with producer:
            ledger.send(producer)
            raise ZeroDivisionError

    for cut in at_each_turn():
        async with no_traces():
            producer = quick(cluster)
            error = await cut.run(fail(producer))
            assert isinstance(error, ZeroDivisionError | asyncio.CancelledError)
            await producer.stop()
    ledger.check()


@pytest.mark.simulated
async def test_timeout_around_producer(cluster: FakeCluster) -> None:
    """Leaving the body sends the accepted records first, for `delivery_timeout_ms` at most."""
    cluster.on(ApiKey.PRODUCE, times=None).fall_silent()
    deliveries: list[Delivery] = []

    async def produce() -> None:
        async with (
            asyncio.timeout(0.1),
            quick(cluster, request_timeout_ms=300, delivery_timeout_ms=600) as producer,
        ):
            deliveries.append(producer.send("orders", b""))
            await deliveries[0]

    async with no_traces():
        with pytest.raises(TimeoutError):
            await produce()
    assert isinstance(deliveries[0].exception(), DeliveryTimeoutError)


async def test_failing_group_ends_producer(cluster: FakeCluster) -> None:
    async def produce() -> None:
        async with quick(cluster) as producer:
            while True:
                await producer.send("orders", b"")

    async def fail() -> None:
        await asyncio.sleep(0.05)
        raise ZeroDivisionError

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(fail())

    async with no_traces():
        with pytest.raises(ExceptionGroup) as caught:
            await together()
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


async def test_start_is_cancelled_during_stop(cluster: FakeCluster) -> None:
    """One task starts the producer, another stops it."""
    for cut in at_each_await():
        async with no_traces():
            producer = quick(cluster)
            stopping: list[asyncio.Task[None]] = []
            asyncio.get_running_loop().call_soon(
                lambda: stopping.append(asyncio.create_task(producer.stop()))  # noqa: B023 - called at once
            )
            error = await cut.run(producer.start())
            assert isinstance(error, ProducerClosedError | asyncio.CancelledError)
            async with asyncio.timeout(SOON):
                await stopping[0]
