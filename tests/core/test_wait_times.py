"""The time that records wait is counted once, when their wait ends."""

from __future__ import annotations

from tests.core.harness import TOPIC, DeliveryHarness

NEW = "new"


def waits(harness: DeliveryHarness) -> tuple[float, float]:
    """Return the seconds that records waited for their topic, and for room."""
    names = ("metadata-wait-time-ns-total", "bufferpool-wait-time-ns-total")
    for_topic, for_room = (harness.figure(name) / 1e9 for name in names)
    return for_topic, for_room


def send(harness: DeliveryHarness, topic: str, size: int = 0) -> None:
    harness.accumulator.append(topic, bytes(size), None, None, None, None)


def introduce(harness: DeliveryHarness, topic: str) -> None:
    """Make a topic known and admit its records."""
    harness.accumulator.set_partitions(topic, 1, None)
    harness.accumulator.set_leader(topic, 0, 1, 1)
    harness.accumulator.admit([topic])


def serve(harness: DeliveryHarness) -> None:
    while harness.accumulator.serve(100):
        pass


def free_room(harness: DeliveryHarness) -> None:
    """Deliver everything in batches, then place waiting records."""
    for batch in harness.take():
        harness.answer(batch, offset=0)
    serve(harness)


def test_records_that_do_not_wait() -> None:
    harness = DeliveryHarness()
    harness.send_some(3)
    harness.wait(5.0)
    harness.deliver()
    assert waits(harness) == (0, 0)


def test_wait_for_topic() -> None:
    harness = DeliveryHarness()
    send(harness, NEW)
    harness.wait(1.5)
    send(harness, NEW)
    harness.wait(0.5)
    assert waits(harness) == (0, 0)

    introduce(harness, NEW)
    serve(harness)

    assert waits(harness) == (2.0 + 0.5, 0)


def test_wait_for_room() -> None:
    harness = DeliveryHarness(buffer_memory=1_000)
    send(harness, TOPIC, 800)
    send(harness, TOPIC, 400)
    harness.wait(2.0)
    send(harness, TOPIC, 300)
    harness.wait(1.0)

    free_room(harness)

    assert waits(harness) == (0, 3.0 + 1.0)


def test_wait_for_topic_then_room() -> None:
    harness = DeliveryHarness(buffer_memory=1_000)
    send(harness, TOPIC, 800)
    send(harness, NEW, 300)
    harness.wait(2.0)
    introduce(harness, NEW)
    serve(harness)
    send(harness, NEW, 100)
    harness.wait(4.0)

    free_room(harness)

    # The second record came when its topic was known already.
    assert waits(harness) == (2.0, 4.0 + 4.0)


def test_second_admission_keeps_the_first() -> None:
    """Other records of a topic may be admitted later, when it gets more partitions."""
    harness = DeliveryHarness(buffer_memory=1_000)
    send(harness, TOPIC, 800)
    send(harness, NEW, 300)
    harness.wait(2.0)
    introduce(harness, NEW)
    harness.wait(3.0)
    introduce(harness, NEW)
    harness.wait(1.0)

    free_room(harness)

    assert waits(harness) == (2.0, 3.0 + 1.0)


def test_admission_times_are_dropped() -> None:
    harness = DeliveryHarness(buffer_memory=1_000)
    for _ in range(2):
        send(harness, NEW)
        harness.wait(2.0)
        introduce(harness, NEW)
        serve(harness)
        harness.accumulator.forget_topic(NEW)

    assert waits(harness) == (4.0, 0)


def test_records_that_expire() -> None:
    harness = DeliveryHarness(buffer_memory=1_000, max_block=3.0)
    send(harness, TOPIC, 800)
    send(harness, TOPIC, 300)
    send(harness, NEW, 100)
    send(harness, NEW, 100)
    harness.wait(3.0)

    harness.expire()

    assert waits(harness) == (6.0, 3.0)
