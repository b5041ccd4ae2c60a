"""Expiry: batches that are older than the delivery timeout."""

from __future__ import annotations

import pytest

from aioproducer.core.queues import NO_LEADER
from aioproducer.core.settlement import BATCHES_A_SLICE
from aioproducer.error_code import ErrorCode
from aioproducer.errors import (
    BrokerConnectionError,
    BrokerError,
    DeliveryTimeoutError,
)
from tests.core.harness import (
    DELIVERY_TIMEOUT,
    LEADER,
    PARTITIONS,
    TOPIC,
    DeliveryHarness,
    numbers,
)

ROOMY = 1000
"""A `batch_size` for a handful of records."""


@pytest.mark.scenario("expired-unsent")
def test_unsendable_batch_expires_with_cause() -> None:
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
def test_expiry_names_present_outage() -> None:
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


def test_expiry_names_producer_id_error() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.is_needed = True
    harness.outages.producer_id = BrokerConnectionError("a:1 gives none")
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    assert str(delivery.exception()).endswith("(InitProducerId) yet: a:1 gives none")


@pytest.mark.scenario("expired-unsent")
def test_leaderless_batch_expires_alone() -> None:
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
def test_expiry_names_last_failure() -> None:
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
def test_expired_batch_in_flight_keeps_memory() -> None:
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
def test_late_response_changes_nothing(code: ErrorCode | None) -> None:
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
def test_expired_batch_in_compression_is_unsent() -> None:
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


def test_batches_expire_in_slices() -> None:
    """The event loop gets its turn in between."""
    harness = DeliveryHarness()
    harness.deliver()
    deliveries = harness.send_some(2 * BATCHES_A_SLICE + 1)
    harness.wait(DELIVERY_TIMEOUT)

    rounds = [harness.settlement.expire(harness.now) for _ in range(3)]

    assert rounds == [True, True, False]
    assert all(isinstance(delivery.exception(), DeliveryTimeoutError) for delivery in deliveries)
    harness.assert_nothing_left()


def test_batch_age_is_oldest_record() -> None:
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


def test_retry_ends_by_oldest_record() -> None:
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


def test_pieces_keep_oldest_record_age() -> None:
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
def test_delivery_timeout_spans_retries_and_splits() -> None:
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


@pytest.mark.scenario("sequence-gap")
def test_expiry_leaves_no_gap() -> None:
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
def test_next_batch_resolves_expired_doubt(*, is_written: bool) -> None:
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
def test_expired_batch_in_flight_keeps_sequence() -> None:
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


def test_expiry_names_missing_producer_id() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.is_needed = True
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    assert "producer id" in str(delivery.exception())


@pytest.mark.parametrize("code", [ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.NOT_ENOUGH_REPLICAS])
def test_late_refusal_frees_the_sequence(code: ErrorCode) -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    batch = harness.take_one()
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    harness.answer(batch, code)

    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


def test_unwritten_retry_frees_the_sequence() -> None:
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


@pytest.mark.scenario("expired-unsent")
def test_expiry_names_age_and_limit() -> None:
    harness = DeliveryHarness()
    harness.lead(0, 2)
    (delivery,) = harness.send_some(1)
    harness.wait(DELIVERY_TIMEOUT + 1)
    harness.expire()

    words = "1 record for orders-0 not acknowledged within 31000 ms (delivery_timeout_ms is 30000)"
    assert str(delivery.exception()).startswith(words)
    assert "broker 0, which leads the partition" in str(delivery.exception())


@pytest.mark.scenario("expired-unsent")
def test_each_expiry_has_its_cause() -> None:
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


@pytest.mark.scenario("expired-unsent", "new-partitions")
def test_lost_partition_expires_without_leader() -> None:
    harness = DeliveryHarness()
    (delivery,) = harness.send_some(1, partition=2)
    harness.accumulator.set_partitions(TOPIC, 2, None)
    harness.wait(DELIVERY_TIMEOUT)
    harness.expire()

    assert "the partition has no leader" in str(delivery.exception())
