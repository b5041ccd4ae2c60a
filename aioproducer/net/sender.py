"""What goes to one broker: batches into Produce requests, answers into outcomes.

Everything here is called by the event loop in passing, nothing waits: `pump` sends as long
as there is something due and the broker may be sent more; whatever could change that (a
batch that fills, a timer, an answer, a connection) leads to `pump` again.

    schedule.drain ─▶ compress ─▶ number and stamp ─▶ ProduceRequest ─▶ broker.send
                                                                              │
    settlement.answered / lost ◀── each batch that was asked for ◀── answer ──┘
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from aioproducer.core.producer_batch import BLOCKED, NEVER
from aioproducer.core.settlement import no_answer
from aioproducer.errors import BrokerConnectionError, ProducerError, ProtocolError, UnsupportedVersionError
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.frame import decode_response
from aioproducer.protocol.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from aioproducer.records.compression import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig
    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.broker_versions import BrokerVersions
    from aioproducer.core.connection import PendingRequest
    from aioproducer.core.events import Listener
    from aioproducer.core.idempotence import Ordering
    from aioproducer.core.producer_batch import NodeQueue, ProducerBatch
    from aioproducer.core.settlement import Settlement
    from aioproducer.net.broker import Broker
    from aioproducer.net.channel import Channel
    from aioproducer.net.compressor import Compressor
    from aioproducer.net.retry_log import RetryLog
    from aioproducer.protocol.produce import NodeEndpoint, PartitionProduceResponse

    Asked: TypeAlias = dict[str | UUID, dict[int, ProducerBatch]]
    LeaderHint: TypeAlias = Callable[[str, int, int, int, tuple[NodeEndpoint, ...]], object]

logger = logging.getLogger("aioproducer.sender")

SLICE = 0.001
"""Seconds of sending after which the event loop gets its turn."""


class Sender:
    """Sends what the partitions that one broker leads have to send.

    `released()` is called after batches were settled: there may be room in the buffer;
    `held_back()` when none of those that wait may be sent; `crashed(error)` when something
    fails that nobody foresaw.
    """

    def __init__(
        self,
        broker: Broker,
        node: NodeQueue,
        *,
        config: ProducerConfig,
        accumulator: Accumulator,
        settlement: Settlement,
        ordering: Ordering,
        events: Listener,
        compressor: Compressor,
        retry_log: RetryLog,
        clock: Callable[[], float],
        leader_hint: LeaderHint,
        released: Callable[[], object],
        held_back: Callable[[], object],
        crashed: Callable[[BaseException], object],
    ) -> None:
        self.broker = broker
        self._node = node
        self._acks = config.acks
        self._timeout_ms = config.request_timeout_ms
        self._max_request_size = config.max_request_size
        self._max_in_flight = config.max_in_flight_requests_per_connection
        self._accumulator = accumulator
        self._schedule = accumulator.schedule
        self._settlement = settlement
        self._ordering = ordering
        self._events = events
        self._compressor = compressor
        self._retry_log = retry_log
        self._clock = clock
        self._leader_hint = leader_hint
        self._released = released
        self._held_back = held_back
        self._crashed = crashed
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._unanswered = 0
        self._is_compressing = False
        self._is_closed = False

    def wake(self) -> None:
        """Look at the node when it is due, which is sooner than was planned."""
        node = self._node
        if self._handle is not None:
            self._handle.cancel()
        delay = node.due - self._clock()
        if delay <= 0 or self._schedule.urgent:
            node.armed = BLOCKED
            self._handle = self._loop.call_soon(self.pump)
        else:
            node.armed = node.due
            self._handle = self._loop.call_later(delay, self.pump)

    def pump(self) -> None:
        """Send all that is due and may be sent, and plan when to look again."""
        if self._is_closed:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._node.armed = BLOCKED
        try:
            now = self._clock()
            while (channel := self._sendable_channel(now)) is not None:
                batches = self._schedule.drain(
                    self._node, now, self._max_request_size, self._ordering.may_send
                )
                if not batches:
                    self._held_back()
                    break
                self._dispatch(channel, batches, now)
                if self._clock() - now > SLICE:
                    self._handle = self._loop.call_soon(self.pump)
                    return
            self._plan(now)
        except Exception as error:  # noqa: BLE001 - the background never dies silently
            self._crashed(error)

    def close(self) -> None:
        """Stop looking; answers to what was sent are still dealt with."""
        self._is_closed = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sendable_channel(self, now: float) -> Channel | None:
        if self._node.is_empty() or self._is_compressing or self._unanswered >= self._max_in_flight:
            return None
        channel = self.broker.channel
        if channel is None:
            self.broker.want()
            return None
        return channel if channel.sendable_at(now) <= now else None

    def _plan(self, now: float) -> None:
        node = self._node
        if node.is_empty():
            node.armed = NEVER
            return
        if node.due <= now and node.starved_since == NEVER:
            node.starved_since = now
        channel = self.broker.channel
        if channel is None or self._is_compressing or self._unanswered >= self._max_in_flight:
            return  # the connection, the compressor or an answer will pump
        sendable = channel.sendable_at(now)
        if sendable > now:
            if sendable < NEVER:
                self._handle = self._loop.call_later(sendable - now, self.pump)
            return
        node.armed = node.due
        if node.due < NEVER:
            self._handle = self._loop.call_later(max(0.0, node.due - now), self.pump)

    def _dispatch(self, channel: Channel, batches: list[ProducerBatch], now: float) -> None:
        if self._compressor.codec is Codec.NONE:
            self._write(channel, batches, now)
        elif self._compressor.is_quick(batches):
            self._compressor.compress(batches)
            self._write(channel, batches, now)
        else:
            # The next request waits for this one, so that batches keep their order.
            self._is_compressing = True
            self._compressor.submit(batches, partial(self._compressed, batches))

    def _compressed(self, batches: list[ProducerBatch], error: BaseException | None) -> None:
        self._is_compressing = False
        if error is not None:
            self._crashed(error)
            return
        now = self._clock()
        try:
            channel = self.broker.channel
            if channel is not None and channel.throttled_until <= now:
                self._write(channel, batches, now)
            else:
                for batch in batches:
                    self._settlement.unsent(batch, None, now)
                self._released()
        except Exception as crash:  # noqa: BLE001 - the background never dies silently
            self._crashed(crash)
            return
        self.pump()

    def _write(self, channel: Channel, batches: list[ProducerBatch], now: float) -> None:
        going = []
        for batch in batches:
            if batch.result.done or not self._ordering.assign(batch):
                self._settlement.unsent(batch, None, now)
            else:
                going.append(batch)
        if not going:
            self._released()
            return
        try:
            version, asked, request = self._request(going, channel.versions)
        except UnsupportedVersionError as error:
            for batch in going:
                self._settlement.unsent(batch, error, now)
            self._released()
            return
        self._measure(going, now)
        if self._acks == 0:
            channel.send(request, version, _no_answer_expected, expect_answer=False)
            for batch in going:
                self._settlement.stored_unasked(batch, now)
            self._released()
            return
        self._unanswered += 1
        channel.send(request, version, partial(self._answered, asked))

    def _request(
        self, batches: list[ProducerBatch], versions: BrokerVersions
    ) -> tuple[int, Asked, ProduceRequest]:
        by_topic: dict[str, dict[int, ProducerBatch]] = {}
        for batch in batches:
            queue = batch.queue
            partitions = by_topic.get(queue.topic)
            if partitions is None:
                partitions = by_topic[queue.topic] = {}
            partitions[queue.partition] = batch
        at_most = None
        topics = []
        for topic, partitions in by_topic.items():
            topic_id = self._topic_id(topic)
            if topic_id is ZERO_UUID:
                at_most = ProduceRequest.topic_ids_from - 1
            data = [PartitionProduceData(index, _stamped(batch)) for index, batch in partitions.items()]
            topics.append(TopicProduceData(topic, topic_id, tuple(data)))
        if len(topics) > 1 and len({data.topic_id for data in topics}) < len(topics):
            # What metadata says of two topics cannot both be true; their names are.
            at_most = ProduceRequest.topic_ids_from - 1
        version = versions.choose(ApiKey.PRODUCE, ProduceRequest.versions, at_most=at_most)
        if version < ProduceRequest.zstd_from and self._compressor.codec is Codec.ZSTD:
            msg = f"broker {self.broker.node_id} is too old for zstd, which needs Kafka 2.1"
            raise UnsupportedVersionError(msg)
        request = ProduceRequest(
            transactional_id=None, acks=self._acks, timeout_ms=self._timeout_ms, topic_data=tuple(topics)
        )
        by_id = version >= ProduceRequest.topic_ids_from
        asked: Asked = {data.topic_id if by_id else data.name: by_topic[data.name] for data in topics}
        return version, asked, request

    def _topic_id(self, topic: str) -> UUID:
        topic_queue = self._accumulator.topics.get(topic)
        topic_id = None if topic_queue is None else topic_queue.topic_id
        return topic_id if isinstance(topic_id, UUID) and topic_id.int else ZERO_UUID

    def _measure(self, batches: list[ProducerBatch], now: float) -> None:
        records = wire = raw = 0
        waited = longest = 0.0
        for batch in batches:
            builder = batch.builder
            records += builder.count
            wire += len(builder.buffer)
            raw += builder.raw_size
            age = now - batch.created
            waited += age
            longest = max(longest, age)
            batch.sent_at = now
        self._events.batches_sent(len(batches), records, wire, raw, waited, longest, now)

    def _answered(
        self, asked: Asked, pending: PendingRequest, frame: memoryview | None, error: Exception | None
    ) -> None:
        self._unanswered -= 1
        self._node.armed = BLOCKED
        now = self._clock()
        try:
            if frame is None:
                self._lose(asked, error, now)
            else:
                self._receive(asked, pending, frame, now)
        except Exception as crash:  # noqa: BLE001 - the background never dies silently
            self._crashed(crash)
            return
        self._released()
        if self._node.is_empty():
            self._node.armed = NEVER
        else:
            self.pump()

    def _receive(self, asked: Asked, pending: PendingRequest, frame: memoryview, now: float) -> None:
        try:
            _, response = decode_response(ProduceResponse, frame, pending.version)
        except ProtocolError as malformed:
            self._lose(asked, malformed, now)
            self.broker.drop(malformed)
            return
        node_id = self.broker.node_id
        if response.throttle_time_ms > 0:
            self._events.throttled(node_id, response.throttle_time_ms / 1000, now)
            if pending.version >= response.client_throttled_from:
                channel = self.broker.channel
                if channel is not None:
                    channel.throttle(response.throttle_time_ms / 1000)
        by_id = pending.version >= ProduceRequest.topic_ids_from
        for topic in response.responses:
            partitions = asked.get(topic.topic_id if by_id else topic.name)
            for answer in topic.partition_responses:
                batch = None if partitions is None else partitions.pop(answer.index, None)
                if batch is None:
                    logger.warning(
                        "%r answered for a partition it was not asked for: %r", self.broker, answer
                    )
                    continue
                self._settle(batch, answer, now)
                self._heed(batch, answer, response.node_endpoints)
        for partitions in asked.values():
            for batch in partitions.values():
                self._lost(batch, no_answer(batch, node_id), now)
        self._retry_log.tell()

    def _settle(self, batch: ProducerBatch, answer: PartitionProduceResponse, now: float) -> None:
        attempts = batch.attempts
        self._settlement.answered(batch, answer, now)
        if batch.attempts != attempts and not batch.result.done:
            self._retry_log.retried(batch)
        elif self._retry_log.troubled and batch.queue.last_error is None:
            self._retry_log.stored(batch.queue)

    def _heed(
        self, batch: ProducerBatch, answer: PartitionProduceResponse, endpoints: tuple[NodeEndpoint, ...]
    ) -> None:
        leader = answer.current_leader
        if answer.error_code and leader.leader_id >= 0 and leader.leader_epoch >= 0:
            queue = batch.queue
            self._leader_hint(queue.topic, queue.partition, leader.leader_id, leader.leader_epoch, endpoints)

    def _lose(self, asked: Asked, cause: Exception | None, now: float) -> None:
        error = cause
        if not isinstance(error, ProducerError):
            error = BrokerConnectionError(f"{self.broker.address} gave no answer: {cause}")
        for partitions in asked.values():
            for batch in partitions.values():
                self._lost(batch, error, now)
        self._retry_log.tell()

    def _lost(self, batch: ProducerBatch, error: ProducerError, now: float) -> None:
        attempts = batch.attempts
        self._settlement.lost(batch, error, now)
        # A broker is closed when the producer ends, too: then nothing is sent again.
        if batch.attempts != attempts and not batch.result.done and not self.broker.is_closed:
            self._retry_log.retried(batch)


def _stamped(batch: ProducerBatch) -> bytearray:
    return batch.builder.stamp(batch.producer_id, batch.producer_epoch, batch.sequence, transactional=False)


def _no_answer_expected(*_arguments: object) -> None:
    """Answers to acks=0 do not exist."""
