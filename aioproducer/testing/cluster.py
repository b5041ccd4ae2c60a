"""FakeCluster: Kafka in the same process, on real sockets, for tests.

    FakeCluster ── one listener per node ──▶ FakeConnection ──▶ FakeBroker ──▶ Topology, PartitionLog
                └─ Script: the faults ──────┘

All brokers share one state and one event loop. So a test can read the log, move a leader or stop
a node between two lines, and nothing else runs in between.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Self, TypeAlias

from aioproducer.config.kinds import format_address
from aioproducer.errors import plural
from aioproducer.protocol.api import ApiKey
from aioproducer.testing.call import Settings
from aioproducer.testing.control import Control
from aioproducer.testing.fake_broker import APIS, FakeBroker
from aioproducer.testing.fake_connection import FakeConnection
from aioproducer.testing.faults import Match, Script, warn_about
from aioproducer.testing.named import named
from aioproducer.testing.refusal import Refused
from aioproducer.testing.scripting import Scripting
from aioproducer.testing.security import Security
from aioproducer.testing.topology import Topology, check_name, partition_counts
from aioproducer.testing.versions import KAFKA_4, BrokerVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from aioproducer.testing.certificates import Certificates
    from aioproducer.testing.faults import Fault
    from aioproducer.testing.oauth_token import AcceptedToken
    from aioproducer.testing.topology import Node, TopicConfig

MaxVersions: TypeAlias = "Mapping[ApiKey, int | None] | Mapping[str, int | None] | Mapping[int, int | None]"


class FakeCluster(Control):
    """A strict embedded Kafka: `async with FakeCluster(topics={"orders": 6}) as cluster`.

    Clients connect to `cluster.bootstrap`; `cluster.records("orders")` returns the stored records.

    - `brokers`: the number of nodes; their ids start at 1.
    - `topics`: `{name: partitions}`, or names alone, which get `default_partitions`.
    - `auto_create_topics`: whether a Metadata request creates missing topics.
    - `replication_factor`: of new topics; default 3, or the number of nodes if it is smaller.
    - `topic_config`: of new topics, see `TopicConfig`.
    - `versions`: a release (`KAFKA_2_8`, …), or a mapping of node ids to releases.
    - `max_versions`: the highest version of an API, by key, name or number; None removes the API.
    - `leader_hints`: whether a follower names the leader in its Produce response (KIP-951).
    - `check_records`: False skips the check of single records, for speed.
    - `strict`: False accepts the faults that Kafka accepts (extra bytes after a request or a batch,
      gaps in offset deltas, unknown attributes, a repeated partition in a request), and gives
      reasons only where Kafka does.

    - `security`: "PLAINTEXT", "SSL", "SASL_PLAINTEXT" or "SASL_SSL". With TLS the cluster makes a CA
      and certificates for itself and a client, which needs the package `cryptography` (the extra
      `testing-tls`); `ssl_context` and `ca_certificate` are for clients, and `client_options` has
      all options of a producer.
    - `users`: passwords by name, for PLAIN and SCRAM.
    - `tokens`: `{token: principal}`, or `AcceptedToken`s as values, for OAUTHBEARER; by default every
      unsecured token is accepted, see `unsecured_token`.
    - `sasl_mechanisms`: by default PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER.
    - `session_lifetime_ms`: after it a client must authenticate again (KIP-368), and at most once a
      second; otherwise its connection is closed at the next request.
    - `scram_iterations`: of SCRAM's PBKDF2.
    - `client_auth`: whether clients must show a certificate: "none", "requested" or "required".
    - `certificates`: others than the cluster's own, such as expired ones.

    Raises ValueError for an unknown API, version or node in `versions` and `max_versions`, and for
    security options that do not fit together, TypeError for `topics` of another type, and `Refused`
    for an illegal topic.
    """

    def __init__(
        self,
        brokers: int = 1,
        topics: Mapping[str, int] | Iterable[str] | None = None,
        *,
        auto_create_topics: bool = True,
        default_partitions: int = 1,
        replication_factor: int | None = None,
        topic_config: TopicConfig | None = None,
        versions: BrokerVersion | Mapping[int, BrokerVersion] = KAFKA_4,
        max_versions: MaxVersions | None = None,
        leader_hints: bool = True,
        check_records: bool = True,
        strict: bool = True,
        cluster_id: str = "aioproducer-fake-cluster",
        security: str = "PLAINTEXT",
        users: Mapping[str, str] | None = None,
        tokens: Mapping[str, str | AcceptedToken] | None = None,
        sasl_mechanisms: Iterable[str] | None = None,
        session_lifetime_ms: int | None = None,
        scram_iterations: int = 4096,
        client_auth: str = "none",
        certificates: Certificates | None = None,
    ) -> None:
        topology = Topology(brokers, cluster_id)
        caps = {named(ApiKey, api, "API"): highest for api, highest in (max_versions or {}).items()}
        node_versions = _version_of_each(topology, versions, caps)
        settings = Settings(
            auto_create_topics=auto_create_topics,
            partitions=default_partitions,
            replication_factor=replication_factor or min(3, brokers),
            topic_config=topic_config or node_versions[1].topic_config,
            leader_hints=leader_hints,
            check_records=check_records,
            strict=strict,
            security=Security(
                security,
                users=users,
                tokens=tokens,
                sasl_mechanisms=sasl_mechanisms,
                session_lifetime_ms=session_lifetime_ms,
                scram_iterations=scram_iterations,
                client_auth=client_auth,
                certificates=certificates,
            ),
        )
        super().__init__(topology, settings)
        self._script = Script()
        self._brokers = {
            node_id: FakeBroker(node_id, version, topology, settings, self._script)
            for node_id, version in node_versions.items()
        }
        self._servers: dict[int, asyncio.Server] = {}
        self._connections: dict[int, set[FakeConnection]] = {node_id: set() for node_id in self._brokers}
        for name, partitions in partition_counts(topics, default_partitions).items():
            self.create_topic(name, partitions)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an error of the test, a warning about unmatched faults would only hide it.
        if error is None:
            await self.stop()
        else:
            await self._stop()

    def __repr__(self) -> str:
        nodes = [f"{n.node_id}={format_address(n.host, n.port)}" for n in self.topology.live_nodes()]
        return f"<FakeCluster {' '.join(nodes) or 'stopped'}, {plural(len(self.topology.topics), 'topic')}>"

    async def start(self) -> None:
        """Let every node listen; raises OSError if a port is in use, and then no node listens."""
        try:
            for node_id in self._brokers:
                await self.start_node(node_id)
        except OSError:
            await self._stop()
            raise

    async def stop(self) -> None:
        """Drop every connection and stop listening; `records` still works.

        Warns about scripted faults that matched no request (UnmatchedFaultWarning).
        """
        unmatched = self.unmatched_faults()
        await self._stop()
        # Warn at the end: with `filterwarnings = error` the warning raises, and the nodes must be
        # stopped by then.
        if unmatched:
            warn_about(unmatched, self.topology.topics)

    async def _stop(self) -> None:
        # Release held requests first: their tasks would otherwise keep the connections' state.
        self._script.clear()
        for node_id in self._brokers:
            await self.stop_node(node_id)

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, "host:port,host:port", for the option `bootstrap_servers`."""
        return ",".join(format_address(node.host, node.port) for node in self.topology.nodes.values())

    def on(
        self,
        api: ApiKey | str | int | None = None,
        *,
        node: int | None = None,
        topic: str | None = None,
        partition: int | None = None,
        skip: int = 0,
        times: int | None = 1,
        optional: bool = False,
    ) -> Scripting:
        """Select the requests of a fault; a method of the result adds the fault.

        `api` is a member of `ApiKey`, its name or its number; None selects every API. `skip`
        matching requests pass, then the fault happens `times` times (None: to all later requests).
        If no request matches, `stop` warns, unless the fault is `optional`. Raises ValueError for a
        selection that can never match, and TypeError for an `api` of another type.

        >>> from aioproducer.protocol.api import ApiKey
        >>> fault = FakeCluster(topics={"orders": 1}).on(ApiKey.PRODUCE, topic="orders").disconnect()
        >>> fault.hits
        0
        """
        match = Match(
            api=None if api is None else named(ApiKey, api, "API"),
            node=node,
            topic=topic,
            partition=partition,
            skip=skip,
            times=times,
            optional=optional,
        )
        self._check(match)
        caller = sys._getframe(1)  # noqa: SLF001 - the warning names the test's line
        return Scripting(self._script, match, (caller.f_code.co_filename, caller.f_lineno))

    def unmatched_faults(self) -> list[Fault]:
        """Return the faults, except optional ones, that have matched no request so far."""
        return self._script.unmatched()

    def heal(self) -> None:
        """Remove all faults and release held requests."""
        self._script.clear()

    async def start_node(self, node_id: int, *, at_new_port: bool = False) -> None:
        """Let a node listen, at its former address unless `at_new_port`; raises OSError."""
        if node_id in self._servers:
            return
        node = self.topology.nodes[node_id]
        # Listen before the node gets its partitions: metadata never names a node that does not listen
        # yet.
        self._servers[node_id] = await self._listen(node, another=at_new_port)
        self.topology.node_started(node_id)

    async def stop_node(self, node_id: int, *, elects: bool = True) -> None:
        """Stop a node: its connections are dropped, new ones are refused, other replicas lead.

        With `elects=False` the cluster does not notice: metadata still names the node as leader.
        """
        if elects and self.topology.nodes[node_id].is_alive:
            self.topology.node_stopped(node_id)
        server = self._servers.pop(node_id, None)
        if server is None:
            return
        await self._close(node_id, server)

    async def restart_node(
        self, node_id: int, version: BrokerVersion | None = None, *, at_new_port: bool = False
    ) -> None:
        """Stop a node and start it again, optionally as another release, as in a rolling upgrade.

        Other replicas take over its partitions and keep them.
        """
        await self.stop_node(node_id)
        if version is not None:
            self._brokers[node_id].upgrade(version)
        await self.start_node(node_id, at_new_port=at_new_port)

    async def replace_addresses(self) -> None:
        """Move every running node to a new port; leaders stay the same."""
        for node_id, old in list(self._servers.items()):
            # The new server starts before the old one stops, so that their ports differ.
            self._servers[node_id] = await self._listen(self.topology.nodes[node_id], another=True)
            await self._close(node_id, old)

    def drop_connections(self, node_id: int | None = None) -> None:
        """Drop the connections to one node, or to all."""
        for each in self._brokers if node_id is None else (node_id,):
            for connection in list(self._connections[each]):
                connection.drop()

    def connections(self, node_id: int) -> int:
        """Return the number of connections to a node."""
        return len(self._connections[node_id])

    def _check(self, match: Match) -> None:
        """Raise ValueError for a match that no request can have."""
        if match.api is not None and match.api not in APIS:
            message = (
                f"FakeCluster does not implement {match.api.name}, only {', '.join(key.name for key in APIS)}"
            )
            raise ValueError(message)
        if match.node is not None and match.node not in self._brokers:
            message = f"there is no node {match.node!r}, only {sorted(self._brokers)}"
            raise ValueError(message)
        if match.topic is not None:
            try:
                check_name(match.topic)
            except Refused as refused:
                raise ValueError(refused.reason) from None
        is_of_topic = match.topic is not None or match.partition is not None
        if match.api is not None and is_of_topic and not APIS[match.api].has_topics:
            message = f"requests of {match.api.name} have no topics and no partitions"
            raise ValueError(message)
        for name, least in (("partition", 0), ("skip", 0), ("times", 1)):
            number = getattr(match, name)
            if number is not None and (not isinstance(number, int) or number < least):
                message = f"{name} is a whole number from {least}, not {number!r}"
                raise ValueError(message)

    async def _listen(self, node: Node, *, another: bool) -> asyncio.Server:
        """Listen at the node's port, or at `another` one."""
        loop = asyncio.get_running_loop()
        broker, connections = self._brokers[node.node_id], self._connections[node.node_id]
        port = 0 if another else node.port
        context = self._settings.security.server_context
        server = await loop.create_server(
            lambda: FakeConnection(broker, connections, context), node.host, port
        )
        listens_at = server.sockets[0].getsockname()[1]
        if another and listens_at == node.port:
            # The system assigned the old port again: keep it in use until another one is assigned.
            again = await self._listen(node, another=True)
            server.close()
            await server.wait_closed()
            return again
        node.move_to(node.host, listens_at)
        return server

    async def _close(self, node_id: int, server: asyncio.Server) -> None:
        loop = asyncio.get_running_loop()
        for listening in server.sockets:
            loop.remove_reader(listening.fileno())
        # A connection accepted in this iteration of the loop gets its transport a few iterations
        # later. Wait for it, because `drop_connections` closes only connections with a transport.
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()
        self.drop_connections(node_id)
        await server.wait_closed()


def _version_of_each(
    topology: Topology,
    versions: BrokerVersion | Mapping[int, BrokerVersion],
    max_versions: Mapping[ApiKey, int | None],
) -> dict[int, BrokerVersion]:
    """Return the release of each node; KAFKA_4 by default."""
    if isinstance(versions, BrokerVersion):
        versions = dict.fromkeys(topology.nodes, versions)
    if strangers := versions.keys() - topology.nodes.keys():
        msg = f"versions: there are no nodes {sorted(strangers)}, only {sorted(topology.nodes)}"
        raise ValueError(msg)
    return {node_id: versions.get(node_id, KAFKA_4).capped(max_versions) for node_id in topology.nodes}
