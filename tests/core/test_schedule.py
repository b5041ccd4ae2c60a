"""The schedule: which batch goes to which node, when, and in whose company."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from aioproducer.core.batch import NEVER
from aioproducer.core.schedule import MAX_BATCHES_A_REQUEST
from aioproducer.delivery import result_of
from aioproducer.errors import ProducerClosedError
from aioproducer.records.batch import HEADER_SIZE
from tests.core.harness import (
    AMPLE,
    LEADER,
    LINGER,
    OTHER,
    START,
    TAKEN,
    TOPIC,
    VALUE,
    Harness,
    full_harness,
    values_of,
)

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import PartitionQueue

# When a batch goes.


@pytest.mark.scenario("lone-record-lingers")
def test_lone_record_goes_after_linger() -> None:
    harness = Harness()
    harness.introduce()
    harness.append(b"alone")
    assert harness.woken == [(LEADER, START + LINGER)]

    harness.now = START + LINGER - 0.001
    assert harness.drain() == []
    harness.now = START + LINGER
    assert values_of(harness.drain()) == [b"alone"]
    assert harness.drain() == []


def test_no_linger_batch_is_due() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()

    for number in range(5):
        harness.append(b"%d" % number)

    assert harness.woken == [(LEADER, START)]
    (batch,) = harness.drain()
    assert batch.count == 5


@pytest.mark.scenario("full-batch")
def test_full_batch_goes_at_once() -> None:
    """When a record finds no room in it, and when one fills it to the byte."""
    harness = Harness(batch_size=HEADER_SIZE + 2 * TAKEN)
    harness.introduce(partitions=2)
    harness.append(VALUE, partition=0)
    assert harness.drain() == []

    harness.append(VALUE, partition=0)

    (batch,) = harness.drain()
    assert (batch.count, len(batch.builder.buffer)) == (2, HEADER_SIZE + 2 * TAKEN)

    harness.append(VALUE, partition=1)
    harness.append(b"v" * 101, partition=1)
    first, second = harness.drain(), harness.drain()
    assert [batch.count for batch in first] == [1]
    assert second == []


@pytest.mark.scenario("full-batch")
def test_full_unkeyed_batch_goes() -> None:
    """The record that finds no room in it goes to another partition."""
    harness = Harness(batch_size=HEADER_SIZE + 3 * TAKEN + 5)
    harness.introduce(partitions=20)
    partitions = [result_of(harness.append(VALUE)).partition for _ in range(4)]
    assert partitions[0] == partitions[2] != partitions[3]

    drained = harness.drain()

    assert [batch.count for batch in drained if batch.queue.partition == partitions[0]] == [3]


def test_half_lingered_batch_goes_along() -> None:
    """Java takes all that waits along, and so fills its requests with batches of a record or two."""
    harness = Harness()
    harness.introduce(partitions=3)
    harness.append(b"old", partition=0)
    harness.now += LINGER / 2
    harness.append(b"half", partition=1)
    harness.now += LINGER / 2 - 1
    harness.append(b"young", partition=2)
    assert harness.drain() == []

    harness.now += 1

    assert values_of(harness.drain()) == [b"old", b"half"]
    assert harness.schedule.node(LEADER).due == harness.now - 1 + LINGER


def test_young_batches_stay_behind() -> None:
    harness = Harness(batch_size=500)
    harness.introduce(partitions=2)
    harness.append(b"young", partition=0)
    while not harness.queue(1).closed:
        harness.append(VALUE, partition=1)

    (full,) = harness.drain()

    assert full.queue is harness.queue(1)
    harness.now += LINGER
    assert values_of(harness.drain()) == [b"young", VALUE]


@pytest.mark.scenario("flush")
def test_flush_ends_linger() -> None:
    """The part that needs no waiting."""
    harness = Harness()
    harness.introduce(partitions=2)
    harness.append(b"a", partition=0)
    harness.append(b"b", partition=1)
    assert harness.drain() == []

    harness.schedule.flush_started()

    assert harness.woken[-1] == (LEADER, 0.0)
    assert values_of(harness.drain()) == [b"a", b"b"]
    harness.append(b"c", partition=0)
    assert values_of(harness.drain()) == [b"c"]
    harness.schedule.flush_ended()
    harness.append(b"d", partition=0)
    assert harness.drain() == []


@pytest.mark.scenario("memory-pressure")
def test_full_buffer_ends_linger() -> None:
    harness = full_harness()
    harness.woken.clear()
    assert harness.drain() == []

    harness.append(VALUE, partition=1)

    assert harness.woken == [(LEADER, 0.0)]
    assert len(harness.drain()) == 1


@pytest.mark.scenario("memory-pressure")
def test_admitted_records_end_linger() -> None:
    harness = full_harness()
    harness.append(VALUE, topic="late")
    harness.woken.clear()

    harness.introduce("late", leader=OTHER)
    harness.accumulator.serve(10)

    assert (LEADER, 0.0) in harness.woken


def test_backoff_stops_one_partition() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=2)
    harness.append(b"again", partition=0)
    (batch,) = harness.drain()
    harness.queue(0).not_before = harness.now + 3
    harness.schedule.give_back(batch)
    harness.append(b"behind", partition=0)
    harness.append(b"other", partition=1)

    assert values_of(harness.drain_all()) == [b"other"]
    assert harness.schedule.node(LEADER).due == harness.now + 3
    harness.now += 3
    assert values_of(harness.drain_all()) == [b"again", b"behind"]


# What is drained.


def test_drain_takes_oldest_batch() -> None:
    harness = Harness(batch_size=1)
    harness.introduce(partitions=2)
    for number in range(3):
        harness.append(b"a%d" % number, partition=0)
        harness.append(b"b%d" % number, partition=1)

    rounds = [values_of(harness.drain()) for _ in range(4)]

    assert [sorted(map(str, one)) for one in rounds] == [
        ["b'a0'", "b'b0'"],
        ["b'a1'", "b'b1'"],
        ["b'a2'", "b'b2'"],
        [],
    ]


@pytest.mark.scenario("request-fills")
def test_first_batch_exceeds_limit() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=5)
    for partition in range(5):
        harness.append(VALUE, partition=partition)
    size = HEADER_SIZE + TAKEN

    assert len(harness.drain(limit=1)) == 1
    assert len(harness.drain(limit=2 * size - 1)) == 1
    assert len(harness.drain(limit=2 * size)) == 2
    assert len(harness.drain(limit=AMPLE)) == 1


def test_request_has_limited_batches() -> None:
    count = MAX_BATCHES_A_REQUEST + 10
    harness = Harness(linger=0.0, buffer_memory=AMPLE)
    harness.introduce(partitions=count)
    for partition in range(count):
        harness.append(partition=partition)

    assert len(harness.drain()) == MAX_BATCHES_A_REQUEST
    assert harness.schedule.node(LEADER).due <= harness.now
    assert len(harness.drain()) == 10


@pytest.mark.scenario("small-requests")
def test_small_requests_serve_all_partitions() -> None:
    """Although every partition always has more to send."""
    harness = Harness(batch_size=1)
    harness.introduce(partitions=7)
    for _ in range(40):
        for partition in range(7):
            harness.append(VALUE, partition=partition)
    limit = 3 * (HEADER_SIZE + TAKEN)

    served: Counter[int] = Counter()
    for _ in range(35):
        served.update(batch.queue.partition for batch in harness.drain(limit=limit))

    assert served == dict.fromkeys(range(7), 15)


@pytest.mark.scenario("small-requests")
def test_busy_partition_starves_no_other() -> None:
    harness = Harness(batch_size=1)
    harness.introduce(partitions=2)
    for _ in range(100):
        harness.append(VALUE, partition=0)
    harness.append(b"little", partition=1)

    values = values_of(harness.drain(limit=1)) + values_of(harness.drain(limit=1))

    assert b"little" in values


def test_held_partition_keeps_its_place() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=3)
    for partition in range(3):
        harness.append(b"%d" % partition, partition=partition)
    node = harness.schedule.node(LEADER)
    asked: list[tuple[int, list[bytes | None]]] = []

    def all_but_the_second(queue: PartitionQueue, batch: ProducerBatch) -> bool:
        asked.append((queue.partition, values_of([batch])))
        return queue.partition != 1

    drained = harness.schedule.drain(node, harness.now, AMPLE, all_but_the_second)

    assert values_of(drained) == [b"0", b"2"]
    assert asked == [(0, [b"0"]), (1, [b"1"]), (2, [b"2"])]
    assert node.due == NEVER
    harness.schedule.enlist(harness.queue(1))
    assert values_of(harness.drain()) == [b"1"]


def test_drain_counts_batches_on_wire() -> None:
    harness = Harness(batch_size=1)
    harness.introduce()
    harness.append(b"a")
    harness.append(b"b")
    queue = harness.queue()

    (first,), (second,) = harness.drain(), harness.drain()
    assert (first.is_in_flight, queue.on_wire, queue.wire_node) == (
        True,
        2,
        harness.schedule.node(LEADER),
    )

    first.queue.land(first)
    first.queue.land(first)
    assert (first.is_in_flight, queue.on_wire, queue.wire_node) == (
        False,
        1,
        harness.schedule.node(LEADER),
    )
    second.queue.land(second)
    assert (second.is_in_flight, queue.on_wire, queue.wire_node) == (False, 0, None)


def test_sending_something_ends_starvation() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    node = harness.schedule.node(LEADER)
    node.starved_since = START - 10
    assert harness.drain() == []
    assert node.starved_since == START - 10

    harness.append(b"a")
    harness.drain()

    assert node.starved_since == NEVER


@pytest.mark.scenario("first-of-five-retried")
def test_retries_go_in_order() -> None:
    """Whatever the order in which they come back."""
    harness = Harness(batch_size=1)
    harness.introduce()
    for number in range(6):
        harness.append(b"%d" % number)
    flying = [harness.drain()[0] for _ in range(5)]
    random.Random(2).shuffle(flying)  # noqa: S311 - nothing is secret

    for batch in flying:
        harness.schedule.give_back(batch)

    assert harness.queue().on_wire == 0
    assert values_of(harness.drain_all()) == [b"%d" % number for number in range(6)]


def test_drained_batch_is_closed() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append(b"a")
    (first,) = harness.drain()
    before = bytes(first.builder.buffer)

    harness.append(b"b")
    harness.schedule.give_back(first)
    harness.append(b"c")

    assert bytes(first.builder.buffer) == before
    assert [values_of([batch]) for batch in harness.drain_all()] == [[b"a"], [b"b", b"c"]]


# Leaders.


def test_moved_partition_keeps_its_batches() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=2)
    harness.append(b"moves", partition=0)
    harness.append(b"stays", partition=1)

    harness.accumulator.set_leader(TOPIC, 0, OTHER, 2)

    assert values_of(harness.drain(LEADER)) == [b"stays"]
    assert values_of(harness.drain(OTHER)) == [b"moves"]
    harness.append(b"new", partition=0)
    assert harness.drain(LEADER) == []
    assert values_of(harness.drain(OTHER)) == [b"new"]


@pytest.mark.scenario("leader-changed")
@pytest.mark.parametrize(("leader", "epoch"), [(OTHER, 1), (LEADER, 2)], ids=["leader", "epoch"])
def test_new_leader_ends_backoff(leader: int, epoch: int) -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append(b"again")
    (batch,) = harness.drain()
    harness.queue().not_before = harness.now + 10
    harness.schedule.give_back(batch)
    assert harness.drain(LEADER) == []

    harness.accumulator.set_leader(TOPIC, 0, LEADER, 1)
    assert harness.drain(LEADER) == []
    harness.accumulator.set_leader(TOPIC, 0, leader, epoch)

    assert values_of(harness.drain(leader)) == [b"again"]


@pytest.mark.scenario("leader-changed")
def test_retry_goes_to_present_leader() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append(b"again")
    (batch,) = harness.drain()
    harness.accumulator.set_leader(TOPIC, 0, OTHER, 2)
    assert harness.drain(OTHER) == []

    harness.schedule.give_back(batch)

    assert harness.drain(LEADER) == []
    assert values_of(harness.drain(OTHER)) == [b"again"]


def test_move_wakes_new_leader() -> None:
    harness = Harness()
    harness.introduce(partitions=2)
    harness.append(partition=0)
    harness.woken.clear()

    harness.accumulator.set_leader(TOPIC, 1, OTHER, 2)
    assert harness.woken == []
    harness.accumulator.set_leader(TOPIC, 0, OTHER, 2)

    assert harness.woken == [(OTHER, START + LINGER)]


# When the harness is told to look.


def test_node_wakes_when_due_sooner() -> None:
    harness = Harness(batch_size=400)
    harness.introduce(partitions=4)
    harness.append(VALUE, partition=0)
    assert harness.woken == [(LEADER, START + LINGER)]

    # Neither another record nor another, later partition is sooner.
    harness.append(VALUE, partition=0)
    harness.now += 1
    harness.append(VALUE, partition=1)
    assert len(harness.woken) == 1

    # A full batch is.
    harness.append(VALUE, partition=0)
    harness.append(VALUE, partition=0)
    assert len(harness.woken) == 2
    assert harness.woken[1][1] <= harness.now


def test_blocked_node_is_not_woken() -> None:
    harness = Harness(batch_size=1)
    harness.introduce()
    harness.schedule.node(LEADER).armed = float("-inf")

    harness.append(VALUE)

    assert harness.woken == []
    assert harness.schedule.node(LEADER).due <= harness.now


def test_drain_sets_next_due() -> None:
    harness = Harness(batch_size=400)
    harness.introduce(partitions=2)
    node = harness.schedule.node(LEADER)
    for _ in range(4):
        harness.append(VALUE, partition=0)

    assert len(harness.drain()) == 1
    assert node.due == START + LINGER
    harness.now = START + LINGER
    assert len(harness.drain()) == 1
    assert node.due == NEVER
    assert harness.drain() == []


def test_short_drain_is_due_again() -> None:
    harness = Harness()
    harness.introduce(partitions=3)
    for partition in range(3):
        harness.append(VALUE, partition=partition)
    harness.now += LINGER

    harness.drain(limit=1)

    assert harness.schedule.node(LEADER).due <= harness.now


def test_wake_all_wakes_busy_nodes() -> None:
    harness = Harness()
    harness.introduce(partitions=3)
    harness.accumulator.set_leader(TOPIC, 1, OTHER, 2)
    harness.accumulator.set_leader(TOPIC, 2, 3, 2)
    harness.append(partition=0)
    harness.append(partition=1)
    harness.woken.clear()

    harness.schedule.wake_all()

    assert sorted(harness.woken) == [(LEADER, 0.0), (OTHER, 0.0)]


@pytest.mark.parametrize("topic", [TOPIC, "unknown"])
def test_first_deadline_is_told_once(topic: str) -> None:
    harness = Harness()
    harness.introduce(partitions=2)
    assert harness.deadlines == 0

    harness.append(topic=topic)
    harness.append(topic=topic)
    harness.append(topic="another")
    assert (harness.deadlines, harness.accumulator.has_deadline) == (1, True)

    harness.accumulator.has_deadline = False
    harness.append(partition=1)
    assert harness.deadlines == 2


def test_check_precedes_batch_and_wait() -> None:
    harness = Harness()
    harness.introduce(partitions=2)
    harness.append(b"accepted", partition=0)
    harness.append(b"waits", topic="late")
    before = harness.buffer.used

    harness.refusal = ProducerClosedError("stopped")
    with pytest.raises(ProducerClosedError):
        harness.append(partition=1)
    with pytest.raises(ProducerClosedError):
        harness.append(topic="late")

    assert harness.buffer.used == before
    assert len(harness.buffer.records) == 1
    assert harness.queue(1).first() is None


def test_refused_check_fails_waiting_record() -> None:
    harness = Harness()
    deliveries = [harness.append(topic="late"), harness.append(topic="late")]

    harness.refusal = ProducerClosedError("stopped")
    harness.introduce("late")
    harness.accumulator.serve(10)

    assert [type(delivery.exception()) for delivery in deliveries] == [ProducerClosedError] * 2
    assert (harness.buffer.used, len(harness.buffer.records)) == (0, 0)
