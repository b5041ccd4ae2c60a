"""Building record batches: our reader and aiokafka read them back."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import example, given
from hypothesis import strategies as st

from aioproducer.records.batch import HEADER_SIZE, MAX_RECORD_OVERHEAD, RecordBatchBuilder, encode_headers
from aioproducer.records.compression import Codec, compressor
from aioproducer.records.reader import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioproducer.record import Header, Headers

NOW = 1_700_000_000_000
AMPLE = 1 << 30
CODECS = [codec for codec in Codec if codec is not Codec.NONE]

# Two records: (k, v) now, and (null, hello) 5 ms later with the headers h1=x and h2=null;
# checked with an independent parser.
GOLDEN = (
    "00000000000000000000004fffffffff026857800a0000000000010000018bcfe568000000018bcfe56805"
    "ffffffffffffffffffffffffffff0000000210000000026b02760028000a02010a68656c6c6f04046831"
    "027804683201"
)
GOLDEN_TRANSACTIONAL = (
    "00000000000000000000004fffffffff02436f89980010000000010000018bcfe568000000018bcfe56805"
    "0000000000000fa00003000000070000000210000000026b02760028000a02010a68656c6c6f04046831"
    "027804683201"
)


class Plain(NamedTuple):
    """A record of these tests."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


headers_of_any_kind = st.lists(
    st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=70)), max_size=3
).map(tuple)
records_of_any_kind = st.builds(
    Plain,
    timestamp=st.integers(0, 2**40) | st.sampled_from([0, NOW, NOW - 1, NOW + 1, 2**62]),
    key=st.none() | st.binary(max_size=80),
    value=st.none() | st.binary(max_size=200),
    headers=headers_of_any_kind,
)
some_records = st.lists(records_of_any_kind, min_size=1, max_size=8)


def built(records: Sequence[Plain], limit: int = AMPLE) -> RecordBatchBuilder:
    builder = RecordBatchBuilder(limit, records[0].timestamp)
    for record in records:
        section = encode_headers(record.headers)
        assert builder.append(record.timestamp, record.key, record.value, section) > 0
    return builder


def golden() -> RecordBatchBuilder:
    return built([Plain(NOW, b"k", b"v", ()), Plain(NOW + 5, None, b"hello", (("h1", b"x"), ("h2", None)))])


def stamped(builder: RecordBatchBuilder, *, transactional: bool = False) -> bytes:
    return bytes(builder.stamp(-1, -1, -1, transactional=transactional))


def read_by_us(data: bytes) -> list[Plain]:
    records = RecordBatch.parse(data).records()
    assert [record.offset_delta for record in records] == list(range(len(records)))
    return [Plain(record.timestamp_ms, record.key, record.value, record.headers) for record in records]


def read_by_aiokafka(data: bytes) -> list[Plain]:
    batch = DefaultRecordBatch(data)
    assert batch.validate_crc()
    records = list(batch)
    assert [record.offset for record in records] == list(range(len(records)))
    return [Plain(record.timestamp, record.key, record.value, tuple(record.headers)) for record in records]


# Bytes.


def test_batch_has_kafkas_bytes() -> None:
    assert golden().stamp(-1, -1, -1, transactional=False).hex() == GOLDEN


def test_transactional_batch_has_kafkas_bytes() -> None:
    assert golden().stamp(4000, 3, 7, transactional=True).hex() == GOLDEN_TRANSACTIONAL


def test_second_stamp_changes_only_header() -> None:
    builder = golden()

    first = bytes(builder.stamp(1, 2, 3, transactional=False))
    second = bytes(builder.stamp(4000, 3, 7, transactional=True))
    third = bytes(builder.stamp(-1, -1, -1, transactional=False))

    assert first[HEADER_SIZE:] == second[HEADER_SIZE:]
    assert second.hex() == GOLDEN_TRANSACTIONAL
    assert third.hex() == GOLDEN


def test_largest_producer_numbers_fit() -> None:
    batch = RecordBatch.parse(golden().stamp(2**63 - 1, 2**15 - 1, 2**31 - 1, transactional=True))

    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (
        2**63 - 1,
        2**15 - 1,
        2**31 - 1,
    )
    assert batch.is_transactional
    assert not batch.is_control


@pytest.mark.scenario("codecs")
@given(some_records)
@example([Plain(0, None, None, ())])
@example([Plain(NOW, b"", b"", (("", b""), ("", None)))])
@example([Plain(2**62, b"k", b"v", ()), Plain(0, b"k", b"v", ()), Plain(2**63 - 1, b"k", b"v", ())])
def test_other_client_reads_records(records: list[Plain]) -> None:
    """Also with nulls, empty values, headers, and timestamps before the first one."""
    data = stamped(built(records))

    assert read_by_us(data) == records
    assert read_by_aiokafka(data) == records


@pytest.mark.scenario("codecs")
@pytest.mark.parametrize("codec", CODECS)
@given(records=some_records)
def test_other_client_reads_compressed_records(codec: Codec, records: list[Plain]) -> None:
    builder = built(records)
    raw_size = builder.raw_size

    builder.close(int(codec), compressor(codec))

    data = stamped(builder)
    assert RecordBatch.parse(data).codec is codec
    assert builder.raw_size == raw_size
    assert read_by_us(data) == records
    assert read_by_aiokafka(data) == records


@pytest.mark.scenario("codecs")
@pytest.mark.parametrize("codec", CODECS)
def test_large_payload_survives_compression(codec: Codec) -> None:
    records = [Plain(NOW + number, b"key", b"payload %d " % number * 20_000, ()) for number in range(3)]
    builder = built(records)

    builder.close(int(codec), compressor(codec))

    data = stamped(builder)
    assert len(data) < builder.raw_size / 4
    assert read_by_us(data) == records
    assert read_by_aiokafka(data) == records


def test_larger_compressed_records_are_kept() -> None:
    builder = built([Plain(NOW, None, b"x", ())])

    builder.close(int(Codec.GZIP), compressor(Codec.GZIP))

    assert len(builder.buffer) > builder.raw_size
    assert RecordBatch.parse(stamped(builder)).codec is Codec.GZIP


@given(some_records)
def test_header_has_base_and_max_timestamp(records: list[Plain]) -> None:
    batch = RecordBatch.parse(stamped(built(records)))

    assert batch.base_timestamp == records[0].timestamp
    assert batch.max_timestamp == max(record.timestamp for record in records)
    assert batch.record_count == len(records)
    assert batch.base_offset == 0
    assert batch.partition_leader_epoch == -1


def test_many_records_need_longer_varints() -> None:
    records = [Plain(NOW, None, b"%d" % number, ()) for number in range(9000)]

    data = stamped(built(records))

    assert read_by_us(data) == records
    assert read_by_aiokafka(data) == records


# Size.


@given(some_records)
def test_append_returns_size(records: list[Plain]) -> None:
    builder = RecordBatchBuilder(AMPLE, records[0].timestamp)
    assert builder.raw_size == len(builder.buffer) == HEADER_SIZE

    for record in records:
        before = len(builder.buffer)
        taken = builder.append(record.timestamp, record.key, record.value, encode_headers(record.headers))
        assert taken == len(builder.buffer) - before
        assert builder.raw_size == len(builder.buffer)

    assert builder.count == len(records)


@given(records_of_any_kind)
def test_overhead_of_first_record_is_bounded(record: Plain) -> None:
    section = encode_headers(record.headers)
    content = len(record.key or b"") + len(record.value or b"") + len(section or b"")

    taken = RecordBatchBuilder(AMPLE, record.timestamp).append(
        record.timestamp, record.key, record.value, section
    )

    assert content < taken <= content + MAX_RECORD_OVERHEAD


def test_limit_is_exact() -> None:
    """A record that fits to the byte is appended; one that is a byte too large changes nothing."""
    first = Plain(NOW, b"k", b"value", ())
    limit = built([first, first]).raw_size

    exact = built([first, first], limit)
    tight = built([first], limit - 1)
    before = bytes(tight.buffer)

    assert exact.raw_size == limit
    assert exact.append(NOW, None, None, None) == -1
    assert tight.append(NOW + 1_000, b"k", b"value", None) == -1
    assert (bytes(tight.buffer), tight.count, tight.raw_size, tight.max_timestamp) == (
        before,
        1,
        len(before),
        NOW,
    )


def test_smaller_record_fits_after_larger() -> None:
    builder = RecordBatchBuilder(100, NOW)
    builder.append(NOW, None, b"v" * 10, None)

    assert builder.append(NOW, None, b"v" * 50, None) == -1
    assert builder.append(NOW, None, b"w", None) > 0
    assert [record.value for record in read_by_us(stamped(builder))] == [b"v" * 10, b"w"]


@pytest.mark.scenario("record-larger-than-batch")
def test_first_record_ignores_limit() -> None:
    builder = RecordBatchBuilder(HEADER_SIZE, NOW)

    assert builder.append(NOW, None, b"v" * 5000, None) > 5000
    assert builder.append(NOW, None, b"", None) == -1


# Headers.

PAIRS: list[Header] = [("a", b"1"), ("b", None), ("a", b"")]


@pytest.mark.parametrize(
    "headers",
    [
        PAIRS,
        tuple(PAIRS),
        [list(pair) for pair in PAIRS],
        [("a", bytearray(b"1")), ("b", None), ("a", memoryview(b""))],
    ],
    ids=["list", "tuple", "lists", "buffers"],
)
def test_header_pairs_keep_order(headers: Headers) -> None:
    builder = RecordBatchBuilder(AMPLE, NOW)
    builder.append(NOW, None, None, encode_headers(headers))

    assert read_by_us(stamped(builder))[0].headers == tuple(PAIRS)


def test_header_mapping_keeps_order() -> None:
    builder = RecordBatchBuilder(AMPLE, NOW)
    builder.append(NOW, None, None, encode_headers({"trace": b"\x00\xff", "größe": None}))

    assert read_by_aiokafka(stamped(builder))[0].headers == (("trace", b"\x00\xff"), ("größe", None))


@pytest.mark.parametrize("headers", [[], (), {}], ids=["list", "tuple", "mapping"])
def test_empty_headers_are_none(headers: Headers) -> None:
    assert encode_headers(headers) is None


def test_large_header_counts_need_two_bytes() -> None:
    headers = [(f"header-{number}", b"v" * number * 10) for number in range(100)]
    builder = RecordBatchBuilder(AMPLE, NOW)
    builder.append(NOW, None, None, encode_headers(headers))

    assert read_by_aiokafka(stamped(builder))[0].headers == tuple(headers)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("a", "text")], "value of header 'a' must be bytes or None, not str"),
        ([("a", 1)], "value of header 'a' must be bytes or None, not int"),
        ({"a": 1.5}, "value of header 'a' must be bytes or None, not float"),
        ([(b"a", b"1")], "name must be a str, not bytes"),
        ([(None, b"1")], "name must be a str, not NoneType"),
        ([("a",)], r"must be a \(str, bytes or None\) pair, not \('a',\)"),
        ([("a", b"1", b"2")], r"must be a \(str, bytes or None\) pair"),
        (["ab"], "pair, not 'ab'"),
        ([b"ab"], "pair, not b'ab'"),
        ([None], "pair, not None"),
        ("ab", "mapping, not str"),
        (5, "int"),
    ],
)
def test_invalid_header_is_refused(headers: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        encode_headers(headers)  # type: ignore[arg-type] # the test is about wrong types


def test_header_name_outside_utf_8() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode_headers([("\ud800", b"")])


def test_headers_accept_subclasses() -> None:
    """A named tuple is a pair, and a member of a str enum is a name."""

    class Pair(NamedTuple):
        name: str
        value: bytes | None

    class Name(StrEnum):
        TRACE = "trace"

    assert encode_headers([Pair("trace", b"1")]) == encode_headers([("trace", b"1")])
    assert encode_headers({Name.TRACE: b"1"}) == encode_headers([("trace", b"1")])
