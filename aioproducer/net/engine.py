"""The parts of a running producer, put together; and the clock that times their waits.

Everything lives on one event loop. The accumulator and the settlement decide; the engine
hands them the time, and does what they ask for.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from aioproducer.core.accumulator import Accumulator
from aioproducer.core.backoff import Backoff
from aioproducer.core.events import dispatcher
from aioproducer.core.idempotence import Sequencer, Unnumbered
from aioproducer.core.metadata import Metadata
from aioproducer.core.metadata_cache import FINAL_TOPIC_ERRORS
from aioproducer.core.partitioner import KeyPartitioner, Partitioner
from aioproducer.core.producer_batch import NEVER
from aioproducer.core.settlement import Settlement, in_doubt
from aioproducer.errors import BrokerError, CallTimeoutError, ProducerClosedError, ProducerFailedError, plural
from aioproducer.metrics.producer_metrics import ProducerMetrics
from aioproducer.net.client import Client
from aioproducer.net.cluster import Cluster
from aioproducer.net.compressor import Compressor
from aioproducer.net.outages import Outages
from aioproducer.net.producer_id import ProducerIdTask
from aioproducer.net.retry_log import RetryLog
from aioproducer.net.sender import Sender
from aioproducer.net.tasks import Tasks
from aioproducer.net.timer import WAKES, LateTimer
from aioproducer.records.compression import Codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig
    from aioproducer.delivery import BatchResult
    from aioproducer.errors import BootstrapError, ProducerError
    from aioproducer.net.broker import Broker

logger = logging.getLogger("aioproducer.engine")

# In a tuple, since a library that freezes the time replaces the attributes of modules.
_REAL_MONOTONIC = (time.monotonic,)

RECORDS_A_SLICE = 256
"""How many waiting records are placed before the event loop gets its turn."""

SOONEST = 0.005
"""Seconds between two looks at what has expired, at the least."""

NEXT_LOOK = 0.1
"""Seconds to the next look, at the least, where nothing expires before: `max_block_ms` may be 0."""


class Engine:
    """All of a producer but its public face."""

    def __init__(self, config: ProducerConfig, client_id: str, on_failure: Callable[[], object]) -> None:
        # Until `start` there is no event loop whose clock could be asked.
        clock = time.monotonic
        self._on_failure = on_failure
        self.config = config
        self.client_id = client_id
        self.clock: Callable[[], float] = clock
        self.failure: ProducerError | None = None
        self.metrics = ProducerMetrics(
            clock(), num_samples=config.metrics_num_samples, sample_window=config.metrics_sample_window
        )
        self._events = dispatcher((self.metrics,))
        self.accumulator = Accumulator(
            batch_size=max(config.batch_size, 1),
            linger=config.linger,
            buffer_memory=config.buffer_memory,
            max_block=config.max_block,
            max_request_size=config.max_request_size,
            partitioner=_partitioner(config),
            clock=clock,
            wall_clock_ns=time.time_ns,
            random=random.random,
            adaptive=config.partitioner_adaptive_partitioning_enable,
            availability_timeout=config.availability_timeout,
            delivery_timeout=config.delivery_timeout,
            events=self._events,
        )
        self._retry_backoff = Backoff(config.retry_backoff, config.retry_backoff_max, random.random)
        self.metadata = Metadata(
            max_age=config.metadata_max_age,
            max_idle=config.metadata_max_idle,
            backoff=self._retry_backoff,
            rebootstrap_trigger=(
                config.rebootstrap_trigger if config.metadata_recovery_strategy == "rebootstrap" else None
            ),
        )
        self._outages = Outages()
        self._retry_log = RetryLog(clock)
        self._sequencer = Sequencer() if config.enable_idempotence else None
        self._ordering = self._sequencer or Unnumbered(config.max_in_flight_requests_per_connection)
        self._settlement = Settlement(
            self.accumulator,
            self._ordering,
            self._events,
            self._retry_backoff,
            idempotent=config.enable_idempotence,
            retries=config.retries,
            delivery_timeout=config.delivery_timeout,
            outages=self._outages,
            refresh_metadata=self._refresh_metadata,
            fail_all=self._fail,
        )
        self._compressor = Compressor(
            Codec.of_name(config.compression_type), config.compression_level, self.accumulator
        )
        self._tasks: Tasks | None = None
        self._cluster: Cluster | None = None
        self._producer_id_task: ProducerIdTask | None = None
        self._timer: asyncio.Handle | LateTimer | None = None
        self._timer_due = NEVER
        self._is_serving = False
        self._roomy: list[asyncio.Future[None]] = []

    async def start(self, *, wait: bool = True) -> None:
        """Find the cluster; raises BootstrapError when that is not done within `max_block_ms`.

        Without `wait` the search goes on in the background, for as long as it takes.
        """
        config = self.config
        accumulator = self.accumulator
        self._join_loop()
        self._tasks = Tasks(f"aioproducer-{self.client_id}", self._crash)
        self._cluster = Cluster(
            Client.of(config, self.client_id, self._events, self.clock),
            metadata=self.metadata,
            accumulator=accumulator,
            settlement=self._settlement,
            tasks=self._tasks,
            make_sender=self._make_sender,
            outages=self._outages,
            released=self._released,
        )
        accumulator.schedule.wake = self._cluster.wake
        accumulator.want_topic = self._cluster.want_topic
        accumulator.watch = self._watch
        await self._tasks.start()
        if wait:
            await self._cluster.find(config.max_block)
        self._tasks.spawn("metadata", self._cluster.run)
        if self._sequencer is not None:
            self._producer_id_task = ProducerIdTask(self._sequencer, self._cluster, self._outages, self)
            self._tasks.spawn("producer-id", self._producer_id_task.run)

    def producer_id_received(self) -> None:
        """Send the batches that waited for a producer id."""
        self.accumulator.schedule.wake_all()

    def producer_id_refused(self, error: ProducerError) -> None:
        """Fail the unsent records: the cluster gives no producer id."""

        def error_of(may_be_written: bool) -> ProducerError:  # noqa: FBT001 - the one question
            return in_doubt(error) if may_be_written else error

        self._settlement.give_up(error_of, self.clock())
        self._released()

    @property
    def is_found(self) -> bool:
        """Whether a bootstrap server has answered since the start."""
        return self._cluster is not None and self._cluster.is_found

    async def wait_until_found(self) -> None:
        """Return when the cluster is found, or the producer's state has changed."""
        assert self._cluster is not None  # noqa: S101 - there is one while started
        await self._cluster.wait_until_found()

    def bootstrap_error(self, waited: float) -> BootstrapError:
        """Make the error of a cluster that was not found within `waited` seconds."""
        assert self._cluster is not None  # noqa: S101 - there is one while started
        return self._cluster.bootstrap_error(waited)

    def _join_loop(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self.clock = self.accumulator.clock = _clock_of(loop)
        self.accumulator.loop = loop
        self.metrics.begin(self.clock())

    async def stop(self) -> None:
        """Fail what is not done yet, close every connection and end every task."""
        why = "the producer was stopped before the record was acknowledged"
        self._settlement.close_line(partial(self._end_error, why))
        try:
            while self._settlement.see_off():
                await checkpoint()
        finally:
            self.give_up(why)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_waiters()
        if self._cluster is not None:
            self._cluster.close(ProducerClosedError("the producer was stopped"))
        if self._tasks is not None:
            await self._tasks.stop()
        await self._compressor.aclose()

    def give_up(self, why: str) -> None:
        """Fail everything that is not done."""
        self._settlement.give_up(partial(self._end_error, why), self.clock())

    def _end_error(self, why: str, may_be_written: bool) -> ProducerError:  # noqa: FBT001 - the one question
        if self.failure is not None:
            return self.failed_error(may_be_written=may_be_written)
        return ProducerClosedError(why, may_be_written=may_be_written)

    async def settle(self, results: list[BatchResult], timeout: float | None) -> None:
        """Have everything sent without linger and wait for `results`; raises CallTimeoutError."""
        accumulator = self.accumulator
        accumulator.schedule.urgent += 1
        accumulator.schedule.wake_all()
        started = self.clock()
        try:
            with anyio.fail_after(timeout):
                for result in results:
                    if not result.done:
                        await result.settled()
                if self.config.acks == 0:
                    await self._written()
        except TimeoutError:
            open_still = sum(not result.is_settled() for result in results)
            msg = f"{plural(open_still, 'batch')} not acknowledged within {timeout} s, but still being sent"
            raise CallTimeoutError(msg) from None
        finally:
            accumulator.schedule.urgent -= 1
            self._events.flushed(self.clock() - started)

    async def _written(self) -> None:
        cluster = self._cluster
        brokers = [] if cluster is None else list(cluster.brokers.values())
        with anyio.move_on_after(self.config.delivery_timeout):
            for broker in brokers:
                if broker.channel is not None:
                    await broker.channel.written()

    async def wait_for_topic(self, topic: str) -> None:
        """Return when the next answer that concerns a topic has come."""
        assert self._cluster is not None  # noqa: S101 - there is one while started
        await self._cluster.wait_for_topic(topic)

    def unknown_topic(self, topic: str) -> ProducerError:
        """Make the error for a topic that did not become known within `max_block_ms`."""
        return self._settlement.unknown_topic(topic)

    def raise_for_topic(self, topic: str) -> None:
        """Raise if the brokers said that the topic can never be used."""
        code = self.metadata.errors.get(topic)
        if code in FINAL_TOPIC_ERRORS:
            raise BrokerError.of(code, f"topic {topic!r}")

    def has_room(self) -> bool:
        """Return whether nobody waits for room, and less than half of the buffer and the line is in use."""
        accumulator = self.accumulator
        half = accumulator.buffer_memory / 2
        used, in_line = accumulator.used, accumulator.line.bytes
        return not accumulator.waiting and (not used or used < half) and (not in_line or in_line < half)

    def room(self) -> asyncio.Future[None]:
        """Return a future that is done when less than half of the buffer is in use."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        if not self._roomy:
            # Nothing may linger that somebody waits for to be gone.
            self.accumulator.schedule.urgent += 1
            self.accumulator.schedule.wake_all()
        self._roomy.append(waiter)
        return waiter

    def gauges(self) -> dict[str, float]:
        """Return the figures that are true at this moment."""
        accumulator = self.accumulator
        brokers = list(self._cluster.brokers.values()) if self._cluster is not None else []
        return {
            "requests-in-flight": float(sum(broker.in_flight for broker in brokers)),
            "connection-count": float(sum(broker.is_ready for broker in brokers)),
            "buffer-total-bytes": float(accumulator.buffer_memory),
            "buffer-available-bytes": float(max(0, accumulator.buffer_memory - accumulator.used)),
            "waiting-threads": float(len(accumulator.line)),
            "metadata-age": self.metadata.age(self.clock()),
        }

    def _make_sender(self, broker: Broker) -> Sender:
        assert self._cluster is not None  # noqa: S101 - it is what asks
        return Sender(
            broker,
            self.accumulator.schedule.node(broker.node_id),
            config=self.config,
            accumulator=self.accumulator,
            settlement=self._settlement,
            ordering=self._ordering,
            events=self._events,
            compressor=self._compressor,
            retry_log=self._retry_log,
            clock=self.clock,
            leader_hint=self._cluster.take_hint,
            released=self._released,
            held_back=self._held_back,
            crashed=self._crash,
        )

    def _refresh_metadata(self) -> None:
        if self._cluster is not None:
            self._cluster.request_update()

    def _released(self) -> None:
        accumulator = self.accumulator
        if accumulator.waiting and not self._is_serving:
            self._is_serving = True
            self._loop.call_soon(self._serve)
        if self._roomy and self.has_room():
            self._wake_roomy()

    def _wake_roomy(self) -> None:
        roomy, self._roomy = self._roomy, []
        if roomy:
            self.accumulator.schedule.urgent -= 1
        for waiter in roomy:
            if not waiter.done():
                waiter.set_result(None)

    def _wake_waiters(self) -> None:
        # Whoever waits for room or a topic looks at the producer's state next.
        self._wake_roomy()
        if self._cluster is not None:
            self._cluster.wake_waiters()

    def _held_back(self) -> None:
        task, sequencer = self._producer_id_task, self._sequencer
        if task is not None and sequencer is not None and sequencer.needs_producer_id:
            task.need()

    def _serve(self) -> None:
        self._is_serving = False
        try:
            more = self.accumulator.serve_line(RECORDS_A_SLICE)
        except Exception as error:  # noqa: BLE001 - the background never dies silently
            self._crash(error)
            return
        except BaseException:
            self._released()  # KeyboardInterrupt in a user's partitioner; those behind go on
            raise
        if more:
            self._is_serving = True
            self._loop.call_soon(self._serve)
        elif self._roomy and self.has_room():
            self._wake_roomy()

    def _watch(self) -> None:
        due = self.accumulator.next_deadline(self.config.delivery_timeout)
        if due == NEVER:
            self.accumulator.watched = False
            return
        # What comes later may expire sooner, but not before the shorter of the two limits has passed.
        soonest = max(NEXT_LOOK, min(self.config.max_block, self.config.delivery_timeout))
        delay = max(SOONEST, min(soonest, due - self.clock()))
        self._timer = LateTimer(delay, self._expire, clock=self.clock, turns=WAKES)

    def _expire(self, now: float) -> None:
        self._timer = None
        try:
            more = self._settlement.expire(now)
            self._released()
            if more:
                self._timer = self._loop.call_soon(self._expire, now)
            else:
                self._watch()
        except Exception as error:  # noqa: BLE001 - the background never dies silently
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            why = "the producer's tasks were cancelled, or its event loop ended, before stop() was called"
            logger.warning(why)
        else:
            why = f"the producer's background failed: {error!r}"
            logger.critical(why, exc_info=error)
        failure = ProducerFailedError(f"{why}; make a new producer")
        failure.__cause__ = error
        self._fail(failure)

    def _fail(self, error: ProducerError) -> None:
        """Take note that nothing can be sent any more, and fail what is accepted."""
        if self.failure is None:
            self.failure = error
            self._on_failure()
            try:
                self.give_up("")
            finally:
                self._wake_waiters()

    def failed_error(self, *, may_be_written: bool = False) -> ProducerError:
        """Make the error for a call or a record that the producer's failure puts an end to."""
        failure = self.failure
        error = ProducerFailedError(
            f"the producer cannot send any more: {failure}", may_be_written=may_be_written
        )
        error.__cause__ = failure if failure is None or failure.__cause__ is None else failure.__cause__
        return error

    def __repr__(self) -> str:
        brokers = list(self._cluster.brokers.values()) if self._cluster is not None else []
        accumulator = self.accumulator
        return (
            f"brokers={len(brokers)} buffered={accumulator.used} B in line={len(accumulator.line)} "
            f"in flight={sum(broker.in_flight for broker in brokers)}"
        )


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the clock of the loop, as the cheapest callable."""
    (monotonic,) = _REAL_MONOTONIC
    is_plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    if is_plain and time.monotonic is monotonic:
        # `loop.time()` calls this function. Each request reads the clock several times.
        return monotonic
    # The method is looked up at each call: what simulates or freezes the time may replace it.
    return loop.time


def _partitioner(config: ProducerConfig) -> Partitioner:
    choice = config.partitioner
    if callable(choice):
        faults = (Exception, asyncio.CancelledError)
        return Partitioner(custom=choice, faults=faults, ignore_keys=config.partitioner_ignore_keys)
    return Partitioner(KeyPartitioner(choice), ignore_keys=config.partitioner_ignore_keys)
