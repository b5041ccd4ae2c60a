"""The state of a fake cluster, as tests read and change it: topics, leaders, replicas, logs.

These are an operator's commands, and take effect at once on all nodes. Faults of single requests
are scripted with `FakeCluster.on`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.testing.security_control import SecurityControl
from aioproducer.testing.stored_record import read_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.testing.call import Settings
    from aioproducer.testing.stored_record import StoredRecord
    from aioproducer.testing.topology import Partition, TopicConfig, Topology


class Control(SecurityControl):
    """The part of a cluster without sockets."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        super().__init__(settings.security)
        self.topology = topology
        self._settings = settings

    @property
    def cluster_id(self) -> str:
        """The cluster's id in Metadata; a new value makes it another cluster."""
        return self.topology.cluster_id

    @cluster_id.setter
    def cluster_id(self, cluster_id: str) -> None:
        self.topology.cluster_id = cluster_id

    def records(self, topic: str, partition: int | None = None) -> list[StoredRecord]:
        """Return the records of a topic, partition by partition, in offset order.

        Raises `Refused` for an unknown topic.
        """
        return [
            record
            for each in self.topology.topic(topic).partitions
            if partition in (None, each.index)
            for record in read_log(topic, each.index, each.log)
        ]

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        *,
        replication_factor: int | None = None,
        config: TopicConfig | None = None,
    ) -> None:
        """Create a topic with `partitions` partitions; raises `Refused` for an illegal one.

        >>> from aioproducer.testing import FakeCluster, TopicConfig
        >>> cluster = FakeCluster(3)
        >>> cluster.create_topic("orders", 6, config=TopicConfig(min_insync_replicas=2))
        >>> [cluster.leader_of("orders", partition) for partition in range(6)]
        [1, 2, 3, 1, 2, 3]
        """
        settings = self._settings
        self.topology.create_topic(
            name,
            partitions,
            replication_factor or settings.replication_factor,
            config or settings.topic_config,
        )

    def add_partitions(self, topic: str, total: int) -> None:
        """Increase the number of partitions to `total`; raises `Refused` if it is not more."""
        self.topology.add_partitions(topic, total)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its records; a recreated one has a new id. Raises `Refused`."""
        self.topology.delete_topic(topic)

    def move_leader(self, topic: str, partition: int, to: int) -> None:
        """Make node `to` the leader of a partition; -1 removes the leader. Raises ValueError."""
        self.topology.move_leader(self.topology.partition(topic, partition), to)

    def leader_of(self, topic: str, partition: int) -> int:
        """Return the node id of a partition's leader, -1 without one."""
        return self.topology.partition(topic, partition).leader

    def shrink_isr(self, topic: str, partition: int, node: int) -> None:
        """Take a follower out of the in-sync replicas; it cannot become the leader. Raises ValueError.

        >>> from aioproducer.testing import FakeCluster, TopicConfig
        >>> cluster = FakeCluster(2)
        >>> cluster.create_topic("orders", config=TopicConfig(min_insync_replicas=2))
        >>> cluster.shrink_isr("orders", 0, 2)      # acks=all: NOT_ENOUGH_REPLICAS
        >>> cluster.expand_isr("orders", 0)         # acks=all works again
        """
        self.topology.shrink_isr(self.topology.partition(topic, partition), node)

    def expand_isr(self, topic: str, partition: int) -> None:
        """Put all replicas in sync again."""
        self.topology.partition(topic, partition).lagging.clear()

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Move the log start to offset `before`, as retention and DeleteRecords do."""
        self.topology.partition(topic, partition).log.delete_before(before)

    def forget_producer(
        self, producer_id: int | None = None, *, topic: str | None = None, partition: int | None = None
    ) -> None:
        """Drop the state of a producer id, or of all, as after `producer.id.expiration.ms`.

        Its next batch is stored with any sequence; Kafka 2.1 answers UNKNOWN_PRODUCER_ID.
        """
        for each in self._partitions(topic, partition):
            # The records stay: only the state that recognizes duplicates is lost.
            each.log.forget_producer(producer_id)

    def _partitions(self, topic: str | None, partition: int | None) -> Iterator[Partition]:
        for name in self.topology.topics if topic is None else (topic,):
            for each in self.topology.topic(name).partitions:
                if partition in (None, each.index):
                    yield each
