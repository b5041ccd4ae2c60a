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
from aioproducer.core.checks import MAX_TIMESTAMP
from aioproducer.core.line import Dismissal
from aioproducer.core.partitioner import KeyPartitioner, Partitioner
from aioproducer.core.producer_batch import NEVER, NO_LEADER
from aioproducer.core.split import split_batch
from aioproducer.delivery import result_of
from aioproducer.errors import (
    BufferExhaustedError,
    PartitionerError,
    ProducerClosedError,
    RecordTooLargeError,
)
from aioproducer.records.batch import HEADER_SIZE, encode_headers
from aioproducer.records.murmur2 import partition_of_key
from tests.core.shell import (
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
    Shell,
    free_room,
    full_shell,
    records_of,
    values_of,
)

if TYPE_CHECKING:
    from aioproducer.core.producer_batch import ProducerBatch
    from aioproducer.delivery import Delivery


# What a record is made of.


@pytest.mark.scenario(14)
def test_a_record_is_written_as_it_was_given() -> None:
    shell = Shell()
    shell.introduce()

    shell.append(b"value", key=b"key", timestamp_ms=5, headers=[("a", b"1"), ("a", None)])
    shell.append(None, key=None, timestamp_ms=0)
    shell.append(b"", key=b"", timestamp_ms=MAX_TIMESTAMP, headers={})
    shell.append(bytearray(b"array"), key=memoryview(b"view"))

    (batch,) = (shell.queue().open,)
    assert batch is not None
    assert [(r.timestamp_ms, r.key, r.value, r.headers) for r in records_of(batch)] == [
        (5, b"key", b"value", (("a", b"1"), ("a", None))),
        (0, None, None, ()),
        (MAX_TIMESTAMP, b"", b"", ()),
        (WALL_CLOCK_MS, b"view", b"array", ()),
    ]


@pytest.mark.parametrize("known", [True, False])
def test_what_is_given_may_be_changed_afterwards(known: bool) -> None:  # noqa: FBT001 - a parameter
    shell = Shell()
    if known:
        shell.introduce()
    value = bytearray(b"before")
    headers: list[tuple[str, bytes | None]] = [("a", b"1")]

    shell.append(value, key=memoryview(value), headers=headers)
    value[:] = b"after!"
    headers.clear()
    shell.introduce()
    shell.accumulator.serve_line(1)

    shell.now += LINGER
    (record,) = records_of(shell.drain()[0])
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
    shell = Shell()
    shell.introduce()
    shell.append(b"first")
    batch = shell.queue().open
    assert batch is not None
    before = (bytes(batch.builder.buffer), shell.accumulator.used, batch.charged, batch.count)

    with pytest.raises(TypeError, match=words):
        shell.append(**{"value": b"second", **wrong})

    assert (bytes(batch.builder.buffer), shell.accumulator.used, batch.charged, batch.count) == before
    assert len(shell.accumulator.line) == 0


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
    shell = Shell()
    shell.introduce()

    with pytest.raises(ValueError, match=words):
        shell.append(topic=topic, **wrong)

    assert len(shell.accumulator.line) == 0


def test_members_of_enums_are_the_values_that_they_are() -> None:
    """Whether the topic is known already or not."""

    class Name(StrEnum):
        ORDERS = TOPIC

    class Number(IntEnum):
        SECOND = 1

    shell = Shell()
    shell.append(b"early", topic=Name.ORDERS, partition=Number.SECOND, timestamp_ms=Number.SECOND)
    shell.introduce(partitions=2)
    shell.accumulator.serve_line(10)
    shell.append(b"late", topic=Name.ORDERS, partition=Number.SECOND, timestamp_ms=Number.SECOND)

    shell.now += LINGER
    (batch,) = shell.drain()
    assert values_of([batch]) == [b"early", b"late"]
    assert type(batch.result.topic) is str


# The sizes of records and batches.


@pytest.mark.scenario(3)
def test_a_record_larger_than_a_batch_has_one_of_its_own() -> None:
    shell = Shell(batch_size=500)
    shell.introduce()

    shell.append(b"before")
    shell.append(b"v" * 5000)
    shell.append(b"after")

    assert [values_of([batch]) for batch in shell.drain_all()] == [[b"before"], [b"v" * 5000]]
    shell.now += LINGER
    assert values_of(shell.drain()) == [b"after"]


@pytest.mark.scenario(4, 5)
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
    shell = Shell(**options)  # type: ignore[arg-type] # only numbers
    shell.introduce()

    shell.append(b"v" * (limit - OVERHEAD), topic=topic)
    before = shell.accumulator.used
    with pytest.raises(RecordTooLargeError, match=f"than the {limit} bytes that {option} allows") as raised:
        shell.append(b"v" * (limit - OVERHEAD + 1), topic=topic)

    assert (raised.value.topic, raised.value.size, raised.value.limit) == (topic, limit + 1, limit)
    assert shell.accumulator.used == before


@pytest.mark.scenario(4)
def test_keys_and_headers_count_too() -> None:
    shell = Shell(max_request_size=1000)
    shell.introduce()

    with pytest.raises(RecordTooLargeError):
        shell.append(b"v" * 500, key=b"k" * 500)
    with pytest.raises(RecordTooLargeError):
        shell.append(b"v" * 500, headers={"h": b"x" * 500})
    assert shell.accumulator.used == 0


def test_a_topic_may_have_larger_batches_than_others() -> None:
    shell = Shell(batch_size=500)
    shell.introduce("a")
    shell.introduce("b")
    shell.accumulator.topics["b"].batch_limit = 2000

    for topic in "ab":
        for _ in range(10):
            shell.append(VALUE, topic=topic)

    counts = Counter(dict.fromkeys("ab", 0))
    shell.now += LINGER
    for batch in shell.drain_all():
        counts[batch.queue.topic] = max(counts[batch.queue.topic], batch.count)
    assert counts["a"] == 4
    assert counts["b"] == 10


# Memory.


def test_a_batch_is_charged_what_it_takes_until_it_is_released() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=2)
    assert shell.accumulator.used == 0

    shell.append(VALUE, partition=0)
    shell.append(VALUE, partition=0)
    assert shell.accumulator.used == HEADER_SIZE + 2 * TAKEN
    shell.append(VALUE, partition=1)
    assert shell.accumulator.used == 2 * HEADER_SIZE + 3 * TAKEN

    first, second = shell.drain()
    assert shell.accumulator.used == 2 * HEADER_SIZE + 3 * TAKEN
    assert first.charged == first.size
    shell.accumulator.release(first)
    assert shell.accumulator.used == second.charged
    shell.accumulator.release(first)
    assert shell.accumulator.used == second.charged
    shell.accumulator.release(second)
    assert shell.accumulator.used == 0


def test_a_retry_is_not_charged_twice() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    shell.append(VALUE)
    before = shell.accumulator.used

    for _ in range(3):
        (batch,) = shell.drain()
        shell.schedule.give_back(batch)

    assert shell.accumulator.used == before
    shell.finish(shell.drain()[0])
    assert shell.accumulator.used == 0


@pytest.mark.scenario(6)
def test_a_record_that_finds_no_room_waits_in_line_until_there_is_some() -> None:
    shell = full_shell()
    delivery = shell.append(b"w" * 100, partition=1)
    assert not delivery.done()
    assert (len(shell.accumulator.line), shell.accumulator.line.bytes) == (1, ASKED)
    assert shell.accumulator.serve_line(10) is False

    free_room(shell)
    assert shell.accumulator.serve_line(10) is False

    assert len(shell.accumulator.line) == 0
    assert shell.accumulator.waiting == 0
    shell.now += LINGER
    (batch,) = shell.drain()
    assert values_of([batch]) == [b"w" * 100]
    shell.finish(batch, 40)
    assert delivery.result().offset == 40


@pytest.mark.scenario(6)
async def test_who_waits_for_a_record_in_line_gets_the_offset_of_that_record() -> None:
    """Awaited and called back before it has a place."""
    shell = Shell(linger=0.0)
    shell.accumulator.loop = asyncio.get_running_loop()
    deliveries = [shell.append(b"%d" % number, timestamp_ms=number) for number in range(3)]
    futures = [delivery.future() for delivery in deliveries]
    settled = [result.settled() for result in shell.accumulator.outstanding()]
    called: list[int] = []
    deliveries[2].add_done_callback(lambda done: called.append(done.result().offset))

    shell.introduce()
    shell.accumulator.serve_line(10)
    assert not any(future.done() for future in futures)
    assert not any(future.done() for future in settled)
    shell.finish(shell.drain()[0], 40)

    async with asyncio.timeout(5):
        await asyncio.gather(*settled)
        given = await asyncio.gather(*futures)
    assert [metadata.offset for metadata in given] == [40, 41, 42]
    assert [metadata.timestamp_ms for metadata in given] == [0, 1, 2]
    assert called == [42]


@pytest.mark.scenario(6)
def test_nobody_overtakes_who_waits_for_room() -> None:
    """Not even a record that would fit."""
    shell = full_shell(room=20)
    shell.append(b"w" * 500, partition=1)
    shell.append(b"tiny", partition=1)
    shell.append(b"other", partition=2)
    assert len(shell.accumulator.line) == 3

    free_room(shell)
    shell.accumulator.serve_line(100)

    shell.now += LINGER
    assert values_of(shell.drain()) == [b"w" * 500, b"tiny", b"other"]


@pytest.mark.scenario(6)
def test_the_line_is_served_as_far_as_there_is_room() -> None:
    """A freed batch serves the oldest waiters."""
    shell = Shell(buffer_memory=1000, batch_size=1)
    shell.introduce()
    accepted = [shell.append(VALUE) for _ in range(8)]
    placed = [delivery for delivery in accepted if repr(result_of(delivery)) in ids(shell)]
    assert len(placed) == 5
    assert len(shell.accumulator.line) == 3

    shell.finish(shell.drain()[0])
    assert shell.accumulator.serve_line(10) is False

    assert len(shell.accumulator.line) == 2
    assert shell.accumulator.used <= 1000


def ids(shell: Shell) -> set[str]:
    return {repr(batch.result) for batch in shell.accumulator.incomplete}


def test_the_line_is_served_in_slices() -> None:
    shell = Shell(buffer_memory=10_000)
    for number in range(5):
        shell.append(b"%d" % number)
    shell.introduce()

    assert shell.accumulator.serve_line(2) is True
    assert shell.accumulator.waiting == 3
    assert shell.accumulator.serve_line(2) is True
    assert shell.accumulator.serve_line(2) is False
    assert shell.accumulator.waiting == 0
    shell.now += LINGER
    assert values_of(shell.drain_all()) == [b"%d" % number for number in range(5)]


@pytest.mark.scenario(6)
def test_a_line_that_is_full_too_is_told_at_once() -> None:
    shell = full_shell()
    for _ in range(5):
        shell.append(VALUE)
    line = shell.accumulator.line
    assert line.bytes + ASKED > 1000

    with pytest.raises(BufferExhaustedError, match=r"of 1000 bytes \(buffer_memory\).*await drain\(\)"):
        shell.append(VALUE)

    assert len(line) == 5
    assert line.bytes <= 1000


@pytest.mark.scenario(6, 7)
def test_a_record_that_has_waited_too_long_leaves_nothing_behind() -> None:
    shell = full_shell()
    delivery = shell.append(VALUE, partition=1)
    used_before = shell.accumulator.used
    shell.now += MAX_BLOCK - 1
    later = shell.append(b"later", partition=1)
    assert shell.accumulator.next_deadline(NEVER) == START + MAX_BLOCK

    (expired,) = shell.accumulator.line.expire_for_room(START + MAX_BLOCK)
    shell.accumulator.left_line(1)

    assert expired.delivery is delivery
    assert shell.accumulator.used == used_before
    free_room(shell)
    shell.accumulator.serve_line(10)
    shell.now += LINGER
    assert values_of(shell.drain()) == [b"later"]
    assert result_of(later).partition == 1
    assert shell.accumulator.line.bytes == 0


@pytest.mark.scenario(7)
def test_memory_comes_back_to_nothing_after_everything() -> None:
    order = random.Random(9)  # noqa: S311 - nothing is secret
    shell = Shell(buffer_memory=5000, batch_size=600)
    shell.introduce(partitions=4)
    accumulator = shell.accumulator
    for _ in range(500):
        try:
            shell.append(b"v" * order.randrange(300), key=order.choice([None, b"a", b"b"]))
        except BufferExhaustedError:
            for batch in shell.drain_all():
                shell.finish(batch)
            accumulator.serve_line(100)
        assert 0 <= accumulator.used <= 5000
        assert 0 <= accumulator.line.bytes <= 5000

    shell.send_the_rest()

    assert not accumulator.incomplete
    assert (accumulator.used, accumulator.line.bytes, accumulator.waiting) == (0, 0, 0)


# Order.


def test_records_of_a_partition_keep_the_order_in_which_they_were_sent() -> None:
    shell = Shell(batch_size=300, buffer_memory=2000)
    shell.introduce(partitions=3)
    sent: dict[bytes, list[bytes]] = {b"a": [], b"b": [], b"c": []}
    landed: list[bytes | None] = []
    for number in range(60):
        key = b"abc"[number % 3 : number % 3 + 1]
        value = key + b"%03d" % number * 10
        shell.append(value, key=key)
        sent[key].append(value)
        if number % 7 == 0:
            for batch in shell.drain_all():
                landed += values_of([batch])
                shell.finish(batch)
            shell.accumulator.serve_line(100)
    landed += values_of(shell.send_the_rest())

    for key, values in sent.items():
        assert [value for value in landed if value is not None and value.startswith(key)] == values


def test_deliveries_are_numbered_as_the_records_are_in_their_batch() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    deliveries = [shell.append(b"%d" % number, timestamp_ms=number) for number in range(5)]

    (batch,) = shell.drain()
    shell.finish(batch, 100)

    assert [delivery.result().offset for delivery in deliveries] == [100, 101, 102, 103, 104]
    assert [delivery.result().timestamp_ms for delivery in deliveries] == [0, 1, 2, 3, 4]


# Which partition.


@pytest.mark.scenario(45)
def test_a_key_goes_to_its_partition() -> None:
    shell = Shell()
    shell.introduce(partitions=10)

    for key in (b"foobar", b"abc", b"", b"key"):
        assert result_of(shell.append(key=key)).partition == partition_of_key(key, 10)


@pytest.mark.scenario(46)
def test_records_without_a_key_share_the_batch_of_one_partition_until_it_is_full() -> None:
    shell = Shell(batch_size=1000, buffer_memory=AMPLE)
    shell.introduce(partitions=50)

    partitions = [result_of(shell.append(VALUE)).partition for _ in range(80)]

    batches = [partitions[start : start + 8] for start in range(0, 80, 8)]
    assert [len(set(batch)) for batch in batches] == [1] * 10
    assert len(set(partitions)) > 5


@pytest.mark.scenario(47)
def test_records_without_a_key_spread_evenly_over_time() -> None:
    shell = Shell(batch_size=1000, linger=0.0, buffer_memory=AMPLE)
    shell.introduce(partitions=4)
    counts: Counter[int] = Counter()

    for number in range(16_000):
        counts[result_of(shell.append(VALUE)).partition] += 1
        if number % 5 == 0:
            for batch in shell.drain():
                shell.finish(batch)

    assert counts == {partition: pytest.approx(4000, rel=0.15) for partition in range(4)}


@pytest.mark.scenario(46)
def test_a_partition_that_was_drained_before_it_had_its_share_stays_the_sticky_one() -> None:
    """A batch of bytes a partition, in however many batches they go."""
    shell = Shell(batch_size=1000, linger=0.0)
    shell.introduce(partitions=50)

    partitions = []
    for _ in range(6):
        partitions.append(result_of(shell.append(VALUE)).partition)
        shell.drain()

    assert len(set(partitions)) == 1


@pytest.mark.scenario(50)
def test_records_without_a_key_leave_a_partition_that_loses_its_leader() -> None:
    shell = Shell()
    shell.introduce(partitions=3)
    first = result_of(shell.append()).partition

    shell.accumulator.set_leader(TOPIC, first, NO_LEADER, 2)

    assert {result_of(shell.append()).partition for _ in range(10)}.isdisjoint({first})


@pytest.mark.scenario(50)
def test_a_keyed_record_waits_in_its_partition_for_a_leader() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=10)
    shell.accumulator.set_leader(TOPIC, 6, NO_LEADER, 2)

    shell.append(b"patient", key=b"foobar")
    assert shell.drain() == []
    shell.accumulator.set_leader(TOPIC, 6, OTHER, 3)

    assert values_of(shell.drain(OTHER)) == [b"patient"]


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
    shell = Shell(partitioner=partitioner)
    if known:
        shell.introduce(partitions=3)
    deliveries = [shell.append(key=b"k") for _ in range(4)]
    if not known:
        shell.introduce(partitions=3)
        shell.accumulator.serve_line(10)

    assert [result_of(delivery).partition for delivery in deliveries] == expected
    assert result_of(shell.append(key=b"k", partition=1)).partition == 1


def test_a_partitioner_that_raises_fails_the_record_and_nothing_else() -> None:
    def custom(_topic: str, key: bytes | None, _count: int) -> int:
        assert key is not None
        return int(key)

    shell = Shell(partitioner=Partitioner(custom=custom))
    early = [shell.append(key=key) for key in (b"1", b"nonsense", b"0", b"7")]
    shell.introduce(partitions=2)
    shell.accumulator.serve_line(10)

    with pytest.raises(PartitionerError, match="raised ValueError"):
        shell.append(key=b"nonsense")
    with pytest.raises(PartitionerError, match="chose 2"):
        shell.append(key=b"2")

    assert [delivery.done() for delivery in early] == [False, True, False, True]
    assert isinstance(early[1].exception(), PartitionerError)
    assert isinstance(early[3].exception(), PartitionerError)
    assert [result_of(early[0]).partition, result_of(early[2]).partition] == [1, 0]
    assert len(shell.accumulator.line) == 0


# Topics and partitions that are not known yet.


@pytest.mark.scenario(52)
def test_a_record_of_an_unknown_topic_waits_for_it() -> None:
    shell = Shell()
    delivery = shell.append(b"early", topic="late")
    assert shell.wanted == ["late"]
    assert repr(delivery) == "<Delivery late-? pending>"
    assert shell.accumulator.waiting == 0

    shell.introduce("late", partitions=3)
    assert shell.accumulator.waiting == 1
    shell.accumulator.serve_line(10)

    shell.now += LINGER
    (batch,) = shell.drain()
    shell.finish(batch, 9)
    assert delivery.result().topic == "late"
    assert delivery.result().offset == 9


def test_who_waits_for_a_topic_is_not_overtaken_by_later_records_of_it() -> None:
    shell = Shell()
    for number in range(3):
        shell.append(b"%d" % number, topic="late", key=b"k")
    shell.introduce("late", partitions=3)

    shell.append(b"3", topic="late", key=b"k")
    shell.accumulator.serve_line(10)
    shell.append(b"4", topic="late", key=b"k")

    shell.now += LINGER
    assert values_of(shell.drain()) == [b"%d" % number for number in range(5)]


def test_records_of_known_topics_do_not_wait_for_unknown_ones() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    shell.append(topic="late")

    shell.append(b"now")

    assert values_of(shell.drain()) == [b"now"]


@pytest.mark.scenario(51)
def test_a_partition_that_is_not_there_yet_is_waited_for() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=2)
    shell.append(b"early", partition=2)
    assert shell.wanted == [TOPIC]
    assert shell.drain() == []

    shell.introduce(partitions=3)
    shell.accumulator.serve_line(10)

    assert values_of(shell.drain()) == [b"early"]


@pytest.mark.scenario(51)
def test_new_partitions_are_used() -> None:
    shell = Shell(buffer_memory=AMPLE)
    shell.introduce(partitions=10)
    assert result_of(shell.append(key=b"foobar")).partition == 6

    shell.introduce(partitions=100)

    assert result_of(shell.append(key=b"foobar")).partition == 66
    assert result_of(shell.append(partition=99)).partition == 99
    unkeyed = {result_of(shell.append(b"v" * 950)).partition for _ in range(300)}
    assert max(unkeyed) > 10


def test_a_record_whose_partition_is_gone_when_its_turn_comes_waits_for_it() -> None:
    shell = full_shell()
    shell.append(b"w", partition=2)
    shell.introduce(partitions=2)
    free_room(shell)

    shell.accumulator.serve_line(10)
    assert shell.wanted == [TOPIC]
    assert (shell.accumulator.waiting, len(shell.accumulator.line)) == (0, 1)

    shell.introduce(partitions=3)
    shell.accumulator.serve_line(10)
    shell.now += LINGER
    assert values_of(shell.drain()) == [b"w"]


def test_a_record_whose_partition_is_gone_for_a_while_is_not_overtaken() -> None:
    shell = full_shell()
    shell.append(b"first", partition=2)
    shell.now += 1
    shell.introduce(partitions=2)
    shell.append(b"second", partition=2)
    free_room(shell)
    shell.accumulator.serve_line(10)
    assert shell.accumulator.line.next_deadline() == START + MAX_BLOCK

    shell.introduce(partitions=3)
    shell.accumulator.serve_line(10)
    shell.now += LINGER

    assert values_of(shell.drain()) == [b"first", b"second"]


def test_what_is_in_a_partition_that_goes_away_is_kept_until_it_is_back() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=3)
    delivery = shell.append(b"kept", partition=2)

    shell.introduce(partitions=2)
    assert shell.drain() == []
    assert shell.accumulator.outstanding() == [result_of(delivery)]
    shell.introduce(partitions=3)

    assert values_of(shell.drain()) == [b"kept"]


def test_records_without_a_key_leave_a_partition_that_goes_away() -> None:
    shell = Shell()
    shell.introduce(partitions=8)
    while result_of(shell.append(VALUE)).partition < 4:
        pass

    shell.introduce(partitions=4)

    assert all(result_of(shell.append(VALUE)).partition < 4 for _ in range(50))


# What there is.


@pytest.mark.scenario(21)
def test_the_next_deadline_is_that_of_the_oldest_batch_or_waiter() -> None:
    """A retry keeps the age of its batch."""
    shell = Shell(linger=0.0)
    shell.introduce(partitions=2)
    assert shell.accumulator.next_deadline(120.0) == NEVER

    shell.append(partition=0)
    (batch,) = shell.drain()
    shell.now += 10
    shell.append(partition=1)
    shell.schedule.give_back(batch)
    assert shell.accumulator.next_deadline(120.0) == START + 120

    shell.finish(shell.drain(limit=1)[0])
    shell.append(topic="late")
    assert shell.accumulator.next_deadline(30.0) == START + (40 if batch.result.done else 30)
    assert shell.accumulator.next_deadline(120.0) == START + 10 + MAX_BLOCK


def test_all_that_is_accepted_and_not_done_is_outstanding() -> None:
    shell = full_shell()
    waits = shell.append(partition=1)
    unknown = shell.append(topic="late")
    (lingers,) = [batch.result for batch in shell.accumulator.incomplete]

    outstanding = shell.accumulator.outstanding()

    assert len(outstanding) == 3
    assert set(map(id, outstanding)) == set(map(id, (lingers, result_of(waits), result_of(unknown))))
    free_room(shell)
    shell.accumulator.line.send_all_away(Dismissal(lambda _: ProducerClosedError("over")))
    shell.accumulator.line.see_off()
    assert shell.accumulator.outstanding() == []


def test_a_topic_is_busy_while_something_of_it_is_not_done() -> None:
    shell = Shell(linger=0.0)
    for topic in "abc":
        shell.introduce(topic)
    assert shell.accumulator.busy_topics() == set()

    shell.append(topic="a")
    (batch,) = shell.drain()
    shell.append(topic="b")
    assert shell.accumulator.busy_topics() == {"a", "b"}
    shell.schedule.landed(batch)
    assert shell.accumulator.busy_topics() == {"a", "b"}
    shell.finish(batch)
    assert shell.accumulator.busy_topics() == {"b"}


def test_a_batch_that_has_expired_on_the_wire_keeps_its_topic_busy() -> None:
    """Its answer is still to come."""
    shell = Shell(linger=0.0)
    shell.introduce()
    shell.append()
    (batch,) = shell.drain()

    shell.accumulator.incomplete.pop(batch, None)
    assert shell.accumulator.busy_topics() == {TOPIC}
    shell.schedule.landed(batch)

    assert shell.accumulator.busy_topics() == set()


@pytest.mark.scenario(53)
def test_a_topic_that_is_forgotten_is_asked_for_again() -> None:
    shell = Shell()
    shell.introduce()
    shell.accumulator.forget_topic(TOPIC)
    shell.accumulator.forget_topic(TOPIC)

    shell.append(b"again")

    assert shell.wanted == [TOPIC]


def test_a_topic_knows_when_it_was_last_used() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    topic_queue = shell.accumulator.topics[TOPIC]
    assert topic_queue.last_used == START

    shell.now += 50
    shell.append()

    assert topic_queue.last_used == START + 50


def test_a_topic_keeps_the_id_that_it_has_last_been_seen_with() -> None:
    shell = Shell()
    shell.accumulator.set_partitions(TOPIC, 1, "first")
    shell.accumulator.set_partitions(TOPIC, 1, "second")

    assert shell.accumulator.topics[TOPIC].topic_id == "second"


# Splitting.


def drained_batch(shell: Shell, *values: bytes) -> tuple[ProducerBatch, list[Delivery]]:
    """Have one batch of these records drained from partition 0."""
    deliveries = [shell.append(value, partition=0) for value in values]
    shell.now += LINGER
    (batch,) = shell.drain()
    batch.builder.stamp(-1, -1, -1, transactional=False)
    return batch, deliveries


def split(shell: Shell, batch: ProducerBatch) -> list[ProducerBatch]:
    shell.schedule.landed(batch)
    pieces = split_batch(batch, 1)
    shell.accumulator.replace(batch, pieces)
    return pieces


@pytest.mark.scenario(22)
def test_the_pieces_of_a_split_batch_go_before_what_stood_behind_it() -> None:
    shell = Shell()
    shell.introduce()
    batch, deliveries = drained_batch(shell, b"a", b"b", b"c")
    shell.append(b"d", partition=0)

    pieces = split(shell, batch)

    assert shell.accumulator.used == sum(one.charged for one in shell.accumulator.incomplete)
    shell.now += LINGER
    drained = shell.drain_all()
    assert values_of(drained) == [b"a", b"b", b"c", b"d"]
    assert drained[:3] == pieces
    for offset, piece in enumerate(drained):
        shell.finish(piece, offset)
    assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]
    assert shell.accumulator.used == 0


@pytest.mark.scenario(22)
def test_the_pieces_go_before_batches_that_are_full_already() -> None:
    shell = Shell(batch_size=HEADER_SIZE + 2 * TAKEN)
    shell.introduce()
    batch, _ = drained_batch(shell, b"a", b"b")
    shell.append(b"c" * 100, partition=0)
    shell.append(b"d" * 100, partition=0)
    shell.append(b"e", partition=0)

    split(shell, batch)

    shell.now += LINGER
    assert values_of(shell.drain_all()) == [b"a", b"b", b"c" * 100, b"d" * 100, b"e"]


@pytest.mark.scenario(21)
def test_the_pieces_expire_when_the_batch_would_have() -> None:
    shell = Shell()
    shell.introduce(partitions=2)
    batch, _ = drained_batch(shell, b"a", b"b")
    shell.now += 10
    shell.append(b"young", partition=1)

    split(shell, batch)

    assert shell.accumulator.next_deadline(120.0) == START + 120
    assert [one.created for one in shell.accumulator.incomplete] == [START, START, START + LINGER + 10]


@pytest.mark.scenario(22)
def test_the_pieces_do_not_overtake_an_older_batch_that_came_back_before() -> None:
    """The first of two in flight is to be tried again, the second is too large."""
    shell = Shell()
    shell.introduce()
    older, _ = drained_batch(shell, b"older")
    batch, _ = drained_batch(shell, b"a", b"b")
    shell.schedule.give_back(older)

    split(shell, batch)

    assert values_of(shell.drain_all()) == [b"older", b"a", b"b"]


@pytest.mark.scenario(22)
def test_the_pieces_of_two_batches_that_were_too_large_keep_their_order() -> None:
    """Both were in flight, and are answered one after the other."""
    shell = Shell()
    shell.introduce()
    first, _ = drained_batch(shell, b"a", b"b")
    second, _ = drained_batch(shell, b"c", b"d")

    split(shell, first)
    split(shell, second)

    assert values_of(shell.drain_all()) == [b"a", b"b", b"c", b"d"]


@pytest.mark.scenario(22)
def test_an_older_batch_that_comes_back_after_a_split_goes_first() -> None:
    shell = Shell()
    shell.introduce()
    older, _ = drained_batch(shell, b"older")
    batch, _ = drained_batch(shell, b"a", b"b", b"c")

    pieces = split(shell, batch)
    assert shell.drain() == pieces[:1]
    shell.schedule.give_back(older)
    shell.schedule.give_back(pieces[0])

    assert values_of(shell.drain_all()) == [b"older", b"a", b"b", b"c"]


# Its cost.


@pytest.mark.parametrize("topics", [1, 2000])
def test_an_append_looks_at_nothing_but_its_own_partition(topics: int) -> None:
    """The cost of a record grows with nothing: an append into an open batch asks the shell nothing."""
    shell = Shell(buffer_memory=AMPLE, batch_size=AMPLE)
    for number in range(topics):
        shell.introduce(f"topic-{number}")
        shell.append(topic=f"topic-{number}")
    calls: list[str] = []
    shell.accumulator.guard = lambda: calls.append("guard")
    clock = shell.accumulator.clock

    def counted() -> float:
        calls.append("clock")
        return clock()

    shell.accumulator.clock = counted

    for _ in range(100):
        shell.append(topic="topic-0")

    assert calls == []


# A partitioner that itself sends.


def shell_whose_partitioner_sends(inner: bytes) -> Shell:
    """Make an accumulator that gets `inner` for partition 1 while a partition is chosen."""
    sent: list[Delivery] = []

    def custom(_topic: str, _key: bytes | None, _count: int) -> int:
        if not sent:
            sent.append(shell.append(inner, partition=1))
        return 0

    shell = Shell(buffer_memory=1000, batch_size=AMPLE, partitioner=Partitioner(custom=custom))
    shell.introduce(partitions=2)
    return shell


def test_a_record_whose_room_is_taken_while_its_partition_is_chosen_stands_in_line() -> None:
    shell = shell_whose_partitioner_sends(b"i" * 800)

    outer = shell.append(b"o" * 500, key=b"k", headers={"h": b"1"}, timestamp_ms=5)

    (record,) = shell.accumulator.line.records()
    assert record.delivery is outer
    assert (record.topic, record.partition, record.timestamp) == (TOPIC, -1, 5)
    assert (record.key, record.value, record.section) == (b"k", b"o" * 500, encode_headers({"h": b"1"}))


def test_a_record_does_not_overtake_what_its_partitioner_has_put_in_line() -> None:
    shell = shell_whose_partitioner_sends(b"i" * 800)
    shell.append(b"o" * 300, partition=0)

    shell.append(b"small")

    assert [record.value for record in shell.accumulator.line.records()] == [b"i" * 800, b"small"]


def test_a_record_that_just_fits_into_what_its_partitioner_leaves_is_placed() -> None:
    probe = shell_whose_partitioner_sends(b"")
    probe.append(b"i", partition=1)
    shell = shell_whose_partitioner_sends(b"i")

    shell.append(b"o" * (1000 - probe.accumulator.used - OVERHEAD))

    assert len(shell.accumulator.line) == 0


# Things that happen rarely.


def test_every_record_of_a_batch_keeps_its_headers() -> None:
    shell = Shell()
    shell.introduce()
    for number in range(3):
        shell.append(b"v", headers={"number": b"%d" % number}, partition=0)

    shell.now += LINGER
    (batch,) = shell.drain()

    assert [list(record.headers) for record in records_of(batch)] == [
        [("number", b"%d" % number)] for number in range(3)
    ]


@pytest.mark.scenario(46)
def test_a_record_without_a_key_that_fits_to_the_byte_stays_in_its_batch() -> None:
    shell = Shell(batch_size=TAKEN + ASKED)
    shell.introduce(partitions=50)
    first = shell.append(VALUE)
    shell.accumulator.topics[TOPIC].sticky.produced = AMPLE

    second = shell.append(VALUE)

    assert result_of(second) is result_of(first)


def test_what_has_lingered_less_than_half_as_long_stays() -> None:
    shell = Shell()
    shell.introduce(partitions=2)
    shell.append(b"old", partition=0)
    shell.now = START + LINGER * 0.6
    shell.append(b"young", partition=1)
    shell.now = START + LINGER

    assert values_of(shell.drain()) == [b"old"]


def test_what_has_lingered_and_was_held_back_stands_in_line_for_its_node_once() -> None:
    shell = Shell(batch_size=HEADER_SIZE + 2 * TAKEN)
    shell.introduce()
    shell.append(VALUE)
    shell.now += LINGER
    node = shell.schedule.node(LEADER)
    assert shell.schedule.drain(node, shell.now, AMPLE, lambda _queue, _batch: False) == []

    for _ in range(3):
        shell.append(VALUE)

    assert [batch.count for batch in shell.drain()] == [2]


def test_a_flush_has_what_is_sent_meanwhile_looked_at_at_once() -> None:
    shell = Shell()
    shell.introduce()
    shell.schedule.urgent += 1

    shell.append(b"meanwhile")

    assert shell.woken == [(LEADER, START)]


def test_a_topic_spreads_its_records_as_the_producer_is_told_to() -> None:
    shell = Shell()
    assert shell.accumulator.sticky_options == (True, 0.0)
    shell.accumulator.sticky_options = (False, 3.0)
    shell.introduce()

    sticky = shell.accumulator.topics[TOPIC].sticky

    assert (sticky.adaptive, sticky.availability_timeout) == (False, 3.0)


def test_an_interrupt_in_the_partitioner_fails_the_one_record_whose_turn_it_was() -> None:
    def custom(_topic: str, _key: bytes | None, _count: int) -> int:
        raise KeyboardInterrupt

    shell = Shell(partitioner=Partitioner(custom=custom))
    first, second = shell.append(b"1"), shell.append(b"2")
    shell.introduce()

    with pytest.raises(KeyboardInterrupt):
        shell.accumulator.serve_line(10)

    error = first.exception()
    assert isinstance(error, PartitionerError)
    assert error.topic == TOPIC
    assert result_of(first).count == 1
    assert [record.delivery for record in shell.accumulator.line.records()] == [second]
