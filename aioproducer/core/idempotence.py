"""Sequences: how a broker tells a retry from a new batch, and so how order holds.

Each record has a number within its partition, under a producer id and epoch. The broker
takes only the batch that follows the last one it has, and answers one that it has already
with the first copy's offset. So any number of retries store a batch once, and up to five
batches may be on the wire without changing places.

    broker has … 7 8 9    ◀── 10..14   taken
                          ◀── 15..19   taken         10..14 lost? then OUT_OF_ORDER for 15..19,
                          ◀── 10..14   known: same offset          which follows when 10..14 is in

A number that a batch took and did not use leaves a gap that nothing would fill. It is given
back if no later batch took one; else the partition begins again at 0 in a new epoch
(KIP-360), once nothing of it is on the wire.

Unlike Java's, a partition does not stand still after a batch of unknown fate has expired:
the next batch is sent. If the broker takes it, the expired one was written; if it calls it
out of order, the expired one was not, and a new epoch closes the gap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aioproducer.core.producer_batch import NO_SEQUENCE

if TYPE_CHECKING:
    from aioproducer.core.producer_batch import PartitionQueue, ProducerBatch

MAX_BATCHES_ON_WIRE = 5
"""How many of a partition's batches a broker remembers, so how many may be unanswered."""

MAX_EPOCH = 32767
SEQUENCES = 2**31
"""After sequence 2147483647 comes 0."""

NO_PRODUCER_ID = -1


class Ordering(Protocol):
    """Which batch may be sent, and under which number."""

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:
        """Return whether `batch`, the first of its queue, may go now."""

    def assign(self, batch: ProducerBatch) -> None:
        """Give a number to a batch that is about to be written; a retry keeps its own."""

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Take note that a batch is answered for good, or given up."""

    def replace(self, batch: ProducerBatch, pieces: list[ProducerBatch]) -> None:
        """Give a refused batch's numbers to the pieces it was split into."""

    def out_of_order(self, batch: ProducerBatch) -> None:
        """Take note that the broker has not what comes before this batch."""


class Unnumbered:
    """The order without idempotence: kept only while one request at a time is on the wire."""

    def __init__(self, max_in_flight: int) -> None:
        self._one_at_a_time = max_in_flight == 1

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:  # noqa: ARG002 - Ordering
        """Return whether nothing that the batch must not overtake is on the wire."""
        return not (self._one_at_a_time and queue.on_wire)

    def assign(self, batch: ProducerBatch) -> None:
        """Leave the batch without a number."""

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Nothing is kept."""

    def replace(self, batch: ProducerBatch, pieces: list[ProducerBatch]) -> None:
        """Nothing is kept."""

    def out_of_order(self, batch: ProducerBatch) -> None:
        """Nothing can be done about an answer to a question that was not asked."""


class Sequencer:
    """The producer id and epoch of an idempotent producer, and the numbers in each partition."""

    def __init__(self) -> None:
        self.producer_id = NO_PRODUCER_ID
        self.producer_epoch = -1

    @property
    def needs_producer_id(self) -> bool:
        """Whether nothing can be sent before InitProducerId was answered."""
        return self.producer_id == NO_PRODUCER_ID

    def adopt(self, producer_id: int, producer_epoch: int) -> None:
        """Use what InitProducerId gave."""
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:
        """Return whether `batch`, the first of its queue, may go now."""
        if self.producer_id == NO_PRODUCER_ID:
            return False
        if queue.bump_wanted:
            if queue.on_wire:
                return False
            self._begin_anew(queue)
            return self.producer_id != NO_PRODUCER_ID
        if batch.sequence != NO_SEQUENCE:
            # Whatever came before it has to be in first.
            return queue.unsettled[0] is batch
        if queue.producer_id == self.producer_id and queue.producer_epoch == self.producer_epoch:
            # The new leader would refuse what follows a batch that only the old one has got.
            return queue.on_wire == 0 or (
                queue.on_wire < MAX_BATCHES_ON_WIRE and queue.wire_node is queue.node
            )
        # Another partition has begun a new epoch; this one follows when it has nothing unsettled.
        return queue.on_wire == 0 and not queue.unsettled

    def assign(self, batch: ProducerBatch) -> None:
        """Give a number to a batch that is about to be written; a retry keeps its own."""
        if batch.sequence != NO_SEQUENCE:
            return
        queue = batch.queue
        if not queue.unsettled and (
            queue.producer_id != self.producer_id or queue.producer_epoch != self.producer_epoch
        ):
            queue.producer_id = self.producer_id
            queue.producer_epoch = self.producer_epoch
            queue.next_sequence = 0
        _number(batch, queue.next_sequence)
        queue.next_sequence = (queue.next_sequence + batch.count) % SEQUENCES
        queue.unsettled.append(batch)

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Take note that a batch is answered for good (`in_log` or refused), or given up."""
        if batch.sequence == NO_SEQUENCE:
            return
        queue = batch.queue
        queue.unsettled.remove(batch)
        if in_log or batch.maybe_written:
            return
        # Nothing in the log has its numbers.
        if queue.next_sequence == (batch.sequence + batch.count) % SEQUENCES:
            queue.next_sequence = batch.sequence
        else:
            queue.bump_wanted = True

    def replace(self, batch: ProducerBatch, pieces: list[ProducerBatch]) -> None:
        """Give a refused batch's numbers to the pieces it was split into."""
        if batch.sequence == NO_SEQUENCE:
            return
        unsettled = batch.queue.unsettled
        position = unsettled.index(batch)
        sequence = batch.sequence
        for piece in pieces:
            _number(piece, sequence)
            sequence = (sequence + piece.count) % SEQUENCES
        unsettled[position : position + 1] = pieces

    def out_of_order(self, batch: ProducerBatch) -> None:
        """Take note that the broker has not what comes before this batch.

        If that is still on its way, the batch only has to wait for it. If not, nobody will
        send it: the partition begins anew.
        """
        queue = batch.queue
        if queue.unsettled and queue.unsettled[0] is batch:
            queue.bump_wanted = True

    def _begin_anew(self, queue: PartitionQueue) -> None:
        queue.bump_wanted = False
        if queue.producer_id == self.producer_id and queue.producer_epoch == self.producer_epoch:
            if self.producer_epoch >= MAX_EPOCH:
                self.producer_id = NO_PRODUCER_ID
            else:
                self.producer_epoch += 1
        # What is unsettled has been refused, and is back in the queue: it gets new numbers.
        for batch in queue.unsettled:
            batch.sequence = NO_SEQUENCE
        queue.unsettled.clear()


def _number(batch: ProducerBatch, sequence: int) -> None:
    batch.sequence = sequence
    batch.producer_id = batch.queue.producer_id
    batch.producer_epoch = batch.queue.producer_epoch
