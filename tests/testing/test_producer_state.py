import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.testing.producer_state import ProducerState, SequenceRange, last_sequence
from aioproducer.testing.refusal import Refused


def state_after(*ranges: tuple[int, int], epoch: int = 0) -> ProducerState:
    state = ProducerState(7, epoch)
    for first, last in ranges:
        state.stored(epoch, SequenceRange(first, last, base_offset=first, timestamp_ms=-1))
    return state


def test_unknown_producer_may_start_anywhere() -> None:
    state_after().check(0, 42)


def test_next_batch_continues_sequence() -> None:
    state = state_after((0, 9))
    state.check(0, 10)
    with pytest.raises(Refused) as refused:
        state.check(0, 11)
    assert refused.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_sequence_wraps_to_zero() -> None:
    assert last_sequence(2**31 - 2, 4) == 1
    state_after((2**31 - 3, 2**31 - 1)).check(0, 0)


def test_new_epoch_starts_at_0() -> None:
    state = state_after((0, 9))
    with pytest.raises(Refused) as refused:
        state.check(1, 10)
    assert refused.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    state.check(1, 0)
    state.stored(1, SequenceRange(0, 4, 10, -1))
    assert state.duplicate_of(0, 0, 9) is None


def test_old_epoch_is_fenced() -> None:
    with pytest.raises(Refused) as refused:
        state_after((0, 0), epoch=3).check(2, 1)
    assert refused.value.code is ErrorCode.INVALID_PRODUCER_EPOCH


def test_five_batches_are_remembered() -> None:
    state = state_after(*[(n, n) for n in range(6)])
    assert state.duplicate_of(0, 0, 0) is None
    for n in range(1, 6):
        duplicate = state.duplicate_of(0, n, n)
        assert duplicate is not None
        assert duplicate.base_offset == n


def test_partial_overlap_is_not_duplicate() -> None:
    state = state_after((0, 9))
    assert state.duplicate_of(0, 0, 5) is None
    with pytest.raises(Refused):
        state.check(0, 0)
