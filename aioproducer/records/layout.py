"""The layout of a record batch, magic 2 (Kafka's `DefaultRecordBatch`).

     0 base offset    8 length   12 leader epoch   16 magic   17 crc   21 attributes
    23 last offset delta   27 base timestamp   35 max timestamp
    43 producer id   51 producer epoch   53 base sequence   57 record count   61 records, …

Numbers are big-endian. The length counts the bytes after itself; the CRC-32C covers the bytes
after itself. The records may be compressed, the header never is.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, Self

HEADER = Struct(">qiibIhiqqqhii")
"""The fields of `BatchHeader`."""

HEADER_SIZE = 61
"""Bytes before the first record."""

MAX_RECORD_OVERHEAD = 21
"""The most bytes of a record without its key, value and headers (Kafka's own bound)."""

MAGIC = 2

LENGTH = Struct(">i")
LENGTH_AT = 8
LENGTH_END = 12
MAGIC_AT = 16
CRC = Struct(">I")
CRC_AT = 17
CRC_END = 21
ATTRIBUTES_AT = 21

# The bits of the attributes.
CODEC_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20


class BatchHeader(NamedTuple):
    """The header of a record batch; nothing in it is checked."""

    base_offset: int
    length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read the header at the start of `data`, which has at least `HEADER_SIZE` bytes."""
        return cls._make(HEADER.unpack_from(data))

    @property
    def codec_number(self) -> int:
        """The number of the codec; there may be no such codec."""
        return self.attributes & CODEC_MASK

    @property
    def has_log_append_time(self) -> bool:
        """Whether the timestamps are from the clock of the broker."""
        return bool(self.attributes & LOG_APPEND_TIME)

    @property
    def is_transactional(self) -> bool:
        """Whether the batch is part of a transaction."""
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether the batch is a marker of the broker, such as a commit."""
        return bool(self.attributes & CONTROL)
