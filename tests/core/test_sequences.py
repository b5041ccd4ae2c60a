"""Sequences: which batch may go, under which number, and what becomes of numbers that were not used."""

from __future__ import annotations

import pytest

from aioproducer.core.batch import NO_SEQUENCE
from aioproducer.core.producer_id import MAX_EPOCH
from aioproducer.core.sequences import SEQUENCES, Sequences, Unnumbered
from aioproducer.error_code import ErrorCode
from aioproducer.errors import UnsupportedVersionError
from tests.core.harness import LEADER, OTHER, PRODUCER_ID, TOPIC, DeliveryHarness, numbers


def test_sequences_count_records() -> None:
    harness = DeliveryHarness(batch_size=1000)
    for count in (3, 2, 4):
        harness.send_some(count)
        batch = harness.take_one()
        assert (batch.producer_id, batch.producer_epoch) == (PRODUCER_ID, 0)
        harness.answer(batch, offset=0)
        harness.wait()

    harness.send_some(1)
    assert harness.take_one().sequence == 9


def test_written_batch_has_its_sequence() -> None:
    harness = DeliveryHarness(batch_size=1000)
    harness.deliver()
    harness.send_some(3)
    (batch,) = harness.drain()

    written = harness.write(batch)

    assert (written.producer_id, written.producer_epoch) == (PRODUCER_ID, 0)
    assert (written.base_sequence, written.record_count) == (1, 3)


def test_each_partition_has_own_sequences() -> None:
    harness = DeliveryHarness()
    harness.deliver(2)
    harness.send_some(1, partition=1)
    harness.send_some(1, partition=0)

    assert {batch.queue.partition: batch.sequence for batch in harness.take()} == {1: 0, 0: 2}


def test_batches_wait_for_producer_id() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.is_needed = True
    harness.send_some(1)
    assert harness.take() == []

    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 3)
    harness.schedule.wake_all()
    assert (harness.take_one().producer_id, harness.queue().sequences.epoch) == (PRODUCER_ID + 1, 3)


def test_new_sequences_need_producer_id() -> None:
    sequences = Sequences()
    assert sequences.needs_producer_id
    sequences.producer_id.adopt(1, 0)
    assert not sequences.needs_producer_id


def test_five_batches_may_be_in_flight() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(7)
    batches = harness.take()
    assert [batch.sequence for batch in batches] == [1, 2, 3, 4, 5]

    harness.answer(batches[0], offset=1)

    assert harness.take_one().sequence == 6


def test_sequence_0_goes_alone() -> None:
    harness = DeliveryHarness()
    harness.send_some(3)
    first = harness.take_one()
    assert first.sequence == 0

    harness.answer(first, ErrorCode.LEADER_NOT_AVAILABLE)
    harness.wait()
    first = harness.take_one()
    assert first.sequence == 0

    harness.answer(first, offset=0)
    assert [batch.sequence for batch in harness.take()] == [1, 2]


def test_new_batch_waits_for_retry() -> None:
    """Else a lost answer after the other could bring it out of the five that the broker remembers."""
    harness = DeliveryHarness()
    harness.deliver()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()
    harness.answer(batch, ErrorCode.REQUEST_TIMED_OUT)
    harness.wait()
    harness.send_some(2)
    assert harness.take_one() is batch

    harness.answer(batch, offset=1)

    assert delivery.result().offset == 1
    assert len(harness.take()) == 2


def test_new_leader_waits_for_old_response() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    batches = harness.take()
    harness.lead(OTHER, 2)
    harness.send_some(1)
    assert harness.take(OTHER) == []

    harness.answer(batches[0], ErrorCode.NOT_LEADER_OR_FOLLOWER)
    assert harness.take(OTHER) == []
    harness.answer(batches[1], ErrorCode.NOT_LEADER_OR_FOLLOWER)

    first = harness.take_one(OTHER)
    assert first is batches[0]
    harness.answer(first, offset=1)
    assert harness.take_one(OTHER) is batches[1]


def test_batch_in_compression_is_not_overtaken() -> None:
    """Its sender may be replaced meanwhile, when the broker's address changes."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(3)
    (on_wire,) = harness.drain()
    harness.write(on_wire)
    (compressed,) = harness.drain()

    assert harness.drain() == []

    harness.write(compressed)
    assert compressed.sequence == 2
    harness.answer(on_wire, offset=1)
    assert harness.take_one().sequence == 3


@pytest.mark.scenario("sequence-gap")
def test_unsent_sequence_is_reused() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    first, second = harness.take()

    for batch in (second, first):
        harness.settlement.unsent(batch, desk_error(), harness.now)

    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


def test_refused_sequence_is_reused() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.INVALID_RECORD)

    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 1)]


def test_sequence_in_doubt_is_kept() -> None:
    """The broker would take what comes under it for a duplicate, and nobody would ever see it."""
    harness = DeliveryHarness(retries=1)
    harness.deliver()
    harness.send_some(1)
    batch = harness.take_one()
    harness.lose(batch)
    harness.wait()
    assert harness.take_one() is batch
    harness.answer(batch, ErrorCode.INVALID_RECORD)

    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 2)]


def test_sequence_0_in_doubt_bumps_epoch() -> None:
    """A broker that has not got it would take the others in any order."""
    harness = DeliveryHarness(retries=1)
    harness.send_some(1)
    batch = harness.take_one()
    harness.lose(batch)
    harness.wait()
    assert harness.take_one() is batch
    harness.lose(batch)

    harness.send_some(2)
    assert numbers([harness.take_one()]) == [(1, 0)]


@pytest.mark.scenario("first-of-five-fails")
def test_gap_begins_new_epoch() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(4)
    before, refused, *after = harness.take()

    harness.answer(before, offset=1)
    harness.answer(refused, ErrorCode.INVALID_RECORD)
    harness.send_some(1)
    assert harness.take() == []
    harness.answer(after[0], ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()
    assert harness.take() == []
    harness.lose(after[1])
    harness.wait()

    (first,) = harness.take()
    assert (first, first.producer_epoch, first.sequence) == (after[0], 1, 0)
    harness.answer(first, offset=2)
    assert numbers([harness.take_one()]) == [(1, 1)]


@pytest.mark.scenario("first-of-five-fails")
def test_batches_before_gap_keep_sequences() -> None:
    """It may be in the log: under a new number it would be stored twice."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(3)
    in_doubt, refused, after = harness.take()
    harness.answer(in_doubt, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
    harness.answer(refused, ErrorCode.INVALID_RECORD)
    harness.answer(after, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    assert harness.take_one() is in_doubt
    assert numbers([in_doubt]) == [(0, 1)]
    harness.answer(in_doubt, offset=1)

    assert harness.take_one() is after
    assert numbers([after]) == [(1, 0)]


def test_void_batch_is_not_in_doubt() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    refused, after = harness.take()
    harness.answer(refused, ErrorCode.INVALID_RECORD)
    harness.lose(after)
    harness.wait()

    assert harness.take_one() is after

    assert not after.maybe_written
    harness.answer(after, ErrorCode.INVALID_RECORD)
    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(1, 0)]


def test_gap_voids_batch_in_compression() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(3)
    (refused,) = harness.drain()
    harness.write(refused)
    (after,) = harness.drain()
    harness.write(after)
    (compressed,) = harness.drain()
    harness.answer(refused, ErrorCode.INVALID_RECORD)

    harness.write(compressed)
    harness.answer(after, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.lose(compressed)
    harness.wait()

    assert harness.take_one() is after
    harness.answer(after, offset=1)
    assert harness.take_one() is compressed
    assert numbers([after, compressed]) == [(1, 0), (1, 1)]


@pytest.mark.scenario("next-out-of-order")
def test_first_out_of_order_bumps_epoch() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    deliveries = harness.send_some(2)
    batches = harness.take()
    for batch in batches:
        harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    for offset, batch in enumerate(batches):
        assert harness.take_one() is batch
        harness.answer(batch, offset=offset)

    assert numbers(batches) == [(1, 0), (1, 1)]
    assert [delivery.result().offset for delivery in deliveries] == [0, 1]


@pytest.mark.scenario("later-out-of-order")
def test_later_out_of_order_waits() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    first, second = harness.take()
    harness.answer(first, ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    assert harness.take_one() is first
    harness.answer(first, offset=1)
    assert harness.take_one() is second
    assert numbers([first, second]) == [(0, 1), (0, 2)]


@pytest.mark.scenario("next-out-of-order")
def test_batch_in_doubt_keeps_sequence() -> None:
    """Java's producer numbers it anew, which may store it twice.

    A broker that was restarted remembers one batch of each producer, not five.
    """
    harness = DeliveryHarness()
    harness.deliver()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()
    harness.lose(batch)
    harness.wait()
    assert harness.take_one() is batch

    harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    error = delivery.exception()
    assert error is not None
    assert error.may_be_written
    assert "is not known" in str(error)
    harness.send_some(1)
    assert numbers([harness.take_one()]) == [(0, 2)]


@pytest.mark.scenario("next-out-of-order")
def test_last_batch_may_begin_epoch() -> None:
    """Were it in the log, it would be the last there, which every broker remembers."""
    harness = DeliveryHarness()
    harness.deliver()
    (delivery,) = harness.send_some(1)
    batch = harness.take_one()
    harness.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    harness.wait()
    assert harness.take_one() is batch
    harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    assert harness.take_one() is batch
    assert numbers([batch]) == [(1, 0)]
    harness.answer(batch, offset=1)
    assert delivery.result().offset == 1


@pytest.mark.scenario("next-out-of-order")
def test_followed_batch_in_doubt_fails() -> None:
    """They may be in the log after it, and a restarted broker remembers the last alone."""
    harness = DeliveryHarness()
    harness.deliver()
    in_doubt, last = harness.send_some(2)
    batches = harness.take()
    for batch in batches:
        harness.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    harness.wait()
    for batch in batches:
        assert harness.take_one() is batch
        harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        harness.wait()

    assert harness.take_one() is batches[1]
    assert numbers(batches) == [(0, 1), (1, 0)]
    assert in_doubt.done()
    assert not last.done()


def test_pieces_in_doubt_keep_sequences() -> None:
    """The broker knows the whole, if it has it, and not its pieces."""
    harness = DeliveryHarness(batch_size=150)
    harness.deliver()
    deliveries = harness.send(*(b"x" * 25 for _ in range(2)))
    harness.answer(harness.take_one(), ErrorCode.NOT_LEADER_OR_FOLLOWER)
    harness.wait()
    harness.answer(harness.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    for _ in range(2):
        harness.answer(harness.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    assert all(delivery.exception() is not None for delivery in deliveries)
    assert harness.take() == []


def test_new_epoch_clears_lost_attempts() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    refused, after = harness.take()
    harness.answer(refused, ErrorCode.INVALID_RECORD)
    harness.lose(after)
    harness.wait()
    for epoch in (1, 2, 3):
        assert harness.take_one() is after
        assert numbers([after]) == [(epoch, 0)]
        harness.answer(after, ErrorCode.UNKNOWN_PRODUCER_ID)
        harness.wait()


@pytest.mark.scenario("sequence-wrap")
def test_after_the_highest_sequence_comes_0() -> None:
    harness = DeliveryHarness(batch_size=1000)
    harness.deliver()
    harness.queue().sequences.next = SEQUENCES - 2
    harness.send_some(5)
    batch = harness.take_one()
    assert batch.sequence == SEQUENCES - 2
    assert harness.queue().sequences.next == 3

    harness.answer(batch, ErrorCode.INVALID_RECORD)

    assert harness.queue().sequences.next == SEQUENCES - 2


@pytest.mark.scenario("sequence-wrap")
def test_sequence_0_after_wrap_goes_alone() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.queue().sequences.next = SEQUENCES - 1
    harness.send_some(3)

    for sequence in (SEQUENCES - 1, 0, 1):
        batch = harness.take_one()
        assert batch.sequence == sequence
        harness.answer(batch, offset=sequence)


@pytest.mark.scenario("sequence-wrap")
def test_last_epoch_needs_new_id() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.adopt(PRODUCER_ID, MAX_EPOCH)
    harness.deliver()
    harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()
    assert harness.take() == []
    assert harness.sequences.needs_producer_id

    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.schedule.wake_all()

    batch = harness.take_one()
    assert (batch.producer_id, batch.producer_epoch, batch.sequence) == (PRODUCER_ID + 1, 0, 0)


@pytest.mark.scenario("sequence-wrap")
def test_retry_goes_after_last_epoch() -> None:
    harness = DeliveryHarness()
    harness.deliver(partition=1)
    harness.send_some(1, partition=1)
    batch = harness.take_one()
    harness.answer(batch, ErrorCode.REQUEST_TIMED_OUT)
    harness.sequences.producer_id.is_needed = True
    harness.wait()

    assert harness.take_one() is batch
    assert numbers([batch]) == [(0, 1)]


@pytest.mark.scenario("sequence-wrap")
def test_drained_batch_keeps_old_id() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.adopt(PRODUCER_ID, MAX_EPOCH)
    harness.deliver(partition=1)
    harness.send_some(1, partition=1)
    out_of_order = harness.take_one()
    harness.send_some(1)
    (compressed,) = harness.drain()
    harness.answer(out_of_order, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()
    assert harness.take() == []
    assert harness.sequences.needs_producer_id

    written = harness.write(compressed)

    assert (written.producer_id, written.producer_epoch) == (PRODUCER_ID, MAX_EPOCH)


@pytest.mark.scenario("epoch-bump-isolated")
def test_free_partitions_use_new_epoch() -> None:
    harness = DeliveryHarness()
    harness.deliver(partition=0)
    harness.deliver(partition=1)
    harness.send_some(1, partition=1)
    healthy = harness.take_one()
    harness.send_some(1, partition=0)
    harness.answer(harness.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()
    assert numbers([harness.take_one()]) == [(1, 0)]

    harness.send_some(1, partition=1)
    assert harness.take() == []
    harness.answer(healthy, ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.wait()
    assert harness.take_one() is healthy
    assert numbers([healthy]) == [(0, 1)]
    harness.answer(healthy, offset=1)

    assert numbers([harness.take_one()]) == [(1, 0)]


@pytest.mark.scenario("epoch-bump-isolated")
def test_two_gaps_share_one_epoch() -> None:
    harness = DeliveryHarness()
    for partition in (0, 1):
        harness.deliver(partition=partition)
    for partition in (0, 1):
        harness.send_some(1, partition=partition)
    for batch in harness.take():
        harness.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    assert numbers(harness.take()) == [(1, 0), (1, 0)]


def test_forgotten_topic_continues_sequences() -> None:
    """The broker has not forgotten: what came under 0 again would pass for a duplicate."""
    harness = DeliveryHarness()
    harness.deliver(2)
    harness.accumulator.forget_topic(TOPIC)
    harness.accumulator.set_partitions(TOPIC, 1, None)
    harness.lead(LEADER, 1)

    harness.send_some(1)

    assert numbers([harness.take_one()]) == [(0, 2)]


@pytest.mark.parametrize("code", [ErrorCode.INVALID_RECORD, ErrorCode.REQUEST_TIMED_OUT])
def test_forgotten_gap_begins_new_epoch(code: ErrorCode) -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    first, second = harness.take()
    harness.answer(first, code)
    harness.wait(40.0)
    harness.expire()
    harness.accumulator.forget_topic(TOPIC)
    harness.accumulator.set_partitions(TOPIC, 1, None)
    harness.lead(LEADER, 1)

    harness.send_some(1)

    assert second.result.done
    assert numbers([harness.take_one()]) == [(1, 0)]


@pytest.mark.scenario("split-too-large")
def test_pieces_share_sequences() -> None:
    harness = DeliveryHarness(batch_size=200)
    harness.deliver()
    harness.send(*(b"x" * 60 for _ in range(2)))
    harness.send_some(1)
    batch = harness.take()[0]
    harness.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)

    pieces = list(harness.queue().closed)

    assert [piece.count for piece in pieces] == [1, 1]
    assert numbers(pieces) == [(0, 1), (0, 2)]
    assert harness.queue().sequences.in_flight[:2] == pieces


def test_void_pieces_have_no_sequences() -> None:
    harness = DeliveryHarness(batch_size=140)
    harness.deliver()
    harness.send(*(b"x" * 25 for _ in range(4)))
    refused, too_large = harness.take()
    assert too_large.count == 2
    harness.answer(refused, ErrorCode.INVALID_RECORD)
    harness.answer(too_large, ErrorCode.MESSAGE_TOO_LARGE)

    assert harness.queue().sequences.in_flight == []
    first = harness.take_one()
    assert numbers([first]) == [(1, 0)]


@pytest.mark.scenario("one-in-flight")
def test_one_in_flight_needs_no_sequences() -> None:
    harness = DeliveryHarness(idempotent=False, in_flight=1)
    harness.send_some(2)
    first = harness.take_one()
    harness.answer(first, ErrorCode.NOT_ENOUGH_REPLICAS)
    harness.wait()
    assert harness.take_one() is first

    harness.answer(first, offset=0)

    second = harness.take_one()
    assert second.sequence == NO_SEQUENCE
    assert harness.write(second).producer_id == -1


def test_unordered_batches_may_go() -> None:
    harness = DeliveryHarness(idempotent=False, in_flight=5)
    harness.send_some(7)
    assert len(harness.take()) == 7


def test_unordered_batches_are_not_retried() -> None:
    harness = DeliveryHarness(idempotent=False)
    harness.send_some(1)
    assert not Unnumbered(5).out_of_order(harness.take_one())


@pytest.mark.scenario("sequence-wrap")
def test_last_epoch_is_used() -> None:
    harness = DeliveryHarness()
    harness.sequences.producer_id.adopt(PRODUCER_ID, 32766)
    harness.deliver()
    harness.send_some(1)
    harness.answer(harness.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    assert numbers([harness.take_one()]) == [(32767, 0)]


def test_batch_may_begin_epoch_twice() -> None:
    """What was lost before was lost under a number that is void."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    refused, after = harness.take()
    harness.answer(refused, ErrorCode.INVALID_RECORD)
    harness.lose(after)
    harness.wait()
    for code in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER):
        assert harness.take_one() is after
        assert numbers([after]) == [(1, 0)]
        harness.answer(after, code)
        harness.wait()

    assert harness.take_one() is after
    assert numbers([after]) == [(2, 0)]


@pytest.mark.parametrize("in_flight", [1, 5])
def test_unnumbered_needs_no_producer_id(in_flight: int) -> None:
    harness = DeliveryHarness(idempotent=False, in_flight=in_flight)
    assert not harness.ordering.needs_producer_id
    (delivery,) = harness.send_some(1)
    harness.wait(40.0)
    harness.expire()

    assert "broker 1, which leads the partition, could not be sent to" in str(delivery.exception())


def desk_error() -> UnsupportedVersionError:
    return UnsupportedVersionError("the broker is too old")


def test_dropped_sequences_begin_at_0() -> None:
    harness = DeliveryHarness()
    harness.deliver(3)
    harness.sequences.drop_sequences()
    harness.send_some(1)
    assert harness.take() == []

    assert harness.sequences.producer_id.adopt(PRODUCER_ID, 0)
    harness.schedule.wake_all()

    # Another cluster may give the same producer id as the one before.
    assert numbers(harness.take()) == [(0, 0)]


def test_retries_get_new_sequences() -> None:
    """They wait in their queue with sequences of the old producer id, and stay in doubt."""
    harness = DeliveryHarness()
    harness.deliver()
    deliveries = harness.send_some(3)
    for batch in harness.take():
        harness.lose(batch)
    harness.wait()
    harness.sequences.drop_sequences()
    assert harness.take() == []
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.schedule.wake_all()

    first = harness.take_one()
    assert (first.producer_id, first.sequence) == (PRODUCER_ID + 1, 0)
    assert first.maybe_written
    harness.answer(first, offset=0)
    second = harness.take_one()
    assert numbers([second]) == [(0, 1)]
    harness.answer(second, ErrorCode.INVALID_RECORD)
    third = harness.take_one()
    assert third.maybe_written
    harness.answer(third, offset=1)

    error = deliveries[1].exception()
    assert error is not None
    assert error.may_be_written
    assert deliveries[0].result().offset == 0
    harness.assert_nothing_left()


def test_doubt_about_old_log_outlives_a_gap() -> None:
    """A void batch is not in the new log, and may be in the old one all the same."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    for batch in harness.take():
        harness.lose(batch)
    harness.wait()
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.schedule.wake_all()
    harness.answer(harness.take_one(), offset=0)
    second = harness.take_one()
    harness.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    harness.wait()

    assert harness.take_one() is second
    assert numbers([second]) == [(1, 0)]
    assert second.maybe_written


def test_drop_keeps_order_in_flight() -> None:
    """Its old sequence means nothing any more, its place does."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    first, second = harness.take()
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.send_some(1)
    harness.schedule.wake_all()
    assert harness.take() == []

    harness.answer(first, ErrorCode.UNKNOWN_TOPIC_ID)
    harness.answer(second, ErrorCode.UNKNOWN_TOPIC_ID)
    harness.wait()

    assert harness.take_one() is first
    harness.answer(first, offset=0)
    assert harness.take_one() is second
    assert second.sequence == 1


@pytest.mark.parametrize("has_new_id", [False, True])
def test_compressed_batch_goes_back_after_drop(*, has_new_id: bool) -> None:
    """Without an id, or behind a batch that is on the wire, it cannot get a sequence."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    (on_wire,) = harness.drain()
    harness.write(on_wire)
    (compressed,) = harness.drain()
    harness.sequences.drop_sequences()
    if has_new_id:
        harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    else:
        harness.answer(on_wire, offset=1)

    assert not harness.sequences.assign(compressed)
    harness.settlement.unsent(compressed, None, harness.now)

    if has_new_id:
        harness.answer(on_wire, offset=1)
    else:
        harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
        harness.schedule.wake_all()
    assert harness.take_one() is compressed
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 1, 0)


def test_compressed_batch_gets_new_id() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    (compressed,) = harness.drain()
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)

    assert harness.sequences.assign(compressed)
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 1, 0)


def test_other_topics_keep_old_id() -> None:
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(2)
    first, second = harness.take()
    harness.lose(first)
    harness.lose(second)
    harness.wait()
    harness.sequences.drop_sequences({"audit"})
    harness.send_some(1)

    for batch, sequence in ((first, 1), (second, 2)):
        assert harness.take_one() is batch
        assert (batch.producer_id, batch.sequence) == (PRODUCER_ID, sequence)
        harness.answer(batch, offset=sequence)
    assert harness.take() == []

    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.schedule.wake_all()
    third = harness.take_one()
    assert (third.producer_id, third.sequence) == (PRODUCER_ID + 1, 0)


def test_dropped_sequences_are_not_recalled() -> None:
    harness = DeliveryHarness()
    harness.deliver(3)
    harness.accumulator.forget_topic(TOPIC)
    harness.sequences.drop_sequences({TOPIC})
    harness.sequences.producer_id.adopt(PRODUCER_ID, 0)
    harness.accumulator.set_partitions(TOPIC, 1, None)
    harness.lead(LEADER, 1)
    harness.send_some(1)

    assert numbers(harness.take()) == [(0, 0)]


def test_earlier_generation_is_refused() -> None:
    sequences = Sequences()
    generation = sequences.producer_id.generation
    assert not sequences.is_bound
    sequences.drop_sequences()

    assert not sequences.producer_id.adopt(1, 0, generation)
    assert sequences.needs_producer_id
    assert sequences.producer_id.adopt(2, 0, sequences.producer_id.generation)
    assert (sequences.producer_id.value, sequences.is_bound) == (2, True)


@pytest.mark.parametrize("is_dropped_first", [False, True])
def test_pieces_from_old_log_stay_doubtful(*, is_dropped_first: bool) -> None:
    harness = DeliveryHarness(batch_size=200)
    harness.deliver()
    deliveries = harness.send(*(b"x" * 60 for _ in range(2)))
    batch = harness.take_one()
    if is_dropped_first:
        harness.lose(batch)
        harness.wait()
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.schedule.wake_all()
    if is_dropped_first:
        assert harness.take_one() is batch
    harness.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)

    first = harness.take_one()
    assert (first.producer_id, first.sequence) == (PRODUCER_ID + 1, 0)
    assert first.maybe_written is is_dropped_first
    harness.answer(first, offset=0)
    harness.answer(harness.take_one(), offset=1)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1]
    assert not harness.sequences._unresolved  # noqa: SLF001 - who keeps batches keeps their bytes
    assert not harness.sequences._in_old_log  # noqa: SLF001 - who keeps batches keeps their bytes
    harness.assert_nothing_left()


def test_unnumbered_has_no_sequences_to_drop() -> None:
    harness = DeliveryHarness(idempotent=False)
    harness.ordering.drop_sequences()
    harness.send_some(1)

    assert harness.ordering.is_bound is False
    assert harness.take_one().sequence == NO_SEQUENCE


def test_sequences_of_compressed_batch_are_known_after_drop() -> None:
    """A batch that got its sequence after the drop counts when its topic is forgotten."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    (compressed,) = harness.drain()
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.write(compressed)
    harness.answer(compressed, offset=0)
    harness.accumulator.forget_topic(TOPIC)
    harness.accumulator.set_partitions(TOPIC, 1, None)
    harness.lead(LEADER, 1)

    harness.send_some(1)

    assert numbers([harness.take_one()]) == [(0, 1)]


def test_second_drop_covers_compressed_batch() -> None:
    """A batch that got its sequence after the first drop loses it in the second one."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(1)
    (compressed,) = harness.drain()
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.write(compressed)
    harness.lose(compressed)
    harness.wait()
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 2, 0)

    assert harness.take_one() is compressed
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 2, 0)


def test_drop_closes_a_gap_during_compression() -> None:
    """The gap was in the old log: the batch that is being compressed begins the new one."""
    harness = DeliveryHarness()
    harness.deliver()
    harness.send_some(3)
    (refused,) = harness.drain()
    harness.write(refused)
    (after,) = harness.drain()
    harness.write(after)
    (compressed,) = harness.drain()
    harness.answer(refused, ErrorCode.INVALID_RECORD)
    harness.sequences.drop_sequences()
    harness.sequences.producer_id.adopt(PRODUCER_ID + 1, 0)
    harness.answer(after, offset=1)

    assert harness.sequences.assign(compressed)
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 1, 0)
