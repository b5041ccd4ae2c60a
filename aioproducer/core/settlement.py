"""What becomes of a batch: stored, tried again, split, failed or expired.

The sender tells what happened to the batches that it sent; here each one's fate is decided
and carried out on the accumulator, the sequences and the deliveries. A batch that was
drained comes back exactly once, through `answered`, `lost` or `unsent`.

                 ┌─ stored ──▶ deliveries resolve
    answered ────┼─ retry ───▶ back in its queue, after a backoff
    lost ────────┤
    unsent ──────┼─ split ───▶ smaller batches in its place
    expire ──────┴─ failed ──▶ deliveries raise
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Protocol, assert_never

from aioproducer.core.line import Dismissal
from aioproducer.core.metadata_cache import FINAL_TOPIC_ERRORS
from aioproducer.core.outcome import IN_DOUBT, Verdict, verdict_of
from aioproducer.error_code import ErrorCode
from aioproducer.errors import (
    BatchRefusedError,
    BrokerConnectionError,
    BrokerError,
    BufferExhaustedError,
    DeliveryTimeoutError,
    RecordTooLargeError,
    UnknownPartitionError,
    UnknownTopicError,
    plural,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.backoff import Backoff
    from aioproducer.core.events import Listener
    from aioproducer.core.idempotence import Ordering
    from aioproducer.core.line import WaitingRecord
    from aioproducer.core.producer_batch import ProducerBatch
    from aioproducer.errors import ProducerError
    from aioproducer.protocol.produce import PartitionProduceResponse

BATCHES_A_SLICE = 100
"""How many batches expire before the event loop gets its turn: each takes some 10 µs."""

RECORDS_A_SLICE = 250
"""How many records leave the line before the event loop gets its turn: each takes 1 to 8 µs."""

_LIMITS = {
    ErrorCode.MESSAGE_TOO_LARGE: "max.message.bytes",
    ErrorCode.RECORD_LIST_TOO_LARGE: "segment.bytes",
}
"""The topic's limit that a batch exceeds, by the error code that refuses it."""


class Outages(Protocol):
    """What is wrong at present, as far as the shell knows; errors name it."""

    def of_node(self, node_id: int) -> ProducerError | None:
        """Return why a node cannot be sent to, None if it can or nothing is known."""

    def of_cluster(self) -> ProducerError | None:
        """Return why no broker can be asked, None if one can or nothing is known."""

    def of_producer_id(self) -> ProducerError | None:
        """Return why there is no producer id, None if nothing is known."""


class Settlement:
    """Carries out what answers, losses and time mean for batches.

    Two calls tell the shell what else has to be done: `refresh_metadata()` when what is known
    of leaders is out of date, and `fail_all(error)` when nothing more can be sent at all.
    """

    def __init__(
        self,
        accumulator: Accumulator,
        ordering: Ordering,
        events: Listener,
        backoff: Backoff,
        *,
        idempotent: bool,
        retries: int,
        delivery_timeout: float,
        outages: Outages,
        refresh_metadata: Callable[[], object],
        fail_all: Callable[[ProducerError], object],
    ) -> None:
        self._accumulator = accumulator
        self._schedule = accumulator.schedule
        self._ordering = ordering
        self._events = events
        self._backoff = backoff
        self._idempotent = idempotent
        self._retries = retries
        self._delivery_timeout = delivery_timeout
        self._outages = outages
        self._refresh_metadata = refresh_metadata
        self._fail_all = fail_all
        self._topic_errors: dict[str, ErrorCode] = {}
        # Why records are leaving the line, by as many slices as they take.
        self._roomless = Dismissal(self._no_room)
        self._topicless = Dismissal(self._unknown)

    def answered(self, batch: ProducerBatch, answer: PartitionProduceResponse, now: float) -> None:
        """Settle a batch by what the broker said of it."""
        if answer.error_code == 0:
            self._stored(batch, answer.base_offset, answer.log_append_time_ms, now)
            return
        code = ErrorCode.of(answer.error_code)
        batch.maybe_written |= code in IN_DOUBT
        error = BrokerError.of(
            code, self._subject(batch, answer.error_code, code), reason=answer.error_message
        )
        verdict = verdict_of(code, idempotent=self._idempotent)
        if code.is_stale_metadata:
            self._refresh_metadata()
        match verdict:
            case Verdict.IN_LOG | Verdict.DUPLICATE:
                self._stored(batch, -1, -1, now)
            case Verdict.RETRY:
                self._retry(batch, error, now)
            case Verdict.RETRY_IN_ORDER:
                self._out_of_order(batch, error, now)
            case Verdict.SPLIT:
                self._split(batch, error, now)
            case Verdict.REFUSED:
                self._refused(batch, error, answer, now)
            case Verdict.REFUSED_EPOCH:
                self._failed(batch, error, now)
                batch.queue.bump_wanted = True
            case Verdict.FATAL:
                self._failed(batch, error.as_fatal(), now)
                self._fail_all(error)
            case _:
                assert_never(verdict)

    def stored_unasked(self, batch: ProducerBatch, now: float) -> None:
        """Settle a batch that was written with acks=0: nobody will say where it is."""
        self._stored(batch, -1, -1, now)

    def lost(self, batch: ProducerBatch, error: ProducerError, now: float) -> None:
        """Settle a batch whose request was written, but got no answer (or none that speaks of it)."""
        batch.maybe_written = True
        self._ordering.lost(batch)
        self._refresh_metadata()
        self._retry(batch, error, now)

    def unsent(self, batch: ProducerBatch, error: ProducerError | None, now: float) -> None:
        """Settle a batch that was drained but never written; without an error it just goes back."""
        if batch.result.done:
            self._let_go(batch, in_log=False)
        elif error is None:
            self._schedule.give_back(batch)
        else:
            self._failed(batch, error, now)

    def expire(self, now: float) -> bool:
        """Fail the batches that are older than the delivery timeout, and those who wait too long in line.

        Returns whether there are more than the event loop can wait for: call again soon.
        """
        expired = self._accumulator.expired(now - self._delivery_timeout, BATCHES_A_SLICE)
        for batch in expired:
            self._expired(batch, now)
        return len(expired) == BATCHES_A_SLICE or self._expire_line(now)

    def topic_errors(self, errors: dict[str, ErrorCode]) -> None:
        """Take note of why topics are not known; who waits for what nobody may use is to be seen off."""
        for topic, code in errors.items():
            self._topic_errors[topic] = code
            if code in FINAL_TOPIC_ERRORS:
                self._accumulator.line.send_away(topic, Dismissal(_unusable(code)))

    @property
    def is_bound(self) -> bool:
        """Whether a producer id was ever used: it is valid in the cluster that gave it, and in no other."""
        return self._ordering.is_bound

    def logs_replaced(self, topics: frozenset[str] | None = None) -> None:
        """Get another producer id, and number anew what goes to these topics, or to all.

        Records that were sent may be in the old log; they are sent again, and a later error says so.
        """
        self._ordering.drop_sequences(topics)
        self._schedule.wake_all()

    def see_off(self) -> bool:
        """Fail records that were sent away from the line; return whether there are more: call again soon."""
        return self._accumulator.line.see_off(RECORDS_A_SLICE)

    def topic_found(self, topic: str) -> None:
        """Forget why a topic was not known."""
        self._topic_errors.pop(topic, None)

    def topic_forgotten(self, topic: str) -> None:
        """Drop what is kept of a topic that is not produced to any more."""
        self._topic_errors.pop(topic, None)
        self._events.topic_forgotten(topic)

    def give_up(self, error_of: Callable[[bool], ProducerError], now: float) -> None:
        """Fail everything that is not done; `error_of(may_be_written)` makes the error for each batch."""
        accumulator = self._accumulator
        self.close_line(error_of)
        for batch in list(accumulator.incomplete):
            self._give_up_batch(batch, error_of(batch.in_flight or batch.maybe_written), now)
        accumulator.line.see_off()

    def close_line(self, error_of: Callable[[bool], ProducerError]) -> None:
        """Send everybody away who is in line; they are to be seen off."""
        why = Dismissal(lambda _: error_of(False))  # noqa: FBT003 - never written
        self._accumulator.left_line(self._accumulator.line.send_all_away(why))

    def _stored(self, batch: ProducerBatch, base_offset: int, log_append_time_ms: int, now: float) -> None:
        result = batch.result
        count = batch.builder.count
        if not result.done:
            self._events.batch_delivered(result.topic, count, len(batch.builder.buffer), now)
        self._let_go(batch, in_log=True)
        batch.queue.last_error = None
        if not result.done:
            result.resolve(count, base_offset, log_append_time_ms)

    def _retry(
        self, batch: ProducerBatch, error: ProducerError, now: float, *, backs_off: bool = True
    ) -> None:
        if batch.result.done:
            self._let_go(batch, in_log=False)
            return
        if batch.attempts >= self._retries:
            self._failed(batch, error, now)
            return
        batch.attempts += 1
        batch.last_error = error
        if now - batch.oldest_send >= self._delivery_timeout:
            # The response may arrive just before `expire` runs. The error is the same either way.
            self._failed(batch, self._timeout_error(batch, now, in_flight=False), now)
            return
        self._events.batch_retried(batch.result.topic, batch.count, now)
        queue = batch.queue
        queue.last_error = error
        # What another broker than the present leader said does not hold the leader back (KIP-951).
        if backs_off and queue.wire_node is queue.node:
            queue.not_before = now + self._backoff.delay(batch.attempts - 1)
        self._schedule.give_back(batch)

    def _out_of_order(self, batch: ProducerBatch, error: BrokerError, now: float) -> None:
        waits_for_others = batch not in batch.queue.unsettled[:1]
        if self._ordering.out_of_order(batch):
            self._retry(batch, error, now, backs_off=not waits_for_others)
            return
        words = (
            f"{plural(batch.count, 'record')} for {_place(batch)}: the broker has not what comes "
            "before them, and whether an earlier attempt stored them is not known"
        )
        self._failed(batch, BrokerError.of(error.code, words, reason=error.reason), now)

    def _split(self, batch: ProducerBatch, error: BrokerError, now: float) -> None:
        if batch.result.done:
            self._let_go(batch, in_log=False)
            return
        if batch.count == 1:
            size = len(batch.builder.buffer)
            subject = f"a record of {size} bytes (with its batch's header) for {_place(batch)}"
            limit = _LIMITS[error.code]
            too_large = RecordTooLargeError(
                f"{subject} is larger than the topic's {limit}", topic=batch.result.topic, size=size
            )
            too_large.__cause__ = error
            self._failed(batch, too_large, now)
            return
        # Hardly any producer splits, and the reader of batches and codecs takes long to import.
        from aioproducer.core.split import split_batch  # noqa: PLC0415

        self._schedule.landed(batch)
        pieces = split_batch(batch, self._accumulator.batch_size)
        self._ordering.replace(batch, pieces)
        self._accumulator.replace(batch, pieces)
        self._events.batch_split(now)

    def _refused(
        self, batch: ProducerBatch, error: BrokerError, answer: PartitionProduceResponse, now: float
    ) -> None:
        record_errors: dict[int, ProducerError] = {}
        for refused in answer.record_errors:
            reason = refused.batch_index_error_message or answer.error_message
            words = f"record {refused.batch_index} of a batch for {_place(batch)}"
            # Several refused records need not have the same cause, so the batch's code says little.
            code = error.code if len(answer.record_errors) == 1 else ErrorCode.INVALID_RECORD
            record_errors[refused.batch_index] = BrokerError.of(code, words, reason=reason)
        if not record_errors:
            self._failed(batch, error, now)
            return
        stored = "whether an earlier attempt stored it is not known"
        if not batch.maybe_written:
            stored = "nothing of the batch was stored: send it again"
        words = (
            f"the batch for {_place(batch)} held {plural(len(record_errors), 'record')} that the broker "
            f"refused; this record was not one of them, {stored}"
        )
        innocent = BatchRefusedError(words, code=error.code, reason=answer.error_message)
        self._failed(batch, innocent, now, record_errors)

    def _failed(
        self,
        batch: ProducerBatch,
        error: ProducerError,
        now: float,
        record_errors: dict[int, ProducerError] | None = None,
    ) -> None:
        result = batch.result
        if batch.maybe_written:
            error = in_doubt(error)
            if record_errors is not None:
                record_errors = {index: in_doubt(of_record) for index, of_record in record_errors.items()}
        self._let_go(batch, in_log=False)
        if not result.done:
            self._events.batch_failed(result.topic, batch.count, now)
            result.fail(batch.count, error, record_errors)

    def _let_go(self, batch: ProducerBatch, *, in_log: bool) -> None:
        self._schedule.landed(batch)
        self._ordering.settle(batch, in_log=in_log)
        self._accumulator.release(batch)
        queue = batch.queue
        if queue.first() is not None:
            # What stood behind it may go now.
            self._schedule.enlist(queue)

    def _expired(self, batch: ProducerBatch, now: float) -> None:
        error = self._timeout_error(batch, now, in_flight=batch.in_flight)
        self._give_up_batch(batch, error, now)

    def _timeout_error(self, batch: ProducerBatch, now: float, *, in_flight: bool) -> DeliveryTimeoutError:
        is_in_doubt = in_flight or batch.maybe_written
        age = now - batch.oldest_send
        words = (
            f"{plural(batch.count, 'record')} for {_place(batch)} not acknowledged within "
            f"{age * 1000:.0f} ms (delivery_timeout_ms is {self._delivery_timeout * 1000:.0f})"
        )
        outage = None if in_flight else self._outages.of_node(batch.queue.node.node_id)
        if batch.last_error is not None:
            words = f"{words}; {plural(batch.attempts, 'attempt')} failed, the last with: {batch.last_error}"
            if outage is not None and outage.__cause__ is not batch.last_error:
                words = f"{words}; now the leader cannot be sent to: {outage}"
        elif not in_flight:
            words = f"{words}; no attempt was made: {self._why_unsent(batch)}"
        error = DeliveryTimeoutError(
            words, topic=batch.result.topic, partition=batch.result.partition, may_be_written=is_in_doubt
        )
        never_tried = batch.attempts == 0 and not is_in_doubt
        error.__cause__ = outage or (batch.queue.last_error if never_tried else batch.last_error)
        return error

    def _give_up_batch(self, batch: ProducerBatch, error: ProducerError, now: float) -> None:
        if batch.in_flight:
            # Its fate is settled by its answer; until then its number stays taken. Only the
            # deliveries are told now.
            self._accumulator.incomplete.pop(batch, None)
            self._events.batch_failed(batch.result.topic, batch.count, now)
            batch.result.fail(batch.count, error)
            return
        self._schedule.withdraw(batch)
        self._failed(batch, error, now)

    def _why_unsent(self, batch: ProducerBatch) -> str:
        queue = batch.queue
        node = queue.node.node_id
        if node < 0:
            return "the partition has no leader"
        outage = self._outages.of_node(node)
        if outage is not None:
            return str(outage)
        if queue.last_error is not None:
            return f"it waited for an earlier batch of the partition, which failed with: {queue.last_error}"
        if self._ordering.needs_producer_id:
            words = "the brokers have given no producer id (InitProducerId) yet"
            error = self._outages.of_producer_id()
            return words if error is None else f"{words}: {error}"
        return f"broker {node}, which leads the partition, could not be sent to"

    def _expire_line(self, now: float) -> bool:
        accumulator = self._accumulator
        roomless = accumulator.line.expire_for_room(now, RECORDS_A_SLICE)
        if roomless:
            accumulator.left_line(len(roomless))
            self._events.buffer_exhausted(len(roomless), now)
            accumulator.waits.left_room(roomless, now)
            self._roomless.fail(roomless)
        topicless = accumulator.line.expire_for_topics(now, RECORDS_A_SLICE)
        accumulator.waits.left_topic(topicless, now)
        self._topicless.fail(topicless)
        if RECORDS_A_SLICE in (len(roomless), len(topicless)):
            return True
        self._roomless = Dismissal(self._no_room)
        self._topicless = Dismissal(self._unknown)
        return False

    def _no_room(self, record: WaitingRecord) -> ProducerError:
        accumulator = self._accumulator
        words = (
            f"no room for a record for topic {record.topic!r} within {self._max_wait()}: {accumulator.used} "
            f"of {accumulator.buffer_memory} bytes (buffer_memory) are in use; produce slower, or await "
            "drain() between sends"
        )
        return BufferExhaustedError(words)

    def _unknown(self, record: WaitingRecord) -> ProducerError:
        accumulator = self._accumulator
        topic = record.topic
        within = f"within {self._max_wait()}"
        topic_queue = accumulator.topics.get(topic)
        if topic_queue is not None:
            words = (
                f"topic {topic!r} has {plural(topic_queue.count, 'partition')} and got no partition "
                f"{record.partition} {within}"
            )
            return UnknownPartitionError(
                words, topic=topic, partition=record.partition, partitions=topic_queue.count
            )
        return self.unknown_topic(topic, within)

    def unknown_topic(self, topic: str, within: str = "") -> UnknownTopicError:
        """Make the error for a topic that did not become known, with the present cause."""
        within = within or f"within max_block_ms ({self._accumulator.max_block * 1000:.0f})"
        outage = self._outages.of_cluster()
        code = self._topic_errors.get(topic)
        why = "no broker could be asked" if code is None else f"the brokers answer {code.name}"
        if outage is not None:
            why = f"no broker could be asked: {outage}"
        error = UnknownTopicError(f"topic {topic!r} did not become known {within}: {why}", topic=topic)
        error.__cause__ = outage
        return error

    def _max_wait(self) -> str:
        limit = self._accumulator.max_wait
        option = "max_block_ms" if limit == self._accumulator.max_block else "delivery_timeout_ms"
        return f"{option} ({limit * 1000:.0f})"

    def _subject(self, batch: ProducerBatch, number: int, code: ErrorCode) -> str:
        words = f"{plural(batch.count, 'record')} for {_place(batch)}"
        if code is ErrorCode.UNKNOWN_SERVER_ERROR and number != code:
            return f"{words}: error code {number}, which this version does not know"
        return words


def no_answer(batch: ProducerBatch, node_id: int) -> BrokerConnectionError:
    """Make the error for a batch that was sent, but left out of the answer."""
    return BrokerConnectionError(f"broker {node_id} left {_place(batch)} out of its answer")


def _unusable(code: ErrorCode) -> Callable[[WaitingRecord], ProducerError]:
    return lambda record: BrokerError.of(code, f"topic {record.topic!r}")


def in_doubt(error: ProducerError) -> ProducerError:
    """Return a copy, for other batches may have failed by the same error, that says how things stand."""
    twin = copy(error)
    twin.__cause__ = error.__cause__
    twin.may_be_written = True
    return twin


def _place(batch: ProducerBatch) -> str:
    return f"{batch.result.topic}-{batch.result.partition}"
