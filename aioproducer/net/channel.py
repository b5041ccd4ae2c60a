"""One live connection to a broker: requests out, responses in, each with its deadline.

A channel is made when the transport is connected and never connects again. `close` ends it: each
request in flight fails with the error, and the listener hears of it once.

    Broker ──makes──▶ Channel ──Setup.run──▶ in service ──close──▶ channel_closed ──▶ Broker
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aioproducer.core.batch import NEVER
from aioproducer.core.broker_versions import BrokerVersions
from aioproducer.core.connection import Connection
from aioproducer.errors import BrokerConnectionError, ProducerError, ProtocolError, RequestTimeoutError
from aioproducer.net.causes import cause_of
from aioproducer.net.exchange import FrameExchange, ResponseExchange
from aioproducer.net.timer import LateTimer
from aioproducer.protocol.api import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.core.connection import PendingRequest
    from aioproducer.net.client_context import ClientContext
    from aioproducer.net.endpoint import Endpoint
    from aioproducer.net.tls_transport import TlsTransport
    from aioproducer.net.transport import SocketAddress, Transport
    from aioproducer.protocol.api import Request

    OnAnswer = Callable[[PendingRequest, memoryview | None, Exception | None], object]

logger = logging.getLogger("aioproducer.broker")

R = TypeVar("R", bound=Response)


class ChannelListener(Protocol):
    """Hears of a channel: the broker that made it."""

    def channel_writable(self) -> None:
        """Note that the connection takes bytes again."""

    def channel_proven(self) -> None:
        """Note the first response since the channel is in service."""

    def channel_closed(self, error: ProducerError, *, is_idle: bool, is_unproven: bool) -> None:
        """Note that the channel is closed.

        `is_idle`: it was not used for too long. `is_unproven`: the broker closed it with requests
        in flight, and has answered none since the channel is in service.
        """


class Channel:
    """One connection to the broker at `endpoint`.

    `versions` are known when the channel is set up. `error` is what closed the channel, None
    while it is open.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport | TlsTransport,
        client: ClientContext,
        listener: ChannelListener,
        *,
        throttled_until: float,
    ) -> None:
        self.clock = client.clock
        self.versions = BrokerVersions()
        self.error: ProducerError | None = None
        self.throttled_until = throttled_until
        self.is_paused = False
        self.arrivals = 0
        self._arrivals_seen = 0
        self._endpoint = endpoint
        self._transport = transport
        self._connection = Connection(client.client_id)
        self._config = client.config
        self._request_timeout = client.config.request_timeout
        self._events = client.events
        self._listener = listener
        self._is_unproven = False
        self._last_used = client.clock()
        self._timer: LateTimer | None = None
        self._timer_due = NEVER
        self._changed = asyncio.Event()

    @property
    def address(self) -> str:
        """The address of the broker, as host:port."""
        return self._endpoint.address

    @property
    def requests_in_flight(self) -> int:
        """How many requests have no response yet."""
        return len(self._connection.pending)

    def open(self) -> None:
        """Begin to receive, with the bytes that have arrived already."""
        if self._config.acks == 0:
            # No response says that a record has arrived: it counts as stored when it is written.
            self._transport.hold_nothing_back(self._request_timeout)
        self._transport.attach(self._on_data, self._on_writable, self._on_lost)

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self._transport.is_encrypted

    @property
    def peer(self) -> SocketAddress:
        """The address that the connection leads to."""
        return self._transport.address

    def accept_large_responses(self) -> None:
        """Accept responses of any size that a broker sends: the peer is known to be one."""
        self._connection.accept_large_responses()

    def pause(self) -> None:
        """Send no further requests of the producer: the connection authenticates again."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self.is_paused = False
        self._listener.channel_writable()

    async def drained(self) -> None:
        """Wait until no request is in flight, or the connection is lost."""
        while self.error is None and self.requests_in_flight:
            self._changed.clear()
            await self._changed.wait()

    def put_in_service(self, versions: BrokerVersions) -> None:
        """Note that the set-up is complete: the next response shows that the broker works."""
        self.versions = versions
        self._is_unproven = True

    def sendable_at(self, now: float) -> float:
        """Return when the next Produce request may be written.

        `now`, the end of a throttle, or NEVER: closed, or not before `channel_writable`.
        """
        if self.error is not None or self.is_paused or not self._transport.can_write:
            return NEVER
        return max(now, self.throttled_until)

    def send(
        self,
        request: Request[Any],
        version: int,
        on_answer: OnAnswer,
        *,
        timeout: float | None = None,
        expect_answer: bool = True,
    ) -> PendingRequest:
        """Write a request at once and return it; the channel must be open.

        `on_answer(pending, frame, error)` is called once unless no response is expected.
        """
        now = self.clock()
        deadline = now + (self._request_timeout if timeout is None else timeout)
        pending, chunks = self._connection.send(
            request, version, now, deadline, on_answer, expect_answer=expect_answer
        )
        self._last_used = now
        self._events.request_sent(self._endpoint.node_id, pending.size, now)
        self._transport.write(chunks)
        # One timer for all requests: set it anew only for a deadline before the planned one.
        if self._timer is None or deadline < self._timer_due:
            self._arm(min(self._connection.next_deadline(), deadline))
        return pending

    async def exchange(self, request: Request[R], version: int, *, timeout: float) -> R:
        """Send a request and return the response, whose throttle time is observed.

        Raises BrokerConnectionError, RequestTimeoutError, ProtocolError.
        """
        self.check_open()
        return await ResponseExchange[R](self, request, version).run(timeout)

    async def exchange_frame(self, request: Request[Any], version: int, *, timeout: float) -> memoryview:
        """Send a request and return the frame of the response; raises as `exchange`."""
        self.check_open()
        return await FrameExchange(self, request, version).run(timeout)

    def check_open(self) -> None:
        """Raise the error that closed the channel, if any."""
        # A task that was woken by a response gets its turn later: the channel may be closed by then.
        if self.error is not None:
            raise self.error

    async def written(self) -> None:
        """Wait until the connection takes bytes again.

        With acks=0 the operating system has taken all bytes then.
        """
        while self.error is None and not self._transport.can_write:
            self._changed.clear()
            await self._changed.wait()

    def throttle(self, seconds: float) -> None:
        """Send no requests for `seconds`: the broker asks for it (KIP-219)."""
        if seconds <= 0:
            return
        now = self.clock()
        # Throttled until 12 already, and at 10 asked for 5 s: the throttle ends at 15, and the
        # deadlines move by 3 s.
        begin, end = max(self.throttled_until, now), max(self.throttled_until, now + seconds)
        self.throttled_until = end
        # The records of these requests expire after delivery_timeout_ms, however long the broker
        # throttles. From then on the requests only hold memory.
        limit = self._config.delivery_timeout + self._request_timeout
        self._connection.extend_deadlines(end - begin, limit)

    def close(self, error: ProducerError, *, is_idle: bool = False) -> None:
        """Close the connection; every request in flight fails with `error`."""
        if self.error is not None:
            return
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        lost = self._connection.lose()
        self._changed.set()
        # The broker hears of it first: the callbacks of the requests find no connection there.
        self._listener.channel_closed(error, is_idle=is_idle, is_unproven=self._is_unproven and bool(lost))
        for pending in lost:
            pending.on_answer(pending, None, error)

    def _on_data(self, data: bytes) -> None:
        connection, node_id = self._connection, self._endpoint.node_id
        self.arrivals += 1
        self._last_used = self.clock()
        try:
            answers = connection.receive(data)
        except ProtocolError as error:
            error.args = (f"{self.address} is no Kafka broker, or the connection is corrupt: {error}",)
            # The error is kept: its frames would keep the received bytes.
            self.close(error.with_traceback(None))
            return
        if connection.ignored and self._endpoint.is_first_ignored():
            logger.warning(
                "broker %d at %s answers requests that expect no response (Produce with acks=0); "
                "these responses are ignored",
                node_id, self.address,
            )  # fmt: skip
        if answers and self._is_unproven:
            self._is_unproven = False
            self._listener.channel_proven()
        for pending, frame in answers:
            self._events.response_received(
                node_id, len(frame), self._last_used - pending.sent_at, self._last_used
            )
            pending.on_answer(pending, frame, None)
        if self.is_paused and not connection.pending:
            self._changed.set()

    def _on_writable(self) -> None:
        self._changed.set()
        self._listener.channel_writable()

    def _on_lost(self, cause: Exception | None) -> None:
        if isinstance(cause, ProducerError):
            # TLS has explained it: the broker refuses the client's certificate, for example.
            self.close(cause)
            return
        reason = "the broker closed it" if cause is None else cause_of(cause)
        error = BrokerConnectionError(f"the connection to {self.address} was lost: {reason}")
        error.__cause__ = cause
        self.close(error)

    def _arm(self, due: float) -> None:
        idle = self._config.connections_max_idle
        if idle is not None:
            # A connection with a request in flight is not idle.
            since = self.clock() if self.requests_in_flight else self._last_used
            due = min(due, since + idle)
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = LateTimer(due - self.clock(), self._on_timer, clock=self.clock)

    def _on_timer(self, now: float) -> None:
        self._timer = None
        connection = self._connection
        deadline = connection.next_deadline()
        if deadline <= now:
            if self.arrivals != self._arrivals_seen:
                # Bytes have arrived since: the rest of the response may be in the socket.
                self._arrivals_seen = self.arrivals
                self._arm(now)
                return
            # Responses come in order: without the oldest one, no other can come.
            oldest = connection.pending[0]
            waited = (now - oldest.sent_at) * 1000
            message = f"{self.address} did not give a {oldest.kind.__name__} within {waited:.0f} ms"
            self.close(RequestTimeoutError(f"{message}: connection closed"))
            return
        idle = self._config.connections_max_idle
        if deadline == NEVER and idle is not None and now >= self._last_used + idle:
            message = f"the connection to {self.address} was not used for {idle:.0f} s"
            self.close(BrokerConnectionError(message), is_idle=True)
            return
        self._arm(deadline)

    def __repr__(self) -> str:
        state = "open" if self.error is None else "closed"
        return f"<Channel {self.address} {state} in_flight={self.requests_in_flight}>"
