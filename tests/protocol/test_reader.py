"""The Reader: malformed bytes are protocol errors, whatever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError
from aioproducer.protocol.reader import Reader
from tests.protocol.agreement import few_examples
from tests.protocol.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Callable

READS: list[Callable[[Reader], object]] = [
    Reader.int16,
    Reader.int32,
    Reader.int64,
    Reader.boolean,
    Reader.uuid,
    Reader.unsigned_varint,
    Reader.string,
    Reader.nullable_string,
    Reader.strings,
    Reader.bytes_field,
    Reader.records,
    Reader.array_size,
    Reader.int32_array,
    Reader.tagged_fields,
    Reader.expect_end,
]


@few_examples
@given(data=st.binary(max_size=40), flexible=st.booleans(), reads=st.lists(st.sampled_from(READS)))
def test_any_bytes_raise_only_protocol_errors(
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
        Reader.int32_array,
        Reader.strings,
        Reader.bytes_field,
        Reader.records,
        lambda reader: reader.structs(Pair, 0),
        lambda reader: reader.nullable_structs(Pair, 0),
    ],
)
def test_too_large_count_is_refused_early(
    flexible: bool,  # noqa: FBT001
    data: str,
    read: Callable[[Reader], object],
) -> None:
    """Refuse the count before a loop or an allocation uses it."""
    with pytest.raises(ProtocolError):
        read(Reader(bytes.fromhex(data), flexible=flexible))


def test_too_large_number_array_is_refused() -> None:
    with pytest.raises(ProtocolError, match="needs 16 bytes, but 5 are left"):
        Reader(bytes.fromhex("00000004 0000000000")).int32_array()


@pytest.mark.parametrize("data", ["8080808080 01", "ffffffff1f", "ffffffff7f", "ffffffffff 00"])
def test_varint_beyond_32_bits_is_refused(data: str) -> None:
    with pytest.raises(ProtocolError, match="longer than 32 bits"):
        Reader(bytes.fromhex(data)).unsigned_varint()


@pytest.mark.parametrize("read", [Reader.string, Reader.nullable_string])
def test_length_below_null_is_refused(read: Callable[[Reader], object]) -> None:
    """The length -1 is null; lengths below it are invalid."""
    with pytest.raises(ProtocolError, match="the length before byte 2 is -2"):
        read(Reader(b"\xff\xfe"))


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("read", [Reader.string, Reader.array_size, Reader.int32_array])
def test_unexpected_null_is_refused(
    read: Callable[[Reader], object],
    flexible: bool,  # noqa: FBT001
) -> None:
    with pytest.raises(ProtocolError, match="is null but must not be"):
        read(Reader(b"\x00" if flexible else b"\xff\xff\xff\xff", flexible=flexible))


def test_invalid_utf_8_is_refused() -> None:
    with pytest.raises(ProtocolError, match="the string of length 2 before byte 4 is not UTF-8"):
        Reader(b"\x00\x02\xff\xfe").string()


def test_leftover_bytes_are_refused() -> None:
    reader = Reader(b"\x00\x00\x00")
    reader.int16()
    with pytest.raises(ProtocolError, match="1 of 3 bytes left over"):
        reader.expect_end()


def test_any_byte_but_0_is_true() -> None:
    assert Reader(b"\x02").boolean() is True


def test_records_are_read_without_copy() -> None:
    data = bytearray(b"\x00\x00\x00\x02ab")
    records = Reader(memoryview(data)).records()
    data[4] = ord("z")
    assert records is not None
    assert bytes(records) == b"zb"


def test_only_expected_bytes_are_skipped() -> None:
    reader = Reader(memoryview(b"abcd"))
    assert reader.skip_if(b"ab")
    assert not reader.skip_if(b"ab")
    assert not reader.skip_if(b"cde")
    assert reader.remaining == 2


def test_unknown_tags_are_skipped() -> None:
    reader = Reader(bytes.fromhex("02 05 02 ffff 8001 00 002a"), flexible=True)
    reader.tagged_fields()
    assert reader.int16() == 42


@pytest.mark.parametrize("data", ["01", "01 00", "01 00 02 ff", "ffffffff0f", "02 00 00", "ffffffff0f 00 00"])
def test_truncated_tagged_section_is_refused(data: str) -> None:
    with pytest.raises(ProtocolError):
        Reader(bytes.fromhex(data), flexible=True).tagged_fields()
