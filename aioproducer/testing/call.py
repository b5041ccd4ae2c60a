"""One request in a fake broker, with everything that its response depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioproducer.testing.faults import AnswerError, LeaveOut

if TYPE_CHECKING:
    from aioproducer.protocol.api import ApiKey
    from aioproducer.testing.authorizer import Operation, ResourceType
    from aioproducer.testing.faults import Fault
    from aioproducer.testing.security import Security
    from aioproducer.testing.session import Session
    from aioproducer.testing.topology import TopicConfig, Topology
    from aioproducer.testing.versions import BrokerVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of all brokers of a cluster."""

    auto_create_topics: bool
    partitions: int
    replication_factor: int
    topic_config: TopicConfig
    leader_hints: bool
    check_records: bool
    strict: bool
    security: Security


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One decoded request. The functions in `apis` answer it without other state."""

    api: ApiKey
    version: int
    correlation_id: int
    request: Any
    node_id: int
    broker: BrokerVersion
    topology: Topology
    settings: Settings
    session: Session
    now_ms: int
    faults: tuple[Fault, ...] = ()

    def allows(self, operation: Operation, resource: ResourceType, name: str) -> bool:
        """Return whether the client may do this."""
        return self.settings.security.authorizer.allows(self.session.principal, operation, resource, name)

    def scripted(
        self, topic: str | None = None, partition: int | None = None
    ) -> AnswerError | LeaveOut | None:
        """Return the scripted answer for this part of the request.

        Without `partition` it is the one for the whole topic; faults of one partition do not count.
        """
        for fault in self.faults:
            action, match = fault.action, fault.match
            # on(METADATA, topic="orders", partition=1).answer(...) must not fail the whole topic.
            if partition is None and match.partition is not None:
                continue
            if isinstance(action, AnswerError | LeaveOut) and match.covers(topic, partition):
                return action
        return None
