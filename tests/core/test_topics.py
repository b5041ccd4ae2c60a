"""Topics and partitions: unknown, new, lost, busy and forgotten ones."""

from __future__ import annotations

import pytest

from aioproducer.core.batch import NEVER
from aioproducer.core.waiting_records import Rejection
from aioproducer.delivery import result_of
from aioproducer.errors import (
    ProducerClosedError,
)
from tests.core.harness import (
    AMPLE,
    LINGER,
    MAX_BLOCK,
    START,
    TOPIC,
    VALUE,
    Harness,
    free_room,
    full_harness,
    values_of,
)

# Topics and partitions that are not known yet.


@pytest.mark.scenario("missing-topic")
def test_record_waits_for_unknown_topic() -> None:
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


def test_early_records_of_topic_go_first() -> None:
    harness = Harness()
    for number in range(3):
        harness.append(b"%d" % number, topic="late", key=b"k")
    harness.introduce("late", partitions=3)

    harness.append(b"3", topic="late", key=b"k")
    harness.accumulator.serve(10)
    harness.append(b"4", topic="late", key=b"k")

    harness.now += LINGER
    assert values_of(harness.drain()) == [b"%d" % number for number in range(5)]


def test_known_topics_do_not_wait() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    harness.append(topic="late")

    harness.append(b"now")

    assert values_of(harness.drain()) == [b"now"]


@pytest.mark.scenario("new-partitions")
def test_record_waits_for_unknown_partition() -> None:
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


def test_record_waits_for_lost_partition() -> None:
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


def test_lost_partition_keeps_order() -> None:
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


def test_lost_partition_keeps_its_batches() -> None:
    harness = Harness(linger=0.0)
    harness.introduce(partitions=3)
    delivery = harness.append(b"kept", partition=2)

    harness.introduce(partitions=2)
    assert harness.drain() == []
    assert harness.accumulator.outstanding() == [result_of(delivery)]
    harness.introduce(partitions=3)

    assert values_of(harness.drain()) == [b"kept"]


def test_unkeyed_records_leave_lost_partition() -> None:
    harness = Harness()
    harness.introduce(partitions=8)
    while result_of(harness.append(VALUE)).partition < 4:
        pass

    harness.introduce(partitions=4)

    assert all(result_of(harness.append(VALUE)).partition < 4 for _ in range(50))


# What there is.


@pytest.mark.scenario("delivery-timeout")
def test_next_deadline_is_the_oldest() -> None:
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


def test_outstanding_results_are_complete() -> None:
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


def test_topic_with_batches_is_busy() -> None:
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


def test_expired_batch_in_flight_is_busy() -> None:
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
def test_forgotten_topic_is_wanted_again() -> None:
    harness = Harness()
    harness.introduce()
    harness.accumulator.forget_topic(TOPIC)
    harness.accumulator.forget_topic(TOPIC)

    harness.append(b"again")

    assert harness.wanted == [TOPIC]


def test_topic_notes_its_last_use() -> None:
    harness = Harness(linger=0.0)
    harness.introduce()
    topic_queue = harness.accumulator.topics[TOPIC]
    assert topic_queue.last_used == START

    harness.now += 50
    harness.append()

    assert topic_queue.last_used == START + 50


def test_topic_keeps_last_id() -> None:
    harness = Harness()
    harness.accumulator.set_partitions(TOPIC, 1, "first")
    harness.accumulator.set_partitions(TOPIC, 1, "second")

    assert harness.accumulator.topics[TOPIC].topic_id == "second"
