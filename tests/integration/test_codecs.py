"""Every codec and every shape of record, read back by librdkafka and by Kafka's DumpLogSegments."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING, TypedDict

import pytest

from aioproducer import Producer
from tests.integration.kafka import Kafka

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioproducer import Delivery
    from tests.integration.consumer import ConsumedRecord

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

TAKEN_MS = 1_700_000_000_123

BATCH = re.compile(
    r"baseOffset: (?P<base>\d+) lastOffset: (?P<last>\d+) count: (?P<count>\d+) "
    r"baseSequence: (?P<sequence>-?\d+) lastSequence: (?P<last_sequence>-?\d+) "
    r"producerId: (?P<producer>-?\d+) producerEpoch: (?P<epoch>-?\d+) .*"
    r"compresscodec: (?P<codec>\w+) .*isvalid: (?P<valid>\w+)"
)


class Shape(TypedDict, total=False):
    """The arguments of `send` after the topic."""

    value: bytes | None
    key: bytes | None
    timestamp_ms: int | None
    headers: list[tuple[str, bytes | None]]


SHAPES: list[Shape] = [
    {"value": b"value"},
    {"value": b"value", "key": b"key"},
    {"value": None, "key": b"tombstone"},
    {"value": b"", "key": b""},
    {"value": None},
    {"value": b"old", "timestamp_ms": 0},
    {"value": b"taken", "timestamp_ms": TAKEN_MS},
    {"value": b"earlier", "timestamp_ms": TAKEN_MS - 86_400_000},
    {"value": b"headers", "headers": [("a", b"1"), ("a", b"2"), ("", b""), ("ключ", None)]},
    {"value": b"all", "key": b"\xff\x00", "timestamp_ms": TAKEN_MS + 1, "headers": [("h", b"\x00" * 300)]},
    {"value": bytes(range(256)) * 100, "key": b"compressible"},
    {"value": b"x" * 20_000, "key": b"larger than a batch"},
]


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


def assert_intact(
    records: list[ConsumedRecord], sent: Iterable[tuple[Shape, Delivery]], started_ms: int
) -> None:
    """Assert that a partition's log holds `sent`, each record at its delivery's offset."""
    for record, (shape, delivery) in zip(records, sent, strict=True):
        metadata = delivery.result()
        assert (record.value, record.key) == (shape.get("value"), shape.get("key"))
        assert record.headers == tuple(shape.get("headers", ()))
        assert (record.offset, record.timestamp_ms) == (metadata.offset, metadata.timestamp_ms)
        assert record.timestamp_type == "CreateTime"
        taken = shape.get("timestamp_ms")
        if taken is None:
            assert started_ms <= record.timestamp_ms <= time.time() * 1000
        else:
            assert record.timestamp_ms == taken


async def assert_every_shape_comes_back(broker: Kafka, topic_name: str, codec: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)
    shapes = SHAPES * 20
    started_ms = int(time.time() * 1000)

    async with Producer(broker.bootstrap, compression_type=codec) as producer:
        sent = [(shape, producer.send(topic, **shape)) for shape in shapes]

    records = await asyncio.to_thread(broker.consume, topic, len(shapes))
    assert_intact(records, sent, started_ms)


@pytest.mark.scenario("codecs", "mixed-releases")
@pytest.mark.parametrize("codec", CODECS)
async def test_every_record_shape_is_read_back(broker: Kafka, topic_name: str, codec: str) -> None:
    await assert_every_shape_comes_back(broker, topic_name, codec)


@pytest.mark.scenario("codecs")
@pytest.mark.parametrize("codec", CODECS)
async def test_large_batches_are_read_back(kafka: Kafka, topic_name: str, codec: str) -> None:
    """Worker threads compress the batches while more records are sent."""
    config = {"max.message.bytes": 4_000_000}
    topic = await asyncio.to_thread(kafka.create_topic, topic_name, config=config)
    values = [b"%d " % number * 30 for number in range(40_000)]

    async with Producer(
        kafka.bootstrap,
        compression_type=codec,
        batch_size=1_000_000,
        max_request_size=2_000_000,
        linger_ms=60_000,
    ) as producer:
        deliveries = []
        for value in values:
            deliveries.append(producer.send(topic, value))
            await producer.drain()
        await producer.flush()
        metrics = producer.metrics()["producer-metrics"]

    records = await asyncio.to_thread(kafka.consume, topic, len(values))
    assert [record.value for record in records] == values
    assert [delivery.result().offset for delivery in deliveries] == list(range(len(values)))
    assert metrics["records-per-request-avg"] > 2_000


async def test_log_passes_kafkas_check(broker: Kafka, topic_name: str) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)

    for codec in CODECS:
        async with Producer(broker.bootstrap, compression_type=codec) as producer:
            for shape in SHAPES * 20:
                producer.send(topic, **shape)

    dump = await asyncio.to_thread(broker.dump_log, topic)
    batches = [found.groupdict() for found in BATCH.finditer(dump)]
    assert {batch["valid"] for batch in batches} == {"true"}
    assert list(dict.fromkeys(batch["codec"] for batch in batches)) == CODECS
    assert dump.count("isvalid") == len(batches)
    offset = 0
    sequences: defaultdict[tuple[str, str], int] = defaultdict(int)
    for batch in batches:
        producer_epoch = batch["producer"], batch["epoch"]
        count = int(batch["count"])
        assert (int(batch["base"]), int(batch["last"])) == (offset, offset + count - 1)
        assert int(batch["sequence"]) == sequences[producer_epoch]
        assert int(batch["last_sequence"]) == sequences[producer_epoch] + count - 1
        sequences[producer_epoch] += count
        offset += count
    assert sorted(sequences.values()) == [len(SHAPES) * 20] * len(CODECS)


async def test_log_append_time_is_returned(broker: Kafka, topic_name: str) -> None:
    config = {"message.timestamp.type": "LogAppendTime"}
    topic = await asyncio.to_thread(broker.create_topic, topic_name, config=config)
    started_ms = int(time.time() * 1000)

    async with Producer(broker.bootstrap, compression_type="lz4") as producer:
        deliveries = [producer.send(topic, b"%d" % n, timestamp_ms=TAKEN_MS) for n in range(10)]

    records = await asyncio.to_thread(broker.consume, topic, 10)
    assert {record.timestamp_type for record in records} == {"LogAppendTime"}
    told = [delivery.result().timestamp_ms for delivery in deliveries]
    assert told == [record.timestamp_ms for record in records]
    assert all(started_ms <= timestamp_ms <= time.time() * 1000 for timestamp_ms in told)
