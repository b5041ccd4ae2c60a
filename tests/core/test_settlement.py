"""Settlement: what becomes of a batch by what is said of it, what is lost, and time."""

from __future__ import annotations

import gc
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from aioproducer.core.accumulator import OVERHEAD
from aioproducer.core.producer_batch import NO_LEADER
from aioproducer.core.settlement import BATCHES_A_SLICE, RECORDS_A_SLICE, no_answer
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
from tests.core.desk import BACKOFF, DELIVERY_TIMEOUT, LEADER, OTHER, PARTITIONS, TOPIC, Desk, numbers
from tests.core.test_outcome import PASSING, STALE_LEADER

if TYPE_CHECKING:
    from aioproducer import Delivery

ROOMY = 1000
"""A `batch_size` for a handful of records."""


def test_a_stored_batch_tells_every_record_its_offset_and_leaves_nothing_behind() -> None:
    desk = Desk(batch_size=ROOMY)
    deliveries = desk.send_some(3)

    desk.answer(desk.take_one(), offset=70)

    assert [delivery.result().offset for delivery in deliveries] == [70, 71, 72]
    desk.assert_nothing_left()


@pytest.mark.scenario(15)
@pytest.mark.parametrize("code", sorted(PASSING))
def test_a_batch_is_sent_again_after_a_backoff_that_grows(code: ErrorCode) -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()
    for doubled in (1, 2, 4):
        desk.answer(batch, code)
        desk.wait(BACKOFF * doubled * 0.99)
        assert desk.take() == []
        desk.wait(BACKOFF * doubled * 0.02)
        assert desk.take_one() is batch

    desk.answer(batch, offset=5)

    assert (delivery.result().offset, batch.attempts) == (5, 3)
    assert desk.refreshes == (3 if code in STALE_LEADER else 0)
    desk.assert_nothing_left()


@pytest.mark.scenario(15)
def test_a_batch_whose_connection_is_lost_is_sent_again_after_a_backoff() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()
    desk.lose(batch)
    assert desk.take() == []
    assert desk.refreshes == 1

    desk.wait(BACKOFF * 1.01)
    assert desk.take_one() is batch
    desk.answer(batch, offset=5)

    assert delivery.result().offset == 5


@pytest.mark.scenario(16)
@pytest.mark.parametrize("answer_first", [True, False])
def test_a_new_leader_is_tried_without_backoff(*, answer_first: bool) -> None:
    desk = Desk()
    desk.send_some(1)
    batch = desk.take_one()
    if answer_first:
        desk.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        desk.lead(OTHER, 2)
    else:
        desk.lead(OTHER, 2)
        desk.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)

    assert desk.take_one(OTHER) is batch


@pytest.mark.scenario(17)
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_when_the_retries_are_used_up_the_record_gets_the_last_error(retries: int) -> None:
    desk = Desk(idempotent=False, retries=retries)
    (delivery,) = desk.send_some(1)
    for _ in range(retries + 1):
        desk.answer(desk.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
        desk.wait()

    error = delivery.exception()

    assert isinstance(error, BrokerError)
    assert error.code is ErrorCode.NOT_ENOUGH_REPLICAS
    assert not error.may_be_written
    desk.assert_nothing_left()


@pytest.mark.scenario(17)
@pytest.mark.parametrize("code", [ErrorCode.REQUEST_TIMED_OUT, ErrorCode.NOT_LEADER_OR_FOLLOWER])
def test_it_says_whether_the_record_may_be_in_the_log(code: ErrorCode) -> None:
    desk = Desk(retries=1)
    (delivery,) = desk.send_some(1)
    desk.answer(desk.take_one(), code)
    desk.wait()
    desk.answer(desk.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)

    error = delivery.exception()

    assert isinstance(error, BrokerError)
    assert (error.code, error.may_be_written) == (ErrorCode.NOT_ENOUGH_REPLICAS, True)


@pytest.mark.scenario(18)
def test_a_batch_that_cannot_be_sent_expires_and_says_why() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    error = delivery.exception()

    assert isinstance(error, DeliveryTimeoutError)
    assert (error.topic, error.partition, error.may_be_written) == (TOPIC, 0, False)
    assert "no attempt was made: broker 1" in str(error)
    desk.assert_nothing_left()


@pytest.mark.scenario(18)
def test_an_expired_batch_names_the_present_outage() -> None:
    """Before anything that failed earlier; also where there was an attempt."""
    desk = Desk()
    tried, behind = desk.send_some(2)
    desk.answer(desk.take()[0], ErrorCode.NOT_ENOUGH_REPLICAS)
    outage = desk.outages.nodes[1] = BrokerConnectionError("broker 1 at a:1: cannot connect to a:1")
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

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
    desk = Desk()
    assert str(desk.settlement.unknown_topic("nowhere")).endswith("no broker could be asked")
    desk.settlement.topic_errors({"nowhere": ErrorCode.UNKNOWN_TOPIC_OR_PARTITION})
    assert str(desk.settlement.unknown_topic("nowhere")).endswith(
        "the brokers answer UNKNOWN_TOPIC_OR_PARTITION"
    )

    outage = desk.outages.cluster = BrokerConnectionError("broker 1 at a:1: cannot connect to a:1")

    error = desk.settlement.unknown_topic("nowhere")
    assert str(error).endswith(f"no broker could be asked: {outage}")
    assert error.__cause__ is outage


def test_a_missing_producer_id_names_its_cause() -> None:
    desk = Desk()
    desk.ordering.needs_producer_id = True
    desk.outages.producer_id = BrokerConnectionError("a:1 gives none")
    (delivery,) = desk.send_some(1)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    assert str(delivery.exception()).endswith("(InitProducerId) yet: a:1 gives none")


@pytest.mark.scenario(18)
def test_a_batch_without_a_leader_expires_in_the_queue_and_others_do_not() -> None:
    desk = Desk()
    desk.lead(NO_LEADER, 2)
    (delivery,) = desk.send_some(1)
    desk.wait(DELIVERY_TIMEOUT - 1)
    (younger,) = desk.send_some(1)
    desk.expire()
    assert not delivery.done()

    desk.wait(1)
    desk.expire()

    assert "the partition has no leader" in str(delivery.exception())
    assert not younger.done()


@pytest.mark.scenario(18)
def test_the_last_failure_is_told_with_the_expiry() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    error = delivery.exception()

    assert isinstance(error, DeliveryTimeoutError)
    assert isinstance(error.__cause__, BrokerError)
    assert error.__cause__.code is ErrorCode.NOT_ENOUGH_REPLICAS
    assert "1 attempt failed" in str(error)
    assert not error.may_be_written


@pytest.mark.scenario(19)
def test_a_batch_on_the_wire_expires_and_its_memory_is_free_when_it_is_answered() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()
    used = desk.accumulator.used
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    error = delivery.exception()
    assert isinstance(error, DeliveryTimeoutError)
    assert error.may_be_written
    assert (desk.accumulator.used, desk.queue().unsettled) == (used, [batch])

    desk.answer(batch, offset=3)

    assert isinstance(delivery.exception(), DeliveryTimeoutError)
    desk.assert_nothing_left()


@pytest.mark.scenario(20)
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
    desk = Desk(batch_size=ROOMY)
    desk.deliver()
    deliveries = desk.send_some(2)
    batch = desk.take_one()
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    if code is None:
        desk.lose(batch)
    else:
        desk.answer(batch, code)
    desk.wait()

    assert desk.take() == []
    assert all(isinstance(delivery.exception(), DeliveryTimeoutError) for delivery in deliveries)
    assert desk.figure("record-error-total") == 2
    assert desk.figure("record-retry-total") == desk.figure("batch-split-total") == 0
    desk.assert_nothing_left()


@pytest.mark.scenario(20)
def test_an_expired_batch_that_is_still_being_compressed_is_not_written() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    (batch,) = desk.drain()
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    desk.settlement.unsent(batch, None, desk.now)

    desk.assert_nothing_left()
    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 1)]


def test_many_batches_expire_a_slice_at_a_time() -> None:
    """The event loop gets its turn in between."""
    desk = Desk()
    desk.deliver()
    deliveries = desk.send_some(2 * BATCHES_A_SLICE + 1)
    desk.wait(DELIVERY_TIMEOUT)

    rounds = [desk.settlement.expire(desk.now) for _ in range(3)]

    assert rounds == [True, True, False]
    assert all(isinstance(delivery.exception(), DeliveryTimeoutError) for delivery in deliveries)
    desk.assert_nothing_left()


def test_delivery_timeout_ends_waiting_for_topic() -> None:
    """It is shorter than max_block_ms here, and the error names it."""
    desk = Desk()
    delivery = desk.accumulator.append("unknown", b"", None, None, None, None)
    desk.wait(DELIVERY_TIMEOUT - 0.1)
    desk.expire()
    assert not delivery.done()

    desk.wait(0.1)
    desk.expire()

    assert isinstance(delivery.exception(), UnknownTopicError)
    assert "within delivery_timeout_ms (30000)" in str(delivery.exception())


def test_delivery_timeout_ends_waiting_for_room() -> None:
    desk = Desk()
    desk.send(b"x" * 99_900)
    desk.wait(10.0)
    (delivery,) = desk.send(b"y" * 1000)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    assert isinstance(delivery.exception(), BufferExhaustedError)
    assert "within delivery_timeout_ms (30000)" in str(delivery.exception())


@pytest.mark.parametrize("waits_for", ["topic", "room"])
def test_waiting_counts_for_delivery_timeout(waits_for: str) -> None:
    """A record that is put into a batch late expires with those that were sent when it was."""
    desk = Desk(max_block=20.0)
    if waits_for == "room":
        desk.send(b"x" * 99_900)
        (first,) = desk.take()
        (late,) = desk.send(b"y" * 1000)
    else:
        late = desk.accumulator.append("unknown", b"", None, 0, None, None)
    desk.wait(15.0)
    if waits_for == "room":
        desk.answer(first, offset=0)
        desk.accumulator.serve_line(1)
    else:
        (direct,) = desk.send_some(1)
        desk.accumulator.set_partitions("unknown", 1, None)
        desk.accumulator.set_leader("unknown", 0, LEADER, 1)
        desk.accumulator.admit(["unknown"])
        desk.accumulator.serve_line(1)
    assert desk.accumulator.next_deadline(DELIVERY_TIMEOUT) == desk.now + 15.0

    desk.wait(14.9)
    desk.expire()
    assert not late.done()
    desk.wait(0.1)
    desk.expire()

    assert isinstance(late.exception(), DeliveryTimeoutError)
    assert "within 30000 ms" in str(late.exception())
    if waits_for == "topic":
        assert not direct.done()
        desk.answer(desk.take_one(), offset=0)
    desk.assert_nothing_left()


def test_batch_is_as_old_as_its_oldest_record() -> None:
    """A record that waited for its partition is put into a batch behind one that did not."""
    desk = Desk(max_block=20.0, batch_size=1000)
    late = desk.accumulator.append(TOPIC, b"", None, PARTITIONS, None, None)
    desk.wait(5.0)
    desk.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    desk.lead(LEADER, 1, PARTITIONS)
    (direct,) = desk.send_some(1, partition=PARTITIONS)
    desk.accumulator.admit([TOPIC])
    desk.accumulator.serve_line(1)
    (batch,) = desk.take()

    assert batch.count == 2
    assert desk.now - batch.oldest_send == 5.0
    desk.lose(batch)
    desk.wait(25.0)
    desk.expire()
    for delivery in (late, direct):
        error = delivery.exception()
        assert isinstance(error, DeliveryTimeoutError)
        assert error.may_be_written


def test_retry_ends_by_age_of_oldest_record() -> None:
    desk = Desk(max_block=20.0)
    late = desk.accumulator.append(TOPIC, b"", None, PARTITIONS, None, None)
    desk.wait(15.0)
    desk.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    desk.lead(LEADER, 1, PARTITIONS)
    desk.accumulator.admit([TOPIC])
    desk.accumulator.serve_line(1)
    batch = desk.take_one()
    desk.wait(15.0)

    desk.answer(batch, ErrorCode.NOT_ENOUGH_REPLICAS)

    assert late.done()


def test_pieces_are_as_old_as_their_oldest_record() -> None:
    desk = Desk(max_block=20.0, batch_size=1000)
    late = [desk.accumulator.append(TOPIC, b"", None, PARTITIONS, None, None) for _ in range(2)]
    desk.wait(15.0)
    desk.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    desk.lead(LEADER, 1, PARTITIONS)
    desk.accumulator.admit([TOPIC])
    desk.accumulator.serve_line(2)
    desk.answer(desk.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    desk.wait(15.0)

    desk.expire()

    assert all(delivery.done() for delivery in late)


@pytest.mark.scenario(21)
def test_the_delivery_timeout_runs_from_the_first_record_through_retries_and_splits() -> None:
    desk = Desk(batch_size=ROOMY)
    deliveries = desk.send(b"x" * 60, b"y" * 60)
    batch = desk.take_one()
    desk.wait(20)
    desk.answer(batch, ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.wait()
    desk.answer(desk.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    desk.wait(8)
    desk.expire()
    assert not any(delivery.done() for delivery in deliveries)

    desk.wait(1)
    desk.expire()

    assert all(isinstance(delivery.exception(), DeliveryTimeoutError) for delivery in deliveries)
    desk.assert_nothing_left()


@pytest.mark.scenario(21)
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
    desk = Desk()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()
    desk.wait(DELIVERY_TIMEOUT)

    if code is None:
        desk.lose(batch)
    else:
        desk.answer(batch, code)

    error = delivery.exception()
    assert isinstance(error, DeliveryTimeoutError)
    assert "1 attempt failed, the last with: " in str(error)
    assert isinstance(error.__cause__, BrokerConnectionError if code is None else BrokerError)
    assert error.may_be_written is may_be_written
    assert desk.figure("record-error-total") == 1
    assert desk.figure("record-retry-total") == 0
    desk.assert_nothing_left()


@pytest.mark.scenario(22)
def test_a_batch_that_is_too_large_is_split_and_each_record_gets_its_offset() -> None:
    desk = Desk(batch_size=200)
    deliveries = desk.send(*(b"x" * 60 for _ in range(2)))
    used = desk.accumulator.used
    desk.answer(desk.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    assert desk.accumulator.used == used + 61

    for offset in (40, 41):
        piece = desk.take_one()
        assert (piece.count, piece.attempts) == (1, 0)
        desk.answer(piece, offset=offset)

    assert [delivery.result().offset for delivery in deliveries] == [40, 41]
    desk.assert_nothing_left()


def test_batch_larger_than_segment_is_split() -> None:
    """Java fails such a batch; the leader refuses it by size, as with MESSAGE_TOO_LARGE."""
    desk = Desk(batch_size=200)
    first, second = desk.send(b"x" * 60, b"x" * 60)
    desk.answer(desk.take_one(), ErrorCode.RECORD_LIST_TOO_LARGE)

    desk.answer(desk.take_one(), offset=40)
    desk.answer(desk.take_one(), ErrorCode.RECORD_LIST_TOO_LARGE)

    assert first.result().offset == 40
    error = second.exception()
    assert isinstance(error, RecordTooLargeError)
    assert "the topic's segment.bytes" in str(error)
    assert isinstance(error.__cause__, BrokerError)
    assert error.__cause__.code is ErrorCode.RECORD_LIST_TOO_LARGE
    desk.assert_nothing_left()


@pytest.mark.scenario(22)
def test_a_batch_that_came_back_before_goes_before_the_pieces() -> None:
    desk = Desk(batch_size=150)
    desk.deliver()
    desk.send(*(b"x" * 25 for _ in range(4)))
    older, too_large = desk.take()
    desk.answer(older, ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.answer(too_large, ErrorCode.MESSAGE_TOO_LARGE)
    desk.wait()

    assert desk.take_one() is older
    desk.answer(older, offset=1)
    assert desk.take_one().count == 1


@pytest.mark.scenario(22)
def test_a_lost_batch_that_turns_out_too_large_leaves_its_pieces_in_doubt() -> None:
    desk = Desk(batch_size=150)
    desk.deliver()
    first, _ = desk.send(*(b"x" * 25 for _ in range(2)))
    desk.lose(desk.take_one())
    desk.wait()
    desk.answer(desk.take_one(), ErrorCode.MESSAGE_TOO_LARGE)

    desk.answer(desk.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    error = first.exception()
    assert error is not None
    assert error.may_be_written


@pytest.mark.scenario(23)
@pytest.mark.parametrize("batch_size", [100, 300, ROOMY])
@pytest.mark.parametrize("limit", [100, 150, 250])
def test_splitting_goes_on_until_the_pieces_fit(batch_size: int, limit: int) -> None:
    desk = Desk(batch_size=batch_size)
    desk.deliver()
    deliveries = desk.send(*(b"%02d" % number + b"x" * 20 for number in range(10)))
    stored: list[bytes | None] = []
    while batches := desk.take():
        for batch in batches:
            if batch.queue.unsettled and batch.queue.unsettled[0] is not batch:
                desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
            elif batch.size > limit:
                desk.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)
            else:
                offset = len(stored)
                stored += [record.value for record in desk.write(batch).records()]
                desk.answer(batch, offset=offset)
        desk.wait()

    assert [value[:2] for value in stored if value] == [b"%02d" % number for number in range(10)]
    assert [delivery.result().offset for delivery in deliveries] == list(range(10))
    desk.assert_nothing_left()


@pytest.mark.scenario(24)
def test_a_record_that_is_too_large_by_itself_fails_and_later_ones_go_on() -> None:
    desk = Desk(batch_size=200)
    small, large, later = desk.send(b"", b"x" * 120, b"")
    batch = desk.take_one()
    desk.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)
    desk.answer(desk.take_one(), offset=0)
    piece, next_batch = desk.take()
    desk.answer(piece, ErrorCode.MESSAGE_TOO_LARGE)
    desk.answer(next_batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()
    desk.answer(desk.take_one(), offset=1)

    error = large.exception()
    assert isinstance(error, RecordTooLargeError)
    assert (error.topic, error.size, error.limit) == (TOPIC, piece.size, None)
    assert isinstance(error.__cause__, BrokerError)
    assert "max.message.bytes" in str(error)
    assert (small.result().offset, later.result().offset) == (0, 1)
    desk.assert_nothing_left()


@pytest.mark.scenario(25)
def test_only_the_refused_record_gets_its_error() -> None:
    desk = Desk(batch_size=ROOMY)
    innocent, guilty = desk.send_some(2)

    desk.answer(
        desk.take_one(), ErrorCode.INVALID_TIMESTAMP, refused={1: "the future is not allowed"}, message="no"
    )

    error = guilty.exception()
    assert isinstance(error, InvalidRecordError)
    assert (error.code, error.reason) == (ErrorCode.INVALID_TIMESTAMP, "the future is not allowed")
    other = innocent.exception()
    assert isinstance(other, BatchRefusedError)
    assert "send it again" in str(other)
    assert not other.may_be_written


@pytest.mark.scenario(25)
def test_several_refused_records_are_invalid_whatever_the_code_of_the_batch() -> None:
    desk = Desk(batch_size=ROOMY)
    deliveries = desk.send_some(3)

    desk.answer(desk.take_one(), ErrorCode.POLICY_VIOLATION, refused={0: None, 2: "bad"}, message="policy")

    errors = [delivery.exception() for delivery in deliveries]
    assert [type(error) for error in errors] == [InvalidRecordError, BatchRefusedError, InvalidRecordError]
    assert [error.reason for error in errors if isinstance(error, BrokerError)] == ["policy", "policy", "bad"]


@pytest.mark.scenario(25)
def test_the_refused_records_of_a_batch_that_was_in_doubt_stay_in_doubt() -> None:
    desk = Desk(batch_size=ROOMY)
    deliveries = desk.send_some(2)
    desk.lose(desk.take_one())
    desk.wait()

    desk.answer(desk.take_one(), ErrorCode.INVALID_TIMESTAMP, refused={0: "too old by now"})

    errors = [delivery.exception() for delivery in deliveries]
    assert all(error is not None and error.may_be_written for error in errors)
    assert "send it again" not in str(errors[1])


@pytest.mark.scenario(26)
def test_what_expects_no_answer_is_done_at_an_offset_that_nobody_knows() -> None:
    desk = Desk(idempotent=False)
    (delivery,) = desk.send_some(1)

    desk.settlement.stored_unasked(desk.take_one(), desk.now)

    assert delivery.result().offset == -1
    desk.assert_nothing_left()


@pytest.mark.scenario(27)
@pytest.mark.parametrize("code", [ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND])
def test_too_few_replicas_are_waited_for(code: ErrorCode) -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    for _ in range(20):
        desk.answer(desk.take_one(), code)
        desk.wait()

    batch = desk.take_one()
    assert numbers([batch]) == [(0, 0)]
    desk.answer(batch, offset=9)

    assert delivery.result().offset == 9


@pytest.mark.scenario(28)
@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID])
def test_a_topic_that_is_gone_fails_its_records_in_time(code: ErrorCode) -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    for _ in range(int(DELIVERY_TIMEOUT)):
        for batch in desk.take():
            desk.answer(batch, code)
        desk.wait()
        desk.expire()

    error = delivery.exception()
    assert isinstance(error, DeliveryTimeoutError)
    assert code.name in str(error)
    desk.assert_nothing_left()


@pytest.mark.scenario(28)
def test_a_topic_that_comes_back_gets_its_records() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    desk.wait()
    desk.answer(desk.take_one(), offset=0)
    assert delivery.result().offset == 0


@pytest.mark.scenario(29)
def test_the_brokers_own_words_are_kept() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)

    desk.answer(desk.take_one(), ErrorCode.POLICY_VIOLATION, message="no more than 3 headers")

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
    desk = Desk()
    (delivery,) = desk.send_some(1)

    desk.answer(desk.take_one(), code)

    assert type(delivery.exception()) is kind
    assert desk.failure is None
    desk.assert_nothing_left()


def test_an_error_code_that_is_not_known_is_told_by_its_number() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)

    desk.answer(desk.take_one(), 9999)

    error = delivery.exception()
    assert error is not None
    assert "error code 9999" in str(error)
    assert error.may_be_written


@pytest.mark.parametrize("idempotent", [True, False])
def test_what_ends_the_producer_fails_the_batch_and_is_told(*, idempotent: bool) -> None:
    desk = Desk(idempotent=idempotent)
    (delivery,) = desk.send_some(1)

    desk.answer(desk.take_one(), ErrorCode.CLUSTER_AUTHORIZATION_FAILED)

    error = delivery.exception()
    assert error is not None
    assert error.fatal is idempotent
    assert (desk.failure is not None) is idempotent


@pytest.mark.scenario(30)
def test_five_in_flight_are_sent_again_one_by_one_in_their_order() -> None:
    desk = Desk()
    desk.deliver()
    deliveries = desk.send_some(5)
    batches = desk.take()
    desk.answer(batches[0], ErrorCode.CORRUPT_MESSAGE)
    for batch in batches[1:]:
        desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    for offset, batch in enumerate(batches):
        assert desk.take_one() is batch
        desk.answer(batch, offset=offset)

    assert numbers(batches) == [(0, number) for number in range(1, 6)]
    assert [delivery.result().offset for delivery in deliveries] == list(range(5))
    desk.assert_nothing_left()


def test_who_waits_for_those_before_it_does_not_hold_them_back() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    first, second = desk.take()
    desk.answer(first, ErrorCode.CORRUPT_MESSAGE)
    desk.wait(BACKOFF * 0.9)
    desk.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait(BACKOFF * 0.2)

    assert desk.take_one() is first


@pytest.mark.scenario(31)
def test_when_the_first_of_several_is_refused_the_others_are_delivered() -> None:
    desk = Desk()
    desk.deliver()
    refused, *others = desk.send_some(3)
    batches = desk.take()
    desk.answer(batches[0], ErrorCode.POLICY_VIOLATION)
    for batch in batches[1:]:
        desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()
    for offset in (1, 2):
        desk.answer(desk.take_one(), offset=offset)

    assert refused.exception() is not None
    assert [delivery.result().offset for delivery in others] == [1, 2]
    desk.assert_nothing_left()


@pytest.mark.scenario(34)
def test_a_duplicate_is_a_success_at_an_offset_that_nobody_knows() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    desk.lose(desk.take_one())
    desk.wait()

    desk.answer(desk.take_one(), ErrorCode.DUPLICATE_SEQUENCE_NUMBER)

    assert delivery.result().offset == -1
    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 1)]


@pytest.mark.scenario(35)
def test_what_was_lost_is_asked_for_again_under_its_number() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    batches = desk.take()
    for batch in batches:
        desk.lose(batch)
    desk.wait()

    for batch in batches:
        assert desk.take_one() is batch
        desk.answer(batch, offset=batch.sequence)

    assert numbers(batches) == [(0, 1), (0, 2)]


@pytest.mark.scenario(35)
def test_a_batch_that_the_answer_leaves_out_is_sent_again() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()

    desk.settlement.lost(batch, no_answer(batch, 1), desk.now)
    desk.wait()

    assert desk.take_one() is batch
    assert isinstance(batch.last_error, BrokerConnectionError)
    assert str(batch.last_error) == "broker 1 left orders-0 out of its answer"
    assert not delivery.done()


@pytest.mark.scenario(36)
def test_what_expires_unsent_leaves_no_gap_and_what_was_sent_does_not_stop_the_partition() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    sent = desk.take_one()
    desk.lose(sent)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()
    assert sent.result.done

    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 2)]


@pytest.mark.scenario(37)
@pytest.mark.parametrize("is_written", [True, False])
def test_what_comes_after_an_expired_batch_tells_whether_it_was_written(*, is_written: bool) -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    desk.lose(desk.take_one())
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()

    if not is_written:
        desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        desk.wait()
        assert desk.take_one() is batch
    desk.answer(batch, offset=2)

    assert delivery.result().offset == 2
    assert desk.sequencer.producer_epoch == (0 if is_written else 1)
    desk.assert_nothing_left()


@pytest.mark.scenario(37)
def test_what_expires_first_of_several_on_the_wire_keeps_its_number_until_it_is_answered() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    first = desk.take_one()
    desk.wait(10)
    (delivery,) = desk.send_some(1)
    second = desk.take_one()
    desk.wait(DELIVERY_TIMEOUT - 10)
    desk.expire()
    assert first.result.done
    assert not delivery.done()

    desk.lose(first)
    desk.lose(second)
    desk.wait()

    assert desk.take_one() is second
    assert numbers([second]) == [(0, 2)]
    desk.answer(second, offset=2)
    assert delivery.result().offset == 2
    desk.assert_nothing_left()


@pytest.mark.scenario(38, 43)
@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN_PRODUCER_ID, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER])
def test_a_broker_that_has_forgotten_the_producer_gets_a_new_epoch(code: ErrorCode) -> None:
    desk = Desk()
    desk.deliver(3)
    deliveries = desk.send_some(2)
    for batch in desk.take():
        desk.answer(batch, code)
    desk.wait()
    for offset in (0, 1):
        batch = desk.take_one()
        assert numbers([batch]) == [(1, offset)]
        desk.answer(batch, offset=offset)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1]


def test_an_epoch_that_is_refused_fails_the_batch_and_is_not_used_again() -> None:
    desk = Desk()
    desk.deliver()
    (delivery,) = desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.INVALID_PRODUCER_EPOCH)

    assert delivery.exception() is not None
    assert desk.failure is None
    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(1, 0)]


@pytest.mark.scenario(41)
def test_with_one_in_flight_and_no_numbers_a_failure_does_not_let_later_ones_pass() -> None:
    desk = Desk(idempotent=False, in_flight=1)
    deliveries = desk.send_some(3)
    desk.lose(desk.take_one())
    assert desk.take() == []
    desk.wait()
    for offset in range(3):
        desk.answer(desk.take_one(), offset=offset)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]


@pytest.mark.scenario(42)
def test_who_waits_for_a_producer_id_that_is_not_given_fails() -> None:
    desk = Desk()
    desk.sequencer.needs_producer_id = True
    (delivery,) = desk.send_some(1)
    assert desk.take() == []
    refusal = BrokerError.of(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "no producer id")

    desk.settlement.give_up(lambda _may_be_written: refusal, desk.now)

    assert isinstance(delivery.exception(), AuthorizationError)
    desk.assert_nothing_left()


def test_what_expires_for_want_of_a_producer_id_says_so() -> None:
    desk = Desk()
    desk.sequencer.needs_producer_id = True
    (delivery,) = desk.send_some(1)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    assert "producer id" in str(delivery.exception())


def test_what_was_drained_and_cannot_be_written_goes_back_or_fails() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    (batch,) = desk.drain()
    desk.settlement.unsent(batch, None, desk.now)
    assert desk.take_one() is batch
    assert batch.attempts == 0

    desk.settlement.unsent(batch, UnsupportedVersionError("the broker is too old"), desk.now)

    error = delivery.exception()
    assert isinstance(error, UnsupportedVersionError)
    assert not error.may_be_written
    desk.assert_nothing_left()


def test_one_error_for_many_batches_says_of_each_whether_it_may_be_written() -> None:
    desk = Desk(retries=1)
    desk.send_some(1)
    desk.lose(desk.take_one())
    desk.wait()
    (sent,) = (batch.result for batch in desk.take())
    desk.send_some(1, partition=1)
    (fresh,) = (batch.result for batch in desk.take())
    error = UnsupportedVersionError("the broker is too old")

    for batch in (desk.queue().unsettled[0], desk.queue(1).unsettled[0]):
        desk.settlement.unsent(batch, error, desk.now)

    assert sent.error is not None
    assert fresh.error is not None
    assert (sent.error.may_be_written, fresh.error.may_be_written) == (True, False)


def test_giving_up_ends_everything_and_says_what_may_be_written() -> None:
    desk = Desk()
    desk.deliver()
    on_wire, queued = desk.send(b"1", b"2")
    (batch,) = desk.drain()
    desk.write(batch)

    desk.settlement.give_up(
        lambda may_be_written: ProducerClosedError("stopped", may_be_written=may_be_written), desk.now
    )

    errors = [delivery.exception() for delivery in (on_wire, queued)]
    assert [error.may_be_written for error in errors if error is not None] == [True, False]
    assert desk.accumulator.used == batch.charged
    desk.lose(batch)
    desk.assert_nothing_left()


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
    desk = Desk()
    delivery = desk.accumulator.append("secret", b"", None, None, None, None)
    other = desk.accumulator.append("later", b"", None, None, None, None)

    desk.settlement.topic_errors({"secret": code})

    assert not desk.settlement.see_off()
    assert type(delivery.exception()) is kind
    assert not other.done()
    assert desk.accumulator.line.topics() == ["later"]


SLICES = (RECORDS_A_SLICE, RECORDS_A_SLICE, 10)

ROOM_FOR_ALL = 500_000


def _records_in_line(desk: Desk, topic: str) -> list[Delivery]:
    return [desk.accumulator.append(topic, b"", None, None, None, None) for _ in range(sum(SLICES))]


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
    desk = Desk(buffer_memory=ROOM_FOR_ALL)
    deliveries = _records_in_line(desk, "secret")
    desk.settlement.topic_errors({"secret": ErrorCode.TOPIC_AUTHORIZATION_FAILED})

    assert desk.settlement.see_off()
    assert _ends(deliveries) == [SLICES[0], 0, 0]
    assert desk.settlement.see_off()
    assert _ends(deliveries) == [SLICES[0], SLICES[1], 0]
    assert not desk.settlement.see_off()
    assert _ends(deliveries) == [*SLICES]
    assert {type(delivery.exception()) for delivery in deliveries[:: RECORDS_A_SLICE // 2]} == {
        AuthorizationError
    }
    assert desk.accumulator.line.bytes == 0

    deliveries.clear()
    (told,) = _mentions(caplog)
    assert f"of {sum(SLICES)} records for secret-?" in told


def test_who_comes_while_others_are_seen_off_is_none_of_them() -> None:
    """However many come: otherwise those who try again at once would keep it going for ever."""
    desk = Desk(buffer_memory=ROOM_FOR_ALL)
    deliveries = _records_in_line(desk, "secret")
    desk.settlement.topic_errors({"secret": ErrorCode.TOPIC_AUTHORIZATION_FAILED})
    later = []
    while desk.settlement.see_off():
        later += _records_in_line(desk, "secret")

    assert all(delivery.done() for delivery in deliveries)
    assert not any(delivery.done() for delivery in later)
    assert desk.accumulator.line.topics() == ["secret"]


def test_many_records_that_wait_for_a_topic_in_vain_fail_slice_by_slice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(buffer_memory=ROOM_FOR_ALL)
    deliveries = _records_in_line(desk, "nowhere")
    desk.wait(60.0)

    assert desk.settlement.expire(desk.now)
    assert _ends(deliveries) == [SLICES[0], 0, 0]
    assert desk.settlement.expire(desk.now)
    assert not desk.settlement.expire(desk.now)
    assert _ends(deliveries) == [*SLICES]
    assert type(deliveries[-1].exception()) is UnknownTopicError
    deliveries.clear()
    (told,) = _mentions(caplog)
    assert f"of {sum(SLICES)} records for nowhere-?" in told


def test_what_is_said_of_a_full_slice_is_not_said_of_who_comes_later() -> None:
    desk = Desk(buffer_memory=ROOM_FOR_ALL)
    for _ in range(RECORDS_A_SLICE):
        desk.accumulator.append(TOPIC, b"", None, PARTITIONS + 5, None, None)
    desk.wait(60.0)
    desk.expire()

    desk.accumulator.set_partitions(TOPIC, PARTITIONS + 1, None)
    (later,) = desk.send_some(1, partition=PARTITIONS + 5)
    desk.wait(60.0)
    desk.expire()
    assert f"has {PARTITIONS + 1} partitions" in str(later.exception())


def test_many_records_that_find_no_room_fail_slice_by_slice() -> None:
    desk = Desk(buffer_memory=ROOM_FOR_ALL)
    batch = desk.send(b"v" * (ROOM_FOR_ALL - OVERHEAD))[0]
    taken = desk.take_one()
    deliveries = desk.send_some(sum(SLICES))
    desk.wait(60.0)

    assert desk.settlement.expire(desk.now)
    assert _ends(deliveries) == [SLICES[0], 0, 0]
    desk.expire()
    assert _ends(deliveries) == [*SLICES]
    assert type(deliveries[-1].exception()) is BufferExhaustedError
    assert desk.accumulator.waiting == desk.accumulator.line.bytes == 0
    assert desk.figure("buffer-exhausted-total") == sum(SLICES)
    assert isinstance(batch.exception(), DeliveryTimeoutError)
    desk.answer(taken)
    desk.assert_nothing_left()


@pytest.mark.scenario(52)
def test_a_topic_that_does_not_appear_fails_its_records_with_what_the_brokers_said() -> None:
    desk = Desk(max_block=20.0)
    asked, found, forgotten = (
        desk.accumulator.append(topic, b"", None, None, None, None) for topic in ("a", "b", "c")
    )
    desk.settlement.topic_errors(dict.fromkeys("abc", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
    desk.settlement.topic_found("b")
    desk.settlement.topic_forgotten("c")
    assert not asked.done()

    desk.wait(20.0)
    desk.expire()

    assert all(isinstance(delivery.exception(), UnknownTopicError) for delivery in (asked, found, forgotten))
    assert "within max_block_ms (20000): the brokers answer UNKNOWN_TOPIC" in str(asked.exception())
    assert "no broker could be asked" in str(found.exception())
    assert "no broker could be asked" in str(forgotten.exception())
    desk.assert_nothing_left()


@pytest.mark.scenario(51)
def test_a_partition_that_the_topic_does_not_get_fails_its_records() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1, partition=PARTITIONS)
    desk.wait(60.0)
    desk.expire()

    error = delivery.exception()

    assert isinstance(error, UnknownPartitionError)
    assert (error.topic, error.partition, error.partitions) == (TOPIC, PARTITIONS, PARTITIONS)
    assert not error.may_be_written


@pytest.mark.scenario(6)
def test_a_record_that_finds_no_room_says_how_much_is_in_use() -> None:
    desk = Desk()
    desk.send(b"x" * 99_900)
    (delivery,) = desk.send(b"y" * 1000)
    assert desk.accumulator.waiting == 1
    desk.wait(60.0)
    desk.expire()

    error = delivery.exception()

    assert isinstance(error, BufferExhaustedError)
    assert "of 100000 bytes (buffer_memory) are in use" in str(error)
    assert (desk.accumulator.waiting, desk.figure("buffer-exhausted-total")) == (0, 1)


@pytest.mark.scenario(85)
def test_giving_up_ends_those_in_line_too() -> None:
    desk = Desk()
    desk.send(b"x" * 99_900)
    (for_room,) = desk.send(b"y" * 1000)
    for_topic = desk.accumulator.append("later", b"", None, None, None, None)

    desk.settlement.give_up(
        lambda may_be_written: ProducerClosedError("stopped", may_be_written=may_be_written), desk.now
    )

    for delivery in (for_room, for_topic):
        error = delivery.exception()
        assert isinstance(error, ProducerClosedError)
        assert not error.may_be_written
    assert len(desk.accumulator.line) == desk.accumulator.waiting == 0
    desk.assert_nothing_left()


@pytest.mark.parametrize("code", [ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.NOT_ENOUGH_REPLICAS])
def test_an_expired_batch_that_is_refused_late_gives_its_number_to_the_next(code: ErrorCode) -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    batch = desk.take_one()
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    desk.answer(batch, code)

    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 1)]


def test_an_expired_batch_whose_retry_was_never_written_gives_its_number_to_the_next() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.wait()
    (batch,) = desk.drain()
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    desk.settlement.unsent(batch, None, desk.now)

    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 1)]


@pytest.mark.scenario(32)
def test_a_batch_that_begins_anew_backs_off_before_it_is_sent_again() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    batch = desk.take_one()
    desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    assert desk.take() == []
    desk.wait(BACKOFF * 1.01)
    assert desk.take_one() is batch


@pytest.mark.scenario(29)
def test_the_brokers_own_words_are_kept_where_the_order_is_in_doubt() -> None:
    desk = Desk()
    desk.deliver()
    (delivery,) = desk.send_some(1)
    desk.lose(desk.take_one())
    desk.wait()

    desk.answer(desk.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, message="expected 7")

    error = delivery.exception()
    assert isinstance(error, BrokerError)
    assert error.reason == "expected 7"


@pytest.mark.scenario(24)
def test_a_record_that_is_too_large_says_how_large_and_keeps_its_cause_in_doubt_too() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)
    desk.lose(desk.take_one())
    desk.wait()
    batch = desk.take_one()

    desk.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)

    error = delivery.exception()
    assert isinstance(error, RecordTooLargeError)
    assert f"a record of {batch.size} bytes (with its batch's header) for orders-0" in str(error)
    assert error.may_be_written
    assert isinstance(error.__cause__, BrokerError)


@pytest.mark.scenario(25)
def test_a_refused_record_says_which_of_its_batch_it_was() -> None:
    desk = Desk(batch_size=ROOMY)
    _, guilty = desk.send_some(2)

    desk.answer(desk.take_one(), ErrorCode.INVALID_RECORD, refused={1: "no key"})

    assert str(guilty.exception()).startswith("record 1 of a batch for orders-0: ")


@pytest.mark.scenario(18)
def test_an_expiry_says_how_long_it_took_and_how_long_it_might() -> None:
    desk = Desk()
    desk.lead(0, 2)
    (delivery,) = desk.send_some(1)
    desk.wait(DELIVERY_TIMEOUT + 1)
    desk.expire()

    words = "1 record for orders-0 not acknowledged within 31000 ms (delivery_timeout_ms is 30000)"
    assert str(delivery.exception()).startswith(words)
    assert "broker 0, which leads the partition" in str(delivery.exception())


@pytest.mark.scenario(18)
def test_each_of_several_that_expire_has_the_cause_that_is_its_own() -> None:
    desk = Desk()
    desk.deliver()
    deliveries = desk.send_some(2)
    first, second = desk.take()
    deliveries += desk.send_some(1)
    desk.answer(first, ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    causes = [error.__cause__ for delivery in deliveries if (error := delivery.exception()) is not None]

    assert [cause.code for cause in causes if isinstance(cause, BrokerError)] == [
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        # It was never sent: what it waited for is why.
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ]


@pytest.mark.scenario(89)
def test_what_becomes_of_a_batch_counts_for_its_topic() -> None:
    desk = Desk()
    desk.deliver(2)
    desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.wait()
    desk.take()
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    counts = desk.metrics.snapshot(desk.now, {})["producer-topic-metrics"][TOPIC]

    assert {what: counts[f"record-{what}-total"] for what in ("send", "retry", "error")} == {
        "send": 2,
        "retry": 1,
        "error": 1,
    }


@pytest.mark.scenario(53)
def test_a_topic_that_is_forgotten_has_no_metrics_and_one_never_missed_is_found_all_the_same() -> None:
    desk = Desk()
    desk.deliver()
    desk.settlement.topic_found(TOPIC)
    assert TOPIC in desk.metrics.snapshot(desk.now, {})["producer-topic-metrics"]

    desk.settlement.topic_forgotten(TOPIC)

    assert desk.metrics.snapshot(desk.now, {})["producer-topic-metrics"] == {}


@pytest.mark.scenario(6, 51)
def test_who_waited_in_line_too_long_says_for_what_and_how_long() -> None:
    desk = Desk(max_block=20.0)
    desk.send(b"x" * 99_900)
    (for_room,) = desk.send(b"y" * 1000)
    (for_partition,) = desk.send_some(1, partition=PARTITIONS)
    desk.wait(20.0)
    desk.expire()

    words = "no room for a record for topic 'orders' within max_block_ms (20000): "
    assert str(for_room.exception()).startswith(words)
    words = "topic 'orders' has 3 partitions and got no partition 3 within max_block_ms (20000)"
    assert str(for_partition.exception()) == words


def test_an_error_code_that_is_known_is_not_called_unknown() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1)

    desk.answer(desk.take_one(), ErrorCode.UNKNOWN_SERVER_ERROR)

    assert str(delivery.exception()) == "1 record for orders-0: UNKNOWN_SERVER_ERROR (-1)"


@pytest.mark.scenario(18, 51)
def test_what_is_in_a_partition_that_went_away_expires_for_want_of_a_leader() -> None:
    desk = Desk()
    (delivery,) = desk.send_some(1, partition=2)
    desk.accumulator.set_partitions(TOPIC, 2, None)
    desk.wait(DELIVERY_TIMEOUT)
    desk.expire()

    assert "the partition has no leader" in str(delivery.exception())
