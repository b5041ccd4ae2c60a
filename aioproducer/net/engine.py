"""The engine: the parts of a running producer, put together.

All parts run on one event loop. The engine is the core's shell (`core/shell.py`): the accumulator, the
schedule and the settlement decide, and call its methods for what is to be done.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from asyncio import _get_running_loop
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from aioproducer.core.events import combine_listeners
from aioproducer.core.failures import in_doubt
from aioproducer.core.metadata_cache import FINAL_TOPIC_ERRORS
from aioproducer.core.sequences import Sequences, Unnumbered
from aioproducer.errors import (
    BrokerError,
    CallTimeoutError,
    ProducerClosedError,
    ProducerFailedError,
    WrongLoopError,
    plural,
)
from aioproducer.metrics.producer_metrics import ProducerMetrics
from aioproducer.net.client_context import ClientContext
from aioproducer.net.cluster import Cluster
from aioproducer.net.lifecycle import ELSEWHERE
from aioproducer.net.outages import Outages
from aioproducer.net.parts import make_accumulator, make_metadata, make_settlement
from aioproducer.net.producer_id import ProducerIdTask
from aioproducer.net.sender_factory import SenderFactory
from aioproducer.net.tasks import Tasks
from aioproducer.net.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.batch_result import BatchResult
    from aioproducer.config import ProducerConfig
    from aioproducer.core.queues import NodeQueue
    from aioproducer.errors import BootstrapError, ProducerError
    from aioproducer.protocol.produce import NodeEndpoint

logger = logging.getLogger("aioproducer.engine")

# In a tuple, since a library that freezes the time replaces the attributes of modules.
_REAL_MONOTONIC = (time.monotonic,)


class Engine:
    """A producer without its public interface; the shell of its core.

    `on_failure()` is called when nothing can be sent any more; `failure` tells why.
    """

    def __init__(self, config: ProducerConfig, client_id: str, on_failure: Callable[[], object]) -> None:
        self._on_failure = on_failure
        self.config = config
        self.client_id = client_id
        self.loop: asyncio.AbstractEventLoop | None = None
        # Before `start` there is no event loop to ask for its time.
        self.clock: Callable[[], float] = time.monotonic
        self.failure: ProducerError | None = None
        self.metrics = ProducerMetrics(
            self.clock(), num_samples=config.metrics_num_samples, sample_window=config.metrics_sample_window
        )
        events = combine_listeners((self.metrics,))
        self._client = ClientContext.of(config, client_id, events, self.clock)
        backoff = self._client.retry_backoff
        self._outages = Outages()
        self._sequences = Sequences() if config.enable_idempotence else None
        ordering = self._sequences or Unnumbered(config.max_in_flight_requests_per_connection)
        self.accumulator = make_accumulator(config, self, events)
        self.metadata = make_metadata(config, backoff)
        self._settlement = make_settlement(
            config, self.accumulator, ordering, events, backoff, self, self._outages
        )
        self._upkeep = Upkeep(
            self.accumulator, self._settlement, self, delivery_timeout=config.delivery_timeout
        )
        self._sender_factory = SenderFactory(
            config,
            accumulator=self.accumulator,
            ordering=ordering,
            settlement=self._settlement,
            events=events,
            engine=self,
        )
        self._tasks: Tasks | None = None
        self._cluster: Cluster | None = None
        self._producer_id_task: ProducerIdTask | None = None

    async def start(self, *, wait: bool = True) -> None:
        """Find the cluster; raises BootstrapError if it is not found within `max_block_ms`.

        Without `wait` the search goes on in the background.
        """
        config = self.config
        self._join_loop()
        self._tasks = Tasks(f"aioproducer-{self.client_id}", self)
        self._cluster = Cluster(
            self._client,
            metadata=self.metadata,
            accumulator=self.accumulator,
            settlement=self._settlement,
            tasks=self._tasks,
            sender_factory=self._sender_factory,
            outages=self._outages,
        )
        await self._tasks.start()
        if wait:
            await self._cluster.find(config.max_block)
        self._tasks.spawn("metadata", self._cluster.run)
        if self._sequences is not None:
            self._producer_id_task = ProducerIdTask(
                self._sequences.producer_id, self._cluster, self._outages, self
            )
            self._tasks.spawn("producer-id", self._producer_id_task.run)

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
        loop = self.loop = asyncio.get_running_loop()
        self.clock = _clock_of(loop)
        self._client = replace(self._client, clock=self.clock)
        self.metrics.begin(self.clock())

    async def stop(self) -> None:
        """Fail all records that are not done, close all connections and end all tasks."""
        message = "the producer was stopped before the record was acknowledged"
        # 100,000 waiting records fail in slices of the loop, then all batches together. After a
        # cancellation `give_up` fails the rest at once.
        self._settlement.reject_waiting(partial(self._end_error, message))
        try:
            while self._settlement.fail_rejected():
                await checkpoint()
        finally:
            self.give_up(message)
        self._upkeep.stop()
        self._wake_waiters()
        if self._cluster is not None:
            self._cluster.close(ProducerClosedError("the producer was stopped"))
        if self._tasks is not None:
            await self._tasks.stop()
        await self._sender_factory.aclose()

    def give_up(self, message: str) -> None:
        """Fail all records that are not done."""
        self._settlement.give_up(partial(self._end_error, message), self.clock())

    def _end_error(self, message: str, may_be_written: bool) -> ProducerError:  # noqa: FBT001 - the one question
        if self.failure is not None:
            return self.failed_error(may_be_written=may_be_written)
        return ProducerClosedError(message, may_be_written=may_be_written)

    async def flush(self, results: list[BatchResult], timeout: float | None) -> None:
        """Send all batches without linger and wait for `results`; raises CallTimeoutError."""
        schedule = self.accumulator.schedule
        schedule.flush_started()
        started = self.clock()
        try:
            with anyio.fail_after(timeout):
                # Wait for one batch after the other: a batch that has ended by then needs no future.
                for result in results:
                    if not result.done:
                        await result.settled()
                # With acks=0 a batch is done when its bytes are in the transport's buffer.
                if self.config.acks == 0:
                    await self._written()
        except TimeoutError:
            open_still = sum(not result.is_settled() for result in results)
            msg = f"{plural(open_still, 'batch')} not acknowledged within {timeout} s, but still being sent"
            raise CallTimeoutError(msg) from None
        finally:
            schedule.flush_ended()
            self._client.events.flushed(self.clock() - started)

    async def _written(self) -> None:
        cluster = self._cluster
        brokers = [] if cluster is None else list(cluster.brokers.values())
        with anyio.move_on_after(self.config.delivery_timeout):
            for broker in brokers:
                if broker.channel is not None:
                    await broker.channel.written()

    async def wait_for_topic(self, topic: str) -> None:
        """Return after the next metadata response about a topic."""
        assert self._cluster is not None  # noqa: S101 - there is one while started
        await self._cluster.wait_for_topic(topic)

    def unknown_topic(self, topic: str) -> ProducerError:
        """Make the error of a topic that did not become known within `max_block_ms`."""
        return self._settlement.unknown_topic(topic)

    def raise_for_refusal(self) -> None:
        """Raise if no broker accepts this client at present."""
        if self._outages.refusal is not None:
            raise self._outages.refusal

    def raise_for_topic(self, topic: str) -> None:
        """Raise if the brokers said that the topic can never be used, or do not accept this client."""
        self.raise_for_refusal()
        code = self.metadata.errors.get(topic)
        if code in FINAL_TOPIC_ERRORS:
            raise BrokerError.of(code, f"topic {topic!r}")

    async def wait_for_room(self) -> None:
        """Return when less than half of the buffer is in use, or the producer's state has changed."""
        assert self.loop is not None  # noqa: S101 - there is one while started
        waiter: asyncio.Future[None] = self.loop.create_future()
        self.accumulator.buffer.add_room_waiter(waiter)
        await waiter

    def gauges(self) -> dict[str, float]:
        """Return the metrics that are measured at the moment of the call."""
        buffer = self.accumulator.buffer
        brokers = list(self._cluster.brokers.values()) if self._cluster is not None else []
        return {
            "requests-in-flight": float(sum(broker.requests_in_flight for broker in brokers)),
            "connection-count": float(sum(broker.is_ready for broker in brokers)),
            "buffer-total-bytes": float(buffer.memory),
            "buffer-available-bytes": float(max(0, buffer.memory - buffer.used)),
            "waiting-threads": float(len(buffer.records)),
            "metadata-age": self.metadata.age(self.clock()),
        }

    # The methods of the core's `Shell`.

    @property
    def wall_clock_ns(self) -> Callable[[], int]:
        """The clock of timestamps itself: a method around it would cost every record a call."""
        return time.time_ns

    @property
    def random(self) -> Callable[[], float]:
        """The source of random numbers, from 0 up to 1."""
        return random.random

    def check(self) -> None:
        """Raise WrongLoopError if the caller runs in another event loop than the producer.

        The state does not matter: records that were accepted before `stop` still go into batches.
        """
        if _get_running_loop() is not self.loop:
            raise WrongLoopError(ELSEWHERE)

    def wake(self, node: NodeQueue) -> None:
        """Let the node's sender look at its queue."""
        if self._cluster is not None:
            self._cluster.wake(node)

    def request_metadata(self) -> None:
        """Refresh the metadata as soon as the backoff allows."""
        if self._cluster is not None:
            self._cluster.request_update()

    def topic_wanted(self, topic: str) -> None:
        """Find a topic, or a partition of it."""
        if self._cluster is not None:
            self._cluster.want_topic(topic)

    def deadline_added(self) -> None:
        """Plan the next expiry."""
        if self.loop is not None:
            self._upkeep.plan_expiry()

    def room_freed(self) -> None:
        """Place waiting records in the next turn of the loop."""
        self._upkeep.serve_soon()

    def producer_id_needed(self) -> None:
        """Request a producer id."""
        if self._producer_id_task is not None:
            self._producer_id_task.need()

    def fail(self, error: ProducerError) -> None:
        """Fail all accepted records, and all calls from now on."""
        if self.failure is None:
            # First the state: callbacks of the failed records that call `send` get this error.
            self.failure = error
            self._on_failure()
            try:
                self.give_up("")
            finally:
                self._wake_waiters()

    def _wake_waiters(self) -> None:
        # Calls that wait for room or a topic look at the producer's state next.
        self.accumulator.buffer.wake_room_waiters()
        if self._cluster is not None:
            self._cluster.wake_waiters()

    def leader_hinted(
        self,
        topic: str,
        partition: int,
        leader_id: int,
        leader_epoch: int,
        endpoints: tuple[NodeEndpoint, ...],
    ) -> None:
        """Use the leader that a Produce response names (KIP-951)."""
        if self._cluster is not None:
            self._cluster.take_hint(topic, partition, leader_id, leader_epoch, endpoints)

    def producer_id_received(self) -> None:
        """Send the batches that waited for a producer id."""
        self.accumulator.schedule.wake_all()

    def producer_id_refused(self, error: ProducerError) -> None:
        """Fail the unsent records: the cluster gives no producer id."""

        def error_of(may_be_written: bool) -> ProducerError:  # noqa: FBT001 - the one question
            return in_doubt(error) if may_be_written else error

        self._settlement.give_up(error_of, self.clock())

    def crash(self, error: BaseException) -> None:
        """Fail the producer: an error without another handler, or the end of its tasks."""
        # asyncio.run cancels all tasks that are left when its main coroutine returns. KeyboardInterrupt
        # and SystemExit end the program too, whatever code they interrupt.
        if not isinstance(error, Exception):
            cause = (
                "the producer's tasks were cancelled or interrupted, or its event loop ended, "
                "before stop() was called"
            )
            logger.warning(cause)
        else:
            cause = f"the producer's background failed: {error!r}"
            logger.critical(cause, exc_info=error)
        failure = ProducerFailedError(f"{cause}; make a new producer")
        failure.__cause__ = error
        self.fail(failure)

    def failed_error(self, *, may_be_written: bool = False) -> ProducerError:
        """Make the error of a call or a record that ends because the producer failed."""
        failure = self.failure
        error = ProducerFailedError(
            f"the producer cannot send any more: {failure}", may_be_written=may_be_written
        )
        error.__cause__ = failure if failure is None or failure.__cause__ is None else failure.__cause__
        return error

    def __repr__(self) -> str:
        brokers = list(self._cluster.brokers.values()) if self._cluster is not None else []
        buffer = self.accumulator.buffer
        return (
            f"brokers={len(brokers)} buffered={buffer.used} B waiting={len(buffer.records)} "
            f"in flight={sum(broker.requests_in_flight for broker in brokers)}"
        )


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """Return the clock of the loop, as the cheapest callable."""
    (monotonic,) = _REAL_MONOTONIC
    is_plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    if is_plain and time.monotonic is monotonic:
        # `loop.time()` calls this function. Each request reads the clock several times.
        return monotonic
    # Look the method up at each call: tools that simulate or freeze the time replace it.
    return loop.time
