# cython: annotation_typing=False, boundscheck=False, wraparound=False, cdivision=True
"""The schedule: which batch goes to which node, and when.

A partition with batches is in the queue of the node that leads it: in `lingering` until its open batch
has lingered, in `ready` when a batch may go. `drain` takes the batches that are due. If a batch is due
sooner than the node's sender looks, the shell wakes the sender.

    open ──▶ lingering ──linger, flush──▶ ready ──drain──▶ on the wire ──response──▶ settled
    full ───────────────────────────────────▲                   │
    leader moved ───────────────────────────┴── give_back ◀─────┘

Every cost is constant per batch; none grows with topics or partitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.core.batch import NEVER
from aioproducer.core.queues import NodeQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import PartitionQueue
    from aioproducer.core.shell import Shell

MAX_BATCHES_A_REQUEST = 256
"""How many batches go into one request at most: building and settling each takes microseconds."""


class Schedule:
    """The queues of all nodes.

    The shell wakes a node's sender when its `due` is sooner than the time that it is `armed` for.
    `urgent` counts the reasons to send without linger: a flush, records or calls that wait for room.
    """

    __slots__ = ("linger", "nodes", "shell", "urgent")

    def __init__(self, shell: Shell, linger: float) -> None:
        self.shell = shell
        self.linger = linger
        self.nodes: dict[int, NodeQueue] = {}
        self.urgent = 0

    def node(self, node_id: int) -> NodeQueue:
        """Return the queue of a node, new if it was not known."""
        node = self.nodes.get(node_id)
        if node is None:
            node = self.nodes[node_id] = NodeQueue(node_id)
        return node

    def opened(self, queue: PartitionQueue) -> None:
        """Let a partition's new open batch linger."""
        queue.start_linger()
        self._plan(queue)

    def closed(self, queue: PartitionQueue) -> None:
        """Let a batch go that was just closed."""
        queue.stop_linger()
        self.enlist(queue)

    def enlist(self, queue: PartitionQueue) -> None:
        """Let the node look at a partition when its first batch is due."""
        if queue.closed or not queue.lingers:
            queue.start_ready()
        self._plan(queue)

    def _plan(self, queue: PartitionQueue) -> None:
        node = queue.node
        # During a flush a batch is due as soon as it is opened.
        due = queue.due(0.0 if self.urgent > 0 else self.linger)
        # The sender looks at 10.005 and the batch is due at 10.002: wake the sender.
        if node.hasten(due):
            self.shell.wake(node)

    def wake_all(self) -> None:
        """Wake the senders of all nodes with batches."""
        for node in self.nodes.values():
            if not node.is_empty():
                node.hasten(0.0)
                self.shell.wake(node)

    def flush_started(self) -> None:
        """Send without linger, until each call has its `flush_ended`."""
        self.urgent += 1
        self.wake_all()

    def flush_ended(self) -> None:
        """Let batches linger again, if this was the last reason not to."""
        self.urgent -= 1

    def move(self, queue: PartitionQueue, node_id: int, leader_epoch: int) -> None:
        """Move a partition to the node that leads it now."""
        queue.move(self.node(node_id), leader_epoch)
        if queue.first() is not None:
            self.enlist(queue)

    def drain(
        self,
        node: NodeQueue,
        now: float,
        limit: int,
        may_send: Callable[[PartitionQueue, ProducerBatch], bool],
    ) -> list[ProducerBatch]:
        """Take at most one batch of each partition that the node leads, up to `limit` bytes in all.

        Full batches go at once, others after linger; then batches go along that have lingered half as
        long. Partitions take turns, so that none starves when the limit ends a round early. The first
        batch may exceed the limit. MAX_BATCHES_A_REQUEST keeps a request from holding the event loop.
        `may_send` may hold a partition back.
        """
        taken: list[ProducerBatch] = []
        in_haste = self.urgent > 0
        # The usual case: a response led here, and no batch is due yet.
        if now < node.due and not in_haste:
            return taken
        # Linger 10 ms: when one batch has lingered for 10 ms, the others that are 5 ms old go along.
        # Each of them saves a request of its own.
        due = self._ripen(node, NEVER if in_haste else now - self.linger / 2)
        ready = node.ready
        size = 0
        # One round: a partition that returns to the end of `ready` is not visited again.
        for _ in range(len(ready)):
            queue, _ = ready.popitem(last=False)
            # Its closed batches have expired or were taken, and the open one still lingers.
            if not queue.closed and (queue.open is None or queue.lingers):
                queue.end_ready()
                continue
            # It backs off after a failed attempt.
            if queue.not_before > now:
                due = min(due, queue.not_before)
                ready[queue] = None
                continue
            batch = queue.closed[0] if queue.closed else queue.open
            assert batch is not None  # noqa: S101 - see above
            # It waits for an earlier batch or for a producer id. These events plan the partition
            # again (`enlist`, `wake_all`), so `due` does not count it.
            if not may_send(queue, batch):
                ready[queue] = None
                continue
            size += len(batch.builder.buffer)
            if taken and (size > limit or len(taken) == MAX_BATCHES_A_REQUEST):
                ready[queue] = None
                # The request is full: this partition is the first one of the next request.
                ready.move_to_end(queue, last=False)
                due = now
                break
            taken.append(queue.take())
            # More batches may go, in a later request: a request has one batch per partition at most.
            if queue.closed or (queue.open is not None and not queue.lingers):
                ready[queue] = None
                due = min(due, queue.not_before)
            else:
                queue.end_ready()
        node.drained(due, took_batches=bool(taken))
        return taken

    def _ripen(self, node: NodeQueue, opened_until: float) -> float:
        """Make partitions ready whose batch was opened by then; return when the next one has lingered."""
        lingering = node.lingering
        while lingering:
            queue, _ = lingering.popitem(last=False)
            batch = queue.open
            if batch is None:
                continue  # closed by a __del__ that sent a record
            # `lingering` is in the order of opening, so the first batch that is too young ends the
            # search.
            if batch.created > opened_until:
                lingering[queue] = None
                lingering.move_to_end(queue, last=False)
                return batch.created + self.linger
            queue.end_linger()
        return NEVER

    def give_back(self, batch: ProducerBatch) -> None:
        """Put a drained batch back into its queue, to be sent again."""
        queue = batch.queue
        queue.land(batch)
        queue.put_back(batch)
        self.enlist(queue)
