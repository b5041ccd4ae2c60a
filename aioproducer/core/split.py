"""Splits a batch that the broker refuses as too large into smaller ones.

The pieces have at most `batch_size` bytes. If the batch is a piece itself, or not larger than
`batch_size`, they have at most half its bytes: so repeated splits end. Each piece keeps the batch's age,
attempts and doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.batch_result import BatchResult
from aioproducer.records.batch import HEADER_SIZE, RecordBatchBuilder, encode_headers
from aioproducer.records.reader import RecordBatch

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.records.reader import DecodedRecord


def split_batch(batch: ProducerBatch, batch_size: int) -> list[ProducerBatch]:
    """Return the pieces of a batch that was sent, in order, and move its deliveries to them."""
    parent = batch.result
    records = RecordBatch.parse(batch.builder.buffer, check_crc=False).records(
        max_size=batch.charged + HEADER_SIZE
    )
    raw_size = batch.builder.raw_size
    # A batch of 64 KiB becomes pieces of 16 KiB (`batch_size`); if one of them is refused too, pieces
    # of 8 KiB.
    limit = batch_size if batch.split_of == 0 and batch_size < raw_size else raw_size // 2
    pieces: list[ProducerBatch] = []
    starts: list[tuple[int, BatchResult]] = []
    for index, record in enumerate(records):
        if pieces and _append(pieces[-1].builder, record):
            continue
        builder = RecordBatchBuilder(limit, record.timestamp_ms)
        _append(builder, record)
        result = BatchResult(parent.topic, parent.partition, parent.loop)
        pieces.append(batch.piece(builder, result, index))
        starts.append((index, result))
    parent.split(starts)
    return pieces


def _append(builder: RecordBatchBuilder, record: DecodedRecord) -> bool:
    section = encode_headers(record.headers) if record.headers else None
    return builder.append(record.timestamp_ms, record.key, record.value, section) >= 0
