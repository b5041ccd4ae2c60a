"""Requests outside the produce path: choose a broker, wait for it, send, classify, retry.

    Ask.request ──▶ Target.nodes ──▶ choose broker ──▶ Broker.request ──▶ Query.result
                      ▲                                                        │
                      └─────────────── backoff ◀── retriable error ────────────┘

A request that any broker can answer goes to the least loaded one first. The others are asked
after a head start: a silent broker delays the request by the head start, not by a timeout.

    broker 2 ──request──────────────── (silent)                     ignored, its connection stays
    broker 1    head start ──request──▶ response                    wins
    broker 3                  twice the head start                  not asked

Each head start is twice as long as the one before: a slow cluster does not get ever more requests.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import anyio

from aioproducer.core.batch import NEVER
from aioproducer.error_code import ErrorCode
from aioproducer.errors import (
    BrokerConnectionError,
    BrokerError,
    ProducerClosedError,
    ProducerError,
    RequestTimeoutError,
)
from aioproducer.net.target import ANY
from aioproducer.net.timer import late_timeout
from aioproducer.protocol.api import Response

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aioproducer.net.broker import Broker
    from aioproducer.net.client_context import ClientContext
    from aioproducer.net.outages import Outages
    from aioproducer.net.target import Target
    from aioproducer.protocol.api import Request

logger = logging.getLogger("aioproducer.broker")

BROKER_HEAD_START = 0.25
"""Seconds after which a second broker is asked."""

R = TypeVar("R", bound=Response)
T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """The end of a request to one broker: a response or an error."""

    broker: Broker
    response: T | None
    error: ProducerError | None


class Race(ABC, Generic[T]):
    """Asks one broker after the other until there is a final outcome.

    `head_start` seconds after one broker the next is asked too; each further head start is
    `growth` times longer.
    """

    growth = 2
    asks_again = False
    """Whether brokers that failed are asked again while another one is silent."""

    def __init__(self, head_start: float) -> None:
        self._head_start = head_start
        self._asked: list[Broker] = []
        self._outcomes: list[Outcome[T]] = []
        self._ended = asyncio.Event()

    @abstractmethod
    def choose(self, asked: Collection[Broker]) -> Broker | None:
        """Return the next broker to ask besides those `asked` already, None if there is none."""

    @abstractmethod
    async def ask(self, broker: Broker) -> T:
        """Ask one broker; raises ProducerError."""

    def is_final(self, outcome: Outcome[T]) -> bool:
        """Return whether no other broker needs to be asked."""
        return outcome.error is None

    async def run(self) -> Outcome[T] | None:
        """Return the first final outcome, else the last one, None without a broker to ask."""
        head_start = self._head_start
        async with anyio.create_task_group() as group:
            while self._final() is None:
                self._ended.clear()
                broker = self.choose(self._asked)
                if broker is None:
                    # All brokers have failed.
                    if len(self._outcomes) == len(self._asked):
                        break
                    await self._wait_for_end()
                    continue
                self._asked.append(broker)
                group.start_soon(self._run_one, broker)
                # The second broker is asked 0.25 s after the first, the third 0.5 s after the second.
                with anyio.move_on_after(head_start):
                    await self._ended.wait()
                head_start *= self.growth
            group.cancel_scope.cancel()
        return self._final() or (self._outcomes[-1] if self._outcomes else None)

    def _final(self) -> Outcome[T] | None:
        return next((outcome for outcome in self._outcomes if self.is_final(outcome)), None)

    async def _wait_for_end(self) -> None:
        if not self.asks_again:
            await self._ended.wait()
            return
        with anyio.move_on_after(self._head_start):
            await self._ended.wait()
        if not self._ended.is_set():
            self._ask_failed_again()

    def _ask_failed_again(self) -> None:
        failed = [outcome.broker for outcome in self._outcomes]
        self._asked = [broker for broker in self._asked if broker not in failed]
        self._outcomes.clear()

    async def _run_one(self, broker: Broker) -> None:
        try:
            response = await self.ask(broker)
        except ProducerError as error:
            self._outcomes.append(Outcome(broker, None, error))
        else:
            self._outcomes.append(Outcome(broker, response, None))
        self._ended.set()


class Query(Generic[R, T]):
    """A request that `Ask` retries, and what its response means."""

    def request(self) -> Request[R]:
        """Return the request of the next attempt."""
        raise NotImplementedError

    def result(self, broker: Broker, response: R) -> T:
        """Return the result; raises ProducerError, after which a retriable one is retried."""
        raise NotImplementedError

    def refusal(self, broker: Broker, error: ProducerError) -> ProducerError:
        """Return the error to raise for a request that got no response."""
        return broker.outage() or error

    def failed(self, error: ProducerError) -> None:
        """Note that an attempt failed."""

    def is_wanted(self) -> bool:
        """Return whether to try again after a failed attempt."""
        return True


class Ask:
    """Sends requests to the `brokers` of a cluster, by node id."""

    def __init__(self, client: ClientContext, brokers: Mapping[int, Broker], outages: Outages) -> None:
        self._client = client
        self._brokers = brokers
        self._outages = outages

    async def request(self, query: Query[R, T], *, to: Target = ANY, deadline: float = NEVER) -> T:
        """Attempt a query until it succeeds and return its result; `to` chooses the nodes each time.

        Raises the last error: when it is not retriable, when the query is not wanted any more, or
        when the next attempt would begin after the `deadline`.
        """
        attempts = 0
        while True:
            try:
                return await self._attempt(query, to, deadline)
            except ProducerClosedError:
                # The producer ends, and its connections with it: no attempt failed.
                raise
            except ProducerError as error:
                attempts += 1
                to.failed(error)
                query.failed(error)
                # The next attempt would begin after the deadline: fail now, with the cause, instead of
                # sleeping until then.
                delay = self._client.retry_backoff.delay(attempts - 1)
                if not error.retriable or self._client.clock() + delay >= deadline:
                    raise
                await anyio.sleep(delay)
                if not query.is_wanted():
                    raise

    async def attempt(self, request: Request[R], *, to: Target = ANY) -> Outcome[R] | None:
        """Send a request once; None without a broker to ask."""
        timeout = self._client.config.request_timeout
        return await _RequestRace(self, request, timeout, await to.nodes()).run()

    def least_loaded(
        self, besides: Collection[Broker] = (), nodes: Collection[int] | None = None
    ) -> Broker | None:
        """Return the best broker for a request that any of the `nodes` can answer, None for none.

        `nodes` of None are all. A broker that backs off counts as none.
        """
        brokers = [
            broker
            for node_id, broker in self._brokers.items()
            if broker not in besides and (nodes is None or node_id in nodes)
        ]
        if not brokers:
            return None
        # Begin anywhere: the clients of a cluster should not all prefer its first broker.
        start = int(self._client.random() * len(brokers))
        brokers = brokers[start:] + brokers[:start]
        now = self._client.clock()
        askable = [broker for broker in brokers if broker.is_askable(now)]
        if askable:
            # Fewest requests in flight, as Java counts it: a slow broker has more of them.
            return min(askable, key=lambda broker: broker.requests_in_flight)
        # No connection is usable: take the broker whose last attempt is the oldest, as Java does.
        free = [broker for broker in brokers if now >= broker.backing_off_until]
        return min(free, key=lambda broker: broker.last_attempt) if free else None

    async def _attempt(self, query: Query[R, T], to: Target, deadline: float) -> T:
        if deadline == NEVER:
            return await self._attempt_once(query, to)
        limit = deadline - self._client.clock()
        try:
            with late_timeout(limit):
                return await self._attempt_once(query, to)
        except TimeoutError as error:
            # A RequestTimeoutError is a TimeoutError too: it came from the broker, not from this
            # limit.
            if isinstance(error, ProducerError):
                raise
            message = f"no broker has answered within {limit * 1000:.0f} ms"
            raise RequestTimeoutError(message) from None

    async def _attempt_once(self, query: Query[R, T], to: Target) -> T:
        outcome = await self.attempt(query.request(), to=to)
        if outcome is None:
            raise self._outages.of_cluster() or BrokerConnectionError("no broker can be connected to")
        if outcome.response is None:
            error = outcome.error or BrokerConnectionError(f"{outcome.broker.address} gave no response")
            raise query.refusal(outcome.broker, error)
        return query.result(outcome.broker, outcome.response)


class _RequestRace(Race[R]):
    """A request to the least loaded of the `nodes`, then to the others.

    A broker that backs off, or has failed, may be there again while another one is silent.
    """

    asks_again = True

    def __init__(self, ask: Ask, request: Request[R], timeout: float, nodes: Collection[int] | None) -> None:
        super().__init__(BROKER_HEAD_START)
        self._ask = ask
        self._request = request
        self._timeout = timeout
        self._nodes = nodes

    def choose(self, asked: Collection[Broker]) -> Broker | None:
        return self._ask.least_loaded(asked, self._nodes)

    async def ask(self, broker: Broker) -> R:
        try:
            return await broker.request(self._request, timeout=self._timeout)
        except ProducerError as error:
            logger.info("no response to %s: %s", type(self._request).__name__, error)
            raise

    def is_final(self, outcome: Outcome[R]) -> bool:
        # An error that another broker would give as well: no permission, an unknown version.
        return outcome.error is None or not outcome.error.retriable


def check_code(error_code: int, subject: str) -> None:
    """Raise the error of a response's code; `subject` begins its message."""
    code = ErrorCode.of(error_code)
    if code is not ErrorCode.NONE:
        raise BrokerError.of(code, subject)
