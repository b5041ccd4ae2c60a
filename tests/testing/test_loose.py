import gzip
from struct import Struct

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.records.compression import Codec
from aioproducer.testing.loose import LooseBatch, parse_loosely
from aioproducer.testing.refusal import Refused
from tests.testing.batches import make_batch, put, spoil

_TAIL = Struct(">hiqqqhii")


def varint(number: int) -> bytes:
    folded = (number << 1) ^ (number >> 63)
    out = bytearray()
    while folded > 0x7F:
        out.append(folded & 0x7F | 0x80)
        folded >>= 7
    out.append(folded)
    return bytes(out)


def record(delta: int, rest: bytes, *, length: bytes | None = None) -> bytes:
    """Return a record with timestamp delta 0 whose key, value and headers are `rest`."""
    body = b"\0" + varint(0) + varint(delta) + rest
    return (varint(len(body)) if length is None else length) + body


def batch_of(*records: bytes, count: int | None = None, codec: Codec = Codec.NONE) -> bytes:
    """Return a batch with a valid header around `records`."""
    total = len(records) if count is None else count
    payload = b"".join(records)
    payload = gzip.compress(payload) if codec is Codec.GZIP else payload
    tail = _TAIL.pack(codec, total - 1, 0, 0, -1, -1, -1, total) + payload
    return spoil(
        bytes(8) + (9 + len(tail)).to_bytes(4) + b"\xff\xff\xff\xff\x02" + bytes(4) + tail, put(">i", 12, -1)
    )


def parse(data: bytes) -> LooseBatch:
    return parse_loosely(memoryview(data))


KEYLESS = varint(-1) + varint(1) + b"v" + varint(0)


def test_valid_batch_is_unchanged() -> None:
    batch = parse(make_batch(b"a", None, key=b"k", headers={"h": b"x"}, producer=(7, 1, 5), timestamp_ms=9))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 1, 5)
    assert (batch.record_count, batch.max_timestamp) == (2, 9)
    assert [(r.offset_delta, r.key, r.value) for r in batch.records()] == [(0, b"k", b"a"), (1, b"k", None)]


def test_offset_deltas_are_counted() -> None:
    batch = parse(batch_of(record(5, KEYLESS), record(0, KEYLESS)))
    assert [r.offset_delta for r in batch.records()] == [0, 1]


def test_negative_length_is_null() -> None:
    [read] = parse(batch_of(record(0, varint(-2) + varint(-5) + varint(0)))).records()
    assert (read.key, read.value) == (None, None)


def test_batch_time_replaces_record_time() -> None:
    data = spoil(make_batch(b"a", timestamp_ms=5), lambda d: (put(">h", 21, 8)(d), put(">q", 35, 99)(d)))
    assert [r.timestamp_ms for r in parse(data).records()] == [99]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(batch_of(record(0, KEYLESS), count=2), ErrorCode.INVALID_RECORD, id="too few records"),
        pytest.param(batch_of(record(0, KEYLESS), b"xx", count=1), ErrorCode.INVALID_RECORD, id="left over"),
        pytest.param(batch_of(record(0, KEYLESS + b"x")), ErrorCode.INVALID_RECORD, id="end of a record"),
        pytest.param(
            batch_of(record(0, KEYLESS, length=varint(3))), ErrorCode.INVALID_RECORD, id="record too short"
        ),
        pytest.param(
            batch_of(record(0, KEYLESS, length=varint(60))), ErrorCode.INVALID_RECORD, id="record too long"
        ),
        pytest.param(
            batch_of(record(0, varint(-1) + varint(-1) + varint(-1))),
            ErrorCode.INVALID_RECORD,
            id="headers below zero",
        ),
        pytest.param(
            batch_of(record(0, varint(-1) + varint(-1) + varint(1) + varint(-1) + varint(-1))),
            ErrorCode.INVALID_RECORD,
            id="header without a key",
        ),
        pytest.param(
            batch_of(record(0, KEYLESS, length=b"\x80\x80\x80\x80\x80\x01")),
            ErrorCode.UNKNOWN_SERVER_ERROR,
            id="varint too long",
        ),
        pytest.param(
            batch_of(record(1, KEYLESS), codec=Codec.GZIP),
            ErrorCode.UNKNOWN_SERVER_ERROR,
            id="compressed offset",
        ),
        pytest.param(
            spoil(make_batch(b"a"), put(">i", 23, 5)), ErrorCode.INVALID_RECORD, id="last offset delta"
        ),
    ],
)
def test_unreadable_records_are_refused(data: bytes, code: ErrorCode) -> None:
    with pytest.raises(Refused) as refused:
        parse(data)
    assert refused.value.code is code
