"""Record batches v2 out of bytes, trusting nothing: the other direction of `records.batch`.

    bytes ── read_batches ──▶ RecordBatch ── records() ──▶ DecodedRecord, DecodedRecord, …
             checks the header                decompresses, and checks each record

What is read is what a producer may write, as strictly as a broker reads it and a little more;
each rule that is broken is a `ProtocolError` of its own, with the numbers. Batches out of the
log of a compacted topic have gaps in their offsets, and are refused too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import NoReturn

from aioproducer.errors import ProtocolError, plural
from aioproducer.records.checksum import crc32c
from aioproducer.records.compression import Codec
from aioproducer.records.decompression import decompress

MAX_PLAIN_SIZE = 64 * 1024 * 1024
"""Bytes to which the records of a batch may grow where nothing else is said."""

# base offset, length, leader epoch, magic, crc, attributes, last offset delta,
# base timestamp, max timestamp, producer id, producer epoch, base sequence, count
_HEADER = Struct(">qiibIhiqqqhii")
_LENGTH = Struct(">i")
_LENGTH_AT = 8
# The length counts what follows it, the checksum covers what follows it.
_LENGTH_END = 12
_CRC_END = 21

_MAGIC = 2
_CODEC_BITS = 0x07
_LOG_APPEND_BIT = 0x08
_TRANSACTIONAL_BIT = 0x10
_CONTROL_BIT = 0x20
_KNOWN_BITS = _CODEC_BITS | _LOG_APPEND_BIT | _TRANSACTIONAL_BIT | _CONTROL_BIT

_CODECS = {int(codec): codec for codec in Codec}

# Seven numbers of one byte each, and two: no record and no header is smaller.
_SMALLEST_RECORD = 7
_SMALLEST_HEADER = 2

# Set in each byte of a varint but the last.
_MORE = 0x80


class TimestampType(IntEnum):
    """Whose clock the timestamps of a batch are from."""

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
    """A record batch whose header is sound; its records are decoded when they are asked for."""

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
    def parse(cls, data: bytes | bytearray | memoryview, *, check_crc: bool = True) -> RecordBatch:
        """Read the one batch that `data` is, and check its header; raises ProtocolError."""
        view = memoryview(data)
        size = _size_of_first(view)
        if size != len(view):
            _refuse(f"a batch of {size} bytes is followed by {plural(len(view) - size, 'byte')}")
        (
            base_offset, _, leader_epoch, magic, crc, attributes, last_offset_delta,
            base_timestamp, max_timestamp, producer_id, producer_epoch, base_sequence, count,
        ) = _HEADER.unpack_from(view)  # fmt: skip
        if magic != _MAGIC:
            _refuse(f"the batch's magic is {magic}, not {_MAGIC}")
        if check_crc and (actual := crc32c(view[_CRC_END:])) != crc:
            _refuse(f"the batch's CRC-32C is {actual:#010x}, its header says {crc:#010x}")
        if attributes & ~_KNOWN_BITS:
            _refuse(f"the batch's attributes {attributes & 0xFFFF:#06x} have bits that no producer sets")
        codec = _CODECS.get(attributes & _CODEC_BITS)
        if codec is None:
            _refuse(f"the batch's codec is {attributes & _CODEC_BITS}, known are 0 to {max(_CODECS)}")
        if count < 1:
            _refuse(f"the batch says that it has {plural(count, 'record')}")
        if last_offset_delta != count - 1:
            _refuse(f"the batch's last offset delta is {last_offset_delta} with {plural(count, 'record')}")
        return cls(
            base_offset=base_offset,
            size=size,
            partition_leader_epoch=leader_epoch,
            magic=magic,
            crc=crc,
            codec=codec,
            timestamp_type=TimestampType(bool(attributes & _LOG_APPEND_BIT)),
            is_transactional=bool(attributes & _TRANSACTIONAL_BIT),
            is_control=bool(attributes & _CONTROL_BIT),
            last_offset_delta=last_offset_delta,
            base_timestamp=base_timestamp,
            max_timestamp=max_timestamp,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
            record_count=count,
            payload=bytes(view[_HEADER.size :]),
        )

    def records(self, max_size: int = MAX_PLAIN_SIZE) -> list[DecodedRecord]:
        """Decode the records, which may take `max_size` bytes when decompressed.

        With timestamps of the broker's clock every record has the batch's `max_timestamp`.

        Raises ProtocolError, and ConfigurationError if the codec's library is not installed.
        """
        plain = decompress(self.codec, self.payload, max_size)
        if self.record_count * _SMALLEST_RECORD > len(plain):
            count, size = plural(self.record_count, "record"), plural(len(plain), "byte")
            _refuse(f"the batch says that it has {count}, in {size}")
        cursor = _Cursor(plain)
        records = [self._record(cursor, index) for index in range(self.record_count)]
        if cursor.position != len(plain):
            count, left = plural(self.record_count, "record"), plural(len(plain) - cursor.position, "byte")
            _refuse(f"{left} left over behind {count}")
        if self.timestamp_type is TimestampType.CREATE:
            newest = max(record.timestamp_ms for record in records)
            if newest != self.max_timestamp:
                _refuse(f"the batch's max timestamp is {self.max_timestamp}, its newest record's is {newest}")
        return records

    def _record(self, cursor: _Cursor, index: int) -> DecodedRecord:
        cursor.subject = f"record {index}"
        length = cursor.varint()
        end = cursor.position + length
        if length < 0 or end > len(cursor.data):
            left = plural(len(cursor.data) - cursor.position, "byte")
            cursor.refuse(f"has the length {length}, with {left} left")
        if attributes := cursor.byte():
            cursor.refuse(f"has the attributes {attributes}, Kafka knows none")
        timestamp_ms = self.base_timestamp + cursor.varint(64)
        offset_delta = cursor.varint()
        if offset_delta != index:
            cursor.refuse(f"has the offset delta {offset_delta}")
        key = cursor.field("key")
        value = cursor.field("value")
        headers = cursor.headers()
        if cursor.position != end:
            cursor.refuse(
                f"has the length {length}, its fields take {plural(cursor.position - end + length, 'byte')}"
            )
        if self.timestamp_type is TimestampType.LOG_APPEND:
            timestamp_ms = self.max_timestamp
        return DecodedRecord(offset_delta, timestamp_ms, key, value, headers)


def read_batches(data: bytes | bytearray | memoryview, *, check_crc: bool = True) -> list[RecordBatch]:
    """Read the batches that `data` consists of, and check their headers.

    Raises ProtocolError, also if the last batch is not whole.
    """
    view = memoryview(data)
    batches = []
    while view:
        size = _size_of_first(view)
        batches.append(RecordBatch.parse(view[:size], check_crc=check_crc))
        view = view[size:]
    return batches


def _size_of_first(view: memoryview) -> int:
    if len(view) < _HEADER.size:
        _refuse(f"a batch takes {_HEADER.size} bytes at least, with {len(view)} left")
    length: int = _LENGTH.unpack_from(view, _LENGTH_AT)[0]
    size = length + _LENGTH_END
    if not _HEADER.size <= size <= len(view):
        _refuse(f"the batch says that it has {plural(size, 'byte')}, with {len(view)} left")
    return size


class _Cursor:
    """Reads the fields of records one behind the other; `subject` is what refusals speak of."""

    __slots__ = ("data", "position", "subject")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.subject = ""

    def refuse(self, words: str) -> NoReturn:
        _refuse(f"{self.subject} {words}")

    def byte(self) -> int:
        """Read a single byte."""
        position = self.position
        if position >= len(self.data):
            self.refuse("goes on after the last byte")
        self.position = position + 1
        return self.data[position]

    def varint(self, bits: int = 32) -> int:
        """Read a zigzag varint, which stands for a signed number of `bits` bits."""
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
            self.refuse(f"has a varint at byte {self.position} that goes on after the last byte")
        folded |= byte << shift
        if folded >> bits:
            self.refuse(f"has a varint of more than {bits} bits at byte {self.position}")
        self.position = position + 1
        return (folded >> 1) ^ -(folded & 1)

    def field(self, name: str) -> bytes | None:
        """Read a length, where -1 is null, and as many bytes."""
        length = self.varint()
        if length == -1:
            return None
        start = self.position
        end = start + length
        if length < 0 or end > len(self.data):
            left = plural(len(self.data) - start, "byte")
            self.refuse(f"has a {name} of the length {length}, with {left} left")
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
            self.refuse("has a header whose key is null")
        try:
            name = key.decode()
        except UnicodeDecodeError as error:
            self.refuse(f"has a header whose key is not UTF-8: {error}")
        return name, self.field("header value")


def _refuse(message: str) -> NoReturn:
    raise ProtocolError(message)
