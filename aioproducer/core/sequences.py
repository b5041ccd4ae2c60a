"""Sequences: a broker tells a retry from a new batch by them, and so keeps the order.

Each record has a sequence within its partition, under a producer id and epoch. The broker takes only
the batch that follows the last one it has. For one of the last five that it has already, it returns the
offset of the first copy. So retries store a batch once, and five batches may be in flight in order:

    broker has ... 9    ◀── 10..14   lost
                        ◀── 15..19   OUT_OF_ORDER_SEQUENCE_NUMBER: 10..14 has to come first
                        ◀── 10..14   retried, stored
                        ◀── 15..19   retried, stored

A batch that is given up leaves a gap. If no later batch has a sequence, its sequence is used again.
Otherwise later batches cannot be stored any more: they get new sequences from 0 in a new epoch
(KIP-360), once all batches before the gap are resolved and no batch is on the wire.

Four rules differ from Java's producer. Two are in `PartitionSequences.may_follow`, the others are:

- A batch that the broker may have written keeps its sequence, or it could be stored twice. It is retried
  until the response rules that out, or fails with `may_be_written`.
- A partition goes on after a batch expired in doubt: the next batch is sent. If the broker takes it, the
  expired batch was written. If it is out of order, the expired batch was not, and a new epoch begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aioproducer.core.batch import NO_SEQUENCE
from aioproducer.core.producer_id import NO_PRODUCER_ID, ProducerId

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import PartitionQueue

MAX_BATCHES_ON_WIRE = 5
"""How many batches of a partition a broker remembers, and so how many may be in flight."""

SEQUENCES = 2**31
"""After sequence 2147483647 comes 0."""


class Ordering(Protocol):
    """Decides which batch may be sent, and its sequence: `Sequences`, or `Unnumbered`."""

    @property
    def needs_producer_id(self) -> bool:
        """Whether batches wait for a producer id."""

    @property
    def is_bound(self) -> bool:
        """Whether a producer id was ever in use, which binds the producer to the cluster that gave it."""

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:
        """Return whether `batch`, the first of its queue, may go now; a new epoch may begin in this call."""

    def assign(self, batch: ProducerBatch) -> bool:
        """Give a sequence to a batch that is about to be written; a retry keeps its own.

        Return False if the batch cannot get one now: it has to go back to its queue.
        """

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Resolve a batch: it is stored (`in_log`), refused or given up."""

    def replace(self, batch: ProducerBatch, pieces: Sequence[ProducerBatch]) -> None:
        """Give the sequences of a refused batch to the pieces that it was split into."""

    def lost(self, batch: ProducerBatch) -> None:
        """Note that a request got no response: its batch may still reach the broker."""

    def out_of_order(self, batch: ProducerBatch) -> bool:
        """Note that the broker misses the batches before this one; return whether to send it again."""

    def reject_epoch(self, batch: ProducerBatch) -> None:
        """Note that the broker refuses the epoch of a batch."""

    def drop_sequences(self, topics: Container[str] | None = None) -> None:
        """Drop the producer id, and the sequences of these topics, or of all: their logs were replaced."""


class Unnumbered:
    """The order without idempotence: kept only while one request at a time is in flight."""

    needs_producer_id = False
    is_bound = False

    def __init__(self, max_in_flight: int) -> None:
        self._one_at_a_time = max_in_flight == 1

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:  # noqa: ARG002 - Ordering
        """Return whether the batch overtakes no other one."""
        return not (self._one_at_a_time and queue.on_wire)

    def assign(self, batch: ProducerBatch) -> bool:  # noqa: ARG002 - Ordering
        """Leave the batch without a sequence."""
        return True

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Keep nothing."""

    def replace(self, batch: ProducerBatch, pieces: Sequence[ProducerBatch]) -> None:
        """Keep nothing."""

    def lost(self, batch: ProducerBatch) -> None:
        """Keep nothing."""

    def out_of_order(self, batch: ProducerBatch) -> bool:  # noqa: ARG002 - Ordering
        """Return False: the order is not kept."""
        return False

    def reject_epoch(self, batch: ProducerBatch) -> None:
        """Keep nothing."""

    def drop_sequences(self, topics: Container[str] | None = None) -> None:
        """Keep nothing."""


class PartitionSequences:
    """The sequences of one partition, under the producer id and epoch that they belong to.

    `in_flight` has the batches with a valid sequence that are not resolved, in its order: on the wire,
    or queued for a retry. A batch with a sequence that is not in it got void by a gap. `next` is the
    sequence of the next new batch. `has_gap` asks for a new epoch.
    """

    __slots__ = ("epoch", "has_gap", "in_flight", "next", "producer_id")

    def __init__(self) -> None:
        self.producer_id = NO_PRODUCER_ID
        self.epoch = -1
        self.next = 0
        self.has_gap = False
        self.in_flight: list[ProducerBatch] = []

    def is_under(self, producer_id: ProducerId) -> bool:
        """Return whether the sequences belong to the producer id and epoch in use."""
        if producer_id.value == NO_PRODUCER_ID:
            return False
        return self.producer_id == producer_id.value and self.epoch == producer_id.epoch

    def begin(self, producer_id: ProducerId) -> None:
        """Begin at 0 under the producer id and epoch in use."""
        self.producer_id = producer_id.value
        self.epoch = producer_id.epoch
        self.next = 0

    def add(self, batch: ProducerBatch) -> None:
        """Give the next sequence to a batch."""
        # 5 records from sequence 10 take 10-14: the next batch begins at 15.
        batch.number(self.producer_id, self.epoch, self.next)
        self.next = (self.next + batch.count) % SEQUENCES
        # A gap that appeared during compression makes the sequence void at once.
        if not self.has_gap:
            self.in_flight.append(batch)

    def is_last(self, batch: ProducerBatch) -> bool:
        """Return whether no later batch has a sequence."""
        return self.next == (batch.sequence + batch.count) % SEQUENCES

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Resolve a batch; leave a gap if it was not stored and others follow."""
        in_flight = self.in_flight
        # It has no sequence, or its sequence is void.
        if batch not in in_flight:
            return
        position = in_flight.index(batch)
        del in_flight[position]
        if in_log:
            return
        if batch.maybe_written:
            # Its sequence stays taken. A broker that knows nothing of the producer takes any batch
            # first, so after sequence 0 nothing tells the order of the others.
            if batch.sequence == 0:
                self.has_gap = True
        elif self.is_last(batch):
            # 10-14 was given up and no later batch has a sequence: the next batch gets 10 again.
            self.next = batch.sequence
        else:
            # Sequences 0-4 were given up and 5-9 are in flight: 5-9 can never be stored.
            del in_flight[position:]
            self.has_gap = True

    def replace(self, batch: ProducerBatch, pieces: Sequence[ProducerBatch]) -> None:
        """Give the sequences of a batch to its pieces."""
        # 10-14 is split after three records: 10-12 and 13-14. Batches from 15 on keep their sequences.
        sequence = batch.sequence
        for piece in pieces:
            piece.number(self.producer_id, self.epoch, sequence)
            sequence = (sequence + piece.count) % SEQUENCES
        position = self.in_flight.index(batch)
        self.in_flight[position : position + 1] = pieces

    def void(self) -> None:
        """Make all sequences in flight void: the broker misses a batch before them."""
        self.in_flight.clear()
        self.has_gap = True

    def break_off(self) -> None:
        """Ask for a new epoch."""
        self.has_gap = True

    def close_gap(self) -> None:
        """Note that a new epoch closes the gap."""
        self.has_gap = False

    def drop(self) -> list[ProducerBatch]:
        """Begin again without a producer id; return the batches that lost their sequence."""
        dropped, self.in_flight = self.in_flight, []
        for batch in dropped:
            batch.drop_sequence()
        self.producer_id = NO_PRODUCER_ID
        self.epoch = -1
        self.next = 0
        self.has_gap = False
        return dropped

    def continue_from(self, before: PartitionSequences) -> None:
        """Go on where the sequences of the partition's earlier queue stopped."""
        self.producer_id = before.producer_id
        self.epoch = before.epoch
        self.next = before.next
        # Unresolved batches of the earlier queue leave the next sequence in doubt: begin a new epoch.
        self.has_gap = before.has_gap or bool(before.in_flight)

    def may_follow(self, on_wire: int) -> bool:
        """Return whether a new batch may be sent while others of the partition are on the wire."""
        # One that is in compression has no sequence yet and must get its own first.
        # The broker recognizes a duplicate only among its last five batches.
        if len(self.in_flight) != on_wire or on_wire >= MAX_BATCHES_ON_WIRE:
            return False
        # The batch with sequence 0 goes alone until its response. A broker that does not know the
        # producer takes any sequence (older brokers: any 0), so 5-9 could be stored before 0-4.
        if self.next == 0 or self.in_flight[0].sequence == 0:
            return False
        # No new batch follows a retry: if the broker has the retried batch already, no sixth batch
        # may push it out of the last five.
        return self.in_flight[0].attempts == 0


class Sequences:
    """The order of an idempotent producer: the producer id in use and the sequences of all partitions."""

    def __init__(self) -> None:
        self.producer_id = ProducerId()
        self._queues: dict[tuple[str, int], PartitionQueue] = {}
        # Batches that may be in the log, or reach it yet, without a retry telling so.
        self._unresolved: set[ProducerBatch] = set()
        # Batches that may be in a log that was replaced since. New sequences do not tell.
        self._in_old_log: set[ProducerBatch] = set()

    @property
    def needs_producer_id(self) -> bool:
        """Whether batches wait for a producer id."""
        return self.producer_id.is_needed

    @property
    def is_bound(self) -> bool:
        """Whether a producer id was ever in use, which binds the producer to the cluster that gave it."""
        return self.producer_id.is_bound

    def drop_sequences(self, topics: Container[str] | None = None) -> None:
        """Drop the producer id, and the sequences of these topics, or of all: their logs were replaced.

            before  id 1000  batches 10..14, 15..19 in flight   next 20
            after   no id    batches without sequences          next 0    ──InitProducerId──▶ id 1003

        Batches of other topics keep their sequences under the old id until they are resolved. A partition
        with a batch on the wire assigns no new sequence before its response.
        """
        self.producer_id.drop()
        # The queues stay known: a batch that is being compressed gets its sequence without `_recall`.
        for queue in self._queues.values():
            if topics is None or queue.topic in topics:
                self._unresolved.difference_update(queue.sequences.drop())

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:
        """Return whether `batch`, the first of its queue, may go now.

        If the partition has a gap and no batch is left before it, this call begins the new epoch.
        """
        # The new leader would refuse a batch that follows one on its way to the old leader.
        if queue.on_wire and queue.wire_node is not queue.node:
            return False
        sequences = queue.sequences
        in_flight = sequences.in_flight
        if batch in in_flight:
            # The batches before it have to be stored first.
            return in_flight[0] is batch
        if sequences.producer_id == NO_PRODUCER_ID:
            self._recall(queue)
        is_free = not queue.on_wire and not in_flight
        # A new epoch begins at sequence 0, and the broker refuses the earlier one from then on: all its
        # batches have to be resolved first (KIP-360). `is_under`, without a call for each batch.
        current = self.producer_id
        is_old = sequences.epoch != current.epoch or sequences.producer_id != current.value
        if sequences.has_gap or is_old or current.value == NO_PRODUCER_ID:
            if not is_free:
                return False
            if sequences.has_gap:
                self._begin_epoch(sequences)
        elif not is_free and not sequences.may_follow(queue.on_wire):
            return False
        return not self.producer_id.is_needed

    def assign(self, batch: ProducerBatch) -> bool:
        """Give a sequence to a batch that is about to be written; a retry keeps its own.

        Return False if the producer id was dropped during compression, while a new one is missing or
        an earlier batch of the partition is still on the wire.
        """
        queue = batch.queue
        sequences = queue.sequences
        in_flight = sequences.in_flight
        if batch in in_flight:
            return True
        begins = not in_flight and not sequences.has_gap and not sequences.is_under(self.producer_id)
        # `on_wire` counts this batch too: more than 1 means that an earlier batch is on the wire.
        if begins and (self.producer_id.value == NO_PRODUCER_ID or queue.on_wire > 1):
            return False
        if batch.sequence != NO_SEQUENCE:
            # Its sequence got void, so it is not in this log, even if a response was lost.
            batch.resolve_doubt(maybe_written=batch in self._in_old_log)
            self._unresolved.discard(batch)
        elif batch.maybe_written:
            # It was sent and has no sequence any more: its log was replaced (`drop_sequences`).
            self._in_old_log.add(batch)
            self._unresolved.discard(batch)
        if begins:
            sequences.begin(self.producer_id)
        sequences.add(batch)
        return True

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Resolve a batch: it is stored (`in_log`), refused or given up."""
        # Both sets are nearly always empty.
        if self._unresolved or self._in_old_log:
            self._unresolved.discard(batch)
            self._in_old_log.discard(batch)
        batch.queue.sequences.settle(batch, in_log=in_log)

    def replace(self, batch: ProducerBatch, pieces: Sequence[ProducerBatch]) -> None:
        """Give the sequences of a refused batch to the pieces that it was split into."""
        if batch in self._in_old_log:
            self._in_old_log.discard(batch)
            self._in_old_log.update(pieces)
        self._unresolved.discard(batch)
        sequences = batch.queue.sequences
        if batch not in sequences.in_flight:
            return
        sequences.replace(batch, pieces)
        if batch.maybe_written:
            # The broker does not recognize a batch that it has in the pieces of it.
            self._unresolved.update(pieces)

    def lost(self, batch: ProducerBatch) -> None:
        """Note that a request got no response: its batch may still reach the broker."""
        self._unresolved.add(batch)

    def out_of_order(self, batch: ProducerBatch) -> bool:
        """Note that the broker misses the batches before this one; return whether to send it again.

        If those are still on their way, the batch waits for them. If not, they will never come: the
        partition begins a new epoch with this batch. A batch in doubt is not sent again: an earlier
        attempt may be in the log beyond the broker's last five (after a restart, beyond the last one),
        or may reach it yet.
        """
        sequences = batch.queue.sequences
        # 15-19 was refused because 10-14 is still on its way: send 15-19 again after it.
        if not sequences.in_flight or sequences.in_flight[0] is not batch:
            return True
        if batch.maybe_written and (batch in self._unresolved or not sequences.is_last(batch)):
            return False
        # 10-14 is the oldest in flight, and the broker still misses an earlier batch: that one
        # expired and was not stored, or the broker lost its state. Only a new epoch can store 10-14.
        sequences.void()
        return True

    def reject_epoch(self, batch: ProducerBatch) -> None:
        """Note that the broker refuses the epoch of a batch: the partition needs a new one."""
        batch.queue.sequences.break_off()

    def _begin_epoch(self, sequences: PartitionSequences) -> None:
        sequences.close_gap()
        # If another partition has begun an epoch since, this one uses it too.
        if sequences.is_under(self.producer_id):
            self.producer_id.bump()

    def _recall(self, queue: PartitionQueue) -> None:
        """Go on where an earlier queue of the partition stopped.

        The producer forgets an idle topic, but the broker does not: sequences that are assigned twice
        would be taken for duplicates.
        """
        place = (queue.topic, queue.partition)
        before = self._queues.get(place)
        self._queues[place] = queue
        if before is not None and before is not queue:
            queue.sequences.continue_from(before.sequences)
