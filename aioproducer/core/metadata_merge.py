"""The merging of one Metadata response: the changes found so far, and checks of its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.core.cluster_view import MetadataChange, Node, PartitionLeader, PartitionMetadata
from aioproducer.core.queues import NO_LEADER
from aioproducer.error_code import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aioproducer.core.cluster_view import TopicMetadata
    from aioproducer.protocol.metadata import (
        MetadataResponseBroker,
        MetadataResponsePartition,
        MetadataResponseTopic,
    )
    from aioproducer.protocol.produce import NodeEndpoint

_MAX_PORT = 65535

# Only a replica that is not the leader is missing; old brokers report that in the partition.
_LEADER_IS_SOUND = frozenset({ErrorCode.NONE, ErrorCode.REPLICA_NOT_AVAILABLE})


class Findings:
    """The changes found while one response is merged."""

    __slots__ = (
        "alive",
        "errors",
        "is_other_cluster",
        "leaders",
        "recreated",
        "reliable_epochs",
        "sizes",
    )

    def __init__(self, alive: dict[int, Node], *, reliable_epochs: bool, is_other_cluster: bool) -> None:
        self.alive = alive
        self.reliable_epochs = reliable_epochs
        self.is_other_cluster = is_other_cluster
        self.sizes: dict[str, int] = {}
        self.recreated: set[str] = set()
        self.leaders: list[PartitionLeader] = []
        self.errors: dict[str, ErrorCode] = {}

    def partitions(
        self,
        topic: str,
        ordered: Sequence[MetadataResponsePartition],
        before: Sequence[PartitionMetadata],
    ) -> list[PartitionMetadata]:
        """Return the partitions, and note those with another leader or epoch."""
        partitions: list[PartitionMetadata] = []
        for index, given in enumerate(ordered):
            known = before[index] if index < len(before) else None
            partition = self._newer(given, known)
            partitions.append(partition)
            if partition != known:
                self.leaders.append(
                    PartitionLeader(topic, index, partition.leader_id, partition.leader_epoch)
                )
        return partitions

    def is_unchanged(
        self,
        known: TopicMetadata,
        answer: MetadataResponseTopic,
        ordered: Sequence[MetadataResponsePartition],
    ) -> bool:
        """Return whether the response changes nothing about the topic, as most responses do."""
        if known.topic_id != answer.topic_id or len(known.partitions) != len(ordered):
            return False
        # Epochs below version 9 may be out of date (KAFKA-9212): they do not tell a change.
        any_epoch = not self.reliable_epochs
        return all(
            partition.leader_id == given.leader_id
            and (any_epoch or partition.leader_epoch == given.leader_epoch)
            and not given.error_code
            for partition, given in zip(known.partitions, ordered, strict=True)
        )

    def lose_leaders(self, topic: str, partitions: Iterable[PartitionMetadata]) -> None:
        """Note partitions that have no leader any more."""
        for partition in partitions:
            self.leaders.append(PartitionLeader(topic, partition.index, NO_LEADER, partition.leader_epoch))

    def change(self, *, nodes: tuple[Node, ...], removed_nodes: tuple[int, ...]) -> MetadataChange:
        """Return everything that was found, and the changed nodes."""
        return MetadataChange(
            sizes=self.sizes,
            recreated=frozenset(self.recreated),
            is_other_cluster=self.is_other_cluster,
            leaders=tuple(self.leaders),
            nodes=nodes,
            removed_nodes=removed_nodes,
            errors=self.errors,
        )

    def _newer(self, given: MetadataResponsePartition, known: PartitionMetadata | None) -> PartitionMetadata:
        epoch = given.leader_epoch if self.reliable_epochs else -1
        # Known: broker 2 leads since epoch 7. A broker that lags behind says broker 1, epoch 6: keep 2.
        if known is not None and 0 <= epoch < known.leader_epoch:
            return known
        leader_id = given.leader_id
        # A leader that is not among the brokers of the same response cannot be connected to.
        if given.error_code not in _LEADER_IS_SOUND or leader_id not in self.alive:
            leader_id = NO_LEADER
        return PartitionMetadata(given.partition_index, leader_id, max(epoch, -1))


def sound_nodes(brokers: Iterable[MetadataResponseBroker | NodeEndpoint]) -> dict[int, Node]:
    """Return the nodes with a valid id, host and port; of two with one id the first."""
    nodes: dict[int, Node] = {}
    for broker in brokers:
        # A host with a line break or spaces around it would break log lines and name lookups.
        is_host = broker.host.isprintable() and broker.host.strip() == broker.host != ""
        if broker.node_id >= 0 and is_host and 0 < broker.port <= _MAX_PORT:
            nodes.setdefault(broker.node_id, Node(broker.node_id, broker.host, broker.port, broker.rack))
    return nodes


def moved_nodes(known: Mapping[int, Node], nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return those of `nodes` that are not known at their address."""
    addresses = {(node.id, node.host, node.port) for node in known.values()}
    return tuple(node for node in nodes if (node.id, node.host, node.port) not in addresses)


def is_complete(ordered: Sequence[MetadataResponsePartition]) -> bool:
    """Return whether these are the partitions 0 to n, each once, and at least one."""
    return bool(ordered) and all(given.partition_index == index for index, given in enumerate(ordered))
