"""MockProducer: a producer for unit tests, without a cluster, sockets or time.

It is the real producer with another engine. `send` checks, serializes, chooses a partition and
counts bytes as usual. But every record is a batch of its own, and a batch stays pending in a queue
until the test completes it or fails it.

    send ──▶ serializers ─▶ partitioner ─▶ accumulator ──▶ pending ──▶ complete_next, error_next
                                                                       (auto_complete: at once)
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Generic

from anyio.lowlevel import checkpoint

from aioproducer.core.waiting_records import Rejection
from aioproducer.errors import ProducerError, UnknownPartitionError, plural
from aioproducer.net.engine import Engine
from aioproducer.net.lifecycle import ProducerState
from aioproducer.producer import Producer
from aioproducer.protocol.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from aioproducer.protocol.produce import PartitionProduceResponse
from aioproducer.testing.refusal import Refused
from aioproducer.testing.topology import TopicConfig, Topology, partition_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Unpack

    from typing_extensions import TypeVar

    from aioproducer.batch_result import BatchResult
    from aioproducer.config import ProducerConfig, ProducerOptions
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.cluster_view import PartitionMetadata
    from aioproducer.core.queues import PartitionQueue
    from aioproducer.core.waiting_records import WaitingRecord
    from aioproducer.delivery import Delivery
    from aioproducer.record import Buffer, Header, Headers

    K = TypeVar("K", default=Buffer)
    V = TypeVar("V", default=Buffer)
else:
    from typing import TypeVar

    K = TypeVar("K")
    V = TypeVar("V")

_NODE_ID = 1
_EVERY_RECORD_ALONE = 1
"""The batch limit: a batch is full with its first record, so it never lingers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRecord(Generic[K, V]):
    """The arguments of one `send`, before the serializers and the partitioner."""

    topic: str
    value: V | None = None
    key: K | None = None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: tuple[Header, ...] = ()


class MockProducer(Producer[K, V]):
    """A producer whose records the test completes, like Java's class of this name.

    It is a subclass of `Producer`, so that type checkers, `isinstance` and dependency injection
    accept it. It raises the same errors as the real one, also before start and after stop.
    Serializers, partitioners, `buffer_memory` and `drain` work as in the real one.

    With `auto_complete` a record is acknowledged before `send` returns. Without it, `complete_next`,
    `error_next`, `flush` and `stop` complete records, in the order of the sends. No time passes:
    records never linger, expire or are retried. Two things differ from Java's class: a failed record
    does not take an offset, and `clear` fails pending records.

    `topics` is `{name: partitions}` or a list of names; other topics have `default_partitions`.
    `start`, `send`, `flush` and `partitions_for` raise `start_exception`, `send_exception`,
    `flush_exception` and `partitions_for_exception` if they are set.

    >>> import asyncio
    >>> async def test_order_is_announced() -> None:
    ...     async with MockProducer() as producer:
    ...         await producer.send("orders", b"tea", key=b"42")
    ...     assert producer.history() == [SentRecord(topic="orders", value=b"tea", key=b"42")]
    >>> asyncio.run(test_order_is_announced())
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str] = "mock:9092",
        *,
        auto_complete: bool = True,
        topics: Mapping[str, int] | Iterable[str] | None = None,
        default_partitions: int = 1,
        key_serializer: Callable[[K], bytes | None] | None = None,
        value_serializer: Callable[[V], bytes | None] | None = None,
        **options: Unpack[ProducerOptions],
    ) -> None:
        super().__init__(
            bootstrap_servers, key_serializer=key_serializer, value_serializer=value_serializer, **options
        )
        self.auto_complete = auto_complete
        self._mock.default_partitions = default_partitions
        for name, partitions in partition_counts(topics, default_partitions).items():
            self._mock.create_topic(name, partitions)

    def _set_up(self, config: ProducerConfig) -> None:
        super()._set_up(config)
        self._history: list[SentRecord[K, V]] = []
        self.auto_complete = True
        self.start_exception: Exception | None = None
        self.send_exception: Exception | None = None
        self.flush_exception: Exception | None = None
        self.partitions_for_exception: Exception | None = None

    def _make_engine(self, config: ProducerConfig) -> Engine:
        self._mock = _MockEngine(config, self.client_id, self._on_failure)
        return self._mock

    async def start(self, *, wait: bool = True) -> None:
        """Start at once, or raise `start_exception`."""
        self._mock.start_exception = self.start_exception
        await super().start(wait=wait)

    def send(
        self,
        topic: str,
        value: V | None = None,
        *,
        key: K | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers | None = None,
    ) -> Delivery:
        """Accept a record like the real `send`, add it to the history, and return its `Delivery`."""
        if self.send_exception is not None:
            self._check()
            raise self.send_exception
        delivery = super().send(
            topic, value, key=key, partition=partition, timestamp_ms=timestamp_ms, headers=headers
        )
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        self._history.append(
            SentRecord(
                topic=topic,
                value=_kept(value),
                key=_kept(key),
                partition=partition,
                timestamp_ms=timestamp_ms,
                headers=tuple(pairs),
            )
        )
        # The record has a batch now, or waits for memory: move batches to the pending queue.
        self._mock.take_what_is_sent()
        if self.auto_complete:
            self._mock.settle_all(None)
        return delivery

    async def flush(self, timeout: float | None = None) -> None:
        """Complete all pending records, or raise `flush_exception`."""
        if self.flush_exception is not None:
            self._check()
            raise self.flush_exception
        await super().flush(timeout)

    async def partitions_for(self, topic: str) -> tuple[PartitionMetadata, ...]:
        """Return the topic's partitions, or raise `partitions_for_exception`."""
        if self.partitions_for_exception is not None:
            self._check()
            raise self.partitions_for_exception
        return await super().partitions_for(topic)

    def history(self) -> list[SentRecord[K, V]]:
        """Return the records sent since the last `clear`, with any result, in the order of the sends."""
        return list(self._history)

    def clear(self) -> None:
        """Empty the history and fail pending records; offsets continue."""
        self._history.clear()
        self._mock.settle_all(ProducerError("the mock producer was cleared before the record was completed"))

    def complete_next(self) -> bool:
        """Acknowledge the oldest pending record; return whether there was one."""
        return self._mock.settle_next(None)

    def error_next(self, error: ProducerError) -> bool:
        """Fail the oldest pending record with `error`; return whether there was one.

        Raises TypeError unless `error` is a ProducerError.
        """
        if not isinstance(error, ProducerError):
            msg = f"a record fails with a ProducerError, not with {error!r}"
            raise TypeError(msg)
        return self._mock.settle_next(error)

    def flushed(self) -> bool:
        """Return whether no record is pending."""
        return not self._mock.accumulator.outstanding()

    def closed(self) -> bool:
        """Return whether the producer was stopped, or could not be started."""
        return self._lifecycle.state is ProducerState.STOPPED


class _MockEngine(Engine):
    """An engine without a cluster, tasks and timers."""

    def __init__(self, config: ProducerConfig, client_id: str, on_failure: Callable[[], object]) -> None:
        super().__init__(config, client_id, on_failure)
        self.start_exception: Exception | None = None
        self.default_partitions = 1
        self._topology = Topology(_NODE_ID, "aioproducer-mock")
        self._host, self._port = config.bootstrap_servers[0]
        self._pending: deque[ProducerBatch] = deque()
        self._offsets: Counter[tuple[str, int]] = Counter()

    async def start(self, *, wait: bool = True) -> None:  # noqa: ARG002 - nothing to wait for
        """Join the running loop, or raise `start_exception`."""
        if self.start_exception is not None:
            raise self.start_exception
        self._join_loop()

    @property
    def is_found(self) -> bool:
        """Whether the cluster was found: always true."""
        return True

    async def flush(self, results: list[BatchResult], timeout: float | None) -> None:
        """Complete all pending records, unless the caller is cancelled by a timeout of 0."""
        await checkpoint()
        self.settle_all(None)
        await super().flush(results, timeout)

    def topic_wanted(self, topic: str) -> None:
        """Make the topic known at once, or reject its records."""
        self._introduce(topic)

    def deadline_added(self) -> None:
        """Let nothing expire."""

    async def wait_for_topic(self, topic: str) -> None:
        """Return after the topic is known, or known to be illegal."""
        self._introduce(topic)

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic; raises Refused."""
        self._topology.create_topic(name, partitions, 1, TopicConfig())

    def take_what_is_sent(self) -> None:
        """Move the records that got memory to the end of the pending queue."""
        accumulator = self.accumulator
        accumulator.serve(len(accumulator.buffer.records))
        node = accumulator.schedule.node(_NODE_ID)
        # A drain takes one batch of each partition. Repeat it, then restore the order of the sends.
        taken: list[ProducerBatch] = []
        while batches := accumulator.schedule.drain(node, self.clock(), sys.maxsize, _always):
            taken += batches
        self._pending.extend(sorted(taken, key=attrgetter("serial")))

    def settle_all(self, error: ProducerError | None) -> None:
        """Complete or fail all pending records, and the waiting ones that then get memory."""
        while self.settle_next(error):
            pass

    def settle_next(self, error: ProducerError | None) -> bool:
        """Complete the oldest pending record, or fail it; return whether there was one."""
        if not self._pending:
            return False
        batch = self._pending.popleft()
        now = self.clock()
        if error is not None:
            self._settlement.unsent(batch, error, now)
        elif self.config.acks == 0:
            self._settlement.assume_stored(batch, now)
        else:
            place = (batch.queue.topic, batch.queue.partition)
            answer = PartitionProduceResponse(batch.queue.partition, 0, self._offsets[place])
            self._offsets[place] += batch.count
            self._settlement.settle(batch, answer, now)
        self.take_what_is_sent()
        return True

    def _introduce(self, topic: str) -> None:
        """Make a topic known, and fail records for partitions that it does not have."""
        now, accumulator = self.clock(), self.accumulator
        self.metadata.want(topic, now)
        change = self.metadata.update(self._answer(topic), (topic,), now)
        self._settlement.topic_errors(dict(change.errors))
        accumulator.buffer.fail_rejected()
        for name, partitions in change.sizes.items():
            accumulator.set_partitions(name, partitions, None)
            # Each record is its own batch, so that the test can fail one and complete the next.
            accumulator.topics[name].set_batch_limit(_EVERY_RECORD_ALONE)
        for leader in change.leaders:
            accumulator.set_leader(*leader)
        if topic in accumulator.topics:
            # Records for partition 5 of 3 still wait after this: reject them, as no time passes here.
            accumulator.admit([topic])
            accumulator.buffer.reject(topic, Rejection(self._no_such_partition))
            accumulator.buffer.fail_rejected()

    def _answer(self, topic: str) -> MetadataResponse:
        try:
            if topic not in self._topology.topics:
                self.create_topic(topic, self.default_partitions)
        except Refused as refused:
            described = MetadataResponseTopic(refused.code, topic)
        else:
            count = len(self._topology.topic(topic).partitions)
            partitions = [MetadataResponsePartition(0, index, _NODE_ID, 0) for index in range(count)]
            described = MetadataResponseTopic(0, topic, partitions=tuple(partitions))
        broker = MetadataResponseBroker(_NODE_ID, self._host, self._port)
        return MetadataResponse(brokers=(broker,), topics=(described,))

    def _no_such_partition(self, record: WaitingRecord) -> ProducerError:
        count = self.accumulator.topics[record.topic].count
        words = f"topic {record.topic!r} has {plural(count, 'partition')} and no partition {record.partition}"
        return UnknownPartitionError(words, topic=record.topic, partition=record.partition, partitions=count)


def _always(_queue: PartitionQueue, _batch: ProducerBatch) -> bool:
    return True


def _kept(datum: K | None) -> K | None:
    # The caller may reuse a buffer, and the history must not change with it.
    return bytes(datum) if isinstance(datum, (bytearray, memoryview)) else datum  # type: ignore[return-value] # still a Buffer
