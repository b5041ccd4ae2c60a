"""What a test does to a cluster's state: its topics, leaders, replicas, logs and producers.

The one idea: these are the operator's commands, and they hold at once on all nodes. What goes
wrong with single requests is scripted instead (`FakeCluster.on`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.testing.stored_record import read_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.testing.call import Settings
    from aioproducer.testing.stored_record import StoredRecord
    from aioproducer.testing.topology import Partition, TopicConfig, Topology


class Control:
    """The part of a cluster that needs no sockets."""

    def __init__(self, topology: Topology, settings: Settings) -> None:
        self.topology = topology
        self._settings = settings

    @property
    def cluster_id(self) -> str:
        """What Metadata tells as the cluster's id; assigning another makes it another cluster."""
        return self.topology.cluster_id

    @cluster_id.setter
    def cluster_id(self, cluster_id: str) -> None:
        self.topology.cluster_id = cluster_id

    def records(self, topic: str, partition: int | None = None) -> list[StoredRecord]:
        """Return what a topic holds, partition by partition, each in the order of offsets."""
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
        """Create a topic.

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
        """Let a topic grow to `total` partitions."""
        self.topology.add_partitions(topic, total)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic; creating it again gives it another id."""
        self.topology.delete_topic(topic)

    def move_leader(self, topic: str, partition: int, to: int) -> None:
        """Make node `to` the leader of a partition; -1 leaves it without one."""
        self.topology.move_leader(self.topology.partition(topic, partition), to)

    def leader_of(self, topic: str, partition: int) -> int:
        """Return the node that leads a partition."""
        return self.topology.partition(topic, partition).leader

    def shrink_isr(self, topic: str, partition: int, node: int) -> None:
        """Let a follower fall behind: it is no longer in sync, and does not take over.

        >>> from aioproducer.testing import FakeCluster, TopicConfig
        >>> cluster = FakeCluster(2)
        >>> cluster.create_topic("orders", config=TopicConfig(min_insync_replicas=2))
        >>> cluster.shrink_isr("orders", 0, 2)      # acks=all: NOT_ENOUGH_REPLICAS
        >>> cluster.expand_isr("orders", 0)         # acks=all works again
        """
        self.topology.shrink_isr(self.topology.partition(topic, partition), node)

    def expand_isr(self, topic: str, partition: int) -> None:
        """Let all replicas catch up."""
        self.topology.partition(topic, partition).lagging.clear()

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Let the log start at an offset, as retention and DeleteRecords do."""
        self.topology.partition(topic, partition).log.delete_before(before)

    def forget_producer(
        self, producer_id: int | None = None, *, topic: str | None = None, partition: int | None = None
    ) -> None:
        """Lose what is known of a producer id, or of all, as after `producer.id.expiration.ms`.

        Its next batch is taken whatever its sequence; Kafka 2.1 answers UNKNOWN_PRODUCER_ID.
        """
        for each in self._partitions(topic, partition):
            each.log.forget_producer(producer_id)

    def _partitions(self, topic: str | None, partition: int | None) -> Iterator[Partition]:
        for name in self.topology.topics if topic is None else (topic,):
            for each in self.topology.topic(name).partitions:
                if partition in (None, each.index):
                    yield each
