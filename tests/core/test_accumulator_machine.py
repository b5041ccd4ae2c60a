"""The accumulator as a state machine: whatever happens, in whatever order, some things always hold.

The model is the list of what was sent. Every record that was accepted is at one place, once:
in line, in a batch, or done; each partition has its records in the order of `send`; memory is
what the batches take; and every node is looked at no later than it has something to send.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aioproducer.core.accumulator import OVERHEAD
from aioproducer.core.batch import NEVER
from aioproducer.core.queues import NO_LEADER
from aioproducer.core.split import split_batch
from aioproducer.delivery import index_of, result_of
from aioproducer.errors import BufferExhaustedError, ProducerError, RecordTooLargeError
from aioproducer.records.batch import HEADER_SIZE
from tests.core.harness import AMPLE, MAX_BLOCK, Harness, values_of

if TYPE_CHECKING:
    from aioproducer.batch_result import BatchResult
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import NodeQueue, PartitionQueue
    from aioproducer.delivery import Delivery

TOPICS = ["apples", "bananas"]
NODES = [1, 2]
MOST_PARTITIONS = 3
BUFFER_MEMORY = 3000
MAX_REQUEST_SIZE = 1000

topics = st.sampled_from(TOPICS)
picks = st.integers(0, 1000)
keys = st.sampled_from([b"", b"one", b"two", b"three"])


class AccumulatorMachine(RuleBasedStateMachine):
    """Drives an accumulator as a harness might, only worse."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[int, Delivery] = {}
        self.finished: set[int] = set()
        self.logs: dict[tuple[str, int], list[int]] = {}
        self.newest: dict[tuple[str, int], int] = {}
        self.flying: list[ProducerBatch] = []
        self.held: list[PartitionQueue] = []
        self.split_overhead = 0

    @initialize(
        batch_size=st.sampled_from([1, 300, 700, 10_000]),
        linger=st.sampled_from([0.0, 5.0]),
        seed=st.integers(0, 100),
    )
    def begin(self, batch_size: int, linger: float, seed: int) -> None:
        self.harness = Harness(
            batch_size=batch_size,
            linger=linger,
            buffer_memory=BUFFER_MEMORY,
            max_request_size=MAX_REQUEST_SIZE,
            seed=seed,
        )
        self.accumulator = self.harness.accumulator
        self.learn_of_partitions(TOPICS[0], 2, NODES[0])

    # What happens.

    @rule(topic=topics, count=st.integers(1, MOST_PARTITIONS), leader=st.sampled_from(NODES))
    def learn_of_partitions(self, topic: str, count: int, leader: int) -> None:
        known = self.accumulator.topics.get(topic)
        before = 0 if known is None else known.count
        if count <= before:
            return
        self.accumulator.set_partitions(topic, count, None)
        for partition in range(before, count):
            self.accumulator.set_leader(topic, partition, leader, 1)
        self.accumulator.admit([topic])

    @rule(
        count=st.integers(1, 5),
        topic=topics,
        key=st.none() | keys,
        partition=st.none() | st.integers(0, MOST_PARTITIONS - 1),
        size=st.integers(0, 150) | st.integers(0, 1100),
        timestamp_ms=st.none() | st.integers(0, 2**63 - 1),
        header=st.booleans(),
    )
    def send(
        self,
        count: int,
        topic: str,
        key: bytes | None,
        partition: int | None,
        size: int,
        timestamp_ms: int | None,
        header: bool,  # noqa: FBT001 - a drawn value
    ) -> None:
        for _ in range(count):
            self.send_one(topic, key, partition, size, timestamp_ms, header=header)

    @rule(count=st.integers(2, 4), partition=st.integers(0, 1), size=st.integers(0, 150))
    def send_and_have_it_on_the_wire(self, count: int, partition: int, size: int) -> None:
        for _ in range(count):
            self.send_one(TOPICS[0], None, partition, size, None, header=False)
        self.accumulator.schedule.flush_started()
        for node_id in NODES:
            self.look_at_a_node(node_id, AMPLE, set())
        self.accumulator.schedule.flush_ended()

    def send_one(
        self,
        topic: str,
        key: bytes | None,
        partition: int | None,
        size: int,
        timestamp_ms: int | None,
        *,
        header: bool,
    ) -> None:
        # No two records are sent at the very same moment.
        self.harness.now += 1e-6
        number = len(self.sent)
        value = (b"%d:" % number).ljust(size, b".")
        headers = [("name", b"value")] if header else None
        # One header takes its count, and two lengths beside its eight bytes.
        asked = OVERHEAD + len(value) + len(key or b"") + (12 if header else 0)
        used, in_line = self.accumulator.buffer.used, self.accumulator.buffer.records.bytes
        try:
            delivery = self.harness.append(
                value, topic=topic, key=key, partition=partition, timestamp_ms=timestamp_ms, headers=headers
            )
        except RecordTooLargeError:
            assert asked > MAX_REQUEST_SIZE
        except BufferExhaustedError:
            assert in_line + asked > BUFFER_MEMORY
        else:
            assert asked <= MAX_REQUEST_SIZE
            self.sent[number] = delivery
            return
        assert (self.accumulator.buffer.used, self.accumulator.buffer.records.bytes) == (used, in_line)

    @rule(
        node_id=st.sampled_from(NODES),
        limit=st.sampled_from([1, 500, 2000, AMPLE]),
        held_back=st.sets(st.integers(0, MOST_PARTITIONS - 1), max_size=1),
    )
    def look_at_a_node(self, node_id: int, limit: int, held_back: set[int]) -> None:
        node = self.accumulator.schedule.node(node_id)
        in_a_hurry = self.accumulator.schedule.urgent
        is_due = node.due <= self.harness.now or in_a_hurry
        ripe = NEVER if in_a_hurry else self.harness.now - self.accumulator.schedule.linger / 2
        ready = {
            id(queue): queue.first()
            for queue in [*node.ready, *node.lingering]
            if queue.not_before <= self.harness.now
            and queue.partition not in held_back
            and (queue.closed or not queue.lingers or (queue.open is not None and queue.open.created <= ripe))
        }

        def may_send(queue: PartitionQueue, batch: ProducerBatch) -> bool:
            assert batch is queue.first()
            if queue.partition not in held_back:
                return True
            if queue not in self.held:
                self.held.append(queue)
            return False

        taken = self.accumulator.schedule.drain(node, self.harness.now, limit, may_send)
        node.armed = node.due

        size = sum(len(batch.builder.buffer) for batch in taken)
        assert is_due or not taken
        assert size <= limit or len(taken) == 1
        for batch in taken:
            assert ready.pop(id(batch.queue)) is batch
            assert batch.is_in_flight
            assert batch.queue.node is node
        if is_due:
            left = [batch for batch in ready.values() if batch is not None]
            assert not left or (taken and size + max(len(batch.builder.buffer) for batch in left) > limit)
        self.flying += taken

    @precondition(lambda self: self.flying)
    @rule(pick=picks)
    def answer_with_success(self, pick: int) -> None:
        batch = self.flying.pop(pick % len(self.flying))
        log = self.logs.setdefault((batch.queue.topic, batch.queue.partition), [])
        numbers = numbers_of(batch)
        base_offset = len(log)
        log += numbers
        self.harness.finish(batch, base_offset)
        self.finished.update(numbers)
        for offset, number in enumerate(numbers, base_offset):
            assert self.sent[number].result().offset == offset

    @precondition(lambda self: self.flying)
    @rule(pick=picks)
    def answer_with_failure(self, pick: int) -> None:
        batch = self.flying.pop(pick % len(self.flying))
        batch.queue.land(batch)
        self.give_up(batch)

    @precondition(lambda self: self.flying)
    @rule(pick=picks, backoff=st.sampled_from([0.0, 3.0]))
    def try_again(self, pick: int, backoff: float) -> None:
        batch = self.flying.pop(pick % len(self.flying))
        batch.queue.not_before = self.harness.now + backoff
        self.accumulator.schedule.give_back(batch)

    @precondition(lambda self: any(batch.count > 1 for batch in self.flying))
    @rule(pick=picks, batch_size=st.sampled_from([1, 200, 400]))
    def split(self, pick: int, batch_size: int) -> None:
        candidates = [batch for batch in self.flying if batch.count > 1]
        batch = candidates[pick % len(candidates)]
        self.flying.remove(batch)
        batch.builder.stamp(-1, -1, -1, transactional=False)
        batch.queue.land(batch)
        pieces = split_batch(batch, batch_size)
        self.accumulator.replace(batch, pieces)
        assert [piece.created for piece in pieces] == [batch.created] * len(pieces)
        assert [piece.oldest_send for piece in pieces] == [batch.oldest_send] * len(pieces)
        self.split_overhead += HEADER_SIZE * len(pieces)

    @rule(topic=topics, pick=picks, leader=st.sampled_from([NO_LEADER, *NODES]), epoch=st.integers(0, 3))
    def learn_of_a_leader(self, topic: str, pick: int, leader: int, epoch: int) -> None:
        topic_queue = self.accumulator.topics.get(topic)
        if topic_queue is not None:
            self.accumulator.set_leader(topic, pick % topic_queue.count, leader, epoch)

    @rule(limit=st.sampled_from([1, 3, 100]))
    def serve_the_line(self, limit: int) -> None:
        more = self.accumulator.serve(limit)
        if more:
            assert limit < 100
        elif self.accumulator.buffer.waiting:
            first = self.accumulator.buffer.records.first_for_room()
            assert first is not None
            assert self.accumulator.buffer.used + first.size > BUFFER_MEMORY

    @precondition(lambda self: len(self.accumulator.buffer.records) > 0)
    @rule()
    def have_the_line_expire(self) -> None:
        buffer = self.accumulator.buffer
        self.harness.now = max(self.harness.now, buffer.records.next_deadline())
        expired = buffer.expire_for_room(self.harness.now)
        expired += buffer.expire_for_topics(self.harness.now)
        assert expired
        for record in expired:
            assert record.deadline <= self.harness.now
            result_of(record.delivery).fail(1, ProducerError("expired"))
            assert isinstance(record.delivery.exception(), ProducerError)
            self.finished.add(number_of(record.value))

    @precondition(lambda self: self.queued())
    @rule()
    def have_the_oldest_batch_expire(self) -> None:
        batch = next(batch for batch in self.accumulator.incomplete if not batch.is_in_flight)
        queue = batch.queue
        batch.queue.withdraw(batch)
        self.give_up(batch)
        if queue.first() is not None:
            self.accumulator.schedule.enlist(queue)

    @rule(pick=picks, limit=st.sampled_from([1, 2, 100]))
    def find_the_expired(self, pick: int, limit: int) -> None:
        """Whatever was sent by some time is found, the earliest first as far as the limit goes."""
        sends = sorted(batch.oldest_send for batch in self.accumulator.incomplete)
        until = sends[pick % len(sends)] if sends else self.harness.now
        old = [batch for batch in self.accumulator.incomplete if batch.oldest_send <= until]
        expired = self.accumulator.incomplete.expired(until, limit)
        assert len(expired) == min(limit, len(old))
        assert set(expired) <= set(old)
        for batch in expired:
            # Nothing fails here, so what was taken out goes back.
            if batch.oldest_send < batch.created:
                self.accumulator.incomplete.age(batch)

    def queued(self) -> list[ProducerBatch]:
        return [batch for batch in self.accumulator.incomplete if not batch.is_in_flight]

    def give_up(self, batch: ProducerBatch) -> None:
        self.accumulator.release(batch)
        batch.result.fail(batch.count, ProducerError("failed"))
        for number in numbers_of(batch):
            assert isinstance(self.sent[number].exception(), ProducerError)
            self.finished.add(number)

    @rule(seconds=st.sampled_from([0.5, 3.0, 7.0]))
    def wait(self, seconds: float) -> None:
        self.harness.now += seconds

    @rule()
    def begin_to_flush(self) -> None:
        self.accumulator.schedule.flush_started()

    @precondition(lambda self: self.accumulator.schedule.urgent > (self.accumulator.buffer.waiting > 0))
    @rule()
    def end_flushing(self) -> None:
        self.accumulator.schedule.flush_ended()

    @precondition(lambda self: self.held)
    @rule()
    def hold_nothing_back(self) -> None:
        for queue in self.held:
            if queue.first() is not None:
                self.accumulator.schedule.enlist(queue)
        self.held.clear()

    @rule(topic=topics, limit=st.sampled_from([1, 500, 5000]))
    def learn_how_well_a_topic_compresses(self, topic: str, limit: int) -> None:
        topic_queue = self.accumulator.topics.get(topic)
        if topic_queue is not None:
            topic_queue.batch_limit = limit

    # What always holds.

    def queues(self) -> list[PartitionQueue]:
        return [queue for topic in self.accumulator.topics.values() for queue in topic.partitions]

    def batches_of(self, queue: PartitionQueue) -> list[ProducerBatch]:
        batches = [batch for batch in self.flying if batch.queue is queue]
        batches += queue.closed
        if queue.open is not None:
            batches.append(queue.open)
        return sorted(batches, key=lambda batch: batch.serial)

    @invariant()
    def every_accepted_record_is_at_one_place_once(self) -> None:
        places = Counter(self.finished)
        places.update(number_of(record.value) for record in self.accumulator.buffer.records.records())
        for queue in self.queues():
            for batch in self.batches_of(queue):
                places.update(numbers_of(batch))
        assert places == Counter(self.sent.keys())

    @invariant()
    def every_delivery_is_that_of_its_record(self) -> None:
        for queue in self.queues():
            for batch in self.batches_of(queue):
                for index, number in enumerate(numbers_of(batch)):
                    delivery = self.sent[number]
                    assert result_of(delivery) is batch.result
                    assert index_of(delivery) == index
                    assert not delivery.done()
                assert (batch.result.topic, batch.result.partition) == (queue.topic, queue.partition)
        for record in self.accumulator.buffer.records.records():
            assert self.sent[number_of(record.value)] is record.delivery

    @invariant()
    def every_partition_has_its_records_in_the_order_of_send(self) -> None:
        for queue in self.queues():
            batches = self.batches_of(queue)
            assert [*queue.closed] == [batch for batch in batches if batch in queue.closed]
            assert queue.open is None or queue.open is batches[-1]
            numbers = [number for batch in batches for number in numbers_of(batch)]
            assert numbers == sorted(numbers)
            place = (queue.topic, queue.partition)
            if numbers:
                # What is new comes after all that ever was in the partition.
                newest = self.newest.get(place, -1)
                assert numbers[-1] >= newest or newest in self.finished
                self.newest[place] = max(newest, numbers[-1])

    @invariant()
    def memory_is_what_the_batches_take(self) -> None:
        live = [batch for queue in self.queues() for batch in self.batches_of(queue)]
        assert {id(batch) for batch in live} == {id(batch) for batch in self.accumulator.incomplete}
        assert all(batch.charged == batch.builder.raw_size == len(batch.builder.buffer) for batch in live)
        assert self.accumulator.buffer.used == sum(batch.charged for batch in live)
        assert self.accumulator.buffer.used <= BUFFER_MEMORY + self.split_overhead

    @invariant()
    def the_line_is_bounded_and_counts_right(self) -> None:
        line = self.accumulator.buffer.records
        records = list(line.records())
        assert line.bytes == sum(record.size for record in records) <= BUFFER_MEMORY
        assert len(line) == len(records)
        assert (line.first_for_room() is None) == (self.accumulator.buffer.waiting == 0)
        waiting_for_topics = sum(
            1
            for record in records
            if record.topic not in self.accumulator.topics
            or record.partition >= self.accumulator.topics[record.topic].count
        )
        assert self.accumulator.buffer.waiting == len(records) - waiting_for_topics
        if records:
            assert line.next_deadline() == min(record.deadline for record in records)
            assert line.next_deadline() <= self.harness.now + MAX_BLOCK

    @invariant()
    def what_is_on_the_wire_is_counted(self) -> None:
        for queue in self.queues():
            flying = sum(1 for batch in self.flying if batch.queue is queue)
            assert queue.on_wire == flying
            assert (queue.wire_node is None) == (flying == 0)

    @invariant()
    def every_node_is_looked_at_in_time(self) -> None:
        in_a_hurry = self.accumulator.schedule.urgent
        linger = 0.0 if in_a_hurry else self.accumulator.schedule.linger
        for queue in self.queues():
            node: NodeQueue = queue.node
            assert sum(1 for other in node.ready if other is queue) == int(queue.is_ready)
            assert (queue in node.lingering) == queue.lingers
            if queue.first() is None:
                continue
            assert queue.is_ready or (queue.lingers and not queue.closed)
            if queue in self.held or node.node_id == NO_LEADER:
                continue
            assert node.due <= max(queue.due(linger), self.harness.now)
            assert node.armed <= max(queue.due(linger), self.harness.now)

    @invariant()
    def the_next_deadline_is_that_of_the_oldest(self) -> None:
        dates = [batch.oldest_send + 120.0 for batch in self.accumulator.incomplete]
        dates += [record.deadline for record in self.accumulator.buffer.records.records()]
        if dates:
            assert self.accumulator.next_deadline(120.0) == min(dates)

    def teardown(self) -> None:
        """Let everything come to a good end: nothing may be left behind."""
        if not hasattr(self, "harness"):
            return
        self.begin_to_flush()
        for topic in TOPICS:
            self.learn_of_partitions(topic, MOST_PARTITIONS, 1)
            for partition in range(MOST_PARTITIONS):
                self.accumulator.set_leader(topic, partition, 1, 99)
        self.harness.now += 10.0
        for _ in range(4 * len(self.sent) + 4):
            while self.flying:
                self.answer_with_success(0)
            self.accumulator.serve(100)
            self.look_at_a_node(1, AMPLE, set())
        assert self.finished == set(self.sent)
        assert all(delivery.done() for delivery in self.sent.values())
        assert (
            self.accumulator.buffer.used,
            self.accumulator.buffer.records.bytes,
            self.accumulator.buffer.waiting,
        ) == (0, 0, 0)
        assert not self.accumulator.incomplete
        assert self.accumulator.incomplete.oldest_send() == NEVER
        assert not self.accumulator.outstanding()
        results: list[BatchResult] = [result_of(delivery) for delivery in self.sent.values()]
        assert all(result.done for result in results)


def number_of(value: bytes | None) -> int:
    assert value is not None
    return int(value.partition(b":")[0])


def numbers_of(batch: ProducerBatch) -> list[int]:
    return [number_of(value) for value in values_of([batch])]


AccumulatorMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
TestAccumulator = AccumulatorMachine.TestCase
