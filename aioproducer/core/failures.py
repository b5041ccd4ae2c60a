"""Errors of records that were not delivered in time: each names the present cause.

A batch keeps the error of its last attempt. In a long outage no attempt is made; then `OutageSource` knows
the cause: unreachable brokers, missing metadata or a missing producer id.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Protocol

from aioproducer.errors import (
    BrokerConnectionError,
    BufferExhaustedError,
    DeliveryTimeoutError,
    ProducerError,
    UnknownPartitionError,
    UnknownTopicError,
    plural,
)

if TYPE_CHECKING:
    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.sequences import Ordering
    from aioproducer.core.waiting_records import WaitingRecord
    from aioproducer.error_code import ErrorCode


class OutageSource(Protocol):
    """The present outages, as far as the code around the core knows them: `net/outages.py`."""

    def of_node(self, node_id: int) -> ProducerError | None:
        """Return why a node cannot be sent to, None if it can or the cause is unknown."""

    def of_cluster(self) -> ProducerError | None:
        """Return why no broker can be asked, None if one can or the cause is unknown."""

    def of_producer_id(self) -> ProducerError | None:
        """Return why the producer id is missing, None if the cause is unknown."""


class Failures:
    """Makes the errors; `topic_failed` and `topic_found` tell why topics are unknown."""

    def __init__(
        self, accumulator: Accumulator, ordering: Ordering, outages: OutageSource, *, delivery_timeout: float
    ) -> None:
        self._accumulator = accumulator
        self._buffer = accumulator.buffer
        self._ordering = ordering
        self._outages = outages
        self._delivery_timeout = delivery_timeout
        self._topics: dict[str, ErrorCode] = {}

    def topic_failed(self, topic: str, code: ErrorCode) -> None:
        """Keep why a topic is unknown."""
        self._topics[topic] = code

    def topic_found(self, topic: str) -> None:
        """Forget why a topic was unknown."""
        self._topics.pop(topic, None)

    def delivery_timeout(self, batch: ProducerBatch, now: float, *, in_flight: bool) -> DeliveryTimeoutError:
        """Make the error of a batch that was not acknowledged within the delivery timeout."""
        is_in_doubt = in_flight or batch.maybe_written
        age = now - batch.oldest_send
        message = (
            f"{plural(batch.count, 'record')} for {place(batch)} not acknowledged within "
            f"{age * 1000:.0f} ms (delivery_timeout_ms is {self._delivery_timeout * 1000:.0f})"
        )
        # A batch in flight was sent: only its response is missing.
        outage = None if in_flight else self._outages.of_node(batch.queue.node.node_id)
        if batch.last_error is not None:
            attempts = plural(batch.attempts, "attempt")
            message = f"{message}; {attempts} failed, the last with: {batch.last_error}"
            # The last attempt failed in the same outage: do not say it twice.
            if outage is not None and outage.__cause__ is not batch.last_error:
                message = f"{message}; now the leader cannot be sent to: {outage}"
        elif not in_flight:
            message = f"{message}; no attempt was made: {self._why_unsent(batch)}"
        error = DeliveryTimeoutError(
            message, topic=batch.result.topic, partition=batch.result.partition, may_be_written=is_in_doubt
        )
        # A batch that was never sent may have waited for an earlier one of its partition: name that
        # cause.
        never_tried = batch.attempts == 0 and not is_in_doubt
        error.__cause__ = outage or (batch.queue.last_error if never_tried else batch.last_error)
        return error

    def no_room(self, record: WaitingRecord) -> ProducerError:
        """Make the error of a record that waited for room too long."""
        buffer = self._buffer
        message = (
            f"no room for a record for topic {record.topic!r} within {self._max_wait()}: {buffer.used} "
            f"of {buffer.memory} bytes (buffer_memory) are in use; produce slower, or await "
            "drain() between sends"
        )
        return BufferExhaustedError(message)

    def unknown(self, record: WaitingRecord) -> ProducerError:
        """Make the error of a record that waited for its topic or partition too long."""
        topic = record.topic
        within = f"within {self._max_wait()}"
        topic_queue = self._accumulator.topics.get(topic)
        if topic_queue is None:
            return self.unknown_topic(topic, within)
        message = (
            f"topic {topic!r} has {plural(topic_queue.count, 'partition')} and got no partition "
            f"{record.partition} {within}"
        )
        return UnknownPartitionError(
            message, topic=topic, partition=record.partition, partitions=topic_queue.count
        )

    def unknown_topic(self, topic: str, within: str = "") -> UnknownTopicError:
        """Make the error of a topic that did not become known."""
        within = within or f"within max_block_ms ({self._buffer.max_block * 1000:.0f})"
        # An outage is the better cause: the code may be from a response of an hour ago.
        outage = self._outages.of_cluster()
        code = self._topics.get(topic)
        cause = "no broker could be asked" if code is None else f"the brokers answer {code.name}"
        if outage is not None:
            cause = f"no broker could be asked: {outage}"
        error = UnknownTopicError(f"topic {topic!r} did not become known {within}: {cause}", topic=topic)
        error.__cause__ = outage
        return error

    def _why_unsent(self, batch: ProducerBatch) -> str:
        # The first cause that applies hides the others: without a leader no broker can be named, and
        # while its broker is away the partition needs no producer id.
        queue = batch.queue
        node_id = queue.node.node_id
        if node_id < 0:
            return "the partition has no leader"
        outage = self._outages.of_node(node_id)
        if outage is not None:
            return str(outage)
        if queue.last_error is not None:
            return f"it waited for an earlier batch of the partition, which failed with: {queue.last_error}"
        if self._ordering.needs_producer_id:
            cause = "the brokers have given no producer id (InitProducerId) yet"
            error = self._outages.of_producer_id()
            return cause if error is None else f"{cause}: {error}"
        return f"broker {node_id}, which leads the partition, could not be sent to"

    def _max_wait(self) -> str:
        # The shorter one of both options ends the wait: name it.
        limit = self._buffer.max_wait
        option = "max_block_ms" if limit == self._buffer.max_block else "delivery_timeout_ms"
        return f"{option} ({limit * 1000:.0f})"


def no_response(batch: ProducerBatch, node_id: int) -> BrokerConnectionError:
    """Make the error of a batch that was sent, but is missing in the response."""
    return BrokerConnectionError(f"broker {node_id} left {place(batch)} out of its answer")


def unplaceable(record: WaitingRecord, error: Exception) -> ProducerError:
    """Make the error of a waiting record that could not be put into a batch."""
    if isinstance(error, ProducerError):
        return error
    failure = ProducerError(f"a record for topic {record.topic!r} cannot be put into a batch: {error!r}")
    failure.__cause__ = error
    return failure


def in_doubt(error: ProducerError) -> ProducerError:
    """Return a copy of an error with `may_be_written`; other batches may have the original."""
    # `copy` keeps code and topic, but not the cause.
    twin = copy(error)
    twin.__cause__ = error.__cause__
    twin.may_be_written = True
    return twin


def place(batch: ProducerBatch) -> str:
    """Return topic and partition of a batch, for messages."""
    return f"{batch.result.topic}-{batch.result.partition}"
