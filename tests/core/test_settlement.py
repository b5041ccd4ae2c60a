"""Settlement: what becomes of a batch by what is said of it, what is lost, and time."""

from __future__ import annotations

import gc
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from aioproducer.core.accumulator import OVERHEAD
from aioproducer.core.failures import no_response
from aioproducer.core.queues import NO_LEADER
from aioproducer.core.settlement import BATCHES_A_SLICE, RECORDS_A_SLICE
from aioproducer.error_code import ErrorCode
from aioproducer.errors import (
    AuthorizationError,
    BatchRefusedError,
    BrokerConnectionError,
    BrokerError,
    BufferExhaustedError,
    DeliveryTimeoutError,
    InvalidRecordError,
    InvalidTopicError,
    ProducerClosedError,
    ProducerError,
    RecordTooLargeError,
    UnknownPartitionError,
    UnknownTopicError,
    UnsupportedVersionError,
)
from tests.core.harness import (
    BACKOFF,
    DELIVERY_TIMEOUT,
    LEADER,
    OTHER,
    PARTITIONS,
    TOPIC,
    DeliveryHarness,
    numbers,
)
from tests.core.test_outcome import PASSING, STALE_LEADER

if TYPE_CHECKING:
    from aioproducer import Delivery

ROOMY = 1000
"""A `batch_size` for a handful of records."""


def test_a_stored_batch_tells_every_record_its_offset_and_leaves_nothing_behind() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    deliveries = harness.send_some(3)

    harness.answer(harness.take_one(), offset=70)

    assert [delivery.result().offset for delivery in deliveries] == [70, 71, 72]
    harness.assert_nothing_left()


@pytest.mark.scenario("retry-backoff")
@pytest.mark.parametrize("code", sorted(PASSING))
def test_a_batch_is_sent_again_after_a_backoff_that_grows(code: ErrorCode) -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()
    for doubled in (1, 2, 4):
        harness.answer(batch, code)
        harness.wait(BACKOFF * doubled * 0.99)
        assert harness.take() == []
        harness.wait(BACKOFF * doubled * 0.02)
        assert harness.take_one() is batch

    harness.answer(batch, offset=5)

    assert (delivery.result().offset, batch.attempts) == (5, 3)
    assert harness.refreshes == (3 if code in STALE_LEADER else 0)
    harness.assert_nothing_left()


@pytest.mark.scenario("retry-backoff")
def test_a_batch_whose_connection_is_lost_is_sent_again_after_a_backoff() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()
    harness.lose(batch)
    assert harness.take() == []
    assert harness.refreshes == 1

    harness.wait(BACKOFF * 1.01)
    assert harness.take_one() is batch
    harness.answer(batch, offset=5)

    assert delivery.result().offset == 5


@pytest.mark.scenario("leader-changed")
@pytest.mark.parametrize("answer_first", [True, False])
def test_a_new_leader_is_tried_without_backoff(*, answer_first: bool) -> None:
    harness = DeliveryHarness()
    harness.send_some(1)
    batch = harness.take_one()
    if answer_first:
        harness.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        harness.lead(OTHER, 2)
    else:
        harness.lead(OTHER, 2)
        harness.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)

    assert harness.take_one(OTHER) is batch


@pytest.mark.scenario("retries-exhausted")
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_when_the_retries_are_used_up_the_record_gets_the_last_error(retries: int) -> None:
    harness = DeliveryHarness(idempotent=False, retries=retries)
    (delivery,) = harness.send_some(1)
    for _ in range(retries + 1):
        harness.answer(harness.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
        harness.wait()

    error = delivery.exception()

    assert isinstance(error, BrokerError)
    assert error.code is ErrorCode.NOT_ENOUGH_REPLICAS
    assert not error.may_be_written
    harness.assert_nothing_left()


@pytest.mark.scenario("retries-exhausted")
@pytest.mark.parametrize("code", [ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_LEADER_OR_FOLLOWER])
def test_it_says_whether_the_record_may_be_in_the_log(code: ErrorCode) -> None:
    harness = DeliveryHarness(retries=1)
    (delivery,) = harness.send_some(1)
    harness.answer(harness.take_one(), code)
    harness.wait()
    harness.answer(harness.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)

    error = delivery.exception()

    assert isinstance(error, BrokerError)
    assert (error.code, error.may_be_written) == (ErrorCode.NOT_ENOUGH_REPLICAS, True)


@pytest.mark.scenario("expired-unsent")
def test_a_batch_that_cannot_be_sent_expires_and_says_why() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    error = delivery.exception()

    assert isinstance(error, DeliveryTimeoutError)
    assert (error.topic, error.partition, error.may_be_written) == (TOPIC, 0, False)
    assert "no attempt was made: broker 1" in str(error)
    harness.assert_nothing_left()


@pytest.mark.scenario("expired-unsent")
def test_an_expired_batch_names_the_present_outage() -> None:
    """Before anything that failed earlier; also where there was an attempt."""
    harness = DeliveryHarness()
    tried, behind = harness.send_some(2)
    harness.answer(harness.take()[0], ErrorCode.NOT_ENOUGH_REPLICAS)
    outage = harness.outages.nodes[1] = BrokerConnectionError("broker 1 at a:1: cannot connect to a:1")
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    error = tried.exception()
    assert "1 attempt failed" in str(error)
    assert "NOT_ENOUGH_REPLICAS" in str(error)
    assert f"now the leader cannot be sent to: {outage}" in str(error)
    assert str(behind.exception()).endswith(f"no attempt was made: {outage}")
    for delivery in (tried, behind):
        failed = delivery.exception()
        assert failed is not None
        assert failed.__cause__ is outage


def test_an_unknown_topic_names_the_outage() -> None:
    harness = DeliveryHarness()
    assert str(harness.settlement.unknown_topic("nowhere")).endswith("no broker could be asked")
    harness.settlement.topic_errors({"nowhere": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION})
    assert str(harness.settlement.unknown_topic("nowhere")).endswith(
        "the brokers answer UNKNOWN_TOPIC_OR_PARTITION"
    )

    outage = harness.outages.cluster = BrokerConnectionError("broker 1 at a:1: cannot connect to a:1")

    error = harness.settlement.unknown_topic("nowhere")
    assert str(error).endswith(f"no broker could be asked: {outage}")
    assert error.__cause__ is outage


def test_a_missing_producer_id_names_its_cause() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.is_needed = True
    harness.outages.producer_id = BrokerConnectionError("a:1 gives none")
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    assert str(delivery.exception()).endswith("(InitProducerId) yet: a:1 gives none")


@pytest.mark.scenario("expired-unsent")
def test_a_batch_without_a_leader_expires_in_the_queue_and_others_do_not() -> None:
    harness = DeliveryHarness()
    harness.lead(NO_LEADER, 2)
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT - 1)
    (younger,) = harness.send_some(1)
    harness.expire()
    assert not delivery.done()

    harness.wait(1)
    harness.expire()

    assert "the partition has no leader" in str(delivery.exception())
    assert not younger.done()


@pytest.mark.scenario("expired-unsent")
def test_the_last_failure_is_told_with_the_expiry() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    error = delivery.exception()

    assert isinstance(error, DeliveryTimeoutError)
    assert isinstance(error.__cause__, BrokerError)
    assert error.__cause__.code is ErrorCode.NOT_ENOUGH_REPLICAS
    assert "1 attempt failed" in str(error)
    assert not error.may_be_written


@pytest.mark.scenario("expired-in-flight")
def test_a_batch_on_the_wire_expires_and_its_memory_is_free_when_it_is_answered() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()
    used = harness.buffer.used
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    error = delivery.exception()
    assert isinstance(error, DeliveryTimeoutError)
    assert error.may_be_written
    assert (harness.buffer.used, harness.queue().sequences.in_flight) == (used, [batch])

    harness.answer(batch, offset=3)

    assert isinstance(delivery.exception(), DeliveryTimeoutError)
    harness.assert_nothing_left()


@pytest.mark.scenario("late-response")
@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.INVALID_RECORD,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.DUPLICATE_SEQUENCE_NUMBER,
        None,
    ],
)
def test_a_late_answer_for_an_expired_batch_changes_nothing(code: ErrorCode | None) -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    harness.deliver()
    deliveries = harness.send_some(2)
    batch = harness.take_one()
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    if code is None:
        harness.lose(batch)
    else:
        harness.answer(batch, code)
    harness.wait()

    assert harness.take() == []
    assert all(isinstance(delivery.exception(), DeliveryTimeoutError) for delivery in deliveries)
    assert harness.figure("record-error-total") == 2
    assert harness.figure("record-retry-total") == harness.figure("batch-split-total") == 0
    harness.assert_nothing_left()


@pytest.mark.scenario("late-response")
def test_an_expired_batch_that_is_still_being_compressed_is_not_written() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    (batch,) = harness.drain()
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    harness.settlement.unsent(batch, None, harness.now)

    harness.assert_nothing_left()
    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


def test_many_batches_expire_a_slice_at_a_time() -> None:
    """The event loop gets its turn in between."""
    harness = DeliveryHarness()
    harness.deliver()
    deliveries = harness.send_some(2 * BATCHES_A_SLICE + 1)
    harness.wait(DELIVERY_TIMEOUT)

    rounds = [harness.settlement.expire(harness.now) for _ in range(3)]

    assert rounds == [True, True, False]
    assert all(isinstance(delivery.exception(), DeliveryTimeoutError) for delivery in deliveries)
    harness.assert_nothing_left()


def test_delivery_timeout_ends_waiting_for_topic() -> None:
    """It is shorter than max_block_ms here, and the error names it."""
    harness = DeliveryHarness()
    delivery = harness.accumulator.append("unknown", b"", None, None, None, None)
    harness.wait(DELIVERY_TIMEOUT - 0.1)
    harness.expire()
    assert not delivery.done()

    harness.wait(0.1)
    harness.expire()

    assert isinstance(delivery.exception(), UnknownTopicError)
    assert "within delivery_timeout_ms (30000)" in str(delivery.exception())


def test_delivery_timeout_ends_waiting_for_room() -> None:
    harness = DeliveryHarness()
    harness.send(b"x" * 99_900)
    harness.wait(10.0)
    (delivery,) = harness.send(b"y" * 1000)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    assert isinstance(delivery.exception(), BufferExhaustedError)
    assert "within delivery_timeout_ms (30000)" in str(delivery.exception())


@pytest.mark.parametrize("waits_for", ["topic", "room"])
def test_waiting_counts_for_delivery_timeout(waits_for: str) -> None:
    """A record that is put into a batch late expires with those that were sent when it was."""
    harness = DeliveryHarness(max_block=20.0)
    if waits_for == "room":
        harness.send(b"x" * 99_900)
        (first,) = harness.take()
        (late,) = harness.send(b"y" * 1000)
    else:
        late = harness.accumulator.append("unknown", b"", None, 0, None, None)
    harness.wait(15.0)
    if waits_for == "room":
        harness.answer(first, offset=0)
        harness.accumulator.serve(1)
    else:
        (direct,) = harness.send_some(1)
        harness.accumulator.set_partitions("unknown", 1, None)
        harness.accumulator.set_leader("unknown", 0, LEADER, 1)
        harness.accumulator.admit(["unknown"])
        harness.accumulator.serve(1)
    assert harness.accumulator.next_deadline(DELIVERY_TIMEOUT) == harness.now + 15.0

    harness.wait(14.9)
    harness.expire()
    assert not late.done()
    harness.wait(0.1)
    harness.expire()

    assert isinstance(late.exception(), DeliveryTimeoutError)
    assert "within 30000 ms" in str(late.exception())
    if waits_for == "topic":
        assert not direct.done()
        harness.answer(harness.take_one(), offset=0)
    harness.assert_nothing_left()


def test_batch_is_as_old_as_its_oldest_record() -> None:
    """A record that waited for its partition is put into a batch behind one that did not."""
    harness = DeliveryHarness(max_block=20.0, batch_size=1000)
    late = harness.accumulator.append(TOPIC, b"", None, PARTITIONS, None, None)
    harness.wait(5.0)
    harness.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    harness.lead(LEADER, 1, PARTITIONS)
    (direct,) = harness.send_some(1, partition=PARTITIONS)
    harness.accumulator.admit([TOPIC])
    harness.accumulator.serve(1)
    (batch,) = harness.take()

    assert batch.count == 2
    assert harness.now - batch.oldest_send == 5.0
    harness.lose(batch)
    harness.wait(25.0)
    harness.expire()
    for delivery in (late, direct):
        error = delivery.exception()
        assert isinstance(error, DeliveryTimeoutError)
        assert error.may_be_written


def test_retry_ends_by_age_of_oldest_record() -> None:
    harness = DeliveryHarness(max_block=20.0)
    late = harness.accumulator.append(TOPIC, b"", None, PARTITIONS, None, None)
    harness.wait(15.0)
    harness.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    harness.lead(LEADER, 1, PARTITIONS)
    harness.accumulator.admit([TOPIC])
    harness.accumulator.serve(1)
    batch = harness.take_one()
    harness.wait(15.0)

    harness.answer(batch, ErrorCode.NOT_ENOUGH_REPLICAS)

    assert late.done()


def test_pieces_are_as_old_as_their_oldest_record() -> None:
    harness = DeliveryHarness(max_block=20.0, batch_size=1000)
    late = [harness.accumulator.append(TOPIC, b"", None, PARTITIONS, None, None) for _ in range(2)]
    harness.wait(15.0)
    harness.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    harness.lead(LEADER, 1, PARTITIONS)
    harness.accumulator.admit([TOPIC])
    harness.accumulator.serve(2)
    harness.answer(harness.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    harness.wait(15.0)

    harness.expire()

    assert all(delivery.done() for delivery in late)


@pytest.mark.scenario("delivery-timeout")
def test_the_delivery_timeout_runs_from_the_first_record_through_retries_and_splits() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    deliveries = harness.send(b"x" * 60, b"y" * 60)
    batch = harness.take_one()
    harness.wait(20)
    harness.answer(batch, ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.wait()
    harness.answer(harness.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    harness.wait(8)
    harness.expire()
    assert not any(delivery.done() for delivery in deliveries)

    harness.wait(1)
    harness.expire()

    assert all(isinstance(delivery.exception(), DeliveryTimeoutError) for delivery in deliveries)
    harness.assert_nothing_left()


@pytest.mark.scenario("delivery-timeout")
@pytest.mark.parametrize(
    ("code", "may_be_written"),
    [
        (ErrorCode.NOT_ENOUGH_REPLICAS, False),
        (ErrorCode.UNKNOWN_TOPIC_ID, True),
        (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, False),
        (None, True),
    ],
)
def test_failure_past_delivery_timeout(code: ErrorCode | None, *, may_be_written: bool) -> None:
    """A batch that fails after its delivery timeout, before `expire` runs, fails with a timeout too."""
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()
    harness.wait(DELIVERY_TIMEOUT)

    if code is None:
        harness.lose(batch)
    else:
        harness.answer(batch, code)

    error = delivery.exception()
    assert isinstance(error, DeliveryTimeoutError)
    assert "1 attempt failed, the last with: " in str(error)
    assert isinstance(error.__cause__, BrokerConnectionError if code is None else BrokerError)
    assert error.may_be_written is may_be_written
    assert harness.figure("record-error-total") == 1
    assert harness.figure("record-retry-total") == 0
    harness.assert_nothing_left()


@pytest.mark.scenario("split-too-large")
def test_a_batch_that_is_too_large_is_split_and_each_record_gets_its_offset() -> None:
    harness = DeliveryHarness(batch_size=200)
    deliveries = harness.send(*(b"x" * 60 for _ in range(2)))
    used = harness.buffer.used
    harness.answer(harness.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    assert harness.buffer.used == used + 61

    for offset in (40, 41):
        piece = harness.take_one()
        assert (piece.count, piece.attempts) == (1, 0)
        harness.answer(piece, offset=offset)

    assert [delivery.result().offset for delivery in deliveries] == [40, 41]
    harness.assert_nothing_left()


def test_batch_larger_than_segment_is_split() -> None:
    """Java fails such a batch; the leader refuses it by size, as with MESSAGE_TOO_LARGE."""
    harness = DeliveryHarness(batch_size=200)
    first, second = harness.send(b"x" * 60, b"x" * 60)
    harness.answer(harness.take_one(), ErrorCode.RECORD_LIST_TOO_LARGE)

    harness.answer(harness.take_one(), offset=40)
    harness.answer(harness.take_one(), ErrorCode.RECORD_LIST_TOO_LARGE)

    assert first.result().offset == 40
    error = second.exception()
    assert isinstance(error, RecordTooLargeError)
    assert "the topic's segment.bytes" in str(error)
    assert isinstance(error.__cause__, BrokerError)
    assert error.__cause__.code is ErrorCode.RECORD_LIST_TOO_LARGE
    harness.assert_nothing_left()


@pytest.mark.scenario("split-too-large")
def test_a_batch_that_came_back_before_goes_before_the_pieces() -> None:
    harness = DeliveryHarness(batch_size=150)
    harness.deliver()
    harness.send(*(b"x" * 25 for _ in range(4)))
    older, too_large = harness.take()
    harness.answer(older, ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.answer(too_large, ErrorCode.MESSAGE_TOO_LARGE)
    harness.wait()

    assert harness.take_one() is older
    harness.answer(older, offset=1)
    assert harness.take_one().count == 1


@pytest.mark.scenario("split-too-large")
def test_a_lost_batch_that_turns_out_too_large_leaves_its_pieces_in_doubt() -> None:
    harness = DeliveryHarness(batch_size=150)
    harness.deliver()
    first, _ = harness.send(*(b"x" * 25 for _ in range(2)))
    harness.lose(harness.take_one())
    harness.wait()
    harness.answer(harness.take_one(), ErrorCode.MESSAGE_TOO_LARGE)

    harness.answer(harness.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    error = first.exception()
    assert error is not None
    assert error.may_be_written


@pytest.mark.scenario("split-ends")
@pytest.mark.parametrize("batch_size", [100, 300, ROOMY])
@pytest.mark.parametrize("limit", [100, 150, 250])
def test_splitting_goes_on_until_the_pieces_fit(batch_size: int, limit: int) -> None:
    harness = DeliveryHarness(batch_size=batch_size)
    harness.deliver()
    deliveries = harness.send(*(b"%02d" % number + b"x" * 20 for number in range(10)))
    stored: list[bytes | None] = []
    while batches := harness.take():
        for batch in batches:
            if batch.queue.sequences.in_flight and batch.queue.sequences.in_flight[0] is not batch:
                harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
            elif batch.size > limit:
                harness.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)
            else:
                offset = len(stored)
                stored += [record.value for record in harness.write(batch).records()]
                harness.answer(batch, offset=offset)
        harness.wait()

    assert [value[:2] for value in stored if value] == [b"%02d" % number for number in range(10)]
    assert [delivery.result().offset for delivery in deliveries] == list(range(10))
    harness.assert_nothing_left()


@pytest.mark.scenario("single-record-too-large")
def test_a_record_that_is_too_large_by_itself_fails_and_later_ones_go_on() -> None:
    harness = DeliveryHarness(batch_size=200)
    small, large, later = harness.send(b"", b"x" * 120, b"")
    batch = harness.take_one()
    harness.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)
    harness.answer(harness.take_one(), offset=0)
    piece, next_batch = harness.take()
    harness.answer(piece, ErrorCode.MESSAGE_TOO_LARGE)
    harness.answer(next_batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()
    harness.answer(harness.take_one(), offset=1)

    error = large.exception()
    assert isinstance(error, RecordTooLargeError)
    assert (error.topic, error.size, error.limit) == (TOPIC, piece.size, None)
    assert isinstance(error.__cause__, BrokerError)
    assert "max.message.bytes" in str(error)
    assert (small.result().offset, later.result().offset) == (0, 1)
    harness.assert_nothing_left()


@pytest.mark.scenario("record-errors")
def test_only_the_refused_record_gets_its_error() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    innocent, guilty = harness.send_some(2)

    harness.answer(
        harness.take_one(),
        ErrorCode.INVALID_TIMESTAMP,
        refused={1: "the future is not allowed"},
        message="no",
    )

    error = guilty.exception()
    assert isinstance(error, InvalidRecordError)
    assert (error.code, error.reason) == (ErrorCode.INVALID_TIMESTAMP, "the future is not allowed")
    other = innocent.exception()
    assert isinstance(other, BatchRefusedError)
    assert "send it again" in str(other)
    assert not other.may_be_written


@pytest.mark.scenario("record-errors")
def test_several_refused_records_are_invalid_whatever_the_code_of_the_batch() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    deliveries = harness.send_some(3)

    harness.answer(
        harness.take_one(), ErrorCode.POLICY_VIOLATION, refused={0: None, 2: "bad"}, message="policy"
    )

    errors = [delivery.exception() for delivery in deliveries]
    assert [type(error) for error in errors] == [InvalidRecordError, BatchRefusedError, InvalidRecordError]
    assert [error.reason for error in errors if isinstance(error, BrokerError)] == ["policy", "policy", "bad"]


@pytest.mark.scenario("record-errors")
def test_the_refused_records_of_a_batch_that_was_in_doubt_stay_in_doubt() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    deliveries = harness.send_some(2)
    harness.lose(harness.take_one())
    harness.wait()

    harness.answer(harness.take_one(), ErrorCode.INVALID_TIMESTAMP, refused={0: "too old by now"})

    errors = [delivery.exception() for delivery in deliveries]
    assert all(error is not None and error.may_be_written for error in errors)
    assert "send it again" not in str(errors[1])


@pytest.mark.scenario("acks-zero")
def test_what_expects_no_answer_is_done_at_an_offset_that_nobody_knows() -> None:
    harness = DeliveryHarness(idempotent=False)
    (delivery,) = harness.send_some(1)

    harness.settlement.assume_stored(harness.take_one(), harness.now)

    assert delivery.result().offset == -1
    harness.assert_nothing_left()


@pytest.mark.scenario("too-few-replicas")
@pytest.mark.parametrize("code", [ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND])
def test_too_few_replicas_are_waited_for(code: ErrorCode) -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    for _ in range(20):
        harness.answer(harness.take_one(), code)
        harness.wait()

    batch = harness.take_one()
    assert numbers([batch]) == [(0, 0)]
    harness.answer(batch, offset=9)

    assert delivery.result().offset == 9


@pytest.mark.scenario("topic-deleted")
@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID])
def test_a_topic_that_is_gone_fails_its_records_in_time(code: ErrorCode) -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    for _ in range(int(DELIVERY_TIMEOUT)):
        for batch in harness.take():
            harness.answer(batch, code)
        harness.wait()
        harness.expire()

    error = delivery.exception()
    assert isinstance(error, DeliveryTimeoutError)
    assert code.name in str(error)
    harness.assert_nothing_left()


@pytest.mark.scenario("topic-deleted")
def test_a_topic_that_comes_back_gets_its_records() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    harness.wait()
    harness.answer(harness.take_one(), offset=0)
    assert delivery.result().offset == 0


@pytest.mark.scenario("broker-message")
def test_the_brokers_own_words_are_kept() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), ErrorCode.POLICY_VIOLATION, message="no more than 3 headers")

    error = delivery.exception()
    assert isinstance(error, BrokerError)
    assert error.reason == "no more than 3 headers"
    assert str(error) == "1 record for orders-0: POLICY_VIOLATION (44): no more than 3 headers"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.TOPIC_AUTHORIZATION_FAILED, AuthorizationError),
        (ErrorCode.INVALID_TOPIC_EXCEPTION, InvalidTopicError),
        (ErrorCode.INVALID_RECORD, InvalidRecordError),
        (ErrorCode.RECORD_LIST_TOO_LARGE, RecordTooLargeError),
    ],
)
def test_a_refusal_is_an_error_of_its_own_kind(code: ErrorCode, kind: type[ProducerError]) -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), code)

    assert type(delivery.exception()) is kind
    assert harness.failure is None
    harness.assert_nothing_left()


def test_an_error_code_that_is_not_known_is_told_by_its_number() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), 9999)

    error = delivery.exception()
    assert error is not None
    assert "error code 9999" in str(error)
    assert error.may_be_written


@pytest.mark.parametrize("idempotent", [True, False])
def test_what_ends_the_producer_fails_the_batch_and_is_told(*, idempotent: bool) -> None:
    harness = DeliveryHarness(idempotent=idempotent)
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), ErrorCode.CLUSTER_AUTHORIZATION_FAILED)

    error = delivery.exception()
    assert error is not None
    assert error.fatal is idempotent
    assert (harness.failure is not None) is idempotent


@pytest.mark.scenario("first-of-five-retried")
def test_five_in_flight_are_sent_again_one_by_one_in_their_order() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    deliveries = harness.send_some(5)
    batches = harness.take()
    harness.answer(batches[0], ErrorCode.CORRUPT_MESSAGE)
    for batch in batches[1:]:
        harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    for offset, batch in enumerate(batches):
        assert harness.take_one() is batch
        harness.answer(batch, offset=offset)

    assert numbers(batches) == [(0, number) for number in range(1, 6)]
    assert [delivery.result().offset for delivery in deliveries] == list(range(5))
    harness.assert_nothing_left()


def test_who_waits_for_those_before_it_does_not_hold_them_back() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    first, second = harness.take()
    harness.answer(first, ErrorCode.CORRUPT_MESSAGE)
    harness.wait(BACKOFF * 0.9)
    harness.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait(BACKOFF * 0.2)

    assert harness.take_one() is first


@pytest.mark.scenario("first-of-five-fails")
def test_when_the_first_of_several_is_refused_the_others_are_delivered() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    refused, *others = harness.send_some(3)
    batches = harness.take()
    harness.answer(batches[0], ErrorCode.POLICY_VIOLATION)
    for batch in batches[1:]:
        harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()
    for offset in (1, 2):
        harness.answer(harness.take_one(), offset=offset)

    assert refused.exception() is not None
    assert [delivery.result().offset for delivery in others] == [1, 2]
    harness.assert_nothing_left()


@pytest.mark.scenario("duplicate")
def test_a_duplicate_is_a_success_at_an_offset_that_nobody_knows() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    harness.lose(harness.take_one())
    harness.wait()

    harness.answer(harness.take_one(), ErrorCode.DUPLICATE_SEQUENCE_NUMBER)

    assert delivery.result().offset == -1
    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


@pytest.mark.scenario("response-lost")
def test_what_was_lost_is_asked_for_again_under_its_number() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    batches = harness.take()
    for batch in batches:
        harness.lose(batch)
    harness.wait()

    for batch in batches:
        assert harness.take_one() is batch
        harness.answer(batch, offset=batch.sequence)

    assert numbers(batches) == [(0, 1), (0, 2)]


@pytest.mark.scenario("response-lost")
def test_a_batch_that_the_answer_leaves_out_is_sent_again() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()

    harness.settlement.lost(batch, no_response(batch, 1), harness.now)
    harness.wait()

    assert harness.take_one() is batch
    assert isinstance(batch.last_error, BrokerConnectionError)
    assert str(batch.last_error) == "broker 1 left orders-0 out of its answer"
    assert not delivery.done()


@pytest.mark.scenario("sequence-gap")
def test_what_expires_unsent_leaves_no_gap_and_what_was_sent_does_not_stop_the_partition() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    sent = harness.take_one()
    harness.lose(sent)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()
    assert sent.result.done

    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 2)]


@pytest.mark.scenario("first-batch-expires")
@pytest.mark.parametrize("is_written", [True, False])
def test_what_comes_after_an_expired_batch_tells_whether_it_was_written(*, is_written: bool) -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    harness.lose(harness.take_one())
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()

    if not is_written:
        harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        harness.wait()
        assert harness.take_one() is batch
    harness.answer(batch, offset=2)

    assert delivery.result().offset == 2
    assert harness.sequences.producer_id.epoch == (0 if is_written else 1)
    harness.assert_nothing_left()


@pytest.mark.scenario("first-batch-expires")
def test_what_expires_first_of_several_on_the_wire_keeps_its_number_until_it_is_answered() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    first = harness.take_one()
    harness.wait(10)
    (delivery,) = harness.send_some(1)
    second = harness.take_one()
    harness.wait(DELIVERY_TIMEOUT - 10)
    harness.expire()
    assert first.result.done
    assert not delivery.done()

    harness.lose(first)
    harness.lose(second)
    harness.wait()

    assert harness.take_one() is second
    assert numbers([second]) == [(0, 2)]
    harness.answer(second, offset=2)
    assert delivery.result().offset == 2
    harness.assert_nothing_left()


@pytest.mark.scenario("unknown-producer-id", "producer-id-expired")
@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN_PRODUCER_ID, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER])
def test_a_broker_that_has_forgotten_the_producer_gets_a_new_epoch(code: ErrorCode) -> None:
    harness = DeliveryHarness()
    harness.deliver(3)
    deliveries = harness.send_some(2)
    for batch in harness.take():
        harness.answer(batch, code)
    harness.wait()
    for offset in (0, 1):
        batch = harness.take_one()
        assert numbers([batch]) == [(1, offset)]
        harness.answer(batch, offset=offset)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1]


def test_an_epoch_that_is_refused_fails_the_batch_and_is_not_used_again() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    (delivery,) = harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.INVALID_PRODUCER_EPOCH)

    assert delivery.exception() is not None
    assert harness.failure is None
    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(1, 0)]


@pytest.mark.scenario("one-in-flight")
def test_with_one_in_flight_and_no_numbers_a_failure_does_not_let_later_ones_pass() -> None:
    harness = DeliveryHarness(idempotent=False, in_flight=1)
    deliveries = harness.send_some(3)
    harness.lose(harness.take_one())
    assert harness.take() == []
    harness.wait()
    for offset in range(3):
        harness.answer(harness.take_one(), offset=offset)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]


@pytest.mark.scenario("producer-id-denied")
def test_who_waits_for_a_producer_id_that_is_not_given_fails() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.is_needed = True
    (delivery,) = harness.send_some(1)
    assert harness.take() == []
    refusal = BrokerError.of(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "no producer id")

    harness.settlement.give_up(lambda _may_be_written: refusal, harness.now)

    assert isinstance(delivery.exception(), AuthorizationError)
    harness.assert_nothing_left()


def test_what_expires_for_want_of_a_producer_id_says_so() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.is_needed = True
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    assert "producer id" in str(delivery.exception())


def test_what_was_drained_and_cannot_be_written_goes_back_or_fails() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    (batch,) = harness.drain()
    harness.settlement.unsent(batch, None, harness.now)
    assert harness.take_one() is batch
    assert batch.attempts == 0

    harness.settlement.unsent(batch, UnsupportedVersionError("the broker is too old"), harness.now)

    error = delivery.exception()
    assert isinstance(error, UnsupportedVersionError)
    assert not error.may_be_written
    harness.assert_nothing_left()


def test_one_error_for_many_batches_says_of_each_whether_it_may_be_written() -> None:
    harness = DeliveryHarness(retries=1)
    harness.send_some(1)
    harness.lose(harness.take_one())
    harness.wait()
    (sent,) = (batch.result for batch in harness.take())
    harness.send_some(1, partition=1)
    (fresh,) = (batch.result for batch in harness.take())
    error = UnsupportedVersionError("the broker is too old")

    for batch in (harness.queue().sequences.in_flight[0], harness.queue(1).sequences.in_flight[0]):
        harness.settlement.unsent(batch, error, harness.now)

    assert sent.error is not None
    assert fresh.error is not None
    assert (sent.error.may_be_written, fresh.error.may_be_written) == (True, False)


def test_giving_up_ends_everything_and_says_what_may_be_written() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    on_wire, queued = harness.send(b"1", b"2")
    (batch,) = harness.drain()
    harness.write(batch)

    harness.settlement.give_up(
        lambda may_be_written: ProducerClosedError("stopped", may_be_written=may_be_written), harness.now
    )

    errors = [delivery.exception() for delivery in (on_wire, queued)]
    assert [error.may_be_written for error in errors if error is not None] == [True, False]
    assert harness.buffer.used == batch.charged
    harness.lose(batch)
    harness.assert_nothing_left()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.INVALID_TOPIC_EXCEPTION, InvalidTopicError),
        (ErrorCode.TOPIC_AUTHORIZATION_FAILED, AuthorizationError),
    ],
)
def test_records_for_a_topic_that_nobody_may_use_fail_at_once(
    code: ErrorCode, kind: type[ProducerError]
) -> None:
    harness = DeliveryHarness()
    delivery = harness.accumulator.append("secret", b"", None, None, None, None)
    other = harness.accumulator.append("later", b"", None, None, None, None)

    harness.settlement.topic_errors({"secret": code})

    assert not harness.settlement.fail_rejected()
    assert type(delivery.exception()) is kind
    assert not other.done()
    assert harness.buffer.records.topics() == ["later"]


SLICES = (RECORDS_A_SLICE, RECORDS_A_SLICE, 10)

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


def test_many_records_for_a_topic_that_nobody_may_use_fail_slice_by_slice(
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
    assert {type(delivery.exception()) for delivery in deliveries[:: RECORDS_A_SLICE // 2]} == {
        AuthorizationError
    }
    assert harness.buffer.records.bytes == 0

    deliveries.clear()
    (told,) = _mentions(caplog)
    assert f"of {sum(SLICES)} records for secret-?" in told


def test_who_comes_while_others_are_seen_off_is_none_of_them() -> None:
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


def test_many_records_that_wait_for_a_topic_in_vain_fail_slice_by_slice(
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


def test_what_is_said_of_a_full_slice_is_not_said_of_who_comes_later() -> None:
    harness = DeliveryHarness(buffer_memory=ROOM_FOR_ALL)
    for _ in range(RECORDS_A_SLICE):
        harness.accumulator.append(TOPIC, b"", None, PARTITIONS + 5, None, None)
    harness.wait(60.0)
    harness.expire()

    harness.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    (later,) = harness.send_some(1, partition=PARTITIONS + 5)
    harness.wait(60.0)
    harness.expire()
    assert f"has {PARTITIONS + 1} partitions" in str(later.exception())


def test_many_records_that_find_no_room_fail_slice_by_slice() -> None:
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
def test_a_topic_that_does_not_appear_fails_its_records_with_what_the_brokers_said() -> None:
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
def test_a_partition_that_the_topic_does_not_get_fails_its_records() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1, partition=PARTITIONS)
    harness.wait(60.0)
    harness.expire()

    error = delivery.exception()

    assert isinstance(error, UnknownPartitionError)
    assert (error.topic, error.partition, error.partitions) == (TOPIC, PARTITIONS, PARTITIONS)
    assert not error.may_be_written


@pytest.mark.scenario("buffer-full")
def test_a_record_that_finds_no_room_says_how_much_is_in_use() -> None:
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
def test_giving_up_ends_those_in_line_too() -> None:
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


@pytest.mark.parametrize("code", [ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.NOT_ENOUGH_REPLICAS])
def test_an_expired_batch_that_is_refused_late_gives_its_number_to_the_next(code: ErrorCode) -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    batch = harness.take_one()
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    harness.answer(batch, code)

    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


def test_an_expired_batch_whose_retry_was_never_written_gives_its_number_to_the_next() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.wait()
    (batch,) = harness.drain()
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    harness.settlement.unsent(batch, None, harness.now)

    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


@pytest.mark.scenario("next-out-of-order")
def test_a_batch_that_begins_anew_backs_off_before_it_is_sent_again() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    batch = harness.take_one()
    harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    assert harness.take() == []
    harness.wait(BACKOFF * 1.01)
    assert harness.take_one() is batch


@pytest.mark.scenario("broker-message")
def test_the_brokers_own_words_are_kept_where_the_order_is_in_doubt() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    (delivery,) = harness.send_some(1)
    harness.lose(harness.take_one())
    harness.wait()

    harness.answer(harness.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, message="expected 7")

    error = delivery.exception()
    assert isinstance(error, BrokerError)
    assert error.reason == "expected 7"


@pytest.mark.scenario("single-record-too-large")
def test_a_record_that_is_too_large_says_how_large_and_keeps_its_cause_in_doubt_too() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    harness.lose(harness.take_one())
    harness.wait()
    batch = harness.take_one()

    harness.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)

    error = delivery.exception()
    assert isinstance(error, RecordTooLargeError)
    assert f"a record of {batch.size} bytes (with its batch's header) for orders-0" in str(error)
    assert error.may_be_written
    assert isinstance(error.__cause__, BrokerError)


@pytest.mark.scenario("record-errors")
def test_a_refused_record_says_which_of_its_batch_it_was() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    _, guilty = harness.send_some(2)

    harness.answer(harness.take_one(), ErrorCode.INVALID_RECORD, refused={1: "no key"})

    assert str(guilty.exception()).startswith("record 1 of a batch for orders-0: ")


@pytest.mark.scenario("expired-unsent")
def test_an_expiry_says_how_long_it_took_and_how_long_it_might() -> None:
    harness = DeliveryHarness()
    harness.lead(0, 2)
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT + 1)
    harness.expire()

    words = "1 record for orders-0 not acknowledged within 31000 ms (delivery_timeout_ms is 30000)"
    assert str(delivery.exception()).startswith(words)
    assert "broker 0, which leads the partition" in str(delivery.exception())


@pytest.mark.scenario("expired-unsent")
def test_each_of_several_that_expire_has_the_cause_that_is_its_own() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    deliveries = harness.send_some(2)
    first, second = harness.take()
    deliveries += harness.send_some(1)
    harness.answer(first, ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    causes = [error.__cause__ for delivery in deliveries if (error := delivery.exception()) is not None]

    assert [cause.code for cause in causes if isinstance(cause, BrokerError)] == [
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        # It was never sent: what it waited for is why.
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ]


@pytest.mark.scenario("metrics")
def test_what_becomes_of_a_batch_counts_for_its_topic() -> None:
    harness = DeliveryHarness()
    harness.deliver(2)
    harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.wait()
    harness.take()
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    counts = harness.metrics.snapshot(harness.now, {})["producer-topic-metrics"][TOPIC]

    assert {what: counts[f"record-{what}-total"] for what in ("send", "retry", "error")} == {
        "send": 2,
        "retry": 1,
        "error": 1,
    }


@pytest.mark.scenario("unused-topic")
def test_a_topic_that_is_forgotten_has_no_metrics_and_one_never_missed_is_found_all_the_same() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.settlement.topic_found(TOPIC)
    assert TOPIC in harness.metrics.snapshot(harness.now, {})["producer-topic-metrics"]

    harness.settlement.topic_forgotten(TOPIC)

    assert harness.metrics.snapshot(harness.now, {})["producer-topic-metrics"] == {}


@pytest.mark.scenario("buffer-full", "new-partitions")
def test_who_waited_in_line_too_long_says_for_what_and_how_long() -> None:
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


def test_an_error_code_that_is_known_is_not_called_unknown() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), ErrorCode.UNKNOWN_SERVER_ERROR)

    assert str(delivery.exception()) == "1 record for orders-0: UNKNOWN_SERVER_ERROR (-1)"


@pytest.mark.scenario("expired-unsent", "new-partitions")
def test_what_is_in_a_partition_that_went_away_expires_for_want_of_a_leader() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1, partition=2)
    harness.accumulator.set_partitions(TOPIC, 2, None)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    assert "the partition has no leader" in str(delivery.exception())
