# cython: annotation_typing=False, boundscheck=False, wraparound=False, cdivision=True
"""When the batches of which partition go to which node.

A partition that has something to send stands with the node that leads it: in `lingering` until
its open batch has lingered, in `ready` when a batch may go. `drain` takes what is due; whatever
makes a node's due time come closer wakes the shell.

    open ──▶ lingering ──linger, flush──▶ ready ──drain──▶ on the wire ──answer──▶ landed
    full ───────────────────────────────────▲                   │
    leader moved ───────────────────────────┴── give_back ◀─────┘

Every cost is constant a batch; none grows with topics or partitions.
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
"""How many batches go into one request at most: making and settling one takes microseconds."""


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
        """Have a queue's new open batch linger."""
        queue.start_linger()
        self._plan(queue)

    def closed(self, queue: PartitionQueue) -> None:
        """Send a queue's open batch, which was closed, without linger."""
        queue.stop_linger()
        self.enlist(queue)

    def enlist(self, queue: PartitionQueue) -> None:
        """Have the queue's node look at it when it is due; the shell is woken if that is sooner."""
        if queue.closed or not queue.lingers:
            queue.start_ready()
        self._plan(queue)

    def _plan(self, queue: PartitionQueue) -> None:
        node = queue.node
        due = queue.due(0.0 if self.urgent > 0 else self.linger)
        if node.hasten(due):
            self.shell.wake(node)

    def wake_all(self) -> None:
        """Have every node that has something to send looked at now."""
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
        """Hand a partition over to another node; a new leader is tried without backoff (KIP-951)."""
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

        Full batches go at once, others when they have lingered; what has lingered half as long
        goes along then. The partitions take turns, so that none starves when the limit cuts the
        round short; the first batch is taken however large it is. More than MAX_BATCHES_A_REQUEST
        are not taken at once, so that no request holds the event loop up. `may_send` may hold a
        partition back.
        """
        taken: list[ProducerBatch] = []
        in_haste = self.urgent > 0
        if now < node.due and not in_haste:
            return taken
        due = self._ripen(node, NEVER if in_haste else now - self.linger / 2)
        ready = node.ready
        size = 0
        for _ in range(len(ready)):
            queue, _ = ready.popitem(last=False)
            if not queue.closed and (queue.open is None or queue.lingers):
                queue.end_ready()
                continue
            if queue.not_before > now:
                due = min(due, queue.not_before)
                ready[queue] = None
                continue
            batch = queue.closed[0] if queue.closed else queue.open
            assert batch is not None  # noqa: S101 - see above
            if not may_send(queue, batch):
                ready[queue] = None
                continue
            size += len(batch.builder.buffer)
            if taken and (size > limit or len(taken) == MAX_BATCHES_A_REQUEST):
                ready[queue] = None
                ready.move_to_end(queue, last=False)
                due = now
                break
            taken.append(queue.take())
            if queue.closed or (queue.open is not None and not queue.lingers):
                ready[queue] = None
                due = min(due, queue.not_before)
            else:
                queue.end_ready()
        node.drained(due, took_batches=bool(taken))
        return taken

    def _ripen(self, node: NodeQueue, opened_until: float) -> float:
        """Make ready what was opened until then; return when the first of the others has lingered."""
        lingering = node.lingering
        while lingering:
            queue, _ = lingering.popitem(last=False)
            batch = queue.open
            if batch is None:
                continue  # closed since, by a __del__ that sent something
            if batch.created > opened_until:
                lingering[queue] = None
                lingering.move_to_end(queue, last=False)
                return batch.created + self.linger
            queue.end_linger()
        return NEVER

    def give_back(self, batch: ProducerBatch) -> None:
        """Queue a batch again that was drained, to be sent another time."""
        queue = batch.queue
        queue.land(batch)
        queue.put_back(batch)
        self.enlist(queue)
