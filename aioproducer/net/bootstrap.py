"""The search for a cluster by a list of addresses, which may be dead or not Kafka.

The addresses are asked one after the other, each a moment after the one before: the first broker
that responds wins, and the other connections are closed.
"""

from __future__ import annotations

import asyncio
import random
import socket
from typing import TYPE_CHECKING

import anyio

from aioproducer.config.kinds import format_address
from aioproducer.errors import (
    AuthenticationError,
    BootstrapError,
    BrokerConnectionError,
    ConfigurationError,
    ProducerError,
)
from aioproducer.net.ask import Outcome, Race
from aioproducer.net.broker import Broker, NoListener
from aioproducer.net.endpoint import Endpoint
from aioproducer.net.transport import resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aioproducer.net.client_context import ClientContext
    from aioproducer.protocol.metadata import MetadataRequest, MetadataResponse

    Found = tuple[MetadataResponse, int]


_FINAL = (AuthenticationError, ConfigurationError)
"""Errors that the other servers would give as well: a missing package, wrong credentials."""

SERVER_HEAD_START = 0.25
"""Seconds after which the next address is asked too."""


class Bootstrap:
    """The bootstrap servers; `causes` maps each address to the error of its last attempt."""

    def __init__(self, client: ClientContext, request: MetadataRequest) -> None:
        self.causes: dict[str, Exception] = {}
        self._client = client
        self._request = request
        self._endpoints: dict[str, Endpoint] = {}

    @property
    def only_names_failed(self) -> bool:
        """Whether each address failed, and each because its name could not be resolved."""
        return bool(self.causes) and all(
            isinstance(cause.__cause__, (socket.gaierror, UnicodeError)) for cause in self.causes.values()
        )

    async def ask(self, away: Mapping[str, Exception], *, within: float) -> Found | None:
        """Return the first response to the Metadata request, with its version; None if all fail.

        `away` maps addresses to leave out, because other connections have just failed there, to
        their errors. All addresses are asked in the first half of the `within` seconds. Raises
        AuthenticationError: the other servers would refuse the same credentials.
        """
        servers = await self._servers()
        # Clients with the same list should not all ask its first server.
        random.shuffle(servers)
        endpoints = list(dict.fromkeys(self._endpoint(host, port) for host, port in servers))
        known = {**self.causes, **away}
        # The time may be up before an address fails again: until then its last error stands.
        self.causes = {e.address: known[e.address] for e in endpoints if e.address in known}
        endpoints = [endpoint for endpoint in endpoints if endpoint.address not in away]
        # 8 addresses within 2 s: ask one every 0.125 s, so that the last one has a second to respond.
        head_start = min(SERVER_HEAD_START, within / 2 / max(len(endpoints), 1))
        outcome = await _BootstrapRace(self._client, self._request, endpoints, self.causes, head_start).run()
        if outcome is not None and isinstance(outcome.error, _FINAL):
            raise outcome.error
        return None if outcome is None else outcome.response

    def summary(self) -> str:
        """Return each address with its error, as a sentence."""
        return _listed(self.causes)

    def error(self, waited: float) -> BootstrapError:
        """Return the error of a search of `waited` seconds, with the cause at each address."""
        causes = dict(self.causes)
        for host, port in self._client.config.bootstrap_servers:
            causes.setdefault(format_address(host, port), BrokerConnectionError("no answer in time"))
        message = f"none of the bootstrap servers could be used within {waited:.1f} s: {_listed(causes)}"
        return BootstrapError(message, causes=causes)

    def _endpoint(self, host: str, port: int) -> Endpoint:
        address = format_address(host, port)
        if address not in self._endpoints:
            # Bootstrap servers are nodes -1, -2 and so on, as in Java: their node ids are unknown.
            self._endpoints[address] = Endpoint(-1 - len(self._endpoints), host, port)
        return self._endpoints[address]

    async def _servers(self) -> list[tuple[str, int]]:
        servers = list(self._client.config.bootstrap_servers)
        if self._client.config.client_dns_lookup != "resolve_canonical_bootstrap_servers_only":
            return servers
        canonical: dict[tuple[str, int], None] = {}
        for host, port in servers:
            try:
                for *_, address in await resolve(host, port):
                    name, _ = await asyncio.get_running_loop().getnameinfo(address, socket.NI_NUMERICSERV)
                    canonical[name, port] = None
            except (OSError, BrokerConnectionError):
                # Without a canonical name, use the name as it is.
                canonical[host, port] = None
        return list(canonical)


class _BootstrapRace(Race["Found"]):
    """One Metadata request, to one endpoint after the other; `causes` gets the errors."""

    growth = 1

    def __init__(
        self,
        client: ClientContext,
        request: MetadataRequest,
        endpoints: Collection[Endpoint],
        causes: dict[str, Exception],
        head_start: float,
    ) -> None:
        super().__init__(head_start)
        self._client = client
        self._request = request
        self._endpoints = list(endpoints)
        self._causes = causes

    def choose(self, asked: Collection[Broker]) -> Broker | None:
        if len(asked) == len(self._endpoints):
            return None
        return Broker(self._endpoints[len(asked)], self._client, NoListener())

    def is_final(self, outcome: Outcome[Found]) -> bool:
        return outcome.error is None or isinstance(outcome.error, _FINAL)

    async def ask(self, broker: Broker) -> Found:
        found: Found | None = None
        failure: ProducerError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(broker.run)
            try:
                found = await self._ask(broker)
            except ProducerError as error:
                # Raised here, it would leave the group as an ExceptionGroup.
                failure = self._causes[broker.address] = error
            group.cancel_scope.cancel()
        if found is None:
            raise failure or BrokerConnectionError(f"{broker.address} gave no response")
        return found

    async def _ask(self, broker: Broker) -> Found:
        request, discovery = self._request, broker.endpoint.discovery
        # A server may close the connection because of the version of ApiVersions. The first search
        # tries all versions at once; each later one tries a single version.
        tries_all = not discovery.has_begun
        while True:
            try:
                response = await broker.request(
                    request,
                    timeout=self._client.config.request_timeout,
                    client=request.without_topic_creation,
                )
            except BrokerConnectionError as error:
                # Another server may have won the race: then the broker is closed, and each request to it
                # raises at once, without a turn of the loop in which this task could be cancelled.
                if broker.is_closed or not (tries_all and discovery.should_reconnect):
                    raise
                self._causes[broker.address] = error
                continue
            if response.brokers:
                return response, broker.version(request.api_key, request.without_topic_creation)
            message = "the answer names no broker"
            raise BrokerConnectionError(message)


def _listed(causes: Mapping[str, Exception]) -> str:
    # Errors of an authentication begin with the address.
    return "; ".join(
        f"{address}: {str(cause).removeprefix(f'{address}: ')}" for address, cause in causes.items()
    )
