"""Each cause of failure has its own error, in time, and harms no other record."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from aioproducer import (
    BatchRefusedError,
    BufferExhaustedError,
    ConfigurationError,
    ErrorCode,
    InvalidRecordError,
    InvalidTopicError,
    Producer,
    ProducerClosedError,
    ProducerError,
    ProducerNotStartedError,
    RecordTooLargeError,
    UnknownPartitionError,
    UnknownTopicError,
    WrongLoopError,
)
from tests.integration.kafka import Kafka, KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer import Delivery

BLOCK_MS = 400

NUMBERS = [b"%d" % number for number in range(1_000)]


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


async def freeze(kafka: Kafka) -> KafkaCluster:
    """Freeze the only broker and return it; skip the test if the tests did not start it."""
    if not isinstance(kafka, KafkaCluster):
        pytest.skip("only a broker of our own can be frozen")
    kafka.pause(1)
    # A busy machine takes a moment to stop all threads of a process.
    await asyncio.sleep(0.2)
    return kafka


@contextmanager
def taking(least: float, most: float) -> Iterator[None]:
    """Assert that the block takes this many seconds."""
    started = time.monotonic()
    yield
    assert least <= time.monotonic() - started <= most


async def values(kafka: Kafka, topic: str, expected: int) -> list[bytes | None]:
    records = await asyncio.to_thread(kafka.consume, topic, expected)
    return [record.value for record in records]


async def failure(delivery: Delivery) -> ProducerError | None:
    """Wait until a record fails, and return its error."""
    await asyncio.wait([delivery.future()])
    return delivery.exception()


@pytest.mark.scenario("missing-topic")
async def test_unknown_topic_fails_in_time(broker: Kafka, topic_name: str) -> None:
    known = await asyncio.to_thread(broker.create_topic, f"{topic_name}-known")
    async with Producer(broker.bootstrap, max_block_ms=BLOCK_MS) as producer:
        await producer.send(known, b"before")
        await asyncio.sleep(0.5)
        # The producer's next deadline is now the delivery timeout of this record, far away.
        await producer.send(known, b"before")

        with taking(0.4, 1.4), pytest.raises(UnknownTopicError, match="UNKNOWN_TOPIC_OR_PARTITION") as raised:
            await producer.send(topic_name, b"value")
        assert raised.value.topic == topic_name
        with taking(0.4, 1.4), pytest.raises(UnknownTopicError):
            await producer.partitions_for(topic_name)

        await producer.send(known, b"after")


@pytest.mark.scenario("missing-topic")
async def test_topic_created_in_time(broker: Kafka, topic_name: str) -> None:
    async with Producer(broker.bootstrap) as producer:
        deliveries = [producer.send(topic_name, value) for value in NUMBERS]
        await asyncio.sleep(0.3)
        assert not any(delivery.done() for delivery in deliveries)
        await asyncio.to_thread(broker.create_topic, topic_name)
        await asyncio.wait_for(producer.flush(), 3)

    assert await values(broker, topic_name, len(NUMBERS)) == NUMBERS


async def test_unknown_partition_fails_in_time(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name, 2)
    async with Producer(broker.bootstrap, max_block_ms=BLOCK_MS) as producer:
        await producer.send(topic, b"known", partition=1)

        with taking(0.4, 1.4), pytest.raises(UnknownPartitionError) as raised:
            await producer.send(topic, b"value", partition=2)

    error = raised.value
    assert (error.topic, error.partition, error.partitions) == (topic, 2, 2)


async def test_illegal_topic_fails_at_once(broker: Kafka) -> None:
    async with Producer(broker.bootstrap) as producer:
        with taking(0, 1), pytest.raises(InvalidTopicError, match="no topic"):
            await producer.send("no topic", b"value")


@pytest.mark.scenario("new-partitions")
async def test_added_partitions_are_used(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)
    async with Producer(broker.bootstrap, metadata_max_age_ms=300) as producer:
        await producer.send(topic, b"before")
        awaited = producer.send(topic, b"awaited", partition=3)

        await asyncio.to_thread(broker.add_partitions, topic, 4)

        assert (await awaited).partition == 3
        await asyncio.sleep(0.5)
        used = {(await producer.send(topic, b"x", key=b"%d" % number)).partition for number in range(50)}
    assert used == {0, 1, 2, 3}


@pytest.mark.scenario("request-size-limit")
async def test_record_above_request_size_raises(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)
    async with Producer(broker.bootstrap, max_request_size=10_000) as producer:
        with pytest.raises(RecordTooLargeError, match="max_request_size") as raised:
            producer.send(topic, b"x" * 10_000)
        await producer.send(topic, b"x" * 9_000)

    assert raised.value.limit == 10_000
    assert raised.value.size is not None
    assert raised.value.size > 10_000


@pytest.mark.scenario("single-record-too-large")
@pytest.mark.parametrize("codec", ["none", "lz4"])
async def test_large_record_fails_alone(broker: Kafka, topic_name: str, codec: str) -> None:
    config = {"max.message.bytes": 3_000}
    topic = await asyncio.to_thread(broker.create_topic, topic_name, config=config)
    large = b"".join(b"%x" % (number * 2654435761) for number in range(2_000))

    async with Producer(
        broker.bootstrap, batch_size=100_000, linger_ms=20, compression_type=codec
    ) as producer:
        before = [producer.send(topic, value) for value in NUMBERS]
        refused = producer.send(topic, large)
        after = [producer.send(topic, value) for value in NUMBERS]
        error = await failure(refused)
        offsets = [(await delivery).offset for delivery in before + after]

    assert isinstance(error, RecordTooLargeError)
    assert "max.message.bytes" in str(error)
    assert not error.may_be_written
    assert offsets == list(range(2 * len(NUMBERS)))
    assert await values(broker, topic, 2 * len(NUMBERS)) == NUMBERS * 2


@pytest.mark.scenario("split-too-large", "split-ends")
@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
async def test_large_batches_are_split_for_topic(broker: Kafka, topic_name: str, codec: str) -> None:
    config = {"max.message.bytes": 2_000}
    topic = await asyncio.to_thread(broker.create_topic, topic_name, config=config)
    sent = [b"%x" % (number * 2654435761) * 3 for number in range(5_000)]

    async with Producer(broker.bootstrap, compression_type=codec) as producer:
        deliveries = [producer.send(topic, value) for value in sent]
        offsets = [(await delivery).offset for delivery in deliveries]

    assert offsets == list(range(len(sent)))
    assert await values(broker, topic, len(sent)) == sent


@pytest.mark.scenario("record-errors")
async def test_record_error_names_one_record(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name, config={"cleanup.policy": "compact"})
    async with Producer(broker.bootstrap, linger_ms=20) as producer:
        keyed = producer.send(topic, b"keyed", key=b"key")
        keyless = producer.send(topic, b"keyless")
        other = producer.send(topic, b"keyed too", key=b"key")

        assert isinstance(await failure(keyless), InvalidRecordError)
        assert isinstance(await failure(keyed), BatchRefusedError)
        assert isinstance(await failure(other), BatchRefusedError)
        await producer.send(topic, b"again", key=b"key")

    assert await values(broker, topic, 1) == [b"again"]


async def test_bad_timestamp_is_reported(broker: Kafka, topic_name: str) -> None:
    config = {"message.timestamp.before.max.ms": 10_000}
    topic = await asyncio.to_thread(broker.create_topic, topic_name, config=config)
    async with Producer(broker.bootstrap) as producer:
        with pytest.raises(InvalidRecordError) as raised:
            await producer.send(topic, b"value", timestamp_ms=1)
        assert (await producer.send(topic, b"value")).offset == 0

    assert raised.value.code is ErrorCode.INVALID_TIMESTAMP


@pytest.mark.scenario("buffer-full")
async def test_full_buffer_fails_waiting_records(kafka: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(kafka.create_topic, topic_name)
    async with Producer(kafka.bootstrap, buffer_memory=20_000, max_block_ms=BLOCK_MS) as producer:
        await producer.send(topic, b"first")
        frozen = await freeze(kafka)

        with taking(0.4, 1.4):
            deliveries = [producer.send(topic, b"%04d" % number * 250) for number in range(35)]
            with pytest.raises(BufferExhaustedError, match="buffer_memory"):
                producer.send(topic, b"y" * 10_000)
            assert isinstance(await failure(deliveries[-1]), BufferExhaustedError)
        frozen.resume(1)
        await producer.flush()

    errors = [delivery.exception() for delivery in deliveries]
    accepted = [b"%04d" % number * 250 for number, error in enumerate(errors) if error is None]
    assert 10 < len(accepted) < 20
    assert all(isinstance(error, BufferExhaustedError) for error in errors[len(accepted) :])
    assert await values(kafka, topic, len(accepted) + 1) == [b"first", *accepted]


async def test_stopped_producer_refuses_calls(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)
    producer = Producer(broker.bootstrap)

    with pytest.raises(ProducerNotStartedError):
        producer.send(topic, b"value")
    await producer.start()
    accepted = producer.send(topic, b"accepted")
    await producer.stop()

    assert (await accepted).offset == 0
    with pytest.raises(ProducerClosedError):
        producer.send(topic, b"value")
    with pytest.raises(ProducerClosedError):
        await producer.flush()
    with pytest.raises(ProducerClosedError):
        await producer.start()


async def test_expired_records_are_reported(kafka: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(kafka.create_topic, topic_name)
    async with Producer(kafka.bootstrap, linger_ms=0) as producer:
        await producer.send(topic, b"first")
        await freeze(kafka)
        in_flight = producer.send(topic, b"in flight")
        await asyncio.sleep(0.05)
        unsent = producer.send("unknown", b"unsent")

        with taking(0.2, 1.2):
            await producer.stop(timeout=0.2)

    error = in_flight.exception()
    assert isinstance(error, ProducerClosedError)
    assert error.may_be_written
    error = unsent.exception()
    assert isinstance(error, ProducerClosedError)
    assert not error.may_be_written


async def test_other_loop_is_refused(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)

    async def send_elsewhere() -> None:
        producer.send(topic, b"value")

    async with Producer(broker.bootstrap) as producer:
        with pytest.raises(WrongLoopError):
            await asyncio.to_thread(asyncio.run, send_elsewhere())
        with pytest.raises(WrongLoopError):
            await asyncio.to_thread(producer.send, topic, b"value")
        await producer.send(topic, b"value")


@pytest.mark.parametrize(
    "options",
    [
        {"transactional_id": "id"},
    ],
)
def test_unsupported_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="not implemented yet"):
        Producer(**{"bootstrap_servers": "localhost:9092", **options})  # type: ignore[call-overload] # mixed options


@pytest.mark.scenario("topic-deleted", "topic-ids")
async def test_recreated_topic_stores_later_records(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)
    sent: list[Delivery] = []

    async def send_on(count: int) -> None:
        for _ in range(count):
            sent.append(producer.send(topic, b"%d" % len(sent)))
            await asyncio.sleep(0.001)

    async with Producer(broker.bootstrap, linger_ms=1, retry_backoff_max_ms=100) as producer:
        await send_on(200)
        await producer.flush()
        sending = asyncio.create_task(send_on(800))
        await asyncio.to_thread(broker.delete_topic, topic)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(broker.create_topic, topic)
        await sending
        await asyncio.wait_for(producer.flush(), 10)

    offsets = [delivery.result().offset for delivery in sent]
    assert offsets[:200] == list(range(200))
    first = max(number for number, offset in enumerate(offsets) if offset == 0)
    assert 200 <= first < len(sent)
    assert offsets[first:] == list(range(len(sent) - first))
    expected = [b"%d" % number for number in range(first, len(sent))]
    assert await values(broker, topic, len(expected)) == expected


@pytest.fixture(scope="module")
def generous(clusters: list[KafkaCluster]) -> Iterator[KafkaCluster]:
    """One broker that creates requested topics, and accepts only small batches."""
    config = {"auto.create.topics.enable": True, "num.partitions": 3, "message.max.bytes": 5_000}
    with KafkaCluster(config=config) as cluster:
        clusters.append(cluster)
        yield cluster
        clusters.remove(cluster)


@pytest.mark.scenario("missing-topic")
async def test_auto_created_topic(generous: KafkaCluster, topic_name: str) -> None:
    async with Producer(generous.bootstrap) as producer:
        deliveries = [producer.send(topic_name, value) for value in NUMBERS]
        with taking(0, 5):
            await asyncio.wait([delivery.future() for delivery in deliveries])

        assert len(await producer.partitions_for(topic_name)) == 3
    found = await values(generous, topic_name, len(NUMBERS))
    assert len(found) == len(NUMBERS)
    assert set(found) == set(NUMBERS)


@pytest.mark.scenario("split-ends", "single-record-too-large")
async def test_large_batches_are_split_for_broker(generous: KafkaCluster, topic_name: str) -> None:
    topic = await asyncio.to_thread(generous.create_topic, topic_name)
    sent = [b"%06d" % number * 20 for number in range(10_000)]

    async with Producer(generous.bootstrap) as producer:
        deliveries = [producer.send(topic, value) for value in sent]
        refused = producer.send(topic, b"x" * 6_000)
        offsets = [(await delivery).offset for delivery in deliveries]
        error = await failure(refused)

    assert isinstance(error, RecordTooLargeError)
    assert offsets == list(range(len(sent)))
    assert await values(generous, topic, len(sent)) == sent
