"""Sequences: which batch may go, under which number, and what becomes of numbers that were not used."""

from __future__ import annotations

import pytest

from aioproducer.core.idempotence import MAX_EPOCH, SEQUENCES, Sequencer, Unnumbered
from aioproducer.core.producer_batch import NO_SEQUENCE
from aioproducer.error_code import ErrorCode
from aioproducer.errors import UnsupportedVersionError
from tests.core.desk import LEADER, OTHER, PRODUCER_ID, TOPIC, Desk, numbers


def test_batches_are_numbered_by_their_records_in_the_order_of_the_sends() -> None:
    desk = Desk(batch_size=1000)
    for count in (3, 2, 4):
        desk.send_some(count)
        batch = desk.take_one()
        assert (batch.producer_id, batch.producer_epoch) == (PRODUCER_ID, 0)
        desk.answer(batch, offset=0)
        desk.wait()

    desk.send_some(1)
    assert desk.take_one().sequence == 9


def test_what_is_on_the_wire_says_the_same() -> None:
    desk = Desk(batch_size=1000)
    desk.deliver()
    desk.send_some(3)
    (batch,) = desk.drain()

    written = desk.write(batch)

    assert (written.producer_id, written.producer_epoch) == (PRODUCER_ID, 0)
    assert (written.base_sequence, written.record_count) == (1, 3)


def test_each_partition_has_numbers_of_its_own() -> None:
    desk = Desk()
    desk.deliver(2)
    desk.send_some(1, partition=1)
    desk.send_some(1, partition=0)

    assert {batch.queue.partition: batch.sequence for batch in desk.take()} == {1: 0, 0: 2}


def test_nothing_is_sent_before_there_is_a_producer_id() -> None:
    desk = Desk()
    desk.sequencer.needs_producer_id = True
    desk.send_some(1)
    assert desk.take() == []

    desk.sequencer.adopt(PRODUCER_ID + 1, 3)
    desk.schedule.wake_all()
    assert (desk.take_one().producer_id, desk.queue().producer_epoch) == (PRODUCER_ID + 1, 3)


def test_a_new_sequencer_has_no_id() -> None:
    sequencer = Sequencer()
    assert sequencer.needs_producer_id
    sequencer.adopt(1, 0)
    assert not sequencer.needs_producer_id


def test_five_batches_may_be_on_the_wire_and_no_more() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(7)
    batches = desk.take()
    assert [batch.sequence for batch in batches] == [1, 2, 3, 4, 5]

    desk.answer(batches[0], offset=1)

    assert desk.take_one().sequence == 6


def test_the_first_of_all_goes_alone_for_a_broker_that_does_not_know_us_takes_any_number() -> None:
    desk = Desk()
    desk.send_some(3)
    first = desk.take_one()
    assert first.sequence == 0

    desk.answer(first, ErrorCode.LEADER_NOT_AVAILABLE)
    desk.wait()
    first = desk.take_one()
    assert first.sequence == 0

    desk.answer(first, offset=0)
    assert [batch.sequence for batch in desk.take()] == [1, 2]


def test_a_new_batch_waits_for_one_that_is_sent_again() -> None:
    """Else a lost answer after the other could bring it out of the five that the broker remembers."""
    desk = Desk()
    desk.deliver()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()
    desk.answer(batch, ErrorCode.REQUEST_TIMED_OUT)
    desk.wait()
    desk.send_some(2)
    assert desk.take_one() is batch

    desk.answer(batch, offset=1)

    assert delivery.result().offset == 1
    assert len(desk.take()) == 2


def test_what_only_the_old_leader_has_got_is_not_followed_at_the_new_one() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    batches = desk.take()
    desk.lead(OTHER, 2)
    desk.send_some(1)
    assert desk.take(OTHER) == []

    desk.answer(batches[0], ErrorCode.NOT_LEADER_OR_FOLLOWER)
    assert desk.take(OTHER) == []
    desk.answer(batches[1], ErrorCode.NOT_LEADER_OR_FOLLOWER)

    first = desk.take_one(OTHER)
    assert first is batches[0]
    desk.answer(first, offset=1)
    assert desk.take_one(OTHER) is batches[1]


def test_a_batch_that_is_being_compressed_is_not_overtaken() -> None:
    """Its sender may be replaced meanwhile, when the broker's address changes."""
    desk = Desk()
    desk.deliver()
    desk.send_some(3)
    (on_wire,) = desk.drain()
    desk.write(on_wire)
    (compressed,) = desk.drain()

    assert desk.drain() == []

    desk.write(compressed)
    assert compressed.sequence == 2
    desk.answer(on_wire, offset=1)
    assert desk.take_one().sequence == 3


@pytest.mark.scenario(36)
def test_a_number_that_was_never_sent_is_given_to_the_next_batch() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    first, second = desk.take()

    for batch in (second, first):
        desk.settlement.unsent(batch, desk_error(), desk.now)

    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 1)]


def test_a_refused_batch_gives_its_number_to_the_next() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.INVALID_RECORD)

    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 1)]


def test_a_number_that_may_be_in_the_log_is_never_given_away() -> None:
    """The broker would take what comes under it for a duplicate, and nobody would ever see it."""
    desk = Desk(retries=1)
    desk.deliver()
    desk.send_some(1)
    batch = desk.take_one()
    desk.lose(batch)
    desk.wait()
    assert desk.take_one() is batch
    desk.answer(batch, ErrorCode.INVALID_RECORD)

    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 2)]


def test_if_the_first_of_all_may_be_in_the_log_what_follows_is_under_a_new_epoch() -> None:
    """A broker that has not got it would take the others in any order."""
    desk = Desk(retries=1)
    desk.send_some(1)
    batch = desk.take_one()
    desk.lose(batch)
    desk.wait()
    assert desk.take_one() is batch
    desk.lose(batch)

    desk.send_some(2)
    assert numbers([desk.take_one()]) == [(1, 0)]


@pytest.mark.scenario(31)
def test_what_follows_a_gap_begins_again_in_a_new_epoch_when_nothing_is_on_the_wire() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(4)
    before, refused, *after = desk.take()

    desk.answer(before, offset=1)
    desk.answer(refused, ErrorCode.INVALID_RECORD)
    desk.send_some(1)
    assert desk.take() == []
    desk.answer(after[0], ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()
    assert desk.take() == []
    desk.lose(after[1])
    desk.wait()

    (first,) = desk.take()
    assert (first, first.producer_epoch, first.sequence) == (after[0], 1, 0)
    desk.answer(first, offset=2)
    assert numbers([desk.take_one()]) == [(1, 1)]


@pytest.mark.scenario(31)
def test_what_came_before_the_gap_is_sent_again_under_its_old_number_first() -> None:
    """It may be in the log: under a new number it would be stored twice."""
    desk = Desk()
    desk.deliver()
    desk.send_some(3)
    in_doubt, refused, after = desk.take()
    desk.answer(in_doubt, ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
    desk.answer(refused, ErrorCode.INVALID_RECORD)
    desk.answer(after, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    assert desk.take_one() is in_doubt
    assert numbers([in_doubt]) == [(0, 1)]
    desk.answer(in_doubt, offset=1)

    assert desk.take_one() is after
    assert numbers([after]) == [(1, 0)]


def test_a_batch_that_can_never_be_taken_is_no_longer_in_doubt() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    refused, after = desk.take()
    desk.answer(refused, ErrorCode.INVALID_RECORD)
    desk.lose(after)
    desk.wait()

    assert desk.take_one() is after

    assert not after.maybe_written
    desk.answer(after, ErrorCode.INVALID_RECORD)
    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(1, 0)]


def test_a_gap_that_opens_while_a_batch_is_compressed_makes_it_void_too() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(3)
    (refused,) = desk.drain()
    desk.write(refused)
    (after,) = desk.drain()
    desk.write(after)
    (compressed,) = desk.drain()
    desk.answer(refused, ErrorCode.INVALID_RECORD)

    desk.write(compressed)
    desk.answer(after, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.lose(compressed)
    desk.wait()

    assert desk.take_one() is after
    desk.answer(after, offset=1)
    assert desk.take_one() is compressed
    assert numbers([after, compressed]) == [(1, 0), (1, 1)]


@pytest.mark.scenario(32)
def test_the_first_that_is_out_of_order_begins_a_new_epoch() -> None:
    desk = Desk()
    desk.deliver()
    deliveries = desk.send_some(2)
    batches = desk.take()
    for batch in batches:
        desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    for offset, batch in enumerate(batches):
        assert desk.take_one() is batch
        desk.answer(batch, offset=offset)

    assert numbers(batches) == [(1, 0), (1, 1)]
    assert [delivery.result().offset for delivery in deliveries] == [0, 1]


@pytest.mark.scenario(33)
def test_a_later_one_that_is_out_of_order_waits_for_those_before_it() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    first, second = desk.take()
    desk.answer(first, ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    assert desk.take_one() is first
    desk.answer(first, offset=1)
    assert desk.take_one() is second
    assert numbers([first, second]) == [(0, 1), (0, 2)]


@pytest.mark.scenario(32)
def test_what_may_be_in_the_log_is_not_numbered_anew_though_it_is_out_of_order() -> None:
    """Java's producer numbers it anew, which may store it twice.

    A broker that was restarted remembers one batch of each producer, not five.
    """
    desk = Desk()
    desk.deliver()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()
    desk.lose(batch)
    desk.wait()
    assert desk.take_one() is batch

    desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    error = delivery.exception()
    assert error is not None
    assert error.may_be_written
    assert "is not known" in str(error)
    desk.send_some(1)
    assert numbers([desk.take_one()]) == [(0, 2)]


@pytest.mark.scenario(32)
def test_the_last_batch_may_be_numbered_anew_though_an_answer_left_it_in_doubt() -> None:
    """Were it in the log, it would be the last there, which every broker remembers."""
    desk = Desk()
    desk.deliver()
    (delivery,) = desk.send_some(1)
    batch = desk.take_one()
    desk.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    desk.wait()
    assert desk.take_one() is batch
    desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    assert desk.take_one() is batch
    assert numbers([batch]) == [(1, 0)]
    desk.answer(batch, offset=1)
    assert delivery.result().offset == 1


@pytest.mark.scenario(32)
def test_a_batch_in_doubt_that_others_follow_is_not_numbered_anew() -> None:
    """They may be in the log after it, and a restarted broker remembers the last alone."""
    desk = Desk()
    desk.deliver()
    in_doubt, last = desk.send_some(2)
    batches = desk.take()
    for batch in batches:
        desk.answer(batch, ErrorCode.NOT_LEADER_OR_FOLLOWER)
    desk.wait()
    for batch in batches:
        assert desk.take_one() is batch
        desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        desk.wait()

    assert desk.take_one() is batches[1]
    assert numbers(batches) == [(0, 1), (1, 0)]
    assert in_doubt.done()
    assert not last.done()


def test_the_pieces_of_a_batch_in_doubt_are_not_numbered_anew() -> None:
    """The broker knows the whole, if it has it, and not its pieces."""
    desk = Desk(batch_size=150)
    desk.deliver()
    deliveries = desk.send(*(b"x" * 25 for _ in range(2)))
    desk.answer(desk.take_one(), ErrorCode.NOT_LEADER_OR_FOLLOWER)
    desk.wait()
    desk.answer(desk.take_one(), ErrorCode.MESSAGE_TOO_LARGE)
    for _ in range(2):
        desk.answer(desk.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    assert all(delivery.exception() is not None for delivery in deliveries)
    assert desk.take() == []


def test_a_batch_that_began_anew_is_not_held_to_what_was_lost_before() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    refused, after = desk.take()
    desk.answer(refused, ErrorCode.INVALID_RECORD)
    desk.lose(after)
    desk.wait()
    for epoch in (1, 2, 3):
        assert desk.take_one() is after
        assert numbers([after]) == [(epoch, 0)]
        desk.answer(after, ErrorCode.UNKNOWN_PRODUCER_ID)
        desk.wait()


@pytest.mark.scenario(39)
def test_after_the_highest_sequence_comes_0() -> None:
    desk = Desk(batch_size=1000)
    desk.deliver()
    desk.queue().next_sequence = SEQUENCES - 2
    desk.send_some(5)
    batch = desk.take_one()
    assert batch.sequence == SEQUENCES - 2
    assert desk.queue().next_sequence == 3

    desk.answer(batch, ErrorCode.INVALID_RECORD)

    assert desk.queue().next_sequence == SEQUENCES - 2


@pytest.mark.scenario(39)
def test_sequence_0_goes_alone_after_the_highest_too() -> None:
    desk = Desk()
    desk.deliver()
    desk.queue().next_sequence = SEQUENCES - 1
    desk.send_some(3)

    for sequence in (SEQUENCES - 1, 0, 1):
        batch = desk.take_one()
        assert batch.sequence == sequence
        desk.answer(batch, offset=sequence)


@pytest.mark.scenario(39)
def test_when_all_epochs_are_used_up_a_new_producer_id_is_needed() -> None:
    desk = Desk()
    desk.sequencer.adopt(PRODUCER_ID, MAX_EPOCH)
    desk.deliver()
    desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()
    assert desk.take() == []
    assert desk.sequencer.needs_producer_id

    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.schedule.wake_all()

    batch = desk.take_one()
    assert (batch.producer_id, batch.producer_epoch, batch.sequence) == (PRODUCER_ID + 1, 0, 0)


@pytest.mark.scenario(39)
def test_what_is_numbered_is_sent_again_though_the_epochs_are_used_up() -> None:
    desk = Desk()
    desk.deliver(partition=1)
    desk.send_some(1, partition=1)
    batch = desk.take_one()
    desk.answer(batch, ErrorCode.REQUEST_TIMED_OUT)
    desk.sequencer.needs_producer_id = True
    desk.wait()

    assert desk.take_one() is batch
    assert numbers([batch]) == [(0, 1)]


@pytest.mark.scenario(39)
def test_what_was_drained_before_the_epochs_were_used_up_keeps_the_old_id() -> None:
    desk = Desk()
    desk.sequencer.adopt(PRODUCER_ID, MAX_EPOCH)
    desk.deliver(partition=1)
    desk.send_some(1, partition=1)
    out_of_order = desk.take_one()
    desk.send_some(1)
    (compressed,) = desk.drain()
    desk.answer(out_of_order, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()
    assert desk.take() == []
    assert desk.sequencer.needs_producer_id

    written = desk.write(compressed)

    assert (written.producer_id, written.producer_epoch) == (PRODUCER_ID, MAX_EPOCH)


@pytest.mark.scenario(40)
def test_other_partitions_follow_into_a_new_epoch_when_they_have_nothing_unsettled() -> None:
    desk = Desk()
    desk.deliver(partition=0)
    desk.deliver(partition=1)
    desk.send_some(1, partition=1)
    healthy = desk.take_one()
    desk.send_some(1, partition=0)
    desk.answer(desk.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()
    assert numbers([desk.take_one()]) == [(1, 0)]

    desk.send_some(1, partition=1)
    assert desk.take() == []
    desk.answer(healthy, ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.wait()
    assert desk.take_one() is healthy
    assert numbers([healthy]) == [(0, 1)]
    desk.answer(healthy, offset=1)

    assert numbers([desk.take_one()]) == [(1, 0)]


@pytest.mark.scenario(40)
def test_two_partitions_that_need_a_new_epoch_share_it() -> None:
    desk = Desk()
    for partition in (0, 1):
        desk.deliver(partition=partition)
    for partition in (0, 1):
        desk.send_some(1, partition=partition)
    for batch in desk.take():
        desk.answer(batch, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    assert numbers(desk.take()) == [(1, 0), (1, 0)]


def test_the_numbers_of_a_partition_go_on_when_its_topic_was_forgotten() -> None:
    """The broker has not forgotten: what came under 0 again would pass for a duplicate."""
    desk = Desk()
    desk.deliver(2)
    desk.accumulator.forget_topic(TOPIC)
    desk.accumulator.set_partitions(TOPIC, 1, None)
    desk.lead(LEADER, 1)

    desk.send_some(1)

    assert numbers([desk.take_one()]) == [(0, 2)]


@pytest.mark.parametrize("code", [ErrorCode.INVALID_RECORD, ErrorCode.REQUEST_TIMED_OUT])
def test_a_partition_that_was_forgotten_with_a_gap_begins_anew(code: ErrorCode) -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    first, second = desk.take()
    desk.answer(first, code)
    desk.wait(40.0)
    desk.expire()
    desk.accumulator.forget_topic(TOPIC)
    desk.accumulator.set_partitions(TOPIC, 1, None)
    desk.lead(LEADER, 1)

    desk.send_some(1)

    assert second.result.done
    assert numbers([desk.take_one()]) == [(1, 0)]


@pytest.mark.scenario(22)
def test_the_pieces_of_a_batch_share_its_numbers() -> None:
    desk = Desk(batch_size=200)
    desk.deliver()
    desk.send(*(b"x" * 60 for _ in range(2)))
    desk.send_some(1)
    batch = desk.take()[0]
    desk.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)

    pieces = list(desk.queue().closed)

    assert [piece.count for piece in pieces] == [1, 1]
    assert numbers(pieces) == [(0, 1), (0, 2)]
    assert desk.queue().unsettled[:2] == pieces


def test_the_pieces_of_a_void_batch_have_no_numbers_yet() -> None:
    desk = Desk(batch_size=140)
    desk.deliver()
    desk.send(*(b"x" * 25 for _ in range(4)))
    refused, too_large = desk.take()
    assert too_large.count == 2
    desk.answer(refused, ErrorCode.INVALID_RECORD)
    desk.answer(too_large, ErrorCode.MESSAGE_TOO_LARGE)

    assert desk.queue().unsettled == []
    first = desk.take_one()
    assert numbers([first]) == [(1, 0)]


@pytest.mark.scenario(41)
def test_with_one_request_in_flight_the_order_needs_no_numbers() -> None:
    desk = Desk(idempotent=False, in_flight=1)
    desk.send_some(2)
    first = desk.take_one()
    desk.answer(first, ErrorCode.NOT_ENOUGH_REPLICAS)
    desk.wait()
    assert desk.take_one() is first

    desk.answer(first, offset=0)

    second = desk.take_one()
    assert second.sequence == NO_SEQUENCE
    assert desk.write(second).producer_id == -1


def test_without_an_order_to_keep_everything_may_go() -> None:
    desk = Desk(idempotent=False, in_flight=5)
    desk.send_some(7)
    assert len(desk.take()) == 7


def test_without_numbers_nobody_waits_for_an_order() -> None:
    desk = Desk(idempotent=False)
    desk.send_some(1)
    assert not Unnumbered(5).out_of_order(desk.take_one())


@pytest.mark.scenario(39)
def test_the_last_epoch_that_fits_a_batch_is_used() -> None:
    desk = Desk()
    desk.sequencer.adopt(PRODUCER_ID, 32766)
    desk.deliver()
    desk.send_some(1)
    desk.answer(desk.take_one(), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    assert numbers([desk.take_one()]) == [(32767, 0)]


def test_a_batch_that_began_anew_may_do_so_again_though_an_answer_left_it_in_doubt() -> None:
    """What was lost before was lost under a number that is void."""
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    refused, after = desk.take()
    desk.answer(refused, ErrorCode.INVALID_RECORD)
    desk.lose(after)
    desk.wait()
    for code in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER):
        assert desk.take_one() is after
        assert numbers([after]) == [(1, 0)]
        desk.answer(after, code)
        desk.wait()

    assert desk.take_one() is after
    assert numbers([after]) == [(2, 0)]


@pytest.mark.parametrize("in_flight", [1, 5])
def test_without_numbers_no_producer_id_is_waited_for(in_flight: int) -> None:
    desk = Desk(idempotent=False, in_flight=in_flight)
    assert not desk.ordering.needs_producer_id
    (delivery,) = desk.send_some(1)
    desk.wait(40.0)
    desk.expire()

    assert "broker 1, which leads the partition, could not be sent to" in str(delivery.exception())


def desk_error() -> UnsupportedVersionError:
    return UnsupportedVersionError("the broker is too old")


def test_dropped_sequences_begin_anew_with_new_producer_id() -> None:
    desk = Desk()
    desk.deliver(3)
    desk.sequencer.drop_sequences()
    desk.send_some(1)
    assert desk.take() == []

    assert desk.sequencer.adopt(PRODUCER_ID, 0)
    desk.schedule.wake_all()

    # Another cluster may give the same producer id as the one before.
    assert numbers(desk.take()) == [(0, 0)]


def test_batches_to_be_sent_again_get_new_sequences() -> None:
    """They wait in their queue with sequences of the old producer id, and stay in doubt."""
    desk = Desk()
    desk.deliver()
    deliveries = desk.send_some(3)
    for batch in desk.take():
        desk.lose(batch)
    desk.wait()
    desk.sequencer.drop_sequences()
    assert desk.take() == []
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.schedule.wake_all()

    first = desk.take_one()
    assert (first.producer_id, first.sequence) == (PRODUCER_ID + 1, 0)
    assert first.maybe_written
    desk.answer(first, offset=0)
    second = desk.take_one()
    assert numbers([second]) == [(0, 1)]
    desk.answer(second, ErrorCode.INVALID_RECORD)
    third = desk.take_one()
    assert third.maybe_written
    desk.answer(third, offset=1)

    error = deliveries[1].exception()
    assert error is not None
    assert error.may_be_written
    assert deliveries[0].result().offset == 0
    desk.assert_nothing_left()


def test_doubt_about_old_log_outlives_a_gap() -> None:
    """A void batch is not in the new log, and may be in the old one all the same."""
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    for batch in desk.take():
        desk.lose(batch)
    desk.wait()
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.schedule.wake_all()
    desk.answer(desk.take_one(), offset=0)
    second = desk.take_one()
    desk.answer(second, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
    desk.wait()

    assert desk.take_one() is second
    assert numbers([second]) == [(1, 0)]
    assert second.maybe_written


def test_batch_on_the_wire_is_not_overtaken_after_drop() -> None:
    """Its old sequence means nothing any more, its place does."""
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    first, second = desk.take()
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.send_some(1)
    desk.schedule.wake_all()
    assert desk.take() == []

    desk.answer(first, ErrorCode.UNKNOWN_TOPIC_ID)
    desk.answer(second, ErrorCode.UNKNOWN_TOPIC_ID)
    desk.wait()

    assert desk.take_one() is first
    desk.answer(first, offset=0)
    assert desk.take_one() is second
    assert second.sequence == 1


@pytest.mark.parametrize("has_new_id", [False, True])
def test_compressed_batch_goes_back_after_drop(*, has_new_id: bool) -> None:
    """Without an id, or behind a batch that is on the wire, it cannot get a sequence."""
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    (on_wire,) = desk.drain()
    desk.write(on_wire)
    (compressed,) = desk.drain()
    desk.sequencer.drop_sequences()
    if has_new_id:
        desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    else:
        desk.answer(on_wire, offset=1)

    assert not desk.sequencer.assign(compressed)
    desk.settlement.unsent(compressed, None, desk.now)

    if has_new_id:
        desk.answer(on_wire, offset=1)
    else:
        desk.sequencer.adopt(PRODUCER_ID + 1, 0)
        desk.schedule.wake_all()
    assert desk.take_one() is compressed
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 1, 0)


def test_lone_compressed_batch_gets_new_producer_id() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    (compressed,) = desk.drain()
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)

    assert desk.sequencer.assign(compressed)
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 1, 0)


def test_other_topics_settle_under_old_producer_id() -> None:
    desk = Desk()
    desk.deliver()
    desk.send_some(2)
    first, second = desk.take()
    desk.lose(first)
    desk.lose(second)
    desk.wait()
    desk.sequencer.drop_sequences({"audit"})
    desk.send_some(1)

    for batch, sequence in ((first, 1), (second, 2)):
        assert desk.take_one() is batch
        assert (batch.producer_id, batch.sequence) == (PRODUCER_ID, sequence)
        desk.answer(batch, offset=sequence)
    assert desk.take() == []

    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.schedule.wake_all()
    third = desk.take_one()
    assert (third.producer_id, third.sequence) == (PRODUCER_ID + 1, 0)


def test_forgotten_topic_does_not_recall_dropped_sequences() -> None:
    desk = Desk()
    desk.deliver(3)
    desk.accumulator.forget_topic(TOPIC)
    desk.sequencer.drop_sequences({TOPIC})
    desk.sequencer.adopt(PRODUCER_ID, 0)
    desk.accumulator.set_partitions(TOPIC, 1, None)
    desk.lead(LEADER, 1)
    desk.send_some(1)

    assert numbers(desk.take()) == [(0, 0)]


def test_producer_id_of_earlier_generation_is_refused() -> None:
    sequencer = Sequencer()
    generation = sequencer.generation
    assert not sequencer.is_bound
    sequencer.drop_sequences()

    assert not sequencer.adopt(1, 0, generation)
    assert sequencer.needs_producer_id
    assert sequencer.adopt(2, 0, sequencer.generation)
    assert (sequencer.producer_id, sequencer.is_bound) == (2, True)


@pytest.mark.parametrize("is_dropped_first", [False, True])
def test_pieces_of_batch_from_old_log_stay_in_doubt(*, is_dropped_first: bool) -> None:
    desk = Desk(batch_size=200)
    desk.deliver()
    deliveries = desk.send(*(b"x" * 60 for _ in range(2)))
    batch = desk.take_one()
    if is_dropped_first:
        desk.lose(batch)
        desk.wait()
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.schedule.wake_all()
    if is_dropped_first:
        assert desk.take_one() is batch
    desk.answer(batch, ErrorCode.MESSAGE_TOO_LARGE)

    first = desk.take_one()
    assert (first.producer_id, first.sequence) == (PRODUCER_ID + 1, 0)
    assert first.maybe_written is is_dropped_first
    desk.answer(first, offset=0)
    desk.answer(desk.take_one(), offset=1)

    assert [delivery.result().offset for delivery in deliveries] == [0, 1]
    assert not desk.sequencer._at_large  # noqa: SLF001 - who keeps batches keeps their bytes
    assert not desk.sequencer._in_old_log  # noqa: SLF001 - who keeps batches keeps their bytes
    desk.assert_nothing_left()


def test_unnumbered_has_no_sequences_to_drop() -> None:
    desk = Desk(idempotent=False)
    desk.ordering.drop_sequences()
    desk.send_some(1)

    assert desk.ordering.is_bound is False
    assert desk.take_one().sequence == NO_SEQUENCE


def test_sequences_of_compressed_batch_are_known_after_drop() -> None:
    """A batch that got its sequence after the drop counts when its topic is forgotten."""
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    (compressed,) = desk.drain()
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.write(compressed)
    desk.answer(compressed, offset=0)
    desk.accumulator.forget_topic(TOPIC)
    desk.accumulator.set_partitions(TOPIC, 1, None)
    desk.lead(LEADER, 1)

    desk.send_some(1)

    assert numbers([desk.take_one()]) == [(0, 1)]


def test_second_drop_covers_compressed_batch() -> None:
    """A batch that got its sequence after the first drop loses it in the second one."""
    desk = Desk()
    desk.deliver()
    desk.send_some(1)
    (compressed,) = desk.drain()
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.write(compressed)
    desk.lose(compressed)
    desk.wait()
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 2, 0)

    assert desk.take_one() is compressed
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 2, 0)


def test_drop_closes_a_gap_during_compression() -> None:
    """The gap was in the old log: the batch that is being compressed begins the new one."""
    desk = Desk()
    desk.deliver()
    desk.send_some(3)
    (refused,) = desk.drain()
    desk.write(refused)
    (after,) = desk.drain()
    desk.write(after)
    (compressed,) = desk.drain()
    desk.answer(refused, ErrorCode.INVALID_RECORD)
    desk.sequencer.drop_sequences()
    desk.sequencer.adopt(PRODUCER_ID + 1, 0)
    desk.answer(after, offset=1)

    assert desk.sequencer.assign(compressed)
    assert (compressed.producer_id, compressed.sequence) == (PRODUCER_ID + 1, 0)
