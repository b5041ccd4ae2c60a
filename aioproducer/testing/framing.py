"""Finds the one batch in the records of a partition, before any other check.

Records are cut into batches by their lengths alone; an incomplete batch does not count (Kafka's
`ProduceRequest.validateRecords`, `ByteBufferLogInputStream`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.errors import plural
from aioproducer.protocol.produce import ProduceRequest
from aioproducer.records.compression import Codec
from aioproducer.records.layout import (
    ATTRIBUTES_AT,
    CODEC_MASK,
    LENGTH_AT,
    LENGTH_END,
    MAGIC,
    MAGIC_AT,
    TRANSACTIONAL,
)
from aioproducer.testing.refusal import Refused

if TYPE_CHECKING:
    from aioproducer.protocol.fields import Chunk

_LOW_ATTRIBUTES_AT = ATTRIBUTES_AT + 1
"""The offset of the attributes' lower byte, which has all known bits."""

# Kafka's bound for every magic: the overhead of a record of magic 0.
_SMALLEST_LENGTH = 14


def one_batch(data: Chunk | None, version: int) -> memoryview:
    """Return the bytes of the one batch in `data`; raises Refused for none or a second one.

    `version` is that of the request. Other bytes after the batch are dropped, as in Kafka.
    """
    whole = memoryview(data or b"")
    size = _size_of_first(whole)
    if size is None:
        reason = f"there is no whole record batch in {plural(len(whole), 'byte')}"
        raise Refused(ErrorCode.INVALID_RECORD, reason)
    magic = whole[MAGIC_AT]
    if magic != MAGIC:
        raise Refused(ErrorCode.INVALID_RECORD, f"Produce takes batches of magic {MAGIC}, not {magic}")
    if version < ProduceRequest.zstd_from and codec_of(whole) == Codec.ZSTD:
        reason = f"zstd needs Produce version {ProduceRequest.zstd_from}, not {version}"
        raise Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, reason)
    if size == len(whole):
        return whole
    # A second batch is an error even for Kafka, other extra bytes are not.
    if (second := _size_of_first(whole[size:])) is not None:
        reason = f"one batch a partition: a second one of {second} bytes follows the first of {size}"
        raise Refused(ErrorCode.INVALID_RECORD, reason)
    return whole[:size]


def codec_of(data: Chunk) -> int:
    """Return the number of a batch's codec, known or not; 0 for too few bytes."""
    return data[_LOW_ATTRIBUTES_AT] & CODEC_MASK if len(data) > _LOW_ATTRIBUTES_AT else 0


def is_transactional(data: Chunk | None) -> bool:
    """Return whether a batch has the transactional attribute."""
    return (
        data is not None and len(data) > _LOW_ATTRIBUTES_AT and bool(data[_LOW_ATTRIBUTES_AT] & TRANSACTIONAL)
    )


def _size_of_first(view: memoryview) -> int | None:
    if len(view) < LENGTH_END:
        return None
    # The length counts the bytes after it: a batch of 61 + n bytes has a length of 49 + n.
    length = int.from_bytes(view[LENGTH_AT:LENGTH_END], "big", signed=True)
    if length < _SMALLEST_LENGTH:
        reason = f"a batch has a length of {_SMALLEST_LENGTH} at least, not {length}"
        raise Refused(ErrorCode.CORRUPT_MESSAGE, reason, has_reason=True)
    if len(view) <= MAGIC_AT:
        return None
    if view[MAGIC_AT] > MAGIC:
        raise Refused(ErrorCode.CORRUPT_MESSAGE, f"there is no magic {view[MAGIC_AT]}", has_reason=True)
    size = length + LENGTH_END
    # An incomplete batch counts as none.
    return size if size <= len(view) else None
