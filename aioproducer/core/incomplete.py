# cython: annotation_typing=False
"""Incomplete batches: batches that are not resolved, by the age that the delivery timeout counts.

Most batches expire in the order in which they were opened. A record that waited before is older than
its batch, so a batch with such a record is in a priority queue, too, by the time of that `send`.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from aioproducer.core.batch import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aioproducer.core.batch import ProducerBatch


class IncompleteBatches:
    """The batches that are not resolved, in the order in which they were opened."""

    __slots__ = ("_aged", "_ages", "_batches")

    def __init__(self) -> None:
        self._batches: OrderedDict[ProducerBatch, None] = OrderedDict()
        # Batches that are older than their opening, and a heap of their ages. Entries of the heap
        # outlive `discard`, by the serial: they keep no batch alive and cost no search.
        self._aged: dict[int, ProducerBatch] = {}
        self._ages: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[ProducerBatch]:
        return iter(self._batches)

    def add(self, batch: ProducerBatch) -> None:
        """Add a batch that was just opened."""
        self._batches[batch] = None

    def age(self, batch: ProducerBatch) -> None:
        """Note that the `oldest_send` of a batch is earlier than before."""
        self._aged[batch.serial] = batch
        heappush(self._ages, (batch.oldest_send, batch.serial))

    def discard(self, batch: ProducerBatch) -> None:
        """Remove a batch, if it is here."""
        self._batches.pop(batch, None)
        # Its entry in the heap stays, and `_oldest_aged` skips it.
        if batch.oldest_send < batch.created:
            self._aged.pop(batch.serial, None)

    def replace(self, batch: ProducerBatch, pieces: Sequence[ProducerBatch]) -> None:
        """Put pieces into the place of a batch; they are as old as it is."""
        self.discard(batch)
        for piece in pieces:
            self._batches[piece] = None
            if piece.oldest_send < piece.created:
                self.age(piece)
        # The pieces were added at the end. Splits are rare, so sort instead of keeping positions.
        self._batches = OrderedDict.fromkeys(sorted(self._batches, key=_created))

    def oldest_send(self) -> float:
        """Return the earliest `send` of all records, NEVER if there is none."""
        oldest = self._oldest_aged()
        # The first batch is the oldest one.
        for batch in self._batches:
            return min(oldest, batch.created)
        return oldest

    def expired(self, sent_until: float, limit: int) -> list[ProducerBatch]:
        """Return up to `limit` batches whose oldest record was sent by then; the caller fails them."""
        expired: dict[ProducerBatch, None] = {}
        # A batch was opened at 10, and one of its records was sent at 4: it expires by 4.
        while len(expired) < limit and self._oldest_aged() <= sent_until:
            _, serial = heappop(self._ages)
            expired[self._aged.pop(serial)] = None
        for batch in islice(self._batches, limit):
            if batch.created > sent_until or len(expired) == limit:
                break
            expired[batch] = None
        # Both sources are merged: deliveries fail in the order in which the batches were opened.
        return sorted(expired, key=_serial)

    def _oldest_aged(self) -> float:
        while self._ages and self._ages[0][1] not in self._aged:
            heappop(self._ages)
        return self._ages[0][0] if self._ages else NEVER


def _created(batch: ProducerBatch) -> float:
    return batch.created


def _serial(batch: ProducerBatch) -> int:
    return batch.serial
