"""The producer id: asked for once, and again only when its epochs are used up."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import anyio

from aioproducer.error_code import ErrorCode
from aioproducer.errors import BrokerConnectionError, BrokerError, ProducerError, UnsupportedVersionError
from aioproducer.protocol.init_producer_id import InitProducerIdRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.backoff import Backoff
    from aioproducer.core.producer_id import ProducerId
    from aioproducer.net.cluster import Cluster
    from aioproducer.net.outages import Outages

logger = logging.getLogger("aioproducer.identity")

NO_TRANSACTION_TIMEOUT = 2147483647
"""What Java sends where there are no transactions."""

IDLE_ATTEMPTS = 5
"""How often a producer id is asked for before there is anything to send."""


class Identity:
    """The task that gets a producer id when one is needed.

    `found()` is called when there is one, `refused(error)` when the cluster will not give one:
    what waits to be sent fails with that error. While there is nothing to send, only the first
    `IDLE_ATTEMPTS` are made.
    """

    def __init__(
        self,
        producer_id: ProducerId,
        cluster: Cluster,
        backoff: Backoff,
        *,
        outages: Outages,
        found: Callable[[], object],
        refused: Callable[[ProducerError], object],
    ) -> None:
        self._producer_id = producer_id
        self._cluster = cluster
        self._backoff = backoff
        self._outages = outages
        self._found = found
        self._refused = refused
        self._needed = asyncio.Event()
        self._needed.set()

    def need(self) -> None:
        """Ask for an id, if there is none."""
        self._needed.set()

    async def run(self) -> None:
        """Ask for an id whenever one is needed, until cancelled."""
        attempts = 0
        is_told = False
        while True:
            await self._needed.wait()
            self._needed.clear()
            while self._producer_id.is_needed:
                error = await self._ask()
                if error is None:
                    attempts = 0
                    is_told = False
                    self._outages.producer_id_received()
                    self._found()
                    break
                attempts += 1
                self._outages.producer_id_failed(error)
                # A cluster that has just started needs a moment for its first one.
                is_news = not is_told and (attempts > 1 or not error.retriable)
                is_told |= is_news
                level = logging.WARNING if is_news else logging.INFO
                logger.log(level, "no producer id (attempt %d): %s", attempts, error)
                if not error.retriable:
                    self._refused(error)
                    break
                await anyio.sleep(self._backoff.delay(attempts - 1))
                if attempts >= IDLE_ATTEMPTS and self._cluster.is_idle():
                    break

    async def _ask(self) -> ProducerError | None:  # noqa: PLR0911 - one an outcome
        generation = self._producer_id.generation
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=NO_TRANSACTION_TIMEOUT)
        outcome = await self._cluster.ask(request)
        if outcome is None:
            return self._outages.of_cluster() or BrokerConnectionError("no broker can be connected to")
        address, answer, error = outcome.broker.address, outcome.response, outcome.error
        if isinstance(error, UnsupportedVersionError):
            msg = f"{address} knows no idempotence (Kafka before 0.11): set enable_idempotence=False"
            too_old = UnsupportedVersionError(msg)
            too_old.__cause__ = error
            return too_old
        if answer is None:
            return outcome.broker.outage() or error
        code = ErrorCode.of(answer.error_code)
        if code is not ErrorCode.NONE:
            subject = f"{address} gives no producer id, which enable_idempotence needs"
            return BrokerError.of(code, subject)
        if answer.producer_id < 0 or answer.producer_epoch < 0:
            return BrokerConnectionError(f"{address} gave the producer id {answer.producer_id}")
        if not self._producer_id.adopt(answer.producer_id, answer.producer_epoch, generation):
            return BrokerConnectionError(f"{address} answered for a cluster that was replaced")
        logger.info("producer id %d, epoch %d", answer.producer_id, answer.producer_epoch)
        return None
