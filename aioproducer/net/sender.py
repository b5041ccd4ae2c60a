"""The sender: carries out the decisions of `core/dispatch.py` on the connection to one broker.

The event loop calls it; nothing here waits. Each event that could let batches go leads to `pump`: a
full batch, a timer, a response, a connection.

    decide ─▶ compress ─▶ assign ─▶ ProduceCall ─▶ channel.send
                                                       │
    settlement.settle, lost ◀── match ◀── response ◀───┘
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, assert_never

from aioproducer.core.batch import NEVER
from aioproducer.core.dispatch import Connect, Send, Wait
from aioproducer.core.failures import no_response
from aioproducer.errors import BrokerConnectionError, ProducerError, ProtocolError, UnsupportedVersionError
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.frame import decode_response
from aioproducer.protocol.produce import ProduceRequest, ProduceResponse
from aioproducer.records.compression import Codec

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.connection import PendingRequest
    from aioproducer.core.dispatch import Dispatch
    from aioproducer.core.events import Listener
    from aioproducer.core.produce_request import ProduceCall, ProduceRequests
    from aioproducer.core.settlement import Settlement
    from aioproducer.net.broker import Broker
    from aioproducer.net.compressor import Compressor
    from aioproducer.net.owner import Owner
    from aioproducer.net.retry_log import RetryLog
    from aioproducer.protocol.produce import NodeEndpoint, PartitionProduceResponse

logger = logging.getLogger("aioproducer.sender")

SLICE = 0.001
"""Seconds of sending in one turn of the event loop."""


class Sender:
    """Sends the batches of the partitions that one broker leads."""

    def __init__(
        self,
        broker: Broker,
        dispatch: Dispatch,
        requests: ProduceRequests,
        *,
        settlement: Settlement,
        events: Listener,
        compressor: Compressor,
        retry_log: RetryLog,
        owner: Owner,
    ) -> None:
        self.broker = broker
        self._dispatch = dispatch
        self._requests = requests
        self._settlement = settlement
        self._events = events
        self._compressor = compressor
        self._retry_log = retry_log
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._is_closed = False

    def wake(self) -> None:
        """Look at the node when it is due, which is sooner than planned."""
        now = self._owner.clock()
        self._look_at(self._dispatch.wake(now), now)

    def pump(self) -> None:
        """Send all batches that are due and may go, and plan the next look."""
        if self._is_closed:
            return
        if self._handle is not None:
            self._cancel()
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - the background never dies silently
            self._owner.crash(error)

    def close(self) -> None:
        """Send nothing more; the responses that are still to come are handled."""
        self._is_closed = True
        self._dispatch.close()
        self._cancel()

    def _send(self) -> None:
        now = self._owner.clock()
        while True:
            channel = self.broker.channel
            decision = self._dispatch.decide(now, None if channel is None else channel.sendable_at(now))
            match decision:
                case Send():
                    self._compress(decision.batches, now)
                    # The usual case of a producer that awaits each record: there was one batch.
                    if self._dispatch.rests():
                        return
                    # Let other callbacks run after 1 ms of sending.
                    if self._owner.clock() - now > SLICE:
                        self._handle = self._loop.call_soon(self.pump)
                        return
                case Connect():
                    self.broker.want()
                    return
                case Wait():
                    self._look_at(decision.until, now)
                    return
                case _:
                    assert_never(decision)

    def _look_at(self, when: float, now: float) -> None:
        if self._handle is not None:
            self._cancel()
        if when <= now:
            self._handle = self._loop.call_soon(self.pump)
        elif when < NEVER:
            self._handle = self._loop.call_later(when - now, self.pump)

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    # A request.

    def _compress(self, batches: list[ProducerBatch], now: float) -> None:
        if self._compressor.codec is Codec.NONE:
            self._write(batches, now)
        elif self._compressor.is_quick(batches):
            self._compressor.compress(batches)
            self._write(batches, now)
        else:
            # The loop goes on meanwhile; `_compressed` continues with these batches.
            self._dispatch.compression_started()
            self._compressor.submit(batches, partial(self._compressed, batches))

    def _compressed(self, batches: list[ProducerBatch], error: BaseException | None) -> None:
        self._dispatch.compression_ended()
        if error is not None:
            self._owner.crash(error)
            return
        now = self._owner.clock()
        try:
            self._write(batches, now)
        except Exception as crash:  # noqa: BLE001 - the background never dies silently
            self._owner.crash(crash)
            return
        self.pump()

    def _write(self, batches: list[ProducerBatch], now: float) -> None:
        channel = self.broker.channel
        if channel is None or channel.throttled_until > now:
            # The connection was lost or throttled while the batches were compressed.
            self._dispatch.give_back(batches, now)
            return
        batches = self._dispatch.assign(batches, now)
        if not batches:
            return
        call = self._requests.build(batches)
        try:
            version = channel.versions.choose(ApiKey.PRODUCE, ProduceRequest.versions, at_most=call.at_most)
            self._requests.check_version(version, self.broker.node_id)
        except UnsupportedVersionError as error:
            # The batches have sequences by now: `unsent` resolves them as not stored.
            for batch in batches:
                self._settlement.unsent(batch, error, now)
            return
        self._measure(batches, now)
        if self._requests.acks == 0:
            channel.send(call.request, version, _no_response_expected, expect_answer=False)
            for batch in batches:
                self._settlement.assume_stored(batch, now)
            return
        self._dispatch.request_sent()
        channel.send(call.request, version, partial(self._ended, call))

    def _measure(self, batches: list[ProducerBatch], now: float) -> None:
        records = wire = raw = 0
        waited = longest = 0.0
        for batch in batches:
            builder = batch.builder
            records += builder.count
            wire += len(builder.buffer)
            raw += builder.raw_size
            # record-queue-time: from the first record of a batch to its request, retries included.
            age = now - batch.created
            waited += age
            longest = max(longest, age)
        self._events.batches_sent(len(batches), records, wire, raw, waited, longest, now)

    # Its response.

    def _ended(
        self, call: ProduceCall, pending: PendingRequest, frame: memoryview | None, error: Exception | None
    ) -> None:
        self._dispatch.request_ended()
        now = self._owner.clock()
        try:
            if frame is None:
                self._lose_request(call, error, now)
            else:
                self._receive(call, pending, frame, now)
        except Exception as crash:  # noqa: BLE001 - the background never dies silently
            self._owner.crash(crash)
            return
        # After a lone batch there is nothing to decide.
        if not self._dispatch.rests():
            self.pump()

    def _receive(self, call: ProduceCall, pending: PendingRequest, frame: memoryview, now: float) -> None:
        try:
            _, response = decode_response(ProduceResponse, frame, pending.version)
        except ProtocolError as malformed:
            # Nothing in a malformed response is certain, so each batch may be written.
            self._lose_request(call, malformed, now)
            self.broker.drop(malformed)
            return
        if response.throttle_time_ms:
            self._throttle(response, pending.version, now)
        matches = call.match(response, pending.version)
        for batch, partition in matches.pairs:
            self._settle(batch, partition, now)
            if partition.error_code:
                self._use_hint(batch, partition, response.node_endpoints)
        for partition in matches.unexpected:
            logger.warning("%r answered for a partition it was not asked for: %r", self.broker, partition)
        for batch in matches.missing:
            self._lose_batch(batch, no_response(batch, self.broker.node_id), now)
        self._retry_log.tell()

    def _throttle(self, response: ProduceResponse, version: int, now: float) -> None:
        seconds = response.throttle_time_ms / 1000
        if seconds > 0:
            self._events.throttled(self.broker.node_id, seconds, now)
            channel = self.broker.channel
            # Before Produce 6 the broker delays the response itself, and the client must not wait
            # again (KIP-219).
            if version >= response.client_throttled_from and channel is not None:
                channel.throttle(seconds)

    def _settle(self, batch: ProducerBatch, partition: PartitionProduceResponse, now: float) -> None:
        # A batch that `Settlement` puts back has one more attempt.
        attempts = batch.attempts
        self._settlement.settle(batch, partition, now)
        if batch.attempts != attempts and not batch.result.done:
            self._retry_log.retried(batch)
        elif self._retry_log.troubled and batch.queue.last_error is None:
            self._retry_log.stored(batch.queue)

    def _use_hint(
        self, batch: ProducerBatch, partition: PartitionProduceResponse, endpoints: tuple[NodeEndpoint, ...]
    ) -> None:
        leader = partition.current_leader
        # Node id -1 means that the partition has no leader at present.
        if leader.leader_id >= 0 and leader.leader_epoch >= 0:
            topic, index = batch.queue.topic, batch.queue.partition
            self._owner.leader_hinted(topic, index, leader.leader_id, leader.leader_epoch, endpoints)

    def _lose_request(self, call: ProduceCall, cause: Exception | None, now: float) -> None:
        error = cause
        if not isinstance(error, ProducerError):
            error = BrokerConnectionError(f"{self.broker.address} gave no answer: {cause}")
        for batch in call.batches():
            self._lose_batch(batch, error, now)
        self._retry_log.tell()

    def _lose_batch(self, batch: ProducerBatch, error: ProducerError, now: float) -> None:
        attempts = batch.attempts
        self._settlement.lost(batch, error, now)
        # A broker is closed when the producer ends, too: then nothing is sent again.
        if batch.attempts != attempts and not batch.result.done and not self.broker.is_closed:
            self._retry_log.retried(batch)


def _no_response_expected(*_arguments: object) -> None:
    """Do nothing: with acks=0 brokers do not respond."""
