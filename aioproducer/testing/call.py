"""One request on its way through a broker: what was asked, and all that an answer depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioproducer.testing.faults import AnswerError, LeaveOut

if TYPE_CHECKING:
    from aioproducer.protocol.api import ApiKey
    from aioproducer.testing.faults import Fault
    from aioproducer.testing.topology import TopicConfig, Topology
    from aioproducer.testing.versions import BrokerVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the brokers of a cluster are configured, alike for all of them."""

    auto_create_topics: bool
    partitions: int
    replication_factor: int
    topic_config: TopicConfig
    leader_hints: bool
    check_records: bool
    strict: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: whatever answers it needs nothing else."""

    api: ApiKey
    version: int
    correlation_id: int
    request: Any
    node_id: int
    broker: BrokerVersion
    topology: Topology
    settings: Settings
    now_ms: int
    faults: tuple[Fault, ...] = ()

    def scripted(
        self, topic: str | None = None, partition: int | None = None
    ) -> AnswerError | LeaveOut | None:
        """Return what a fault wants to be answered for this part of the request.

        Without a partition that is the topic as a whole, which a fault of one partition leaves alone.
        """
        for fault in self.faults:
            action, match = fault.action, fault.match
            if partition is None and match.partition is not None:
                continue
            if isinstance(action, AnswerError | LeaveOut) and match.covers(topic, partition):
                return action
        return None
