"""What stands in for the shell around an accumulator: a clock, a broker or two, and a notebook."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from aioproducer.core.accumulator import OVERHEAD, Accumulator
from aioproducer.core.partitioner import Partitioner
from aioproducer.records.reader import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import NodeQueue, PartitionQueue
    from aioproducer.delivery import Delivery
    from aioproducer.record import Buffer, Headers
    from aioproducer.records.reader import DecodedRecord

START = 100.0
WALL_CLOCK_MS = 1_700_000_000_000
LINGER = 5.0
MAX_BLOCK = 60.0
AMPLE = 1 << 30
ROUNDS = 200
"""How often something is tried at most."""

TOPIC = "orders"
LEADER = 1
OTHER = 2

# A record of a hundred bytes takes 109 in a batch, and is charged as many; 182 are asked for.
VALUE = b"v" * 100
TAKEN = 109
ASKED = OVERHEAD + 100


class Shell:
    """An accumulator whose time stands still, and which is told of nothing but by the tests.

    What the accumulator asks for is noted: nodes to look at, with the time they are due;
    topics to ask for; and how often there was something new that can expire. A node that is
    woken is armed for its time, as by a timer.
    """

    def __init__(
        self,
        *,
        batch_size: int = 1000,
        linger: float = LINGER,
        buffer_memory: int = 100_000,
        max_request_size: int = 50_000,
        partitioner: Partitioner | None = None,
        seed: int = 7,
    ) -> None:
        self.now = START
        self.woken: list[tuple[int, float]] = []
        self.wanted: list[str] = []
        self.watched = 0
        self.accumulator = Accumulator(
            batch_size=batch_size,
            linger=linger,
            buffer_memory=buffer_memory,
            max_block=MAX_BLOCK,
            max_request_size=max_request_size,
            partitioner=partitioner or Partitioner(),
            clock=lambda: self.now,
            wall_clock_ns=lambda: WALL_CLOCK_MS * 1_000_000 + 999_999,
            random=random.Random(seed).random,  # noqa: S311 - nothing is secret
        )
        self.schedule = self.accumulator.schedule
        self.accumulator.schedule.wake = self._wake
        self.accumulator.want_topic = self.wanted.append
        self.accumulator.watch = self._watch

    def _wake(self, node: NodeQueue) -> None:
        node.armed = node.due
        self.woken.append((node.node_id, node.due))

    def _watch(self) -> None:
        self.watched += 1

    def introduce(self, topic: str = TOPIC, partitions: int = 1, leader: int = LEADER) -> None:
        """Make a topic known, all of whose partitions one node leads."""
        self.accumulator.set_partitions(topic, partitions, None)
        for partition in range(partitions):
            self.accumulator.set_leader(topic, partition, leader, 1)
        self.accumulator.admit([topic])

    def append(
        self,
        value: Buffer | None = b"",
        *,
        topic: str = TOPIC,
        key: Buffer | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> Delivery:
        return self.accumulator.append(topic, value, key, partition, timestamp_ms, headers)

    def queue(self, partition: int = 0, topic: str = TOPIC) -> PartitionQueue:
        return self.accumulator.topics[topic].partitions[partition]

    def drain(self, node_id: int = LEADER, limit: int = AMPLE) -> list[ProducerBatch]:
        """Take what may go now, as a sender does that was woken or whose timer has run off."""
        return self.schedule.drain(self.schedule.node(node_id), self.now, limit, sends_all)

    def drain_all(self, node_id: int = LEADER, limit: int = AMPLE) -> list[ProducerBatch]:
        """Take batches for as long as there are any that may go now."""
        batches: list[ProducerBatch] = []
        for _ in range(ROUNDS):
            taken = self.drain(node_id, limit)
            if not taken:
                break
            batches += taken
        return batches

    def send_the_rest(self, node_id: int = LEADER) -> list[ProducerBatch]:
        """Have all that is accepted sent and answered with success, as far as that goes."""
        batches: list[ProducerBatch] = []
        self.schedule.urgent += 1
        for _ in range(ROUNDS):
            for batch in self.drain_all(node_id):
                batches.append(batch)
                self.finish(batch)
            self.accumulator.serve_line(ROUNDS)
        self.schedule.urgent -= 1
        return batches

    def finish(self, batch: ProducerBatch, base_offset: int = 0) -> None:
        """Have a drained batch answered with success."""
        batch.queue.land(batch)
        self.accumulator.release(batch)
        batch.result.resolve(batch.count, base_offset, -1)


def sends_all(_queue: PartitionQueue, _batch: ProducerBatch) -> bool:
    return True


def records_of(batch: ProducerBatch) -> list[DecodedRecord]:
    return RecordBatch.parse(batch.builder.stamp(-1, -1, -1, transactional=False)).records()


def values_of(batches: Iterable[ProducerBatch]) -> list[bytes | None]:
    return [record.value for batch in batches for record in records_of(batch)]


def full_shell(room: int = -1) -> Shell:
    """Make an accumulator with a known topic and no room for a record of more than `room` bytes.

    What fills it lingers in partition 0.
    """
    shell = Shell(buffer_memory=1000, batch_size=AMPLE)
    shell.introduce(partitions=3)
    while shell.accumulator.used + OVERHEAD + room < 1000:
        shell.append(b"", partition=0)
    return shell


def free_room(shell: Shell) -> None:
    for batch in shell.drain_all():
        shell.finish(batch)
