"""A desk at which batches are settled: an accumulator, its order and its settlement, and their clock.

send ──▶ Desk.take ──▶ [batches, numbered and stamped] ──▶ Desk.answer / Desk.lose
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.core.accumulator import Accumulator
from aioproducer.core.backoff import Backoff
from aioproducer.core.idempotence import Ordering, Sequencer, Unnumbered
from aioproducer.core.partitioner import Partitioner
from aioproducer.core.settlement import Settlement
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerConnectionError
from aioproducer.metrics.producer_metrics import ProducerMetrics
from aioproducer.protocol.produce import BatchIndexAndErrorMessage, PartitionProduceResponse
from aioproducer.records.reader import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.core.producer_batch import PartitionQueue, ProducerBatch
    from aioproducer.delivery import Delivery
    from aioproducer.errors import ProducerError

TOPIC = "orders"
PARTITIONS = 3
LEADER, OTHER = 1, 2
PRODUCER_ID = 4000
FOR_EVER = 2**31 - 1
DELIVERY_TIMEOUT = 30.0
BACKOFF = 0.1
MAX_REQUEST = 1 << 20
ONE_RECORD = 1
"""The `batch_size` at which every record is a batch of its own."""


class KnownOutages:
    """What is wrong at present, as a test says."""

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


class Desk:
    """Everything between `send` and the wire, at a time that only the tests move on."""

    def __init__(
        self,
        *,
        idempotent: bool = True,
        in_flight: int = 5,
        retries: int = FOR_EVER,
        batch_size: int = ONE_RECORD,
        buffer_memory: int = 100_000,
        max_block: float = 60.0,
    ) -> None:
        self.now = 100.0
        self.refreshes = 0
        self.failure: ProducerError | None = None
        self.metrics = ProducerMetrics(self.now)
        self.accumulator = Accumulator(
            batch_size=batch_size,
            linger=0.0,
            buffer_memory=buffer_memory,
            max_block=max_block,
            max_request_size=MAX_REQUEST,
            partitioner=Partitioner(),
            clock=lambda: self.now,
            wall_clock_ns=lambda: 1_700_000_000_000_000_000,
            random=lambda: 0.5,
            delivery_timeout=DELIVERY_TIMEOUT,
            events=self.metrics,
        )
        self.schedule = self.accumulator.schedule
        self.sequencer = Sequencer()
        self.sequencer.adopt(PRODUCER_ID, 0)
        self.ordering: Ordering = self.sequencer if idempotent else Unnumbered(in_flight)
        self.outages = KnownOutages()
        self.settlement = Settlement(
            self.accumulator,
            self.ordering,
            self.metrics,
            Backoff(BACKOFF, 1.0, lambda: 0.5),
            idempotent=idempotent,
            retries=retries,
            delivery_timeout=DELIVERY_TIMEOUT,
            outages=self.outages,
            refresh_metadata=self._refresh_metadata,
            fail_all=self._fail_all,
        )
        self.accumulator.set_partitions(TOPIC, PARTITIONS, None)
        for partition in range(PARTITIONS):
            self.lead(LEADER, 1, partition)

    def _refresh_metadata(self) -> None:
        self.refreshes += 1

    def _fail_all(self, error: ProducerError) -> None:
        self.failure = error

    def lead(self, node_id: int, epoch: int, partition: int = 0) -> None:
        """Have a node lead a partition."""
        self.accumulator.set_leader(TOPIC, partition, node_id, epoch)

    def queue(self, partition: int = 0) -> PartitionQueue:
        return self.accumulator.topics[TOPIC].partitions[partition]

    def send(self, *values: bytes, partition: int = 0) -> list[Delivery]:
        return [self.accumulator.append(TOPIC, value, None, partition, None, None) for value in values]

    def send_some(self, count: int, partition: int = 0) -> list[Delivery]:
        return self.send(*(b"%d" % number for number in range(count)), partition=partition)

    def drain(self, node_id: int = LEADER) -> list[ProducerBatch]:
        """Take one batch of each partition that may send, as yet without a number."""
        node = self.schedule.node(node_id)
        return self.schedule.drain(node, self.now, MAX_REQUEST, self.ordering.may_send)

    def write(self, batch: ProducerBatch) -> RecordBatch:
        """Give a batch its number and return what goes on the wire."""
        self.ordering.assign(batch)
        stamped = batch.builder.stamp(
            batch.producer_id, batch.producer_epoch, batch.sequence, transactional=False
        )
        return RecordBatch.parse(bytes(stamped))

    def take(self, node_id: int = LEADER) -> list[ProducerBatch]:
        """Take and write as much as may be sent now."""
        written = []
        while batches := self.drain(node_id):
            for batch in batches:
                self.write(batch)
            written += batches
        return written

    def take_one(self, node_id: int = LEADER) -> ProducerBatch:
        """Take and write what should be the only batch that may be sent now."""
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
        """Settle a batch by an answer."""
        errors = tuple(BatchIndexAndErrorMessage(*item) for item in (refused or {}).items())
        partition = batch.queue.partition
        answer = PartitionProduceResponse(
            partition, code, offset, record_errors=errors, error_message=message
        )
        self.settlement.answered(batch, answer, self.now)

    def lose(self, batch: ProducerBatch) -> None:
        """Settle a batch whose connection is gone."""
        self.settlement.lost(batch, BrokerConnectionError("the connection was lost"), self.now)

    def deliver(self, count: int = 1, partition: int = 0) -> None:
        """Send records and have them stored, so that the broker knows of the producer."""
        for _ in range(count):
            self.send(b"earlier", partition=partition)
            self.answer(self.take_one(), offset=0)

    def wait(self, seconds: float = 1.0) -> None:
        """Let time pass: a second is longer than any backoff."""
        self.now += seconds

    def expire(self) -> None:
        """Fail what is older than the delivery timeout."""
        while self.settlement.expire(self.now):
            pass

    def figure(self, name: str) -> float:
        """Return one of the producer's metrics."""
        return self.metrics.snapshot(self.now, {})["producer-metrics"][name]

    def assert_nothing_left(self) -> None:
        """See that all memory is free, and nothing waits or is kept."""
        assert self.accumulator.used == 0
        assert not self.accumulator.incomplete
        for partition in range(PARTITIONS):
            queue = self.queue(partition)
            assert (queue.length(), queue.on_wire, queue.unsettled) == (0, 0, [])


def numbers(batches: list[ProducerBatch]) -> list[tuple[int, int]]:
    """Return the epoch and the sequence of each batch."""
    return [(batch.producer_epoch, batch.sequence) for batch in batches]
