"""The ACLs of a fake cluster: the last rule that matches decides, and without one all is allowed.

    cluster.deny("WRITE", topic="orders")                        # TOPIC_AUTHORIZATION_FAILED
    cluster.deny("DESCRIBE", topic="secret-*", principal="alice")
    cluster.deny("WRITE", transactional_id="payments")           # TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    cluster.deny("IDEMPOTENT_WRITE")                             # on the cluster
    cluster.allow("WRITE", topic="orders")

Kafka combines rules in another way (a denial always wins, and once a resource has a rule, the rest
is denied); the answers to a client are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

ANONYMOUS = "ANONYMOUS"
"""Kafka's principal of a connection without authentication."""

CLUSTER_NAME = "kafka-cluster"
_ANY = "*"
_NO_SUCH_NAME = "aioproducer-no-such-topic"


class Operation(IntEnum):
    """Kafka's AclOperation: the numbers are those of the protocol."""

    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12


_IMPLY_DESCRIBE = frozenset({Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER})


class ResourceType(Enum):
    """The kinds of resources that a producer uses."""

    TOPIC = "topic"
    TRANSACTIONAL_ID = "transactional id"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One ACL. `name` is a name, a prefix with `*` at its end, or `*`; principal None means all."""

    allows: bool
    operation: Operation
    resource: ResourceType
    name: str
    principal: str | None

    def covers(self, principal: str, operation: Operation, resource: ResourceType, name: str) -> bool:
        """Return whether the rule is about this."""
        return (
            self.resource is resource
            and self._covers_operation(operation)
            and self.principal in (None, principal)
            and self._covers_name(name)
        )

    def _covers_operation(self, operation: Operation) -> bool:
        if self.operation in (Operation.ALL, operation):
            return True
        # As in Kafka, a client that may write to a topic may see it too.
        return self.allows and operation is Operation.DESCRIBE and self.operation in _IMPLY_DESCRIBE

    def _covers_name(self, name: str) -> bool:
        if self.name.endswith(_ANY):
            return name.startswith(self.name.removesuffix(_ANY))
        return self.name == name


@dataclass(slots=True)
class Authorizer:
    """The rules, in the order of their creation."""

    rules: list[Rule] = field(default_factory=list)

    def add(self, rule: Rule) -> None:
        """Add a rule; it takes effect at the next request."""
        self.rules.append(rule)

    def allows(self, principal: str, operation: Operation, resource: ResourceType, name: str) -> bool:
        """Return whether the principal may do this."""
        for rule in reversed(self.rules):
            if rule.covers(principal, operation, resource, name):
                return rule.allows
        return True

    def allows_on_any_topic(self, principal: str, operation: Operation) -> bool:
        """Return whether the principal may do this on some topic, even one that does not exist."""
        names = {rule.name.removesuffix(_ANY) for rule in self.rules if rule.resource is ResourceType.TOPIC}
        return any(
            self.allows(principal, operation, ResourceType.TOPIC, name) for name in (*names, _NO_SUCH_NAME)
        )
