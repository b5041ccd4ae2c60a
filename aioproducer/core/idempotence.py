"""Sequences: how a broker tells a retry from a new batch, and so how order holds.

Each record has a number within its partition, under a producer id and epoch. The broker
takes only the batch that follows the last one it has, and answers one of the last five that
it has already with the first copy's offset. So any number of retries store a batch once, and
up to five batches may be on the wire without changing places.

    broker has … 7 8 9    ◀── 10..14   taken
                          ◀── 15..19   taken         10..14 lost? then OUT_OF_ORDER for 15..19,
                          ◀── 10..14   known: same offset          which follows when 10..14 is in

A number that a batch took and did not use leaves a gap that nothing would fill. It is given
back if no later batch took one. Else what follows the gap is void: it can never be taken, and
it begins again at 0 in a new epoch (KIP-360), once what came before the gap is settled and
nothing of the partition is on the wire.

What may be in the log is not numbered anew, for then it would be stored twice: it is asked for
again under its old number, and if the answer does not rule out that it is in the log, it fails
with `may_be_written`. This and three more things differ from Java's producer:

- A partition does not stand still after a batch of unknown fate has expired: the next one is
  sent. If the broker takes it, the expired one was written; if it calls it out of order, the
  expired one was not, and a new epoch closes the gap.
- Sequence 0 goes alone until it is answered: a broker that knows nothing of a producer takes
  any number (older ones: any 0), so a second batch could get in before the first.
- Nothing new follows a batch that is being sent again, so that no duplicate ever leaves the
  broker's memory of five.

A producer id is valid in one cluster only. Another cluster, or the same one restored from a
backup, gives the same ids to other producers, and takes a batch under a foreign id for that
producer's duplicate: it acknowledges the batch and does not store it. So when the cluster id
changes or a topic has another topic id, `drop_sequences` drops the producer id and the sequences:

    before  id 1000  batches 10..14 15..19 unanswered   next 20
    after   no id    batches        without sequences   next 0    ──InitProducerId──▶ id 1003
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aioproducer.core.producer_batch import NO_SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Container

    from aioproducer.core.producer_batch import PartitionQueue, ProducerBatch

MAX_BATCHES_ON_WIRE = 5
"""How many of a partition's batches a broker remembers, so how many may be unanswered."""

MAX_EPOCH = 32767
SEQUENCES = 2**31
"""After sequence 2147483647 comes 0."""

NO_PRODUCER_ID = -1


class Ordering(Protocol):
    """Which batch may be sent, and under which number."""

    needs_producer_id: bool

    @property
    def is_bound(self) -> bool:
        """Whether a producer id was ever used: it is valid in the cluster that gave it, and in no other."""

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:
        """Return whether `batch`, the first of its queue, may go now."""

    def assign(self, batch: ProducerBatch) -> bool:
        """Give a number to a batch that is about to be written; a retry keeps its own.

        Return False if the batch cannot get one now: it has to go back to its queue.
        """

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Take note that a batch is answered for good, or given up."""

    def replace(self, batch: ProducerBatch, pieces: list[ProducerBatch]) -> None:
        """Give a refused batch's numbers to the pieces it was split into."""

    def lost(self, batch: ProducerBatch) -> None:
        """Take note that a batch's request got no answer, and may still be on its way to the broker."""

    def out_of_order(self, batch: ProducerBatch) -> bool:
        """Take note that the broker has not what comes before a batch; return whether to send it again."""

    def drop_sequences(self, topics: Container[str] | None = None) -> None:
        """Drop the producer id, and the sequences of some topics, or of all: their logs were replaced."""


class Unnumbered:
    """The order without idempotence: kept only while one request at a time is on the wire."""

    needs_producer_id = False
    is_bound = False

    def __init__(self, max_in_flight: int) -> None:
        self._one_at_a_time = max_in_flight == 1

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:  # noqa: ARG002 - Ordering
        """Return whether nothing that the batch must not overtake is on the wire."""
        return not (self._one_at_a_time and queue.on_wire)

    def assign(self, batch: ProducerBatch) -> bool:  # noqa: ARG002 - Ordering
        """Leave the batch without a number."""
        return True

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Nothing is kept."""

    def replace(self, batch: ProducerBatch, pieces: list[ProducerBatch]) -> None:
        """Nothing is kept."""

    def lost(self, batch: ProducerBatch) -> None:
        """Nothing is kept."""

    def out_of_order(self, batch: ProducerBatch) -> bool:  # noqa: ARG002 - Ordering
        """Return False: nobody asked for an order."""
        return False

    def drop_sequences(self, topics: Container[str] | None = None) -> None:
        """Nothing is kept."""


class Sequencer:
    """The producer id and epoch of an idempotent producer, and the numbers in each partition.

    While `needs_producer_id`, nothing new may be sent: InitProducerId has not been answered yet,
    or all epochs of the id are used up. A batch is void if it has a number but is not among the
    `unsettled` of its queue. `generation` counts how often the producer id was dropped: an id that
    was requested in an earlier generation is not valid any more.
    """

    def __init__(self) -> None:
        self.producer_id = NO_PRODUCER_ID
        self.producer_epoch = -1
        self.needs_producer_id = True
        self.generation = 0
        self._queues: dict[tuple[str, int], PartitionQueue] = {}
        # What may be in the log, or get there yet, without the broker telling that of a retry.
        self._at_large: set[ProducerBatch] = set()
        # What may be in a log that was replaced since. New sequences do not tell.
        self._in_old_log: set[ProducerBatch] = set()

    @property
    def is_bound(self) -> bool:
        """Whether a producer id was ever used: it is valid in the cluster that gave it, and in no other."""
        return self.producer_id != NO_PRODUCER_ID or self.generation > 0

    def adopt(self, producer_id: int, producer_epoch: int, generation: int | None = None) -> bool:
        """Use what InitProducerId gave; return False if the request is of an earlier generation."""
        if generation is not None and generation != self.generation:
            return False
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.needs_producer_id = False
        return True

    def drop_sequences(self, topics: Container[str] | None = None) -> None:
        """Drop the producer id, and the sequences of some topics, or of all: their logs were replaced.

        Batches of other topics keep their sequences under the old id until they are settled. What
        is on the wire keeps its place: nothing of its partition gets a sequence before its answer.
        """
        self.generation += 1
        self.producer_id = NO_PRODUCER_ID
        self.producer_epoch = -1
        self.needs_producer_id = True
        # The queues stay known: a batch that is being compressed gets its sequence without `_recall`.
        for queue in [queue for queue in self._queues.values() if topics is None or queue.topic in topics]:
            for batch in queue.unsettled:
                self._at_large.discard(batch)
                batch.sequence = NO_SEQUENCE
            queue.unsettled.clear()
            queue.producer_id = NO_PRODUCER_ID
            queue.producer_epoch = -1
            queue.next_sequence = 0
            queue.bump_wanted = False

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:
        """Return whether `batch`, the first of its queue, may go now."""
        if queue.on_wire and queue.wire_node is not queue.node:
            # The new leader would refuse what follows a batch that only the old one has got.
            return False
        if batch.sequence != NO_SEQUENCE and batch in queue.unsettled:
            # Whatever came before it has to be in first.
            return queue.unsettled[0] is batch
        if queue.producer_id == NO_PRODUCER_ID:
            self._recall(queue)
        is_free = not queue.on_wire and not queue.unsettled
        if queue.bump_wanted or not self._is_current(queue):
            if not is_free:
                return False
            if queue.bump_wanted:
                self._begin_anew(queue)
        elif not is_free and not _may_follow(queue):
            return False
        return not self.needs_producer_id

    def assign(self, batch: ProducerBatch) -> bool:
        """Give a number to a batch that is about to be written; a retry keeps its own.

        Return False if the producer id was dropped while the batch was being compressed, and there
        is no new one yet, or an earlier batch of the partition is still on the wire.
        """
        queue = batch.queue
        is_void = batch.sequence != NO_SEQUENCE
        if is_void and batch in queue.unsettled:
            return True
        starts_anew = not queue.unsettled and not queue.bump_wanted and not self._is_current(queue)
        if starts_anew and (self.producer_id == NO_PRODUCER_ID or queue.on_wire > 1):
            return False
        if is_void:
            # It was void, so it is not in this log, whatever was lost of its answers.
            batch.maybe_written = batch in self._in_old_log
            self._at_large.discard(batch)
        elif batch.maybe_written:
            self._in_old_log.add(batch)
            self._at_large.discard(batch)
        if starts_anew:
            queue.producer_id = self.producer_id
            queue.producer_epoch = self.producer_epoch
            queue.next_sequence = 0
        _number(batch, queue.next_sequence)
        queue.next_sequence = (queue.next_sequence + batch.count) % SEQUENCES
        # A gap that came about while the batch was being compressed makes it void at once.
        if not queue.bump_wanted:
            queue.unsettled.append(batch)
        return True

    def settle(self, batch: ProducerBatch, *, in_log: bool) -> None:
        """Take note that a batch is answered for good (`in_log` or refused), or given up."""
        self._at_large.discard(batch)
        self._in_old_log.discard(batch)
        queue = batch.queue
        unsettled = queue.unsettled
        if batch.sequence == NO_SEQUENCE or batch not in unsettled:
            return
        position = unsettled.index(batch)
        del unsettled[position]
        if in_log:
            return
        if batch.maybe_written:
            # Its numbers stay taken. If they were the first of all, the broker may still know
            # nothing of this producer, and would take the batches after them in any order.
            if batch.sequence == 0:
                queue.bump_wanted = True
        elif queue.next_sequence == (batch.sequence + batch.count) % SEQUENCES:
            queue.next_sequence = batch.sequence
        else:
            del unsettled[position:]
            queue.bump_wanted = True

    def replace(self, batch: ProducerBatch, pieces: list[ProducerBatch]) -> None:
        """Give a refused batch's numbers to the pieces it was split into."""
        unsettled = batch.queue.unsettled
        if batch in self._in_old_log:
            self._in_old_log.discard(batch)
            self._in_old_log.update(pieces)
        if batch.sequence == NO_SEQUENCE or batch not in unsettled:
            self._at_large.discard(batch)
            return
        position = unsettled.index(batch)
        sequence = batch.sequence
        for piece in pieces:
            _number(piece, sequence)
            sequence = (sequence + piece.count) % SEQUENCES
        unsettled[position : position + 1] = pieces
        self._at_large.discard(batch)
        if batch.maybe_written:
            # If it is in the log after all, the broker does not recognize it in its pieces.
            self._at_large.update(pieces)

    def lost(self, batch: ProducerBatch) -> None:
        """Take note that a batch's request got no answer, and may still be on its way to the broker."""
        self._at_large.add(batch)

    def out_of_order(self, batch: ProducerBatch) -> bool:
        """Take note that the broker has not what comes before a batch; return whether to send it again.

        If that is still on its way, the batch only has to wait for it. If not, nobody will
        send it: the partition begins anew with this batch. But one that was in doubt before
        may be in the log, further back than the broker remembers (a restarted one knows no more
        than the last batch), or get there yet.
        """
        queue = batch.queue
        if not queue.unsettled or queue.unsettled[0] is not batch:
            return True
        if batch.maybe_written:
            is_last = queue.next_sequence == (batch.sequence + batch.count) % SEQUENCES
            if batch in self._at_large or not is_last:
                return False
        queue.unsettled.clear()
        queue.bump_wanted = True
        return True

    def _is_current(self, queue: PartitionQueue) -> bool:
        if self.producer_id == NO_PRODUCER_ID:
            return False
        return queue.producer_id == self.producer_id and queue.producer_epoch == self.producer_epoch

    def _begin_anew(self, queue: PartitionQueue) -> None:
        queue.bump_wanted = False
        if not self._is_current(queue):
            # Another partition has begun a new epoch; this one follows.
            return
        if self.producer_epoch < MAX_EPOCH:
            self.producer_epoch += 1
        else:
            # What is being compressed may still be numbered under the last epoch.
            self.needs_producer_id = True

    def _recall(self, queue: PartitionQueue) -> None:
        """Go on where the partition's queue before this one stopped.

        A topic that is not used is forgotten, but not by the broker: numbers given a second
        time would pass for duplicates.
        """
        place = (queue.topic, queue.partition)
        before = self._queues.get(place)
        self._queues[place] = queue
        if before is not None and before is not queue:
            queue.producer_id = before.producer_id
            queue.producer_epoch = before.producer_epoch
            queue.next_sequence = before.next_sequence
            queue.bump_wanted = before.bump_wanted or bool(before.unsettled)


def _may_follow(queue: PartitionQueue) -> bool:
    """Return whether a new batch may be sent while others of its partition are on the wire."""
    unsettled = queue.unsettled
    # One that was taken to be sent but has no number yet must get its number first.
    if len(unsettled) != queue.on_wire or queue.on_wire >= MAX_BATCHES_ON_WIRE:
        return False
    if queue.next_sequence == 0 or unsettled[0].sequence == 0:
        return False
    return unsettled[0].attempts == 0


def _number(batch: ProducerBatch, sequence: int) -> None:
    batch.sequence = sequence
    batch.producer_id = batch.queue.producer_id
    batch.producer_epoch = batch.queue.producer_epoch
