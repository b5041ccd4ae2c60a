"""User code that raises, is slow, or calls its own producer affects only its own records.

An error in user code called from `send` is raised by `send`; elsewhere it is logged, or fails its
record. KeyboardInterrupt and SystemExit stop the event loop, as in any asyncio program; when the
loop runs again, the producer continues.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self, cast

import pytest

from aioproducer import (
    Delivery,
    PartitionerError,
    Producer,
    ProducerClosedError,
    SerializationError,
)
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import insides, quick, until
from tests.net.traces import no_traces

SOON = 30
SLOW = 0.2

ERRORS = [ZeroDivisionError, asyncio.CancelledError, asyncio.InvalidStateError, StopIteration, RecursionError]
ENDS: list[type[BaseException]] = [KeyboardInterrupt, SystemExit]


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1, "late": 1}) as cluster:
        yield cluster


def values_of(cluster: FakeCluster, topic: str = "orders") -> list[bytes | None]:
    return [record.value for record in cluster.records(topic)]


class Raising:
    """A callable that raises when one of its arguments is b"bad"."""

    def __init__(self, error: type[BaseException], result: Any = None) -> None:  # noqa: ANN401 - any result
        self._error = error
        self._result = result

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - a serializer's, a partitioner's
        if b"bad" in arguments:
            raise self._error
        return arguments[-1] if self._result is None else self._result


# Errors.


@pytest.mark.parametrize("error", [error for error in ERRORS if error is not asyncio.CancelledError])
@pytest.mark.parametrize("field", ["value", "key"])
async def test_raising_serializer_fails_one_call(
    cluster: FakeCluster, field: str, error: type[Exception]
) -> None:
    async with quick(cluster, **{f"{field}_serializer": Raising(error)}) as producer:  # type: ignore[arg-type] # one of two
        for topic in ("orders", "unknown"):
            with pytest.raises(SerializationError, match=error.__name__) as raised:
                producer.send(topic, **{"value": b"", field: b"bad"})  # type: ignore[arg-type] # one of two
            assert isinstance(raised.value.__cause__, error)
        assert insides(producer).accumulator.buffer.used == 0
        assert (await producer.send("orders", b"good", key=b"good")).offset == 0


async def test_cancelled_serializer_cancels_no_task(
    cluster: FakeCluster,
) -> None:
    async with quick(cluster, value_serializer=Raising(asyncio.CancelledError)) as producer:
        with pytest.raises(SerializationError, match="CancelledError"):
            producer.send("orders", b"bad")


@pytest.mark.parametrize("error", ERRORS)
async def test_raising_partitioner_fails_one_record(cluster: FakeCluster, error: type[BaseException]) -> None:
    async with quick(cluster, partitioner=Raising(error, 0)) as producer:
        waiting = [
            producer.send("late", b"%d" % number, key=key) for number, key in enumerate((b"", b"bad", b""))
        ]
        with pytest.raises(PartitionerError, match=error.__name__) as raised:
            await asyncio.wait_for(waiting[1].future(), SOON)
        assert isinstance(raised.value.__cause__, error)
        assert [(await waiting[index]).offset for index in (0, 2)] == [0, 1]
        with pytest.raises(PartitionerError, match=error.__name__):
            producer.send("late", b"at once", key=b"bad")
        await producer.send("late", b"3", key=b"")
        assert insides(producer).accumulator.buffer.used == 0
    assert values_of(cluster, "late") == [b"0", b"2", b"3"]


@pytest.mark.parametrize("nonsense", [None, -1, 1, True, 0.0, "0", 2**70])
async def test_invalid_partition_fails_one_record(cluster: FakeCluster, nonsense: object) -> None:
    def choose(_topic: str, key: bytes | None, _partitions: int) -> Any:  # noqa: ANN401 - nonsense
        return nonsense if key == b"bad" else 0

    async with quick(cluster, partitioner=choose) as producer:
        bad, good = producer.send("late", key=b"bad"), producer.send("late", key=b"good")
        with pytest.raises(PartitionerError, match="chose"):
            await asyncio.wait_for(bad.future(), SOON)
        assert (await good).offset == 0
        with pytest.raises(PartitionerError, match="chose"):
            producer.send("late", key=b"bad")


@pytest.mark.scenario("callbacks")
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("outcome", ["delivered", "refused", "stopped"])
async def test_raising_callback_is_logged(
    cluster: FakeCluster, outcome: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """The error of a callback is logged, and the other callbacks are called."""
    called: list[Delivery] = []

    def fail(_delivery: Delivery) -> None:
        raise error

    async with no_traces(), quick(cluster) as producer:
        await producer.send("orders", b"first")
        fault = cluster.on(ApiKey.PRODUCE)
        match outcome:
            case "refused":
                fault.answer(ErrorCode.INVALID_RECORD)
            case "stopped":
                fault.fall_silent()
            case _:
                fault.delay(0)
        deliveries = [producer.send("orders", b"") for _ in range(3)]
        for delivery in deliveries:
            delivery.add_done_callback(fail)
            delivery.add_done_callback(called.append)
            delivery.add_done_callback(fail)
        if outcome == "stopped":
            await producer.stop(0)
        await until(lambda: len(called) == 3)
        assert called == deliveries
        for delivery in deliveries:
            assert (delivery.exception() is None) == (outcome == "delivered")
        assert caplog.text.count("a callback of <Delivery") == 6
        if outcome != "stopped":
            await producer.send("orders", b"last")


async def test_unreadable_values_fail_one_call(cluster: FakeCluster) -> None:
    gone = memoryview(b"gone")
    gone.release()
    async with quick(cluster) as producer:
        for topic in ("orders", "unknown"):
            with pytest.raises(ValueError, match="released"):
                producer.send(topic, gone)
            with pytest.raises(ValueError, match="released"):
                producer.send(topic, b"", key=gone)
            with pytest.raises(ValueError, match="released"):
                producer.send(topic, b"", headers={"name": cast("Any", gone)})
        assert (await producer.send("orders", memoryview(b"abcdef")[::2])).offset == 0
    assert values_of(cluster) == [b"ace"]


# Interruptions of the event loop.


class Interrupted:
    """A producer and its cluster in an event loop that can run again after an interruption."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the producer's
        self.runner = asyncio.Runner()
        self.cluster = FakeCluster(topics={"orders": 1, "late": 1})
        self._options = options

    def __enter__(self) -> Self:
        self.runner.__enter__()
        self.runner.run(self._start())
        return self

    def __exit__(self, *_error: object) -> None:
        self.runner.run(self.producer.stop(1))
        self.runner.run(self.cluster.stop())
        self.runner.close()

    async def _start(self) -> None:
        await self.cluster.start()
        self.producer = quick(self.cluster, **self._options)
        await self.producer.start()
        await self.producer.send("orders", b"first")

    def run(self, function: Callable[[], Awaitable[object]]) -> None:
        async def call() -> None:
            async with asyncio.timeout(SOON):
                await function()

        self.runner.run(call())


@pytest.mark.parametrize("end", ENDS)
def test_producer_survives_interrupting_serializer(end: type[BaseException]) -> None:
    with Interrupted(value_serializer=Raising(end)) as interrupted:

        async def send() -> None:
            interrupted.producer.send("orders", b"bad")

        with pytest.raises(end):
            interrupted.run(send)
        assert insides(interrupted.producer).accumulator.buffer.used == 0
        interrupted.run(lambda: interrupted.producer.send("orders", b"good"))
        assert values_of(interrupted.cluster) == [b"first", b"good"]


@pytest.mark.parametrize("end", ENDS)
def test_producer_survives_interrupting_partitioner(end: type[BaseException]) -> None:
    with Interrupted(partitioner=Raising(end, 0)) as interrupted:

        async def send() -> None:
            interrupted.producer.send("orders", b"bad", key=b"bad")

        with pytest.raises(end):
            interrupted.run(send)
        assert insides(interrupted.producer).accumulator.buffer.used == 0
        interrupted.run(lambda: interrupted.producer.send("orders", b"good"))
        assert values_of(interrupted.cluster) == [b"first", b"good"]


@pytest.mark.parametrize("end", ENDS)
def test_waiting_records_survive_interrupting_partitioner(
    end: type[BaseException],
) -> None:
    """A partitioner interrupts the loop for a waiting record; the records after it are sent."""
    with Interrupted(partitioner=Raising(end, 0), max_block_ms=60_000) as interrupted:
        deliveries: list[Delivery] = []

        async def send() -> None:
            deliveries.extend(interrupted.producer.send("late", key, key=key) for key in (b"1", b"bad", b"2"))
            await asyncio.sleep(SOON)

        with pytest.raises(end):
            interrupted.run(send)
        interrupted.run(lambda: deliveries[0])
        interrupted.run(lambda: deliveries[2])
        with pytest.raises(PartitionerError):
            interrupted.run(lambda: deliveries[1])


@pytest.mark.parametrize("end", ENDS)
def test_interrupting_callback_skips_no_others(end: type[BaseException]) -> None:
    with Interrupted() as interrupted:
        called: list[Delivery] = []
        deliveries: list[Delivery] = []

        def raise_it(_delivery: Delivery) -> None:
            raise end

        async def send() -> None:
            deliveries.extend(interrupted.producer.send("orders", b"%d" % number) for number in range(3))
            deliveries[0].add_done_callback(raise_it)
            for delivery in deliveries:
                delivery.add_done_callback(called.append)
            await interrupted.producer.flush()
            await asyncio.sleep(0.01)

        with pytest.raises(end):
            interrupted.run(send)
        interrupted.run(lambda: until(lambda: len(called) == 3, 2))
        assert called == deliveries


@pytest.mark.parametrize("end", ENDS)
def test_producer_survives_interrupting_callback(end: type[BaseException]) -> None:
    with Interrupted() as interrupted:

        def raise_it(_delivery: Delivery) -> None:
            raise end

        async def send() -> None:
            interrupted.producer.send("orders", b"1").add_done_callback(raise_it)
            await asyncio.sleep(SOON)

        with pytest.raises(end):
            interrupted.run(send)
        interrupted.run(lambda: interrupted.producer.send("orders", b"2"))
        assert values_of(interrupted.cluster) == [b"first", b"1", b"2"]


# Slow code.


async def test_slow_callbacks_only_block_loop(cluster: FakeCluster) -> None:
    called: list[Delivery] = []

    def dawdle(delivery: Delivery) -> None:
        time.sleep(SLOW)
        called.append(delivery)

    async with no_traces():
        async with quick(cluster, request_timeout_ms=5_000) as producer:
            deliveries = [producer.send("orders", b"%d" % number) for number in range(5)]
            for delivery in deliveries:
                delivery.add_done_callback(dawdle)
            await producer.flush()
            deliveries += [producer.send("orders", b"%d" % number) for number in range(5, 10)]
        await until(lambda: len(called) == 5)
        assert [delivery.result().offset for delivery in deliveries] == list(range(10))
        assert producer.metrics()["producer-metrics"]["record-retry-total"] == 0


async def test_slow_serializers_only_block_loop(cluster: FakeCluster) -> None:
    def serialize(value: bytes) -> bytes:
        time.sleep(SLOW)
        return value

    def choose(_topic: str, _key: bytes | None, _partitions: int) -> int:
        time.sleep(SLOW)
        return 0

    async with no_traces():
        async with quick(
            cluster, request_timeout_ms=5_000, value_serializer=serialize, partitioner=choose
        ) as producer:
            waiting = [producer.send("late", b"%d" % number) for number in range(4)]
            await producer.flush()
            at_once = [producer.send("late", b"%d" % number) for number in range(4, 8)]
        assert [delivery.result().offset for delivery in waiting + at_once] == list(range(8))
        assert producer.metrics()["producer-metrics"]["record-retry-total"] == 0


async def test_blocked_loop_causes_no_timeout(
    cluster: FakeCluster,
) -> None:
    """A response that arrived in time counts, though the blocked loop reads it after the deadline."""
    loop = asyncio.get_running_loop()

    def block_next_iteration(answer: Any) -> Any:  # noqa: ANN401 - a response of any API
        # The response is written in this iteration of the loop; the next one blocks too long.
        loop.call_soon(time.sleep, 2 * SLOW)
        return answer

    async with quick(cluster, request_timeout_ms=150) as producer:
        await producer.send("orders", b"first")
        held_up = cluster.on(ApiKey.PRODUCE).rewrite(block_next_iteration)
        assert (await producer.send("orders", b"second")).offset == 1
        assert held_up.hits == 1
        assert producer.metrics()["producer-metrics"]["record-retry-total"] == 0


# Calls of the producer from user code.


@pytest.mark.scenario("callbacks")
async def test_callback_may_send_next_record(cluster: FakeCluster) -> None:
    done = asyncio.Event()

    async with quick(cluster) as producer:

        def send(number: int) -> None:
            if number == 100:
                done.set()
                return
            producer.send("orders", b"%d" % number).add_done_callback(lambda _: send(number + 1))

        send(0)
        await asyncio.wait_for(done.wait(), SOON)
    assert values_of(cluster) == [b"%d" % number for number in range(100)]


@pytest.mark.scenario("stop", "callbacks")
@pytest.mark.parametrize("call", ["flush", "drain", "stop", "stop at once", "partitions_for"])
async def test_callback_may_start_waiting_calls(cluster: FakeCluster, call: str) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def wait(producer: Producer[Any, Any]) -> None:
        match call:
            case "flush":
                await producer.flush()
            case "drain":
                await producer.drain()
            case "stop":
                await producer.stop()
            case "stop at once":
                await producer.stop(0)
            case _:
                await producer.partitions_for("unknown")

    async with no_traces():
        async with quick(cluster) as producer:
            deliveries = [producer.send("orders", b"%d" % number, headers=[]) for number in range(20)]
            for delivery in deliveries:
                delivery.add_done_callback(lambda _: tasks.append(asyncio.create_task(wait(producer))))
            last = producer.send("late", b"last")
            await until(lambda: len(tasks) == 20)
            async with asyncio.timeout(SOON):
                await asyncio.gather(*tasks)
        assert [delivery.result().offset for delivery in deliveries] == list(range(20))
        assert last.done()
        assert call == "stop at once" or last.exception() is None
        assert last.exception() is None or isinstance(last.exception(), ProducerClosedError)


async def test_callback_cannot_send_after_stop(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.on(ApiKey.PRODUCE, times=None, optional=True).fall_silent()
    async with no_traces():
        async with quick(cluster) as producer:
            delivery = producer.send("orders", b"")
            delivery.add_done_callback(lambda _: producer.send("orders", b"again"))
            await producer.stop(0)
            await until(lambda: "a callback of <Delivery" in caplog.text)
        assert "ProducerClosedError" in caplog.text
        assert isinstance(delivery.exception(), ProducerClosedError)


@pytest.mark.parametrize("topic", ["orders", "late"])
async def test_serializer_may_send(cluster: FakeCluster, topic: str) -> None:
    inner: list[Delivery] = []

    def serialize(value: bytes) -> bytes:
        if value.startswith(b"outer"):
            inner.append(producer.send(topic, b"inner" + value[5:]))
        return value

    async with quick(cluster, value_serializer=serialize) as producer:
        outer = [producer.send(topic, b"outer %d" % number) for number in range(10)]
        offsets = [(await delivery).offset for delivery in inner + outer]
    assert offsets == [*range(0, 20, 2), *range(1, 20, 2)]
    assert values_of(cluster, topic) == [
        b"%s %d" % (which, number) for number in range(10) for which in (b"inner", b"outer")
    ]


@pytest.mark.parametrize("topic", ["orders", "late"])
async def test_partitioner_may_send(cluster: FakeCluster, topic: str) -> None:
    inner: list[Delivery] = []

    def choose(_topic: str, key: bytes | None, _partitions: int) -> int:
        if key is not None:
            inner.append(producer.send(topic, b"inner" + key))
        return 0

    async with no_traces():
        async with quick(cluster, partitioner=choose, batch_size=100) as producer:
            await producer.send("orders", b"first")
            outer = [producer.send(topic, b"outer", key=b"%d" % number) for number in range(10)]
            await producer.flush()
            await producer.flush()
        assert all(delivery.exception() is None for delivery in inner + outer)
        assert len(inner) == 10
        assert insides(producer).accumulator.buffer.used == 0
    stored = values_of(cluster, topic)
    assert [value for value in stored if value == b"outer"] == [b"outer"] * 10
    assert [value for value in stored if value and value.startswith(b"inner")] == [
        b"inner%d" % number for number in range(10)
    ]


async def test_sending_partitioner_respects_buffer_memory(cluster: FakeCluster) -> None:
    used: list[int] = []

    def choose(_topic: str, key: bytes | None, _partitions: int) -> int:
        if key is not None:
            for _ in range(3):
                producer.send("orders", bytes(200))
        return 0

    async with quick(cluster, partitioner=choose, buffer_memory=1_000) as producer:
        await producer.send("orders", b"first")
        held = cluster.on(ApiKey.PRODUCE).hold()
        producer.send("orders", bytes(400), key=b"key")
        used.append(insides(producer).accumulator.buffer.used)
        held.release()
    assert used[0] <= 1_000


async def test_endless_recursion_fails_its_records(cluster: FakeCluster) -> None:
    def choose(_topic: str, key: bytes | None, _partitions: int) -> int:
        if key is not None:
            producer.send("orders", b"", key=key)
        return 0

    async with no_traces(), quick(cluster, partitioner=choose) as producer:
        await producer.send("orders", b"first")
        with pytest.raises(PartitionerError):
            producer.send("orders", b"", key=b"again and again")
        assert (await producer.send("orders", b"last")).offset == 1


@pytest.mark.parametrize("who", ["serializer", "partitioner"])
@pytest.mark.parametrize("timeout", [None, 0.0])
async def test_send_may_stop_the_producer(cluster: FakeCluster, who: str, timeout: float | None) -> None:
    stopping: list[asyncio.Task[None]] = []

    def stop(*arguments: Any) -> Any:  # noqa: ANN401 - a serializer's, a partitioner's
        if b"stop" in arguments:
            stopping.append(asyncio.create_task(producer.stop(timeout)))
        return arguments[0] if who == "serializer" else 0

    async with no_traces():
        producer = (
            quick(cluster, value_serializer=stop) if who == "serializer" else quick(cluster, partitioner=stop)
        )
        await producer.start()
        await producer.send("orders", b"first")
        delivery = producer.send("orders", b"stop", key=b"stop")
        async with asyncio.timeout(SOON):
            await stopping[0]
        assert delivery.done()
        assert timeout == 0 or delivery.result().offset == 1
        assert delivery.exception() is None or isinstance(delivery.exception(), ProducerClosedError)
