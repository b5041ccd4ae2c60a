"""The address of a broker, and what earlier connections to it have shown."""

from __future__ import annotations

from aioproducer.config.kinds import format_address
from aioproducer.core.broker_versions import VersionDiscovery
from aioproducer.net.transport import Addresses


class Endpoint:
    """Where one broker listens; it outlives the connections.

    `node_id` is negative for a bootstrap server, whose node id is unknown. `addresses` orders the
    addresses of the host name, `discovery` remembers the ApiVersions version that works. `has_worked`
    tells that the set-up of a connection was complete before: the options fit the listener.
    """

    def __init__(self, node_id: int, host: str, port: int) -> None:
        self.node_id = node_id
        self.host = host
        self.port = port
        self.address = format_address(host, port)
        self.addresses = Addresses()
        self.discovery = VersionDiscovery()
        self.has_worked = False
        self._has_ignored = False
        self._is_suspicious = False
        self._is_probed = False

    def connected(self) -> None:
        """Note that the set-up of a connection is complete."""
        self.has_worked = True

    def takes_probe(self) -> bool:
        """Return True once for a bootstrap server, unless it has worked.

        A probe costs a connection. Brokers advertise the listener that the bootstrap server has.
        """
        is_first, self._is_probed = not self._is_probed, True
        return is_first and not self.has_worked and self.node_id < 0

    def suspect(self) -> None:
        """Note that the broker closed a new connection at the first request after ApiVersions."""
        self._is_suspicious = True

    def take_suspicion(self) -> bool:
        """Return True once after `suspect`: the listener may want SASL."""
        is_suspicious, self._is_suspicious = self._is_suspicious, False
        return is_suspicious

    def is_first_ignored(self) -> bool:
        """Return True once: at the first response to a request that expects none."""
        # One WARNING for each broker, not one for each response.
        is_first, self._has_ignored = not self._has_ignored, True
        return is_first
