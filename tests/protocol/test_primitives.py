from __future__ import annotations

import struct
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError
from aioproducer.protocol.primitives import ZERO_UUID, Reader, Writer
from tests.protocol.agreement import few_examples, int16, int32, int64, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

UUID_1 = UUID("00112233-4455-6677-8899-aabbccddeeff")

# (method of both classes, value, classic hex, flexible hex)
VECTORS: list[tuple[str, object, str, str]] = [
    ("int8", -2, "fe", "fe"),
    ("int16", -2, "fffe", "fffe"),
    ("int32", 1_000_000, "000f4240", "000f4240"),
    ("int64", -1, "ffffffffffffffff", "ffffffffffffffff"),
    ("boolean", True, "01", "01"),
    ("boolean", False, "00", "00"),
    ("uuid", UUID_1, "00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeeff"),
    ("uuid", ZERO_UUID, "00" * 16, "00" * 16),
    ("unsigned_varint", 0, "00", "00"),
    ("unsigned_varint", 127, "7f", "7f"),
    ("unsigned_varint", 128, "8001", "8001"),
    ("unsigned_varint", 300, "ac02", "ac02"),
    ("unsigned_varint", 2**32 - 1, "ffffffff0f", "ffffffff0f"),
    ("string", "", "0000", "01"),
    ("string", "né", "0003 6ec3a9", "04 6ec3a9"),
    ("nullable_string", "a", "0001 61", "02 61"),
    ("nullable_string", None, "ffff", "00"),
    ("bytes_", b"", "00000000", "01"),
    ("bytes_", b"ab", "00000002 6162", "03 6162"),
    ("nullable_bytes", b"a", "00000001 61", "02 61"),
    ("nullable_bytes", None, "ffffffff", "00"),
    ("records", b"abc", "00000003 616263", "04 616263"),
    ("records", b"", "00000000", "01"),
    ("records", None, "ffffffff", "00"),
    ("int32_array", (), "00000000", "01"),
    ("int32_array", (1, -1), "00000002 00000001 ffffffff", "03 00000001 ffffffff"),
    ("string_array", ("a", ""), "00000002 0001 61 0000", "03 02 61 01"),
]

READS: list[Callable[[Reader], object]] = [
    Reader.int8,
    Reader.int16,
    Reader.int32,
    Reader.int64,
    Reader.boolean,
    Reader.uuid,
    Reader.unsigned_varint,
    Reader.string,
    Reader.nullable_string,
    Reader.bytes_,
    Reader.nullable_bytes,
    Reader.records,
    Reader.array_size,
    Reader.nullable_array_size,
    Reader.int32_array,
    Reader.string_array,
    Reader.tagged_fields,
    Reader.expect_end,
]


def written(write: Callable[[Writer], None], *, flexible: bool) -> bytes:
    writer = Writer(flexible=flexible)
    write(writer)
    return b"".join(writer.chunks())


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize(("name", "value", "classic", "compact"), VECTORS)
def test_a_primitive_has_the_bytes_that_kafka_defines(
    name: str,
    value: object,
    classic: str,
    compact: str,
    flexible: bool,  # noqa: FBT001
) -> None:
    expected = bytes.fromhex(compact if flexible else classic)

    assert written(lambda writer: getattr(writer, name)(value), flexible=flexible) == expected

    for data in (expected, bytearray(expected), memoryview(expected)):
        reader = Reader(data, flexible=flexible)
        assert getattr(reader, name)() == value
        reader.expect_end()


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize(("name", "value", "classic", "compact"), VECTORS)
def test_a_primitive_cut_short_is_a_protocol_error(
    name: str,
    value: object,
    classic: str,
    compact: str,
    flexible: bool,  # noqa: FBT001
) -> None:
    del value
    data = bytes.fromhex(compact if flexible else classic)
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            getattr(Reader(data[:end], flexible=flexible), name)()


@few_examples
@given(data=st.binary(max_size=40), flexible=st.booleans(), reads=st.lists(st.sampled_from(READS)))
def test_whatever_the_bytes_reading_raises_only_protocol_errors(
    data: bytes,
    flexible: bool,  # noqa: FBT001
    reads: list[Callable[[Reader], object]],
) -> None:
    reader = Reader(data, flexible=flexible)
    for read in reads:
        before = reader.remaining
        try:
            read(reader)
        except ProtocolError:
            break
        assert 0 <= reader.remaining <= before


MANY: list[tuple[str, SearchStrategy[Any]]] = [
    ("int16", int16),
    ("int32", int32),
    ("int64", int64),
    ("uuid", st.uuids()),
    ("unsigned_varint", st.integers(0, 2**32 - 1)),
    ("nullable_string", st.none() | texts),
    ("nullable_bytes", st.none() | st.binary()),
    ("records", st.none() | st.binary()),
    ("int32_array", st.lists(int32).map(tuple)),
    ("string_array", st.lists(texts).map(tuple)),
]


@few_examples
@given(data=st.data(), flexible=st.booleans())
def test_primitives_in_a_row_come_back(data: st.DataObject, flexible: bool) -> None:  # noqa: FBT001
    names = data.draw(st.lists(st.sampled_from(MANY)))
    values = [(name, data.draw(strategy)) for name, strategy in names]
    writer = Writer(flexible=flexible)
    for name, value in values:
        getattr(writer, name)(value)
    assert writer.size == sum(map(len, writer.chunks()))
    assert all(writer.chunks())

    reader = Reader(b"".join(writer.chunks()), flexible=flexible)
    for name, value in values:
        assert getattr(reader, name)() == value
    reader.expect_end()


@pytest.mark.parametrize(
    ("flexible", "data"),
    [
        (False, "7fffffff"),
        (False, "7fffffff 0000"),
        (False, "00000002 00"),
        (True, "ffffffff0f"),
        (True, "ffffffff07 0000"),
        (True, "03 00"),
    ],
)
@pytest.mark.parametrize(
    "read",
    [
        Reader.array_size,
        Reader.nullable_array_size,
        Reader.int32_array,
        Reader.string_array,
        Reader.bytes_,
        Reader.records,
        lambda reader: reader.structs(Pair, 0),
        lambda reader: reader.nullable_structs(Pair, 0),
    ],
)
def test_a_count_that_the_bytes_cannot_hold_is_refused_before_it_is_believed(
    flexible: bool,  # noqa: FBT001
    data: str,
    read: Callable[[Reader], object],
) -> None:
    with pytest.raises(ProtocolError):
        read(Reader(bytes.fromhex(data), flexible=flexible))


def test_an_array_of_more_numbers_than_fit_is_refused() -> None:
    with pytest.raises(ProtocolError, match="needs 16 bytes, with 5 left"):
        Reader(bytes.fromhex("00000004 0000000000")).int32_array()


@pytest.mark.parametrize("data", ["8080808080 01", "ffffffff1f", "ffffffff7f", "ffffffffff 00"])
def test_a_varint_beyond_32_bits_is_refused(data: str) -> None:
    with pytest.raises(ProtocolError, match="longer than 32 bits"):
        Reader(bytes.fromhex(data)).unsigned_varint()


@pytest.mark.parametrize("read", [Reader.string, Reader.nullable_string])
def test_a_negative_length_other_than_null_is_refused(read: Callable[[Reader], object]) -> None:
    with pytest.raises(ProtocolError, match="the length before byte 2 is -2"):
        read(Reader(b"\xff\xfe"))


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("read", [Reader.string, Reader.bytes_, Reader.array_size, Reader.int32_array])
def test_null_where_it_may_not_be_is_refused(
    read: Callable[[Reader], object],
    flexible: bool,  # noqa: FBT001
) -> None:
    with pytest.raises(ProtocolError, match="null"):
        read(Reader(b"\x00" if flexible else b"\xff\xff\xff\xff", flexible=flexible))


def test_a_string_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ProtocolError, match="the string of 2 bytes before byte 4 is not UTF-8"):
        Reader(b"\x00\x02\xff\xfe").string()


def test_bytes_left_over_are_refused() -> None:
    reader = Reader(b"\x00\x00\x00")
    reader.int16()
    with pytest.raises(ProtocolError, match="1 of 3 bytes left over"):
        reader.expect_end()


def test_any_byte_but_0_is_true() -> None:
    assert Reader(b"\x02").boolean() is True


def test_records_are_read_without_a_copy() -> None:
    data = bytearray(b"\x00\x00\x00\x02ab")
    records = Reader(memoryview(data)).records()
    data[4] = ord("z")
    assert records is not None
    assert bytes(records) == b"zb"


def test_records_are_written_without_a_copy_between_the_fields_around_them() -> None:
    batch = bytearray(b"batch")
    writer = Writer()
    writer.int8(1)
    writer.records(batch)
    writer.int8(2)

    before, records, after = writer.chunks()

    assert before == b"\x01\x00\x00\x00\x05"
    assert records is batch
    assert after == b"\x02"
    assert writer.size == 11


def test_a_run_of_fields_goes_in_one_layout() -> None:
    layout = Layout(">hi")
    data = written(lambda writer: writer.pack(layout, 1, 2), flexible=False)
    assert data == bytes.fromhex("0001 00000002")
    assert Reader(data).unpack(layout) == (1, 2)


def test_only_the_bytes_expected_are_skipped() -> None:
    reader = Reader(memoryview(b"abcd"))
    assert reader.skip_if(b"ab")
    assert not reader.skip_if(b"ab")
    assert not reader.skip_if(b"cde")
    assert reader.remaining == 2


class Pair:
    """A struct of two numbers, the second from version 1."""

    def __init__(self, left: int, right: int = 0) -> None:
        self.left = left
        self.right = right

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and (self.left, self.right) == (other.left, other.right)

    def __hash__(self) -> int:
        return hash((self.left, self.right))

    def write(self, writer: Writer, version: int) -> None:
        writer.int8(self.left)
        if version >= 1:
            writer.int8(self.right)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Pair:
        pair = cls(reader.int8(), reader.int8() if version >= 1 else 0)
        reader.tagged_fields()
        return pair


@pytest.mark.parametrize(
    ("flexible", "version", "expected"),
    [(False, 0, "00000002 01 03"), (False, 1, "00000002 01 02 03 04"), (True, 1, "03 01 02 00 03 04 00")],
)
def test_arrays_of_structs(flexible: bool, version: int, expected: str) -> None:  # noqa: FBT001
    pairs = (Pair(1, 2), Pair(3, 4)) if version else (Pair(1), Pair(3))
    data = bytes.fromhex(expected)
    assert written(lambda writer: writer.structs(pairs, version), flexible=flexible) == data
    assert written(lambda writer: writer.nullable_structs(pairs, version), flexible=flexible) == data
    assert Reader(data, flexible=flexible).structs(Pair, version) == pairs
    assert Reader(data, flexible=flexible).nullable_structs(Pair, version) == pairs


@pytest.mark.parametrize(("flexible", "expected"), [(False, b"\xff\xff\xff\xff"), (True, b"\x00")])
def test_an_array_of_structs_may_be_null(flexible: bool, expected: bytes) -> None:  # noqa: FBT001
    assert written(lambda writer: writer.nullable_structs(None, 0), flexible=flexible) == expected
    assert Reader(expected, flexible=flexible).nullable_structs(Pair, 0) is None


def test_the_classic_form_has_no_tagged_section() -> None:
    assert written(lambda writer: writer.tagged_fields(), flexible=False) == b""
    assert Reader(b"\x01").tagged_fields() == {}


def test_tagged_fields_go_out_in_the_order_of_their_tags() -> None:
    first, second = Writer(flexible=True), Writer(flexible=True)
    first.int16(7)
    second.bytes_(b"abc")
    data = written(lambda writer: writer.tagged_fields({200: second, 1: first}), flexible=True)
    assert data == bytes.fromhex("02 01 02 0007 c801 04 04616263")

    fields = Reader(data, flexible=True).tagged_fields()
    assert fields[1].int16() == 7
    assert fields[200].bytes_() == b"abc"


def test_unknown_tags_are_stepped_over() -> None:
    reader = Reader(bytes.fromhex("02 05 02 ffff 8001 00 2a"), flexible=True)
    reader.tagged_fields()
    assert reader.int8() == 42


@pytest.mark.parametrize("data", ["01", "01 00", "01 00 02 ff", "ffffffff0f", "02 00 00", "ffffffff0f 00 00"])
def test_a_tagged_section_cut_short_is_refused(data: str) -> None:
    with pytest.raises(ProtocolError):
        Reader(bytes.fromhex(data), flexible=True).tagged_fields()


def test_a_string_too_long_for_the_classic_form_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="a string of 32768 bytes"):
        Writer().string("a" * 32768)
    assert written(lambda writer: writer.string("a" * 32768), flexible=True)[:3] == b"\x81\x80\x02"


def test_a_number_out_of_range_is_the_callers_mistake() -> None:
    with pytest.raises(struct.error):
        Writer().int16(32768)
