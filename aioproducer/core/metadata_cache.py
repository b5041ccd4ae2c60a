"""The metadata cache: brokers and topics, and how responses change them.

A response is the view of one broker, which may be old or invalid. It is merged part by part: valid parts
that are not older than the cache change it, other parts are ignored. `MetadataChange` has the changes.

    MetadataResponse ──▶ merge ──┬──▶ topics, nodes            the cache
    leader of a ProduceResponse ─┤
    (KIP-951)                    └──▶ MetadataChange           for the accumulator and the cluster

Invariant: a partition's leader is a known node, or NO_LEADER.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING

from aioproducer.core.cluster_view import (
    MetadataChange,
    Node,
    PartitionLeader,
    PartitionMetadata,
    TopicMetadata,
)
from aioproducer.core.metadata_merge import Findings, is_complete, moved_nodes, sound_nodes
from aioproducer.core.queues import NO_LEADER
from aioproducer.error_code import ErrorCode
from aioproducer.protocol.fields import ZERO_UUID

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from uuid import UUID

    from aioproducer.protocol.metadata import MetadataResponse, MetadataResponseTopic
    from aioproducer.protocol.produce import NodeEndpoint

FINAL_TOPIC_ERRORS = frozenset({ErrorCode.INVALID_TOPIC_EXCEPTION, ErrorCode.TOPIC_AUTHORIZATION_FAILED})
"""The errors of a topic that asking again does not mend: records that wait for it fail with them."""

_MALFORMED = ErrorCode.CORRUPT_MESSAGE

_partition_index = attrgetter("partition_index")


class ClusterCheck(Enum):
    """Whether a new connection leads to the known cluster."""

    SAME = auto()
    """It may be the known cluster: no id differs."""
    OTHER = auto()
    """Its id differs, or the id of a topic."""
    EMPTY = auto()
    """It has none of the topics: it may be restored from a backup, and get them later."""


class MetadataCache:
    """The known brokers by id, and topics by name. The attributes are read-only."""

    __slots__ = ("_deleted", "_forgotten", "cluster_id", "leaderless", "nodes", "topics")

    def __init__(self) -> None:
        self.cluster_id: str | None = None
        self.nodes: dict[int, Node] = {}
        self.topics: dict[str, TopicMetadata] = {}
        self.leaderless: set[str] = set()
        """The topics in which some partition has no leader."""
        self._deleted: set[str] = set()
        # The ids of forgotten topics: sequences outlive what else is known of a topic.
        self._forgotten: dict[str, UUID] = {}

    def sample(self, limit: int) -> tuple[str, ...]:
        """Return up to `limit` topics whose ids are known, forgotten ones too, to ask about for `verify`."""
        known = (name for name, topic in self.topics.items() if topic.topic_id != ZERO_UUID)
        return tuple(islice(chain(known, self._forgotten), limit))

    def verify(self, response: MetadataResponse) -> ClusterCheck:
        """Compare the cluster id and the topic ids of a response with the known ones."""
        if self._is_other_cluster(response):
            return ClusterCheck.OTHER
        outcomes = {self._verify_topic(answer) for answer in response.topics}
        # One other id is proof of another cluster; one equal id is proof of the same. A topic that is
        # missing proves nothing as long as another one is there.
        for outcome in (ClusterCheck.OTHER, ClusterCheck.SAME, ClusterCheck.EMPTY):
            if outcome in outcomes:
                return outcome
        return ClusterCheck.SAME

    def _verify_topic(self, answer: MetadataResponseTopic) -> ClusterCheck | None:
        if answer.name is None:
            return None
        error = ErrorCode.of(answer.error_code)
        if error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            return ClusterCheck.EMPTY
        known = self.topics.get(answer.name)
        topic_id = self._forgotten.get(answer.name, ZERO_UUID) if known is None else known.topic_id
        if error or ZERO_UUID in {topic_id, answer.topic_id}:
            return None
        return ClusterCheck.SAME if topic_id == answer.topic_id else ClusterCheck.OTHER

    def merge(
        self,
        response: MetadataResponse,
        *,
        asked: Iterable[str],
        wanted: Container[str],
        reliable_epochs: bool = True,
    ) -> MetadataChange:
        """Merge the response to a request for the topics `asked`; ignore topics that are not `wanted`.

        `reliable_epochs` is False for responses below version 9, in which brokers before 2.4
        may give leader epochs that are out of date (KAFKA-9212); they are ignored then.
        """
        alive = sound_nodes(response.brokers)
        error = ErrorCode.of(response.error_code)
        if error or not alive:
            return MetadataChange(error=error or ErrorCode.BROKER_NOT_AVAILABLE)

        is_other_cluster = self._is_other_cluster(response)
        found = Findings(alive, reliable_epochs=reliable_epochs, is_other_cluster=is_other_cluster)
        answered: set[str] = set()
        for answer in response.topics:
            name = answer.name
            if name is not None and name in wanted and name not in answered:
                answered.add(name)
                self._merge_topic(name, answer, found)
            # Nothing is sent to a forgotten topic, but its sequences are kept: they belong to the old log.
            elif name in self._forgotten and self._verify_topic(answer) is ClusterCheck.OTHER:
                self._forgotten[name] = answer.topic_id
                found.recreated.add(name)
        # A topic that the response leaves out counts as unknown, so that it is asked for again.
        for topic in asked:
            if topic not in answered and topic in wanted:
                found.errors[topic] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

        if is_other_cluster:
            self._forget_cluster(answered - found.errors.keys(), found)
        moved = tuple(alive.values()) if is_other_cluster else moved_nodes(self.nodes, alive.values())
        removed = tuple(node_id for node_id in self.nodes if node_id not in alive)
        if removed:
            self._depose(frozenset(removed), found)
        # Change it in place: other objects hold this dictionary.
        self.nodes.clear()
        self.nodes.update(alive)
        # Brokers before 0.10.1 give no cluster id: keep the one of a newer broker.
        self.cluster_id = response.cluster_id or self.cluster_id
        return found.change(nodes=moved, removed_nodes=removed)

    def apply_leader_hint(
        self,
        topic: str,
        partition: int,
        leader_id: int,
        leader_epoch: int,
        endpoints: Iterable[NodeEndpoint],
    ) -> MetadataChange | None:
        """Use the leader that a Produce response names (KIP-951); return None if nothing changes.

        It is used if the partition is known, the epoch is newer than the known one, and the
        leader is among `endpoints` or a known node already.
        """
        known = self.topics.get(topic)
        if known is None or not 0 <= partition < len(known.partitions):
            return None
        # The response may be older than a Metadata response that was merged in between.
        if leader_epoch <= known.partitions[partition].leader_epoch:
            return None
        node = sound_nodes(endpoints).get(leader_id) or self.nodes.get(leader_id)
        if node is None:
            return None

        moved = moved_nodes(self.nodes, [node])
        self.nodes[leader_id] = node
        partitions = list(known.partitions)
        partitions[partition] = PartitionMetadata(partition, leader_id, leader_epoch)
        self._store(known._replace(partitions=tuple(partitions)))
        leader = PartitionLeader(topic, partition, leader_id, leader_epoch)
        return MetadataChange(leaders=(leader,), nodes=moved)

    def forget(self, topic: str) -> None:
        """Drop what is known of a topic, but for its id."""
        known = self.topics.pop(topic, None)
        if known is not None and known.topic_id != ZERO_UUID:
            self._forgotten[topic] = known.topic_id
        self.leaderless.discard(topic)
        self._deleted.discard(topic)

    def _merge_topic(self, name: str, answer: MetadataResponseTopic, found: Findings) -> None:
        known = self.topics.get(name)
        ordered = sorted(answer.partitions, key=_partition_index)
        error = ErrorCode.of(answer.error_code)
        if not error and not is_complete(ordered):
            error = _MALFORMED
        if error:
            found.errors[name] = error
            # Keep its partitions: batches for it go on waiting. If it comes back without an id (before
            # Metadata 10), `_deleted` tells that it is another one.
            if known is not None and error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                self._deleted.add(name)
            return

        is_another = known is not None and self._is_another(known, answer, found)
        self._deleted.discard(name)
        if known is not None and not is_another and found.is_unchanged(known, answer, ordered):
            return
        before = () if known is None or is_another else known.partitions
        partitions = found.partitions(name, ordered, before)
        topic_id = answer.topic_id
        if topic_id == ZERO_UUID and known is not None and not is_another:
            # Keep the id if this broker is too old to know ids.
            topic_id = known.topic_id
        if known is not None and known.topic_id == answer.topic_id != ZERO_UUID:
            # A topic never loses partitions: this broker does not know the last ones yet.
            partitions += before[len(partitions) :]
        if known is None or known.topic_id != topic_id or len(partitions) != len(known.partitions):
            found.sizes[name] = len(partitions)
        # Forgotten when idle, deleted, and created anew: the kept id is the only sign of it.
        id_before = self._forgotten.pop(name, ZERO_UUID) if known is None else known.topic_id
        if ZERO_UUID not in {id_before, topic_id} and id_before != topic_id:
            found.recreated.add(name)
        self._store(TopicMetadata(name, topic_id, tuple(partitions), answer.is_internal))

    def _is_other_cluster(self, response: MetadataResponse) -> bool:
        if None in {self.cluster_id, response.cluster_id}:
            return False
        return self.cluster_id != response.cluster_id

    def _forget_cluster(self, answered: Container[str], found: Findings) -> None:
        """Drop ids, epochs and leaders of topics that are not in the other cluster's response."""
        self._forgotten.clear()
        for topic in [topic for name, topic in self.topics.items() if name not in answered]:
            self._deleted.add(topic.name)
            partitions = tuple(
                [PartitionMetadata(index, NO_LEADER) for index in range(len(topic.partitions))]
            )
            found.sizes[topic.name] = len(partitions)
            found.lose_leaders(topic.name, partitions)
            self._store(topic._replace(topic_id=ZERO_UUID, partitions=partitions))

    def _is_another(self, known: TopicMetadata, answer: MetadataResponseTopic, found: Findings) -> bool:
        """Whether the topic is not the one we knew by that name, so that its epochs begin anew."""
        if found.is_other_cluster:
            return True
        if ZERO_UUID in {known.topic_id, answer.topic_id}:
            return known.name in self._deleted
        return known.topic_id != answer.topic_id

    def _depose(self, removed: frozenset[int], found: Findings) -> None:
        for topic in list(self.topics.values()):
            lost = [partition for partition in topic.partitions if partition.leader_id in removed]
            if not lost:
                continue
            found.lose_leaders(topic.name, lost)
            partitions = list(topic.partitions)
            for partition in lost:
                partitions[partition.index] = replace(partition, leader_id=NO_LEADER)
            self._store(topic._replace(partitions=tuple(partitions)))

    def _store(self, topic: TopicMetadata) -> None:
        self.topics[topic.name] = topic
        if any(partition.leader_id == NO_LEADER for partition in topic.partitions):
            self.leaderless.add(topic.name)
        else:
            self.leaderless.discard(topic.name)
