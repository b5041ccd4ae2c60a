import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.records.compression import Codec
from aioproducer.testing.framing import is_transactional, one_batch
from aioproducer.testing.refusal import Refused
from tests.testing.batches import make_batch, put, spoil

SOUND = make_batch(b"a", b"b")


def refusal(data: bytes | None, version: int = 9) -> Refused:
    with pytest.raises(Refused) as refused:
        one_batch(data, version)
    return refused.value


def test_a_whole_batch_is_returned_unopened() -> None:
    assert one_batch(SOUND, 9) == SOUND
    spoiled = spoil(SOUND, put(">b", 70, 1), fix_crc=False)
    assert one_batch(spoiled, 9) == spoiled


@pytest.mark.parametrize("data", [None, b"", SOUND[:5], SOUND[:16], SOUND[:40], SOUND[:-1]])
def test_what_is_no_whole_batch_is_none(data: bytes | None) -> None:
    assert refusal(data).code is ErrorCode.INVALID_RECORD


def test_a_batch_longer_than_what_came_is_none() -> None:
    assert refusal(spoil(SOUND, put(">i", 8, 10_000))).code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("length", [13, 5, 0, -1])
def test_a_length_that_no_batch_has_is_corrupt(length: int) -> None:
    refused = refusal(spoil(SOUND, put(">i", 8, length)))
    assert (refused.code, refused.is_told) == (ErrorCode.CORRUPT_MESSAGE, True)


@pytest.mark.parametrize("magic", [0, 1])
def test_batches_of_old_magic_are_not_taken(magic: int) -> None:
    refused = refusal(spoil(SOUND, put(">b", 16, magic)))
    assert (refused.code, refused.is_told) == (ErrorCode.INVALID_RECORD, False)


@pytest.mark.parametrize("magic", [3, 127, -1])
def test_a_magic_that_there_is_not_is_corrupt(magic: int) -> None:
    assert refusal(spoil(SOUND, put(">b", 16, magic))).code is ErrorCode.CORRUPT_MESSAGE


def test_a_second_batch_is_refused() -> None:
    assert refusal(SOUND + SOUND).code is ErrorCode.INVALID_RECORD


def test_bytes_behind_a_batch_that_are_no_batch_are_left_out() -> None:
    for junk in (b"12345", SOUND[:50]):
        assert one_batch(SOUND + junk, 9) == SOUND
    assert refusal(SOUND + bytes(61)).code is ErrorCode.CORRUPT_MESSAGE


def test_zstd_needs_produce_7() -> None:
    data = make_batch(b"a", codec=Codec.ZSTD)
    assert refusal(data, version=6).code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    assert one_batch(data, 7) == data


def test_a_transactional_batch_is_known_by_its_attributes() -> None:
    assert is_transactional(make_batch(b"a", producer=(1, 0, 0), transactional=True))
    assert not is_transactional(SOUND)
    assert not is_transactional(SOUND[:10])
    assert not is_transactional(None)
