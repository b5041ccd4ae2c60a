# cython: annotation_typing=False
"""A batch on its way, and the queues it stands in.

Every partition has a queue of batches; every node has a queue of the partitions that it
leads and that hold something to send.

    NodeQueue 1 ── PartitionQueue orders-0 ── closed: [batch batch] open: batch
                └─ PartitionQueue orders-3 ── closed: []            open: batch
    NodeQueue 2 ── …
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioproducer.delivery import BatchResult
    from aioproducer.records.batch import RecordBatchBuilder

NEVER = float("inf")
"""The deadline of what has none."""

BLOCKED = float("-inf")
"""`NodeQueue.armed` while something else than time decides when to look again."""

NO_LEADER = -1
"""The node id of a partition that nobody leads."""

NO_SEQUENCE = -1
"""The sequence of a batch that has not been sent."""


class NodeQueue:
    """The partitions that one node leads and that have something to send.

    In `ready` are those of which a batch may go now, in `lingering` the others, in the order in
    which their batches were opened. `due` is the earliest time at which something has to go;
    `armed` the time at which the shell will look without being told; `starved_since` the time
    since which something has been due that could not be sent, NEVER if nothing has.
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
        """Return whether none of its partitions has anything to send."""
        return not self.ready and not self.lingering

    def __repr__(self) -> str:
        return (
            f"<NodeQueue {self.node_id} ready={len(self.ready)} lingering={len(self.lingering)} "
            f"due={self.due}>"
        )


class ProducerBatch:
    """One batch from its first record to its acknowledgement.

    `oldest_send` is the time of the earliest `send` of its records: the delivery timeout counts
    from it, over all retries and splits. `created` is when the batch was made, which is later if
    the record waited for its topic or for room; linger counts from it. `sequence` is given when
    the batch is first written, and stays. `charged` is what it holds of `buffer_memory`, in bytes.
    `maybe_written` says that an attempt ended without an answer that rules out that it is in the
    log. `split_of` is the size of the batch it was split from, 0 if it was not.
    """

    __slots__ = (
        "attempts",
        "builder",
        "charged",
        "created",
        "in_flight",
        "last_error",
        "maybe_written",
        "oldest_send",
        "producer_epoch",
        "producer_id",
        "queue",
        "result",
        "sent_at",
        "sequence",
        "serial",
        "split_of",
    )

    def __init__(
        self,
        queue: PartitionQueue,
        builder: RecordBatchBuilder,
        result: BatchResult,
        created: float,
        serial: int,
    ) -> None:
        self.queue = queue
        self.builder = builder
        self.result = result
        self.created = created
        self.oldest_send = created
        self.serial = serial
        self.charged = builder.raw_size
        self.attempts = 0
        self.sent_at = 0.0
        self.in_flight = False
        self.maybe_written = False
        self.producer_id = -1
        self.producer_epoch = -1
        self.sequence = NO_SEQUENCE
        self.split_of = 0
        self.last_error: Exception | None = None

    @property
    def count(self) -> int:
        """How many records it holds."""
        return self.builder.count

    @property
    def size(self) -> int:
        """How many bytes it takes in a request."""
        return len(self.builder.buffer)

    def __repr__(self) -> str:
        state = "done" if self.result.done else "in flight" if self.in_flight else "queued"
        queue = self.queue
        return (
            f"<ProducerBatch {queue.topic}-{queue.partition} records={self.builder.count} "
            f"sequence={self.sequence} attempts={self.attempts} {state}>"
        )


class PartitionQueue:
    """The batches of one partition, oldest first, and the state of its sequences.

    `closed` batches take no more records; `open` is the one that does. `unsettled` are the
    batches that hold a sequence and whose fate is not known, in the order of their sequences:
    on the wire, or back in `closed` for another attempt. `on_wire` counts the former. It stands
    in its node's `ready` (`is_ready`), or in its `lingering` (`lingers`), or in both while the
    open batch lingers behind closed ones. `last_error` is why a batch of it was last sent again,
    None once one was stored since.
    """

    __slots__ = (
        "bump_wanted",
        "closed",
        "is_ready",
        "last_error",
        "leader_epoch",
        "lingers",
        "next_sequence",
        "node",
        "not_before",
        "on_wire",
        "open",
        "partition",
        "producer_epoch",
        "producer_id",
        "topic",
        "unsettled",
        "wire_node",
    )

    def __init__(self, topic: str, partition: int, node: NodeQueue) -> None:
        self.topic = topic
        self.partition = partition
        self.node = node
        self.leader_epoch = -1
        self.open: ProducerBatch | None = None
        self.closed: deque[ProducerBatch] = deque()
        self.unsettled: list[ProducerBatch] = []
        self.on_wire = 0
        self.wire_node: NodeQueue | None = None
        self.not_before = 0.0
        self.last_error: Exception | None = None
        self.is_ready = False
        self.lingers = False
        self.producer_id = -1
        self.producer_epoch = -1
        self.next_sequence = 0
        self.bump_wanted = False

    def length(self) -> int:
        """Return how many batches wait here."""
        return len(self.closed) + (self.open is not None)

    def due(self, linger: float) -> float:
        """Return when this queue has to be drained, NEVER if it is empty."""
        if self.closed:
            return self.not_before
        if self.open is None:
            return NEVER
        return max(self.open.created + linger, self.not_before)

    def first(self) -> ProducerBatch | None:
        """Return the batch that has to go first."""
        return self.closed[0] if self.closed else self.open

    def take(self) -> ProducerBatch:
        """Remove the batch that has to go first; it takes no more records."""
        if self.closed:
            return self.closed.popleft()
        batch = self.open
        assert batch is not None  # noqa: S101 - callers ask first()
        self.open = None
        return batch

    def put_back(self, batch: ProducerBatch) -> None:
        """Put a batch that was taken back where it came from: batches stay in the order of their making."""
        closed = self.closed
        position = 0
        while position < len(closed) and closed[position].serial < batch.serial:
            position += 1
        closed.insert(position, batch)

    def __repr__(self) -> str:
        return (
            f"<PartitionQueue {self.topic}-{self.partition} node={self.node.node_id} "
            f"batches={self.length()} on_wire={self.on_wire}>"
        )
