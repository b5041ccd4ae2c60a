"""Splitting a batch that the broker finds too large into smaller ones.

The pieces are of `batch_size`, or, where that does not help, of half the size of what was
split: so splitting ends. Every piece is as old as the batch was, and as much in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.core.producer_batch import ProducerBatch
from aioproducer.delivery import BatchResult
from aioproducer.records.batch import HEADER_SIZE, RecordBatchBuilder, encode_headers
from aioproducer.records.reader import RecordBatch

if TYPE_CHECKING:
    from aioproducer.records.reader import DecodedRecord


def split_batch(batch: ProducerBatch, batch_size: int) -> list[ProducerBatch]:
    """Return the pieces of a batch that was sent, in order; its deliveries go over to them."""
    parent = batch.result
    records = RecordBatch.parse(batch.builder.buffer, check_crc=False).records(
        max_size=batch.charged + HEADER_SIZE
    )
    raw_size = batch.builder.raw_size
    limit = batch_size if batch.split_of == 0 and batch_size < raw_size else raw_size // 2
    pieces: list[ProducerBatch] = []
    starts: list[tuple[int, BatchResult]] = []
    for index, record in enumerate(records):
        if pieces and _append(pieces[-1].builder, record):
            continue
        builder = RecordBatchBuilder(limit, record.timestamp_ms)
        _append(builder, record)
        result = BatchResult(parent.topic, parent.partition, parent.loop)
        piece = ProducerBatch(batch.queue, builder, result, batch.created, batch.serial + index)
        piece.oldest_send = batch.oldest_send
        piece.attempts = batch.attempts
        piece.maybe_written = batch.maybe_written
        piece.split_of = raw_size
        pieces.append(piece)
        starts.append((index, result))
    for piece in pieces:
        piece.charged = piece.builder.raw_size
    parent.split(starts)
    return pieces


def _append(builder: RecordBatchBuilder, record: DecodedRecord) -> bool:
    section = encode_headers(record.headers) if record.headers else None
    return builder.append(record.timestamp_ms, record.key, record.value, section) >= 0
