"""FakeCluster: Kafka in the same process, on real sockets, for tests.

    FakeCluster ── one listener a node ──▶ Connection ──▶ Broker ──▶ Topology, PartitionLog
                └─ Script: what goes wrong ──┘

The one idea: the brokers share one state and one event loop, so that a test can look at the
log, move a leader or lose a node between two lines, and nothing runs meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from aioproducer.protocol.api import VersionRange
from aioproducer.testing.broker import APIS, Broker
from aioproducer.testing.call import Settings
from aioproducer.testing.connection import Connection
from aioproducer.testing.faults import Match, Script, Scripting
from aioproducer.testing.stored_record import read_log
from aioproducer.testing.topology import TopicConfig, Topology

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aioproducer.protocol.api import ApiKey
    from aioproducer.testing.stored_record import StoredRecord


class FakeCluster:
    """A strict embedded Kafka: `async with FakeCluster(topics={"orders": 6}) as cluster`.

    Clients connect to `cluster.bootstrap`; `cluster.records("orders")` tells what they stored.

    - `brokers`: how many nodes, numbered from 1.
    - `topics`: names and their numbers of partitions.
    - `auto_create_topics`: whether asking for a topic creates it, with `default_partitions`.
    - `replication_factor`: of new topics; 3 or as many as there are nodes.
    - `topic_config`: of new topics, see `TopicConfig`.
    - `max_versions`: the highest version of an API, to look like an older broker; None for none at all.
    - `check_records`: False leaves the insides of batches unread, for speed.
    """

    def __init__(
        self,
        brokers: int = 1,
        topics: Mapping[str, int] | None = None,
        *,
        auto_create_topics: bool = True,
        default_partitions: int = 1,
        replication_factor: int | None = None,
        topic_config: TopicConfig | None = None,
        max_versions: Mapping[ApiKey, int | None] | None = None,
        check_records: bool = True,
        cluster_id: str = "aioproducer-fake-cluster",
    ) -> None:
        self.topology = Topology(brokers, cluster_id)
        self._settings = Settings(
            versions=_versions(max_versions or {}),
            auto_create_topics=auto_create_topics,
            partitions=default_partitions,
            replication_factor=replication_factor or min(3, brokers),
            topic_config=topic_config or TopicConfig(),
            check_records=check_records,
        )
        self._script = Script()
        self._brokers = {
            node_id: Broker(node_id, self.topology, self._settings, self._script)
            for node_id in self.topology.nodes
        }
        self._servers: dict[int, asyncio.Server] = {}
        self._connections: dict[int, set[Connection]] = {node_id: set() for node_id in self._brokers}
        for name, partitions in (topics or {}).items():
            self.create_topic(name, partitions)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        nodes = [f"{n.node_id}={n.host}:{n.port}" for n in self.topology.live_nodes()]
        return f"<FakeCluster {' '.join(nodes) or 'stopped'}, {len(self.topology.topics)} topics>"

    async def start(self) -> None:
        """Let every node listen."""
        for node_id in self._brokers:
            await self.start_node(node_id)

    async def stop(self) -> None:
        """Drop every connection and stop listening; what was stored can still be read."""
        self._script.clear()
        for node_id in list(self._servers):
            await self.stop_node(node_id)

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, as the option `bootstrap_servers` takes them."""
        return ",".join(f"{node.host}:{node.port}" for node in self.topology.nodes.values())

    def records(self, topic: str, partition: int | None = None) -> list[StoredRecord]:
        """Return what a topic holds, partition by partition, each in the order of offsets."""
        return [
            record
            for each in self.topology.topic(topic).partitions
            if partition in (None, each.index)
            for record in read_log(topic, each.index, each.log)
        ]

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        *,
        replication_factor: int | None = None,
        config: TopicConfig | None = None,
    ) -> None:
        """Create a topic."""
        settings = self._settings
        self.topology.create_topic(
            name,
            partitions,
            replication_factor or settings.replication_factor,
            config or settings.topic_config,
        )

    def add_partitions(self, topic: str, total: int) -> None:
        """Let a topic grow to `total` partitions."""
        self.topology.add_partitions(topic, total)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic; creating it again gives it another id."""
        self.topology.delete_topic(topic)

    def move_leader(self, topic: str, partition: int, to: int) -> None:
        """Make node `to` the leader of a partition; -1 leaves it without one."""
        self.topology.move_leader(self.topology.partition(topic, partition), to)

    def leader_of(self, topic: str, partition: int) -> int:
        """Return the node that leads a partition."""
        return self.topology.partition(topic, partition).leader

    def on(
        self,
        api: ApiKey | None = None,
        *,
        node: int | None = None,
        topic: str | None = None,
        partition: int | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> Scripting:
        """Say which requests something is to happen to; what, says the method called on the result.

        >>> from aioproducer.protocol.api import ApiKey
        >>> fault = FakeCluster(topics={"orders": 1}).on(ApiKey.PRODUCE, topic="orders").disconnect()
        >>> fault.hits
        0
        """
        match = Match(api=api, node=node, topic=topic, partition=partition, skip=skip, times=times)
        return Scripting(self._script, match)

    def heal(self) -> None:
        """Forget all faults; what is held goes on."""
        self._script.clear()

    async def start_node(self, node_id: int) -> None:
        """Let a node listen, at the address it had before if it had one."""
        if node_id in self._servers:
            return
        node = self.topology.nodes[node_id]
        broker, connections = self._brokers[node_id], self._connections[node_id]
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(broker, connections), node.host, node.port
        )
        self._servers[node_id] = server
        node.port = server.sockets[0].getsockname()[1]
        self.topology.node_started(node_id)

    async def stop_node(self, node_id: int) -> None:
        """Lose a node: its connections drop, nobody listens, other replicas lead."""
        server = self._servers.pop(node_id, None)
        if server is None:
            return
        server.close()
        self.topology.node_stopped(node_id)
        self.drop_connections(node_id)
        await server.wait_closed()

    def drop_connections(self, node_id: int | None = None) -> None:
        """Drop the connections to one node, or to all."""
        for each in self._brokers if node_id is None else (node_id,):
            for connection in list(self._connections[each]):
                connection.drop()

    def connections(self, node_id: int) -> int:
        """Return how many clients are connected to a node."""
        return len(self._connections[node_id])


def _versions(max_versions: Mapping[ApiKey, int | None]) -> dict[ApiKey, VersionRange]:
    versions: dict[ApiKey, VersionRange] = {}
    for key, api in APIS.items():
        own: VersionRange = api.request.versions
        highest: Any = max_versions.get(key, own.max)
        if highest is None:
            continue
        if highest not in own:
            msg = f"max_versions: {key.name} has versions {own}, not {highest}"
            raise ValueError(msg)
        versions[key] = VersionRange(own.min, highest)
    return versions
