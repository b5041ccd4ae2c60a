"""Settlement: the end of each batch: stored, retried, split, failed or expired.

The sender reports the end of each request; the settlement decides and carries it out on the batch, its
queue, its sequences and its deliveries. Each drained batch comes back exactly once: through `settle`,
`assume_stored`, `lost` or `unsent`.

    settle          stored, retried, split or failed, by the error code of the response
    assume_stored   stored
    lost            retried or failed
    unsent          back in its queue at once, or failed
    expire,         failed; of a batch in flight only the deliveries fail, and its sequence stays
    give_up         taken until one of the above

Stored: the deliveries resolve. Failed: they raise. Retried: back in its queue, after a backoff. Split:
smaller batches take its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from aioproducer.core.batch import NO_SEQUENCE
from aioproducer.core.failures import Failures, in_doubt, place
from aioproducer.core.metadata_cache import FINAL_TOPIC_ERRORS
from aioproducer.core.outcome import IN_DOUBT, Verdict, verdict_of
from aioproducer.core.waiting_records import Rejection
from aioproducer.error_code import ErrorCode
from aioproducer.errors import BatchRefusedError, BrokerError, RecordTooLargeError, plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.backoff import Backoff
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.events import Listener
    from aioproducer.core.failures import OutageSource
    from aioproducer.core.sequences import Ordering
    from aioproducer.core.shell import Shell
    from aioproducer.core.waiting_records import WaitingRecord
    from aioproducer.errors import ProducerError, UnknownTopicError
    from aioproducer.protocol.produce import PartitionProduceResponse

BATCHES_A_SLICE = 100
"""How many batches expire in one turn of the event loop: each takes about 10 µs."""

FAILURES_A_SLICE = 250
"""How many waiting records fail in one turn of the event loop: each takes 1 to 8 µs."""

_LIMITS = {
    ErrorCode.MESSAGE_TOO_LARGE: "max.message.bytes",
    ErrorCode.RECORD_LIST_TOO_LARGE: "segment.bytes",
}
"""The topic's limit that a batch exceeds, by the error code that refuses it."""


class Settlement:
    """Decides what happens to batches and waiting records that end."""

    def __init__(
        self,
        accumulator: Accumulator,
        ordering: Ordering,
        events: Listener,
        backoff: Backoff,
        shell: Shell,
        outages: OutageSource,
        *,
        idempotent: bool,
        retries: int,
        delivery_timeout: float,
    ) -> None:
        self._accumulator = accumulator
        self._buffer = accumulator.buffer
        self._schedule = accumulator.schedule
        self._ordering = ordering
        self._events = events
        self._backoff = backoff
        self._shell = shell
        self._failures = Failures(accumulator, ordering, outages, delivery_timeout=delivery_timeout)
        self._idempotent = idempotent
        self._retries = retries
        self._delivery_timeout = delivery_timeout
        # One rejection for all slices of one expiry, so that it is logged once.
        self._no_room = Rejection(self._failures.no_room)
        self._unknown = Rejection(self._failures.unknown)

    # Reports of the sender.

    def settle(self, batch: ProducerBatch, response: PartitionProduceResponse, now: float) -> None:
        """Settle a batch by its partition's response."""
        if response.error_code == 0:
            self._stored(batch, response.base_offset, response.log_append_time_ms, now)
            return
        code = ErrorCode.of(response.error_code)
        subject = _subject(batch, response.error_code, code)
        error = BrokerError.of(code, subject, reason=response.error_message)
        # REQUEST_TIMED_OUT: the leader has the batch, but some followers do not. It may stay in the
        # log.
        if code in IN_DOUBT:
            batch.doubt()
        if code.is_stale_metadata:
            self._shell.request_metadata()
        self._carry_out(verdict_of(code, idempotent=self._idempotent), batch, error, response, now)

    def assume_stored(self, batch: ProducerBatch, now: float) -> None:
        """Settle a batch that was written with acks=0: it gets neither a response nor an offset."""
        self._stored(batch, -1, -1, now)

    def lost(self, batch: ProducerBatch, error: ProducerError, now: float) -> None:
        """Settle a batch whose request was written but got no response, or none for its partition."""
        batch.doubt()
        self._ordering.lost(batch)
        self._shell.request_metadata()
        self._retry(batch, error, now)

    def unsent(self, batch: ProducerBatch, error: ProducerError | None, now: float) -> None:
        """Settle a batch that was drained but not written; without an error it goes back."""
        if batch.result.done:
            self._end(batch, in_log=False)
        elif error is None:
            self._schedule.give_back(batch)
        else:
            self._failed(batch, error, now)

    # Expiry, and the end of the producer.

    def expire(self, now: float) -> bool:
        """Fail batches older than the delivery timeout, and records that waited too long.

        Return whether there are more, which a later turn of the event loop has to expire.
        """
        # An outage of two minutes may let ten thousand batches expire together: fail 100 in one turn.
        expired = self._accumulator.incomplete.expired(now - self._delivery_timeout, BATCHES_A_SLICE)
        for batch in expired:
            error = self._failures.delivery_timeout(batch, now, in_flight=batch.is_in_flight)
            self._give_up(batch, error, now)
        return len(expired) == BATCHES_A_SLICE or self._expire_waiting(now)

    def give_up(self, error_of: Callable[[bool], ProducerError], now: float) -> None:
        """Fail all records that are not done; `error_of(may_be_written)` makes the error for each batch."""
        self.reject_waiting(error_of)
        # Each failure removes its batch from `incomplete`.
        for batch in list(self._accumulator.incomplete):
            self._give_up(batch, error_of(batch.is_in_flight or batch.maybe_written), now)
        self._buffer.fail_rejected()

    def reject_waiting(self, error_of: Callable[[bool], ProducerError]) -> None:
        """Reject all waiting records; `fail_rejected` fails them."""
        self._buffer.reject_all(Rejection(lambda _: error_of(False)))  # noqa: FBT003 - never written

    def refuse_waiting(self, error: ProducerError) -> None:
        """Reject all waiting records: no broker accepts this client's credentials."""
        self.reject_waiting(lambda _: error)

    def refuse_node(self, node_id: int, error: ProducerError, now: float) -> None:
        """Fail the batches that wait for one node: it does not accept this client's credentials."""
        node = self._schedule.node(node_id)
        for batch in list(self._accumulator.incomplete):
            if batch.queue.node is node and not batch.is_in_flight and not batch.result.done:
                self._give_up(batch, error, now)

    def fail_rejected(self) -> bool:
        """Fail rejected records; return whether there are more, which a later turn has to fail."""
        return self._buffer.fail_rejected(FAILURES_A_SLICE)

    # Changes in the metadata.

    def topic_errors(self, errors: dict[str, ErrorCode]) -> None:
        """Keep why topics are unknown, and reject the records of topics that can never be used."""
        for topic, code in errors.items():
            self._failures.topic_failed(topic, code)
            if code in FINAL_TOPIC_ERRORS:
                self._buffer.reject(topic, Rejection(_unusable(code)))

    def topic_found(self, topic: str) -> None:
        """Forget why a topic was unknown."""
        self._failures.topic_found(topic)

    def topic_forgotten(self, topic: str) -> None:
        """Drop the state of a topic that is idle."""
        self._failures.topic_found(topic)
        self._events.topic_forgotten(topic)

    def unknown_topic(self, topic: str) -> UnknownTopicError:
        """Make the error of a topic that did not become known within `max_block_ms`."""
        return self._failures.unknown_topic(topic)

    @property
    def is_bound(self) -> bool:
        """Whether a producer id was ever in use, which binds the producer to the cluster that gave it."""
        return self._ordering.is_bound

    @property
    def has_numbered(self) -> bool:
        """Whether an incomplete batch has a sequence: an attempt was made, and it may be in the log."""
        return any(batch.sequence != NO_SEQUENCE for batch in self._accumulator.incomplete)

    def logs_replaced(self, topics: frozenset[str] | None = None) -> None:
        """Drop the producer id, and number the batches to these topics, or to all, from 0.

        The senders look again, and the first that finds a batch to send requests a new id.

        Batches that were sent may be in the old log; they are sent again, and a later error says so.
        """
        self._ordering.drop_sequences(topics)
        self._schedule.wake_all()

    # The ends of a batch.

    def _carry_out(
        self,
        verdict: Verdict,
        batch: ProducerBatch,
        error: BrokerError,
        response: PartitionProduceResponse,
        now: float,
    ) -> None:
        match verdict:
            case Verdict.DUPLICATE:
                # A duplicate is stored, at an offset that the response does not have.
                self._stored(batch, -1, -1, now)
            case Verdict.RETRY:
                self._retry(batch, error, now)
            case Verdict.RETRY_IN_ORDER:
                self._out_of_order(batch, error, now)
            case Verdict.SPLIT:
                self._split(batch, error, now)
            case Verdict.REFUSED:
                self._refused(batch, error, response, now)
            case Verdict.REFUSED_EPOCH:
                self._failed(batch, error, now)
                self._ordering.reject_epoch(batch)
            case Verdict.FATAL:
                self._failed(batch, error.as_fatal(), now)
                self._shell.fail(error)
            case _:
                assert_never(verdict)

    def _stored(self, batch: ProducerBatch, base_offset: int, log_append_time_ms: int, now: float) -> None:
        result = batch.result
        count = batch.builder.count
        if not result.done:
            self._events.batch_delivered(result.topic, count, len(batch.builder.buffer), now)
        self._end(batch, in_log=True)
        batch.queue.stored()
        if not result.done:
            result.resolve(count, base_offset, log_append_time_ms)

    def _retry(
        self, batch: ProducerBatch, error: ProducerError, now: float, *, backs_off: bool = True
    ) -> None:
        # The batch expired in flight: its deliveries have failed, so it is not sent again.
        if batch.result.done:
            self._end(batch, in_log=False)
            return
        if batch.attempts >= self._retries:
            self._failed(batch, error, now)
            return
        batch.retry(error)
        if now - batch.oldest_send >= self._delivery_timeout:
            # The response may arrive just before `expire` runs. The error is the same either way.
            self._failed(batch, self._failures.delivery_timeout(batch, now, in_flight=False), now)
            return
        self._events.batch_retried(batch.result.topic, batch.count, now)
        queue = batch.queue
        queue.failed(error)
        # The error of an earlier leader does not hold the present one back (KIP-951).
        if backs_off and queue.wire_node is queue.node:
            queue.back_off(now + self._backoff.delay(batch.attempts - 1))
        self._schedule.give_back(batch)

    def _out_of_order(self, batch: ProducerBatch, error: BrokerError, now: float) -> None:
        # The backoff holds the whole partition back. 15-19 waits for 10-14 anyway, and a backoff
        # would only delay 10-14.
        waits_for_others = batch not in batch.queue.sequences.in_flight[:1]
        if self._ordering.out_of_order(batch):
            self._retry(batch, error, now, backs_off=not waits_for_others)
            return
        subject = (
            f"{plural(batch.count, 'record')} for {place(batch)}: an earlier batch is missing on the "
            "broker, and whether an earlier attempt stored these records is not known"
        )
        self._failed(batch, BrokerError.of(error.code, subject, reason=error.reason), now)

    def _split(self, batch: ProducerBatch, error: BrokerError, now: float) -> None:
        if batch.result.done:
            self._end(batch, in_log=False)
            return
        if batch.count == 1:
            size = len(batch.builder.buffer)
            subject = f"a record of {size} bytes (with its batch's header) for {place(batch)}"
            limit = _LIMITS[error.code]
            too_large = RecordTooLargeError(
                f"{subject} is larger than the topic's {limit}", topic=batch.result.topic, size=size
            )
            too_large.__cause__ = error
            self._failed(batch, too_large, now)
            return
        # Import it at the first split: few producers split, and its codecs take long to import.
        from aioproducer.core.split import split_batch  # noqa: PLC0415

        batch.queue.land(batch)
        pieces = split_batch(batch, self._accumulator.batch_size)
        self._ordering.replace(batch, pieces)
        self._accumulator.replace(batch, pieces)
        self._events.batch_split(now)

    def _refused(
        self, batch: ProducerBatch, error: BrokerError, response: PartitionProduceResponse, now: float
    ) -> None:
        record_errors: dict[int, ProducerError] = {}
        for refused in response.record_errors:
            reason = refused.batch_index_error_message or response.error_message
            subject = f"record {refused.batch_index} of a batch for {place(batch)}"
            # Several refused records may have different causes: the batch's code need not fit each.
            code = error.code if len(response.record_errors) == 1 else ErrorCode.INVALID_RECORD
            record_errors[refused.batch_index] = BrokerError.of(code, subject, reason=reason)
        if not record_errors:
            self._failed(batch, error, now)
            return
        stored = "whether an earlier attempt stored it is not known"
        if not batch.maybe_written:
            stored = "nothing of the batch was stored: send it again"
        message = (
            f"the batch for {place(batch)} held {plural(len(record_errors), 'record')} that the broker "
            f"refused; this record was not one of them, {stored}"
        )
        innocent = BatchRefusedError(message, code=error.code, reason=response.error_message)
        self._failed(batch, innocent, now, record_errors)

    def _failed(
        self,
        batch: ProducerBatch,
        error: ProducerError,
        now: float,
        record_errors: dict[int, ProducerError] | None = None,
    ) -> None:
        result = batch.result
        # This response refuses the batch, but an earlier attempt may have stored it.
        if batch.maybe_written:
            error = in_doubt(error)
            if record_errors is not None:
                record_errors = {index: in_doubt(of_record) for index, of_record in record_errors.items()}
        self._end(batch, in_log=False)
        if not result.done:
            self._events.batch_failed(result.topic, batch.count, now)
            result.fail(batch.count, error, record_errors)

    def _end(self, batch: ProducerBatch, *, in_log: bool) -> None:
        queue = batch.queue
        queue.land(batch)
        self._ordering.settle(batch, in_log=in_log)
        self._accumulator.release(batch)
        if queue.first() is not None:
            # The batches behind it may go now.
            self._schedule.enlist(queue)

    def _give_up(self, batch: ProducerBatch, error: ProducerError, now: float) -> None:
        if batch.is_in_flight:
            # Only the deliveries end now. The response settles the batch; its sequence stays taken
            # until then.
            self._accumulator.incomplete.discard(batch)
            self._events.batch_failed(batch.result.topic, batch.count, now)
            batch.result.fail(batch.count, error)
            return
        # It waits in its queue: no broker gets it any more.
        batch.queue.withdraw(batch)
        self._failed(batch, error, now)

    def _expire_waiting(self, now: float) -> bool:
        no_room = self._buffer.expire_for_room(now, FAILURES_A_SLICE)
        if no_room:
            self._events.buffer_exhausted(len(no_room), now)
            self._no_room.fail(no_room)
        unknown = self._buffer.expire_for_topics(now, FAILURES_A_SLICE)
        self._unknown.fail(unknown)
        # A full slice: more records may have expired. The next slice shares the error of this one.
        if FAILURES_A_SLICE in (len(no_room), len(unknown)):
            return True
        self._no_room = Rejection(self._failures.no_room)
        self._unknown = Rejection(self._failures.unknown)
        return False


def _unusable(code: ErrorCode) -> Callable[[WaitingRecord], ProducerError]:
    return lambda record: BrokerError.of(code, f"topic {record.topic!r}")


def _subject(batch: ProducerBatch, number: int, code: ErrorCode) -> str:
    subject = f"{plural(batch.count, 'record')} for {place(batch)}"
    if code is ErrorCode.UNKNOWN_SERVER_ERROR and number != code:
        return f"{subject}: error code {number}, which this version does not know"
    return subject
