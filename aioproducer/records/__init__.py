"""Record batches as bytes, without I/O: building, reading, compression and hashes.

    records ── batch.RecordBatchBuilder ──▶ bytes ── reader.RecordBatch ──▶ records

`layout` describes the header of a batch, for both directions.
"""
