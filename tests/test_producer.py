"""The producer's life cycle, refused calls, `send` and `flush`, through the public API."""

import asyncio
import os
import pydoc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import (
    CallTimeoutError,
    Delivery,
    IllegalStateError,
    PartitionerError,
    Producer,
    ProducerClosedError,
    ProducerConfig,
    ProducerNotStartedError,
    RecordTooLargeError,
    SerializationError,
    WrongLoopError,
)
from aioproducer.config import OPTIONS
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import quick, turns, until

if TYPE_CHECKING:
    from aioproducer.config import AllOptions

SOON = 30
PATIENCE = 60
ROOT = Path(__file__).parent.parent

MakeLoop = Callable[[], asyncio.AbstractEventLoop]
LOOPS: list[MakeLoop] = [asyncio.new_event_loop, pytest.importorskip("uvloop").new_event_loop]


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 3}) as cluster:
        yield cluster


@pytest.fixture
async def producer(cluster: FakeCluster) -> AsyncIterator[Producer[Any, Any]]:
    async with quick(cluster) as producer:
        yield producer


# Start and stop.


def test_construction_needs_no_loop() -> None:
    producer = Producer("localhost:1")
    assert repr(producer).startswith("<Producer 'producer-")
    assert "not started" in repr(producer)
    assert Producer.from_config(ProducerConfig(bootstrap_servers="a:1", client_id="me")).client_id == "me"


def test_help_shows_every_option() -> None:
    shown = pydoc.plain(pydoc.render_doc(Producer))
    for name, option in OPTIONS.items():
        assert name in shown
        if name != "bootstrap_servers":
            assert f"{name}={option.default!r}: {option.doc}\n" in shown


async def test_start_and_stop_in_other_tasks(cluster: FakeCluster) -> None:
    producer = quick(cluster)
    await asyncio.create_task(producer.start())
    assert (await producer.send("orders", b"1")).offset == 0
    assert "running" in repr(producer)
    await asyncio.create_task(producer.stop())
    assert "stopped" in repr(producer)


async def test_stop_twice_and_unstarted(cluster: FakeCluster) -> None:
    producer = quick(cluster)
    await producer.start()
    delivery = producer.send("orders", b"1")
    await asyncio.gather(*[producer.stop() for _ in range(5)])
    await producer.stop()
    assert delivery.result().offset == 0

    unstarted = quick(cluster)
    await unstarted.stop()
    with pytest.raises(ProducerClosedError):
        await unstarted.start()


async def test_second_start_is_refused(cluster: FakeCluster) -> None:
    producer = quick(cluster)
    starting = asyncio.create_task(producer.start())
    await turns(1)
    with pytest.raises(IllegalStateError):
        await producer.start()
    await starting
    with pytest.raises(IllegalStateError):
        await producer.start()
    assert (await producer.send("orders", b"1")).offset == 0
    await producer.stop()


@pytest.mark.scenario("stop")
async def test_stop_while_starting(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.METADATA, times=None).hold()
    producer = quick(cluster)
    starting = asyncio.create_task(producer.start())
    await until(lambda: cluster.connections(1))
    async with asyncio.timeout(SOON):
        await producer.stop()
        with pytest.raises(ProducerClosedError):
            await starting
    cluster.heal()
    await until(lambda: not cluster.connections(1))


@pytest.mark.scenario("stop")
async def test_stop_sends_waiting_records(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.METADATA, skip=1).delay(0.05)
    async with quick(cluster, buffer_memory=4_000, linger_ms=60_000, delivery_timeout_ms=120_000) as producer:
        deliveries = [producer.send(topic, b"x" * 100) for topic in ["orders", "new"] * 10]
    assert all(delivery.done() and delivery.exception() is None for delivery in deliveries)
    assert len(cluster.records("orders")) == len(cluster.records("new")) == 10


@pytest.mark.scenario("stop")
async def test_stop_ends_every_wait(cluster: FakeCluster) -> None:
    held = cluster.on(ApiKey.METADATA, skip=1, times=None).hold()
    producer = quick(cluster)
    await producer.start()
    delivery = producer.send("orders", b"1")
    asking = asyncio.create_task(producer.partitions_for("other"))
    await held.hit()
    await producer.stop(0)
    for waiting in (delivery, asking, producer.flush(), producer.drain(), producer.partitions_for("orders")):
        with pytest.raises(ProducerClosedError):
            await waiting
    with pytest.raises(ProducerClosedError):
        producer.send("orders", b"2")
    error = delivery.exception()
    assert error is not None
    assert not error.may_be_written


@pytest.mark.scenario("callbacks")
async def test_send_in_a_callback(producer: Producer[Any, Any]) -> None:
    more: list[Any] = []
    done = asyncio.Event()

    def again(_delivery: Delivery) -> None:
        more.append(producer.send("orders", b"again"))
        more[0].add_done_callback(lambda _delivery: done.set())
        raise ValueError

    producer.send("orders", b"1").add_done_callback(again)
    await asyncio.wait_for(done.wait(), SOON)
    assert more[0].result().topic == "orders"


@pytest.mark.simulated
@pytest.mark.scenario("callbacks")
async def test_send_again_in_a_callback(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.PRODUCE).fall_silent()
    again: list[Delivery] = []
    async with quick(cluster, request_timeout_ms=200, delivery_timeout_ms=200) as producer:
        failed = producer.send("orders", b"1")
        failed.add_done_callback(lambda _delivery: again.append(producer.send("orders", b"again")))
        await until(lambda: again)
        assert failed.exception() is not None
        assert (await asyncio.wait_for(again[0], SOON)).topic == "orders"


# Refused calls.


async def test_unstarted_producer_refuses_calls() -> None:
    producer = Producer("localhost:1")
    with pytest.raises(ProducerNotStartedError, match="async with"):
        producer.send("orders", b"1")
    for call in (producer.flush(), producer.drain(), producer.partitions_for("orders")):
        with pytest.raises(ProducerNotStartedError):
            await call


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"value": "text"}, TypeError),
        ({"key": 42}, TypeError),
        ({"partition": "1"}, TypeError),
        ({"partition": -1}, ValueError),
        ({"timestamp_ms": 1.5}, TypeError),
        ({"timestamp_ms": -1}, ValueError),
        ({"headers": [("name", "text")]}, TypeError),
        ({"headers": [(b"name", b"")]}, TypeError),
        ({"value": bytes(2_000_000)}, RecordTooLargeError),
    ],
)
@pytest.mark.parametrize("topic", ["orders", "not known yet"])
async def test_invalid_arguments_are_refused(
    producer: Producer[Any, Any], topic: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    await producer.send("orders", b"1")
    with pytest.raises(error):
        producer.send(topic, **arguments)
    assert (await producer.send("orders", b"still works")).topic == "orders"


@pytest.mark.parametrize("topic", ["", None, 7, b"orders"])
async def test_invalid_topics_are_refused(producer: Producer[Any, Any], topic: Any) -> None:  # noqa: ANN401 - anything
    with pytest.raises(TypeError, match="topic"):
        producer.send(topic, b"1")


async def test_other_thread_is_refused(producer: Producer[Any, Any]) -> None:
    errors: list[BaseException] = []

    def send() -> None:
        for call in (lambda: producer.send("orders", b"1"), lambda: asyncio.run(producer.flush())):
            try:
                call()
            except WrongLoopError as error:
                errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    await until(lambda: not thread.is_alive())
    assert len(errors) == 2
    assert "call_soon_threadsafe" in str(errors[0])


def test_other_loop_is_refused() -> None:
    async def start() -> tuple[FakeCluster, Producer]:
        cluster = FakeCluster(topics={"orders": 1})
        await cluster.start()
        producer = quick(cluster)
        await producer.start()
        await producer.send("orders", b"1")
        return cluster, producer

    async def misuse(producer: Producer[Any, Any]) -> None:
        with pytest.raises(WrongLoopError):
            producer.send("orders", b"2")
        for call in (producer.flush(), producer.stop(), producer.partitions_for("orders")):
            with pytest.raises(WrongLoopError):
                await call

    with asyncio.Runner() as own:
        cluster, producer = own.run(start())
        with asyncio.Runner() as other:
            other.run(misuse(producer))
        with pytest.raises(WrongLoopError):
            producer.send("orders", b"3")
        own.run(producer.stop())
        own.run(cluster.stop())
    assert [record.value for record in cluster.records("orders")] == [b"1"]


async def _sent_with_an_open_batch() -> tuple[FakeCluster, Producer[Any, Any]]:
    """Start a producer with an open batch: a record that joins it does not check the loop."""
    cluster = FakeCluster(topics={"orders": 1})
    await cluster.start()
    producer = quick(cluster, linger_ms=60_000, delivery_timeout_ms=120_000)
    await producer.start()
    await producer.partitions_for("orders")
    producer.send("orders", b"1")
    return cluster, producer


@pytest.mark.parametrize("make_loop", LOOPS)
def test_send_needs_the_running_loop(make_loop: MakeLoop) -> None:
    refused: list[bool] = []

    def send(producer: Producer[Any, Any]) -> None:
        try:
            producer.send("orders", b"1")
        except WrongLoopError:
            refused.append(True)
        else:
            refused.append(False)

    async def send_twice(producer: Producer[Any, Any]) -> None:
        send(producer)
        send(producer)

    with asyncio.Runner(loop_factory=make_loop) as own:
        cluster, producer = own.run(_sent_with_an_open_batch())
        for _ in range(2):
            send(producer)
            with asyncio.Runner(loop_factory=make_loop) as other:
                other.run(send_twice(producer))
            own.run(send_twice(producer))
        own.run(producer.stop())
        own.run(cluster.stop())
    assert refused == [True, True, True, False, False] * 2
    assert len(cluster.records("orders")) == 5


def _run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", script, *arguments]
    ran = subprocess.run(  # noqa: S603 - the script is in this file
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, timeout=PATIENCE
    )
    return ran.stdout


CLOSED = """
import asyncio, importlib, os, sys
from aioproducer import ProducerClosedError, WrongLoopError
from tests.test_producer import _sent_with_an_open_batch

def send(producer, kind):
    try:
        producer.send("orders", b"lost")
    except kind as error:
        print(error, flush=True)

async def send_and_stop(producer):
    send(producer, WrongLoopError)
    await producer.stop()
    send(producer, ProducerClosedError)

loop = importlib.import_module(sys.argv[1]).new_event_loop()
cluster, producer = loop.run_until_complete(_sent_with_an_open_batch())
loop.close()
send(producer, WrongLoopError)
asyncio.run(send_and_stop(producer))
send(producer, ProducerClosedError)
os._exit(0)
"""


def test_send_is_refused_without_hooks_of_the_loop() -> None:
    """Without the loop's hooks for generators, the end of its run cannot be told."""

    async def start() -> tuple[FakeCluster, Producer[Any, Any]]:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            return await _sent_with_an_open_batch()
        finally:
            sys.set_asyncgen_hooks(*hooks)

    with asyncio.Runner() as runner:
        cluster, producer = runner.run(start())
        with pytest.raises(WrongLoopError):
            producer.send("orders", b"2")
        runner.run(producer.stop())
        runner.run(cluster.stop())
    assert len(cluster.records("orders")) == 1


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_send_after_loop_is_closed(module: str) -> None:
    """The loop is closed without ending its tasks: the producer gets no notice."""
    lines = _run(CLOSED, module).splitlines()
    assert ["is closed" in line for line in lines] == [True, True, False, False]
    assert ["was stopped" in line for line in lines] == [False, False, True, True]


@pytest.mark.parametrize("make_loop", LOOPS)
async def test_send_with_foreign_asyncgen_hooks(make_loop: MakeLoop) -> None:
    async def work() -> None:
        cluster, producer = await _sent_with_an_open_batch()
        own = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=lambda _generator: None)
        for _ in range(3):
            producer.send("orders", b"1")
        sys.set_asyncgen_hooks(*own)
        producer.send("orders", b"1")
        await producer.stop()
        await cluster.stop()
        assert len(cluster.records("orders")) == 5

    def run() -> None:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(work())

    await asyncio.to_thread(run)


FORK = """
import asyncio, os, sys
from aioproducer import WrongLoopError
from tests.test_producer import _sent_with_an_open_batch

async def main():
    cluster, producer = await _sent_with_an_open_batch()
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        await producer.stop()
        await cluster.stop()
        return
    try:
        producer.send("orders", b"lost")
    except WrongLoopError:
        os._exit(42)
    os._exit(1)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_send_in_forked_process() -> None:
    assert _run(FORK).split() == ["42"]


async def test_serializers_make_bytes(cluster: FakeCluster) -> None:
    async with quick(cluster, key_serializer=str.encode, value_serializer=lambda n: b"%d" % n) as producer:
        await producer.send("orders", 42, key="k")
        await producer.send("orders", None, key="k")
    assert [(each.key, each.value) for each in cluster.records("orders")] == [(b"k", b"42"), (b"k", None)]


async def test_serializer_fails_one_record(cluster: FakeCluster) -> None:
    async with quick(
        cluster, value_serializer=lambda value: value if value == "x" else 1 / value
    ) as producer:
        with pytest.raises(SerializationError, match="ZeroDivisionError") as raised:
            producer.send("orders", 0)
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
        assert (raised.value.topic, raised.value.field) == ("orders", "value")
        with pytest.raises(SerializationError, match="gave str"):
            producer.send("orders", "x")
        assert (await producer.send("orders")).offset == 0


async def test_partitioner_fails_one_record(cluster: FakeCluster) -> None:
    def choose(_topic: str, key: bytes | None, _partitions: int) -> int:
        return int(key or b"0")

    async with quick(cluster, partitioner=choose) as producer:
        in_line = [producer.send("orders", b"", key=key) for key in (b"1", b"seven", b"7", b"2")]
        assert [(await in_line[index]).partition for index in (0, 3)] == [1, 2]
        for delivery in in_line[1:3]:
            with pytest.raises(PartitionerError):
                await delivery
        with pytest.raises(PartitionerError, match="ValueError") as raised:
            producer.send("orders", b"", key=b"seven")
        assert isinstance(raised.value.__cause__, ValueError)
        with pytest.raises(PartitionerError, match="from 0 to 2"):
            producer.send("orders", b"", key=b"7")
        assert (await producer.send("orders", b"", key=b"1")).offset == 1


# Linger and flush.


async def test_sends_share_a_batch_without_linger(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        await producer.send("orders", b"0", partition=0)
        before = producer.metrics()["producer-metrics"]["request-total"]
        await asyncio.gather(*[producer.send("orders", b"1", partition=0).future() for _ in range(100)])
        figures = producer.metrics()["producer-metrics"]
    assert figures["request-total"] == before + 1
    assert figures["records-per-request-avg"] == 101 / 2


@pytest.mark.simulated
@pytest.mark.scenario("lone-record-lingers")
async def test_record_is_sent_after_linger(cluster: FakeCluster) -> None:
    loop = asyncio.get_running_loop()
    async with quick(cluster, linger_ms=80) as producer:
        await producer.send("orders", b"0", partition=0)
        started = loop.time()
        first = producer.send("orders", b"1", partition=0)
        await asyncio.sleep(0.02)
        second = producer.send("orders", b"2", partition=0)
        await first
        assert loop.time() - started >= 0.08
        assert second.done()


@pytest.mark.scenario("full-batch", "flush")
async def test_flush_and_full_batches_end_linger(cluster: FakeCluster) -> None:
    options: AllOptions = {"linger_ms": 60_000, "delivery_timeout_ms": 120_000, "batch_size": 1_000}
    async with quick(cluster, **options) as producer, asyncio.timeout(SOON):
        lingering = producer.send("orders", b"1", partition=0)
        await producer.flush()
        assert lingering.result().offset == 0
        full = [producer.send("orders", b"x" * 300, partition=0) for _ in range(4)]
        await full[0]
        assert not full[3].done()


@pytest.mark.scenario("flush")
async def test_flush_ignores_later_records(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        await producer.send("orders", b"0", partition=0)
        first = cluster.on(ApiKey.PRODUCE).hold()
        accepted = producer.send("orders", b"1", partition=0)
        flushing = asyncio.create_task(producer.flush())
        await first.hit()
        late = producer.send("orders", b"2", partition=0)
        second = cluster.on(ApiKey.PRODUCE, skip=0).hold()
        first.release()
        await asyncio.wait_for(flushing, SOON)
        assert accepted.done()
        await second.hit()
        assert not late.done()
        second.release()


@pytest.mark.simulated
async def test_flush_timeout_loses_nothing(cluster: FakeCluster) -> None:
    held = cluster.on(ApiKey.PRODUCE).hold()
    async with quick(cluster, request_timeout_ms=5_000) as producer:
        delivery = producer.send("orders", b"1")
        with pytest.raises(CallTimeoutError, match=r"1 batch not acknowledged within 0\.05 s"):
            await producer.flush(0.05)
        assert not delivery.done()
        held.release()
        assert (await delivery).offset == 0
        await producer.flush(0)
    assert len(cluster.records("orders")) == 1


async def test_flush_does_not_raise_failures(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.PRODUCE).answer(ErrorCode.INVALID_RECORD)
    async with quick(cluster) as producer:
        delivery = producer.send("orders", b"1")
        await producer.flush()
        assert delivery.exception() is not None
