"""Which bytes of a partition's records are its batch: what a broker looks at before it asks the log.

The one idea: records are cut into batches by their lengths alone, and what does not make a
whole batch is none (Kafka's `ProduceRequest.validateRecords`, `ByteBufferLogInputStream`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.errors import plural
from aioproducer.records.compression import Codec
from aioproducer.testing.refusal import Refused

if TYPE_CHECKING:
    from aioproducer.protocol.primitives import Chunk

FIRST_VERSION_WITH_ZSTD = 7

_LENGTH_AT = 8
_LENGTH_END = 12
_MAGIC_AT = 16
_ATTRIBUTES_AT = 22
"""Where the lower byte of the two is, which has all that is looked for."""

_SMALLEST_LENGTH = 14
_NEWEST_MAGIC = 2
_CODEC_BITS = 0x07
_TRANSACTIONAL_BIT = 0x10


def one_batch(data: Chunk | None, version: int) -> memoryview:
    """Return the bytes of the one batch in `data`; Refused if there is none or another.

    `version` is the request's. Bytes behind the batch that are no batch are left out, as Kafka does.
    """
    whole = memoryview(data or b"")
    size = _size_of_first(whole)
    if size is None:
        raise Refused(
            ErrorCode.INVALID_RECORD, f"there is no whole record batch in {plural(len(whole), 'byte')}"
        )
    magic = whole[_MAGIC_AT]
    if magic != _NEWEST_MAGIC:
        raise Refused(
            ErrorCode.INVALID_RECORD, f"Produce takes batches of magic {_NEWEST_MAGIC}, not {magic}"
        )
    if version < FIRST_VERSION_WITH_ZSTD and codec_of(whole) == Codec.ZSTD:
        reason = f"zstd needs Produce version {FIRST_VERSION_WITH_ZSTD}, not {version}"
        raise Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, reason)
    if size == len(whole):
        return whole
    if (second := _size_of_first(whole[size:])) is not None:
        reason = f"one batch a partition: a second one of {second} bytes follows the first of {size}"
        raise Refused(ErrorCode.INVALID_RECORD, reason)
    return whole[:size]


def codec_of(data: Chunk) -> int:
    """Return the number of a batch's codec, which there may not be; 0 of what is too short to say."""
    return data[_ATTRIBUTES_AT] & _CODEC_BITS if len(data) > _ATTRIBUTES_AT else 0


def is_transactional(data: Chunk | None) -> bool:
    """Return whether a batch says that it belongs to a transaction."""
    return data is not None and len(data) > _ATTRIBUTES_AT and bool(data[_ATTRIBUTES_AT] & _TRANSACTIONAL_BIT)


def _size_of_first(view: memoryview) -> int | None:
    if len(view) < _LENGTH_END:
        return None
    length = int.from_bytes(view[_LENGTH_AT:_LENGTH_END], "big", signed=True)
    if length < _SMALLEST_LENGTH:
        reason = f"a batch has a length of {_SMALLEST_LENGTH} at least, not {length}"
        raise Refused(ErrorCode.CORRUPT_MESSAGE, reason, is_told=True)
    if len(view) <= _MAGIC_AT:
        return None
    if view[_MAGIC_AT] > _NEWEST_MAGIC:
        raise Refused(ErrorCode.CORRUPT_MESSAGE, f"there is no magic {view[_MAGIC_AT]}", is_told=True)
    size = length + _LENGTH_END
    return size if size <= len(view) else None
