"""Waiting records that expire, or are rejected."""

from __future__ import annotations

import gc
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from aioproducer.core.accumulator import OVERHEAD
from aioproducer.core.settlement import FAILURES_A_SLICE
from aioproducer.error_code import ErrorCode
from aioproducer.errors import (
    AuthorizationError,
    BufferExhaustedError,
    DeliveryTimeoutError,
    InvalidTopicError,
    ProducerClosedError,
    ProducerError,
    UnknownPartitionError,
    UnknownTopicError,
)
from tests.core.harness import (
    PARTITIONS,
    TOPIC,
    DeliveryHarness,
)

if TYPE_CHECKING:
    from aioproducer import Delivery


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.INVALID_TOPIC_EXCEPTION, InvalidTopicError),
        (ErrorCode.TOPIC_AUTHORIZATION_FAILED, AuthorizationError),
    ],
)
def test_unusable_topic_fails_its_records(code: ErrorCode, kind: type[ProducerError]) -> None:
    harness = DeliveryHarness()
    delivery = harness.accumulator.append("secret", b"", None, None, None, None)
    other = harness.accumulator.append("later", b"", None, None, None, None)

    harness.settlement.topic_errors({"secret": code})

    assert not harness.settlement.fail_rejected()
    assert type(delivery.exception()) is kind
    assert not other.done()
    assert harness.buffer.records.topics() == ["later"]


SLICES = (FAILURES_A_SLICE, FAILURES_A_SLICE, 10)

ROOM_FOR_ALL = 500_000


def _records_in_line(harness: DeliveryHarness, topic: str) -> list[Delivery]:
    return [harness.accumulator.append(topic, b"", None, None, None, None) for _ in range(sum(SLICES))]


def _ends(deliveries: list[Delivery]) -> list[int]:
    """Return how many are done, by the slice they would be in."""
    done = iter(deliveries)
    return [sum(delivery.done() for delivery in islice(done, size)) for size in SLICES]


def _mentions(caplog: pytest.LogCaptureFixture) -> list[str]:
    gc.collect()
    return [record.getMessage() for record in caplog.records if "never looked at" in record.getMessage()]


def test_unusable_topic_fails_in_slices(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The event loop has its turn in between; what is told of them in the end is told once."""
    harness = DeliveryHarness(buffer_memory=ROOM_FOR_ALL)
    deliveries = _records_in_line(harness, "secret")
    harness.settlement.topic_errors({"secret": ErrorCode.TOPIC_AUTHORIZATION_FAILED})

    assert harness.settlement.fail_rejected()
    assert _ends(deliveries) == [SLICES[0], 0, 0]
    assert harness.settlement.fail_rejected()
    assert _ends(deliveries) == [SLICES[0], SLICES[1], 0]
    assert not harness.settlement.fail_rejected()
    assert _ends(deliveries) == [*SLICES]
    assert {type(delivery.exception()) for delivery in deliveries[:: FAILURES_A_SLICE // 2]} == {
        AuthorizationError
    }
    assert harness.buffer.records.bytes == 0

    deliveries.clear()
    (told,) = _mentions(caplog)
    assert f"of {sum(SLICES)} records for secret-?" in told


def test_later_records_are_not_rejected() -> None:
    """However many come: otherwise those who try again at once would keep it going for ever."""
    harness = DeliveryHarness(buffer_memory=ROOM_FOR_ALL)
    deliveries = _records_in_line(harness, "secret")
    harness.settlement.topic_errors({"secret": ErrorCode.TOPIC_AUTHORIZATION_FAILED})
    later = []
    while harness.settlement.fail_rejected():
        later += _records_in_line(harness, "secret")

    assert all(delivery.done() for delivery in deliveries)
    assert not any(delivery.done() for delivery in later)
    assert harness.buffer.records.topics() == ["secret"]


def test_unknown_topic_expires_in_slices(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = DeliveryHarness(buffer_memory=ROOM_FOR_ALL)
    deliveries = _records_in_line(harness, "nowhere")
    harness.wait(60.0)

    assert harness.settlement.expire(harness.now)
    assert _ends(deliveries) == [SLICES[0], 0, 0]
    assert harness.settlement.expire(harness.now)
    assert not harness.settlement.expire(harness.now)
    assert _ends(deliveries) == [*SLICES]
    assert type(deliveries[-1].exception()) is UnknownTopicError
    deliveries.clear()
    (told,) = _mentions(caplog)
    assert f"of {sum(SLICES)} records for nowhere-?" in told


def test_later_records_get_their_own_error() -> None:
    harness = DeliveryHarness(buffer_memory=ROOM_FOR_ALL)
    for _ in range(FAILURES_A_SLICE):
        harness.accumulator.append(TOPIC, b"", None, PARTITIONS + 5, None, None)
    harness.wait(60.0)
    harness.expire()

    harness.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    (later,) = harness.send_some(1, partition=PARTITIONS + 5)
    harness.wait(60.0)
    harness.expire()
    assert f"has {PARTITIONS + 1} partitions" in str(later.exception())


def test_records_without_room_expire_in_slices() -> None:
    harness = DeliveryHarness(buffer_memory=ROOM_FOR_ALL)
    batch = harness.send(b"v" * (ROOM_FOR_ALL - OVERHEAD))[0]
    taken = harness.take_one()
    deliveries = harness.send_some(sum(SLICES))
    harness.wait(60.0)

    assert harness.settlement.expire(harness.now)
    assert _ends(deliveries) == [SLICES[0], 0, 0]
    harness.expire()
    assert _ends(deliveries) == [*SLICES]
    assert type(deliveries[-1].exception()) is BufferExhaustedError
    assert harness.buffer.waiting == harness.buffer.records.bytes == 0
    assert harness.figure("buffer-exhausted-total") == sum(SLICES)
    assert isinstance(batch.exception(), DeliveryTimeoutError)
    harness.answer(taken)
    harness.assert_nothing_left()


@pytest.mark.scenario("missing-topic")
def test_unknown_topic_names_brokers_error() -> None:
    harness = DeliveryHarness(max_block=20.0)
    asked, found, forgotten = (
        harness.accumulator.append(topic, b"", None, None, None, None) for topic in ("a", "b", "c")
    )
    harness.settlement.topic_errors(dict.fromkeys("abc", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
    harness.settlement.topic_found("b")
    harness.settlement.topic_forgotten("c")
    assert not asked.done()

    harness.wait(20.0)
    harness.expire()

    assert all(isinstance(delivery.exception(), UnknownTopicError) for delivery in (asked, found, forgotten))
    assert "within max_block_ms (20000): the brokers answer UNKNOWN_TOPIC" in str(asked.exception())
    assert "no broker could be asked" in str(found.exception())
    assert "no broker could be asked" in str(forgotten.exception())
    harness.assert_nothing_left()


@pytest.mark.scenario("new-partitions")
def test_unknown_partition_fails_its_records() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1, partition=PARTITIONS)
    harness.wait(60.0)
    harness.expire()

    error = delivery.exception()

    assert isinstance(error, UnknownPartitionError)
    assert (error.topic, error.partition, error.partitions) == (TOPIC, PARTITIONS, PARTITIONS)
    assert not error.may_be_written


@pytest.mark.scenario("buffer-full")
def test_no_room_error_names_used_memory() -> None:
    harness = DeliveryHarness()
    harness.send(b"x" * 99_900)
    (delivery,) = harness.send(b"y" * 1000)
    assert harness.buffer.waiting == 1
    harness.wait(60.0)
    harness.expire()

    error = delivery.exception()

    assert isinstance(error, BufferExhaustedError)
    assert "of 100000 bytes (buffer_memory) are in use" in str(error)
    assert (harness.buffer.waiting, harness.figure("buffer-exhausted-total")) == (0, 1)


@pytest.mark.scenario("stop")
def test_give_up_fails_waiting_records() -> None:
    harness = DeliveryHarness()
    harness.send(b"x" * 99_900)
    (for_room,) = harness.send(b"y" * 1000)
    for_topic = harness.accumulator.append("later", b"", None, None, None, None)

    harness.settlement.give_up(
        lambda may_be_written: ProducerClosedError("stopped", may_be_written=may_be_written), harness.now
    )

    for delivery in (for_room, for_topic):
        error = delivery.exception()
        assert isinstance(error, ProducerClosedError)
        assert not error.may_be_written
    assert len(harness.buffer.records) == harness.buffer.waiting == 0
    harness.assert_nothing_left()


@pytest.mark.scenario("buffer-full", "new-partitions")
def test_waiting_error_names_limit() -> None:
    harness = DeliveryHarness(max_block=20.0)
    harness.send(b"x" * 99_900)
    (for_room,) = harness.send(b"y" * 1000)
    (for_partition,) = harness.send_some(1, partition=PARTITIONS)
    harness.wait(20.0)
    harness.expire()

    words = "no room for a record for topic 'orders' within max_block_ms (20000): "
    assert str(for_room.exception()).startswith(words)
    words = "topic 'orders' has 3 partitions and got no partition 3 within max_block_ms (20000)"
    assert str(for_partition.exception()) == words
