"""Topic administration of any Kafka over the wire: topics, leaders, replicas in sync.

Brokers learn of a change one after the other. So a method that changes something returns when
*every* broker shows the change, and the broker with the highest leader epoch is believed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from kio.schema.alter_client_quotas.v1.request import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)
from kio.schema.alter_client_quotas.v1.response import AlterClientQuotasResponse
from kio.schema.alter_partition_reassignments.v0.request import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from kio.schema.alter_partition_reassignments.v0.response import AlterPartitionReassignmentsResponse
from kio.schema.create_partitions.v2.request import CreatePartitionsRequest, CreatePartitionsTopic
from kio.schema.create_partitions.v2.response import CreatePartitionsResponse
from kio.schema.create_topics.v5.request import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from kio.schema.create_topics.v5.response import CreateTopicsResponse
from kio.schema.delete_topics.v4.request import DeleteTopicsRequest
from kio.schema.delete_topics.v4.response import DeleteTopicsResponse
from kio.schema.describe_producers.v0.request import DescribeProducersRequest, TopicRequest
from kio.schema.describe_producers.v0.response import DescribeProducersResponse
from kio.schema.elect_leaders.v2.request import ElectLeadersRequest, TopicPartitions
from kio.schema.elect_leaders.v2.response import ElectLeadersResponse
from kio.schema.errors import ErrorCode
from kio.schema.incremental_alter_configs.v1.request import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from kio.schema.incremental_alter_configs.v1.response import IncrementalAlterConfigsResponse
from kio.schema.metadata.v9.request import MetadataRequest, MetadataRequestTopic
from kio.schema.metadata.v9.response import MetadataResponse, MetadataResponseTopic
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import f64, i8, i16, i32, i32Timedelta

from tests.integration.consumer import ConsumedRecord, consume
from tests.integration.polling import until
from tests.integration.properties import text
from tests.integration.wire import Address, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.properties import Properties

_BROKER_DEFAULT = -1
_TOPIC_RESOURCE = 2
_SET, _DELETE = 0, 1
_PREFERRED = 0
_TIMEOUT = i32Timedelta.parse(timedelta(seconds=15))


class AdminError(Exception):
    """A broker refused a change."""

    def __init__(self, what: str, code: ErrorCode, reason: str | None = None) -> None:
        super().__init__(f"{what}: {code.name}, {reason or 'no reason given'}")
        self.code = code


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition in a broker's metadata; `leader` is -1 without a leader."""

    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


class Topics(ABC):
    """Topic administration at a bootstrap address."""

    @property
    @abstractmethod
    def bootstrap(self) -> str:
        """The bootstrap addresses for clients."""

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        replication: int | None = None,
        config: Properties | None = None,
    ) -> str:
        """Create a topic, wait until every broker shows its leaders, and return its name."""
        creatable = CreatableTopic(
            name=TopicName(name),
            num_partitions=i32(partitions),
            replication_factor=i16(_BROKER_DEFAULT if replication is None else replication),
            assignments=(),
            configs=tuple(
                CreatableTopicConfig(name=option, value=text(value))
                for option, value in (config or {}).items()
            ),
        )
        request = CreateTopicsRequest(topics=(creatable,), timeout=_TIMEOUT)
        for topic in ask(self._admin_address(), request, CreateTopicsResponse).topics:
            _check(f"create topic {name}", topic.error_code, topic.error_message)
        self._wait_for_partitions(name, partitions)
        return name

    def add_partitions(self, topic: str, total: int) -> None:
        """Increase the number of partitions to `total`."""
        growing = CreatePartitionsTopic(name=TopicName(topic), count=i32(total), assignments=None)
        request = CreatePartitionsRequest(topics=(growing,), timeout=_TIMEOUT, validate_only=False)
        for result in ask(self._admin_address(), request, CreatePartitionsResponse).results:
            _check(f"add partitions to {topic}", result.error_code, result.error_message)
        self._wait_for_partitions(topic, total)

    def delete_topic(self, topic: str) -> None:
        request = DeleteTopicsRequest(topic_names=(TopicName(topic),), timeout=_TIMEOUT)
        for response in ask(self._admin_address(), request, DeleteTopicsResponse).responses:
            _check(f"delete topic {topic}", response.error_code)
        until(f"{topic} is gone from every broker", lambda: not any(self._described(topic).values()))

    def alter_config(self, topic: str, config: Mapping[str, str | float | None]) -> None:
        """Set options of a topic; None restores the default."""
        configs = tuple(
            AlterableConfig(
                name=option,
                config_operation=i8(_DELETE if value is None else _SET),
                value=None if value is None else text(value),
            )
            for option, value in config.items()
        )
        resource = AlterConfigsResource(
            resource_type=i8(_TOPIC_RESOURCE), resource_name=topic, configs=configs
        )
        request = IncrementalAlterConfigsRequest(resources=(resource,), validate_only=False)
        for response in ask(self._admin_address(), request, IncrementalAlterConfigsResponse).responses:
            _check(f"alter {topic}", response.error_code, response.error_message)

    def limit_producers(self, client_id: str, bytes_per_second: float | None) -> None:
        """Set the quota of producers with this client id, per broker; None removes it."""
        operation = OpData(
            key="producer_byte_rate", value=f64(float(bytes_per_second or 0)), remove=bytes_per_second is None
        )
        entity = (EntityData(entity_type="client-id", entity_name=client_id),)
        request = AlterClientQuotasRequest(
            entries=(EntryData(entity=entity, ops=(operation,)),), validate_only=False
        )
        for entry in ask(self._admin_address(), request, AlterClientQuotasResponse).entries:
            _check(f"limit {client_id}", entry.error_code, entry.error_message)

    def producers(self, topic: str, partition: int = 0) -> set[int]:
        """Return the producer ids that a partition's leader remembers."""
        described = TopicRequest(name=TopicName(topic), partition_indexes=(i32(partition),))
        leader = self.broker_addresses()[self.leader(topic, partition)]
        answer = ask(leader, DescribeProducersRequest(topics=(described,)), DescribeProducersResponse)
        ((found,),) = (topic_.partitions for topic_ in answer.topics)
        _check(f"describe the producers of {topic}-{partition}", found.error_code, found.error_message)
        return {int(producer.producer_id) for producer in found.active_producers}

    def partitions(self, topic: str) -> dict[int, PartitionState]:
        """Return each partition of `topic`, from the broker with the newest leader epoch."""
        newest: dict[int, PartitionState] = {}
        for partitions in self._described(topic).values():
            for partition, state in partitions.items():
                known = newest.get(partition)
                if known is None or known.leader_epoch < state.leader_epoch:
                    newest[partition] = state
        return newest

    def leader(self, topic: str, partition: int = 0) -> int:
        """Return the node id of the leader, -1 without one."""
        return self.partitions(topic)[partition].leader

    def wait_for_other_leader(self, topic: str, partition: int, than: int, timeout: float = 30.0) -> int:
        """Return the node id of the first leader that is not `than`."""

        def other() -> int | None:
            leader = self.leader(topic, partition)
            return leader if leader not in {-1, than} else None

        return until(f"another leader than {than} for {topic}-{partition}", other, timeout)

    def move_leader(self, topic: str, partition: int, node: int) -> None:
        """Make `node`, which must be a replica, the leader; all brokers keep running."""
        replicas = self.partitions(topic)[partition].replicas
        if node not in replicas:
            message = f"node {node} is no replica of {topic}-{partition}, those are {replicas}"
            raise ValueError(message)
        preferred = (node, *(replica for replica in replicas if replica != node))
        reassigned = ReassignablePartition(
            partition_index=i32(partition), replicas=tuple(BrokerId(replica) for replica in preferred)
        )
        reassignment = AlterPartitionReassignmentsRequest(
            timeout=_TIMEOUT, topics=(ReassignableTopic(name=TopicName(topic), partitions=(reassigned,)),)
        )
        answer = ask(self._admin_address(), reassignment, AlterPartitionReassignmentsResponse)
        _check(f"reorder the replicas of {topic}-{partition}", answer.error_code, answer.error_message)
        until(
            f"the replicas of {topic}-{partition} are {preferred}",
            lambda: self.partitions(topic)[partition].replicas == preferred,
        )
        self._elect_preferred(topic, partition)
        until(
            f"every broker shows {node} as the leader of {topic}-{partition}",
            lambda: all(seen[partition].leader == node for seen in self._described(topic).values()),
        )

    def consume(
        self, topic: str, expected: int, timeout: float = 30.0, *, read_committed: bool = False
    ) -> list[ConsumedRecord]:
        """Return all records of `topic`, at least `expected`, read by librdkafka with every CRC checked."""
        return consume(self.bootstrap, topic, expected, timeout, read_committed=read_committed)

    def broker_addresses(self) -> dict[int, Address]:
        """Return the address of each running broker, by node id."""
        metadata = self._metadata(self._bootstrap_address())
        return {broker.node_id: Address(broker.host, broker.port) for broker in metadata.brokers}

    def wait_until_in_sync(self, timeout: float = 60.0) -> None:
        """Wait until all running brokers know each other and are in sync."""
        until("all running brokers know each other and are in sync", self._is_in_sync, timeout)

    def _is_in_sync(self) -> bool:
        addresses = self.broker_addresses()
        return all(
            {broker.node_id for broker in metadata.brokers} == addresses.keys()
            and metadata.controller_id >= 0
            and all(
                addresses.keys() & set(partition.replica_nodes) <= set(partition.isr_nodes)
                for topic in metadata.topics
                for partition in topic.partitions
            )
            for metadata in map(self._metadata_of_all, addresses.values())
        )

    def _admin_address(self) -> Address:
        """Return the controller's address; brokers with KIP-590 forward requests to it."""
        metadata = self._metadata(self._bootstrap_address())
        return next(
            Address(broker.host, broker.port)
            for broker in metadata.brokers
            if broker.node_id == metadata.controller_id
        )

    def _bootstrap_address(self) -> Address:
        return Address.parse(self.bootstrap.split(",")[0])

    def _metadata(self, address: Address, *topics: str) -> MetadataResponse:
        return _ask_metadata(address, tuple(MetadataRequestTopic(name=TopicName(topic)) for topic in topics))

    def _metadata_of_all(self, address: Address) -> MetadataResponse:
        return _ask_metadata(address, None)

    def _described(self, topic: str) -> dict[int, dict[int, PartitionState]]:
        """Return the partitions of `topic` in each broker's metadata."""
        return {
            node: {
                partition: state
                for described in self._metadata(address, topic).topics
                for partition, state in _states(described).items()
            }
            for node, address in self.broker_addresses().items()
        }

    def _elect_preferred(self, topic: str, partition: int) -> None:
        request = ElectLeadersRequest(
            election_type=i8(_PREFERRED),
            topic_partitions=(TopicPartitions(topic=TopicName(topic), partitions=(i32(partition),)),),
            timeout=_TIMEOUT,
        )
        answer = ask(self._admin_address(), request, ElectLeadersResponse)
        for result in (
            each for topic_ in answer.replica_election_results for each in topic_.partition_result
        ):
            if result.error_code is not ErrorCode.election_not_needed:
                _check(f"elect a leader for {topic}-{partition}", result.error_code, result.error_message)

    def _wait_for_partitions(self, topic: str, count: int) -> None:
        until(
            f"every broker shows leaders for the {count} partitions of {topic}",
            lambda: all(
                len(states) == count and all(state.leader >= 0 for state in states.values())
                for states in self._described(topic).values()
            ),
        )


def _ask_metadata(address: Address, topics: tuple[MetadataRequestTopic, ...] | None) -> MetadataResponse:
    request = MetadataRequest(
        topics=topics,
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=False,
    )
    return ask(address, request, MetadataResponse)


def _states(topic: MetadataResponseTopic) -> dict[int, PartitionState]:
    return {
        partition.partition_index: PartitionState(
            leader=partition.leader_id,
            leader_epoch=partition.leader_epoch,
            replicas=tuple(partition.replica_nodes),
            in_sync=tuple(partition.isr_nodes),
        )
        for partition in topic.partitions
    }


def _check(what: str, code: ErrorCode, reason: str | None = None) -> None:
    if code is not ErrorCode.none:
        raise AdminError(what, code, reason)
