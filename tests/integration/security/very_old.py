"""Kafka 2.1 with all listeners: it is too old for the harness's own requests, so librdkafka makes topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # it has no __all__
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.integration.polling import until
from tests.integration.properties import text
from tests.integration.secured import SecuredKafka

if TYPE_CHECKING:
    from tests.integration.properties import Properties

_SOON = 10.0


class VeryOldKafka(SecuredKafka):
    """One broker of Kafka 2.1 to 2.6."""

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication: int | None = None,
        config: Properties | None = None,
    ) -> str:
        """Create a topic, and return its name when it has its partitions."""
        new = NewTopic(
            name,
            partitions,
            replication or 1,
            config={option: text(value) for option, value in (config or {}).items()},
        )
        # The client must outlive its request.
        admin = self._admin()
        admin.create_topics([new])[name].result(_SOON)
        until(f"{name} has its partitions", lambda: self._has_leaders(name, partitions))
        return name

    def set_scram_user(self, user: str, password: str) -> None:
        """Let a user authenticate with SCRAM, or change the password."""
        configs = ",".join(f"SCRAM-SHA-{size}=[password={password}]" for size in (256, 512))
        zookeeper = ["--zookeeper", str(self._zookeeper_address())]
        entity = ["--entity-type", "users", "--entity-name", user]
        self._run_tool("kafka.admin.ConfigCommand", [*zookeeper, "--alter", *entity, "--add-config", configs])

    def allow(self, resource: str, name: str, operation: str, user: str) -> None:
        """Allow a user one operation on a resource; users without an ACL of this resource lose it."""
        binding = AclBinding(
            # librdkafka calls the cluster a broker.
            ResourceType[{"cluster": "broker"}.get(resource, resource).upper()],
            name,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[operation.upper().replace(" ", "_")],
            AclPermissionType.ALLOW,
        )
        admin = self._admin()
        admin.create_acls([binding])[binding].result(_SOON)

    def _is_in_sync(self) -> bool:
        for node in self._nodes.values():
            node.check()
        try:
            return len(self._admin().list_topics(timeout=_SOON).brokers) == len(self.node_ids)
        except KafkaException:
            return False

    def _has_leaders(self, name: str, partitions: int) -> bool:
        known = self._admin().list_topics(timeout=_SOON).topics.get(name)
        if known is None or len(known.partitions) != partitions:
            return False
        return all(partition.leader >= 0 for partition in known.partitions.values())

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
