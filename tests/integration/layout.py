"""Each node's server.properties: listeners and voters.

    clients ──▶ PLAINTEXT ┐
    brokers ──▶ INTERNAL  ├─ broker ──▶ CONTROLLER ── the voters among the nodes
                          ┘

Brokers use a listener of their own between themselves, so that the clients' listener can have
other security, or a proxy before it. Before Kafka 3.3 there is a ZooKeeper instead of voters.
"""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

from tests.integration.wire import Address

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.integration.properties import Properties

_HOST = "127.0.0.1"

# Below Linux's range for outgoing connections: the port of a stopped broker must be free at
# its next start.
_PORTS = range(20_000, 32_000)

_SECURITY = "INTERNAL:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The three addresses of a node; its roles decide which it uses."""

    client: Address
    internal: Address
    controller: Address

    @classmethod
    def choose(cls, nodes: Collection[int]) -> dict[int, Self]:
        """Choose three free ports for each node."""
        addresses = (Address(_HOST, port) for port in free_ports(3 * len(nodes)))
        return {node: cls(next(addresses), next(addresses), next(addresses)) for node in nodes}


def server_properties(
    node_id: int, endpoints: Mapping[int, Endpoints], brokers: range, voters: list[int]
) -> Properties:
    """Return the properties of `node_id` as a broker, a controller, or both."""
    own = endpoints[node_id]
    listeners, roles = [], []
    properties: dict[str, str | float] = {
        "node.id": node_id,
        "controller.quorum.voters": ",".join(f"{voter}@{endpoints[voter].controller}" for voter in voters),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": _SECURITY,
        **quick_settings(len(brokers)),
    }
    if node_id in brokers:
        roles.append("broker")
        listeners += [f"INTERNAL://{own.internal}", f"PLAINTEXT://{own.client}"]
        properties["advertised.listeners"] = ",".join(listeners)
        properties["inter.broker.listener.name"] = "INTERNAL"
    if node_id in voters:
        roles.append("controller")
        listeners.append(f"CONTROLLER://{own.controller}")
    return {**properties, "process.roles": ",".join(roles), "listeners": ",".join(listeners)}


def zookeeper_server_properties(
    node_id: int, endpoints: Mapping[int, Endpoints], brokers: range, zookeeper: Address
) -> Properties:
    """Return the properties of `node_id` as a broker of a cluster with ZooKeeper."""
    own = endpoints[node_id]
    listeners = f"INTERNAL://{own.internal},PLAINTEXT://{own.client}"
    return {
        **quick_settings(len(brokers)),
        "broker.id": node_id,
        "zookeeper.connect": str(zookeeper),
        "zookeeper.session.timeout.ms": 3000,
        "zookeeper.connection.timeout.ms": 30_000,
        "listener.security.protocol.map": _SECURITY,
        "inter.broker.listener.name": "INTERNAL",
        "listeners": listeners,
        "advertised.listeners": listeners,
    }


def zookeeper_properties(address: Address) -> Properties:
    """Return the properties of a ZooKeeper at `address`, which allows the command `dump`."""
    return {
        "clientPort": address.port,
        "clientPortAddress": address.host,
        "admin.enableServer": False,
        "tickTime": 500,
        "4lw.commands.whitelist": "dump",
    }


def quick_settings(brokers: int) -> Properties:
    """Return properties for small brokers, with elections after 3 s instead of 9."""
    replication = min(brokers, 3)
    return {
        "auto.create.topics.enable": False,
        "default.replication.factor": replication,
        "offsets.topic.replication.factor": replication,
        "offsets.topic.num.partitions": 3,
        "transaction.state.log.replication.factor": replication,
        "transaction.state.log.min.isr": min(brokers, 2),
        "transaction.state.log.num.partitions": 3,
        "group.initial.rebalance.delay.ms": 0,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
        "log.cleaner.io.buffer.size": 64 * 1024,
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        "controller.quorum.election.timeout.ms": 500,
        "controller.quorum.fetch.timeout.ms": 1500,
        "replica.lag.time.max.ms": 5000,
    }


def free_ports(count: int) -> list[int]:
    """Choose free ports, at random, because other test runs choose ports too."""
    candidates = secrets.SystemRandom().sample(_PORTS, len(_PORTS))
    return list(islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True
