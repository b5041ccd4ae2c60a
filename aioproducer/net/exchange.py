"""One request whose response a task awaits."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aioproducer.errors import BrokerConnectionError, ProtocolError, RequestTimeoutError
from aioproducer.net.timer import LateTimer
from aioproducer.protocol.api import Response
from aioproducer.protocol.frame import decode_response

if TYPE_CHECKING:
    from aioproducer.core.connection import PendingRequest
    from aioproducer.net.channel import Channel
    from aioproducer.protocol.api import Request

R = TypeVar("R", bound=Response)
T = TypeVar("T")


class Exchange(ABC, Generic[T]):
    """A request on a channel, with a timeout."""

    def __init__(
        self,
        channel: Channel,
        request: Request[Any],
        version: int,
    ) -> None:
        self.channel = channel
        self.request = request
        self.version = version
        self._response: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending: PendingRequest | None = None
        self._arrivals = channel.arrivals

    @abstractmethod
    def read(self, frame: memoryview) -> T:
        """Return the result; raises ProtocolError.

        Called when the response arrives, before the waiting task gets its turn.
        """

    async def run(self, timeout: float) -> T:
        """Send the request and return the result.

        Raises BrokerConnectionError, RequestTimeoutError, ProtocolError.
        """
        response = self._response
        self._timeout = timeout
        # Before `send`: of two timers that are due together this one runs first, not the channel's.
        self._timer = LateTimer(timeout, self._expire, clock=self.channel.clock)
        try:
            self._pending = self.channel.send(self.request, self.version, self._receive, timeout=timeout)
            return await response
        finally:
            self._timer.cancel()
            if not response.cancel() and not response.cancelled():
                # If this task was cancelled in the meantime, asyncio would log an unread exception.
                response.exception()

    def _receive(self, _pending: PendingRequest, frame: memoryview | None, error: Exception | None) -> None:
        response = self._response
        # The request timed out, and its response came after all.
        if response.done():
            return
        if frame is None:
            response.set_exception(error or BrokerConnectionError(f"{self.channel.address} gave no response"))
            return
        try:
            response.set_result(self.read(frame))
        except ProtocolError as malformed:
            response.set_exception(malformed)
            self.channel.close(malformed)

    def _expire(self, now: float) -> None:
        channel, clock = self.channel, self.channel.clock
        if self._pending is not None and self._pending.deadline > now:
            # The broker has throttled the connection, which extends the deadlines.
            self._timer = LateTimer(self._pending.deadline - now, self._expire, clock=clock)
        elif self._arrivals != channel.arrivals:
            # Bytes have arrived since: the response may be in the socket, behind others.
            self._arrivals = channel.arrivals
            self._timer = LateTimer(0.0, self._expire, clock=clock)
        elif not self._response.done():
            name, limit = type(self.request).__name__, self._timeout * 1000
            message = f"{channel.address} did not answer {name} within {limit:.0f} ms"
            self._response.set_exception(RequestTimeoutError(message))


class FrameExchange(Exchange[memoryview]):
    """Gives the frame of the response."""

    def read(self, frame: memoryview) -> memoryview:
        """Return the frame."""
        return frame


class ResponseExchange(Exchange[R]):
    """Gives the response, and observes its throttle time from the moment of its arrival (KIP-219)."""

    def read(self, frame: memoryview) -> R:
        """Decode the response."""
        response: R = decode_response(self.request.response, frame, self.version)[1]
        if self.version >= response.client_throttled_from:
            self.channel.throttle(getattr(response, "throttle_time_ms", 0) / 1000)
        return response
