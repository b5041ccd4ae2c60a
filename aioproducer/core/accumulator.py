# cython: annotation_typing=False, boundscheck=False, wraparound=False, cdivision=True
"""Where records become batches.

`append` encodes a record into the open batch of its partition and answers at once. A record
that cannot be placed yet stands in line: for room in `buffer_memory`, or for its topic to
become known. From there on the schedule says which batch goes when.

    append ─┬─▶ open batch ──▶ schedule
            └─▶ line ──room, or topic known──▶ open batch

Every cost is constant a record, or a batch; none grows with topics or partitions.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from aioproducer.core.aged import AgedBatches
from aioproducer.core.checks import as_bytes, checked_partition, checked_timestamp, checked_topic
from aioproducer.core.events import NO_LISTENERS
from aioproducer.core.line import Line, WaitingRecord
from aioproducer.core.partitioner import STICKY, Partitioner, StickyPartitioner, TopicQueue
from aioproducer.core.producer_batch import NEVER, NO_LEADER, PartitionQueue, ProducerBatch
from aioproducer.core.schedule import Schedule
from aioproducer.core.waits import WaitTimes
from aioproducer.delivery import BatchResult, Delivery, index_of, move_delivery, new_delivery, result_of
from aioproducer.errors import BufferExhaustedError, PartitionerError, ProducerError, RecordTooLargeError
from aioproducer.records.batch import HEADER_SIZE, MAX_RECORD_OVERHEAD, RecordBatchBuilder, encode_headers
from aioproducer.records.murmur2 import partition_of_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioproducer.core.events import Listener
    from aioproducer.core.partitioner import Random
    from aioproducer.record import Buffer, Headers

    Clock: TypeAlias = Callable[[], float]

OVERHEAD = HEADER_SIZE + MAX_RECORD_OVERHEAD
"""What a record in a batch of its own takes at most, in bytes, beside its content."""

# The same numbers once more, as C numbers in the compiled build (see the .pxd).
_overhead = OVERHEAD
_header_size = HEADER_SIZE
_sticky = STICKY

MAX_RECORDS_A_BATCH = 1 << 26
"""The distance of two batches' serial numbers, which leaves room for those of their pieces."""


class Accumulator:
    """All batches of a producer.

    The shell is told what to do through two calls: `want_topic(topic)` when a record waits for a
    topic or for a partition that is not known, and `watch()` when there is something that can
    expire. `guard()` is asked before a batch is opened, and may raise.
    """

    __slots__ = (
        "aged",
        "batch_size",
        "buffer_memory",
        "by_murmur2",
        "clock",
        "guard",
        "incomplete",
        "line",
        "loop",
        "max_block",
        "max_record",
        "max_request_size",
        "max_wait",
        "partitioner",
        "random",
        "schedule",
        "serial",
        "sticky_options",
        "topics",
        "used",
        "waiting",
        "waits",
        "wall_clock_ns",
        "want_topic",
        "watch",
        "watched",
    )

    def __init__(
        self,
        *,
        batch_size: int,
        linger: float,
        buffer_memory: int,
        max_block: float,
        max_request_size: int,
        partitioner: Partitioner,
        clock: Clock,
        wall_clock_ns: Callable[[], int],
        random: Random,
        adaptive: bool = True,
        availability_timeout: float = 0.0,
        delivery_timeout: float = NEVER,
        events: Listener = NO_LISTENERS,
    ) -> None:
        self.batch_size = batch_size
        self.buffer_memory = buffer_memory
        self.max_block = max_block
        self.max_wait = min(max_block, delivery_timeout)
        self.max_request_size = max_request_size
        self.max_record = min(max_request_size, buffer_memory)
        self.partitioner = partitioner
        self.by_murmur2 = partitioner.by_murmur2
        self.clock = clock
        self.wall_clock_ns = wall_clock_ns
        self.random = random
        self.sticky_options = (adaptive, availability_timeout)
        self.loop: object = None
        self.topics: dict[str, TopicQueue] = {}
        self.incomplete: OrderedDict[ProducerBatch, None] = OrderedDict()
        self.aged = AgedBatches()
        self.line = Line()
        self.schedule = Schedule(linger)
        self.waiting = 0
        self.waits = WaitTimes(events, self.max_wait)
        self.used = 0
        self.serial = 0
        self.watched = False
        self.guard: Callable[[], object] = _nobody
        self.want_topic: Callable[[str], object] = _nobody
        self.watch: Callable[[], object] = _nobody

    # The way of one record.

    def append(  # noqa: C901, PLR0912 - the one hot path, in one call
        self,
        topic: str,
        value: Buffer | None,
        key: Buffer | None,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Headers | None,
    ) -> Delivery:
        """Put one record into a batch, or in line, and return its delivery.

        Raises TypeError and ValueError for what no record can be made of, RecordTooLargeError,
        PartitionerError, and BufferExhaustedError when the line is full too.
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
            raise self._too_large(topic, size)
        if self.waiting == 0 and self.used + size <= self.buffer_memory:
            topic_queue = self.topics.get(topic)
            if topic_queue is not None:
                index = _sticky
                if partition is not None:
                    index = checked_partition(partition)
                elif not self.by_murmur2:
                    index = self.partitioner.choose(topic_queue.sticky, key)
                    if self.waiting > 0 or self.used + size > self.buffer_memory:
                        # The user's partitioner has itself sent something.
                        return self._stand_in_line(topic, value, key, partition, timestamp, section, size)
                elif key is not None:
                    index = partition_of_key(key, topic_queue.count)
                if index < topic_queue.count:
                    queue = self._queue_for(topic_queue, index, size)
                    return self._put(topic_queue, queue, timestamp, key, value, section)
        return self._stand_in_line(topic, value, key, partition, timestamp, section, size)

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
        index = sticky.place(size - _header_size, self.clock())
        sticky.produced += size - _header_size
        if left not in (_sticky, index):
            # Nothing more fits into what is left behind, so it need not linger.
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
                # What is open is looked at again: the garbage collector may come while a batch is
                # made, and some object's __del__ may send.
                self._open(topic_queue, queue, timestamp)
                continue
            taken = batch.builder.append(timestamp, key, value, section)
            if taken >= 0:
                break
            self._close(queue)
        batch.charged += taken
        self.used += taken
        if batch.builder.raw_size >= batch.builder.limit:
            self._close(queue)
        return new_delivery(batch.result, batch.builder.count - 1, timestamp)

    def _open(self, topic_queue: TopicQueue, queue: PartitionQueue, timestamp: int) -> None:
        self.guard()
        now = self.clock()
        builder = RecordBatchBuilder(topic_queue.batch_limit, timestamp)
        result = BatchResult(queue.topic, queue.partition, self.loop)
        self.serial += MAX_RECORDS_A_BATCH
        batch = ProducerBatch(queue, builder, result, now, self.serial)
        if queue.open is not None:
            return  # somebody's __del__ was faster
        queue.open = batch
        topic_queue.last_used = now
        self.used += batch.charged
        self.incomplete[batch] = None
        if not self.watched:
            self.watched = True
            self.watch()
        self.schedule.opened(queue)

    def _close(self, queue: PartitionQueue) -> None:
        batch = queue.open
        assert batch is not None  # noqa: S101 - callers have looked
        queue.open = None
        queue.closed.append(batch)
        self.schedule.closed(queue)

    # What waits in line.

    def _stand_in_line(
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
        if self.line.bytes + size > self.buffer_memory:
            msg = (
                f"the buffer is full: {self.used} of {self.buffer_memory} bytes (buffer_memory) are in "
                f"batches and {self.line.bytes} bytes wait in line; await drain() between sends"
            )
            raise BufferExhaustedError(msg)
        self.guard()
        result = BatchResult(topic, index, self.loop)
        delivery = new_delivery(result, 0, timestamp)
        deadline = self.clock() + self.max_wait
        record = WaitingRecord(delivery, topic, index, timestamp, key, value, section, size, deadline)
        topic_queue = self.topics.get(topic)
        if topic_queue is None or index >= topic_queue.count:
            self.line.wait_for_topic(record)
            self.want_topic(topic)
        else:
            self.line.wait_for_room(record)
            self._joined_line(1)
        if not self.watched:
            self.watched = True
            self.watch()
        return delivery

    def serve_line(self, limit: int) -> bool:
        """Place up to `limit` records that wait for room; return whether more could be placed."""
        line = self.line
        now = self.clock()
        for _ in range(limit):
            record = line.first_for_room()
            if record is None:
                return False
            topic_queue = self.topics.get(record.topic)
            if topic_queue is None or record.partition >= topic_queue.count:
                line.wait_for_topic(line.pop_for_room())
                self.left_line(1)
                self.want_topic(record.topic)
                continue
            if self.used + record.size > self.buffer_memory:
                return False
            # Placed first and taken out then: should placing fail, somebody still knows of the record.
            self._place(topic_queue, record)
            line.pop_for_room()
            self.left_line(1)
            self.waits.left_room((record,), now)
        return True

    def left_line(self, count: int) -> None:
        """Take note that so many records wait for room no more."""
        self.waiting -= count
        if count and not self.waiting:
            self.schedule.urgent -= 1

    def _joined_line(self, count: int) -> None:
        self.waiting += count
        if count and self.waiting == count:
            # Nothing may linger that somebody waits for to be gone.
            self.schedule.urgent += 1
            self.schedule.wake_all()

    def _place(self, topic_queue: TopicQueue, record: WaitingRecord) -> None:
        waiting = result_of(record.delivery)
        try:
            index = record.partition
            if index == STICKY and (record.key is not None or not self.by_murmur2):
                index = self.partitioner.choose(topic_queue.sticky, record.key)
            queue = self._queue_for(topic_queue, index, record.size)
            placed = self._put(topic_queue, queue, record.timestamp, record.key, record.value, record.section)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is about this record
            waiting.fail(1, _unplaceable(record, error))
            return
        except BaseException as error:
            # KeyboardInterrupt in the user's partitioner: it goes through, but only once.
            msg = f"the partitioner raised {type(error).__name__} for topic {record.topic!r}"
            waiting.fail(1, PartitionerError(msg, topic=record.topic))
            self.line.pop_for_room()
            self.left_line(1)
            raise
        # The record waited since `send`, which was max_wait before its deadline.
        self._age(queue, result_of(placed), record.deadline - self.max_wait)
        move_delivery(record.delivery, result_of(placed), index_of(placed))

    def _age(self, queue: PartitionQueue, result: BatchResult, sent_at: float) -> None:
        """Let the batch with this result expire by the `send` of a record that was put into it."""
        batch = queue.open
        if (batch is None or batch.result is not result) and queue.closed:
            # Compiled code has no negative indexes here.
            batch = queue.closed[len(queue.closed) - 1]
        if batch is not None and batch.result is result and sent_at < batch.oldest_send:
            batch.oldest_send = sent_at
            self.aged.add(batch)

    def _too_large(self, topic: str, size: int) -> RecordTooLargeError:
        option = "max_request_size" if self.max_request_size <= self.buffer_memory else "buffer_memory"
        msg = (
            f"a record of {size} bytes for topic {topic!r} is larger than the {self.max_record} bytes "
            f"that {option} allows"
        )
        return RecordTooLargeError(msg, topic=topic, size=size, limit=self.max_record)

    # What becomes of a batch.

    def release(self, batch: ProducerBatch) -> None:
        """Free what a batch holds of the buffer: its bytes are needed no more."""
        self.used -= batch.charged
        batch.charged = 0
        self.incomplete.pop(batch, None)
        if batch.oldest_send < batch.created:
            self.aged.discard(batch)

    def replace(self, batch: ProducerBatch, pieces: Sequence[ProducerBatch]) -> None:
        """Put the pieces that a batch was split into where it would have gone; they are as old as it is."""
        self.used -= batch.charged
        batch.charged = 0
        del self.incomplete[batch]
        self.aged.discard(batch)
        for piece in pieces:
            self.used += piece.charged
            self.incomplete[piece] = None
            if piece.oldest_send < piece.created:
                self.aged.add(piece)
            batch.queue.put_back(piece)
        in_order = sorted(self.incomplete, key=_created)
        self.incomplete = OrderedDict.fromkeys(in_order)
        self.schedule.enlist(batch.queue)

    # Topics and leaders.

    def set_partitions(self, topic: str, count: int, topic_id: object) -> None:
        """Take note of how many partitions a topic has; who waits for them gets in line for room."""
        topic_queue = self.topics.get(topic)
        if topic_queue is None:
            adaptive, availability_timeout = self.sticky_options
            sticky = StickyPartitioner(
                topic,
                [],
                self.batch_size,
                self.random,
                adaptive=adaptive,
                availability_timeout=availability_timeout,
            )
            topic_queue = TopicQueue(topic, sticky.partitions, sticky, self.batch_size)
            topic_queue.last_used = self.clock()
            self.topics[topic] = topic_queue
        topic_queue.topic_id = topic_id
        partitions = topic_queue.partitions
        leaderless = self.schedule.node(NO_LEADER)
        while len(partitions) < count:
            index = len(partitions)
            queue = topic_queue.retired.pop(index, None)
            partitions.append(PartitionQueue(topic, index, leaderless) if queue is None else queue)
        while len(partitions) > count:
            queue = partitions.pop()
            topic_queue.retired[queue.partition] = queue
            self.schedule.move(queue, NO_LEADER, queue.leader_epoch)
        if topic_queue.count != count:
            topic_queue.count = count
            topic_queue.sticky.forget()

    def admit(self, topics: Sequence[str]) -> None:
        """Put the records that wait for topics, as far as these have their partition, in line for room."""
        self.waits.admitted(topics, self.clock(), is_room_empty=not self.waiting)
        self._joined_line(self.line.admit({topic: self.topics[topic].count for topic in topics}))

    def set_leader(self, topic: str, partition: int, node_id: int, leader_epoch: int) -> None:
        """Take note of who leads a partition."""
        queue = self.topics[topic].partitions[partition]
        if queue.node.node_id != node_id or queue.leader_epoch != leader_epoch:
            self.schedule.move(queue, node_id, leader_epoch)
            sticky = self.topics[topic].sticky
            if sticky.current == partition and node_id == NO_LEADER:
                sticky.forget()

    def busy_topics(self) -> set[str]:
        """Return the topics of which something is not done yet."""
        busy = {batch.queue.topic for batch in self.incomplete}
        busy |= self.line.busy_topics()
        for topic, topic_queue in self.topics.items():
            if topic not in busy and any(
                queue.on_wire or queue.unsettled for queue in topic_queue.partitions
            ):
                busy.add(topic)
        return busy

    def forget_topic(self, topic: str) -> None:
        """Forget a topic that is not busy."""
        self.topics.pop(topic, None)

    def next_deadline(self, delivery_timeout: float) -> float:
        """Return when the next batch or waiting record expires, NEVER if there is none."""
        oldest_send = self.aged.oldest_send()
        for batch in self.incomplete:
            oldest_send = min(oldest_send, batch.created)
            break
        return min(self.line.next_deadline(), oldest_send + delivery_timeout)

    def expired(self, sent_until: float, limit: int) -> list[ProducerBatch]:
        """Return up to `limit` batches whose oldest record was sent by then; they are to be failed."""
        expired: dict[ProducerBatch, None] = {}
        while len(expired) < limit and self.aged.oldest_send() <= sent_until:
            batch = self.aged.pop()
            # What is on the wire may have failed already, and waits for its answer.
            if batch in self.incomplete:
                expired[batch] = None
        for batch in islice(self.incomplete, limit):
            if batch.created > sent_until or len(expired) == limit:
                break
            expired[batch] = None
        return sorted(expired, key=_serial)

    def outstanding(self) -> list[BatchResult]:
        """Return the results of all that is accepted and not done."""
        results = [batch.result for batch in self.incomplete]
        results += [result_of(record.delivery) for record in self.line.records()]
        return results


def _unplaceable(record: WaitingRecord, error: Exception) -> ProducerError:
    if isinstance(error, ProducerError):
        return error
    failure = ProducerError(f"a record for topic {record.topic!r} cannot be put into a batch: {error!r}")
    failure.__cause__ = error
    return failure


def _created(batch: ProducerBatch) -> float:
    return batch.created


def _serial(batch: ProducerBatch) -> int:
    return batch.serial


def _nobody(*_arguments: object) -> None:
    """Stand in for the shell until there is one."""
