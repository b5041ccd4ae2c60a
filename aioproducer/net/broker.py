"""One broker: the coroutine that keeps the connection to it, and the requests on it.

    idle ──want──▶ connecting ──ApiVersions──▶ ready ──lost, idle──▶ idle
                       │  ▲
                       └──┘ backoff

A dead connection is a state that everybody who waits is told of: each pending request gets
its error, and the sender hears `on_change`. `on_open` runs before a connection is ready, and may
refuse it by raising. Whoever knows who leads what hears `on_lost` when
the broker cannot be reached: others may lead by now.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from aioproducer.config.kinds import format_address
from aioproducer.core.batch import NEVER
from aioproducer.core.connection import Connection
from aioproducer.errors import BrokerConnectionError, ProducerError, ProtocolError, RequestTimeoutError
from aioproducer.net.causes import cause_of
from aioproducer.net.handshake import Handshake
from aioproducer.net.timer import LateTimer, late_timeout
from aioproducer.net.transport import Addresses, connect
from aioproducer.protocol.api import ApiKey, Response, VersionRange, negotiate
from aioproducer.protocol.frame import decode_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aioproducer.config import ProducerConfig
    from aioproducer.core.backoff import Backoff
    from aioproducer.core.connection import PendingRequest
    from aioproducer.core.events import Listener
    from aioproducer.net.transport import Transport
    from aioproducer.protocol.api import Request
    from aioproducer.protocol.api_versions import ApiVersionsRequest

    OnAnswer = Callable[[PendingRequest, memoryview | None, Exception | None], object]

logger = logging.getLogger("aioproducer.broker")

R = TypeVar("R", bound=Response)
T = TypeVar("T")


class Broker:
    """The connection to one broker, made when it is wanted and made again when it is lost.

    `node_id` is negative for a bootstrap server, whose id is not known.
    """

    def __init__(
        self,
        node_id: int,
        host: str,
        port: int,
        *,
        config: ProducerConfig,
        client_id: str,
        events: Listener,
        reconnect_backoff: Backoff,
        setup_backoff: Backoff,
        clock: Callable[[], float],
    ) -> None:
        self.node_id = node_id
        self.host = host
        self.port = port
        self.handshake = Handshake()
        self.addresses = Addresses()
        self.is_closed = False
        self.throttled_until = 0.0
        self.backing_off_until = 0.0
        self.last_attempt = 0.0
        self.last_error: ProducerError | None = None
        self.on_change: Callable[[], object] = _ignore
        self.on_lost: Callable[[], object] = _ignore
        self.on_open: Callable[[Broker], Awaitable[None]] | None = None
        self._config = config
        self._request_timeout = config.request_timeout
        self._client_id = client_id
        self._events = events
        self._reconnect_backoff = reconnect_backoff
        self._setup_backoff = setup_backoff
        self._clock = clock
        self._versions: dict[int, VersionRange] = {}
        self._agreed: dict[tuple[ApiKey, int, int | None], int] = {}
        self._transport: Transport | None = None
        self._connection: Connection | None = None
        self._failures = 0
        self._is_ready = False
        self._is_connecting = False
        self._has_answered = False
        self._ignores = False
        self._arrivals = 0
        self._arrivals_seen = 0
        self._last_used = 0.0
        self._timer: LateTimer | None = None
        self._timer_due = NEVER
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def address(self) -> str:
        """Where the broker listens, as host:port."""
        return format_address(self.host, self.port)

    @property
    def is_ready(self) -> bool:
        """Whether requests can be sent now."""
        return self._is_ready

    @property
    def can_write(self) -> bool:
        """Whether the connection takes more without piling it up."""
        return self._is_ready and self._transport is not None and self._transport.can_write

    @property
    def in_flight(self) -> int:
        """How many requests are not answered yet."""
        return len(self._connection.pending) if self._connection is not None else 0

    def outage(self) -> ProducerError | None:
        """Return why nothing can be sent now, with the address; None if it can, or nothing is wrong."""
        now = self._clock()
        cause: ProducerError | None = None
        if self._is_ready:
            if now >= self.throttled_until:
                return None
            words = f"it throttles this client for {self.throttled_until - now:.1f} s more"
        elif self.last_error is not None:
            cause = self.last_error
            words = str(cause)
        elif self._is_connecting:
            words = f"no connection for {now - self.last_attempt:.1f} s"
        else:
            return None
        error = BrokerConnectionError(f"broker {self.node_id} at {self.address}: {words}")
        error.__cause__ = cause
        return error

    def want(self) -> None:
        """Have a connection made, unless there is one."""
        self._wanted.set()

    def version(self, api: ApiKey, client: VersionRange, *, at_most: int | None = None) -> int:
        """Return the version that both sides speak; raises UnsupportedVersionError."""
        agreed = self._agreed.get((api, client.min, at_most))
        if agreed is None:
            agreed = negotiate(api, client, self._versions.get(api), at_most=at_most)
            self._agreed[api, client.min, at_most] = agreed
        return agreed

    async def run(self) -> None:
        """Keep the connection, until cancelled or closed."""
        try:
            while not self.is_closed:
                await self._wanted.wait()
                self._wanted.clear()
                if self.is_closed:
                    return
                if await self._open():
                    await self._until_lost()
                await self._back_off()
        finally:
            self.close(BrokerConnectionError(f"the connection to {self.address} is being closed"))

    def close(self, error: ProducerError) -> None:
        """Close the connection for good; what is under way fails with `error`."""
        self.is_closed = True
        self.drop(error)
        self.want()
        self._tell()

    def send(
        self,
        request: Request[Any],
        version: int,
        on_answer: OnAnswer,
        *,
        timeout: float | None = None,
        expect_answer: bool = True,
    ) -> PendingRequest:
        """Write a request at once and return it; `is_ready` must hold.

        `on_answer(pending, frame, error)` is called once unless no answer is expected.
        """
        connection, transport = self._connection, self._transport
        assert connection is not None  # noqa: S101 - what is_ready means
        assert transport is not None  # noqa: S101 - what is_ready means
        now = self._clock()
        deadline = now + (self._request_timeout if timeout is None else timeout)
        pending, chunks = connection.send(
            request, version, now, deadline, on_answer, expect_answer=expect_answer
        )
        self._last_used = now
        self._events.request_sent(self.node_id, pending.size, now)
        transport.write(chunks)
        if self._timer is None or deadline < self._timer_due:
            self._arm(min(connection.next_deadline(), deadline))
        return pending

    async def request(self, request: Request[R], *, timeout: float, client: VersionRange | None = None) -> R:
        """Send a request as soon as there is a connection and return the answer.

        Raises BrokerConnectionError, RequestTimeoutError, ProtocolError, UnsupportedVersionError.
        """

        def read(pending: PendingRequest, frame: memoryview) -> R:
            response = decode_response(request.response, frame, pending.version)[1]
            if pending.version >= response.client_throttled_from:
                self.throttle(getattr(response, "throttle_time_ms", 0) / 1000)
            return response

        limit = self._config.delivery_timeout
        try:
            with late_timeout(limit):
                await self._may_ask()
        except TimeoutError as error:
            if isinstance(error, ProducerError):
                raise
            why = "it throttles this client" if self._is_ready else "no connection"
            msg = f"{self.address} could not be asked within {limit * 1000:.0f} ms: {why}"
            raise RequestTimeoutError(msg) from None
        version = self.version(request.api_key, client or request.versions)
        return await self._exchange(request, version, read, timeout=timeout)

    async def _may_ask(self) -> None:
        """Wait for a connection and until the broker throttles it no more.

        Neither is a part of a request's timeout: the attempts to connect have their own.
        """
        await self._connected()
        while (silence := self.throttled_until - self._clock()) > 0:
            with anyio.move_on_after(silence):
                await self._until_lost()
            await self._connected()

    async def request_in_setup(self, request: Request[R], version: int) -> R:
        """Send a request before the connection is ready, and return the answer: for `on_open`."""

        def read(pending: PendingRequest, frame: memoryview) -> R:
            return decode_response(request.response, frame, pending.version)[1]

        self._check_open()
        timeout = min(self._config.connection_setup_timeout, self._request_timeout)
        return await self._exchange(request, version, read, timeout=timeout)

    async def _exchange(
        self,
        request: Request[Any],
        version: int,
        read: Callable[[PendingRequest, memoryview], T],
        *,
        timeout: float,
    ) -> T:
        # What the answer says is heeded when it comes, not when whoever asked has his turn.
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        pending: PendingRequest | None = None
        seen = self._arrivals
        timer: LateTimer

        def on_answer(pending: PendingRequest, frame: memoryview | None, error: Exception | None) -> None:
            if answer.done():
                return
            if frame is None:
                answer.set_exception(error or BrokerConnectionError(f"{self.address} gave no answer"))
                return
            try:
                answer.set_result(read(pending, frame))
            except ProtocolError as malformed:
                answer.set_exception(malformed)
                self.drop(malformed)

        def expire(now: float) -> None:
            nonlocal timer, seen
            if pending is not None and pending.deadline > now:
                # The broker has throttled the connection meanwhile.
                timer = LateTimer(pending.deadline - now, expire, clock=self._clock)
            elif self._arrivals != seen:
                seen = self._arrivals
                timer = LateTimer(0.0, expire, clock=self._clock)
            elif not answer.done():
                asked = type(request).__name__
                msg = f"{self.address} did not answer {asked} within {timeout * 1000:.0f} ms"
                answer.set_exception(RequestTimeoutError(msg))

        timer = LateTimer(timeout, expire, clock=self._clock)
        try:
            pending = self.send(request, version, on_answer, timeout=timeout)
            return await answer
        finally:
            timer.cancel()
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # looked at, in case that whoever asked was cancelled meanwhile

    async def written(self) -> None:
        """Return when the connection takes more: with acks=0, when all is with the operating system."""
        while self._is_ready and not self.can_write:
            self._changed.clear()
            await self._changed.wait()

    def throttle(self, seconds: float) -> None:
        """Keep silent on the connection for so long: the broker asks for it (KIP-219)."""
        if seconds <= 0:
            return
        silent_since = max(self.throttled_until, self._clock())
        self.throttled_until = max(self.throttled_until, self._clock() + seconds)
        if self._connection is not None:
            # The records of these requests expire after delivery_timeout_ms, however long the broker
            # throttles. From then on the requests only hold memory.
            longer = self.throttled_until - silent_since
            limit = self._config.delivery_timeout + self._request_timeout
            self._connection.extend_deadlines(longer, limit)

    def drop(self, error: ProducerError) -> None:
        """Give up the connection; every request under way fails with `error`."""
        was_ready = self._is_ready
        self._disconnect(error)
        if was_ready and not self.is_closed:
            self.on_lost()

    def _disconnect(self, error: ProducerError) -> None:
        transport, connection = self._transport, self._connection
        was_ready, self._is_ready = self._is_ready, False
        self._transport = self._connection = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if transport is None:
            return
        transport.abort()
        self.last_error = error
        if was_ready:
            self._events.connection_closed(self.node_id, self._clock())
            if not self.is_closed:
                logger.info("lost the connection to broker %d at %s: %s", self.node_id, self.address, error)
        if connection is not None:
            if was_ready and connection.pending and not self._has_answered:
                # A broker that greets and hangs up is as good as none.
                self._failures += 1
            for pending in connection.lose():
                pending.on_answer(pending, None, error)
        self._tell()

    async def _open(self) -> bool:
        self._is_connecting = True
        try:
            return await self._connect()
        finally:
            self._is_connecting = False

    async def _connect(self) -> bool:
        now = self.last_attempt = self._clock()
        config = self._config
        timeout = self._setup_backoff.delay(self._failures)
        transport = None
        try:
            transport = self._transport = await connect(
                self.host,
                self.port,
                timeout=timeout,
                send_buffer=config.send_buffer_bytes,
                receive_buffer=config.receive_buffer_bytes,
                addresses=self.addresses,
            )
            self._connection = Connection(self._client_id)
            if config.acks == 0:
                # No answer says that a record has arrived: it counts as stored when it is written.
                transport.hold_nothing_back(config.request_timeout)
            transport.attach(self._on_data, self._on_writable, self._on_lost)
            self._last_used = now
            ask = partial(self._ask_for_versions, min(timeout, config.request_timeout))
            self._versions = await self.handshake.agree(ask)
            self._agreed.clear()
            self._check_open()
            if self.on_open is not None:
                await self.on_open(self)
                self._check_open()
        except ProducerError as error:
            self.drop(error)
            self._failures += 1
            self.last_error = error
            if self.is_closed:
                return False
            if transport is not None:
                self.addresses.failed(transport.address)
            self.on_lost()
            # Of the bootstrap servers whoever asks them tells.
            level = logging.WARNING if self._failures == 1 and self.node_id >= 0 else logging.INFO
            logger.log(
                level, "cannot use broker %d at %s (attempt %d): %s",
                self.node_id, self.address, self._failures, error,
            )  # fmt: skip
            return False
        self.addresses.worked(transport.address)
        self._is_ready = True
        self._has_answered = False
        self.last_error = None
        self._events.connection_opened(self.node_id, self._clock())
        logger.info("connected to broker %d at %s", self.node_id, self.address)
        self._tell()
        return True

    async def _ask_for_versions(
        self, timeout: float, question: ApiVersionsRequest, version: int
    ) -> memoryview:
        self._check_open()
        return await self._exchange(question, version, lambda _, frame: frame, timeout=timeout)

    def _check_open(self) -> None:
        # Between a coroutine being woken and its turn, the connection may be lost or given up.
        if self.is_closed:
            msg = f"the connection to {self.address} is closed"
            raise BrokerConnectionError(msg)
        if self._transport is None:
            raise self.last_error or BrokerConnectionError(f"the connection to {self.address} was lost")

    async def _connected(self) -> None:
        while not self._is_ready:
            if self.is_closed:
                msg = f"the connection to {self.address} is closed"
                raise BrokerConnectionError(msg)
            attempts = self._failures
            self.want()
            self._changed.clear()
            await self._changed.wait()
            if self._failures != attempts and self.last_error is not None:
                raise self.last_error

    async def _until_lost(self) -> None:
        while self._is_ready:
            self._changed.clear()
            await self._changed.wait()

    async def _back_off(self) -> None:
        if self.is_closed:
            return
        delay = self._reconnect_backoff.delay(max(self._failures - 1, 0))
        self.backing_off_until = self._clock() + delay
        self._tell()
        await anyio.sleep(delay)

    def _on_data(self, data: bytes) -> None:
        connection = self._connection
        if connection is None:
            return
        self._arrivals += 1
        self._last_used = self._clock()
        try:
            answers = connection.receive(data)
        except ProtocolError as error:
            error.args = (f"{self.address} is no Kafka broker, or the connection is corrupt: {error}",)
            self.drop(error)
            return
        if connection.ignored and not self._ignores:
            self._ignores = True
            logger.warning(
                "broker %d at %s answers requests that expect no response (Produce with acks=0); "
                "these responses are ignored",
                self.node_id, self.address,
            )  # fmt: skip
        if answers and self._is_ready:
            self._has_answered = True
            self._failures = 0
        for pending, frame in answers:
            self._events.response_received(
                self.node_id, len(frame), self._last_used - pending.sent_at, self._last_used
            )
            pending.on_answer(pending, frame, None)

    def _on_writable(self) -> None:
        self._tell()

    def _on_lost(self, cause: Exception | None) -> None:
        why = "the broker closed it" if cause is None else cause_of(cause)
        error = BrokerConnectionError(f"the connection to {self.address} was lost: {why}")
        error.__cause__ = cause
        self.drop(error)

    def _arm(self, due: float) -> None:
        idle = self._config.connections_max_idle
        if idle is not None:
            # A connection that waits for an answer is not idle.
            since = self._clock() if self.in_flight else self._last_used
            due = min(due, since + idle)
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = LateTimer(due - self._clock(), self._on_timer, clock=self._clock)

    def _on_timer(self, now: float) -> None:
        self._timer = None
        connection = self._connection
        if connection is None:
            return
        deadline = connection.next_deadline()
        if deadline <= now:
            if self._arrivals != self._arrivals_seen:
                # Perhaps a part of the response is read, and the rest lies in the socket.
                self._arrivals_seen = self._arrivals
                self._arm(now)
                return
            waited = now - connection.pending[0].sent_at
            kind = connection.pending[0].kind.__name__
            self.drop(
                RequestTimeoutError(
                    f"{self.address} did not give a {kind} within {waited * 1000:.0f} ms: connection closed"
                )
            )
            return
        idle = self._config.connections_max_idle
        if deadline == NEVER and idle is not None and now >= self._last_used + idle:
            self._disconnect(
                BrokerConnectionError(f"the connection to {self.address} was not used for {idle:.0f} s")
            )
            self.last_error = None
            return
        self._arm(deadline)

    def _tell(self) -> None:
        self._changed.set()
        self.on_change()

    def __repr__(self) -> str:
        state = "ready" if self._is_ready else "closed" if self.is_closed else "not connected"
        return f"<Broker {self.node_id} {self.address} {state} in_flight={self.in_flight}>"


def _ignore() -> None:
    """Nobody is to be told."""
