# cython: annotation_typing=False, boundscheck=False, wraparound=False, cdivision=True
"""The accumulator: puts records into batches.

`append` encodes a record into the open batch of its partition and returns at once. A record without
room or without a known topic waits in the buffer. The schedule says which batch goes when.

    append ─┬─▶ open batch ──▶ schedule
            └─▶ buffer ──room, topic known──▶ open batch

Every cost is constant per record or per batch; none grows with topics or partitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.batch_result import BatchResult
from aioproducer.core.batch import NEVER, ProducerBatch
from aioproducer.core.buffer import RecordBuffer
from aioproducer.core.checks import as_bytes, checked_partition, checked_timestamp, checked_topic, too_large
from aioproducer.core.events import NO_LISTENERS
from aioproducer.core.failures import unplaceable
from aioproducer.core.incomplete import IncompleteBatches
from aioproducer.core.partitioner import STICKY, RecordPartitioner, StickyPartitioner
from aioproducer.core.queues import NO_LEADER, PartitionQueue, TopicQueue
from aioproducer.core.schedule import Schedule
from aioproducer.core.waiting_records import WaitingRecord
from aioproducer.delivery import Delivery, index_of, move_delivery, new_delivery, result_of
from aioproducer.errors import PartitionerError
from aioproducer.records.batch import HEADER_SIZE, MAX_RECORD_OVERHEAD, RecordBatchBuilder, encode_headers
from aioproducer.records.murmur2 import partition_of_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aioproducer.core.events import Listener
    from aioproducer.core.shell import Shell
    from aioproducer.record import Buffer, Headers

OVERHEAD = HEADER_SIZE + MAX_RECORD_OVERHEAD
"""How many bytes a record in a batch of its own takes at most, beside its content."""

# The same numbers once more, as C numbers in the compiled build (see the .pxd).
_overhead = OVERHEAD
_header_size = HEADER_SIZE
_sticky = STICKY

MAX_RECORDS_A_BATCH = 1 << 26
"""The distance of two batches' serial numbers: the pieces of a split batch take those between."""


class Accumulator:
    """All batches of a producer.

    `serial` is that of the last batch. `has_deadline` tells that the shell knows of a batch or record
    that can expire.
    """

    __slots__ = (
        "batch_size",
        "buffer",
        "by_murmur2",
        "has_deadline",
        "incomplete",
        "limiting_option",
        "max_record",
        "partitioner",
        "schedule",
        "serial",
        "shell",
        "sticky_options",
        "topics",
        "wall_clock_ns",
    )

    def __init__(
        self,
        shell: Shell,
        *,
        batch_size: int,
        linger: float,
        buffer_memory: int,
        max_block: float,
        max_request_size: int,
        partitioner: RecordPartitioner,
        adaptive: bool = True,
        availability_timeout: float = 0.0,
        delivery_timeout: float = NEVER,
        events: Listener = NO_LISTENERS,
    ) -> None:
        self.shell = shell
        self.schedule = Schedule(shell, linger)
        self.buffer = RecordBuffer(
            shell,
            self.schedule,
            memory=buffer_memory,
            max_block=max_block,
            delivery_timeout=delivery_timeout,
            events=events,
        )
        self.batch_size = batch_size
        self.max_record = min(max_request_size, buffer_memory)
        self.limiting_option = "max_request_size" if max_request_size <= buffer_memory else "buffer_memory"
        self.partitioner = partitioner
        self.by_murmur2 = partitioner.by_murmur2
        self.wall_clock_ns = shell.wall_clock_ns
        self.sticky_options = (adaptive, availability_timeout)
        self.topics: dict[str, TopicQueue] = {}
        self.incomplete = IncompleteBatches()
        self.serial = 0
        self.has_deadline = False

    # The path of one record.

    def append(  # noqa: C901, PLR0912 - the one hot path, in one call
        self,
        topic: str,
        value: Buffer | None,
        key: Buffer | None,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Headers | None,
    ) -> Delivery:
        """Put one record into a batch, or let it wait, and return its delivery.

        Raises TypeError and ValueError for wrong arguments, RecordTooLargeError, PartitionerError, and
        BufferExhaustedError when no more records may wait.
        """
        if value is not None and type(value) is not bytes:
            value = as_bytes("value", value)
        if key is not None and type(key) is not bytes:
            key = as_bytes("key", key)
        section = None if headers is None else encode_headers(headers)
        if timestamp_ms is None:
            nanoseconds = self.wall_clock_ns()
            timestamp = nanoseconds // 1_000_000
        else:
            timestamp = checked_timestamp(timestamp_ms)
        size = _overhead
        if value is not None:
            size += len(value)
        if key is not None:
            size += len(key)
        if section is not None:
            size += len(section)
        if size > self.max_record:
            raise too_large(topic, size, self.max_record, self.limiting_option)
        buffer = self.buffer
        if buffer.waiting == 0 and buffer.used + size <= buffer.memory:
            topic_queue = self.topics.get(topic)
            if topic_queue is not None:
                index = _sticky
                if partition is not None:
                    index = checked_partition(partition)
                elif not self.by_murmur2:
                    index = self.partitioner.choose(topic_queue.sticky, key)
                    if buffer.waiting > 0 or buffer.used + size > buffer.memory:
                        # The user's partitioner has sent a record itself.
                        return self._wait(topic, value, key, partition, timestamp, section, size)
                elif key is not None:
                    index = partition_of_key(key, topic_queue.count)
                if index < topic_queue.count:
                    queue = self._queue_for(topic_queue, index, size)
                    return self._put(topic_queue, queue, timestamp, key, value, section)
        return self._wait(topic, value, key, partition, timestamp, section, size)

    def _queue_for(self, topic_queue: TopicQueue, index: int, size: int) -> PartitionQueue:
        if index != _sticky:
            return topic_queue.partitions[index]
        sticky = topic_queue.sticky
        if sticky.current != _sticky:
            queue = topic_queue.partitions[sticky.current]
            batch = queue.open
            if batch is not None and batch.builder.raw_size + size - _header_size <= batch.builder.limit:
                sticky.produced += size - _header_size
                return queue
        left = sticky.current
        index = sticky.place(size - _header_size, self.shell.clock())
        sticky.produced += size - _header_size
        if left not in (_sticky, index):
            # The earlier sticky partition's batch takes no more records, so it need not linger.
            queue = topic_queue.partitions[left]
            if queue.open is not None:
                self._close(queue)
        return topic_queue.partitions[index]

    def _put(
        self,
        topic_queue: TopicQueue,
        queue: PartitionQueue,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        section: bytearray | None,
    ) -> Delivery:
        while True:
            batch = queue.open
            if batch is None:
                # Look again after that: making a batch may run the garbage collector, and a
                # __del__ may send a record.
                self._open(topic_queue, queue, timestamp)
                continue
            taken = batch.builder.append(timestamp, key, value, section)
            if taken >= 0:
                break
            self._close(queue)
        self.buffer.charge(taken)
        if batch.builder.raw_size >= batch.builder.limit:
            self._close(queue)
        return new_delivery(batch.result, batch.builder.count - 1, timestamp)

    def _open(self, topic_queue: TopicQueue, queue: PartitionQueue, timestamp: int) -> None:
        self.shell.check()
        now = self.shell.clock()
        builder = RecordBatchBuilder(topic_queue.batch_limit, timestamp)
        result = BatchResult(queue.topic, queue.partition, self.shell.loop)
        self.serial += MAX_RECORDS_A_BATCH
        batch = ProducerBatch(queue, builder, result, now, self.serial)
        if queue.open is not None:
            return  # a __del__ was faster
        queue.open_batch(batch)
        topic_queue.used(now)
        self.buffer.charge(builder.raw_size)
        self.incomplete.add(batch)
        self._watch()
        self.schedule.opened(queue)

    def _close(self, queue: PartitionQueue) -> None:
        queue.close_open()
        self.schedule.closed(queue)

    # Waiting records.

    def _wait(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int | None,
        timestamp: int,
        section: bytearray | None,
        size: int,
    ) -> Delivery:
        topic = checked_topic(topic)
        index = STICKY if partition is None else checked_partition(partition)
        self.buffer.check_limit(size)
        self.shell.check()
        result = BatchResult(topic, index, self.shell.loop)
        delivery = new_delivery(result, 0, timestamp)
        deadline = self.shell.clock() + self.buffer.max_wait
        record = WaitingRecord(delivery, topic, index, timestamp, key, value, section, size, deadline)
        topic_queue = self.topics.get(topic)
        if topic_queue is None or index >= topic_queue.count:
            self.buffer.add_for_topic(record)
            self.shell.topic_wanted(topic)
        else:
            self.buffer.add_for_room(record)
        self._watch()
        return delivery

    def _watch(self) -> None:
        if not self.has_deadline:
            self.has_deadline = True
            self.shell.deadline_added()

    def serve(self, limit: int) -> bool:
        """Place up to `limit` records that wait for room; return whether more could be placed."""
        more = self._serve(limit)
        self.buffer.check_room_waiters()
        return more

    def _serve(self, limit: int) -> bool:
        buffer = self.buffer
        now = self.shell.clock()
        for _ in range(limit):
            record = buffer.records.first_for_room()
            if record is None:
                return False
            topic_queue = self.topics.get(record.topic)
            if topic_queue is None or record.partition >= topic_queue.count:
                buffer.add_for_topic(buffer.pop())
                self.shell.topic_wanted(record.topic)
                continue
            if buffer.used + record.size > buffer.memory:
                return False
            # Remove it after it was placed: if that fails, the record is still known.
            self._place(topic_queue, record)
            buffer.placed(now)
        return True

    def _place(self, topic_queue: TopicQueue, record: WaitingRecord) -> None:
        waiting = result_of(record.delivery)
        try:
            index = record.partition
            if index == STICKY and (record.key is not None or not self.by_murmur2):
                index = self.partitioner.choose(topic_queue.sticky, record.key)
            queue = self._queue_for(topic_queue, index, record.size)
            placed = self._put(topic_queue, queue, record.timestamp, record.key, record.value, record.section)
        except Exception as error:  # noqa: BLE001 - each error is about this record
            waiting.fail(1, unplaceable(record, error))
            return
        except BaseException as error:
            # KeyboardInterrupt in the user's partitioner goes through, but must not come again.
            msg = f"the partitioner raised {type(error).__name__} for topic {record.topic!r}"
            waiting.fail(1, PartitionerError(msg, topic=record.topic))
            self.buffer.pop()
            raise
        # The record waits since `send`, which was max_wait before its deadline.
        self._age(queue, result_of(placed), record.deadline - self.buffer.max_wait)
        move_delivery(record.delivery, result_of(placed), index_of(placed))

    def _age(self, queue: PartitionQueue, result: BatchResult, sent_at: float) -> None:
        """Let the batch with this result expire by the `send` of a record in it."""
        batch = queue.open
        if (batch is None or batch.result is not result) and queue.closed:
            # Compiled code has no negative indexes here.
            batch = queue.closed[len(queue.closed) - 1]
        if batch is not None and batch.result is result and batch.age(sent_at):
            self.incomplete.age(batch)

    # The end of a batch.

    def release(self, batch: ProducerBatch) -> None:
        """Free the memory of a batch that is resolved."""
        self.incomplete.discard(batch)
        self.buffer.release(batch.release())

    def replace(self, batch: ProducerBatch, pieces: Sequence[ProducerBatch]) -> None:
        """Put the pieces of a split batch into its place."""
        self.buffer.charge(-batch.release())
        self.incomplete.replace(batch, pieces)
        for piece in pieces:
            self.buffer.charge(piece.charged)
            batch.queue.put_back(piece)
        self.schedule.enlist(batch.queue)

    # Topics and leaders.

    def set_partitions(self, topic: str, count: int, topic_id: object) -> None:
        """Set how many partitions a topic has."""
        topic_queue = self.topics.get(topic)
        if topic_queue is None:
            topic_queue = self.topics[topic] = self._new_topic(topic)
        leaderless = self.schedule.node(NO_LEADER)
        for queue in topic_queue.resize(count, topic_id, leaderless):
            self.schedule.move(queue, NO_LEADER, queue.leader_epoch)

    def _new_topic(self, topic: str) -> TopicQueue:
        adaptive, availability_timeout = self.sticky_options
        sticky = StickyPartitioner(
            topic,
            [],
            self.batch_size,
            self.shell.random,
            adaptive=adaptive,
            availability_timeout=availability_timeout,
        )
        return TopicQueue(topic, sticky, self.batch_size, self.shell.clock())

    def admit(self, topics: Sequence[str]) -> None:
        """Let records of these topics wait for room, if their partition is known."""
        self.buffer.admit({topic: self.topics[topic].count for topic in topics})

    def set_leader(self, topic: str, partition: int, node_id: int, leader_epoch: int) -> None:
        """Set which node leads a partition."""
        queue = self.topics[topic].partitions[partition]
        if queue.node.node_id != node_id or queue.leader_epoch != leader_epoch:
            self.schedule.move(queue, node_id, leader_epoch)
            sticky = self.topics[topic].sticky
            if sticky.current == partition and node_id == NO_LEADER:
                sticky.forget()

    def busy_topics(self) -> set[str]:
        """Return the topics with unresolved batches or waiting records."""
        busy = {batch.queue.topic for batch in self.incomplete}
        busy |= self.buffer.records.busy_topics()
        for topic, topic_queue in self.topics.items():
            if topic not in busy and topic_queue.has_in_flight():
                busy.add(topic)
        return busy

    def forget_topic(self, topic: str) -> None:
        """Forget a topic that is not busy."""
        self.topics.pop(topic, None)

    def next_deadline(self, delivery_timeout: float) -> float:
        """Return when the next batch or waiting record expires.

        NEVER if there is none: then the shell is told when there is one.
        """
        deadline = min(self.buffer.records.next_deadline(), self.incomplete.oldest_send() + delivery_timeout)
        if deadline == NEVER:
            self.has_deadline = False
        return deadline

    def outstanding(self) -> list[BatchResult]:
        """Return the results of all accepted records that are not done."""
        results = [batch.result for batch in self.incomplete]
        results += [result_of(record.delivery) for record in self.buffer.records.records()]
        return results
