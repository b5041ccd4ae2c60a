"""The producer id: requested at the start, and again when its epochs are used up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from aioproducer.errors import (
    BrokerConnectionError,
    ProducerClosedError,
    ProducerError,
    UnsupportedVersionError,
)
from aioproducer.net.ask import Query, check_code
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

if TYPE_CHECKING:
    from aioproducer.core.producer_id import ProducerId
    from aioproducer.net.broker import Broker
    from aioproducer.net.cluster import Cluster
    from aioproducer.net.outages import Outages

logger = logging.getLogger("aioproducer.producer_id")

NO_TRANSACTION_TIMEOUT = 2147483647
"""Java sends this value without transactions."""

IDLE_ATTEMPTS = 5
"""How many requests are sent before there is a record to send."""


class ProducerIdListener(Protocol):
    """Hears of the producer id: the engine."""

    def producer_id_received(self) -> None:
        """Note that batches can be numbered and sent."""

    def producer_id_refused(self, error: ProducerError) -> None:
        """Note that the cluster refuses a producer id: unsent records fail with `error`."""


class ProducerIdTask:
    """The task that requests a producer id when one is needed.

    Without a record to send it gives up after `IDLE_ATTEMPTS`, until `need` is called.
    """

    def __init__(
        self, producer_id: ProducerId, cluster: Cluster, outages: Outages, listener: ProducerIdListener
    ) -> None:
        self._producer_id = producer_id
        self._cluster = cluster
        self._outages = outages
        self._listener = listener
        self._needed = asyncio.Event()
        self._needed.set()

    def need(self) -> None:
        """Request a producer id, if there is none."""
        self._needed.set()

    async def run(self) -> None:
        """Request a producer id whenever one is needed, until cancelled."""
        while not self._cluster.is_found:
            await self._cluster.wait_until_found()
        query = _InitProducerId(self._producer_id, self._cluster, self._outages)
        while True:
            await self._needed.wait()
            self._needed.clear()
            # Several batches may have asked for one; the first request answered them all.
            if not self._producer_id.is_needed:
                continue
            try:
                await self._cluster.ask.request(query)
            except ProducerError as error:
                if not error.retriable and not isinstance(error, ProducerClosedError):
                    self._listener.producer_id_refused(error)
            else:
                self._outages.producer_id_received()
                self._listener.producer_id_received()


class _InitProducerId(Query[InitProducerIdResponse, None]):
    """Requests a producer id and adopts it."""

    def __init__(self, producer_id: ProducerId, cluster: Cluster, outages: Outages) -> None:
        self._producer_id = producer_id
        self._cluster = cluster
        self._outages = outages
        self._generation = 0
        self._attempts = 0
        self._is_reported = False

    def request(self) -> InitProducerIdRequest:
        # A cluster may be replaced while the request is in flight; the generation changes
        # then, and a producer id of the old cluster is not adopted.
        self._generation = self._producer_id.generation
        return InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=NO_TRANSACTION_TIMEOUT)

    def result(self, broker: Broker, response: InitProducerIdResponse) -> None:
        check_code(
            response.error_code, f"{broker.address} gives no producer id, which enable_idempotence needs"
        )
        producer_id, epoch = response.producer_id, response.producer_epoch
        # -1 in a batch means "no idempotence": the broker would store duplicates.
        if producer_id < 0 or epoch < 0:
            message = f"{broker.address} gave the producer id {producer_id}, epoch {epoch}"
            raise BrokerConnectionError(message)
        if not self._producer_id.adopt(producer_id, epoch, self._generation):
            message = f"{broker.address} answered for a cluster that was replaced"
            raise BrokerConnectionError(message)
        self._attempts = 0
        self._is_reported = False
        logger.info("producer id %d, epoch %d", producer_id, epoch)

    def refusal(self, broker: Broker, error: ProducerError) -> ProducerError:
        if not isinstance(error, UnsupportedVersionError):
            return super().refusal(broker, error)
        message = (
            f"{broker.address} does not support idempotence (Kafka before 0.11): set enable_idempotence=False"
        )
        too_old = UnsupportedVersionError(message)
        too_old.__cause__ = error
        return too_old

    def failed(self, error: ProducerError) -> None:
        self._attempts += 1
        self._outages.producer_id_failed(error)
        # A cluster that has just started needs a moment for its first producer id: warn at the
        # second failure, once.
        is_news = not self._is_reported and (self._attempts > 1 or not error.retriable)
        self._is_reported |= is_news
        level = logging.WARNING if is_news else logging.INFO
        logger.log(level, "no producer id (attempt %d): %s", self._attempts, error)

    def is_wanted(self) -> bool:
        # A service that seldom sends should not ask a cluster without idempotence all day: stop after
        # a few attempts, until a record needs an id.
        if not self._producer_id.is_needed:
            return False
        return self._attempts < IDLE_ATTEMPTS or not self._cluster.is_idle()
