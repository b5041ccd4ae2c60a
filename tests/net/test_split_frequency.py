"""Splits stay rare while the compressibility of the records changes.

The broker takes batches of at most `batch_size` bytes. Batches are filled by an estimate of their
compression, and split when they turn out too large.
"""

import random
from collections import deque

import pytest

from aioproducer.core.batch import ProducerBatch
from aioproducer.core.split import split_batch
from aioproducer.net.compressor import Compressor
from aioproducer.records.compression import Codec
from tests.core.harness import Harness

BATCH_SIZE = 1024
RECORDS = 1_500
VALUE_SIZE = 100


class _SizeBroker:
    """An accumulator, a compressor and a broker that checks the size of batches only."""

    def __init__(self, codec: Codec) -> None:
        harness = Harness(batch_size=BATCH_SIZE, linger=1.0, buffer_memory=1 << 30, max_request_size=1 << 20)
        harness.now = 0.0
        harness.introduce()
        self.accumulator = harness.accumulator
        self.compressor = Compressor(codec, None, self.accumulator)
        self.batches = 0
        self.splits = 0
        self.largest = 0

    def send(self, value: bytes) -> None:
        self.accumulator.append("orders", value, None, 0, None, None)
        node = self.accumulator.schedule.node(1)
        self.settle(deque(self.accumulator.schedule.drain(node, 0.0, 1 << 20, lambda _queue, _batch: True)))

    def settle(self, waiting: deque[ProducerBatch]) -> None:
        while waiting:
            batch = waiting.popleft()
            self.compressor.compress([batch])
            self.batches += 1
            batch.builder.stamp(-1, -1, -1, transactional=False)
            if len(batch.builder.buffer) > BATCH_SIZE and batch.count > 1:
                self.splits += 1
                waiting.extendleft(reversed(split_batch(batch, BATCH_SIZE)))
            else:
                self.largest = max(self.largest, batch.count)


@pytest.mark.scenario("ratio-estimate")
@pytest.mark.parametrize("good", [1, 10, 50, 90, 99])
@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_splits_stay_rare(codec: Codec, good: int) -> None:
    """`good` of a hundred records compress well, the others badly."""
    rng = random.Random(good)  # noqa: S311 - must be reproducible
    harness = _SizeBroker(codec)

    for _ in range(RECORDS):
        is_good = rng.randrange(100) < good
        harness.send(b"%03d" % rng.randrange(1000) * 33 if is_good else rng.randbytes(VALUE_SIZE))

    assert harness.batches > 20
    assert harness.splits / harness.batches < 0.1


@pytest.mark.scenario("ratio-estimate")
@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_estimate_fills_batches(codec: Codec) -> None:
    """Batches hold more records when the estimate knows that they compress well."""
    rng = random.Random(13)  # noqa: S311 - must be reproducible
    harness = _SizeBroker(codec)

    for _ in range(20 * RECORDS):
        harness.send(b"%03d" % rng.randrange(1000) * 33)

    assert harness.largest > 2 * BATCH_SIZE // VALUE_SIZE
    assert harness.splits / harness.batches < 0.1
