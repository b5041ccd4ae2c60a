"""The settlement: batches are stored, retried, split or failed."""

from __future__ import annotations

import pytest

from aioproducer.core.failures import no_response
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
    UnknownTopicError,
    UnsupportedVersionError,
)
from tests.core.harness import (
    BACKOFF,
    DELIVERY_TIMEOUT,
    LEADER,
    OTHER,
    TOPIC,
    DeliveryHarness,
    numbers,
)
from tests.core.test_outcome import PASSING, STALE_LEADER

ROOMY = 1000
"""A `batch_size` for a handful of records."""


def test_stored_batch_resolves_its_records() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    deliveries = harness.send_some(3)

    harness.answer(harness.take_one(), offset=70)

    assert [delivery.result().offset for delivery in deliveries] == [70, 71, 72]
    harness.assert_nothing_left()


@pytest.mark.scenario("retry-backoff")
@pytest.mark.parametrize("code", sorted(PASSING))
def test_retry_backoff_grows(code: ErrorCode) -> None:
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
def test_lost_batch_is_retried() -> None:
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
def test_new_leader_has_no_backoff(*, answer_first: bool) -> None:
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
def test_last_retry_gives_the_error(retries: int) -> None:
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
def test_error_says_may_be_written(code: ErrorCode) -> None:
    harness = DeliveryHarness(retries=1)
    (delivery,) = harness.send_some(1)
    harness.answer(harness.take_one(), code)
    harness.wait()
    harness.answer(harness.take_one(), ErrorCode.NOT_ENOUGH_REPLICAS)

    error = delivery.exception()

    assert isinstance(error, BrokerError)
    assert (error.code, error.may_be_written) == (ErrorCode.NOT_ENOUGH_REPLICAS, True)


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


@pytest.mark.scenario("split-too-large")
def test_split_batch_resolves_each_record() -> None:
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
def test_earlier_retry_goes_before_pieces() -> None:
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
def test_pieces_of_lost_batch_are_in_doubt() -> None:
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
def test_split_repeats_until_pieces_fit(batch_size: int, limit: int) -> None:
    harness = DeliveryHarness(batch_size=batch_size)
    harness.deliver()
    deliveries = harness.send(*(b"%02d" % number + b"x" * 20 for number in range(10)))
    stored: list[bytes | None] = []
    while batches := harness.take():
        for batch in batches:
            if batch.queue.sequences.in_flight and batch.queue.sequences.in_flight[0] is not batch:
                harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
            elif len(batch.builder.buffer) > limit:
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
def test_single_too_large_record_fails() -> None:
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
    assert (error.topic, error.size, error.limit) == (TOPIC, len(piece.builder.buffer), None)
    assert isinstance(error.__cause__, BrokerError)
    assert "max.message.bytes" in str(error)
    assert (small.result().offset, later.result().offset) == (0, 1)
    harness.assert_nothing_left()


@pytest.mark.scenario("record-errors")
def test_refused_record_gets_own_error() -> None:
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
def test_several_refused_records_are_invalid() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    deliveries = harness.send_some(3)

    harness.answer(
        harness.take_one(), ErrorCode.POLICY_VIOLATION, refused={0: None, 2: "bad"}, message="policy"
    )

    errors = [delivery.exception() for delivery in deliveries]
    assert [type(error) for error in errors] == [InvalidRecordError, BatchRefusedError, InvalidRecordError]
    assert [error.reason for error in errors if isinstance(error, BrokerError)] == ["policy", "policy", "bad"]


@pytest.mark.scenario("record-errors")
def test_refused_records_stay_in_doubt() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    deliveries = harness.send_some(2)
    harness.lose(harness.take_one())
    harness.wait()

    harness.answer(harness.take_one(), ErrorCode.INVALID_TIMESTAMP, refused={0: "too old by now"})

    errors = [delivery.exception() for delivery in deliveries]
    assert all(error is not None and error.may_be_written for error in errors)
    assert "send it again" not in str(errors[1])


@pytest.mark.scenario("acks-zero")
def test_acks_0_gives_no_offset() -> None:
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
def test_deleted_topic_fails_its_records(code: ErrorCode) -> None:
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
def test_recreated_topic_gets_its_records() -> None:
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
def test_refusal_has_its_own_error(code: ErrorCode, kind: type[ProducerError]) -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), code)

    assert type(delivery.exception()) is kind
    assert harness.failure is None
    harness.assert_nothing_left()


def test_unknown_code_is_named_by_number() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), 9999)

    error = delivery.exception()
    assert error is not None
    assert "error code 9999" in str(error)
    assert error.may_be_written


@pytest.mark.parametrize("idempotent", [True, False])
def test_fatal_code_fails_the_producer(*, idempotent: bool) -> None:
    harness = DeliveryHarness(idempotent=idempotent)
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), ErrorCode.CLUSTER_AUTHORIZATION_FAILED)

    error = delivery.exception()
    assert error is not None
    assert error.fatal is idempotent
    assert (harness.failure is not None) is idempotent


@pytest.mark.scenario("first-of-five-retried")
def test_five_in_flight_are_retried_in_order() -> None:
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


def test_out_of_order_batch_causes_no_backoff() -> None:
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
def test_refused_first_batch_stops_no_others() -> None:
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
def test_duplicate_succeeds_without_offset() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    harness.lose(harness.take_one())
    harness.wait()

    harness.answer(harness.take_one(), ErrorCode.DUPLICATE_SEQUENCE_NUMBER)

    assert delivery.result().offset == -1
    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


@pytest.mark.scenario("response-lost")
def test_lost_batch_keeps_its_sequence() -> None:
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
def test_batch_missing_in_response_is_retried() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()

    harness.settlement.lost(batch, no_response(batch, 1), harness.now)
    harness.wait()

    assert harness.take_one() is batch
    assert isinstance(batch.last_error, BrokerConnectionError)
    assert str(batch.last_error) == "broker 1 left orders-0 out of its answer"
    assert not delivery.done()


@pytest.mark.scenario("unknown-producer-id", "producer-id-expired")
@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN_PRODUCER_ID, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER])
def test_unknown_producer_gets_new_epoch(code: ErrorCode) -> None:
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


def test_refused_epoch_is_not_reused() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    (delivery,) = harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.INVALID_PRODUCER_EPOCH)

    assert delivery.exception() is not None
    assert harness.failure is None
    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(1, 0)]


@pytest.mark.scenario("one-in-flight")
def test_one_in_flight_keeps_order() -> None:
    harness = DeliveryHarness(idempotent=False, in_flight=1)
    deliveries = harness.send_some(3)
    harness.lose(harness.take_one())
    assert harness.take() == []
    harness.wait()
    for offset in range(3):
        harness.answer(harness.take_one(), offset=offset)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1, 2]


@pytest.mark.scenario("producer-id-denied")
def test_missing_producer_id_fails_batches() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.is_needed = True
    (delivery,) = harness.send_some(1)
    assert harness.take() == []
    refusal = BrokerError.of(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "no producer id")

    harness.settlement.give_up(lambda _may_be_written: refusal, harness.now)

    assert isinstance(delivery.exception(), AuthorizationError)
    harness.assert_nothing_left()


def test_unsent_batch_goes_back_or_fails() -> None:
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


def test_shared_error_differs_by_doubt() -> None:
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


def test_give_up_fails_all_batches() -> None:
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


@pytest.mark.scenario("next-out-of-order")
def test_new_epoch_retry_backs_off() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    batch = harness.take_one()
    harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    assert harness.take() == []
    harness.wait(BACKOFF * 1.01)
    assert harness.take_one() is batch


@pytest.mark.scenario("broker-message")
def test_out_of_order_keeps_broker_message() -> None:
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
def test_too_large_error_keeps_cause() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)
    harness.lose(harness.take_one())
    harness.wait()
    batch = harness.take_one()

    harness.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)

    error = delivery.exception()
    assert isinstance(error, RecordTooLargeError)
    size = len(batch.builder.buffer)
    assert f"a record of {size} bytes (with its batch's header) for orders-0" in str(error)
    assert error.may_be_written
    assert isinstance(error.__cause__, BrokerError)


@pytest.mark.scenario("record-errors")
def test_refused_record_names_its_index() -> None:
    harness = DeliveryHarness(batch_size=ROOMY)
    _, guilty = harness.send_some(2)

    harness.answer(harness.take_one(), ErrorCode.INVALID_RECORD, refused={1: "no key"})

    assert str(guilty.exception()).startswith("record 1 of a batch for orders-0: ")


@pytest.mark.scenario("metrics")
def test_topic_metrics_count_batches() -> None:
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
def test_forgotten_topic_has_no_metrics() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.settlement.topic_found(TOPIC)
    assert TOPIC in harness.metrics.snapshot(harness.now, {})["producer-topic-metrics"]

    harness.settlement.topic_forgotten(TOPIC)

    assert harness.metrics.snapshot(harness.now, {})["producer-topic-metrics"] == {}


def test_known_code_is_named() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1)

    harness.answer(harness.take_one(), ErrorCode.UNKNOWN_SERVER_ERROR)

    assert str(delivery.exception()) == "1 record for orders-0: UNKNOWN_SERVER_ERROR (-1)"
