"""A whole producer's core against the model of a cluster: what is sent, what goes wrong, what must hold."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, cast

from aioproducer.batch_result import BatchResult
from aioproducer.core.accumulator import Accumulator
from aioproducer.core.backoff import Backoff
from aioproducer.core.batch import NEVER, ProducerBatch
from aioproducer.core.partitioner import RecordPartitioner
from aioproducer.core.produce_request import ProduceRequests
from aioproducer.core.queues import NO_LEADER
from aioproducer.core.sequences import Ordering, Sequences, Unnumbered
from aioproducer.core.settlement import Settlement
from aioproducer.delivery import index_of, result_of
from aioproducer.errors import BufferExhaustedError, ProducerClosedError
from aioproducer.metrics.producer_metrics import ProducerMetrics
from aioproducer.records.batch import HEADER_SIZE, RecordBatchBuilder
from tests.core.harness import KnownOutages
from tests.core.model_broker import SEQUENCES, WINDOW, PartitionLog, Producer
from tests.core.model_shell import Dice, ModelSender, Timers

if TYPE_CHECKING:
    from asyncio import Future

    from aioproducer.batch_result import RecordMetadata
    from aioproducer.core.queues import NodeQueue, PartitionQueue
    from aioproducer.delivery import Delivery
    from aioproducer.errors import ProducerError
    from tests.core.model_shell import Place

PRODUCER_ID = 4000
PARTITIONS = {"orders": 2, "audit": 1}
NODES = (0, 1)
CALM = 8.0
"""Seconds within which everything is delivered once nothing goes wrong any more."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is made with."""

    idempotent: bool = True
    in_flight: int = 5
    retries: int = 2**31 - 1
    delivery_timeout: float = 30.0
    linger: float = 0.0
    first_epoch: int = 0
    first_sequence: int = 0
    demands_state: bool = False


class Waiter:
    """Who awaits a delivery, as a future does: told once, or cancelled."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.metadata: RecordMetadata | None = None
        self.error: BaseException | None = None
        self.is_cancelled = False

    def done(self) -> bool:
        return self.is_cancelled or self.metadata is not None or self.error is not None

    def set_result(self, metadata: RecordMetadata) -> None:
        assert not self.done()
        self.metadata = metadata

    def set_exception(self, error: BaseException) -> None:
        assert not self.done()
        self.error = error

    def check(self) -> None:
        """See that it was told what its delivery tells."""
        if self.is_cancelled:
            return
        error = self.delivery.exception()
        assert repr(self.error) == repr(error)
        if error is None:
            assert self.metadata == self.delivery.result()


class Simulation:
    """One run; `play` goes through it, `check_outcome` says whether the promises were kept."""

    def __init__(self, seed: int, options: Options) -> None:
        random = Random(seed)  # noqa: S311 - a dice, and one that falls the same way again
        self.options = options
        self.dice = Dice(random, trouble=random.choice((0.0, 0.5, 1.0, 2.0)))
        self.timers = Timers()
        self.patience = random.choice((0.001, 0.02, 0.3))
        self.logs: dict[Place, PartitionLog] = {
            (topic, partition): PartitionLog(
                random.choice(NODES),
                is_strict=options.idempotent,
                demands_state=options.demands_state,
            )
            for topic, count in PARTITIONS.items()
            for partition in range(count)
        }
        self.old_logs: list[dict[Place, PartitionLog]] = []
        self.cluster = self._known_cluster = 0
        self.sent: list[tuple[Delivery, Place, int]] = []
        self.waiters: list[Waiter] = []
        self._next_id = PRODUCER_ID
        self._is_refreshing = self._is_asking = self._is_serving = False
        self.loop: object = None
        self.random = random.random
        self.accumulator = Accumulator(
            self,
            batch_size=random.choice((120, 300)),
            linger=options.linger,
            buffer_memory=random.choice((1500, 6000)),
            max_block=2.0,
            max_request_size=2000,
            partitioner=RecordPartitioner(),
            delivery_timeout=options.delivery_timeout,
        )
        self.buffer = self.accumulator.buffer
        self.schedule = self.accumulator.schedule
        self._is_flushing = False
        self.sequences = Sequences()
        self.ordering: Ordering = self.sequences if options.idempotent else Unnumbered(options.in_flight)
        self.metrics = ProducerMetrics(self.timers.now)
        self.settlement = Settlement(
            self.accumulator,
            self.ordering,
            self.metrics,
            Backoff(0.05, 0.4, random.random),
            self,
            KnownOutages(),
            idempotent=options.idempotent,
            retries=options.retries,
            delivery_timeout=options.delivery_timeout,
        )
        self.requests = ProduceRequests(self.accumulator.topics, acks=-1, timeout_ms=1000)
        self.senders = {node_id: ModelSender(self, self.schedule.node(node_id)) for node_id in NODES}
        self.held_back()
        self._introduce()
        self._start_sequences()

    # The shell.

    def clock(self) -> float:
        return self.timers.now

    def wall_clock_ns(self) -> int:
        return int(self.timers.now * 1e9)

    def check(self) -> None:
        """Every caller is welcome."""

    def wake(self, node: NodeQueue) -> None:
        """Let a node's sender look at its queue, or find the leader of its partitions."""
        if node.node_id == NO_LEADER:
            node.block()
            self.request_metadata()
        else:
            self.senders[node.node_id].wake()
        self.held_back()

    def request_metadata(self) -> None:
        """Refresh the metadata soon."""
        if not self._is_refreshing:
            self._is_refreshing = True
            self.timers.call_at(self.timers.now + 0.01 + self.latency(), self._introduce)

    def topic_wanted(self, topic: str) -> None:  # noqa: ARG002 - all topics are looked up
        """Refresh the metadata soon."""
        self.request_metadata()

    def deadline_added(self) -> None:
        """Plan the next expiry."""
        self._watch()

    def room_freed(self) -> None:
        """Place waiting records soon."""
        if not self._is_serving:
            self._is_serving = True
            self.timers.call_at(self.timers.now, self._serve)

    def producer_id_needed(self) -> None:
        """Request a producer id."""
        if not self._is_asking:
            self._is_asking = True
            self.timers.call_at(self.timers.now + self.latency(), self._adopt)

    def fail(self, error: ProducerError) -> None:
        """No error of this model is fatal."""
        msg = "nothing in this model is fatal"
        raise AssertionError(msg) from error

    # The world around it.

    def latency(self) -> float:
        """Return how long something takes this time; now and then far too long."""
        if self.dice.harm(0.02):
            return 3.0
        return self.dice.random.random() * (self.patience if self.dice.trouble else 0.01)

    def is_troubled(self, probability: float) -> bool:
        """Return whether something goes wrong now."""
        return self.dice.harm(probability)

    def held_back(self) -> None:
        """Request a producer id, if there is none."""
        if self.ordering.needs_producer_id:
            self.producer_id_needed()

    def take_hint(self, place: Place) -> None:
        """Learn who leads a partition from a produce answer."""
        log = self.logs[place]
        if place[0] in self.accumulator.topics:
            self.accumulator.set_leader(*place, log.leader, log.leader_epoch)

    def verify_cluster(self) -> None:
        """Compare ids on a new connection: it may lead to another cluster than the last one."""
        if self._known_cluster != self.cluster:
            self._known_cluster = self.cluster
            self.settlement.logs_replaced()
            self.held_back()

    def _adopt(self) -> None:
        self._is_asking = False
        self.sequences.producer_id.adopt(
            self._next_id, self.options.first_epoch if self._next_id == PRODUCER_ID else 0
        )
        self._next_id += 1
        self.schedule.wake_all()

    def _serve(self) -> None:
        self._is_serving = False
        if self.accumulator.serve(3):
            self.room_freed()

    def _watch(self) -> None:
        due = self.accumulator.next_deadline(self.options.delivery_timeout)
        if due == NEVER:
            return
        due = min(due, self.timers.now + min(self.buffer.max_block, self.options.delivery_timeout))
        self.timers.call_at(max(due, self.timers.now + 0.005), self._expire)

    def _expire(self) -> None:
        while self.settlement.expire(self.timers.now):
            pass
        self._watch()

    def _introduce(self) -> None:
        self._is_refreshing = False
        for topic, count in PARTITIONS.items():
            self.accumulator.set_partitions(topic, count, None)
            for partition in range(count):
                log = self.logs[topic, partition]
                leader = NO_LEADER if self.dice.harm(0.05) else log.leader
                self.accumulator.set_leader(topic, partition, leader, log.leader_epoch)
                if leader == NO_LEADER:
                    self.request_metadata()
            self.accumulator.admit([topic])

    def _start_sequences(self) -> None:
        first = self.options.first_sequence
        if not first:
            return
        for (topic, partition), log in self.logs.items():
            queue = self.accumulator.topics[topic].partitions[partition]
            self.sequences.may_send(queue, new_batch(queue))
            queue.sequences.begin(self.sequences.producer_id)
            queue.sequences.next = first
            producer = log.producers[PRODUCER_ID] = Producer(self.options.first_epoch)
            producer.batches.append((first - 1, first - 1, 0))

    # What happens in a run.

    def play(self, steps: int) -> None:
        """Send records and do harm."""
        dice = self.dice
        for _ in range(steps):
            for _ in range(dice.random.choice((0, 1, 1, 2, 8))):
                self.send(dice.random.choice(list(self.logs)))
            if dice.harm(0.3):
                self._harm()
            if dice.chance(0.05):
                self._flush(begins=not self._is_flushing)
            if dice.chance(0.3):
                self._wait_for_a_record()
            if dice.chance(0.2):
                self._cancel_a_waiter()
            self.timers.run_until(self.timers.now + dice.random.choice((0.0, 0.001, 0.01, 0.1, 0.6)))
            self._check_memory()
        self._flush(begins=False)

    def _flush(self, *, begins: bool) -> None:
        if begins and not self._is_flushing:
            self.schedule.flush_started()
        elif self._is_flushing and not begins:
            self.schedule.flush_ended()
        self._is_flushing = begins
        self.schedule.wake_all()

    def send(self, place: Place) -> None:
        """Send one record, whose value is its number."""
        topic, partition = place
        # Within one tick of the clock nobody could say who came first.
        self.timers.run_until(self.timers.now + 1e-6)
        value = b"%d %s" % (len(self.sent), b"x" * self.dice.random.choice((0, 5, 60)))
        try:
            delivery = self.accumulator.append(topic, value, None, partition, None, None)
        except BufferExhaustedError:
            return
        self.sent.append((delivery, place, len(self.sent)))

    def _wait_for_a_record(self) -> None:
        """Await one of the newest records, as a task does."""
        if not self.sent:
            return
        delivery, _, _ = self.dice.random.choice(self.sent[-10:])
        result = result_of(delivery)
        if not result.done:
            self.waiters.append(Waiter(delivery))
            future = cast("Future[Any]", self.waiters[-1])
            result.add_waiter(index_of(delivery), delivery._timestamp_ms, future)  # noqa: SLF001 - as `future()` does

    def _cancel_a_waiter(self) -> None:
        waiting = [waiter for waiter in self.waiters if not waiter.done()]
        if waiting:
            self.dice.random.choice(waiting).is_cancelled = True

    def _harm(self) -> None:
        dice = self.dice
        place = dice.random.choice(list(self.logs))
        log = self.logs[place]
        if self.options.idempotent and dice.chance(0.03):
            self._replace_cluster()
            return
        match dice.random.randrange(7):
            case 0:
                log.move(dice.random.choice(NODES))
            case 1:
                connection = self.senders[dice.random.choice(NODES)].connection
                if connection is not None:
                    connection.drop(loses_requests=dice.chance(0.5))
            case 2:
                log.max_size = dice.random.choice((80, 150, 250, 1 << 20))
            case 3:
                self._replace_sender(dice.random.choice(NODES))
            case 4:
                log.restart()
            case 5:
                self._forget_state(place)
            case _:
                self._forget_topic(place[0])

    def _replace_cluster(self) -> None:
        """Put empty logs in place of all, in which another producer has used our producer id."""
        self.old_logs.append(self.logs)
        self.cluster += 1
        self.logs = {place: self._foreign_log(place, log) for place, log in self.logs.items()}
        for sender in self.senders.values():
            if sender.connection is not None:
                sender.connection.drop()

    def _foreign_log(self, place: Place, old: PartitionLog) -> PartitionLog:
        log = PartitionLog(old.leader, is_strict=True, demands_state=old.demands_state)
        log.leader_epoch = old.leader_epoch
        queue = self._queue(place)
        if queue is not None and queue.sequences.producer_id >= 0:
            producer = log.producers[queue.sequences.producer_id] = Producer(queue.sequences.epoch)
            # Single records under the sequences that come next would pass for duplicates.
            following = [(queue.sequences.next + number) % SEQUENCES for number in range(WINDOW)]
            producer.batches.extend((sequence, sequence, 0) for sequence in following)
        return log

    def _replace_sender(self, node_id: int) -> None:
        old = self.senders[node_id]
        old.close()
        self.senders[node_id] = ModelSender(self, old.node)
        self.senders[node_id].pump()

    def _forget_state(self, place: Place) -> None:
        queue = self._queue(place)
        log = self.logs[place]
        # Without its state a broker of today takes anything, so nothing may be on its way to it.
        if (
            log.demands_state
            and not log.to_come
            and not (queue and (queue.on_wire or queue.sequences.in_flight))
        ):
            log.producers.clear()

    def _forget_topic(self, topic: str) -> None:
        if topic not in {*self.buffer.records.topics(), *self.accumulator.busy_topics()}:
            self.accumulator.forget_topic(topic)

    def _queue(self, place: Place) -> PartitionQueue | None:
        topic_queue = self.accumulator.topics.get(place[0])
        return None if topic_queue is None else topic_queue.partitions[place[1]]

    # What must hold.

    def settle(self) -> None:
        """Let nothing go wrong any more, and see that everything is delivered soon."""
        self.dice.trouble = 0.0
        for log in self.logs.values():
            log.max_size = 1 << 20
        for sender in self.senders.values():
            if sender.connection is not None:
                sender.connection.drop()
        last = len(self.sent)
        self.timers.run_until(self.timers.now + CALM)
        for place in self.logs:
            self.send(place)
        self.timers.run_until(self.timers.now + CALM)
        for delivery, place, number in self.sent:
            assert delivery.done(), f"record {number} for {place} is stuck: {self._queue(place)!r}"
        if self.options.retries == 1:
            # To find the new leader takes one, to find that a number before is missing another.
            return
        for delivery, place, number in self.sent[last:]:
            assert delivery.exception() is None, f"record {number} for {place}: {delivery.exception()}"

    def stop(self) -> None:
        """Give up in the middle of it all."""
        self.settlement.give_up(
            lambda may_be_written: ProducerClosedError("stopped", may_be_written=may_be_written),
            self.timers.now,
        )
        for delivery, _, number in self.sent:
            assert delivery.done(), f"record {number} did not end with the producer"
        self.dice.trouble = 0.0
        for sender in self.senders.values():
            sender.close()

    def check_outcome(self) -> None:
        """See that what was reported is true, and that nothing is left."""
        self.timers.run_until(self.timers.now + CALM)
        for delivery, place, number in self.sent:
            holding = [log.numbers for log in self._all_logs(place) if number in log.numbers]
            error = delivery.exception()
            if error is None:
                offset = delivery.result().offset
                assert holding, f"record {number} for {place} is lost"
                assert offset == -1 or any(numbers[offset : offset + 1] == [number] for numbers in holding)
            elif not error.may_be_written:
                assert not holding, f"record {number} is stored, but {error!r} rules it out"
        for waiter in self.waiters:
            waiter.check()
        if self.options.idempotent or self.options.in_flight == 1:
            self._check_order()
        self._check_nothing_left()

    def _check_memory(self) -> None:
        accumulator = self.accumulator
        assert accumulator.buffer.records.bytes <= accumulator.buffer.memory
        # Only the headers of the pieces that a batch is split into come on top.
        splits = self.metrics.snapshot(self.timers.now, {})["producer-metrics"]["batch-split-total"]
        assert splits or accumulator.buffer.used <= accumulator.buffer.memory

    def _check_order(self) -> None:
        last = dict.fromkeys(self.logs, (0, -1))
        for delivery, place, number in self.sent:
            if delivery.exception() is None:
                cluster, log = next(
                    (cluster, log)
                    for cluster, log in enumerate(self._all_logs(place))
                    if number in log.numbers
                )
                position = (cluster, log.numbers.index(number))
                assert position > last[place], f"record {number} for {place} was overtaken"
                last[place] = position

    def _all_logs(self, place: Place) -> list[PartitionLog]:
        return [logs[place] for logs in (*self.old_logs, self.logs)]

    def _check_nothing_left(self) -> None:
        assert self.buffer.used == 0
        assert not self.accumulator.incomplete
        assert self.accumulator.incomplete.oldest_send() == NEVER
        assert not self.sequences._unresolved  # noqa: SLF001 - who keeps batches keeps their bytes
        assert not self.sequences._in_old_log  # noqa: SLF001 - who keeps batches keeps their bytes
        assert len(self.buffer.records) == self.buffer.waiting == self.buffer.records.bytes == 0
        for place in self.logs:
            queue = self._queue(place)
            if queue is not None:
                assert (queue.length(), queue.on_wire, queue.sequences.in_flight) == (0, 0, [])


def new_batch(queue: PartitionQueue) -> ProducerBatch:
    """Return an empty batch, as good as any to ask about."""
    result = BatchResult(queue.topic, queue.partition, None)
    return ProducerBatch(queue, RecordBatchBuilder(HEADER_SIZE, 0), result, 0.0, 0)
