import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.records.compression import Codec
from aioproducer.testing.framing import is_transactional, one_batch
from aioproducer.testing.refusal import Refused
from tests.testing.batches import make_batch, put, spoil

VALID = make_batch(b"a", b"b")


def refusal(data: bytes | None, version: int = 9) -> Refused:
    with pytest.raises(Refused) as refused:
        one_batch(data, version)
    return refused.value


def test_whole_batch_is_returned() -> None:
    assert one_batch(VALID, 9) == VALID
    spoiled = spoil(VALID, put(">b", 70, 1), fix_crc=False)
    assert one_batch(spoiled, 9) == spoiled


@pytest.mark.parametrize("data", [None, b"", VALID[:5], VALID[:16], VALID[:40], VALID[:-1]])
def test_short_bytes_are_none(data: bytes | None) -> None:
    assert refusal(data).code is ErrorCode.INVALID_RECORD


def test_truncated_batch_is_none() -> None:
    assert refusal(spoil(VALID, put(">i", 8, 10_000))).code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("length", [13, 5, 0, -1])
def test_impossible_length_is_corrupt(length: int) -> None:
    refused = refusal(spoil(VALID, put(">i", 8, length)))
    assert (refused.code, refused.has_reason) == (ErrorCode.CORRUPT_MESSAGE, True)


@pytest.mark.parametrize("magic", [0, 1])
def test_old_magic_is_refused(magic: int) -> None:
    refused = refusal(spoil(VALID, put(">b", 16, magic)))
    assert (refused.code, refused.has_reason) == (ErrorCode.INVALID_RECORD, False)


@pytest.mark.parametrize("magic", [3, 127, -1])
def test_unknown_magic_is_corrupt(magic: int) -> None:
    assert refusal(spoil(VALID, put(">b", 16, magic))).code is ErrorCode.CORRUPT_MESSAGE


def test_second_batch_is_refused() -> None:
    assert refusal(VALID + VALID).code is ErrorCode.INVALID_RECORD


def test_trailing_bytes_are_dropped() -> None:
    for junk in (b"12345", VALID[:50]):
        assert one_batch(VALID + junk, 9) == VALID
    assert refusal(VALID + bytes(61)).code is ErrorCode.CORRUPT_MESSAGE


def test_zstd_needs_produce_7() -> None:
    data = make_batch(b"a", codec=Codec.ZSTD)
    assert refusal(data, version=6).code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    assert one_batch(data, 7) == data


def test_transactional_attribute_is_read() -> None:
    assert is_transactional(make_batch(b"a", producer=(1, 0, 0), transactional=True))
    assert not is_transactional(VALID)
    assert not is_transactional(VALID[:10])
    assert not is_transactional(None)
