"""The harness of the core's tests: a shell whose time only the tests move.

Harness             Accumulator, Schedule
DeliveryHarness     the same, with Sequences and Settlement: from `send` to the response
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from aioproducer.core.accumulator import OVERHEAD, Accumulator
from aioproducer.core.backoff import Backoff
from aioproducer.core.partitioner import RecordPartitioner
from aioproducer.core.sequences import Ordering, Sequences, Unnumbered
from aioproducer.core.settlement import Settlement
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerConnectionError
from aioproducer.metrics.producer_metrics import ProducerMetrics
from aioproducer.protocol.produce import BatchIndexAndErrorMessage, PartitionProduceResponse
from aioproducer.records.reader import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import NodeQueue, PartitionQueue
    from aioproducer.delivery import Delivery
    from aioproducer.errors import ProducerError
    from aioproducer.record import Buffer, Headers
    from aioproducer.records.reader import DecodedRecord

START = 100.0
WALL_CLOCK_MS = 1_700_000_000_000
LINGER = 5.0
MAX_BLOCK = 60.0
DELIVERY_TIMEOUT = 30.0
BACKOFF = 0.1
MAX_REQUEST = 1 << 20
AMPLE = 1 << 30
FOR_EVER = 2**31 - 1
ROUNDS = 200
"""How often a loop runs at most."""

TOPIC = "orders"
PARTITIONS = 3
LEADER, OTHER = 1, 2
PRODUCER_ID = 4000
ONE_RECORD = 1
"""The `batch_size` at which every record is a batch of its own."""

# A record of 100 bytes takes 109 in a batch, and is charged as many; 182 are asked for.
VALUE = b"v" * 100
TAKEN = 109
ASKED = OVERHEAD + 100


class Harness:
    """An accumulator and its shell, which notes what the core asks for.

    `woken` has the nodes to look at, each with its due time; a woken node is armed, as by a timer.
    `wanted` has the topics, `deadlines` counts the calls of `deadline_added`, `freed` those of
    `room_freed`, `asked` the calls of `clock` and `check`. `refusal` is what `check` raises.
    """

    def __init__(
        self,
        *,
        batch_size: int = 1000,
        linger: float = LINGER,
        buffer_memory: int = 100_000,
        max_block: float = MAX_BLOCK,
        max_request_size: int = 50_000,
        delivery_timeout: float = FOR_EVER,
        partitioner: RecordPartitioner | None = None,
        seed: int = 7,
    ) -> None:
        self.now = START
        self.loop: object = None
        self.woken: list[tuple[int, float]] = []
        self.wanted: list[str] = []
        self.asked: list[str] = []
        self.deadlines = 0
        self.freed = 0
        self.refreshes = 0
        self.failure: ProducerError | None = None
        self.refusal: ProducerError | None = None
        self.metrics = ProducerMetrics(self.now)
        self.random = random.Random(seed).random  # noqa: S311 - nothing is secret
        self.accumulator = Accumulator(
            self,
            batch_size=batch_size,
            linger=linger,
            buffer_memory=buffer_memory,
            max_block=max_block,
            max_request_size=max_request_size,
            partitioner=partitioner or RecordPartitioner(),
            delivery_timeout=delivery_timeout,
            events=self.metrics,
        )
        self.buffer = self.accumulator.buffer
        self.schedule = self.accumulator.schedule

    # The shell.

    def clock(self) -> float:
        self.asked.append("clock")
        return self.now

    def wall_clock_ns(self) -> int:
        return WALL_CLOCK_MS * 1_000_000 + 999_999

    def check(self) -> None:
        self.asked.append("check")
        if self.refusal is not None:
            raise self.refusal

    def wake(self, node: NodeQueue) -> None:
        node.arm(node.due)
        self.woken.append((node.node_id, node.due))

    def request_metadata(self) -> None:
        self.refreshes += 1

    def topic_wanted(self, topic: str) -> None:
        self.wanted.append(topic)

    def deadline_added(self) -> None:
        self.deadlines += 1

    def room_freed(self) -> None:
        self.freed += 1

    def producer_id_needed(self) -> None:
        self.asked.append("producer id")

    def fail(self, error: ProducerError) -> None:
        self.failure = error

    # What a test does.

    def introduce(self, topic: str = TOPIC, partitions: int = 1, leader: int = LEADER) -> None:
        """Make a topic known, with one leader for all partitions."""
        self.accumulator.set_partitions(topic, partitions, None)
        for partition in range(partitions):
            self.accumulator.set_leader(topic, partition, leader, 1)
        self.accumulator.admit([topic])

    def lead(self, node_id: int, epoch: int, partition: int = 0) -> None:
        """Let a node lead a partition."""
        self.accumulator.set_leader(TOPIC, partition, node_id, epoch)

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

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:  # noqa: ARG002 - as an ordering
        return True

    def drain(self, node_id: int = LEADER, limit: int = AMPLE) -> list[ProducerBatch]:
        """Take what may go now, one batch of each partition."""
        return self.schedule.drain(self.schedule.node(node_id), self.now, limit, self.may_send)

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
        """Send all accepted records and have them stored, as far as that goes."""
        batches: list[ProducerBatch] = []
        self.schedule.flush_started()
        for _ in range(ROUNDS):
            for batch in self.drain_all(node_id):
                batches.append(batch)
                self.finish(batch)
            self.accumulator.serve(ROUNDS)
        self.schedule.flush_ended()
        return batches

    def finish(self, batch: ProducerBatch, base_offset: int = 0) -> None:
        """Have a drained batch stored."""
        batch.queue.land(batch)
        self.accumulator.release(batch)
        batch.result.resolve(batch.count, base_offset, -1)

    def wait(self, seconds: float = 1.0) -> None:
        """Let time pass: a second is longer than any backoff."""
        self.now += seconds


class KnownOutages:
    """The outages that a test sets."""

    def __init__(self) -> None:
        self.nodes: dict[int, ProducerError] = {}
        self.cluster: ProducerError | None = None
        self.producer_id: ProducerError | None = None

    def of_node(self, node_id: int) -> ProducerError | None:
        return self.nodes.get(node_id)

    def of_cluster(self) -> ProducerError | None:
        return self.cluster

    def of_producer_id(self) -> ProducerError | None:
        return self.producer_id


class DeliveryHarness(Harness):
    """A harness with everything between `send` and the wire; every record is a batch of its own.

    send ──▶ take ──▶ [batches with sequences] ──▶ answer, lose
    """

    def __init__(
        self,
        *,
        idempotent: bool = True,
        in_flight: int = 5,
        retries: int = FOR_EVER,
        batch_size: int = ONE_RECORD,
        buffer_memory: int = 100_000,
        max_block: float = MAX_BLOCK,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            linger=0.0,
            buffer_memory=buffer_memory,
            max_block=max_block,
            max_request_size=MAX_REQUEST,
            delivery_timeout=DELIVERY_TIMEOUT,
        )
        self.sequences = Sequences()
        self.sequences.producer_id.adopt(PRODUCER_ID, 0)
        self.ordering: Ordering = self.sequences if idempotent else Unnumbered(in_flight)
        self.outages = KnownOutages()
        self.settlement = Settlement(
            self.accumulator,
            self.ordering,
            self.metrics,
            Backoff(BACKOFF, 1.0, lambda: 0.5),
            self,
            self.outages,
            idempotent=idempotent,
            retries=retries,
            delivery_timeout=DELIVERY_TIMEOUT,
        )
        self.introduce(partitions=PARTITIONS)

    def may_send(self, queue: PartitionQueue, batch: ProducerBatch) -> bool:
        return self.ordering.may_send(queue, batch)

    def send(self, *values: bytes, partition: int = 0) -> list[Delivery]:
        return [self.append(value, partition=partition) for value in values]

    def send_some(self, count: int, partition: int = 0) -> list[Delivery]:
        return self.send(*(b"%d" % number for number in range(count)), partition=partition)

    def write(self, batch: ProducerBatch) -> RecordBatch:
        """Give a batch its sequence and return it as written."""
        self.ordering.assign(batch)
        stamped = batch.builder.stamp(
            batch.producer_id, batch.producer_epoch, batch.sequence, transactional=False
        )
        return RecordBatch.parse(bytes(stamped))

    def take(self, node_id: int = LEADER) -> list[ProducerBatch]:
        """Take and write all batches that may be sent now."""
        written = []
        while batches := self.drain(node_id, MAX_REQUEST):
            for batch in batches:
                self.write(batch)
            written += batches
        return written

    def take_one(self, node_id: int = LEADER) -> ProducerBatch:
        """Take and write the only batch that may be sent now."""
        batches = self.take(node_id)
        assert len(batches) == 1, batches
        return batches[0]

    def answer(
        self,
        batch: ProducerBatch,
        code: ErrorCode | int = ErrorCode.NONE,
        offset: int = -1,
        *,
        message: str | None = None,
        refused: Mapping[int, str | None] | None = None,
    ) -> None:
        """Settle a batch by a response."""
        errors = tuple(BatchIndexAndErrorMessage(*item) for item in (refused or {}).items())
        partition = batch.queue.partition
        response = PartitionProduceResponse(
            partition, code, offset, record_errors=errors, error_message=message
        )
        self.settlement.settle(batch, response, self.now)

    def lose(self, batch: ProducerBatch) -> None:
        """Settle a batch whose connection was lost."""
        self.settlement.lost(batch, BrokerConnectionError("the connection was lost"), self.now)

    def deliver(self, count: int = 1, partition: int = 0) -> None:
        """Have records stored, so that the broker knows the producer."""
        for _ in range(count):
            self.send(b"earlier", partition=partition)
            self.answer(self.take_one(), offset=0)

    def expire(self) -> None:
        """Fail everything older than the delivery timeout."""
        while self.settlement.expire(self.now):
            pass

    def figure(self, name: str) -> float:
        """Return one of the producer's metrics."""
        return self.metrics.snapshot(self.now, {})["producer-metrics"][name]

    def assert_nothing_left(self) -> None:
        """Check that all memory is free and no batch is kept."""
        assert self.buffer.used == 0
        assert not self.accumulator.incomplete
        for partition in range(PARTITIONS):
            queue = self.queue(partition)
            assert (queue.length(), queue.on_wire, queue.sequences.in_flight) == (0, 0, [])


def numbers(batches: list[ProducerBatch]) -> list[tuple[int, int]]:
    """Return the epoch and the sequence of each batch."""
    return [(batch.producer_epoch, batch.sequence) for batch in batches]


def records_of(batch: ProducerBatch) -> list[DecodedRecord]:
    return RecordBatch.parse(batch.builder.stamp(-1, -1, -1, transactional=False)).records()


def values_of(batches: Iterable[ProducerBatch]) -> list[bytes | None]:
    return [record.value for batch in batches for record in records_of(batch)]


def full_harness(room: int = -1) -> Harness:
    """Make an accumulator with a known topic and no room for a record of more than `room` bytes.

    The batch that fills it lingers in partition 0.
    """
    harness = Harness(buffer_memory=1000, batch_size=AMPLE)
    harness.introduce(partitions=3)
    while harness.buffer.used + OVERHEAD + room < 1000:
        harness.append(b"", partition=0)
    return harness


def free_room(harness: Harness) -> None:
    for batch in harness.drain_all():
        harness.finish(batch)
