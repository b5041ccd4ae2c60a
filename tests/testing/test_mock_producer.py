"""The mock behaves as a producer does; the test decides what the brokers answer."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from typing import TYPE_CHECKING, Any, assert_type, get_overloads

import pytest

from aioproducer import (
    BootstrapError,
    BrokerError,
    BufferExhaustedError,
    CallTimeoutError,
    Delivery,
    DeliveryTimeoutError,
    ErrorCode,
    IllegalStateError,
    InvalidTopicError,
    PartitionerError,
    Producer,
    ProducerClosedError,
    ProducerConfig,
    ProducerError,
    ProducerNotStartedError,
    RecordTooLargeError,
    SerializationError,
    UnknownPartitionError,
    UnknownTopicError,
    WrongLoopError,
)
from aioproducer.record import Buffer
from aioproducer.records.murmur2 import partition_of_key
from aioproducer.testing import MockProducer
from aioproducer.testing.mock_producer import SentRecord
from aioproducer.testing.refusal import Refused
from tests.net.quick import PATIENCE, drained, turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OWN = {"history", "clear", "complete_next", "error_next", "flushed", "closed"}
"""Members of the mock that a producer does not have."""

KEYS = [b"", b"42", b"customer", bytes(range(256))]


@pytest.fixture
async def producer() -> AsyncIterator[MockProducer[Any, Any]]:
    """Return a mock whose records stay pending until the test completes them."""
    async with MockProducer[Any, Any](auto_complete=False, topics={"orders": 3}) as producer:
        yield producer


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


def timed_out() -> DeliveryTimeoutError:
    return DeliveryTimeoutError("too late", topic="orders", partition=0, may_be_written=True)


# Types and signatures.


def test_methods_match_producer() -> None:
    real, mock = public(Producer), public(MockProducer)

    assert set(mock) - set(real) == OWN
    assert {name: inspect.signature(member) for name, member in real.items() if callable(member)} == {
        name: inspect.signature(member)
        for name, member in mock.items()
        if callable(member) and name not in OWN
    }
    for name, member in real.items():
        assert inspect.iscoroutinefunction(member) == inspect.iscoroutinefunction(mock[name]), name


def test_constructor_takes_producer_arguments() -> None:
    real = inspect.signature(get_overloads(Producer.__init__)[-1]).parameters
    mock = inspect.signature(MockProducer.__init__).parameters

    assert set(mock) - set(real) == {"auto_complete", "topics", "default_partitions"}
    for name, parameter in real.items():
        assert (mock[name].kind, mock[name].annotation) == (parameter.kind, parameter.annotation)


async def announce(producer: Producer, order: bytes) -> int:
    return (await producer.send("orders", order)).offset


async def announce_object(producer: Producer[str, dict[str, int]], number: int) -> None:
    await producer.send("orders", {"number": number}, key=str(number))


def as_json(value: dict[str, int]) -> bytes:
    return json.dumps(value).encode()


async def test_mock_has_producer_types() -> None:
    async with MockProducer() as producer:
        assert_type(producer, MockProducer[Buffer, Buffer])
        assert await announce(producer, b"tea") == 0
        assert_type(producer.history(), list[SentRecord[Buffer, Buffer]])
        assert_type(producer.send("orders"), Delivery)
        with pytest.raises(TypeError):
            producer.send("orders", "text")  # type: ignore[arg-type]

    async with MockProducer(key_serializer=str.encode, value_serializer=as_json) as objects:
        assert_type(objects, MockProducer[str, dict[str, int]])
        await announce_object(objects, 42)
        assert objects.history() == [SentRecord(topic="orders", key="42", value={"number": 42})]

    assert isinstance(objects, Producer)


async def test_mock_from_config() -> None:
    config = ProducerConfig(bootstrap_servers="a:1", client_id="me", value_serializer=as_json)

    async with MockProducer[Any, Any].from_config(config) as producer:
        assert_type(producer, MockProducer[Any, Any])
        assert producer.send("orders", {"number": 1}).done()

    assert (producer.client_id, producer.config) == ("me", config)


def test_options_are_checked() -> None:
    with pytest.raises(ProducerError, match="linger_ms"):
        MockProducer(lingerms=5)  # type: ignore[call-arg]
    with pytest.raises(Refused, match="no legal topic name"):
        MockProducer(topics={"no topic": 1})


# Lifecycle.


async def test_lifecycle_is_that_of_producer() -> None:
    producer = MockProducer()
    with pytest.raises(ProducerNotStartedError):
        producer.send("orders", b"early")
    assert (producer.complete_next(), producer.closed()) == (False, False)

    await producer.start()
    with pytest.raises(IllegalStateError, match="started already"):
        await producer.start()
    await producer.stop()
    await producer.stop()

    assert producer.closed()
    assert producer.history() == []
    for refused in (producer.flush(), producer.start(), drained(producer)):
        with pytest.raises(ProducerClosedError):
            await refused
    with pytest.raises(ProducerClosedError):
        await producer.partitions_for("orders")
    with pytest.raises(ProducerClosedError):
        producer.send("orders", b"late")


async def test_other_thread_is_refused() -> None:
    async with MockProducer() as producer:
        with pytest.raises(WrongLoopError):
            await asyncio.to_thread(producer.send, "orders", b"from elsewhere")


def test_other_loop_is_refused() -> None:
    producer = MockProducer()

    async def send() -> None:
        producer.send("orders", b"from elsewhere")

    with asyncio.Runner() as home, asyncio.Runner() as elsewhere:
        home.run(producer.start())
        with pytest.raises(WrongLoopError):
            elsewhere.run(send())
        home.run(producer.stop())


async def test_mock_starts_no_tasks() -> None:
    before = asyncio.all_tasks()
    async with MockProducer(auto_complete=False) as producer:
        producer.send("orders", b"1")
        assert asyncio.all_tasks() == before
    assert asyncio.all_tasks() == before


async def test_stop_completes_pending_records(producer: MockProducer[Any, Any]) -> None:
    delivery = producer.send("orders", b"1")
    await producer.stop()
    assert delivery.result().offset == 0


async def test_stop_without_time_fails_pending(producer: MockProducer[Any, Any]) -> None:
    delivery = producer.send("orders", b"1")
    await producer.stop(timeout=0)
    assert isinstance(delivery.exception(), ProducerClosedError)


# Results.


async def test_record_is_acknowledged_at_once() -> None:
    async with MockProducer() as producer:
        delivery = producer.send("orders", b"tea", key=b"42", timestamp_ms=7)
        assert delivery.done()
        metadata = await delivery
    assert (metadata.topic, metadata.partition, metadata.offset, metadata.timestamp_ms) == ("orders", 0, 0, 7)


async def test_records_complete_in_send_order(producer: MockProducer[Any, Any]) -> None:
    sent = [producer.send("orders", b"%d" % number, partition=number % 3) for number in range(7)]
    waiting = asyncio.create_task(asyncio.wait_for(sent[0], PATIENCE))
    await turns()
    assert not waiting.done()
    assert not producer.flushed()

    for number in range(7):
        assert [delivery.done() for delivery in sent].count(True) == number
        assert producer.complete_next()
        assert sent[number].done()

    assert producer.flushed()
    assert not producer.complete_next()
    assert (await waiting).offset == 0


async def test_offsets_count_per_partition(producer: MockProducer[Any, Any]) -> None:
    producer.auto_complete = True
    places = [(await producer.send("orders", b"", partition=number % 3)) for number in range(7)]
    other = await producer.send("audit", b"")
    producer.clear()
    last = await producer.send("orders", b"", partition=0)

    assert [(place.partition, place.offset) for place in places] == [
        (0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2),
    ]  # fmt: skip
    assert (other.offset, last.offset) == (0, 3)


async def test_acks_0_has_no_offset() -> None:
    async with MockProducer(acks=0, enable_idempotence=False) as producer:
        assert (await producer.send("orders", b"1")).offset == -1


async def test_error_next_fails_a_record(producer: MockProducer[Any, Any]) -> None:
    first, second, third = (producer.send("orders", b"", partition=0) for _ in range(3))
    called: list[Delivery] = []
    first.add_done_callback(called.append)

    assert producer.error_next(timed_out())
    assert producer.error_next(BrokerError.of(ErrorCode.TOPIC_AUTHORIZATION_FAILED, "orders"))
    assert producer.complete_next()

    with pytest.raises(DeliveryTimeoutError, match="too late") as raised:
        await first
    assert raised.value.may_be_written
    with pytest.raises(PermissionError):
        await second
    assert (await third).offset == 0
    await turns()
    assert called == [first]
    assert not producer.error_next(timed_out())


async def test_error_next_takes_producer_errors(producer: MockProducer[Any, Any]) -> None:
    delivery = producer.send("orders", b"")
    with pytest.raises(TypeError, match="ProducerError"):
        producer.error_next(ValueError("not a producer's error"))  # type: ignore[arg-type]
    assert not delivery.done()


async def test_flush_completes_everything(producer: MockProducer[Any, Any]) -> None:
    sent = [producer.send("orders", b"%d" % number) for number in range(10)]
    await producer.flush(timeout=PATIENCE)
    assert all(delivery.exception() is None for delivery in sent)
    assert producer.flushed()


async def test_clear_fails_pending_records(
    producer: MockProducer[Any, Any],
) -> None:
    delivery = producer.send("orders", b"1")
    producer.clear()
    assert (producer.history(), producer.flushed(), producer.complete_next()) == ([], True, False)
    with pytest.raises(ProducerError, match="cleared"):
        await asyncio.wait_for(delivery, PATIENCE)


async def test_metrics_count_results(producer: MockProducer[Any, Any]) -> None:
    for _ in range(3):
        producer.send("orders", b"1").add_done_callback(lambda done: done.exception())
    producer.complete_next()
    producer.complete_next()
    producer.error_next(timed_out())

    figures = producer.metrics()
    assert figures["producer-metrics"]["record-send-total"] == 2
    assert figures["producer-topic-metrics"]["orders"]["record-error-total"] == 1


# History.


async def test_history_keeps_arguments(producer: MockProducer[Any, Any]) -> None:
    buffer = bytearray(b"first")
    producer.send(
        "orders", buffer, key=memoryview(b"42"), partition=1, timestamp_ms=7, headers={"trace": b"1"}
    )
    producer.send("orders", headers=[("trace", b"1"), ("trace", None)])
    buffer[:] = b"later"
    history = producer.history()

    assert history == [
        SentRecord(
            topic="orders", value=b"first", key=b"42", partition=1, timestamp_ms=7, headers=(("trace", b"1"),)
        ),
        SentRecord(topic="orders", headers=(("trace", b"1"), ("trace", None))),
    ]
    history.clear()
    assert len(producer.history()) == 2


async def test_history_omits_refused_records(producer: MockProducer[Any, Any]) -> None:
    def broken(_value: object) -> bytes:
        message = "cannot"
        raise RuntimeError(message)

    for arguments in ({"value": "text"}, {"headers": [("name", 1)]}, {"timestamp_ms": -1}, {"partition": -1}):
        with pytest.raises((TypeError, ValueError)):
            producer.send("orders", **arguments)
    with pytest.raises(RecordTooLargeError):
        producer.send("orders", bytes(2_000_000))
    async with MockProducer(value_serializer=broken) as unserializable:
        with pytest.raises(SerializationError, match="cannot"):
            unserializable.send("orders", b"")

    assert producer.history() == unserializable.history() == []
    assert producer.flushed()


# Partitions.


@pytest.mark.parametrize("key", KEYS)
async def test_keys_choose_kafka_partitions(key: bytes) -> None:
    async with MockProducer(default_partitions=7) as producer:
        metadata = await producer.send("orders", b"", key=key)
    assert metadata.partition == partition_of_key(key, 7)


async def test_configured_partitioner_is_used() -> None:
    asked = []

    def choose(topic: str, key: bytes | None, partitions: int) -> int:
        asked.append((topic, key, partitions))
        return int(key or b"9")

    async with MockProducer(topics={"orders": 5}, partitioner=choose, key_serializer=str.encode) as producer:
        assert (await producer.send("orders", b"", key="3")).partition == 3
        with pytest.raises(PartitionerError, match="chose 9"):
            producer.send("orders", b"")
    assert asked == [("orders", b"3", 5), ("orders", None, 5)]


async def test_keyless_records_stick_to_partition() -> None:
    async with MockProducer(default_partitions=50, batch_size=1000) as producer:
        places = [(await producer.send("orders", bytes(100))).partition for _ in range(100)]
    changes = sum(one != another for one, another in itertools.pairwise(places))
    assert 5 <= changes <= 20


async def test_partitions_for_lists_partitions(producer: MockProducer[Any, Any]) -> None:
    assert [partition.index for partition in await producer.partitions_for("orders")] == [0, 1, 2]
    assert len(await producer.partitions_for("audit")) == 1


async def test_unknown_partition_fails(producer: MockProducer[Any, Any]) -> None:
    for topic in ("orders", "audit"):
        delivery = producer.send(topic, b"", partition=3)
        with pytest.raises(UnknownPartitionError) as raised:
            await asyncio.wait_for(delivery, PATIENCE)
        assert raised.value.partition == 3
    assert producer.flushed()


async def test_illegal_topics_fail(producer: MockProducer[Any, Any]) -> None:
    delivery = producer.send("no topic", b"")
    with pytest.raises(InvalidTopicError):
        await asyncio.wait_for(delivery, PATIENCE)
    with pytest.raises(InvalidTopicError):
        await producer.partitions_for("no topic")


# Memory.


async def test_drain_waits_for_completions() -> None:
    async with MockProducer(auto_complete=False, buffer_memory=10_000, max_request_size=5_000) as producer:
        sent = [producer.send("orders", bytes(2_000)) for _ in range(8)]
        with pytest.raises(BufferExhaustedError):
            producer.send("orders", bytes(2_000))
        draining = asyncio.create_task(drained(producer))
        await turns()
        assert not draining.done()

        while producer.complete_next():
            pass

        await asyncio.wait_for(draining, PATIENCE)
        assert [delivery.result().offset for delivery in sent] == list(range(8))
        assert producer.metrics()["producer-metrics"]["buffer-available-bytes"] == 10_000


async def test_waiting_records_keep_their_place() -> None:
    async with MockProducer(
        auto_complete=False, buffer_memory=10_000, max_request_size=10_000, topics={"orders": 3}
    ) as small:
        sent = [small.send("orders", bytes(9_500), partition=0)]
        sent += [small.send("orders", bytes(1_000), partition=partition) for partition in (1, 1, 2, 0, 2, 1)]
        for number in range(len(sent)):
            assert small.complete_next()
            assert [delivery.done() for delivery in sent] == [n <= number for n in range(len(sent))]
        assert small.flushed()


async def test_loop_of_sends_can_drain() -> None:
    async with MockProducer(buffer_memory=20_000) as producer:
        for number in range(1000):
            producer.send("orders", b"%d" % number)
            await producer.drain()
    assert [record.value for record in producer.history()] == [b"%d" % number for number in range(1000)]


# Scripted errors of calls.


async def test_calls_raise_scripted_errors(producer: MockProducer[Any, Any]) -> None:
    producer.send_exception = BufferExhaustedError("full")
    producer.flush_exception = CallTimeoutError("slow")
    producer.partitions_for_exception = UnknownTopicError("unknown", topic="orders")

    with pytest.raises(BufferExhaustedError, match="full"):
        producer.send("orders", b"")
    with pytest.raises(CallTimeoutError, match="slow"):
        await producer.flush()
    with pytest.raises(UnknownTopicError, match="unknown"):
        await producer.partitions_for("orders")
    assert producer.history() == []

    producer.send_exception = producer.flush_exception = producer.partitions_for_exception = None
    producer.send("orders", b"")
    await producer.flush()
    assert len(await producer.partitions_for("orders")) == 3

    await producer.stop()
    producer.send_exception = producer.flush_exception = BufferExhaustedError("full")
    producer.partitions_for_exception = BufferExhaustedError("full")
    with pytest.raises(ProducerClosedError):
        producer.send("orders", b"")
    with pytest.raises(ProducerClosedError):
        await producer.flush()
    with pytest.raises(ProducerClosedError):
        await producer.partitions_for("orders")


async def test_start_exception_is_raised() -> None:
    producer = MockProducer()
    producer.start_exception = BootstrapError("no broker there", causes={})
    with pytest.raises(BootstrapError, match="no broker there"):
        await producer.start()
    assert producer.closed()
    with pytest.raises(ProducerClosedError):
        producer.send("orders", b"")
