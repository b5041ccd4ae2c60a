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
    from aioproducer.core.idempotence import Sequencer
    from aioproducer.net.cluster import Cluster

logger = logging.getLogger("aioproducer.identity")

NO_TRANSACTION_TIMEOUT = 2147483647
"""What Java sends where there are no transactions."""


class Identity:
    """The task that gets a producer id when the sequencer needs one.

    `found()` is called when there is one, `refused(error)` when the cluster will not give one:
    what waits to be sent fails with that error.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        cluster: Cluster,
        backoff: Backoff,
        *,
        request_timeout: float,
        found: Callable[[], object],
        refused: Callable[[ProducerError], object],
    ) -> None:
        self._sequencer = sequencer
        self._cluster = cluster
        self._backoff = backoff
        self._request_timeout = request_timeout
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
        while True:
            await self._needed.wait()
            self._needed.clear()
            while self._sequencer.needs_producer_id:
                error = await self._ask()
                if error is None:
                    attempts = 0
                    self._found()
                    break
                # A cluster that has just started needs a moment for its first one.
                level = logging.INFO if error.retriable and attempts == 0 else logging.WARNING
                logger.log(level, "no producer id (attempt %d): %s", attempts + 1, error)
                if not error.retriable:
                    self._refused(error)
                    break
                await anyio.sleep(self._backoff.delay(attempts))
                attempts += 1

    async def _ask(self) -> ProducerError | None:  # noqa: PLR0911 - one an outcome
        broker = self._cluster.least_loaded()
        if broker is None:
            return BrokerConnectionError("no broker can be connected to")
        generation = self._sequencer.generation
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=NO_TRANSACTION_TIMEOUT)
        try:
            answer = await broker.request(request, timeout=self._request_timeout)
        except UnsupportedVersionError as error:
            msg = f"{broker.address} knows no idempotence (Kafka before 0.11): set enable_idempotence=False"
            too_old = UnsupportedVersionError(msg)
            too_old.__cause__ = error
            return too_old
        except ProducerError as error:
            return error
        code = ErrorCode.of(answer.error_code)
        if code is not ErrorCode.NONE:
            return BrokerError.of(code, "no producer id, which enable_idempotence needs")
        if answer.producer_id < 0 or answer.producer_epoch < 0:
            return BrokerConnectionError(f"{broker.address} gave the producer id {answer.producer_id}")
        if not self._sequencer.adopt(answer.producer_id, answer.producer_epoch, generation):
            return BrokerConnectionError(f"{broker.address} answered for a cluster that was replaced")
        logger.info("producer id %d, epoch %d", answer.producer_id, answer.producer_epoch)
        return None
