"""Nodes, topics, partitions and leaders of a fake cluster, and their changes.

All brokers of a cluster share this state, and Metadata responses show it. A change takes effect at
once, so no broker is behind another.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aioproducer.error_code import ErrorCode
from aioproducer.errors import plural
from aioproducer.testing.log import PartitionLog
from aioproducer.testing.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_NODE = -1

INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state"})
"""Kafka's own topics; clients cannot write to them."""

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(slots=True)
class Node:
    """One broker: its address, and whether it listens."""

    node_id: int
    host: str = "127.0.0.1"
    port: int = 0
    is_alive: bool = False

    def move_to(self, host: str, port: int) -> None:
        """Set the address: of the next start, or the one in metadata while the node is running."""
        self.host = host
        self.port = port

    def set_alive(self, *, is_alive: bool) -> None:
        """Mark the node as running or stopped."""
        self.is_alive = is_alive


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """The topic settings with an effect on producers, with Kafka's names and defaults.

    Sizes are in bytes, times in milliseconds. `retention_bytes` (-1: no limit) is the least size of
    a partition that is kept; whole old batches above it are deleted.
    """

    max_message_bytes: int = 1_048_588
    segment_bytes: int = 1 << 30
    min_insync_replicas: int = 1
    cleanup_policy: Literal["delete", "compact", "compact,delete"] = "delete"
    message_timestamp_type: Literal["CreateTime", "LogAppendTime"] = "CreateTime"
    message_timestamp_before_max_ms: int = 2**63 - 1
    message_timestamp_after_max_ms: int = 3_600_000
    retention_bytes: int = -1

    @property
    def is_compacted(self) -> bool:
        """Whether the topic is compacted, so that every record needs a key."""
        return "compact" in self.cleanup_policy

    @property
    def has_log_append_time(self) -> bool:
        """Whether the broker sets the records' timestamps."""
        return self.message_timestamp_type == "LogAppendTime"


@dataclass(slots=True)
class Partition:
    """One partition: its leader, its replicas, and its log."""

    index: int
    replicas: list[int]
    leader: int
    log: PartitionLog
    leader_epoch: int = 0
    lagging: set[int] = field(default_factory=set)
    """The running replicas that are not in sync."""

    def move_leader(self, to: int) -> None:
        """Make node `to` the leader, in a new leader epoch."""
        if to != NO_NODE and to not in self.replicas:
            self.replicas.append(to)
        self.leader = to
        # A leader has all records by definition, so it is in sync.
        self.lagging.discard(to)
        self.leader_epoch += 1


@dataclass(slots=True)
class Topic:
    """One topic."""

    name: str
    config: TopicConfig
    topic_id: uuid.UUID = field(default_factory=uuid.uuid4)
    partitions: list[Partition] = field(default_factory=list)


class Topology:
    """The state of a cluster."""

    def __init__(self, nodes: int, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self.nodes = {node_id: Node(node_id) for node_id in range(1, nodes + 1)}
        self.topics: dict[str, Topic] = {}
        self._next_producer_id = 1000

    def create_topic(self, name: str, partitions: int, replicas: int, config: TopicConfig) -> Topic:
        """Add a topic with its leaders spread over the nodes; raises Refused."""
        check_name(name)
        if name in self.topics:
            raise Refused(ErrorCode.TOPIC_ALREADY_EXISTS, f"topic {name!r} exists already")
        for other in self.topics:
            # Kafka's metric names replace dots by underscores, so `a.b` and `a_b` would collide.
            if other.replace(".", "_") == name.replace(".", "_"):
                raise Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"topic {name!r} collides with {other!r}")
        if partitions < 1:
            raise Refused(
                ErrorCode.INVALID_PARTITIONS, f"a topic has at least one partition, not {partitions}"
            )
        if not 1 <= replicas <= len(self.nodes):
            reason = (
                f"{plural(replicas, 'replica')} with {plural(len(self.nodes), 'broker')}: each needs its own"
            )
            raise Refused(ErrorCode.INVALID_REPLICATION_FACTOR, reason)
        topic = Topic(name, config)
        self._grow(topic, partitions, replicas)
        self.topics[name] = topic
        return topic

    def add_partitions(self, name: str, total: int) -> None:
        """Increase the number of a topic's partitions to `total`; raises Refused."""
        topic = self.topic(name)
        if total <= len(topic.partitions):
            reason = f"topic {name!r} has {plural(len(topic.partitions), 'partition')} already"
            raise Refused(ErrorCode.INVALID_PARTITIONS, reason)
        self._grow(topic, total, len(topic.partitions[0].replicas))

    def delete_topic(self, name: str) -> None:
        """Delete a topic and its records; raises Refused."""
        self.topic(name)
        del self.topics[name]

    def topic(self, name: str) -> Topic:
        """Return a topic by its name; raises Refused."""
        topic = self.topics.get(name)
        if topic is None:
            raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {name!r}")
        return topic

    def topic_by_id(self, topic_id: uuid.UUID) -> Topic:
        """Return a topic by its id; raises Refused."""
        for topic in self.topics.values():
            if topic.topic_id == topic_id:
                return topic
        raise Refused(ErrorCode.UNKNOWN_TOPIC_ID, f"there is no topic with the id {topic_id}")

    def partition(self, name: str, index: int) -> Partition:
        """Return one partition of one topic; raises Refused."""
        partitions = self.topic(name).partitions
        if not 0 <= index < len(partitions):
            reason = f"topic {name!r} has {plural(len(partitions), 'partition')}, none has the number {index}"
            raise Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, reason)
        return partitions[index]

    def in_sync(self, partition: Partition) -> list[int]:
        """Return the replicas in sync: running ones that do not lag."""
        return [
            node_id
            for node_id in partition.replicas
            if self.nodes[node_id].is_alive and node_id not in partition.lagging
        ]

    def shrink_isr(self, partition: Partition, node_id: int) -> None:
        """Take a follower out of the in-sync replicas; raises ValueError."""
        if node_id not in partition.replicas or node_id == partition.leader:
            followers = [replica for replica in partition.replicas if replica != partition.leader]
            msg = f"node {node_id} is no follower of partition {partition.index}, only {followers} are"
            raise ValueError(msg)
        partition.lagging.add(node_id)

    def live_nodes(self) -> list[Node]:
        """Return the running nodes."""
        return [node for node in self.nodes.values() if node.is_alive]

    def controller(self) -> int:
        """Return the node id of the controller, -1 without one."""
        return min((node.node_id for node in self.live_nodes()), default=NO_NODE)

    def move_leader(self, partition: Partition, to: int) -> None:
        """Make another node the partition's leader, in a new leader epoch; raises ValueError."""
        if to != NO_NODE and to not in self.nodes:
            msg = f"there is no node {to}, only {sorted(self.nodes)}"
            raise ValueError(msg)
        partition.move_leader(to)

    def node_started(self, node_id: int) -> None:
        """Mark a node as running; it takes over its partitions without a leader."""
        self.nodes[node_id].set_alive(is_alive=True)
        for partition in self._all_partitions():
            # Only a replica in sync may lead (no unclean election): with replicas [1, 2] and 2 out
            # of sync, the partition waits for node 1.
            if partition.leader == NO_NODE and node_id in self.in_sync(partition):
                self.move_leader(partition, node_id)

    def node_stopped(self, node_id: int) -> None:
        """Mark a node as stopped; replicas in sync take over its partitions."""
        self.nodes[node_id].set_alive(is_alive=False)
        for partition in self._all_partitions():
            if partition.leader == node_id:
                # The first replica in sync leads, as in Kafka; NO_NODE if there is none.
                self.move_leader(partition, next(iter(self.in_sync(partition)), NO_NODE))

    def new_producer_id(self) -> int:
        """Return an unused producer id."""
        # Producer ids are unique in the cluster: one counter for all nodes.
        self._next_producer_id += 1
        return self._next_producer_id

    def _grow(self, topic: Topic, total: int, replicas: int) -> None:
        node_ids = sorted(self.nodes)
        for index in range(len(topic.partitions), total):
            # Round robin: partition 0 of 3 nodes has the replicas 1, 2 and partition 2 has 3, 1.
            chosen = [node_ids[(index + copy) % len(node_ids)] for copy in range(replicas)]
            # Before the cluster starts no node is running: the first replica becomes the leader.
            leader = next((node for node in chosen if self.nodes[node].is_alive), NO_NODE)
            if not self.live_nodes():
                leader = chosen[0]
            log = PartitionLog(topic.config.retention_bytes)
            topic.partitions.append(Partition(index, chosen, leader, log))

    def _all_partitions(self) -> Iterator[Partition]:
        for topic in self.topics.values():
            yield from topic.partitions


def partition_counts(topics: Mapping[str, int] | Iterable[str] | None, default: int) -> dict[str, int]:
    """Return the number of partitions of each topic, `default` for names alone; raises TypeError.

    >>> partition_counts(["orders", "audit"], 3)
    {'orders': 3, 'audit': 3}
    """
    if topics is None:
        return {}
    if isinstance(topics, str | bytes) or not isinstance(topics, Iterable):
        message = f"topics are {{name: partitions}} or a list of names, not {topics!r}"
        raise TypeError(message)
    counts = dict(topics) if isinstance(topics, Mapping) else dict.fromkeys(topics, default)
    for name, count in counts.items():
        if not isinstance(name, str) or not isinstance(count, int):
            message = f"topics are {{name: partitions}} or a list of names; not {name!r}: {count!r}"
            raise TypeError(message)
    return counts


def check_name(name: str) -> None:
    """Raise Refused for an illegal topic name, TypeError for another type."""
    if not isinstance(name, str):
        message = f"a topic's name is text, not {name!r}"
        raise TypeError(message)
    if name in {".", ".."} or not _LEGAL_NAME.fullmatch(name):
        raise Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{name!r} is no legal topic name")
