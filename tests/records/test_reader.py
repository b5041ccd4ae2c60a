"""Reading record batches: valid, malformed and foreign ones."""

from __future__ import annotations

import struct
from contextlib import suppress

import crc32c
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from kio.records.readers import read_batch

from aioproducer.errors import ProtocolError
from aioproducer.records.compression import Codec, compressor
from aioproducer.records.reader import DecodedRecord, RecordBatch, TimestampType, read_batches

NOW = 1_700_000_000_000

# Two records: (k, v) now, and (null, hello) 5 ms later with the headers h1=x and h2=null.
GOLDEN = bytes.fromhex(
    "00000000000000000000004fffffffff026857800a0000000000010000018bcfe568000000018bcfe56805"
    "ffffffffffffffffffffffffffff0000000210000000026b02760028000a02010a68656c6c6f04046831"
    "027804683201"
)
GOLDEN_TRANSACTIONAL = bytes.fromhex(
    "00000000000000000000004fffffffff02436f89980010000000010000018bcfe568000000018bcfe56805"
    "0000000000000fa00003000000070000000210000000026b02760028000a02010a68656c6c6f04046831"
    "027804683201"
)
GOLDEN_RECORDS = [
    DecodedRecord(0, NOW, b"k", b"v", ()),
    DecodedRecord(1, NOW + 5, None, b"hello", (("h1", b"x"), ("h2", None))),
]


def zigzag(number: int) -> bytes:
    folded = number * 2 if number >= 0 else -number * 2 - 1
    low_first = []
    while folded >= 128:
        low_first.append(folded % 128 + 128)
        folded //= 128
    return bytes([*low_first, folded])


def field(data: bytes | None) -> bytes:
    return zigzag(-1) if data is None else zigzag(len(data)) + data


def record(
    index: int = 0,
    delta: int = 0,
    attributes: bytes = b"\0",
    rest: bytes = b"\2k\2v\0",
    length: int | None = None,
) -> bytes:
    body = attributes + zigzag(delta) + zigzag(index) + rest
    return zigzag(len(body) if length is None else length) + body


def assemble(*records: bytes, **changes: int) -> bytes:
    """Build a batch with a valid header; `changes` replace fields of the header."""
    payload = b"".join(records)
    count = changes.get("count", len(records))
    covered = (
        struct.pack(
            ">hiqqqhii",
            changes.get("attributes", 0),
            changes.get("last_offset_delta", count - 1),
            NOW,
            changes.get("max_timestamp", NOW),
            -1,
            -1,
            -1,
            count,
        )
        + payload
    )
    length = changes.get("length", len(covered) + 9)
    crc = changes.get("crc", crc32c.crc32c(covered))
    return struct.pack(">qiibI", 0, length, -1, changes.get("magic", 2), crc) + covered


Row = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def aiokafka_batch(codec: Codec, rows: list[Row], **changes: int) -> bytes:
    options: dict[str, int] = {
        "is_transactional": 0,
        "producer_id": -1,
        "producer_epoch": -1,
        "base_sequence": -1,
        **changes,
    }
    builder = DefaultRecordBatchBuilder(magic=2, compression_type=codec, batch_size=1 << 20, **options)
    for offset, (timestamp, key, value, headers) in enumerate(rows):
        assert builder.append(offset, timestamp, key, value, headers) is not None
    return bytes(builder.build())


def expected(rows: list[Row]) -> list[DecodedRecord]:
    return [
        DecodedRecord(offset, timestamp, key, value, tuple(headers))
        for offset, (timestamp, key, value, headers) in enumerate(rows)
    ]


def ids_of_words(value: object) -> str:
    return value if isinstance(value, str) else ""


def test_golden_batch_is_read() -> None:
    batch = RecordBatch.parse(GOLDEN)
    assert batch == RecordBatch(
        base_offset=0,
        size=91,
        partition_leader_epoch=-1,
        magic=2,
        crc=0x6857800A,
        codec=Codec.NONE,
        timestamp_type=TimestampType.CREATE,
        is_transactional=False,
        is_control=False,
        last_offset_delta=1,
        base_timestamp=NOW,
        max_timestamp=NOW + 5,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        record_count=2,
        payload=GOLDEN[61:],
    )
    assert batch.records() == GOLDEN_RECORDS


def test_golden_transactional_batch_is_read() -> None:
    batch = RecordBatch.parse(GOLDEN_TRANSACTIONAL)
    assert batch.is_transactional
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (4000, 3, 7)
    assert batch.records() == GOLDEN_RECORDS


def test_assembled_batch_matches_golden_batch() -> None:
    headers = zigzag(2) + field(b"h1") + field(b"x") + field(b"h2") + field(None)
    second = record(1, 5, rest=field(None) + field(b"hello") + headers)
    assert assemble(record(), second, max_timestamp=NOW + 5) == GOLDEN


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_buffer_type_is_released(kind: type[bytes | bytearray | memoryview]) -> None:
    buffer = kind(GOLDEN)
    batch = RecordBatch.parse(buffer)
    if isinstance(buffer, bytearray):
        buffer.clear()
    assert batch.records() == GOLDEN_RECORDS


def test_repr_omits_payload() -> None:
    assert "payload" not in repr(RecordBatch.parse(GOLDEN))


def test_several_batches_keep_order() -> None:
    batches = read_batches(GOLDEN + GOLDEN_TRANSACTIONAL + assemble(record()))
    assert [batch.producer_id for batch in batches] == [-1, 4000, -1]
    assert [batch.record_count for batch in batches] == [2, 2, 1]


def test_empty_data_has_no_batches() -> None:
    assert read_batches(b"") == []


def test_control_batch_is_recognized() -> None:
    assert RecordBatch.parse(assemble(record(), attributes=0x20)).is_control


def test_log_append_time_applies_to_records() -> None:
    batch = RecordBatch.parse(assemble(record(), record(1, 7), attributes=0x08, max_timestamp=NOW + 99))
    assert batch.timestamp_type is TimestampType.LOG_APPEND
    assert [decoded.timestamp_ms for decoded in batch.records()] == [NOW + 99, NOW + 99]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GOLDEN[:60], "at least 61 bytes, but 60 are left"),
        (GOLDEN[:-1], "claims 91 bytes, but 90 are left"),
        (assemble(record(), length=48), "claims 60 bytes"),
        (assemble(record(), length=-1), "claims 11 bytes"),
        (assemble(record(), length=2**31 - 1), "claims 2147483659 bytes"),
        (GOLDEN + b"\0", "a batch of 91 bytes is followed by 1 extra byte"),
        (assemble(record(), magic=1), "magic 1, not 2"),
        (assemble(record(), magic=-1), "magic -1, not 2"),
        (assemble(record(), crc=1), r"CRC-32C of the batch is 0x\w{8}, its header has 0x00000001"),
        (assemble(record(), attributes=0x40), "unknown attributes: 0x0040"),
        (assemble(record(), attributes=-0x8000), "unknown attributes: 0x8000"),
        (assemble(record(), attributes=5), "unknown codec 5; known are 0 to 4"),
        (assemble(record(), attributes=7), "unknown codec 7; known are 0 to 4"),
        (assemble(count=0), "record count 0"),
        (assemble(record(), count=-1), "record count -1"),
        (assemble(record(), last_offset_delta=1), "last offset delta 1 with 1 record"),
    ],
    ids=ids_of_words,
)
def test_invalid_header_is_explained(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        RecordBatch.parse(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (assemble(record(), count=2**31 - 1), "claims 2147483647 records in 9 bytes"),
        (assemble(record(), count=2), "claims 2 records in 9 bytes"),
        (assemble(record(), record(1), count=1), "9 extra bytes after the 1 record"),
        (
            assemble(record(), max_timestamp=NOW + 1),
            f"max timestamp {NOW + 1}, its newest record has {NOW}",
        ),
        (assemble(record(), record(2)), "record 1 has offset delta 2"),
        (assemble(record(1)), "record 0 has offset delta 1"),
        (assemble(record(attributes=b"\x80")), "record 0 has attributes 128"),
        (assemble(record(length=-1)), "record 0 has length -1, with 8 bytes left"),
        (assemble(record(length=9)), "record 0 has length 9, with 8 bytes left"),
        (assemble(record(length=7)), "record 0 has length 7, but its fields take 8 bytes"),
        (assemble(record(rest=b"\2k\2v\0\0")), "record 0 has length 9, but its fields take 8 bytes"),
        (assemble(record(rest=zigzag(-2) + b"\2v\0")), "record 0 has a key of length -2"),
        (assemble(record(rest=zigzag(9) + b"\2v\0")), "record 0 has a key of length 9, with 3 bytes left"),
        (assemble(record(rest=b"\2k" + zigzag(-3) + b"\0\0")), "record 0 has a value of length -3"),
        (assemble(record(rest=b"\2k" + zigzag(70) + b"\0\0")), "record 0 has a value of length 70"),
        (assemble(record(rest=b"\1\1" + zigzag(-1))), "record 0 has -1 headers"),
        (
            assemble(record(rest=b"\1\1" + zigzag(2**30))),
            "has 1073741824 headers, with 0 bytes left",
        ),
        (assemble(record(rest=b"\1\1\2\1\1")), "record 0 has a header with a null key"),
        (assemble(record(rest=b"\1\1\2\3\1")), "record 0 has a header key of length -2"),
        (assemble(record(rest=b"\1\1\2\2\xff\1")), "record 0 has a header key that is not UTF-8"),
        (assemble(record(rest=b"\1\1\2\2h\3")), "record 0 has a header value of length -2"),
        (assemble(record(rest=b"\2k\2vvv")), "record 0 has 59 headers, with 1 byte left"),
        (
            assemble(record(rest=b"\2k\4vv")),
            "record 0 has a varint at byte 9 that continues after the last byte",
        ),
        (assemble(record(rest=b"\1\x82\x82\x82")), "record 0 has a varint at byte 5 that continues after"),
        (assemble(record(rest=b"\x82\x80\x80\x80\x80\0\1\0")), "varint of more than 5 bytes at byte 4"),
        (assemble(record(rest=b"\x82\x80\x80\x80\x10\1\0\0")), "varint of more than 32 bits at byte 4"),
        (assemble(zigzag(20) + b"\0" + b"\x80" * 10 + b"\0" * 9), "varint of more than 10 bytes at byte 2"),
        (assemble(zigzag(20) + b"\0" + b"\x80" * 9 + b"\2" + b"\0" * 9), "more than 64 bits at byte 2"),
        (assemble(zigzag(0) + b"\0\0\0\1\1\0"), "record 0 has length 0, but its fields take 6 bytes"),
        (
            assemble(record(rest=field(b"k") + field(bytes(9)) + b"\0"), b"\0"),
            "record 1 continues after the last byte",
        ),
        (assemble(record(rest=b"\x10kkkkkkkk"), b"\0", count=1), "record 0 has a varint"),
    ],
    ids=ids_of_words,
)
def test_invalid_record_is_explained(data: bytes, words: str) -> None:
    batch = RecordBatch.parse(data)
    with pytest.raises(ProtocolError, match=words):
        batch.records()


def test_record_without_fields_is_refused() -> None:
    batch = RecordBatch.parse(assemble(record(rest=b"\1\1\0"), zigzag(0), count=1))
    with pytest.raises(ProtocolError, match="1 extra byte after the"):
        batch.records()


def test_overlong_varint_is_read() -> None:
    batch = RecordBatch.parse(assemble(record(rest=b"\x82\x80\x80\x80\0k\2v\0")))
    assert batch.records() == GOLDEN_RECORDS[:1]


def test_widest_timestamps_are_read() -> None:
    deltas = [0, -NOW, 2**62 - NOW]
    batch = RecordBatch.parse(
        assemble(*(record(index, delta) for index, delta in enumerate(deltas)), max_timestamp=2**62)
    )
    assert [decoded.timestamp_ms for decoded in batch.records()] == [NOW, 0, 2**62]


def test_crc_check_is_optional() -> None:
    wrong = assemble(record(), crc=1)
    assert RecordBatch.parse(wrong, check_crc=False).records() == GOLDEN_RECORDS[:1]
    assert read_batches(wrong, check_crc=False)[0].crc == 1
    with pytest.raises(ProtocolError, match="CRC"):
        read_batches(wrong)


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec is not Codec.NONE])
def test_decompressed_size_is_limited(codec: Codec) -> None:
    plain = record(rest=b"\1" + field(bytes(100_000)) + b"\0")
    batch = RecordBatch.parse(assemble(compressor(codec)(plain), attributes=codec))
    assert batch.records(len(plain))[0].value == bytes(100_000)
    with pytest.raises(ProtocolError, match="expands to"):
        batch.records(len(plain) - 1)


@pytest.mark.parametrize("codec", Codec)
def test_aiokafka_batches_are_read(codec: Codec) -> None:
    rows: list[Row] = [
        (NOW, b"key", b"value", []),
        (NOW + 1000, None, None, []),
        (NOW - 86_400_000, b"", b"", [("", b""), ("h", None), ("größe", b"\xff")]),
        (NOW, b"k" * 70, b"v" * 70_000, [("h", b"x")] * 70),
    ]
    data = aiokafka_batch(
        codec, rows, is_transactional=1, producer_id=2**40, producer_epoch=9, base_sequence=5
    )
    batch = RecordBatch.parse(data)
    assert batch.codec is codec
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (2**40, 9, 5)
    assert batch.is_transactional
    assert batch.records() == expected(rows)


times = st.integers(0, 2**45)
names = st.text(max_size=5)
contents = st.none() | st.binary(max_size=200)
rows_of_any_kind = st.lists(
    st.tuples(times, contents, contents, st.lists(st.tuples(names, contents), max_size=3)),
    min_size=1,
    max_size=20,
)


@settings(deadline=None)
@given(codec=st.sampled_from(Codec), rows=rows_of_any_kind)
def test_any_aiokafka_batch_is_read(codec: Codec, rows: list[Row]) -> None:
    assert RecordBatch.parse(aiokafka_batch(codec, rows)).records() == expected(rows)


def aiokafka_reads(data: bytes) -> list[DecodedRecord]:
    batch = DefaultRecordBatch(data)
    assert batch.validate_crc()
    return [
        DecodedRecord(each.offset, each.timestamp, each.key, each.value, tuple(each.headers))
        for each in batch
    ]


@pytest.mark.parametrize("codec", Codec)
def test_aiokafka_reads_compressed_batches(codec: Codec) -> None:
    plain = [
        record(index, index % 3, rest=field(b"k%d" % index) + field(b"value" * index) + b"\0")
        for index in range(50)
    ]
    data = assemble(
        compressor(codec)(b"".join(plain)), attributes=codec, count=len(plain), max_timestamp=NOW + 2
    )
    assert RecordBatch.parse(data).records() == aiokafka_reads(data)


def test_kio_reads_batches() -> None:
    # kio does not support compression or timestamps in milliseconds.
    batch, size = read_batch(GOLDEN_TRANSACTIONAL, 0)
    ours = RecordBatch.parse(GOLDEN_TRANSACTIONAL)
    assert size == ours.size
    for name in (
        "base_offset",
        "partition_leader_epoch",
        "crc",
        "last_offset_delta",
        "base_timestamp",
        "max_timestamp",
        "producer_id",
        "producer_epoch",
        "base_sequence",
    ):
        assert getattr(batch, name) == getattr(ours, name)
    assert [
        DecodedRecord(
            each.offset,
            NOW + 5 * each.offset,
            each.key,
            each.value,
            tuple(((header.key or b"").decode(), header.value) for header in each.headers),
        )
        for each in batch.records
    ] == ours.records()


SOUND = {
    codec: aiokafka_batch(codec, [(NOW + i, b"k%d" % i, b"v" * i, [("h", b"x")]) for i in range(20)])
    for codec in Codec
}


@settings(deadline=None, max_examples=300)
@given(
    codec=st.sampled_from(Codec),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 3),
)
def test_changed_bytes_raise_only_protocol_errors(
    codec: Codec, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(SOUND[codec])
    for position, byte in changes:
        data[position % len(data)] = byte
    with suppress(ProtocolError):
        for batch in read_batches(data[: len(data) - cut], check_crc=False):
            batch.records(100_000)


@settings(deadline=None)
@given(codec=st.sampled_from(Codec), position=st.integers(12, 10_000), bit=st.integers(0, 7))
def test_single_changed_bit_is_refused(codec: Codec, position: int, bit: int) -> None:
    data = bytearray(SOUND[codec])
    # The CRC does not cover the leader epoch in bytes 12 to 15: brokers overwrite it.
    position = max(position % len(data), 16)
    data[position] ^= 1 << bit
    with pytest.raises(ProtocolError):
        RecordBatch.parse(data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_raise_only_protocol_errors(data: bytes) -> None:
    batch = assemble(data, count=max(1, len(data) // 7))
    with pytest.raises(ProtocolError):
        RecordBatch.parse(batch).records()
    with suppress(ProtocolError):
        read_batches(data, check_crc=False)
