"""One request on its way through a broker: what was asked, and all that an answer depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioproducer.testing.faults import AnswerError, LeaveOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.protocol.api import ApiKey, VersionRange
    from aioproducer.testing.faults import Fault
    from aioproducer.testing.topology import TopicConfig, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the brokers of a cluster are configured, alike for all of them."""

    versions: Mapping[ApiKey, VersionRange]
    auto_create_topics: bool
    partitions: int
    replication_factor: int
    topic_config: TopicConfig
    check_records: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: whatever answers it needs nothing else."""

    api: ApiKey
    version: int
    correlation_id: int
    request: Any
    node_id: int
    topology: Topology
    settings: Settings
    now_ms: int
    faults: tuple[Fault, ...] = ()

    def scripted(
        self, topic: str | None = None, partition: int | None = None
    ) -> AnswerError | LeaveOut | None:
        """Return what a fault wants to be answered for this part of the request."""
        for fault in self.faults:
            action = fault.action
            if isinstance(action, AnswerError | LeaveOut) and fault.match.covers(topic, partition):
                return action
        return None
