"""Finding a cluster by a list of addresses, of which some may be dead, silent or no Kafka.

The addresses are tried one after the other, but the next does not wait for the one before
for longer than a moment: the first that answers wins, and the others are let go.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from typing import TYPE_CHECKING

import anyio

from aioproducer.config.kinds import format_address
from aioproducer.errors import BrokerConnectionError, ProducerError
from aioproducer.net.transport import resolve
from aioproducer.protocol.metadata import MetadataRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aioproducer.config import ProducerConfig
    from aioproducer.net.broker import Broker
    from aioproducer.net.handshake import Handshake
    from aioproducer.net.transport import Addresses
    from aioproducer.protocol.metadata import MetadataResponse

logger = logging.getLogger("aioproducer.bootstrap")

HEAD_START = 0.25
"""Seconds after which the next address is tried beside those that have not answered yet."""


class Bootstrap:
    """The bootstrap servers; `causes` maps each address tried last to what went wrong with it."""

    def __init__(self, config: ProducerConfig, make_broker: Callable[[int, str, int], Broker]) -> None:
        self._config = config
        self._make_broker = make_broker
        self.causes: dict[str, Exception] = {}
        self._handshakes: dict[str, Handshake] = {}
        self._addresses: dict[str, Addresses] = {}
        self._untold = 0
        self._settled = asyncio.Event()

    @property
    def only_names_failed(self) -> bool:
        """Whether it was the resolution of names, and nothing else, that failed at all addresses."""
        return bool(self.causes) and all(
            isinstance(cause.__cause__, (socket.gaierror, UnicodeError)) for cause in self.causes.values()
        )

    async def ask(
        self, away: Mapping[str, Exception], *, within: float
    ) -> tuple[MetadataResponse, int] | None:
        """Return what the first address that answers says of the nodes, and in which version.

        None if none does: see `causes`. `away` are addresses that others have tried just now, and
        will try again, with what went wrong there: they are left out. All addresses are tried in
        the first half of the `within` seconds that the caller waits.
        """
        servers = await self._servers()
        random.shuffle(servers)
        # What is known of an address stands until more is: the time may be up before.
        causes = {**self.causes, **away}
        self.causes = {address: causes[address] for address in _addresses(servers) & causes.keys()}
        servers = [(host, port) for host, port in servers if format_address(host, port) not in away]
        self._untold = len(servers)
        head_start = min(HEAD_START, within / 2 / max(len(servers), 1))
        answers: list[tuple[MetadataResponse, int]] = []
        async with anyio.create_task_group() as group:
            for number, (host, port) in enumerate(servers):
                self._settled.clear()
                group.start_soon(self._try, -1 - number, host, port, answers)
                with anyio.move_on_after(head_start):
                    await self._settled.wait()
                if answers:
                    break
            while not answers and self._untold:
                self._settled.clear()
                await self._settled.wait()
            group.cancel_scope.cancel()
        return answers[0] if answers else None

    def summary(self) -> str:
        """Return each address with its cause, as a sentence."""
        return "; ".join(f"{address}: {cause}" for address, cause in self.causes.items())

    async def _servers(self) -> list[tuple[str, int]]:
        servers = list(self._config.bootstrap_servers)
        if self._config.client_dns_lookup != "resolve_canonical_bootstrap_servers_only":
            return servers
        canonical: dict[tuple[str, int], None] = {}
        for host, port in servers:
            try:
                for *_, address in await resolve(host, port):
                    name, _ = await asyncio.get_running_loop().getnameinfo(address, socket.NI_NUMERICSERV)
                    canonical[name, port] = None
            except (OSError, BrokerConnectionError):
                canonical[host, port] = None
        return list(canonical)

    async def _try(
        self,
        number: int,
        host: str,
        port: int,
        answers: list[tuple[MetadataResponse, int]],
    ) -> None:
        broker = self._make_broker(number, host, port)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(broker.run)
                try:
                    answers.append(await self._ask(broker))
                except ProducerError as error:
                    self.causes[broker.address] = error
                group.cancel_scope.cancel()
        finally:
            self._untold -= 1
            self._settled.set()

    async def _ask(self, broker: Broker) -> tuple[MetadataResponse, int]:
        request = MetadataRequest(topics=(), allow_auto_topic_creation=False)
        # Who cuts the connection off is asked in all forms at first, in one form a call from then on.
        is_first = broker.address not in self._handshakes
        broker.handshake = self._handshakes.setdefault(broker.address, broker.handshake)
        broker.addresses = self._addresses.setdefault(broker.address, broker.addresses)
        while True:
            try:
                response = await broker.request(
                    request, timeout=self._config.request_timeout, client=request.without_topic_creation
                )
            except BrokerConnectionError as error:
                if not (is_first and broker.handshake.is_worth_another_try):
                    raise
                self.causes[broker.address] = error
                continue
            if response.brokers:
                return response, broker.version(request.api_key, request.without_topic_creation)
            msg = "the answer names no broker"
            raise BrokerConnectionError(msg)


def _addresses(servers: list[tuple[str, int]]) -> set[str]:
    return {format_address(host, port) for host, port in servers}
