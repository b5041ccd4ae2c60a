"""The Writer: chunks without copies, and values that do not fit."""

from __future__ import annotations

import struct

import pytest

from aioproducer.protocol.writer import Writer
from tests.protocol.pair import written


def test_records_are_written_without_copy() -> None:
    batch = bytearray(b"batch")
    writer = Writer()
    writer.int16(1)
    writer.records(batch)
    writer.int16(2)

    before, records, after = writer.chunks()

    assert before == b"\x00\x01\x00\x00\x00\x05"
    assert records is batch
    assert after == b"\x00\x02"
    assert writer.size == 13


def test_too_long_string_is_value_error() -> None:
    with pytest.raises(ValueError, match="a string of 32768 bytes"):
        Writer().string("a" * 32768)
    assert written(lambda writer: writer.string("a" * 32768), flexible=True)[:3] == b"\x81\x80\x02"


def test_number_out_of_range_is_struct_error() -> None:
    with pytest.raises(struct.error):
        Writer().int16(32768)
