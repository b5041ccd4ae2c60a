"""Reading record batches (magic 2) from an untrusted source: the inverse of `records.batch`.

    bytes ── read_batches ──▶ RecordBatch ── records() ──▶ DecodedRecord, DecodedRecord, …
             checks the header                decompresses, and checks each record

The reader accepts only batches that a producer may write, and is a little stricter than a broker.
Every fault is a `ProtocolError` with the numbers. Batches from a compacted log have gaps in their
offsets, so the reader refuses them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NoReturn, Self

from aioproducer.errors import ProtocolError, plural
from aioproducer.records.checksum import crc32c
from aioproducer.records.compression import Codec
from aioproducer.records.decompression import decompress
from aioproducer.records.layout import (
    CODEC_MASK,
    CONTROL,
    CRC_END,
    HEADER_SIZE,
    LENGTH,
    LENGTH_AT,
    LENGTH_END,
    LOG_APPEND_TIME,
    MAGIC,
    TRANSACTIONAL,
    BatchHeader,
)

MAX_PLAIN_SIZE = 64 * 1024 * 1024
"""The default limit for the decompressed records of a batch, in bytes."""

_KNOWN_ATTRIBUTES = CODEC_MASK | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL

_CODECS = {int(codec): codec for codec in Codec}

# The smallest record is seven one-byte numbers, the smallest header two.
_SMALLEST_RECORD = 7
_SMALLEST_HEADER = 2

# Set in every byte of a varint but the last.
_MORE = 0x80


class TimestampType(IntEnum):
    """The clock of the timestamps: of the producer (CREATE) or of the broker (LOG_APPEND)."""

    CREATE = 0
    LOG_APPEND = 1


@dataclass(frozen=True, slots=True)
class DecodedRecord:
    """One record of a batch."""

    offset_delta: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBatch:
    """A record batch with a valid header; `records()` decodes its records."""

    base_offset: int
    size: int
    partition_leader_epoch: int
    magic: int
    crc: int
    codec: Codec
    timestamp_type: TimestampType
    is_transactional: bool
    is_control: bool
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int
    payload: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview, *, check_crc: bool = True) -> Self:
        """Read `data`, which is exactly one batch, and check its header; raises ProtocolError."""
        view = memoryview(data)
        size = _size_of_first(view)
        if size != len(view):
            _refuse(
                f"a batch of {plural(size, 'byte')} is followed by {plural(len(view) - size, 'extra byte')}"
            )
        header = BatchHeader.unpack(view)
        count = header.record_count
        if header.magic != MAGIC:
            _refuse(f"the batch has magic {header.magic}, not {MAGIC}")
        if check_crc and (actual := crc32c(view[CRC_END:])) != header.crc:
            _refuse(f"the CRC-32C of the batch is {actual:#010x}, its header has {header.crc:#010x}")
        if header.attributes & ~_KNOWN_ATTRIBUTES:
            _refuse(f"the batch has unknown attributes: {header.attributes & 0xFFFF:#06x}")
        codec = _CODECS.get(header.codec_number)
        if codec is None:
            _refuse(f"the batch has the unknown codec {header.codec_number}; known are 0 to {max(_CODECS)}")
        if count < 1:
            _refuse(f"the batch has the record count {count}")
        if header.last_offset_delta != count - 1:
            _refuse(
                f"the batch has last offset delta {header.last_offset_delta} with {plural(count, 'record')}"
            )
        return cls.of_header(header, size, codec, bytes(view[HEADER_SIZE:]))

    @classmethod
    def of_header(cls, header: BatchHeader, size: int, codec: Codec, payload: bytes, **more: object) -> Self:
        """Make a batch from its header and its payload, which may be compressed; nothing is checked."""
        return cls(
            base_offset=header.base_offset,
            size=size,
            partition_leader_epoch=header.partition_leader_epoch,
            magic=header.magic,
            crc=header.crc,
            codec=codec,
            timestamp_type=TimestampType(header.has_log_append_time),
            is_transactional=header.is_transactional,
            is_control=header.is_control,
            last_offset_delta=header.last_offset_delta,
            base_timestamp=header.base_timestamp,
            max_timestamp=header.max_timestamp,
            producer_id=header.producer_id,
            producer_epoch=header.producer_epoch,
            base_sequence=header.base_sequence,
            record_count=header.record_count,
            payload=payload,
            **more,
        )

    def records(self, max_size: int = MAX_PLAIN_SIZE) -> list[DecodedRecord]:
        """Decode the records, which may have `max_size` bytes when decompressed.

        If the timestamps are from the broker, every record has the `max_timestamp` of the batch.

        Raises ProtocolError, and ConfigurationError if the codec's library is not installed.
        """
        plain = decompress(self.codec, self.payload, max_size)
        # A batch that claims two billion records in 100 bytes must not make a list of them.
        if self.record_count * _SMALLEST_RECORD > len(plain):
            _refuse(f"the batch claims {plural(self.record_count, 'record')} in {plural(len(plain), 'byte')}")
        cursor = _Cursor(plain)
        records = [self._record(cursor, index) for index in range(self.record_count)]
        if cursor.position != len(plain):
            extra = plural(len(plain) - cursor.position, "extra byte")
            _refuse(f"{extra} after the {plural(self.record_count, 'record')}")
        if self.timestamp_type is TimestampType.CREATE:
            newest = max(record.timestamp_ms for record in records)
            if newest != self.max_timestamp:
                _refuse(f"the batch has max timestamp {self.max_timestamp}, its newest record has {newest}")
        return records

    def _record(self, cursor: _Cursor, index: int) -> DecodedRecord:
        # The length covers all fields after it, so each record can be checked by itself.
        cursor.subject = f"record {index}"
        length = cursor.varint()
        end = cursor.position + length
        if length < 0 or end > len(cursor.data):
            cursor.refuse(
                f"has length {length}, with {plural(len(cursor.data) - cursor.position, 'byte')} left"
            )
        if attributes := cursor.byte():
            cursor.refuse(f"has attributes {attributes}; records have no attributes")
        timestamp_ms = self.base_timestamp + cursor.varint(64)
        offset_delta = cursor.varint()
        if offset_delta != index:
            cursor.refuse(f"has offset delta {offset_delta}")
        key = cursor.field("key")
        value = cursor.field("value")
        headers = cursor.headers()
        if cursor.position != end:
            cursor.refuse(
                f"has length {length}, but its fields take {plural(cursor.position - end + length, 'byte')}"
            )
        if self.timestamp_type is TimestampType.LOG_APPEND:
            timestamp_ms = self.max_timestamp
        return DecodedRecord(offset_delta, timestamp_ms, key, value, headers)


def read_batches(data: bytes | bytearray | memoryview, *, check_crc: bool = True) -> list[RecordBatch]:
    """Read all batches in `data` and check their headers.

    Raises ProtocolError, also for a truncated last batch.
    """
    view = memoryview(data)
    batches = []
    while view:
        size = _size_of_first(view)
        batches.append(RecordBatch.parse(view[:size], check_crc=check_crc))
        view = view[size:]
    return batches


def _size_of_first(view: memoryview) -> int:
    if len(view) < HEADER_SIZE:
        _refuse(f"a batch has at least {HEADER_SIZE} bytes, but {len(view)} are left")
    length: int = LENGTH.unpack_from(view, LENGTH_AT)[0]
    size = length + LENGTH_END
    if not HEADER_SIZE <= size <= len(view):
        _refuse(f"the batch claims {plural(size, 'byte')}, but {len(view)} are left")
    return size


class _Cursor:
    """Reads the fields of records in order; `subject` is the subject of error messages."""

    __slots__ = ("data", "position", "subject")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.subject = ""

    def refuse(self, fault: str) -> NoReturn:
        _refuse(f"{self.subject} {fault}")

    def byte(self) -> int:
        """Read a single byte."""
        position = self.position
        if position >= len(self.data):
            self.refuse("continues after the last byte")
        self.position = position + 1
        return self.data[position]

    def varint(self, bits: int = 32) -> int:
        """Read a zigzag varint: a signed number of `bits` bits."""
        data = self.data
        position = self.position
        folded = 0
        shift = 0
        try:
            while (byte := data[position]) >= _MORE:
                folded |= (byte - _MORE) << shift
                shift += 7
                position += 1
                if shift >= bits:
                    self.refuse(f"has a varint of more than {shift // 7} bytes at byte {self.position}")
        except IndexError:
            self.refuse(f"has a varint at byte {self.position} that continues after the last byte")
        folded |= byte << shift
        if folded >> bits:
            self.refuse(f"has a varint of more than {bits} bits at byte {self.position}")
        self.position = position + 1
        # Zigzag: 0, 1, 2 and 3 stand for 0, -1, 1 and -2.
        return (folded >> 1) ^ -(folded & 1)

    def field(self, name: str) -> bytes | None:
        """Read a length (-1 is null) and that many bytes."""
        length = self.varint()
        if length == -1:
            return None
        start = self.position
        end = start + length
        if length < 0 or end > len(self.data):
            left = plural(len(self.data) - start, "byte")
            self.refuse(f"has a {name} of length {length}, with {left} left")
        self.position = end
        return self.data[start:end]

    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        count = self.varint()
        left = len(self.data) - self.position
        if not 0 <= count * _SMALLEST_HEADER <= left:
            self.refuse(f"has {plural(count, 'header')}, with {plural(left, 'byte')} left")
        return tuple([self._header() for _ in range(count)])

    def _header(self) -> tuple[str, bytes | None]:
        key = self.field("header key")
        if key is None:
            self.refuse("has a header with a null key")
        try:
            name = key.decode()
        except UnicodeDecodeError as error:
            self.refuse(f"has a header key that is not UTF-8: {error}")
        return name, self.field("header value")


def _refuse(message: str) -> NoReturn:
    raise ProtocolError(message)
