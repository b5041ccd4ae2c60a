"""One request whose response a task awaits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aioproducer.errors import BrokerConnectionError, ProtocolError, RequestTimeoutError
from aioproducer.net.timer import LateTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.connection import PendingRequest
    from aioproducer.net.channel import Channel
    from aioproducer.protocol.api import Request

T = TypeVar("T")


class Exchange(Generic[T]):
    """A request on a channel, with a timeout.

    `read(pending, frame)` makes the result. It runs when the response arrives, not when the task
    gets its turn: a throttle time in the response counts from its arrival.
    """

    def __init__(
        self,
        channel: Channel,
        request: Request[Any],
        version: int,
        read: Callable[[PendingRequest, memoryview], T],
    ) -> None:
        self._channel = channel
        self._request = request
        self._version = version
        self._read = read
        self._response: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending: PendingRequest | None = None
        self._arrivals = channel.arrivals

    async def run(self, timeout: float) -> T:
        """Send the request and return the result.

        Raises BrokerConnectionError, RequestTimeoutError, ProtocolError.
        """
        response = self._response
        self._timeout = timeout
        # Before `send`: of two timers that are due together this one runs first, not the channel's.
        self._timer = LateTimer(timeout, self._expire, clock=self._channel.clock)
        try:
            self._pending = self._channel.send(self._request, self._version, self._receive, timeout=timeout)
            return await response
        finally:
            self._timer.cancel()
            if not response.cancel() and not response.cancelled():
                # If this task was cancelled in the meantime, asyncio would log an unread exception.
                response.exception()

    def _receive(self, pending: PendingRequest, frame: memoryview | None, error: Exception | None) -> None:
        response = self._response
        if response.done():
            return
        if frame is None:
            response.set_exception(
                error or BrokerConnectionError(f"{self._channel.address} gave no response")
            )
            return
        try:
            response.set_result(self._read(pending, frame))
        except ProtocolError as malformed:
            response.set_exception(malformed)
            self._channel.close(malformed)

    def _expire(self, now: float) -> None:
        channel, clock = self._channel, self._channel.clock
        if self._pending is not None and self._pending.deadline > now:
            # The broker has throttled the connection, which extends the deadlines.
            self._timer = LateTimer(self._pending.deadline - now, self._expire, clock=clock)
        elif self._arrivals != channel.arrivals:
            # Bytes have arrived since: the response may be in the socket, behind others.
            self._arrivals = channel.arrivals
            self._timer = LateTimer(0.0, self._expire, clock=clock)
        elif not self._response.done():
            name, limit = type(self._request).__name__, self._timeout * 1000
            message = f"{channel.address} did not answer {name} within {limit:.0f} ms"
            self._response.set_exception(RequestTimeoutError(message))
