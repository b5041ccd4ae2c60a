"""The primitive types in both encodings: the Reader reads the bytes that the Writer writes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.produce import NodeEndpoint
from aioproducer.protocol.reader import Reader
from aioproducer.protocol.writer import Writer
from tests.protocol.agreement import few_examples, int16, int32, int64, texts
from tests.protocol.pair import Pair, written

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

UUID_1 = UUID("00112233-4455-6677-8899-aabbccddeeff")

# (method of both classes, value, classic hex, flexible hex)
VECTORS: list[tuple[str, object, str, str]] = [
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
    ("records", b"abc", "00000003 616263", "04 616263"),
    ("records", b"", "00000000", "01"),
    ("records", None, "ffffffff", "00"),
    ("int32_array", (), "00000000", "01"),
    ("int32_array", (1, -1), "00000002 00000001 ffffffff", "03 00000001 ffffffff"),
]


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize(("name", "value", "classic", "compact"), VECTORS)
def test_primitive_has_kafkas_bytes(
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
def test_truncated_primitive_is_protocol_error(
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


MANY: list[tuple[str, SearchStrategy[Any]]] = [
    ("int16", int16),
    ("int32", int32),
    ("int64", int64),
    ("uuid", st.uuids()),
    ("unsigned_varint", st.integers(0, 2**32 - 1)),
    ("nullable_string", st.none() | texts),
    ("records", st.none() | st.binary()),
    ("int32_array", st.lists(int32).map(tuple)),
]


@few_examples
@given(data=st.data(), flexible=st.booleans())
def test_primitives_survive_round_trip(data: st.DataObject, flexible: bool) -> None:  # noqa: FBT001
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


def test_layout_packs_several_fields() -> None:
    layout = Layout(">hi")
    data = written(lambda writer: writer.pack(layout, 1, 2), flexible=False)
    assert data == bytes.fromhex("0001 00000002")
    assert Reader(data).unpack(layout) == (1, 2)


@pytest.mark.parametrize(
    ("flexible", "version", "expected"),
    [
        (False, 0, "00000002 0001 0003"),
        (False, 1, "00000002 0001 0002 0003 0004"),
        (True, 1, "03 0001 0002 00 0003 0004 00"),
    ],
)
def test_arrays_of_structs(flexible: bool, version: int, expected: str) -> None:  # noqa: FBT001
    pairs = (Pair(1, 2), Pair(3, 4)) if version else (Pair(1), Pair(3))
    data = bytes.fromhex(expected)
    assert written(lambda writer: writer.structs(pairs, version), flexible=flexible) == data
    assert written(lambda writer: writer.nullable_structs(pairs, version), flexible=flexible) == data
    assert Reader(data, flexible=flexible).structs(Pair, version) == pairs
    assert Reader(data, flexible=flexible).nullable_structs(Pair, version) == pairs


@pytest.mark.parametrize(("flexible", "expected"), [(False, b"\xff\xff\xff\xff"), (True, b"\x00")])
def test_array_of_structs_may_be_null(flexible: bool, expected: bytes) -> None:  # noqa: FBT001
    assert written(lambda writer: writer.nullable_structs(None, 0), flexible=flexible) == expected
    assert Reader(expected, flexible=flexible).nullable_structs(Pair, 0) is None


def test_classic_encoding_has_no_tags() -> None:
    assert written(lambda writer: writer.tagged_fields(), flexible=False) == b""
    assert Reader(b"\x01").tagged_fields() == {}


def test_tagged_fields_are_sorted_by_tag() -> None:
    first, second = Writer(flexible=True), Writer(flexible=True)
    first.int16(7)
    second.string("abc")
    data = written(lambda writer: writer.tagged_fields({200: second, 1: first}), flexible=True)
    assert data == bytes.fromhex("02 01 02 0007 c801 04 04616263")

    fields = Reader(data, flexible=True).tagged_fields()
    assert fields[1].int16() == 7
    assert fields[200].string() == "abc"


def test_structs_compare_by_fields() -> None:
    one, same, other = (NodeEndpoint(node, "kafka", 9092) for node in (1, 1, 2))

    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != (1, "kafka", 9092, None)
    assert len({one, same, other}) == 2
    assert repr(one) == "NodeEndpoint(node_id=1, host='kafka', port=9092, rack=None)"
    with pytest.raises(FrozenInstanceError):
        one.port = 1  # type: ignore[misc] # assigning is the test
