"""The partition of a record: by key, by the sticky partitioner of KIP-794, or by the user."""

from __future__ import annotations

import random
from collections import Counter
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.batch_result import BatchResult
from aioproducer.core.batch import ProducerBatch
from aioproducer.core.partitioner import STICKY, WEIGHED, KeyPartitioner, RecordPartitioner, StickyPartitioner
from aioproducer.core.queues import NO_LEADER, NodeQueue, PartitionQueue
from aioproducer.errors import PartitionerError
from aioproducer.records.batch import RecordBatchBuilder
from aioproducer.records.murmur2 import partition_of_key

NOW = 100.0
BATCH_SIZE = 1000
LARGER = BATCH_SIZE + 1
DRAWS = 8000


def new_topic(
    *lengths: int,
    leaderless: tuple[int, ...] = (),
    adaptive: bool = True,
    availability_timeout: float = 0.0,
) -> StickyPartitioner:
    """Make a topic in whose partitions so many batches wait; each has a leader of its own."""
    partitions = []
    for index, length in enumerate(lengths):
        node = NodeQueue(NO_LEADER if index in leaderless else index + 10)
        queue = PartitionQueue("orders", index, node)
        for serial in range(length):
            result = BatchResult("orders", index, None)
            batch = ProducerBatch(queue, RecordBatchBuilder(BATCH_SIZE, 0), result, NOW, serial)
            if serial == length - 1:
                queue.open = batch
            else:
                queue.closed.append(batch)
        partitions.append(queue)
    return StickyPartitioner(
        "orders",
        partitions,
        BATCH_SIZE,
        random.Random(20).random,  # noqa: S311 - nothing is secret
        adaptive=adaptive,
        availability_timeout=availability_timeout,
    )


def drawn(sticky: StickyPartitioner, draws: int = DRAWS, now: float = NOW) -> Counter[int]:
    """Count what is chosen when every record asks for another partition."""
    return Counter(sticky.place(LARGER, now) for _ in range(draws))


def shares(counts: Counter[int]) -> dict[int, float]:
    total = counts.total()
    return {partition: count / total for partition, count in counts.items()}


# By key.


@pytest.mark.scenario("key-partitioning")
@given(st.binary(max_size=20), st.integers(1, 200))
def test_keys_go_as_in_java(key: bytes, count: int) -> None:
    assert RecordPartitioner().choose(new_topic(*[0] * count), key) == partition_of_key(key, count)


@pytest.mark.scenario("key-partitioning")
def test_empty_key_is_a_key() -> None:
    sticky = new_topic(*[0] * 10)

    assert RecordPartitioner().choose(sticky, b"") == 1
    assert RecordPartitioner().choose(sticky, None) == STICKY


@pytest.mark.scenario("key-partitioning")
def test_ignored_keys_are_sticky() -> None:
    for kind in (KeyPartitioner.MURMUR2, KeyPartitioner.CRC32):
        partitioner = RecordPartitioner(kind, ignore_keys=True)
        assert partitioner.choose(new_topic(*[0] * 10), b"key") == STICKY


@pytest.mark.scenario("leaderless-partition")
def test_keyed_record_stays_without_leader() -> None:
    sticky = new_topic(*[0] * 10, leaderless=(6,))

    assert RecordPartitioner().choose(sticky, b"foobar") == 6


@given(st.binary(min_size=1, max_size=20), st.integers(1, 200))
def test_crc32_keys_go_as_in_librdkafka(key: bytes, count: int) -> None:
    partitioner = RecordPartitioner(KeyPartitioner.CRC32)

    assert partitioner.choose(new_topic(*[0] * count), key) == crc32(key) % count


def test_crc32_spreads_empty_keys() -> None:
    partitioner = RecordPartitioner(KeyPartitioner.CRC32)
    sticky = new_topic(*[0] * 1000)

    assert partitioner.choose(sticky, b"123456789") == 0xCBF43926 % 1000
    assert partitioner.choose(sticky, b"") == STICKY
    assert partitioner.choose(sticky, None) == STICKY


@pytest.mark.scenario("new-partitions")
def test_new_partitions_move_keys() -> None:
    sticky = new_topic(*[0] * 10)
    partitioner = RecordPartitioner()
    assert partitioner.choose(sticky, b"foobar") == 6

    sticky.partitions.extend(PartitionQueue("orders", index, NodeQueue(1)) for index in range(10, 100))
    sticky.forget()

    assert partitioner.choose(sticky, b"foobar") == 66


# In turn.


def test_round_robin_ignores_keys() -> None:
    sticky = new_topic(0, 0, 0)
    partitioner = RecordPartitioner(KeyPartitioner.ROUND_ROBIN)

    chosen = [partitioner.choose(sticky, key) for key in [None, b"k", b"k", None, b"k", b"k", None]]

    assert chosen == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_skips_leaderless_partitions() -> None:
    sticky = new_topic(0, 0, 0, 0, leaderless=(1, 2))

    assert [sticky.next_in_turn() for _ in range(5)] == [0, 3, 0, 3, 0]


def test_round_robin_works_without_leaders() -> None:
    sticky = new_topic(0, 0, 0, leaderless=(0, 1, 2))

    assert sticky.next_in_turn() in range(3)


def test_round_robin_turns_without_leaders() -> None:
    sticky = new_topic(0, 0, 0, leaderless=(0, 1, 2))

    assert sorted(sticky.next_in_turn() for _ in range(6)) == [0, 0, 1, 1, 2, 2]


def test_round_robin_uses_new_partitions() -> None:
    sticky = new_topic(0, 0)
    for _ in range(5):
        sticky.next_in_turn()
    sticky.partitions.append(PartitionQueue("orders", 2, NodeQueue(1)))
    sticky.forget()

    assert sorted(sticky.next_in_turn() for _ in range(3)) == [0, 1, 2]


# By the user.


def test_custom_partitioner_gets_its_arguments() -> None:
    asked: list[tuple[str, bytes | None, int]] = []

    def custom(topic: str, key: bytes | None, count: int) -> int:
        asked.append((topic, key, count))
        return count - 1

    partitioner = RecordPartitioner(custom=custom)

    assert partitioner.choose(new_topic(0, 0, 0), b"key") == 2
    assert partitioner.choose(new_topic(0), None) == 0
    assert asked == [("orders", b"key", 3), ("orders", None, 1)]


def test_partitioner_error_keeps_cause() -> None:
    def custom(_topic: str, _key: bytes | None, _count: int) -> int:
        empty: dict[str, int] = {}
        return empty["missing"]

    with pytest.raises(PartitionerError, match=r"raised KeyError for topic 'orders': 'missing'") as raised:
        RecordPartitioner(custom=custom).choose(new_topic(0, 0), b"key")

    assert isinstance(raised.value.__cause__, KeyError)
    assert raised.value.topic == "orders"


@pytest.mark.parametrize("answer", [-1, 3, 2**70, 1.0, True, None, "1", b"1"])
def test_wrong_partition_is_refused(answer: object) -> None:
    partitioner = RecordPartitioner(custom=lambda *_: answer)  # type: ignore[arg-type] # it is wrong

    with pytest.raises(
        PartitionerError, match=r"for topic 'orders'; it has to be an int from 0 to 2"
    ) as raised:
        partitioner.choose(new_topic(0, 0, 0), None)

    assert raised.value.partition == answer


# Sticky.


@pytest.mark.scenario("sticky-partition")
def test_sticky_partition_takes_a_batch() -> None:
    sticky = new_topic(*[0] * 100)
    first = sticky.place(400, NOW)
    sticky.produced += 400

    assert sticky.place(600, NOW) == first
    sticky.produced += 600
    assert sticky.place(1, NOW) != first
    assert sticky.produced == 0


def test_forget_chooses_again() -> None:
    sticky = new_topic(*[0] * 100)
    first = sticky.place(1, NOW)

    sticky.forget()

    assert sticky.current == STICKY
    assert sticky.place(1, NOW) != first


@pytest.mark.scenario("even-share")
@pytest.mark.parametrize("adaptive", [True, False])
def test_idle_partitions_are_chosen_evenly(adaptive: bool) -> None:  # noqa: FBT001 - a parameter
    chosen = shares(drawn(new_topic(*[0] * 8, adaptive=adaptive)))

    assert chosen == {partition: pytest.approx(1 / 8, abs=0.02) for partition in range(8)}


@pytest.mark.scenario("even-share")
def test_equal_queues_are_chosen_evenly() -> None:
    chosen = shares(drawn(new_topic(3, 3, 3, 3)))

    assert chosen == {partition: pytest.approx(1 / 4, abs=0.02) for partition in range(4)}


@pytest.mark.scenario("slow-broker-share")
@pytest.mark.parametrize(
    ("lengths", "weights"),
    [((0, 3, 1), (4, 1, 3)), ((1, 0), (1, 2)), ((5, 0, 0, 5), (1, 6, 6, 1)), ((2, 1, 0), (1, 2, 3))],
)
def test_long_queue_is_chosen_less(lengths: tuple[int, ...], weights: tuple[int, ...]) -> None:
    """With the example of KIP-794: lengths 0, 3, 1 weigh 4, 1, 3."""
    chosen = shares(drawn(new_topic(*lengths)))

    expected = {index: pytest.approx(weight / sum(weights), abs=0.02) for index, weight in enumerate(weights)}
    assert chosen == expected


def test_non_adaptive_ignores_lengths() -> None:
    chosen = shares(drawn(new_topic(0, 9, 9, adaptive=False)))

    assert chosen == {partition: pytest.approx(1 / 3, abs=0.02) for partition in range(3)}


@pytest.mark.scenario("slow-broker-share")
def test_many_partitions_avoid_long_queues() -> None:
    """Where weighing each partition would cost too much."""
    many = WEIGHED + 2
    chosen = drawn(new_topic(*[0, 3] * (many // 2)))

    idle = sum(chosen[partition] for partition in range(0, many, 2))
    assert idle / DRAWS == pytest.approx(4 / 5, abs=0.03)
    assert set(chosen) == set(range(many))


def test_many_partitions_cost_few_draws() -> None:
    draws: list[float] = []
    sticky = new_topic(*[0] * (WEIGHED + 1))
    source = random.Random(5)  # noqa: S311 - nothing is secret

    def counted() -> float:
        draws.append(source.random())
        return draws[-1]

    sticky.random = counted
    sticky.place(LARGER, NOW)

    assert len(draws) == 1


@pytest.mark.scenario("leaderless-partition")
@pytest.mark.parametrize("lengths", [(0, 0, 0, 0), (1, 0, 2, 5)])
@pytest.mark.parametrize("adaptive", [True, False])
def test_leaderless_partition_is_not_chosen(
    lengths: tuple[int, ...],
    adaptive: bool,  # noqa: FBT001 - a parameter
) -> None:
    chosen = drawn(new_topic(*lengths, leaderless=(1, 2), adaptive=adaptive), 500)

    assert set(chosen) == {0, 3}


@pytest.mark.scenario("leaderless-partition")
def test_only_leader_is_found() -> None:
    alone = 777
    sticky = new_topic(*[0] * 1000, leaderless=tuple(index for index in range(1000) if index != alone))

    assert set(drawn(sticky, 20)) == {alone}


@pytest.mark.parametrize("count", [3, WEIGHED + 1])
def test_leaderless_topic_gets_a_partition(count: int) -> None:
    sticky = new_topic(*[0] * count, leaderless=tuple(range(count)))

    chosen = set(drawn(sticky, 500))

    assert len(chosen) > 1
    assert chosen <= set(range(count))


@pytest.mark.scenario("unavailable-broker")
@pytest.mark.parametrize("lengths", [(0, 0, 0), (1, 2, 0)])
def test_starved_broker_is_left_out(
    lengths: tuple[int, ...],
) -> None:
    sticky = new_topic(*lengths, availability_timeout=2.0)
    sticky.partitions[2].node.starved_since = NOW

    assert set(drawn(sticky, 500, NOW + 2.0)) == {0, 1, 2}
    assert set(drawn(sticky, 500, NOW + 2.1)) == {0, 1}


@pytest.mark.scenario("unavailable-broker")
def test_zero_timeout_keeps_starved_broker() -> None:
    sticky = new_topic(0, 0, 0)
    sticky.partitions[2].node.starved_since = NOW

    assert set(drawn(sticky, 500, NOW + 1000)) == {0, 1, 2}
