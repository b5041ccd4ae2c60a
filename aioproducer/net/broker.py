"""One broker: the task that connects, and connects again when the connection is lost.

    IDLE ──want──▶ CONNECTING ──set up──▶ READY ──lost, or idle too long──▶ BACKING_OFF ──▶ IDLE
                       └─────────────failed────────────────────────────────────▲

`close` leads from every state to CLOSED. `channel` is the connection in service while READY, and
None otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from aioproducer.errors import AuthenticationError, BrokerConnectionError, ProducerError, RequestTimeoutError
from aioproducer.net.channel import Channel
from aioproducer.net.renewal import renew
from aioproducer.net.setup import Setup, Verifier
from aioproducer.net.timer import late_timeout
from aioproducer.net.tls_transport import secure
from aioproducer.net.transport import connect
from aioproducer.protocol.api import Response

if TYPE_CHECKING:
    from aioproducer.net.authenticator import Session
    from aioproducer.net.client_context import ClientContext
    from aioproducer.net.endpoint import Endpoint
    from aioproducer.net.tls_transport import TlsTransport
    from aioproducer.net.transport import Transport
    from aioproducer.protocol.api import ApiKey, Request, VersionRange

logger = logging.getLogger("aioproducer.broker")

R = TypeVar("R", bound=Response)


class BrokerState(Enum):
    """The states of a broker's connection; the values are the words of `repr`."""

    IDLE = "not connected"
    CONNECTING = "connecting"
    READY = "ready"
    BACKING_OFF = "backing off"
    CLOSED = "closed"


_TRANSITIONS = {
    BrokerState.IDLE: {BrokerState.CONNECTING, BrokerState.CLOSED},
    BrokerState.CONNECTING: {BrokerState.READY, BrokerState.BACKING_OFF, BrokerState.CLOSED},
    BrokerState.READY: {BrokerState.BACKING_OFF, BrokerState.CLOSED},
    BrokerState.BACKING_OFF: {BrokerState.IDLE, BrokerState.CLOSED},
    BrokerState.CLOSED: set[BrokerState](),
}


class BrokerListener(Verifier, Protocol):
    """Hears of a broker, and verifies its new connections: the cluster."""

    def broker_changed(self, broker: Broker) -> None:
        """Note that the state has changed, or that the connection takes bytes again."""

    def broker_lost(self, broker: Broker) -> None:
        """Note that the connection failed: other brokers may lead the partitions now."""

    def broker_refused(self, broker: Broker, error: AuthenticationError) -> None:
        """Note that broker and client do not authenticate each other."""


class NoListener:
    """The listener of a broker that nothing depends on."""

    def broker_changed(self, broker: Broker) -> None:
        """Do nothing."""

    def broker_lost(self, broker: Broker) -> None:
        """Do nothing."""

    def broker_refused(self, broker: Broker, error: AuthenticationError) -> None:
        """Do nothing."""

    async def verify(self, setup: Setup) -> None:
        """Accept every connection."""


class Broker:
    """The broker at `endpoint`, connected when `want` asks for it.

    `last_error` is why the last connection failed, None if it works, or was closed because it was idle.
    """

    def __init__(self, endpoint: Endpoint, client: ClientContext, listener: BrokerListener) -> None:
        self.node_id = endpoint.node_id
        self.address = endpoint.address
        self.endpoint = endpoint
        self.state = BrokerState.IDLE
        self.channel: Channel | None = None
        self.last_attempt = 0.0
        self.last_error: ProducerError | None = None
        self.backing_off_until = 0.0
        self._client = client
        self._clock = client.clock
        self._listener = listener
        self._new_channel: Channel | None = None
        self._session: Session | None = None
        self._throttled_until = 0.0
        self._failures = 0
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether there is a connection in service."""
        return self.channel is not None

    @property
    def is_closed(self) -> bool:
        """Whether the broker is closed for good."""
        return self.state is BrokerState.CLOSED

    @property
    def requests_in_flight(self) -> int:
        """How many requests have no response yet."""
        return 0 if self.channel is None else self.channel.requests_in_flight

    def is_askable(self, now: float) -> bool:
        """Return whether a request outside the produce path can be sent now.

        Back-pressure does not count: a Produce request would always be first to fill the buffer.
        """
        channel = self.channel
        return channel is not None and not channel.is_paused and channel.throttled_until <= now

    def version(self, api: ApiKey, client: VersionRange) -> int:
        """Return the version that both sides support, as of the last connection.

        Raises UnsupportedVersionError.
        """
        return self.endpoint.discovery.versions.choose(api, client)

    def outage(self) -> ProducerError | None:
        """Return why no request can be sent now, None if one can or no cause is known."""
        now = self._clock()
        cause: ProducerError | None = None
        if self.channel is not None:
            if self.is_askable(now) or self.channel.is_paused:
                return None
            reason = f"it throttles this client for {self.channel.throttled_until - now:.1f} s more"
        elif self.last_error is not None:
            cause = self.last_error
            reason = str(cause)
        elif self.state is BrokerState.CONNECTING:
            reason = f"no connection for {now - self.last_attempt:.1f} s"
        else:
            return None
        error = BrokerConnectionError(f"broker {self.node_id} at {self.address}: {reason}")
        error.__cause__ = cause
        return error

    def want(self) -> None:
        """Connect, unless there is a connection."""
        self._wanted.set()

    async def run(self) -> None:
        """Connect whenever a connection is wanted, until cancelled or closed."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                if self.is_closed:
                    return
                await self._connect()
                while self.channel is not None:
                    await self._serve(self.channel)
                await self._back_off()
        finally:
            self.close(BrokerConnectionError(f"the connection to {self.address} is being closed"))

    def close(self, error: ProducerError) -> None:
        """Close the connection for good; requests in flight fail with `error`."""
        if self.is_closed:
            return
        # The state comes first: a broker that is closed on purpose is not reported as lost.
        self._enter(BrokerState.CLOSED)
        for channel in (self.channel, self._new_channel):
            if channel is not None:
                channel.close(error)
        self.want()
        self._notify()

    def drop(self, error: ProducerError) -> None:
        """Give up the connection, if any; requests in flight fail with `error`."""
        if self.channel is not None:
            self.channel.close(error)

    async def request(self, request: Request[R], *, timeout: float, client: VersionRange | None = None) -> R:
        """Send a request as soon as there is a connection and return the response.

        `client` are the versions to choose from, None for all versions of the request. Raises
        BrokerConnectionError, RequestTimeoutError, ProtocolError, UnsupportedVersionError.
        """
        limit = self._client.config.delivery_timeout
        try:
            # `timeout` begins when the request is sent: attempts to connect have their own limits.
            with late_timeout(limit):
                channel = await self._askable_channel()
        except TimeoutError as error:
            # A failed attempt to connect may raise RequestTimeoutError, which is a TimeoutError too.
            if isinstance(error, ProducerError):
                raise
            reason = "it throttles this client" if self.is_ready else "no connection"
            message = f"{self.address} could not be asked within {limit * 1000:.0f} ms: {reason}"
            raise RequestTimeoutError(message) from None
        version = channel.versions.choose(request.api_key, client or request.versions)
        return await channel.exchange(request, version, timeout=timeout)

    def channel_writable(self) -> None:
        """Note that the connection takes bytes again."""
        self._notify()

    def channel_proven(self) -> None:
        """Note the first response: the next failure is the first of a new outage."""
        self._failures = 0

    def channel_closed(self, error: ProducerError, *, is_idle: bool, is_unproven: bool) -> None:
        """Note that the connection is closed, in service or in its set-up."""
        # The client closed the idle connection: the broker did not fail.
        self.last_error = None if is_idle else error
        channel, self.channel = self.channel, None
        if channel is None:
            return
        # The throttle is the client's: it goes on when the client connects again.
        self._throttled_until = channel.throttled_until
        self._client.events.connection_closed(self.node_id, self._clock())
        if self.is_closed:
            return
        logger.info("lost the connection to broker %d at %s: %s", self.node_id, self.address, error)
        # A broker that completes the set-up but never responds after it is as bad as no broker.
        self._failures += is_unproven
        if is_unproven and self._client.authenticator is None:
            self.endpoint.suspect()
        self._start_backoff()
        if not is_idle:
            self._listener.broker_lost(self)

    async def _connect(self) -> None:
        self._enter(BrokerState.CONNECTING)
        self.last_attempt = self._clock()
        try:
            self.channel = await self._open_channel()
        except ProducerError as error:
            self._new_channel = None
            self._attempt_failed(error)
            return
        self._new_channel = None
        self.last_error = None
        self._client.events.connection_opened(self.node_id, self._clock())
        logger.info("connected to broker %d at %s", self.node_id, self.address)
        self._enter(BrokerState.READY)
        self._notify()

    async def _open_channel(self) -> Channel:
        client, endpoint, config = self._client, self.endpoint, self._client.config
        # The limit grows with each failure, by default from 10 s to 30 s (KIP-601).
        timeout = client.setup_backoff.delay(self._failures)
        transport = await connect(
            endpoint.host,
            endpoint.port,
            timeout=timeout,
            send_buffer=config.send_buffer_bytes,
            receive_buffer=config.receive_buffer_bytes,
            addresses=endpoint.addresses,
        )
        timeout = min(timeout, config.request_timeout)
        stream: Transport | TlsTransport = transport
        if client.tls is not None:
            started = self._clock()
            stream = await secure(transport, client.tls, endpoint, timeout)
            # TLS and the steps after it share the limit.
            timeout = max(0.0, timeout - (self._clock() - started))
        channel = Channel(endpoint, stream, client, self, throttled_until=self._throttled_until)
        self._new_channel = channel
        try:
            self._check_not_closed()
            channel.open()
            setup = Setup(channel, endpoint, timeout)
            self._session = await setup.run(self._listener, client.authenticator)
        except ProducerError as error:
            channel.close(error)
            # TCP connects and no broker responds, for example behind a load balancer: try other
            # addresses first.
            endpoint.addresses.failed(transport.address)
            raise
        endpoint.addresses.worked(transport.address)
        endpoint.connected()
        return channel

    def _attempt_failed(self, error: ProducerError) -> None:
        self._failures += 1
        self.last_error = error
        if self.is_closed:
            return
        self._listener.broker_lost(self)
        if isinstance(error, AuthenticationError):
            self._listener.broker_refused(self, error)
        # The search for the cluster reports the bootstrap servers, all in one line.
        level = logging.WARNING if self._failures == 1 and self.node_id >= 0 else logging.INFO
        logger.log(
            level, "cannot use broker %d at %s (attempt %d): %s",
            self.node_id, self.address, self._failures, error,
        )  # fmt: skip
        self._start_backoff()

    def _start_backoff(self) -> None:
        # A connection that worked and is lost has 0 failures, a first failed attempt 1: both wait the
        # shortest time.
        delay = self._client.reconnect_backoff.delay(max(self._failures - 1, 0))
        self.backing_off_until = self._clock() + delay
        self._enter(BrokerState.BACKING_OFF)
        self._notify()

    async def _serve(self, channel: Channel) -> None:
        """Wait for a change of the connection; authenticate again before its session ends."""
        session, authenticator = self._session, self._client.authenticator
        if session is None or authenticator is None:
            await self._change()
            return
        with anyio.move_on_after(max(0.0, session.renew_at - self._clock())):
            await self._change()
            return
        timeout = self._client.config.request_timeout
        self._session = await renew(channel, self.endpoint, authenticator, session, timeout)

    async def _back_off(self) -> None:
        if self.state is BrokerState.BACKING_OFF:
            await anyio.sleep(max(0.0, self.backing_off_until - self._clock()))
            if not self.is_closed:
                self._enter(BrokerState.IDLE)

    async def _askable_channel(self) -> Channel:
        while True:
            channel = await self._connected_channel()
            if channel.is_paused:
                await self._change()
                continue
            silence = channel.throttled_until - self._clock()
            if silence <= 0:
                return channel
            # The connection may be lost during the throttle: then wait for the next one.
            with anyio.move_on_after(silence):
                while self.channel is channel:
                    await self._change()

    async def _connected_channel(self) -> Channel:
        while self.channel is None:
            self._check_not_closed()
            failures = self._failures
            self.want()
            await self._change()
            # An attempt failed since the call began: report it now. The next attempt comes after a
            # backoff.
            if self._failures != failures and self.last_error is not None:
                raise self.last_error
        return self.channel

    def _check_not_closed(self) -> None:
        if self.is_closed:
            message = f"the connection to {self.address} is closed"
            raise BrokerConnectionError(message)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _enter(self, state: BrokerState) -> None:
        if state not in _TRANSITIONS[self.state]:
            message = f"broker {self.node_id} cannot go from {self.state.name} to {state.name}"
            raise RuntimeError(message)
        self.state = state

    def _notify(self) -> None:
        self._changed.set()
        self._listener.broker_changed(self)

    def __repr__(self) -> str:
        return (
            f"<Broker {self.node_id} {self.address} {self.state.value} in_flight={self.requests_in_flight}>"
        )
