"""The accumulator: records become batches in the right partition."""

from __future__ import annotations

from collections import Counter
from enum import IntEnum, StrEnum
from typing import Any
from zlib import crc32

import pytest

from aioproducer.core.accumulator import OVERHEAD
from aioproducer.core.checks import MAX_TIMESTAMP
from aioproducer.core.partitioner import KeyPartitioner, RecordPartitioner
from aioproducer.core.queues import NO_LEADER
from aioproducer.delivery import result_of
from aioproducer.errors import (
    PartitionerError,
    RecordTooLargeError,
)
from aioproducer.records.batch import HEADER_SIZE
from aioproducer.records.murmur2 import partition_of_key
from tests.core.harness import (
    AMPLE,
    ASKED,
    LEADER,
    LINGER,
    OTHER,
    START,
    TAKEN,
    TOPIC,
    VALUE,
    WALL_CLOCK_MS,
    Harness,
    records_of,
    values_of,
)

# What a record is made of.


@pytest.mark.scenario("codecs")
def test_record_is_written_unchanged() -> None:
    harness = Harness()
    harness.introduce()

    harness.append(b"value", key=b"key", timestamp_ms=5, headers=[("a", b"1"), ("a", None)])
    harness.append(None, key=None, timestamp_ms=0)
    harness.append(b"", key=b"", timestamp_ms=MAX_TIMESTAMP, headers={})
    harness.append(bytearray(b"array"), key=memoryview(b"view"))

    (batch,) = (harness.queue().open,)
    assert batch is not None
    assert [(r.timestamp_ms, r.key, r.value, r.headers) for r in records_of(batch)] == [
        (5, b"key", b"value", (("a", b"1"), ("a", None))),
        (0, None, None, ()),
        (MAX_TIMESTAMP, b"", b"", ()),
        (WALL_CLOCK_MS, b"view", b"array", ()),
    ]


@pytest.mark.parametrize("known", [True, False])
def test_later_changes_do_not_matter(known: bool) -> None:  # noqa: FBT001 - a parameter
    harness = Harness()
    if known:
        harness.introduce()
    value = bytearray(b"before")
    headers: list[tuple[str, bytes | None]] = [("a", b"1")]

    harness.append(value, key=memoryview(value), headers=headers)
    value[:] = b"after!"
    headers.clear()
    harness.introduce()
    harness.accumulator.serve(1)

    harness.now += LINGER
    (record,) = records_of(harness.drain()[0])
    assert (record.key, record.value, record.headers) == (b"before", b"before", (("a", b"1"),))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"value": "text"}, "the value must be bytes.*not str.*value_serializer"),
        ({"value": 1}, "the value must be bytes.*not int"),
        ({"key": "text"}, "the key must be bytes.*not str.*key_serializer"),
        ({"partition": "0"}, "the partition must be an int or None, not '0'"),
        ({"partition": True}, "the partition must be an int or None, not True"),
        ({"partition": 1.0}, "the partition must be an int or None"),
        ({"timestamp_ms": 1.5}, "timestamp_ms must be an int"),
        ({"timestamp_ms": True}, "timestamp_ms must be an int"),
        ({"timestamp_ms": "now"}, "timestamp_ms must be an int"),
        ({"headers": [("a", 1)]}, "value of header 'a'"),
        ({"headers": ["a"]}, "a header must be"),
        ({"headers": 5}, "int"),
        ({"topic": 5}, "topic"),
        ({"topic": b"orders"}, "topic"),
        ({"topic": None}, "topic"),
        ({"topic": ""}, "topic must be a non-empty str"),
    ],
)
def test_wrong_types_are_refused(wrong: dict[str, Any], words: str) -> None:
    harness = Harness()
    harness.introduce()
    harness.append(b"first")
    batch = harness.queue().open
    assert batch is not None
    before = (bytes(batch.builder.buffer), harness.buffer.used, batch.charged, batch.count)

    with pytest.raises(TypeError, match=words):
        harness.append(**{"value": b"second", **wrong})

    assert (
        bytes(batch.builder.buffer),
        harness.buffer.used,
        batch.charged,
        batch.count,
    ) == before
    assert len(harness.buffer.records) == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"partition": -1}, "the partition must be from 0 to 2147483647, not -1"),
        ({"partition": 2**31}, "the partition must be from 0 to 2147483647"),
        ({"partition": 2**70}, "the partition must be from 0 to 2147483647"),
        ({"timestamp_ms": -1}, "timestamp_ms must be from 0 to 9223372036854775807, not -1"),
        ({"timestamp_ms": 2**63}, "timestamp_ms must be from 0 to 9223372036854775807"),
        ({"timestamp_ms": 2**70}, "timestamp_ms must be from 0 to 9223372036854775807"),
    ],
)
@pytest.mark.parametrize("topic", [TOPIC, "unknown"])
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any], words: str, topic: str) -> None:
    harness = Harness()
    harness.introduce()

    with pytest.raises(ValueError, match=words):
        harness.append(topic=topic, **wrong)

    assert len(harness.buffer.records) == 0


def test_enum_members_count_as_values() -> None:
    """Whether the topic is known already or not."""

    class Name(StrEnum):
        ORDERS = TOPIC

    class Number(IntEnum):
        SECOND = 1

    harness = Harness()
    harness.append(b"early", topic=Name.ORDERS, partition=Number.SECOND, timestamp_ms=Number.SECOND)
    harness.introduce(partitions=2)
    harness.accumulator.serve(10)
    harness.append(b"late", topic=Name.ORDERS, partition=Number.SECOND, timestamp_ms=Number.SECOND)

    harness.now += LINGER
    (batch,) = harness.drain()
    assert values_of([batch]) == [b"early", b"late"]
    assert type(batch.result.topic) is str


# The sizes of records and batches.


@pytest.mark.scenario("record-larger-than-batch")
def test_large_record_gets_own_batch() -> None:
    harness = Harness(batch_size=500)
    harness.introduce()

    harness.append(b"before")
    harness.append(b"v" * 5000)
    harness.append(b"after")

    assert [values_of([batch]) for batch in harness.drain_all()] == [[b"before"], [b"v" * 5000]]
    harness.now += LINGER
    assert values_of(harness.drain()) == [b"after"]


@pytest.mark.scenario("request-size-limit", "buffer-size-limit")
@pytest.mark.parametrize(
    ("options", "limit", "option"),
    [
        ({"max_request_size": 1000, "buffer_memory": 5000}, 1000, "max_request_size"),
        ({"max_request_size": 5000, "buffer_memory": 1000}, 1000, "buffer_memory"),
    ],
)
@pytest.mark.parametrize("topic", [TOPIC, "unknown"])
def test_too_large_record_is_refused(options: dict[str, int], limit: int, option: str, topic: str) -> None:
    harness = Harness(**options)  # type: ignore[arg-type] # only numbers
    harness.introduce()

    harness.append(b"v" * (limit - OVERHEAD), topic=topic)
    before = harness.buffer.used
    with pytest.raises(RecordTooLargeError, match=f"than the {limit} bytes that {option} allows") as raised:
        harness.append(b"v" * (limit - OVERHEAD + 1), topic=topic)

    assert (raised.value.topic, raised.value.size, raised.value.limit) == (topic, limit + 1, limit)
    assert harness.buffer.used == before


@pytest.mark.scenario("request-size-limit")
def test_keys_and_headers_count_too() -> None:
    harness = Harness(max_request_size=1000)
    harness.introduce()

    with pytest.raises(RecordTooLargeError):
        harness.append(b"v" * 500, key=b"k" * 500)
    with pytest.raises(RecordTooLargeError):
        harness.append(b"v" * 500, headers={"h": b"x" * 500})
    assert harness.buffer.used == 0


def test_batch_limit_differs_per_topic() -> None:
    harness = Harness(batch_size=500)
    harness.introduce("a")
    harness.introduce("b")
    harness.accumulator.topics["b"].batch_limit = 2000

    for topic in "ab":
        for _ in range(10):
            harness.append(VALUE, topic=topic)

    counts = Counter(dict.fromkeys("ab", 0))
    harness.now += LINGER
    for batch in harness.drain_all():
        counts[batch.queue.topic] = max(counts[batch.queue.topic], batch.count)
    assert counts["a"] == 4
    assert counts["b"] == 10


# Order.


def test_partition_keeps_order_of_send() -> None:
    harness = Harness(batch_size=300, buffer_memory=2000)
    harness.introduce(partitions=3)
    sent: dict[bytes, list[bytes]] = {b"a": [], b"b": [], b"c": []}
    landed: list[bytes | None] = []
    for number in range(60):
        key = b"abc"[number % 3 : number % 3 + 1]
        value = key + b"%03d" % number * 10
        harness.append(value, key=key)
        sent[key].append(value)
        if number % 7 == 0:
            for batch in harness.drain_all():
                landed += values_of([batch])
                harness.finish(batch)
            harness.accumulator.serve(100)
    landed += values_of(harness.send_the_rest())

    for key, values in sent.items():
        assert [value for value in landed if value is not None and value.startswith(key)] == values


def test_deliveries_follow_record_order() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    deliveries = [harness.append(b"%d" % number, timestamp_ms=number) for number in range(5)]

    (batch,) = harness.drain()
    harness.finish(batch, 100)

    assert [delivery.result().offset for delivery in deliveries] == [100, 101, 102, 103, 104]
    assert [delivery.result().timestamp_ms for delivery in deliveries] == [0, 1, 2, 3, 4]


# Which partition.


@pytest.mark.scenario("key-partitioning")
def test_a_key_goes_to_its_partition() -> None:
    harness = Harness()
    harness.introduce(partitions=10)

    for key in (b"foobar", b"abc", b"", b"key"):
        assert result_of(harness.append(key=key)).partition == partition_of_key(key, 10)


@pytest.mark.scenario("sticky-partition")
def test_unkeyed_records_fill_one_batch() -> None:
    harness = Harness(batch_size=1000, buffer_memory=AMPLE)
    harness.introduce(partitions=50)

    partitions = [result_of(harness.append(VALUE)).partition for _ in range(80)]

    batches = [partitions[start : start + 8] for start in range(0, 80, 8)]
    assert [len(set(batch)) for batch in batches] == [1] * 10
    assert len(set(partitions)) > 5


@pytest.mark.scenario("even-share")
def test_unkeyed_records_spread_evenly() -> None:
    harness = Harness(batch_size=1000, linger=0.0, buffer_memory=AMPLE)
    harness.introduce(partitions=4)
    counts: Counter[int] = Counter()

    for number in range(16_000):
        counts[result_of(harness.append(VALUE)).partition] += 1
        if number % 5 == 0:
            for batch in harness.drain():
                harness.finish(batch)

    assert counts == {partition: pytest.approx(4000, rel=0.15) for partition in range(4)}


@pytest.mark.scenario("sticky-partition")
def test_drained_partition_stays_sticky() -> None:
    """A batch of bytes a partition, in however many batches they go."""
    harness = Harness(batch_size=1000, linger=0.0)
    harness.introduce(partitions=50)

    partitions = []
    for _ in range(6):
        partitions.append(result_of(harness.append(VALUE)).partition)
        harness.drain()

    assert len(set(partitions)) == 1


@pytest.mark.scenario("leaderless-partition")
def test_unkeyed_records_leave_leaderless_partition() -> None:
    harness = Harness()
    harness.introduce(partitions=3)
    first = result_of(harness.append()).partition

    harness.accumulator.set_leader(TOPIC, first, NO_LEADER, 2)

    assert {result_of(harness.append()).partition for _ in range(10)}.isdisjoint({first})


@pytest.mark.scenario("leaderless-partition")
def test_keyed_record_waits_for_leader() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=10)
    harness.accumulator.set_leader(TOPIC, 6, NO_LEADER, 2)

    harness.append(b"patient", key=b"foobar")
    assert harness.drain() == []
    harness.accumulator.set_leader(TOPIC, 6, OTHER, 3)

    assert values_of(harness.drain(OTHER)) == [b"patient"]


@pytest.mark.parametrize(
    ("partitioner", "expected"),
    [
        (RecordPartitioner(KeyPartitioner.ROUND_ROBIN), [0, 1, 2, 0]),
        (RecordPartitioner(KeyPartitioner.CRC32), [crc32(b"k") % 3] * 4),
        (RecordPartitioner(custom=lambda _topic, _key, count: count - 1), [2, 2, 2, 2]),
    ],
    ids=["round robin", "crc32", "custom"],
)
@pytest.mark.parametrize("known", [True, False])
def test_partitioner_is_used(
    partitioner: RecordPartitioner,
    expected: list[int],
    known: bool,  # noqa: FBT001 - a parameter
) -> None:
    harness = Harness(partitioner=partitioner)
    if known:
        harness.introduce(partitions=3)
    deliveries = [harness.append(key=b"k") for _ in range(4)]
    if not known:
        harness.introduce(partitions=3)
        harness.accumulator.serve(10)

    assert [result_of(delivery).partition for delivery in deliveries] == expected
    assert result_of(harness.append(key=b"k", partition=1)).partition == 1


def test_partitioner_error_fails_one_record() -> None:
    def custom(_topic: str, key: bytes | None, _count: int) -> int:
        assert key is not None
        return int(key)

    harness = Harness(partitioner=RecordPartitioner(custom=custom))
    early = [harness.append(key=key) for key in (b"1", b"nonsense", b"0", b"7")]
    harness.introduce(partitions=2)
    harness.accumulator.serve(10)

    with pytest.raises(PartitionerError, match="raised ValueError"):
        harness.append(key=b"nonsense")
    with pytest.raises(PartitionerError, match="chose 2"):
        harness.append(key=b"2")

    assert [delivery.done() for delivery in early] == [False, True, False, True]
    assert isinstance(early[1].exception(), PartitionerError)
    assert isinstance(early[3].exception(), PartitionerError)
    assert [result_of(early[0]).partition, result_of(early[2]).partition] == [1, 0]
    assert len(harness.buffer.records) == 0


# Its cost.


@pytest.mark.parametrize("topics", [1, 2000])
def test_append_cost_is_constant(topics: int) -> None:
    """The cost of a record grows with nothing: an append into an open batch asks the harness nothing."""
    harness = Harness(buffer_memory=AMPLE, batch_size=AMPLE)
    for number in range(topics):
        harness.introduce(f"topic-{number}")
        harness.append(topic=f"topic-{number}")
    harness.asked.clear()

    for _ in range(100):
        harness.append(topic="topic-0")

    assert harness.asked == []


# Things that happen rarely.


def test_each_record_keeps_its_headers() -> None:
    harness = Harness()
    harness.introduce()
    for number in range(3):
        harness.append(b"v", headers={"number": b"%d" % number}, partition=0)

    harness.now += LINGER
    (batch,) = harness.drain()

    assert [list(record.headers) for record in records_of(batch)] == [
        [("number", b"%d" % number)] for number in range(3)
    ]


@pytest.mark.scenario("sticky-partition")
def test_unkeyed_record_fills_last_byte() -> None:
    harness = Harness(batch_size=TAKEN + ASKED)
    harness.introduce(partitions=50)
    first = harness.append(VALUE)
    harness.accumulator.topics[TOPIC].sticky.produced = AMPLE

    second = harness.append(VALUE)

    assert result_of(second) is result_of(first)


def test_young_batch_goes_on_lingering() -> None:
    harness = Harness()
    harness.introduce(partitions=2)
    harness.append(b"old", partition=0)
    harness.now = START + LINGER * 0.6
    harness.append(b"young", partition=1)
    harness.now = START + LINGER

    assert values_of(harness.drain()) == [b"old"]


def test_held_back_partition_is_ready_once() -> None:
    harness = Harness(batch_size=HEADER_SIZE + 2 * TAKEN)
    harness.introduce()
    harness.append(VALUE)
    harness.now += LINGER
    node = harness.schedule.node(LEADER)
    assert harness.schedule.drain(node, harness.now, AMPLE, lambda _queue, _batch: False) == []

    for _ in range(3):
        harness.append(VALUE)

    assert [batch.count for batch in harness.drain()] == [2]


def test_flush_wakes_for_new_records() -> None:
    harness = Harness()
    harness.introduce()
    harness.schedule.flush_started()

    harness.append(b"meanwhile")

    assert harness.woken == [(LEADER, START)]


def test_topic_uses_sticky_options() -> None:
    harness = Harness()
    assert harness.accumulator.sticky_options == (True, 0.0)
    harness.accumulator.sticky_options = (False, 3.0)
    harness.introduce()

    sticky = harness.accumulator.topics[TOPIC].sticky

    assert (sticky.adaptive, sticky.availability_timeout) == (False, 3.0)


def test_interrupted_partitioner_fails_one_record() -> None:
    def custom(_topic: str, _key: bytes | None, _count: int) -> int:
        raise KeyboardInterrupt

    harness = Harness(partitioner=RecordPartitioner(custom=custom))
    first, second = harness.append(b"1"), harness.append(b"2")
    harness.introduce()

    with pytest.raises(KeyboardInterrupt):
        harness.accumulator.serve(10)

    error = first.exception()
    assert isinstance(error, PartitionerError)
    assert error.topic == TOPIC
    assert result_of(first).count == 1
    assert [record.delivery for record in harness.buffer.records.records()] == [second]
