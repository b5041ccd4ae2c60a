"""Three brokers, each with a second listener behind a proxy.

clients ──▶ PLAINTEXT ────────────────┐
clients ──▶ proxy ──▶ PROXIED ────────┴─ broker        PROXIED advertises the proxy's address
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kio.schema.alter_partition_reassignments.v0.request import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from kio.schema.alter_partition_reassignments.v0.response import AlterPartitionReassignmentsResponse
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i32, i32Timedelta

from tests.integration.kafka import NEWEST, KafkaCluster
from tests.integration.layout import free_ports
from tests.integration.wire import Address, ask

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECURITY = "INTERNAL:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
_PATIENCE = 6.0
_TIMEOUT = i32Timedelta.parse(timedelta(seconds=_PATIENCE))


@dataclass(frozen=True, slots=True)
class Route:
    """The address where a broker's proxy listens, and the one it connects to."""

    node: int
    entrance: Address
    exit: Address


class ChaosCluster(KafkaCluster):
    """Apache Kafka with a dedicated controller, so that two brokers can be away at a time.

    `client_options` are the options of producers besides the bootstrap addresses.
    """

    def __init__(self, version: str = NEWEST, *, protocol: str = "PLAINTEXT") -> None:
        self.client_options: dict[str, Any] = {"security_protocol": protocol}
        secured = f"PROXIED:{protocol},DIRECT:{protocol}"
        config = {"listener.security.protocol.map": f"{_SECURITY},{secured}"}
        super().__init__(version, brokers=3, dedicated_controller=True, config=config)
        ends = (Address("127.0.0.1", port) for port in free_ports(2 * len(self.node_ids)))
        self.routes = [Route(node, next(ends), next(ends)) for node in self.node_ids]

    @property
    def direct_bootstrap(self) -> str:
        """The bootstrap addresses for clients without proxies."""
        return self.bootstrap

    @property
    def proxied_bootstrap(self) -> str:
        """The bootstrap addresses for clients behind the proxies."""
        return ",".join(str(route.entrance) for route in self.routes)

    def start_node(self, node: int) -> None:
        """Start a broker without waiting until it is ready."""
        self._nodes[node].start()

    def end_node(self, node: int) -> None:
        """Stop a broker; kill it if the stop takes too long, for example without the other brokers."""
        try:
            self._nodes[node].stop(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._nodes[node].kill()

    def request_leader(self, topic: str, partition: int, node: int) -> None:
        """Request a move of a leader without waiting for it; raises OSError and AdminError."""
        # There are as many replicas as brokers, so every broker has one.
        preferred = (node, *(other for other in self.node_ids if other != node))
        reassigned = ReassignablePartition(
            partition_index=i32(partition), replicas=tuple(map(BrokerId, preferred))
        )
        request = AlterPartitionReassignmentsRequest(
            timeout=_TIMEOUT,
            topics=(ReassignableTopic(name=TopicName(topic), partitions=(reassigned,)),),
        )
        ask(self._admin_address(), request, AlterPartitionReassignmentsResponse)
        self._elect_preferred(topic, partition)

    def _admin_address(self) -> Address:
        # A broker that has just started does not listen yet.
        for address in self.broker_addresses().values():
            with suppress(OSError), socket.create_connection((address.host, address.port), 1):
                return address
        message = "no broker listens"
        raise ConnectionRefusedError(message)

    def _format(self) -> None:
        for route in self.routes:
            properties = Path(self._folder or "", f"node{route.node}", "server.properties")
            with properties.open("a") as file:
                file.write("\n".join(self._listeners(route)) + "\n")
        super()._format()

    def _listeners(self, route: Route) -> Iterable[str]:
        own = self._endpoints[route.node]
        known = f"INTERNAL://{own.internal},PLAINTEXT://{own.client}"
        # Kafka uses the last value of a repeated property.
        yield f"listeners={known},PROXIED://{route.exit}"
        yield f"advertised.listeners={known},PROXIED://{route.entrance}"
