"""Compression, on the loop where it is quick and in a worker thread where it is not.

A thread costs about as much as the compression of a few kilobytes, and a compression on the event loop
delays all other tasks. So a request's batches are compressed on the loop only if that takes well below a
millisecond by estimate.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from anyio import to_thread

from aioproducer.records.batch import HEADER_SIZE
from aioproducer.records.compression import Codec, compressor, nanoseconds_per_byte
from aioproducer.records.estimator import CompressionRatio

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.batch import ProducerBatch

QUICK_NANOSECONDS = 400_000
"""How long compressing one request may take on the event loop, by estimate."""

MARGIN = 1.05
"""How much larger than estimated a compressed batch is taken to be, so that splits stay rare."""


class Compressor:
    """Compresses batches with the producer's codec, and estimates how many records fit into a batch."""

    def __init__(self, codec: Codec, level: int | None, accumulator: Accumulator) -> None:
        self.codec = codec
        self._compress = compressor(codec, level)
        self._cost = nanoseconds_per_byte(codec, level)
        self._accumulator = accumulator
        self._ratios: dict[str, CompressionRatio] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def is_quick(self, batches: list[ProducerBatch]) -> bool:
        """Return whether the batches can be compressed without holding the event loop up."""
        size = sum(len(batch.builder.buffer) for batch in batches if not batch.builder.codec)
        return size * self._cost < QUICK_NANOSECONDS

    def compress(self, batches: list[ProducerBatch]) -> None:
        """Compress the batches, except retries, which are compressed already; learn from the ratios."""
        for batch in self._squeeze(batches):
            self._learn(batch)

    def submit(self, batches: list[ProducerBatch], done: Callable[[BaseException | None], object]) -> None:
        """Compress the batches in a worker thread, then call `done(error or None)` on the loop."""
        task = asyncio.get_running_loop().create_task(
            self._work(batches, done), name="aioproducer-compressor"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Wait for the worker threads that still compress: they cannot be interrupted."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(
        self, batches: list[ProducerBatch], done: Callable[[BaseException | None], object]
    ) -> None:
        try:
            for batch in await to_thread.run_sync(self._squeeze, batches):
                self._learn(batch)
        except Exception as error:  # noqa: BLE001 - handed on
            done(error)
            return
        done(None)

    def _squeeze(self, batches: list[ProducerBatch]) -> list[ProducerBatch]:
        squeezed = []
        for batch in batches:
            if not batch.builder.codec:
                batch.builder.close(self.codec, self._compress)
                squeezed.append(batch)
        return squeezed

    def _learn(self, batch: ProducerBatch) -> None:
        topic = batch.queue.topic
        topic_queue = self._accumulator.topics.get(topic)
        if topic_queue is None:
            self._ratios.pop(topic, None)
            return
        ratio = self._ratios.setdefault(topic, CompressionRatio())
        observed = len(batch.builder.buffer) / batch.builder.raw_size
        if batch.split_of:
            # A piece of a batch that was too large for the broker: estimate cautiously again, as Java
            # does.
            ratio.reset_after_split(observed)
        else:
            ratio.observe(observed)
        # batch_size 16384 and a ratio of 0.25: a batch takes 62,000 bytes of records, about 16 KiB
        # compressed.
        estimate = max(ratio.estimate * MARGIN, 0.01)
        room = self._accumulator.batch_size - HEADER_SIZE
        # A batch that compresses well may hold more records than batch_size bytes of them.
        size = max(HEADER_SIZE + int(room / estimate), self._accumulator.batch_size // 2)
        topic_queue.set_batch_limit(size)
