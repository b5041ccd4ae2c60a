"""The metadata cache: what is known of brokers and topics, and how an answer changes it.

The one idea: an answer is one broker's opinion, perhaps an old one, perhaps nonsense. It
is merged piece by piece; what is sound and not older than what is known gets in, the rest
leaves things as they were. What came of it is told as a `MetadataChange`.

    MetadataResponse ──▶ merge ──┬──▶ topics, nodes            what is known from now on
    leader of a ProduceResponse ─┤
    (KIP-951)                    └──▶ MetadataChange           what others have to be told

One thing always holds: a partition's leader is a node that is known, or NO_LEADER.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from aioproducer.core.producer_batch import NO_LEADER
from aioproducer.error_code import ErrorCode
from aioproducer.protocol.fields import ZERO_UUID

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from uuid import UUID

    from aioproducer.protocol.metadata import (
        MetadataResponse,
        MetadataResponseBroker,
        MetadataResponsePartition,
        MetadataResponseTopic,
    )
    from aioproducer.protocol.produce import NodeEndpoint

FINAL_TOPIC_ERRORS = frozenset({ErrorCode.INVALID_TOPIC_EXCEPTION, ErrorCode.TOPIC_AUTHORIZATION_FAILED})
"""The errors of a topic that asking again does not mend: records that wait for it fail with them."""

_MALFORMED = ErrorCode.CORRUPT_MESSAGE
_MAX_PORT = 65535

# The replica that is missing is not the leader; old brokers tell of it in the partition.
_LEADER_IS_SOUND = frozenset({ErrorCode.NONE, ErrorCode.REPLICA_NOT_AVAILABLE})

_partition_index = attrgetter("partition_index")


class ClusterCheck(Enum):
    """What an answer tells of the cluster that a new connection leads to."""

    SAME = auto()
    """Nothing speaks against its being the cluster that is known."""
    OTHER = auto()
    """Its id is another one, or that of a topic."""
    EMPTY = auto()
    """It has none of the topics: perhaps it is a restored one, which gets them later."""


class Node(NamedTuple):
    """A broker, and where it listens."""

    id: int
    host: str
    port: int
    rack: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionMetadata:
    """A partition and who leads it, NO_LEADER for nobody. An epoch of -1 is not known."""

    index: int
    leader_id: int
    leader_epoch: int = -1


class TopicMetadata(NamedTuple):
    """A topic; `partitions[i]` is its partition i. Brokers before 2.8 give the zero `topic_id`."""

    name: str
    topic_id: UUID
    partitions: tuple[PartitionMetadata, ...]
    is_internal: bool = False


class PartitionLeader(NamedTuple):
    """Who leads a partition from now on, NO_LEADER for nobody."""

    topic: str
    partition: int
    leader_id: int
    leader_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataChange:
    """What an answer has changed. Empty is: all as before."""

    error: ErrorCode = ErrorCode.NONE
    """Why the whole answer was refused; then nothing else is set."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """The number of partitions of each topic that is new, or has got another number or another id."""
    recreated: frozenset[str] = frozenset()
    """Topics that were deleted and made anew: another topic id under the same name. Perhaps of a
    topic that was forgotten, and is in no other part of the change."""
    is_other_cluster: bool = False
    """Whether the answer has another cluster id: nothing that was known is true of this cluster."""
    leaders: tuple[PartitionLeader, ...] = ()
    """Every partition with another leader or another epoch than before."""
    nodes: tuple[Node, ...] = ()
    """Brokers that are new or at another address; all, if it is another cluster."""
    removed_nodes: tuple[int, ...] = ()
    """Brokers that are gone."""
    errors: Mapping[str, ErrorCode] = field(default_factory=dict)
    """Topics that were asked for in vain, and why; nonsense counts as CORRUPT_MESSAGE, nothing
    at all as UNKNOWN_TOPIC_OR_PARTITION. What was known of them stays."""

    @property
    def is_news(self) -> bool:
        """Whether anything is different now."""
        return bool(
            self.sizes
            or self.recreated
            or self.leaders
            or self.nodes
            or self.removed_nodes
            or self.is_other_cluster
        )


class MetadataCache:
    """Brokers by id and topics by name, as far as known. Read the attributes, never write them."""

    __slots__ = ("_deleted", "_forgotten", "cluster_id", "controller_id", "leaderless", "nodes", "topics")

    def __init__(self) -> None:
        self.cluster_id: str | None = None
        self.controller_id = -1
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
        """Compare the cluster id and the topic ids of an answer with those that are known."""
        if self._is_other_cluster(response):
            return ClusterCheck.OTHER
        outcomes = {self._verify_topic(answer) for answer in response.topics}
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
        """Take in an answer to a request for the topics `asked`; of all it tells only those `wanted`.

        `reliable_epochs` is False for answers below version 9, in which brokers before 2.4
        may give leader epochs that are out of date (KAFKA-9212); they are ignored then.
        """
        alive = _sound_nodes(response.brokers)
        error = ErrorCode.of(response.error_code)
        if error or not alive:
            return MetadataChange(error=error or ErrorCode.BROKER_NOT_AVAILABLE)

        is_other_cluster = self._is_other_cluster(response)
        found = _Findings(alive, reliable_epochs=reliable_epochs, is_other_cluster=is_other_cluster)
        answered: set[str] = set()
        for answer in response.topics:
            name = answer.name
            if name is not None and name in wanted and name not in answered:
                answered.add(name)
                self._merge_topic(name, answer, found)
            elif name in self._forgotten and self._verify_topic(answer) is ClusterCheck.OTHER:
                self._forgotten[name] = answer.topic_id
                found.recreated.add(name)
        for topic in asked:
            if topic not in answered and topic in wanted:
                found.errors[topic] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION

        if is_other_cluster:
            self._forget_cluster(answered - found.errors.keys(), found)
        moved = tuple(alive.values()) if is_other_cluster else _moved(self.nodes, alive.values())
        removed = tuple(node_id for node_id in self.nodes if node_id not in alive)
        if removed:
            self._depose(frozenset(removed), found)
        # In place, because others hold on to the dictionary.
        self.nodes.clear()
        self.nodes.update(alive)
        self.cluster_id = response.cluster_id or self.cluster_id
        self.controller_id = response.controller_id
        return MetadataChange(
            sizes=found.sizes,
            recreated=frozenset(found.recreated),
            is_other_cluster=is_other_cluster,
            leaders=tuple(found.leaders),
            nodes=moved,
            removed_nodes=removed,
            errors=found.errors,
        )

    def apply_leader_hint(
        self,
        topic: str,
        partition: int,
        leader_id: int,
        leader_epoch: int,
        endpoints: Iterable[NodeEndpoint],
    ) -> MetadataChange | None:
        """Take in the leader that a produce answer names (KIP-951); None if that is no news.

        It counts if the partition is known, the epoch is newer than the known one, and the
        leader is among `endpoints` or a known node already.
        """
        known = self.topics.get(topic)
        if known is None or not 0 <= partition < len(known.partitions):
            return None
        if leader_epoch <= known.partitions[partition].leader_epoch:
            return None
        node = _sound_nodes(endpoints).get(leader_id) or self.nodes.get(leader_id)
        if node is None:
            return None

        moved = _moved(self.nodes, [node])
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

    def _merge_topic(self, name: str, answer: MetadataResponseTopic, found: _Findings) -> None:
        known = self.topics.get(name)
        ordered = sorted(answer.partitions, key=_partition_index)
        error = ErrorCode.of(answer.error_code)
        if not error and not _is_complete(ordered):
            error = _MALFORMED
        if error:
            found.errors[name] = error
            if known is not None and error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                self._deleted.add(name)
            return

        is_another = known is not None and self._is_another(known, answer, found)
        self._deleted.discard(name)
        if known is not None and not is_another and _says_the_same(known, answer, ordered, found):
            return
        before = () if known is None or is_another else known.partitions
        partitions = found.partitions(name, ordered, before)
        topic_id = answer.topic_id
        if topic_id == ZERO_UUID and known is not None and not is_another:
            # A broker too old for ids does not take back what others told.
            topic_id = known.topic_id
        if known is not None and known.topic_id == answer.topic_id != ZERO_UUID:
            # A topic never loses partitions: this broker has not heard of the last ones yet.
            partitions += before[len(partitions) :]
        if known is None or known.topic_id != topic_id or len(partitions) != len(known.partitions):
            found.sizes[name] = len(partitions)
        id_before = self._forgotten.pop(name, ZERO_UUID) if known is None else known.topic_id
        if ZERO_UUID not in {id_before, topic_id} and id_before != topic_id:
            found.recreated.add(name)
        self._store(TopicMetadata(name, topic_id, tuple(partitions), answer.is_internal))

    def _is_other_cluster(self, response: MetadataResponse) -> bool:
        if None in {self.cluster_id, response.cluster_id}:
            return False
        return self.cluster_id != response.cluster_id

    def _forget_cluster(self, answered: Container[str], found: _Findings) -> None:
        """Drop ids, epochs and leaders of the topics that the other cluster has not told of yet."""
        self._forgotten.clear()
        for topic in [topic for name, topic in self.topics.items() if name not in answered]:
            self._deleted.add(topic.name)
            indexes = range(len(topic.partitions))
            found.sizes[topic.name] = len(indexes)
            found.leaders += [PartitionLeader(topic.name, index, NO_LEADER, -1) for index in indexes]
            partitions = tuple([PartitionMetadata(index, NO_LEADER) for index in indexes])
            self._store(topic._replace(topic_id=ZERO_UUID, partitions=partitions))

    def _is_another(self, known: TopicMetadata, answer: MetadataResponseTopic, found: _Findings) -> bool:
        """Whether the topic is not the one we knew by that name, so that its epochs begin anew."""
        if found.is_other_cluster:
            return True
        if ZERO_UUID in {known.topic_id, answer.topic_id}:
            return known.name in self._deleted
        return known.topic_id != answer.topic_id

    def _depose(self, removed: frozenset[int], found: _Findings) -> None:
        for topic in list(self.topics.values()):
            if not any(partition.leader_id in removed for partition in topic.partitions):
                continue
            partitions = list(topic.partitions)
            for index, partition in enumerate(partitions):
                if partition.leader_id in removed:
                    partitions[index] = replace(partition, leader_id=NO_LEADER)
                    found.leaders.append(
                        PartitionLeader(topic.name, index, NO_LEADER, partition.leader_epoch)
                    )
            self._store(topic._replace(partitions=tuple(partitions)))

    def _store(self, topic: TopicMetadata) -> None:
        self.topics[topic.name] = topic
        if any(partition.leader_id == NO_LEADER for partition in topic.partitions):
            self.leaderless.add(topic.name)
        else:
            self.leaderless.discard(topic.name)


class _Findings:
    """What comes to light while one answer is merged."""

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
        """Return the partitions as they are now, and note those with another leader or epoch."""
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

    def _newer(self, given: MetadataResponsePartition, known: PartitionMetadata | None) -> PartitionMetadata:
        epoch = given.leader_epoch if self.reliable_epochs else -1
        if known is not None and 0 <= epoch < known.leader_epoch:
            return known
        leader_id = given.leader_id
        if given.error_code not in _LEADER_IS_SOUND or leader_id not in self.alive:
            leader_id = NO_LEADER
        return PartitionMetadata(given.partition_index, leader_id, max(epoch, -1))


def _sound_nodes(brokers: Iterable[MetadataResponseBroker | NodeEndpoint]) -> dict[int, Node]:
    nodes: dict[int, Node] = {}
    for broker in brokers:
        is_host = broker.host.isprintable() and broker.host.strip() == broker.host != ""
        if broker.node_id >= 0 and is_host and 0 < broker.port <= _MAX_PORT:
            nodes.setdefault(broker.node_id, Node(broker.node_id, broker.host, broker.port, broker.rack))
    return nodes


def _moved(known: Mapping[int, Node], nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return those of `nodes` that are not known at their address."""
    addresses = {(node.id, node.host, node.port) for node in known.values()}
    return tuple(node for node in nodes if (node.id, node.host, node.port) not in addresses)


def _is_complete(ordered: Sequence[MetadataResponsePartition]) -> bool:
    return bool(ordered) and all(given.partition_index == index for index, given in enumerate(ordered))


def _says_the_same(
    known: TopicMetadata,
    answer: MetadataResponseTopic,
    ordered: Sequence[MetadataResponsePartition],
    found: _Findings,
) -> bool:
    """Whether the answer holds nothing that is not known. Most answers to most topics do not."""
    if known.topic_id != answer.topic_id or len(known.partitions) != len(ordered):
        return False
    any_epoch = not found.reliable_epochs
    return all(
        partition.leader_id == given.leader_id
        and (any_epoch or partition.leader_epoch == given.leader_epoch)
        and not given.error_code
        for partition, given in zip(known.partitions, ordered, strict=True)
    )
