"""The waiting before the buffer: first come, first served, for room and for topics."""

from __future__ import annotations

import random
from itertools import count

import pytest

from aioproducer.batch_result import BatchResult
from aioproducer.core.batch import NEVER
from aioproducer.core.waiting_records import Rejection, WaitingRecord, WaitingRecords
from aioproducer.delivery import index_of, new_delivery, result_of
from aioproducer.errors import UnknownTopicError

ANY = -1
_arrivals = count(100)


def new_record(
    topic: str = "orders", partition: int = ANY, size: int = 10, deadline: float | None = None
) -> WaitingRecord:
    """Make a record that arrives after all that were made before, unless it says when."""
    delivery = new_delivery(BatchResult(topic, partition, None), 0, 0)
    arrived = float(next(_arrivals)) if deadline is None else deadline
    return WaitingRecord(delivery, topic, partition, 0, None, b"", None, size, arrived)


def gone() -> Rejection:
    return Rejection(lambda record: UnknownTopicError("no such topic", topic=record.topic))


def all_for_room(waiting: WaitingRecords) -> list[WaitingRecord]:
    records = []
    while waiting.first_for_room() is not None:
        records.append(waiting.pop_for_room())
    return records


def test_empty_queue_never_expires() -> None:
    waiting = WaitingRecords()

    assert (len(waiting), waiting.bytes, waiting.topics(), list(waiting.records())) == (0, 0, [], [])
    assert waiting.first_for_room() is None
    assert waiting.next_deadline() == NEVER
    assert waiting.expire_for_room(NEVER) == waiting.expire_for_topics(NEVER) == []


@pytest.mark.scenario("buffer-full")
def test_records_leave_in_order() -> None:
    waiting = WaitingRecords()
    records = [new_record(topic) for topic in ("a", "b", "a", "c")]
    for record in records:
        waiting.add_for_room(record)

    assert waiting.first_for_room() is records[0]
    assert all_for_room(waiting) == records


def test_records_and_bytes_are_counted() -> None:
    waiting = WaitingRecords()
    waiting.add_for_room(new_record(size=10))
    waiting.add_for_topic(new_record("a", size=20))
    waiting.add_for_topic(new_record("b", size=30))
    assert (len(waiting), waiting.bytes) == (3, 60)

    waiting.pop_for_room()
    assert (len(waiting), waiting.bytes) == (2, 50)
    waiting.admit({"a": 1})
    assert (len(waiting), waiting.bytes) == (2, 50)
    waiting.reject("b", gone())
    assert (len(waiting), waiting.bytes) == (2, 50)
    waiting.fail_rejected()
    assert (len(waiting), waiting.bytes) == (1, 20)
    waiting.pop_for_room()
    assert (len(waiting), waiting.bytes) == (0, 0)


def test_topics_wait_separately() -> None:
    waiting = WaitingRecords()
    waiting.add_for_topic(new_record("unknown"))
    other = new_record("known")
    waiting.add_for_room(other)

    assert waiting.first_for_room() is other
    assert waiting.topics() == ["unknown"]


def test_admitted_records_keep_their_place() -> None:
    waiting = WaitingRecords()
    records = [new_record("late" if number % 3 else "known") for number in range(9)]
    for record in records:
        if record.topic == "late":
            waiting.add_for_topic(record)
        else:
            waiting.add_for_room(record)

    admitted = waiting.admit({"late": 1})

    assert admitted == 6
    assert waiting.topics() == []
    assert all_for_room(waiting) == records


def test_equal_deadlines_keep_order() -> None:
    waiting = WaitingRecords()
    records = [new_record("late", deadline=100.0) for _ in range(5)]
    for record in records:
        waiting.add_for_topic(record)

    waiting.admit({"late": 1})

    assert all_for_room(waiting) == records


@pytest.mark.scenario("new-partitions")
def test_records_wait_for_partition() -> None:
    waiting = WaitingRecords()
    chosen, third, ninth, second = (new_record("t", partition) for partition in (ANY, 3, 9, 2))
    for record in (chosen, third, ninth, second):
        waiting.add_for_topic(record)

    assert waiting.admit({"t": 3}) == 2
    assert waiting.topics() == ["t"]
    assert waiting.admit({"t": 3}) == 0
    assert waiting.admit({"t": 4}) == 1
    assert waiting.admit({"t": 10}) == 1
    assert waiting.topics() == []

    assert all_for_room(waiting) == [chosen, third, ninth, second]


@pytest.mark.parametrize("partition_of_the_early", [9, 0])
def test_expired_topic_is_not_wanted(partition_of_the_early: int) -> None:
    """The lowest and the highest partition asked for may be those of records that expired."""
    waiting = WaitingRecords()
    early = new_record("t", partition_of_the_early, deadline=10.0)
    others = [new_record("t", partition, deadline=20.0) for partition in (1, 5)]
    for record in (early, *others):
        waiting.add_for_topic(record)
    assert waiting.expire_for_topics(10.0) == [early]

    assert waiting.admit({"t": 1}) == 0
    assert list(waiting.records()) == others
    assert waiting.admit({"t": 6}) == 2
    assert (all_for_room(waiting), waiting.topics()) == (others, [])


def test_other_topic_admits_no_records() -> None:
    waiting = WaitingRecords()
    waiting.add_for_topic(new_record("a"))

    assert waiting.admit({"b": 1}) == 0
    assert waiting.topics() == ["a"]


def test_admission_keeps_any_order() -> None:
    order = random.Random(11)  # noqa: S311 - nothing is secret
    waiting = WaitingRecords()
    arrived: list[WaitingRecord] = []
    served: list[WaitingRecord] = []
    known: set[str] = set()
    for _ in range(300):
        topic = order.choice("abcdef")
        record = new_record(topic)
        arrived.append(record)
        if topic in known:
            waiting.add_for_room(record)
        else:
            waiting.add_for_topic(record)
        if order.random() < 0.05:
            discovered = order.choice("abcdef")
            known.add(discovered)
            waiting.admit({discovered: 1})
        if order.random() < 0.3 and waiting.first_for_room() is not None:
            served.append(waiting.pop_for_room())
    for topic in "abcdef":
        waiting.admit({topic: 1})
    served += all_for_room(waiting)

    for topic in "abcdef":
        assert [record for record in served if record.topic == topic] == [
            record for record in arrived if record.topic == topic
        ]
    assert waiting.bytes == 0


# Time.


def test_next_deadline_is_the_oldest() -> None:
    waiting = WaitingRecords()
    waiting.add_for_room(new_record(deadline=30.0))
    assert waiting.next_deadline() == 30.0
    waiting.add_for_topic(new_record("a", deadline=20.0))
    waiting.add_for_topic(new_record("b", deadline=40.0))
    assert waiting.next_deadline() == 20.0
    waiting.reject("a", gone())
    assert waiting.next_deadline() == 30.0
    waiting.pop_for_room()
    assert waiting.next_deadline() == 40.0


@pytest.mark.scenario("buffer-full", "waiting-record-abandoned")
def test_expired_records_free_their_bytes() -> None:
    waiting = WaitingRecords()
    early, late = new_record(size=10, deadline=20.0), new_record(size=20, deadline=30.0)
    waiting.add_for_room(early)
    waiting.add_for_room(late)

    assert waiting.expire_for_room(19.9) == []
    assert waiting.expire_for_room(20.0) == [early]
    assert (len(waiting), waiting.bytes) == (1, 20)
    assert waiting.first_for_room() is late
    assert waiting.expire_for_room(100.0) == [late]
    assert (len(waiting), waiting.bytes) == (0, 0)


@pytest.mark.scenario("missing-topic")
def test_topic_records_expire() -> None:
    waiting = WaitingRecords()
    first, second = new_record("a", size=10, deadline=20.0), new_record("b", size=20, deadline=21.0)
    third = new_record("a", size=30, deadline=30.0)
    for record in (first, second, third):
        waiting.add_for_topic(record)

    assert waiting.expire_for_topics(21.0) == [first, second]
    assert waiting.topics() == ["a"]
    assert waiting.bytes == 30
    assert waiting.expire_for_topics(30.0) == [third]
    assert (waiting.topics(), waiting.bytes) == ([], 0)


def test_room_and_topics_expire_separately() -> None:
    waiting = WaitingRecords()
    waiting.add_for_room(new_record(deadline=20.0))
    waiting.add_for_topic(new_record("a", deadline=20.0))

    assert len(waiting.expire_for_room(20.0)) == 1
    assert len(waiting) == 1
    assert len(waiting.expire_for_topics(20.0)) == 1


# Giving up.


@pytest.mark.parametrize("topic", ["a", "b"])
def test_reject_removes_topic_records(topic: str) -> None:
    waiting = WaitingRecords()
    records = [new_record("a", size=10), new_record("a", size=20)]
    for record in records:
        waiting.add_for_topic(record)

    waiting.reject(topic, gone())
    later = new_record("a")
    waiting.add_for_topic(later)
    assert not waiting.fail_rejected()
    left = [later] if topic == "a" else [*records, later]
    assert list(waiting.records()) == left
    assert waiting.bytes == sum(record.size for record in left)
    assert [record.delivery.done() for record in (*records, later)] == [topic == "a"] * 2 + [False]


@pytest.mark.scenario("waiting-record-abandoned")
def test_everybody_leaves_when_the_producer_closes() -> None:
    """Nobody is left behind, and no bytes are."""
    waiting = WaitingRecords()
    room, topic, other = new_record(), new_record("a"), new_record("b")
    waiting.add_for_room(room)
    waiting.add_for_topic(topic)
    waiting.add_for_topic(other)
    assert list(waiting.records()) == [room, topic, other]

    assert waiting.reject_all(gone()) == 1

    assert (len(waiting), waiting.topics(), waiting.busy_topics()) == (3, [], {"orders", "a", "b"})
    assert waiting.first_for_room() is None
    assert waiting.fail_rejected(2)
    assert [record.delivery.done() for record in (room, topic, other)] == [True, True, False]
    assert not waiting.fail_rejected(2)
    assert other.delivery.done()
    assert (len(waiting), waiting.bytes, list(waiting.records())) == (0, 0, [])


def test_returning_record_keeps_its_place() -> None:
    waiting = WaitingRecords()
    first, between, last = (new_record("a", deadline=deadline) for deadline in (10.0, 20.0, 30.0))
    for record in (first, last, between):
        waiting.add_for_topic(record)

    assert list(waiting.records()) == [first, between, last]


def test_rejected_records_share_result() -> None:
    loop = object()
    records = [
        WaitingRecord(
            new_delivery(BatchResult("a", partition, loop), 0, 0), "a", partition, 0, None, b"", None, 10, 1.0
        )
        for partition in (2, 2, 3)
    ]

    dismissal = gone()
    dismissal.fail(records[:1])
    dismissal.fail(records[1:])

    one, same, other = (result_of(record.delivery) for record in records)
    assert one is same
    assert [index_of(record.delivery) for record in records] == [0, 1, 0]
    assert (one.topic, one.partition, one.loop) == ("a", 2, loop)
    assert (other.topic, other.partition, other.loop) == ("a", 3, loop)
