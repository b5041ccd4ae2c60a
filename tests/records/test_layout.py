"""The layout of the batch header: sizes, offsets and bits."""

from __future__ import annotations

import pytest

from aioproducer.records import layout
from aioproducer.records.layout import BatchHeader
from tests.records.test_reader import GOLDEN, GOLDEN_TRANSACTIONAL


def test_header_of_golden_batch() -> None:
    header = BatchHeader.unpack(GOLDEN_TRANSACTIONAL)

    assert (header.base_offset, header.length, header.magic) == (0, len(GOLDEN) - 12, layout.MAGIC)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (4000, 3, 7)
    assert (header.last_offset_delta, header.record_count) == (1, 2)
    assert header.max_timestamp - header.base_timestamp == 5


@pytest.mark.parametrize(
    ("field", "offset"),
    [
        ("length", layout.LENGTH_AT),
        ("partition_leader_epoch", layout.LENGTH_END),
        ("magic", layout.MAGIC_AT),
        ("crc", layout.CRC_AT),
        ("attributes", layout.CRC_END),
        ("attributes", layout.ATTRIBUTES_AT),
    ],
)
def test_offset_is_of_field(field: str, offset: int) -> None:
    changed = bytearray(GOLDEN)
    changed[offset] ^= 1

    before, after = BatchHeader.unpack(GOLDEN), BatchHeader.unpack(changed)

    assert [name for name in before._fields if getattr(before, name) != getattr(after, name)] == [field]
    assert layout.HEADER.size == layout.HEADER_SIZE


def test_bits_of_attributes() -> None:
    header = BatchHeader.unpack(GOLDEN)
    plain = header._replace(attributes=0)
    full = header._replace(attributes=0x3C)

    assert (plain.codec_number, full.codec_number) == (0, 4)
    assert not plain.has_log_append_time
    assert not plain.is_transactional
    assert not plain.is_control
    assert full.has_log_append_time
    assert full.is_transactional
    assert full.is_control
