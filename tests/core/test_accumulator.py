"""The accumulator: records become batches, wait their turn, and go when they have to."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

from aioproducer.core.accumulator import OVERHEAD
from aioproducer.core.batch import NEVER
from aioproducer.core.checks import MAX_TIMESTAMP
from aioproducer.core.partitioner import KeyPartitioner, Partitioner
from aioproducer.core.queues import NO_LEADER
from aioproducer.core.split import split_batch
from aioproducer.core.waiting import Rejection
from aioproducer.delivery import result_of
from aioproducer.errors import (
    BufferExhaustedError,
    PartitionerError,
    ProducerClosedError,
    RecordTooLargeError,
)
from aioproducer.records.batch import HEADER_SIZE, encode_headers
from aioproducer.records.murmur2 import partition_of_key
from tests.core.harness import (
    AMPLE,
    ASKED,
    LEADER,
    LINGER,
    MAX_BLOCK,
    OTHER,
    START,
    TAKEN,
    TOPIC,
    VALUE,
    WALL_CLOCK_MS,
    Harness,
    free_room,
    full_harness,
    records_of,
    values_of,
)

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.delivery import Delivery


# What a record is made of.


@pytest.mark.scenario("codecs")
def test_a_record_is_written_as_it_was_given() -> None:
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
def test_what_is_given_may_be_changed_afterwards(known: bool) -> None:  # noqa: FBT001 - a parameter
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
def test_what_no_record_can_be_made_of_is_refused_before_anything_is_written(
    wrong: dict[str, Any], words: str
) -> None:
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


def test_members_of_enums_are_the_values_that_they_are() -> None:
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
def test_a_record_larger_than_a_batch_has_one_of_its_own() -> None:
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
def test_a_record_that_is_too_large_is_refused_and_says_by_what(
    options: dict[str, int], limit: int, option: str, topic: str
) -> None:
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


def test_a_topic_may_have_larger_batches_than_others() -> None:
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


# Memory.


def test_a_batch_is_charged_what_it_takes_until_it_is_released() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=2)
    assert harness.buffer.used == 0

    harness.append(VALUE, partition=0)
    harness.append(VALUE, partition=0)
    assert harness.buffer.used == HEADER_SIZE + 2 * TAKEN
    harness.append(VALUE, partition=1)
    assert harness.buffer.used == 2 * HEADER_SIZE + 3 * TAKEN

    first, second = harness.drain()
    assert harness.buffer.used == 2 * HEADER_SIZE + 3 * TAKEN
    assert first.charged == first.size
    harness.accumulator.release(first)
    assert harness.buffer.used == second.charged
    harness.accumulator.release(first)
    assert harness.buffer.used == second.charged
    harness.accumulator.release(second)
    assert harness.buffer.used == 0


def test_a_retry_is_not_charged_twice() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append(VALUE)
    before = harness.buffer.used

    for _ in range(3):
        (batch,) = harness.drain()
        harness.schedule.give_back(batch)

    assert harness.buffer.used == before
    harness.finish(harness.drain()[0])
    assert harness.buffer.used == 0


@pytest.mark.scenario("buffer-full")
def test_a_record_that_finds_no_room_waits_in_line_until_there_is_some() -> None:
    harness = full_harness()
    delivery = harness.append(b"w" * 100, partition=1)
    assert not delivery.done()
    assert (len(harness.buffer.records), harness.buffer.records.bytes) == (1, ASKED)
    assert harness.accumulator.serve(10) is False

    free_room(harness)
    assert harness.accumulator.serve(10) is False

    assert len(harness.buffer.records) == 0
    assert harness.buffer.waiting == 0
    harness.now += LINGER
    (batch,) = harness.drain()
    assert values_of([batch]) == [b"w" * 100]
    harness.finish(batch, 40)
    assert delivery.result().offset == 40


@pytest.mark.scenario("buffer-full")
async def test_who_waits_for_a_record_in_line_gets_the_offset_of_that_record() -> None:
    """Awaited and called back before it has a place."""
    harness = Harness(linger=0.0)
    harness.loop = asyncio.get_running_loop()
    deliveries = [harness.append(b"%d" % number, timestamp_ms=number) for number in range(3)]
    futures = [delivery.future() for delivery in deliveries]
    settled = [result.settled() for result in harness.accumulator.outstanding()]
    called: list[int] = []
    deliveries[2].add_done_callback(lambda done: called.append(done.result().offset))

    harness.introduce()
    harness.accumulator.serve(10)
    assert not any(future.done() for future in futures)
    assert not any(future.done() for future in settled)
    harness.finish(harness.drain()[0], 40)

    async with asyncio.timeout(5):
        await asyncio.gather(*settled)
        given = await asyncio.gather(*futures)
    assert [metadata.offset for metadata in given] == [40, 41, 42]
    assert [metadata.timestamp_ms for metadata in given] == [0, 1, 2]
    assert called == [42]


@pytest.mark.scenario("buffer-full")
def test_nobody_overtakes_who_waits_for_room() -> None:
    """Not even a record that would fit."""
    harness = full_harness(room=20)
    harness.append(b"w" * 500, partition=1)
    harness.append(b"tiny", partition=1)
    harness.append(b"other", partition=2)
    assert len(harness.buffer.records) == 3

    free_room(harness)
    harness.accumulator.serve(100)

    harness.now += LINGER
    assert values_of(harness.drain()) == [b"w" * 500, b"tiny", b"other"]


@pytest.mark.scenario("buffer-full")
def test_the_line_is_served_as_far_as_there_is_room() -> None:
    """A freed batch serves the oldest waiters."""
    harness = Harness(buffer_memory=1000, batch_size=1)
    harness.introduce()
    accepted = [harness.append(VALUE) for _ in range(8)]
    placed = [delivery for delivery in accepted if repr(result_of(delivery)) in ids(harness)]
    assert len(placed) == 5
    assert len(harness.buffer.records) == 3

    harness.finish(harness.drain()[0])
    assert harness.accumulator.serve(10) is False

    assert len(harness.buffer.records) == 2
    assert harness.buffer.used <= 1000


def ids(harness: Harness) -> set[str]:
    return {repr(batch.result) for batch in harness.accumulator.incomplete}


def test_the_line_is_served_in_slices() -> None:
    harness = Harness(buffer_memory=10_000)
    for number in range(5):
        harness.append(b"%d" % number)
    harness.introduce()

    assert harness.accumulator.serve(2) is True
    assert harness.buffer.waiting == 3
    assert harness.accumulator.serve(2) is True
    assert harness.accumulator.serve(2) is False
    assert harness.buffer.waiting == 0
    harness.now += LINGER
    assert values_of(harness.drain_all()) == [b"%d" % number for number in range(5)]


@pytest.mark.scenario("buffer-full")
def test_a_line_that_is_full_too_is_told_at_once() -> None:
    harness = full_harness()
    for _ in range(5):
        harness.append(VALUE)
    line = harness.buffer.records
    assert line.bytes + ASKED > 1000

    with pytest.raises(BufferExhaustedError, match=r"of 1000 bytes \(buffer_memory\).*await drain\(\)"):
        harness.append(VALUE)

    assert len(line) == 5
    assert line.bytes <= 1000


@pytest.mark.scenario("buffer-full", "waiting-record-abandoned")
def test_a_record_that_has_waited_too_long_leaves_nothing_behind() -> None:
    harness = full_harness()
    delivery = harness.append(VALUE, partition=1)
    used_before = harness.buffer.used
    harness.now += MAX_BLOCK - 1
    later = harness.append(b"later", partition=1)
    assert harness.accumulator.next_deadline(NEVER) == START + MAX_BLOCK

    (expired,) = harness.buffer.expire_for_room(START + MAX_BLOCK)

    assert expired.delivery is delivery
    assert harness.buffer.used == used_before
    free_room(harness)
    harness.accumulator.serve(10)
    harness.now += LINGER
    assert values_of(harness.drain()) == [b"later"]
    assert result_of(later).partition == 1
    assert harness.buffer.records.bytes == 0


@pytest.mark.scenario("waiting-record-abandoned")
def test_memory_comes_back_to_nothing_after_everything() -> None:
    order = random.Random(9)  # noqa: S311 - nothing is secret
    harness = Harness(buffer_memory=5000, batch_size=600)
    harness.introduce(partitions=4)
    accumulator = harness.accumulator
    for _ in range(500):
        try:
            harness.append(b"v" * order.randrange(300), key=order.choice([None, b"a", b"b"]))
        except BufferExhaustedError:
            for batch in harness.drain_all():
                harness.finish(batch)
            accumulator.serve(100)
        assert 0 <= accumulator.buffer.used <= 5000
        assert 0 <= accumulator.buffer.records.bytes <= 5000

    harness.send_the_rest()

    assert not accumulator.incomplete
    buffer = accumulator.buffer
    assert (buffer.used, buffer.records.bytes, buffer.waiting) == (0, 0, 0)


# Order.


def test_records_of_a_partition_keep_the_order_in_which_they_were_sent() -> None:
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


def test_deliveries_are_numbered_as_the_records_are_in_their_batch() -> None:
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
def test_records_without_a_key_share_the_batch_of_one_partition_until_it_is_full() -> None:
    harness = Harness(batch_size=1000, buffer_memory=AMPLE)
    harness.introduce(partitions=50)

    partitions = [result_of(harness.append(VALUE)).partition for _ in range(80)]

    batches = [partitions[start : start + 8] for start in range(0, 80, 8)]
    assert [len(set(batch)) for batch in batches] == [1] * 10
    assert len(set(partitions)) > 5


@pytest.mark.scenario("even-share")
def test_records_without_a_key_spread_evenly_over_time() -> None:
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
def test_a_partition_that_was_drained_before_it_had_its_share_stays_the_sticky_one() -> None:
    """A batch of bytes a partition, in however many batches they go."""
    harness = Harness(batch_size=1000, linger=0.0)
    harness.introduce(partitions=50)

    partitions = []
    for _ in range(6):
        partitions.append(result_of(harness.append(VALUE)).partition)
        harness.drain()

    assert len(set(partitions)) == 1


@pytest.mark.scenario("leaderless-partition")
def test_records_without_a_key_leave_a_partition_that_loses_its_leader() -> None:
    harness = Harness()
    harness.introduce(partitions=3)
    first = result_of(harness.append()).partition

    harness.accumulator.set_leader(TOPIC, first, NO_LEADER, 2)

    assert {result_of(harness.append()).partition for _ in range(10)}.isdisjoint({first})


@pytest.mark.scenario("leaderless-partition")
def test_a_keyed_record_waits_in_its_partition_for_a_leader() -> None:
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
        (Partitioner(KeyPartitioner.ROUND_ROBIN), [0, 1, 2, 0]),
        (Partitioner(KeyPartitioner.CRC32), [crc32(b"k") % 3] * 4),
        (Partitioner(custom=lambda _topic, _key, count: count - 1), [2, 2, 2, 2]),
    ],
    ids=["round robin", "crc32", "custom"],
)
@pytest.mark.parametrize("known", [True, False])
def test_other_ways_to_choose_are_heeded_at_once_and_in_line(
    partitioner: Partitioner,
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


def test_a_partitioner_that_raises_fails_the_record_and_nothing_else() -> None:
    def custom(_topic: str, key: bytes | None, _count: int) -> int:
        assert key is not None
        return int(key)

    harness = Harness(partitioner=Partitioner(custom=custom))
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


# Topics and partitions that are not known yet.


@pytest.mark.scenario("missing-topic")
def test_a_record_of_an_unknown_topic_waits_for_it() -> None:
    harness = Harness()
    delivery = harness.append(b"early", topic="late")
    assert harness.wanted == ["late"]
    assert repr(delivery) == "<Delivery late-? pending>"
    assert harness.buffer.waiting == 0

    harness.introduce("late", partitions=3)
    assert harness.buffer.waiting == 1
    harness.accumulator.serve(10)

    harness.now += LINGER
    (batch,) = harness.drain()
    harness.finish(batch, 9)
    assert delivery.result().topic == "late"
    assert delivery.result().offset == 9


def test_who_waits_for_a_topic_is_not_overtaken_by_later_records_of_it() -> None:
    harness = Harness()
    for number in range(3):
        harness.append(b"%d" % number, topic="late", key=b"k")
    harness.introduce("late", partitions=3)

    harness.append(b"3", topic="late", key=b"k")
    harness.accumulator.serve(10)
    harness.append(b"4", topic="late", key=b"k")

    harness.now += LINGER
    assert values_of(harness.drain()) == [b"%d" % number for number in range(5)]


def test_records_of_known_topics_do_not_wait_for_unknown_ones() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append(topic="late")

    harness.append(b"now")

    assert values_of(harness.drain()) == [b"now"]


@pytest.mark.scenario("new-partitions")
def test_a_partition_that_is_not_there_yet_is_waited_for() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=2)
    harness.append(b"early", partition=2)
    assert harness.wanted == [TOPIC]
    assert harness.drain() == []

    harness.introduce(partitions=3)
    harness.accumulator.serve(10)

    assert values_of(harness.drain()) == [b"early"]


@pytest.mark.scenario("new-partitions")
def test_new_partitions_are_used() -> None:
    harness = Harness(buffer_memory=AMPLE)
    harness.introduce(partitions=10)
    assert result_of(harness.append(key=b"foobar")).partition == 6

    harness.introduce(partitions=100)

    assert result_of(harness.append(key=b"foobar")).partition == 66
    assert result_of(harness.append(partition=99)).partition == 99
    unkeyed = {result_of(harness.append(b"v" * 950)).partition for _ in range(300)}
    assert max(unkeyed) > 10


def test_a_record_whose_partition_is_gone_when_its_turn_comes_waits_for_it() -> None:
    harness = full_harness()
    harness.append(b"w", partition=2)
    harness.introduce(partitions=2)
    free_room(harness)

    harness.accumulator.serve(10)
    assert harness.wanted == [TOPIC]
    assert (harness.buffer.waiting, len(harness.buffer.records)) == (0, 1)

    harness.introduce(partitions=3)
    harness.accumulator.serve(10)
    harness.now += LINGER
    assert values_of(harness.drain()) == [b"w"]


def test_a_record_whose_partition_is_gone_for_a_while_is_not_overtaken() -> None:
    harness = full_harness()
    harness.append(b"first", partition=2)
    harness.now += 1
    harness.introduce(partitions=2)
    harness.append(b"second", partition=2)
    free_room(harness)
    harness.accumulator.serve(10)
    assert harness.buffer.records.next_deadline() == START + MAX_BLOCK

    harness.introduce(partitions=3)
    harness.accumulator.serve(10)
    harness.now += LINGER

    assert values_of(harness.drain()) == [b"first", b"second"]


def test_what_is_in_a_partition_that_goes_away_is_kept_until_it_is_back() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=3)
    delivery = harness.append(b"kept", partition=2)

    harness.introduce(partitions=2)
    assert harness.drain() == []
    assert harness.accumulator.outstanding() == [result_of(delivery)]
    harness.introduce(partitions=3)

    assert values_of(harness.drain()) == [b"kept"]


def test_records_without_a_key_leave_a_partition_that_goes_away() -> None:
    harness = Harness()
    harness.introduce(partitions=8)
    while result_of(harness.append(VALUE)).partition < 4:
        pass

    harness.introduce(partitions=4)

    assert all(result_of(harness.append(VALUE)).partition < 4 for _ in range(50))


# What there is.


@pytest.mark.scenario("delivery-timeout")
def test_the_next_deadline_is_that_of_the_oldest_batch_or_waiter() -> None:
    """A retry keeps the age of its batch."""
    harness = Harness(linger=0.0)
    harness.introduce(partitions=2)
    assert harness.accumulator.next_deadline(120.0) == NEVER

    harness.append(partition=0)
    (batch,) = harness.drain()
    harness.now += 10
    harness.append(partition=1)
    harness.schedule.give_back(batch)
    assert harness.accumulator.next_deadline(120.0) == START + 120

    harness.finish(harness.drain(limit=1)[0])
    harness.append(topic="late")
    assert harness.accumulator.next_deadline(30.0) == START + (40 if batch.result.done else 30)
    assert harness.accumulator.next_deadline(120.0) == START + 10 + MAX_BLOCK


def test_all_that_is_accepted_and_not_done_is_outstanding() -> None:
    harness = full_harness()
    waits = harness.append(partition=1)
    unknown = harness.append(topic="late")
    (lingers,) = [batch.result for batch in harness.accumulator.incomplete]

    outstanding = harness.accumulator.outstanding()

    assert len(outstanding) == 3
    assert set(map(id, outstanding)) == set(map(id, (lingers, result_of(waits), result_of(unknown))))
    free_room(harness)
    harness.buffer.reject_all(Rejection(lambda _: ProducerClosedError("over")))
    harness.buffer.fail_rejected()
    assert harness.accumulator.outstanding() == []


def test_a_topic_is_busy_while_something_of_it_is_not_done() -> None:
    harness = Harness(linger=0.0)
    for topic in "abc":
        harness.introduce(topic)
    assert harness.accumulator.busy_topics() == set()

    harness.append(topic="a")
    (batch,) = harness.drain()
    harness.append(topic="b")
    assert harness.accumulator.busy_topics() == {"a", "b"}
    batch.queue.land(batch)
    assert harness.accumulator.busy_topics() == {"a", "b"}
    harness.finish(batch)
    assert harness.accumulator.busy_topics() == {"b"}


def test_a_batch_that_has_expired_on_the_wire_keeps_its_topic_busy() -> None:
    """Its answer is still to come."""
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append()
    (batch,) = harness.drain()

    harness.accumulator.incomplete.discard(batch)
    assert harness.accumulator.busy_topics() == {TOPIC}
    batch.queue.land(batch)

    assert harness.accumulator.busy_topics() == set()


@pytest.mark.scenario("unused-topic")
def test_a_topic_that_is_forgotten_is_asked_for_again() -> None:
    harness = Harness()
    harness.introduce()
    harness.accumulator.forget_topic(TOPIC)
    harness.accumulator.forget_topic(TOPIC)

    harness.append(b"again")

    assert harness.wanted == [TOPIC]


def test_a_topic_knows_when_it_was_last_used() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    topic_queue = harness.accumulator.topics[TOPIC]
    assert topic_queue.last_used == START

    harness.now += 50
    harness.append()

    assert topic_queue.last_used == START + 50


def test_a_topic_keeps_the_id_that_it_has_last_been_seen_with() -> None:
    harness = Harness()
    harness.accumulator.set_partitions(TOPIC, 1, "first")
    harness.accumulator.set_partitions(TOPIC, 1, "second")

    assert harness.accumulator.topics[TOPIC].topic_id == "second"


# Splitting.


def drained_batch(harness: Harness, *values: bytes) -> tuple[ProducerBatch, list[Delivery]]:
    """Have one batch of these records drained from partition 0."""
    deliveries = [harness.append(value, partition=0) for value in values]
    harness.now += LINGER
    (batch,) = harness.drain()
    batch.builder.stamp(-1, -1, -1, transactional=False)
    return batch, deliveries


def split(harness: Harness, batch: ProducerBatch) -> list[ProducerBatch]:
    batch.queue.land(batch)
    pieces = split_batch(batch, 1)
    harness.accumulator.replace(batch, pieces)
    return pieces


@pytest.mark.scenario("split-too-large")
def test_the_pieces_of_a_split_batch_go_before_what_stood_behind_it() -> None:
    harness = Harness()
    harness.introduce()
    batch, deliveries = drained_batch(harness, b"a", b"b", b"c")
    harness.append(b"d", partition=0)

    pieces = split(harness, batch)

    assert harness.buffer.used == sum(one.charged for one in harness.accumulator.incomplete)
    harness.now += LINGER
    drained = harness.drain_all()
    assert values_of(drained) == [b"a", b"b", b"c", b"d"]
    assert drained[:3] == pieces
    for offset, piece in enumerate(drained):
        harness.finish(piece, offset)
    assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]
    assert harness.buffer.used == 0


@pytest.mark.scenario("split-too-large")
def test_the_pieces_go_before_batches_that_are_full_already() -> None:
    harness = Harness(batch_size=HEADER_SIZE + 2 * TAKEN)
    harness.introduce()
    batch, _ = drained_batch(harness, b"a", b"b")
    harness.append(b"c" * 100, partition=0)
    harness.append(b"d" * 100, partition=0)
    harness.append(b"e", partition=0)

    split(harness, batch)

    harness.now += LINGER
    assert values_of(harness.drain_all()) == [b"a", b"b", b"c" * 100, b"d" * 100, b"e"]


@pytest.mark.scenario("delivery-timeout")
def test_the_pieces_expire_when_the_batch_would_have() -> None:
    harness = Harness()
    harness.introduce(partitions=2)
    batch, _ = drained_batch(harness, b"a", b"b")
    harness.now += 10
    harness.append(b"young", partition=1)

    split(harness, batch)

    assert harness.accumulator.next_deadline(120.0) == START + 120
    assert [one.created for one in harness.accumulator.incomplete] == [START, START, START + LINGER + 10]


@pytest.mark.scenario("split-too-large")
def test_the_pieces_do_not_overtake_an_older_batch_that_came_back_before() -> None:
    """The first of two in flight is to be tried again, the second is too large."""
    harness = Harness()
    harness.introduce()
    older, _ = drained_batch(harness, b"older")
    batch, _ = drained_batch(harness, b"a", b"b")
    harness.schedule.give_back(older)

    split(harness, batch)

    assert values_of(harness.drain_all()) == [b"older", b"a", b"b"]


@pytest.mark.scenario("split-too-large")
def test_the_pieces_of_two_batches_that_were_too_large_keep_their_order() -> None:
    """Both were in flight, and are answered one after the other."""
    harness = Harness()
    harness.introduce()
    first, _ = drained_batch(harness, b"a", b"b")
    second, _ = drained_batch(harness, b"c", b"d")

    split(harness, first)
    split(harness, second)

    assert values_of(harness.drain_all()) == [b"a", b"b", b"c", b"d"]


@pytest.mark.scenario("split-too-large")
def test_an_older_batch_that_comes_back_after_a_split_goes_first() -> None:
    harness = Harness()
    harness.introduce()
    older, _ = drained_batch(harness, b"older")
    batch, _ = drained_batch(harness, b"a", b"b", b"c")

    pieces = split(harness, batch)
    assert harness.drain() == pieces[:1]
    harness.schedule.give_back(older)
    harness.schedule.give_back(pieces[0])

    assert values_of(harness.drain_all()) == [b"older", b"a", b"b", b"c"]


# Its cost.


@pytest.mark.parametrize("topics", [1, 2000])
def test_an_append_looks_at_nothing_but_its_own_partition(topics: int) -> None:
    """The cost of a record grows with nothing: an append into an open batch asks the harness nothing."""
    harness = Harness(buffer_memory=AMPLE, batch_size=AMPLE)
    for number in range(topics):
        harness.introduce(f"topic-{number}")
        harness.append(topic=f"topic-{number}")
    harness.asked.clear()

    for _ in range(100):
        harness.append(topic="topic-0")

    assert harness.asked == []


# A partitioner that itself sends.


def harness_whose_partitioner_sends(inner: bytes) -> Harness:
    """Make an accumulator that gets `inner` for partition 1 while a partition is chosen."""
    sent: list[Delivery] = []

    def custom(_topic: str, _key: bytes | None, _count: int) -> int:
        if not sent:
            sent.append(harness.append(inner, partition=1))
        return 0

    harness = Harness(buffer_memory=1000, batch_size=AMPLE, partitioner=Partitioner(custom=custom))
    harness.introduce(partitions=2)
    return harness


def test_a_record_whose_room_is_taken_while_its_partition_is_chosen_stands_in_line() -> None:
    harness = harness_whose_partitioner_sends(b"i" * 800)

    outer = harness.append(b"o" * 500, key=b"k", headers={"h": b"1"}, timestamp_ms=5)

    (record,) = harness.buffer.records.records()
    assert record.delivery is outer
    assert (record.topic, record.partition, record.timestamp) == (TOPIC, -1, 5)
    assert (record.key, record.value, record.section) == (b"k", b"o" * 500, encode_headers({"h": b"1"}))


def test_a_record_does_not_overtake_what_its_partitioner_has_put_in_line() -> None:
    harness = harness_whose_partitioner_sends(b"i" * 800)
    harness.append(b"o" * 300, partition=0)

    harness.append(b"small")

    assert [record.value for record in harness.buffer.records.records()] == [b"i" * 800, b"small"]


def test_a_record_that_just_fits_into_what_its_partitioner_leaves_is_placed() -> None:
    probe = harness_whose_partitioner_sends(b"")
    probe.append(b"i", partition=1)
    harness = harness_whose_partitioner_sends(b"i")

    harness.append(b"o" * (1000 - probe.buffer.used - OVERHEAD))

    assert len(harness.buffer.records) == 0


# Things that happen rarely.


def test_every_record_of_a_batch_keeps_its_headers() -> None:
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
def test_a_record_without_a_key_that_fits_to_the_byte_stays_in_its_batch() -> None:
    harness = Harness(batch_size=TAKEN + ASKED)
    harness.introduce(partitions=50)
    first = harness.append(VALUE)
    harness.accumulator.topics[TOPIC].sticky.produced = AMPLE

    second = harness.append(VALUE)

    assert result_of(second) is result_of(first)


def test_what_has_lingered_less_than_half_as_long_stays() -> None:
    harness = Harness()
    harness.introduce(partitions=2)
    harness.append(b"old", partition=0)
    harness.now = START + LINGER * 0.6
    harness.append(b"young", partition=1)
    harness.now = START + LINGER

    assert values_of(harness.drain()) == [b"old"]


def test_what_has_lingered_and_was_held_back_stands_in_line_for_its_node_once() -> None:
    harness = Harness(batch_size=HEADER_SIZE + 2 * TAKEN)
    harness.introduce()
    harness.append(VALUE)
    harness.now += LINGER
    node = harness.schedule.node(LEADER)
    assert harness.schedule.drain(node, harness.now, AMPLE, lambda _queue, _batch: False) == []

    for _ in range(3):
        harness.append(VALUE)

    assert [batch.count for batch in harness.drain()] == [2]


def test_a_flush_has_what_is_sent_meanwhile_looked_at_at_once() -> None:
    harness = Harness()
    harness.introduce()
    harness.schedule.flush_started()

    harness.append(b"meanwhile")

    assert harness.woken == [(LEADER, START)]


def test_a_topic_spreads_its_records_as_the_producer_is_told_to() -> None:
    harness = Harness()
    assert harness.accumulator.sticky_options == (True, 0.0)
    harness.accumulator.sticky_options = (False, 3.0)
    harness.introduce()

    sticky = harness.accumulator.topics[TOPIC].sticky

    assert (sticky.adaptive, sticky.availability_timeout) == (False, 3.0)


def test_an_interrupt_in_the_partitioner_fails_the_one_record_whose_turn_it_was() -> None:
    def custom(_topic: str, _key: bytes | None, _count: int) -> int:
        raise KeyboardInterrupt

    harness = Harness(partitioner=Partitioner(custom=custom))
    first, second = harness.append(b"1"), harness.append(b"2")
    harness.introduce()

    with pytest.raises(KeyboardInterrupt):
        harness.accumulator.serve(10)

    error = first.exception()
    assert isinstance(error, PartitionerError)
    assert error.topic == TOPIC
    assert result_of(first).count == 1
    assert [record.delivery for record in harness.buffer.records.records()] == [second]
