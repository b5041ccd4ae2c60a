"""The steps between TCP and a channel in service.

    transport connected ─▶ ApiVersions ─▶ SASL ─▶ verification of the cluster ─▶ in service
    (TLS is done)          versions,              (the listener's decision)
                           features

All steps share one time limit. A step that fails raises; the broker closes the channel then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aioproducer.errors import BrokerConnectionError, ProtocolError, RequestTimeoutError
from aioproducer.net.mismatch import check_listener, uses_tls
from aioproducer.protocol.api import Response
from aioproducer.protocol.frame import decode_response

if TYPE_CHECKING:
    from aioproducer.core.broker_versions import BrokerVersions, VersionDiscovery
    from aioproducer.net.authenticator import Authenticator, Session
    from aioproducer.net.channel import Channel
    from aioproducer.net.endpoint import Endpoint
    from aioproducer.protocol.api import Request

R = TypeVar("R", bound=Response)


class Verifier(Protocol):
    """Decides whether a new connection may be used: the cluster, or `NoListener`."""

    async def verify(self, setup: Setup) -> None:
        """Raise a ProducerError to refuse the connection."""


class Setup:
    """The set-up of one channel, at most `timeout` seconds long."""

    def __init__(self, channel: Channel, endpoint: Endpoint, timeout: float) -> None:
        self.address = endpoint.address
        self.host = endpoint.host
        self.versions: BrokerVersions = channel.versions
        self._endpoint = endpoint
        self._channel = channel
        self._deadline = channel.clock() + timeout

    @property
    def has_worked(self) -> bool:
        """Whether the set-up of a connection to this listener was complete before."""
        return self._endpoint.has_worked

    async def run(self, verifier: Verifier, authenticator: Authenticator | None) -> Session | None:
        """Take all steps and return the session, if it has an end; raises what a step raises."""
        session = None
        await self._agree_on_versions(self._endpoint.discovery)
        # This task runs some turns after the response: the connection may be lost since then.
        self._channel.check_open()
        if authenticator is not None:
            session = await self._authenticate(authenticator)
            self._channel.check_open()
        elif self._endpoint.take_suspicion():
            await check_listener(self)
            self._channel.check_open()
        self._channel.accept_large_responses()
        await verifier.verify(self)
        self._channel.check_open()
        self._channel.put_in_service(self.versions)
        return session

    async def _authenticate(self, authenticator: Authenticator) -> Session | None:
        started = self._channel.clock()
        mechanism = await authenticator.mechanism()
        # A token provider may be slow. It has a limit of its own, which is not the broker's.
        self._deadline += self._channel.clock() - started
        self._channel.check_open()
        return await authenticator.run(self, mechanism)

    async def exchange(self, request: Request[R], version: int) -> R:
        """Send a request before the channel is in service, and return the response."""
        frame = await self._exchange_frame(request, version)
        return decode_response(request.response, frame, version)[1]

    async def _agree_on_versions(self, discovery: VersionDiscovery) -> None:
        step: tuple[Request[Any], int] | None = discovery.begin()
        while step is not None:
            try:
                frame = await self._exchange_frame(*step)
            except RequestTimeoutError:
                # A slow broker says nothing about versions. Only a closed connection may mean that it
                # cannot read this one.
                raise
            except BrokerConnectionError:
                discovery.connection_closed()
                await self._probe()
                raise
            except ProtocolError:
                # Some listeners with TLS answer plain text with an alert.
                await self._probe()
                raise
            step = discovery.receive(frame)
        self.versions = discovery.versions

    async def _probe(self) -> None:
        if not self._channel.is_encrypted and self._endpoint.takes_probe():
            await uses_tls(self._endpoint, self._channel.peer, self.remaining())

    async def _exchange_frame(self, request: Request[Any], version: int) -> memoryview:
        return await self._channel.exchange_frame(request, version, timeout=self.remaining())

    def remaining(self) -> float:
        """Return the seconds that are left for the steps."""
        # All steps share the limit: of 10 s, ApiVersions took 4 s, so the verification has 6 s.
        return max(0.0, self._deadline - self._channel.clock())
