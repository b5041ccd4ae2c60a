"""The line before the buffer: first come, first served, for room and for topics."""

from __future__ import annotations

import random
from itertools import count

import pytest

from aioproducer.core.line import Dismissal, Line, WaitingRecord
from aioproducer.core.producer_batch import NEVER
from aioproducer.delivery import BatchResult, index_of, new_delivery, result_of
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


def gone() -> Dismissal:
    return Dismissal(lambda record: UnknownTopicError("no such topic", topic=record.topic))


def all_for_room(line: Line) -> list[WaitingRecord]:
    records = []
    while line.first_for_room() is not None:
        records.append(line.pop_for_room())
    return records


def test_an_empty_line_holds_nothing_and_never_expires() -> None:
    line = Line()

    assert (len(line), line.bytes, line.topics(), list(line.records())) == (0, 0, [], [])
    assert line.first_for_room() is None
    assert line.next_deadline() == NEVER
    assert line.expire_for_room(NEVER) == line.expire_for_topics(NEVER) == []


@pytest.mark.scenario(6)
def test_whoever_comes_first_has_room_first() -> None:
    line = Line()
    records = [new_record(topic) for topic in ("a", "b", "a", "c")]
    for record in records:
        line.wait_for_room(record)

    assert line.first_for_room() is records[0]
    assert all_for_room(line) == records


def test_the_line_knows_how_many_records_and_bytes_are_in_it() -> None:
    line = Line()
    line.wait_for_room(new_record(size=10))
    line.wait_for_topic(new_record("a", size=20))
    line.wait_for_topic(new_record("b", size=30))
    assert (len(line), line.bytes) == (3, 60)

    line.pop_for_room()
    assert (len(line), line.bytes) == (2, 50)
    line.admit({"a": 1})
    assert (len(line), line.bytes) == (2, 50)
    line.send_away("b", gone())
    assert (len(line), line.bytes) == (2, 50)
    line.see_off()
    assert (len(line), line.bytes) == (1, 20)
    line.pop_for_room()
    assert (len(line), line.bytes) == (0, 0)


def test_whoever_waits_for_a_topic_holds_nobody_up() -> None:
    line = Line()
    line.wait_for_topic(new_record("unknown"))
    other = new_record("known")
    line.wait_for_room(other)

    assert line.first_for_room() is other
    assert line.topics() == ["unknown"]


def test_records_of_a_topic_that_becomes_known_take_the_place_of_their_arrival() -> None:
    line = Line()
    records = [new_record("late" if number % 3 else "known") for number in range(9)]
    for record in records:
        if record.topic == "late":
            line.wait_for_topic(record)
        else:
            line.wait_for_room(record)

    admitted = line.admit({"late": 1})

    assert admitted == 6
    assert line.topics() == []
    assert all_for_room(line) == records


def test_records_that_came_at_the_same_moment_keep_their_order() -> None:
    line = Line()
    records = [new_record("late", deadline=100.0) for _ in range(5)]
    for record in records:
        line.wait_for_topic(record)

    line.admit({"late": 1})

    assert all_for_room(line) == records


@pytest.mark.scenario(51)
def test_a_partition_that_the_topic_has_not_yet_is_waited_for() -> None:
    line = Line()
    chosen, third, ninth, second = (new_record("t", partition) for partition in (ANY, 3, 9, 2))
    for record in (chosen, third, ninth, second):
        line.wait_for_topic(record)

    assert line.admit({"t": 3}) == 2
    assert line.topics() == ["t"]
    assert line.admit({"t": 3}) == 0
    assert line.admit({"t": 4}) == 1
    assert line.admit({"t": 10}) == 1
    assert line.topics() == []

    assert all_for_room(line) == [chosen, third, ninth, second]


@pytest.mark.parametrize("partition_of_the_early", [9, 0])
def test_who_has_left_is_not_waited_for(partition_of_the_early: int) -> None:
    """The lowest and the highest partition asked for may be those of records that expired."""
    line = Line()
    early = new_record("t", partition_of_the_early, deadline=10.0)
    others = [new_record("t", partition, deadline=20.0) for partition in (1, 5)]
    for record in (early, *others):
        line.wait_for_topic(record)
    assert line.expire_for_topics(10.0) == [early]

    assert line.admit({"t": 1}) == 0
    assert list(line.records()) == others
    assert line.admit({"t": 6}) == 2
    assert (all_for_room(line), line.topics()) == (others, [])


def test_a_topic_that_nobody_waits_for_admits_nobody() -> None:
    line = Line()
    line.wait_for_topic(new_record("a"))

    assert line.admit({"b": 1}) == 0
    assert line.topics() == ["a"]


def test_any_arrivals_and_admissions_keep_the_order() -> None:
    order = random.Random(11)  # noqa: S311 - nothing is secret
    line = Line()
    arrived: list[WaitingRecord] = []
    served: list[WaitingRecord] = []
    known: set[str] = set()
    for _ in range(300):
        topic = order.choice("abcdef")
        record = new_record(topic)
        arrived.append(record)
        if topic in known:
            line.wait_for_room(record)
        else:
            line.wait_for_topic(record)
        if order.random() < 0.05:
            discovered = order.choice("abcdef")
            known.add(discovered)
            line.admit({discovered: 1})
        if order.random() < 0.3 and line.first_for_room() is not None:
            served.append(line.pop_for_room())
    for topic in "abcdef":
        line.admit({topic: 1})
    served += all_for_room(line)

    for topic in "abcdef":
        assert [record for record in served if record.topic == topic] == [
            record for record in arrived if record.topic == topic
        ]
    assert line.bytes == 0


# Time.


def test_the_next_deadline_is_that_of_whoever_has_waited_longest() -> None:
    line = Line()
    line.wait_for_room(new_record(deadline=30.0))
    assert line.next_deadline() == 30.0
    line.wait_for_topic(new_record("a", deadline=20.0))
    line.wait_for_topic(new_record("b", deadline=40.0))
    assert line.next_deadline() == 20.0
    line.send_away("a", gone())
    assert line.next_deadline() == 30.0
    line.pop_for_room()
    assert line.next_deadline() == 40.0


@pytest.mark.scenario(6, 7)
def test_who_has_waited_too_long_leaves_and_takes_the_bytes_along() -> None:
    line = Line()
    early, late = new_record(size=10, deadline=20.0), new_record(size=20, deadline=30.0)
    line.wait_for_room(early)
    line.wait_for_room(late)

    assert line.expire_for_room(19.9) == []
    assert line.expire_for_room(20.0) == [early]
    assert (len(line), line.bytes) == (1, 20)
    assert line.first_for_room() is late
    assert line.expire_for_room(100.0) == [late]
    assert (len(line), line.bytes) == (0, 0)


@pytest.mark.scenario(52)
def test_who_has_waited_for_a_topic_too_long_leaves() -> None:
    line = Line()
    first, second = new_record("a", size=10, deadline=20.0), new_record("b", size=20, deadline=21.0)
    third = new_record("a", size=30, deadline=30.0)
    for record in (first, second, third):
        line.wait_for_topic(record)

    assert line.expire_for_topics(21.0) == [first, second]
    assert line.topics() == ["a"]
    assert line.bytes == 30
    assert line.expire_for_topics(30.0) == [third]
    assert (line.topics(), line.bytes) == ([], 0)


def test_time_for_room_is_no_time_for_topics() -> None:
    line = Line()
    line.wait_for_room(new_record(deadline=20.0))
    line.wait_for_topic(new_record("a", deadline=20.0))

    assert len(line.expire_for_room(20.0)) == 1
    assert len(line) == 1
    assert len(line.expire_for_topics(20.0)) == 1


# Giving up.


@pytest.mark.parametrize("topic", ["a", "b"])
def test_a_topic_of_no_use_gives_back_those_who_waited_for_it(topic: str) -> None:
    line = Line()
    records = [new_record("a", size=10), new_record("a", size=20)]
    for record in records:
        line.wait_for_topic(record)

    line.send_away(topic, gone())
    later = new_record("a")
    line.wait_for_topic(later)
    assert not line.see_off()
    left = [later] if topic == "a" else [*records, later]
    assert list(line.records()) == left
    assert line.bytes == sum(record.size for record in left)
    assert [record.delivery.done() for record in (*records, later)] == [topic == "a"] * 2 + [False]


@pytest.mark.scenario(7)
def test_everybody_leaves_when_the_producer_closes() -> None:
    """Nobody is left behind, and no bytes are."""
    line = Line()
    room, topic, other = new_record(), new_record("a"), new_record("b")
    line.wait_for_room(room)
    line.wait_for_topic(topic)
    line.wait_for_topic(other)
    assert list(line.records()) == [room, topic, other]

    assert line.send_all_away(gone()) == 1

    assert (len(line), line.topics(), line.busy_topics()) == (3, [], {"orders", "a", "b"})
    assert line.first_for_room() is None
    assert line.see_off(2)
    assert [record.delivery.done() for record in (room, topic, other)] == [True, True, False]
    assert not line.see_off(2)
    assert other.delivery.done()
    assert (len(line), line.bytes, list(line.records())) == (0, 0, [])


def test_who_comes_back_to_its_topics_line_stands_between_those_before_and_after_it() -> None:
    line = Line()
    first, between, last = (new_record("a", deadline=deadline) for deadline in (10.0, 20.0, 30.0))
    for record in (first, last, between):
        line.wait_for_topic(record)

    assert list(line.records()) == [first, between, last]


def test_those_who_fail_together_share_a_result_that_knows_its_topic_partition_and_loop() -> None:
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
