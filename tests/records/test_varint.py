"""Zigzag varints: the numbers of the record format."""

from __future__ import annotations

import pytest
from aiokafka.record.util import decode_varint
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.records.varint import put_varint, varint_size

int64 = st.integers(-(2**63), 2**63 - 1)

# From the documentation of the format: zigzag, then seven bits a byte, low bits first.
KNOWN = [
    (0, "00"),
    (-1, "01"),
    (1, "02"),
    (-2, "03"),
    (63, "7e"),
    (-64, "7f"),
    (64, "8001"),
    (-65, "8101"),
    (8191, "fe7f"),
    (8192, "808001"),
    (-8193, "818001"),
    (2**31 - 1, "feffffff0f"),
    (-(2**31), "ffffffff0f"),
    (2**63 - 1, "feffffffffffffffff01"),
    (-(2**63), "ffffffffffffffffff01"),
]


def written(value: int) -> bytes:
    buffer = bytearray()
    put_varint(buffer, value)
    return bytes(buffer)


@pytest.mark.parametrize(("value", "expected"), KNOWN)
def test_known_encodings(value: int, expected: str) -> None:
    assert written(value).hex() == expected


@given(int64)
def test_other_client_reads_varint(value: int) -> None:
    encoded = written(value)

    assert decode_varint(encoded) == (value, len(encoded))


@given(int64)
def test_varint_size_matches_encoding(value: int) -> None:
    assert varint_size(value) == len(written(value))


@given(st.binary(max_size=8), int64)
def test_put_varint_appends(before: bytes, value: int) -> None:
    buffer = bytearray(before)

    put_varint(buffer, value)

    assert bytes(buffer) == before + written(value)
