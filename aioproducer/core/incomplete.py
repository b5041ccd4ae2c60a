"""Batches whose oldest record was sent before the batch was made, by the time of that `send`.

A record that waits for its topic or for room is put into a batch later, but its age counts from
`send`. All other batches expire in the order in which they were made, and are not kept here.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from aioproducer.core.batch import NEVER

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch


class AgedBatches:
    """A priority queue; `discard` costs no search, and keeps no batch alive."""

    def __init__(self) -> None:
        self._batches: dict[int, ProducerBatch] = {}
        self._ages: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, batch: ProducerBatch) -> None:
        """Add a batch, or note that its `oldest_send` is earlier than before."""
        self._batches[batch.serial] = batch
        heappush(self._ages, (batch.oldest_send, batch.serial))

    def discard(self, batch: ProducerBatch) -> None:
        """Remove a batch, if it is here."""
        self._batches.pop(batch.serial, None)

    def oldest_send(self) -> float:
        """Return the time of the earliest `send`, NEVER if there is no batch."""
        while self._ages and self._ages[0][1] not in self._batches:
            heappop(self._ages)
        return self._ages[0][0] if self._ages else NEVER

    def pop(self) -> ProducerBatch:
        """Remove and return the batch with the earliest `send`."""
        self.oldest_send()
        _, serial = heappop(self._ages)
        return self._batches.pop(serial)
