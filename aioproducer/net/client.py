"""The settings and services that all connections of one client share."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioproducer.core.backoff import Backoff
from aioproducer.core.events import NO_LISTENERS
from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig
    from aioproducer.core.events import Listener


def refuse_security(config: ProducerConfig) -> None:
    """Raise ConfigurationError for TLS and SASL: connections are in plain text only yet."""
    if config.security_protocol != "PLAINTEXT":
        message = f"security_protocol={config.security_protocol!r} is not implemented yet"
        raise ConfigurationError(message, option="security_protocol", value=config.security_protocol)


@dataclass(frozen=True, slots=True)
class Client:
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

    @classmethod
    def of(
        cls, config: ProducerConfig, client_id: str, events: Listener, clock: Callable[[], float]
    ) -> Client:
        """Make the client of a configuration."""
        refuse_security(config)
        return cls(
            config,
            client_id,
            events,
            clock,
            random.random,
            Backoff(config.retry_backoff, config.retry_backoff_max, random.random),
            Backoff(config.reconnect_backoff, config.reconnect_backoff_max, random.random),
            Backoff(config.connection_setup_timeout, config.connection_setup_timeout_max, random.random),
        )

    @classmethod
    def without_producer(cls, config: ProducerConfig, client_id: str) -> Client:
        """Make a client for the running event loop that has no producer."""
        # A short command makes few requests: the cost of the clock does not matter.
        clock = asyncio.get_running_loop().time
        return cls.of(config, client_id, NO_LISTENERS, clock)
