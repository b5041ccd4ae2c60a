"""The settings and services that all connections of one client share."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioproducer.core.backoff import Backoff
from aioproducer.core.events import NO_LISTENERS
from aioproducer.net.authenticator import Authenticator
from aioproducer.net.credentials import Credentials
from aioproducer.net.tls import TlsContexts

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig
    from aioproducer.core.events import Listener


@dataclass(frozen=True, slots=True)
class ClientContext:
    """One client of a cluster: a producer, or a command that needs none.

    `clock` gives the seconds of the event loop, `random` floats from 0 up to 1.
    """

    config: ProducerConfig
    client_id: str
    events: Listener
    clock: Callable[[], float]
    random: Callable[[], float]
    retry_backoff: Backoff
    reconnect_backoff: Backoff
    setup_backoff: Backoff
    """Gives the time limit of an attempt to connect: it grows with each failure (KIP-601)."""
    tls: TlsContexts | None
    """Gives the context of each new connection, None without TLS."""
    authenticator: Authenticator | None
    """None without SASL."""

    @classmethod
    def of(
        cls, config: ProducerConfig, client_id: str, events: Listener, clock: Callable[[], float]
    ) -> ClientContext:
        """Make the client of a configuration; `dataclasses.replace` changes its clock.

        Raises ConfigurationError for certificates that cannot be used.
        """
        protocol = config.security_protocol
        authenticator = None
        if protocol.startswith("SASL_"):
            authenticator = Authenticator(Credentials(config, random.random), clock, random.random)
        return cls(
            config,
            client_id,
            events,
            clock,
            random.random,
            # They count nothing themselves, so all brokers and batches share them.
            Backoff(config.retry_backoff, config.retry_backoff_max, random.random),
            Backoff(config.reconnect_backoff, config.reconnect_backoff_max, random.random),
            Backoff(config.connection_setup_timeout, config.connection_setup_timeout_max, random.random),
            TlsContexts(config) if protocol.endswith("SSL") else None,
            authenticator,
        )

    def close(self) -> None:
        """End requests in the background, such as one for a token."""
        if self.authenticator is not None:
            self.authenticator.close()

    @classmethod
    def without_producer(cls, config: ProducerConfig, client_id: str) -> ClientContext:
        """Make a client for the running event loop that has no producer."""
        # A short command makes few requests: the cost of the clock does not matter.
        clock = asyncio.get_running_loop().time
        return cls.of(config, client_id, NO_LISTENERS, clock)
