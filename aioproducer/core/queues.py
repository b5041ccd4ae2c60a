# cython: annotation_typing=False
"""The queues that batches wait in: of a partition, a node, a topic.

    TopicQueue orders ─┬─ PartitionQueue orders-0 ── closed: [batch batch]  open: batch
                       └─ PartitionQueue orders-1 ── closed: []             open: batch
    NodeQueue 1 ── ready: orders-0        (a batch may go now)
                └─ lingering: orders-1    (the open batch lingers)

A partition with batches is in the queue of the node that leads it. `core/schedule.py` moves it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from aioproducer.core.batch import NEVER
from aioproducer.core.sequences import PartitionSequences

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.partitioner import StickyPartitioner

BLOCKED = float("-inf")
"""`NodeQueue.armed` while an event, not a timer, leads to the next look."""

NO_LEADER = -1
"""The node id of a partition without a leader."""


class NodeQueue:
    """The partitions that one node leads and that have batches.

    `ready` has the partitions with a batch that may go now; `lingering` has the others, in the order
    in which their batches were opened. `due` is the earliest time at which a batch has to go. `armed`
    is the time at which the sender looks without a wake-up. `starved_since` is the time since which a
    due batch could not be sent, NEVER if there is none.
    """

    __slots__ = ("armed", "due", "lingering", "node_id", "ready", "starved_since")

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.ready: OrderedDict[PartitionQueue, None] = OrderedDict()
        self.lingering: OrderedDict[PartitionQueue, None] = OrderedDict()
        self.due = NEVER
        self.armed = NEVER
        self.starved_since = NEVER

    def is_empty(self) -> bool:
        """Return whether none of its partitions has batches."""
        return not self.ready and not self.lingering

    def hasten(self, due: float) -> bool:
        """Take in that a batch is due then; return whether the sender has to be woken for it."""
        self.due = min(self.due, due)
        # Armed for 10.005, and due at 10.002: the sender would look too late. BLOCKED is before all
        # times.
        return due < self.armed

    def drained(self, due: float, *, took_batches: bool) -> None:
        """Set when the next batch is due, after a drain."""
        self.due = due
        if took_batches:
            self.starved_since = NEVER

    def block(self) -> None:
        """Note that the sender is about to look, or looks after its next event."""
        self.armed = BLOCKED

    def arm(self, when: float) -> None:
        """Note that the sender looks at a time; NEVER if a wake-up has to come first."""
        self.armed = when

    def starve(self, now: float) -> None:
        """Note that a due batch cannot be sent now."""
        if self.due <= now and self.starved_since == NEVER:
            self.starved_since = now

    def __repr__(self) -> str:
        return (
            f"<NodeQueue {self.node_id} ready={len(self.ready)} lingering={len(self.lingering)} "
            f"due={self.due}>"
        )


class PartitionQueue:
    """The batches of one partition, oldest first, and its sequences.

    `closed` batches take no more records; the `open` one does. `on_wire` counts the batches in flight:
    taken for a request, perhaps still in compression. `wire_node` is the node that these went to. The
    partition is in its node's `ready` (`is_ready`), in its `lingering` (`lingers`), or in both while the
    open batch lingers behind closed ones. `last_error` is the cause of the last retry, None after a batch
    was stored. No batch goes before `not_before`.
    """

    __slots__ = (
        "closed",
        "is_ready",
        "last_error",
        "leader_epoch",
        "lingers",
        "node",
        "not_before",
        "on_wire",
        "open",
        "partition",
        "sequences",
        "topic",
        "wire_node",
    )

    def __init__(self, topic: str, partition: int, node: NodeQueue) -> None:
        self.topic = topic
        self.partition = partition
        self.node = node
        self.leader_epoch = -1
        self.open: ProducerBatch | None = None
        self.closed: deque[ProducerBatch] = deque()
        self.on_wire = 0
        self.wire_node: NodeQueue | None = None
        self.not_before = 0.0
        self.last_error: Exception | None = None
        self.is_ready = False
        self.lingers = False
        self.sequences = PartitionSequences()

    def length(self) -> int:
        """Return how many batches wait here."""
        return len(self.closed) + (self.open is not None)

    def due(self, linger: float) -> float:
        """Return when a batch has to go, NEVER if there is none."""
        # A full or retried batch does not linger; it only backs off.
        if self.closed:
            return self.not_before
        if self.open is None:
            return NEVER
        return max(self.open.created + linger, self.not_before)

    def first(self) -> ProducerBatch | None:
        """Return the batch that has to go first."""
        return self.closed[0] if self.closed else self.open

    def open_batch(self, batch: ProducerBatch) -> None:
        """Let a new batch take the next records."""
        self.open = batch

    def close_open(self) -> None:
        """Close the open batch to further records."""
        batch = self.open
        assert batch is not None  # noqa: S101 - callers have looked
        self.open = None
        batch.close()
        self.closed.append(batch)

    def take(self) -> ProducerBatch:
        """Remove the batch that has to go first, for a request to the leader; it is closed."""
        batch = self.open
        if self.closed:
            batch = self.closed.popleft()
        else:
            self.open = None
        assert batch is not None  # noqa: S101 - callers ask first()
        batch.take()
        self.on_wire += 1
        self.wire_node = self.node
        return batch

    def land(self, batch: ProducerBatch) -> None:
        """Note that a batch's request is over: it was answered, or its connection is gone."""
        if batch.land():
            self.on_wire -= 1
            # Until then no batch may go to another node: it could overtake one on its way to
            # `wire_node`.
            if self.on_wire == 0:
                self.wire_node = None

    def put_back(self, batch: ProducerBatch) -> None:
        """Put a batch back that was taken: batches stay in the order in which they were opened."""
        closed = self.closed
        position = 0
        # Batches 1 and 2 come back, in either order, while 3 is queued: the queue is 1 2 3.
        while position < len(closed) and closed[position].serial < batch.serial:
            position += 1
        closed.insert(position, batch)

    def withdraw(self, batch: ProducerBatch) -> None:
        """Remove a batch that is not to be sent."""
        if self.open is batch:
            self.open = None
            self.stop_linger()
        elif batch in self.closed:
            self.closed.remove(batch)

    def failed(self, error: Exception) -> None:
        """Keep the cause of a retry."""
        self.last_error = error

    def back_off(self, until: float) -> None:
        """Let no batch go before a time."""
        self.not_before = until

    def stored(self) -> None:
        """Note that the leader stored a batch."""
        self.last_error = None

    # Its place in the node's queue.

    def start_linger(self) -> None:
        """Let the open batch linger."""
        self.lingers = True
        self.node.lingering[self] = None

    def stop_linger(self) -> None:
        """Let the open batch linger no more."""
        if self.lingers:
            self.lingers = False
            self.node.lingering.pop(self, None)

    def end_linger(self) -> None:
        """Be ready: the open batch has lingered, and the schedule has removed it from `lingering`."""
        self.lingers = False
        self.start_ready()

    def start_ready(self) -> None:
        """Join the partitions with a batch that may go."""
        if not self.is_ready:
            self.is_ready = True
            self.node.ready[self] = None

    def end_ready(self) -> None:
        """Note that the schedule has removed it from `ready`."""
        self.is_ready = False

    def move(self, node: NodeQueue, leader_epoch: int) -> None:
        """Change to the node that leads the partition now; it is tried without backoff (KIP-951)."""
        if self.is_ready:
            self.is_ready = False
            self.node.ready.pop(self, None)
        # In the new node's `lingering` it would not be in the order of age, so it lingers no more.
        self.stop_linger()
        self.node = node
        self.leader_epoch = leader_epoch
        self.not_before = 0.0

    def __repr__(self) -> str:
        return (
            f"<PartitionQueue {self.topic}-{self.partition} node={self.node.node_id} "
            f"batches={self.length()} on_wire={self.on_wire}>"
        )


class TopicQueue:
    """The partitions of one topic and its sticky partition.

    `partitions` is the sticky partitioner's list, too. `batch_limit` is the uncompressed size at which a
    batch is full: `batch_size`, until `net/compressor.py` has learned how well the topic compresses.
    `retired` has partitions that the topic lost, with their batches: they may come back.
    """

    __slots__ = ("batch_limit", "count", "last_used", "partitions", "retired", "sticky", "topic", "topic_id")

    def __init__(self, topic: str, sticky: StickyPartitioner, batch_limit: int, now: float) -> None:
        self.topic = topic
        self.partitions = sticky.partitions
        self.count = len(self.partitions)
        self.sticky = sticky
        self.batch_limit = batch_limit
        self.last_used = now
        self.topic_id: object = None
        self.retired: dict[int, PartitionQueue] = {}

    def used(self, now: float) -> None:
        """Note that a batch was opened."""
        self.last_used = now

    def set_batch_limit(self, size: int) -> None:
        """Set the uncompressed size at which a batch is full."""
        self.batch_limit = size

    def has_in_flight(self) -> bool:
        """Return whether a batch of the topic is on the wire, or its sequence is not yet resolved."""
        return any(queue.on_wire or queue.sequences.in_flight for queue in self.partitions)

    def resize(self, count: int, topic_id: object, leaderless: NodeQueue) -> list[PartitionQueue]:
        """Change the number of partitions; return the queues of the removed ones.

        New partitions begin in the queue `leaderless`.
        """
        self.topic_id = topic_id
        partitions = self.partitions
        while len(partitions) < count:
            index = len(partitions)
            # A partition that was there before comes back with its batches and its sequences.
            queue = self.retired.pop(index, None)
            partitions.append(PartitionQueue(self.topic, index, leaderless) if queue is None else queue)
        gone = []
        while len(partitions) > count:
            queue = partitions.pop()
            self.retired[queue.partition] = queue
            gone.append(queue)
        if self.count != count:
            self.count = count
            self.sticky.forget()
        return gone
