"""Makes the sender of each broker, from the parts that all senders share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.core.dispatch import Dispatch
from aioproducer.core.produce_request import ProduceRequests
from aioproducer.net.compressor import Compressor
from aioproducer.net.retry_log import RetryLog
from aioproducer.net.sender import Sender
from aioproducer.records.compression import Codec

if TYPE_CHECKING:
    from aioproducer.config import ProducerConfig
    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.events import Listener
    from aioproducer.core.sequences import Ordering
    from aioproducer.core.settlement import Settlement
    from aioproducer.net.broker import Broker
    from aioproducer.net.engine import Engine


class SenderFactory:
    """Makes senders; they share the compressor and the log of retries."""

    def __init__(
        self,
        config: ProducerConfig,
        *,
        accumulator: Accumulator,
        ordering: Ordering,
        settlement: Settlement,
        events: Listener,
        engine: Engine,
    ) -> None:
        self._config = config
        self._accumulator = accumulator
        self._ordering = ordering
        self._settlement = settlement
        self._events = events
        self._engine = engine
        codec = Codec.of_name(config.compression_type)
        # One compressor for all brokers: it learns how well each topic compresses.
        self._compressor = Compressor(codec, config.compression_level, accumulator)
        self._requests = ProduceRequests(
            accumulator.topics, acks=config.acks, timeout_ms=config.request_timeout_ms, codec=codec
        )
        self._retry_log = RetryLog(engine)

    def make(self, broker: Broker) -> Sender:
        """Make the sender of a broker."""
        config = self._config
        # A node that comes back at another address gets its old queue, with the batches in it.
        dispatch = Dispatch(
            self._accumulator.schedule.node(broker.node_id),
            self._accumulator.schedule,
            self._ordering,
            self._settlement,
            self._engine,
            max_in_flight=config.max_in_flight_requests_per_connection,
            max_request_size=config.max_request_size,
        )
        return Sender(
            broker,
            dispatch,
            self._requests,
            settlement=self._settlement,
            events=self._events,
            compressor=self._compressor,
            retry_log=self._retry_log,
            owner=self._engine,
        )

    async def aclose(self) -> None:
        """Wait for worker threads that compress batches: they cannot be interrupted."""
        await self._compressor.aclose()
