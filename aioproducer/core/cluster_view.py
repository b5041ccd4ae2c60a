"""The brokers, topics and partitions of a cluster, and the changes that a response made to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aioproducer.error_code import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID


class Node(NamedTuple):
    """A broker, and where it listens."""

    id: int
    host: str
    port: int
    rack: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionMetadata:
    """A partition and its leader, NO_LEADER if it has none. An epoch of -1 is unknown."""

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
    """The new leader of a partition, NO_LEADER if it has none."""

    topic: str
    partition: int
    leader_id: int
    leader_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataChange:
    """The changes that a response made; all fields are empty if there are none."""

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
    """Topics that were asked for without a result, and their errors: CORRUPT_MESSAGE if invalid,
    UNKNOWN_TOPIC_OR_PARTITION if missing. The cache keeps their earlier state."""

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
