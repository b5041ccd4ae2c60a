"""The time that records wait is counted once, when their wait ends."""

from __future__ import annotations

from tests.core.desk import TOPIC, Desk

NEW = "new"


def waits(desk: Desk) -> tuple[float, float]:
    """Return the seconds that records waited for their topic, and for room."""
    names = ("metadata-wait-time-ns-total", "bufferpool-wait-time-ns-total")
    for_topic, for_room = (desk.figure(name) / 1e9 for name in names)
    return for_topic, for_room


def send(desk: Desk, topic: str, size: int = 0) -> None:
    desk.accumulator.append(topic, bytes(size), None, None, None, None)


def introduce(desk: Desk, topic: str) -> None:
    """Make a topic known and admit its records."""
    desk.accumulator.set_partitions(topic, 1, None)
    desk.accumulator.set_leader(topic, 0, 1, 1)
    desk.accumulator.admit([topic])


def serve(desk: Desk) -> None:
    while desk.accumulator.serve_line(100):
        pass


def free_room(desk: Desk) -> None:
    """Deliver everything in batches, then place waiting records."""
    for batch in desk.take():
        desk.answer(batch, offset=0)
    serve(desk)


def test_records_that_do_not_wait() -> None:
    desk = Desk()
    desk.send_some(3)
    desk.wait(5.0)
    desk.deliver()
    assert waits(desk) == (0, 0)


def test_wait_for_topic() -> None:
    desk = Desk()
    send(desk, NEW)
    desk.wait(1.5)
    send(desk, NEW)
    desk.wait(0.5)
    assert waits(desk) == (0, 0)

    introduce(desk, NEW)
    serve(desk)

    assert waits(desk) == (2.0 + 0.5, 0)


def test_wait_for_room() -> None:
    desk = Desk(buffer_memory=1_000)
    send(desk, TOPIC, 800)
    send(desk, TOPIC, 400)
    desk.wait(2.0)
    send(desk, TOPIC, 300)
    desk.wait(1.0)

    free_room(desk)

    assert waits(desk) == (0, 3.0 + 1.0)


def test_wait_for_topic_then_room() -> None:
    desk = Desk(buffer_memory=1_000)
    send(desk, TOPIC, 800)
    send(desk, NEW, 300)
    desk.wait(2.0)
    introduce(desk, NEW)
    serve(desk)
    send(desk, NEW, 100)
    desk.wait(4.0)

    free_room(desk)

    # The second record came when its topic was known already.
    assert waits(desk) == (2.0, 4.0 + 4.0)


def test_second_admission_keeps_the_first() -> None:
    """Other records of a topic may be admitted later, when it gets more partitions."""
    desk = Desk(buffer_memory=1_000)
    send(desk, TOPIC, 800)
    send(desk, NEW, 300)
    desk.wait(2.0)
    introduce(desk, NEW)
    desk.wait(3.0)
    introduce(desk, NEW)
    desk.wait(1.0)

    free_room(desk)

    assert waits(desk) == (2.0, 3.0 + 1.0)


def test_admission_times_are_dropped() -> None:
    desk = Desk(buffer_memory=1_000)
    for _ in range(2):
        send(desk, NEW)
        desk.wait(2.0)
        introduce(desk, NEW)
        serve(desk)
        desk.accumulator.forget_topic(NEW)

    assert waits(desk) == (4.0, 0)


def test_records_that_expire() -> None:
    desk = Desk(buffer_memory=1_000, max_block=3.0)
    send(desk, TOPIC, 800)
    send(desk, TOPIC, 300)
    send(desk, NEW, 100)
    send(desk, NEW, 100)
    desk.wait(3.0)

    desk.expire()

    assert waits(desk) == (6.0, 3.0)
