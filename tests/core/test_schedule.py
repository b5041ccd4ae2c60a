"""The schedule: which batch goes to which node, when, and in whose company."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from aioproducer.core.producer_batch import NEVER
from aioproducer.core.schedule import MAX_BATCHES_A_REQUEST
from aioproducer.delivery import result_of
from aioproducer.errors import ProducerClosedError
from aioproducer.records.batch import HEADER_SIZE
from tests.core.shell import (
    AMPLE,
    LEADER,
    LINGER,
    OTHER,
    START,
    TAKEN,
    TOPIC,
    VALUE,
    Shell,
    full_shell,
    values_of,
)

if TYPE_CHECKING:
    from aioproducer.core.producer_batch import PartitionQueue, ProducerBatch

# When a batch goes.


@pytest.mark.scenario(1)
def test_a_lone_record_goes_out_when_it_has_lingered_and_not_before() -> None:
    shell = Shell()
    shell.introduce()
    shell.append(b"alone")
    assert shell.woken == [(LEADER, START + LINGER)]

    shell.now = START + LINGER - 0.001
    assert shell.drain() == []
    shell.now = START + LINGER
    assert values_of(shell.drain()) == [b"alone"]
    assert shell.drain() == []


def test_without_linger_the_records_of_one_turn_share_a_batch_that_is_due_at_once() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()

    for number in range(5):
        shell.append(b"%d" % number)

    assert shell.woken == [(LEADER, START)]
    (batch,) = shell.drain()
    assert batch.count == 5


@pytest.mark.scenario(2)
def test_a_full_batch_goes_out_at_once() -> None:
    """When a record finds no room in it, and when one fills it to the byte."""
    shell = Shell(batch_size=HEADER_SIZE + 2 * TAKEN)
    shell.introduce(partitions=2)
    shell.append(VALUE, partition=0)
    assert shell.drain() == []

    shell.append(VALUE, partition=0)

    (batch,) = shell.drain()
    assert (batch.count, batch.size) == (2, HEADER_SIZE + 2 * TAKEN)

    shell.append(VALUE, partition=1)
    shell.append(b"v" * 101, partition=1)
    first, second = shell.drain(), shell.drain()
    assert [batch.count for batch in first] == [1]
    assert second == []


@pytest.mark.scenario(2)
def test_a_full_batch_without_keys_goes_out_at_once() -> None:
    """The record that finds no room in it goes to another partition."""
    shell = Shell(batch_size=HEADER_SIZE + 3 * TAKEN + 5)
    shell.introduce(partitions=20)
    partitions = [result_of(shell.append(VALUE)).partition for _ in range(4)]
    assert partitions[0] == partitions[2] != partitions[3]

    drained = shell.drain()

    assert [batch.count for batch in drained if batch.queue.partition == partitions[0]] == [3]


def test_what_has_lingered_half_as_long_goes_along_with_what_is_due() -> None:
    """Java takes all that waits along, and so fills its requests with batches of a record or two."""
    shell = Shell()
    shell.introduce(partitions=3)
    shell.append(b"old", partition=0)
    shell.now += LINGER / 2
    shell.append(b"half", partition=1)
    shell.now += LINGER / 2 - 1
    shell.append(b"young", partition=2)
    assert shell.drain() == []

    shell.now += 1

    assert values_of(shell.drain()) == [b"old", b"half"]
    assert shell.schedule.node(LEADER).due == shell.now - 1 + LINGER


def test_a_full_batch_takes_nothing_young_along() -> None:
    shell = Shell(batch_size=500)
    shell.introduce(partitions=2)
    shell.append(b"young", partition=0)
    while not shell.queue(1).closed:
        shell.append(VALUE, partition=1)

    (full,) = shell.drain()

    assert full.queue is shell.queue(1)
    shell.now += LINGER
    assert values_of(shell.drain()) == [b"young", VALUE]


@pytest.mark.scenario(11)
def test_a_flush_makes_all_that_lingers_go_now() -> None:
    """The part that needs no waiting."""
    shell = Shell()
    shell.introduce(partitions=2)
    shell.append(b"a", partition=0)
    shell.append(b"b", partition=1)
    assert shell.drain() == []

    shell.schedule.urgent += 1
    shell.schedule.wake_all()

    assert shell.woken[-1] == (LEADER, 0.0)
    assert values_of(shell.drain()) == [b"a", b"b"]
    shell.append(b"c", partition=0)
    assert values_of(shell.drain()) == [b"c"]
    shell.schedule.urgent -= 1
    shell.append(b"d", partition=0)
    assert shell.drain() == []


@pytest.mark.scenario(8)
def test_memory_pressure_makes_every_batch_sendable_at_once() -> None:
    shell = full_shell()
    shell.woken.clear()
    assert shell.drain() == []

    shell.append(VALUE, partition=1)

    assert shell.woken == [(LEADER, 0.0)]
    assert len(shell.drain()) == 1


@pytest.mark.scenario(8)
def test_memory_pressure_by_records_of_a_topic_that_became_known_is_pressure_too() -> None:
    shell = full_shell()
    shell.append(VALUE, topic="late")
    shell.woken.clear()

    shell.introduce("late", leader=OTHER)
    shell.accumulator.serve_line(10)

    assert (LEADER, 0.0) in shell.woken


def test_a_batch_that_backs_off_holds_up_its_partition_alone() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=2)
    shell.append(b"again", partition=0)
    (batch,) = shell.drain()
    shell.queue(0).not_before = shell.now + 3
    shell.schedule.give_back(batch)
    shell.append(b"behind", partition=0)
    shell.append(b"other", partition=1)

    assert values_of(shell.drain_all()) == [b"other"]
    assert shell.schedule.node(LEADER).due == shell.now + 3
    shell.now += 3
    assert values_of(shell.drain_all()) == [b"again", b"behind"]


# What is drained.


def test_at_most_one_batch_of_a_partition_is_drained_at_a_time_oldest_first() -> None:
    shell = Shell(batch_size=1)
    shell.introduce(partitions=2)
    for number in range(3):
        shell.append(b"a%d" % number, partition=0)
        shell.append(b"b%d" % number, partition=1)

    rounds = [values_of(shell.drain()) for _ in range(4)]

    assert [sorted(map(str, one)) for one in rounds] == [
        ["b'a0'", "b'b0'"],
        ["b'a1'", "b'b1'"],
        ["b'a2'", "b'b2'"],
        [],
    ]


@pytest.mark.scenario(10)
def test_the_limit_is_respected_but_the_first_batch_always_goes() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=5)
    for partition in range(5):
        shell.append(VALUE, partition=partition)
    size = HEADER_SIZE + TAKEN

    assert len(shell.drain(limit=1)) == 1
    assert len(shell.drain(limit=2 * size - 1)) == 1
    assert len(shell.drain(limit=2 * size)) == 2
    assert len(shell.drain(limit=AMPLE)) == 1


def test_a_request_does_not_hold_more_batches_than_can_be_made_in_a_moment() -> None:
    count = MAX_BATCHES_A_REQUEST + 10
    shell = Shell(linger=0.0, buffer_memory=AMPLE)
    shell.introduce(partitions=count)
    for partition in range(count):
        shell.append(partition=partition)

    assert len(shell.drain()) == MAX_BATCHES_A_REQUEST
    assert shell.schedule.node(LEADER).due <= shell.now
    assert len(shell.drain()) == 10


@pytest.mark.scenario(9)
def test_many_partitions_are_all_served_however_small_the_requests() -> None:
    """Although every partition always has more to send."""
    shell = Shell(batch_size=1)
    shell.introduce(partitions=7)
    for _ in range(40):
        for partition in range(7):
            shell.append(VALUE, partition=partition)
    limit = 3 * (HEADER_SIZE + TAKEN)

    served: Counter[int] = Counter()
    for _ in range(35):
        served.update(batch.queue.partition for batch in shell.drain(limit=limit))

    assert served == dict.fromkeys(range(7), 15)


@pytest.mark.scenario(9)
def test_a_partition_with_much_to_send_does_not_starve_one_with_little() -> None:
    shell = Shell(batch_size=1)
    shell.introduce(partitions=2)
    for _ in range(100):
        shell.append(VALUE, partition=0)
    shell.append(b"little", partition=1)

    values = values_of(shell.drain(limit=1)) + values_of(shell.drain(limit=1))

    assert b"little" in values


def test_a_partition_that_may_not_be_sent_to_is_passed_over_and_keeps_its_place() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=3)
    for partition in range(3):
        shell.append(b"%d" % partition, partition=partition)
    node = shell.schedule.node(LEADER)
    asked: list[tuple[int, list[bytes | None]]] = []

    def all_but_the_second(queue: PartitionQueue, batch: ProducerBatch) -> bool:
        asked.append((queue.partition, values_of([batch])))
        return queue.partition != 1

    drained = shell.schedule.drain(node, shell.now, AMPLE, all_but_the_second)

    assert values_of(drained) == [b"0", b"2"]
    assert asked == [(0, [b"0"]), (1, [b"1"]), (2, [b"2"])]
    assert node.due == NEVER
    shell.schedule.enlist(shell.queue(1))
    assert values_of(shell.drain()) == [b"1"]


def test_draining_says_which_batches_are_on_the_wire_and_where() -> None:
    shell = Shell(batch_size=1)
    shell.introduce()
    shell.append(b"a")
    shell.append(b"b")
    queue = shell.queue()

    (first,), (second,) = shell.drain(), shell.drain()
    assert (first.in_flight, queue.on_wire, queue.wire_node) == (
        True,
        2,
        shell.schedule.node(LEADER),
    )

    shell.schedule.landed(first)
    shell.schedule.landed(first)
    assert (first.in_flight, queue.on_wire, queue.wire_node) == (
        False,
        1,
        shell.schedule.node(LEADER),
    )
    shell.schedule.landed(second)
    assert (second.in_flight, queue.on_wire, queue.wire_node) == (False, 0, None)


def test_sending_something_ends_starvation() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    node = shell.schedule.node(LEADER)
    node.starved_since = START - 10
    assert shell.drain() == []
    assert node.starved_since == START - 10

    shell.append(b"a")
    shell.drain()

    assert node.starved_since == NEVER


@pytest.mark.scenario(30)
def test_batches_that_come_back_go_again_in_the_order_of_their_making() -> None:
    """Whatever the order in which they come back."""
    shell = Shell(batch_size=1)
    shell.introduce()
    for number in range(6):
        shell.append(b"%d" % number)
    flying = [shell.drain()[0] for _ in range(5)]
    random.Random(2).shuffle(flying)  # noqa: S311 - nothing is secret

    for batch in flying:
        shell.schedule.give_back(batch)

    assert shell.queue().on_wire == 0
    assert values_of(shell.drain_all()) == [b"%d" % number for number in range(6)]


def test_a_batch_that_was_drained_takes_no_more_records() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    shell.append(b"a")
    (first,) = shell.drain()
    before = bytes(first.builder.buffer)

    shell.append(b"b")
    shell.schedule.give_back(first)
    shell.append(b"c")

    assert bytes(first.builder.buffer) == before
    assert [values_of([batch]) for batch in shell.drain_all()] == [[b"a"], [b"b", b"c"]]


# Leaders.


def test_a_partition_that_moves_takes_its_batches_along() -> None:
    shell = Shell(linger=0.0)
    shell.introduce(partitions=2)
    shell.append(b"moves", partition=0)
    shell.append(b"stays", partition=1)

    shell.accumulator.set_leader(TOPIC, 0, OTHER, 2)

    assert values_of(shell.drain(LEADER)) == [b"stays"]
    assert values_of(shell.drain(OTHER)) == [b"moves"]
    shell.append(b"new", partition=0)
    assert shell.drain(LEADER) == []
    assert values_of(shell.drain(OTHER)) == [b"new"]


@pytest.mark.scenario(16)
@pytest.mark.parametrize(("leader", "epoch"), [(OTHER, 1), (LEADER, 2)], ids=["leader", "epoch"])
def test_a_new_leader_or_epoch_is_tried_without_backoff(leader: int, epoch: int) -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    shell.append(b"again")
    (batch,) = shell.drain()
    shell.queue().not_before = shell.now + 10
    shell.schedule.give_back(batch)
    assert shell.drain(LEADER) == []

    shell.accumulator.set_leader(TOPIC, 0, LEADER, 1)
    assert shell.drain(LEADER) == []
    shell.accumulator.set_leader(TOPIC, 0, leader, epoch)

    assert values_of(shell.drain(leader)) == [b"again"]


@pytest.mark.scenario(16)
def test_a_batch_that_comes_back_goes_to_the_leader_of_that_moment() -> None:
    shell = Shell(linger=0.0)
    shell.introduce()
    shell.append(b"again")
    (batch,) = shell.drain()
    shell.accumulator.set_leader(TOPIC, 0, OTHER, 2)
    assert shell.drain(OTHER) == []

    shell.schedule.give_back(batch)

    assert shell.drain(LEADER) == []
    assert values_of(shell.drain(OTHER)) == [b"again"]


def test_moving_wakes_the_new_leader_and_only_if_there_is_something() -> None:
    shell = Shell()
    shell.introduce(partitions=2)
    shell.append(partition=0)
    shell.woken.clear()

    shell.accumulator.set_leader(TOPIC, 1, OTHER, 2)
    assert shell.woken == []
    shell.accumulator.set_leader(TOPIC, 0, OTHER, 2)

    assert shell.woken == [(OTHER, START + LINGER)]


# When the shell is told to look.


def test_a_node_is_woken_only_when_it_is_due_sooner_than_it_is_armed_for() -> None:
    shell = Shell(batch_size=400)
    shell.introduce(partitions=4)
    shell.append(VALUE, partition=0)
    assert shell.woken == [(LEADER, START + LINGER)]

    # Neither another record nor another, later partition is sooner.
    shell.append(VALUE, partition=0)
    shell.now += 1
    shell.append(VALUE, partition=1)
    assert len(shell.woken) == 1

    # A full batch is.
    shell.append(VALUE, partition=0)
    shell.append(VALUE, partition=0)
    assert len(shell.woken) == 2
    assert shell.woken[1][1] <= shell.now


def test_a_node_that_is_looked_at_for_other_reasons_is_not_woken() -> None:
    shell = Shell(batch_size=1)
    shell.introduce()
    shell.schedule.node(LEADER).armed = float("-inf")

    shell.append(VALUE)

    assert shell.woken == []
    assert shell.schedule.node(LEADER).due <= shell.now


def test_after_a_drain_a_node_is_due_when_the_next_batch_is() -> None:
    shell = Shell(batch_size=400)
    shell.introduce(partitions=2)
    node = shell.schedule.node(LEADER)
    for _ in range(4):
        shell.append(VALUE, partition=0)

    assert len(shell.drain()) == 1
    assert node.due == START + LINGER
    shell.now = START + LINGER
    assert len(shell.drain()) == 1
    assert node.due == NEVER
    assert shell.drain() == []


def test_after_a_drain_that_was_cut_short_a_node_is_due_at_once() -> None:
    shell = Shell()
    shell.introduce(partitions=3)
    for partition in range(3):
        shell.append(VALUE, partition=partition)
    shell.now += LINGER

    shell.drain(limit=1)

    assert shell.schedule.node(LEADER).due <= shell.now


def test_waking_all_looks_at_every_node_that_has_something() -> None:
    shell = Shell()
    shell.introduce(partitions=3)
    shell.accumulator.set_leader(TOPIC, 1, OTHER, 2)
    shell.accumulator.set_leader(TOPIC, 2, 3, 2)
    shell.append(partition=0)
    shell.append(partition=1)
    shell.woken.clear()

    shell.schedule.wake_all()

    assert sorted(shell.woken) == [(LEADER, 0.0), (OTHER, 0.0)]


@pytest.mark.parametrize("topic", [TOPIC, "unknown"])
def test_the_shell_is_told_once_that_there_is_something_that_can_expire(topic: str) -> None:
    shell = Shell()
    shell.introduce(partitions=2)
    assert shell.watched == 0

    shell.append(topic=topic)
    shell.append(topic=topic)
    shell.append(topic="another")
    assert (shell.watched, shell.accumulator.watched) == (1, True)

    shell.accumulator.watched = False
    shell.append(partition=1)
    assert shell.watched == 2


def test_the_guard_is_asked_before_anything_is_opened_or_put_in_line() -> None:
    shell = Shell()
    shell.introduce(partitions=2)
    shell.append(b"accepted", partition=0)
    shell.append(b"waits", topic="late")
    before = shell.accumulator.used

    def refuse() -> None:
        msg = "stopped"
        raise ProducerClosedError(msg)

    shell.accumulator.guard = refuse
    with pytest.raises(ProducerClosedError):
        shell.append(partition=1)
    with pytest.raises(ProducerClosedError):
        shell.append(topic="late")

    assert shell.accumulator.used == before
    assert len(shell.accumulator.line) == 1
    assert shell.queue(1).first() is None


def test_a_record_that_the_guard_refuses_when_its_turn_comes_fails() -> None:
    shell = Shell()
    deliveries = [shell.append(topic="late"), shell.append(topic="late")]

    def refuse() -> None:
        msg = "stopped"
        raise ProducerClosedError(msg)

    shell.accumulator.guard = refuse
    shell.introduce("late")
    shell.accumulator.serve_line(10)

    assert [type(delivery.exception()) for delivery in deliveries] == [ProducerClosedError] * 2
    assert (shell.accumulator.used, len(shell.accumulator.line)) == (0, 0)
