"""One request to several brokers: the first response wins.

The first broker gets a head start, for most answer within it. One that is silent, or cannot be
connected to, delays the request by the head start and not by a timeout:

    broker 2 ──ask──────────────── (silent)                     let go, its connection stays
    broker 1    head start ──ask──▶ response                    wins
    broker 3                  twice the head start              not asked any more

Each head start is twice as long as the one before: a slow cluster is not asked ever more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import anyio

from aioproducer.errors import ProducerError
from aioproducer.protocol.api import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aioproducer.net.broker import Broker
    from aioproducer.protocol.api import Request

logger = logging.getLogger("aioproducer.broker")

HEAD_START = 0.25
"""Seconds after which a second broker is asked."""

R = TypeVar("R", bound=Response)


class Outcome(NamedTuple, Generic[R]):
    """What became of a request to one broker: a response or an error."""

    broker: Broker
    response: R | None
    error: ProducerError | None

    @property
    def is_final(self) -> bool:
        """Whether no other broker needs to be asked."""
        return self.error is None or not self.error.retriable


class Race(Generic[R]):
    """Asks brokers until there is a final outcome.

    `choose(asked)` returns the next broker to ask besides those `asked` already, None for none.
    """

    def __init__(
        self,
        request: Request[R],
        choose: Callable[[Collection[Broker]], Broker | None],
        *,
        timeout: float,
    ) -> None:
        self._request = request
        self._choose = choose
        self._timeout = timeout
        self._asked: list[Broker] = []
        self._outcomes: list[Outcome[R]] = []
        self._settled = asyncio.Event()

    async def run(self) -> Outcome[R] | None:
        """Return the first final outcome, else the last one, None if there is no broker to ask."""
        head_start = HEAD_START
        async with anyio.create_task_group() as group:
            while self._final() is None:
                self._settled.clear()
                broker = self._choose(self._asked)
                if broker is None:
                    if len(self._outcomes) == len(self._asked):
                        break
                    # Others may be backing off, or have failed, and can be asked soon.
                    with anyio.move_on_after(HEAD_START):
                        await self._settled.wait()
                    if not self._settled.is_set():
                        self._ask_failed_again()
                    continue
                self._asked.append(broker)
                group.start_soon(self._ask, broker)
                with anyio.move_on_after(head_start):
                    await self._settled.wait()
                head_start *= 2
            group.cancel_scope.cancel()
        return self._final() or (self._outcomes[-1] if self._outcomes else None)

    def _final(self) -> Outcome[R] | None:
        return next((outcome for outcome in self._outcomes if outcome.is_final), None)

    def _ask_failed_again(self) -> None:
        failed = [outcome.broker for outcome in self._outcomes]
        self._asked = [broker for broker in self._asked if broker not in failed]
        self._outcomes.clear()

    async def _ask(self, broker: Broker) -> None:
        try:
            response = await broker.request(self._request, timeout=self._timeout)
        except ProducerError as error:
            logger.info("no response to %s: %s", type(self._request).__name__, error)
            self._outcomes.append(Outcome(broker, None, error))
        else:
            self._outcomes.append(Outcome(broker, response, None))
        self._settled.set()
