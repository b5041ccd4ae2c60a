"""Metadata: the brokers of the cluster, the partitions of topics and their leaders.

Bootstrap and refresh use the same request. A response is the view of the broker that responds,
which may be older than the view of another: compare the `leader_epoch` of two responses.
"""

# ruff: noqa: PLR2004 -- version numbers explain themselves

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct as Layout
from typing import TYPE_CHECKING, ClassVar, Self

from aioproducer.protocol.api import ApiKey, VersionRange, lacks
from aioproducer.protocol.fields import ZERO_UUID, Fields

if TYPE_CHECKING:
    from uuid import UUID

    from aioproducer.protocol.reader import Reader
    from aioproducer.protocol.writer import Writer

_VERSIONS = VersionRange(0, 13)
_FLEXIBLE_FROM = 9
_NO_OPERATIONS = -(2**31)

_PARTITION_V0 = Layout(">hii")
_PARTITION_V7 = Layout(">hiii")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MetadataResponseBroker(Fields):
    """A broker and its address, for clients of the listener that received the request."""

    node_id: int
    host: str
    port: int
    rack: str | None = None
    """From version 1."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.int32(self.node_id)
        writer.string(self.host)
        writer.int32(self.port)
        if version >= 1:
            writer.nullable_string(self.rack)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        broker = cls(
            node_id=reader.int32(),
            host=reader.string(),
            port=reader.int32(),
            rack=reader.nullable_string() if version >= 1 else None,
        )
        reader.tagged_fields()
        return broker


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MetadataResponsePartition(Fields):
    """A partition with the node ids of its leader and replicas."""

    error_code: int
    """LEADER_NOT_AVAILABLE without a leader."""
    partition_index: int
    leader_id: int
    """-1 for none."""
    leader_epoch: int = -1
    """From version 7."""
    replica_nodes: tuple[int, ...] = ()
    isr_nodes: tuple[int, ...] = ()
    """The replicas in sync with the leader."""
    offline_replicas: tuple[int, ...] = ()
    """From version 5."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version >= 7:
            epoch = self.leader_epoch
            writer.pack(_PARTITION_V7, self.error_code, self.partition_index, self.leader_id, epoch)
        else:
            writer.pack(_PARTITION_V0, self.error_code, self.partition_index, self.leader_id)
        writer.int32_array(self.replica_nodes)
        writer.int32_array(self.isr_nodes)
        if version >= 5:
            writer.int32_array(self.offline_replicas)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        if version >= 7:
            error_code, partition_index, leader_id, leader_epoch = reader.unpack(_PARTITION_V7)
        else:
            error_code, partition_index, leader_id = reader.unpack(_PARTITION_V0)
            leader_epoch = -1
        partition = cls(
            error_code=error_code,
            partition_index=partition_index,
            leader_id=leader_id,
            leader_epoch=leader_epoch,
            replica_nodes=reader.int32_array(),
            isr_nodes=reader.int32_array(),
            offline_replicas=reader.int32_array() if version >= 5 else (),
        )
        reader.tagged_fields()
        return partition


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MetadataResponseTopic(Fields):
    """A topic and its partitions, or an `error_code` if it cannot be described."""

    error_code: int
    name: str | None
    """None (from version 12) for a request by an unknown topic id."""
    topic_id: UUID = ZERO_UUID
    """From version 10."""
    is_internal: bool = False
    """From version 1."""
    partitions: tuple[MetadataResponsePartition, ...] = ()
    topic_authorized_operations: int = _NO_OPERATIONS
    """A bit for each ACL operation; from version 8, on request."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version < 12 and self.name is None:
            raise lacks(self, version, "name")
        if version < 8 and self.topic_authorized_operations != _NO_OPERATIONS:
            raise lacks(self, version, "topic_authorized_operations")
        writer.int16(self.error_code)
        writer.nullable_string(self.name)
        if version >= 10:
            writer.uuid(self.topic_id)
        if version >= 1:
            writer.boolean(self.is_internal)
        writer.structs(self.partitions, version)
        if version >= 8:
            writer.int32(self.topic_authorized_operations)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        topic = cls(
            error_code=reader.int16(),
            # A response to an unknown topic id has only the id.
            name=reader.nullable_string() if version >= 12 else reader.string(),
            topic_id=reader.uuid() if version >= 10 else ZERO_UUID,
            is_internal=reader.boolean() if version >= 1 else False,
            partitions=reader.structs(MetadataResponsePartition, version),
            topic_authorized_operations=reader.int32() if version >= 8 else _NO_OPERATIONS,
        )
        reader.tagged_fields()
        return topic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class MetadataResponse(Fields):
    """The cluster as the broker that responds knows it."""

    api_key: ClassVar[ApiKey] = ApiKey.METADATA
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    client_throttled_from: ClassVar[int] = 6
    reliable_epochs_from: ClassVar[int] = 9
    """The first version with reliable leader epochs (KAFKA-9212)."""
    topic_ids_from: ClassVar[int] = 10

    throttle_time_ms: int = 0
    """From version 3."""
    brokers: tuple[MetadataResponseBroker, ...]
    """The live brokers."""
    cluster_id: str | None = None
    """From version 2."""
    controller_id: int = -1
    """From version 1."""
    topics: tuple[MetadataResponseTopic, ...]
    cluster_authorized_operations: int = _NO_OPERATIONS
    """Versions 8 to 10, on request."""
    error_code: int = 0
    """From version 13: REBOOTSTRAP_REQUIRED, for example."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        # Version 11 moved the operations of the cluster to DescribeCluster (KIP-700).
        if not 8 <= version <= 10 and self.cluster_authorized_operations != _NO_OPERATIONS:
            raise lacks(self, version, "cluster_authorized_operations")
        if version >= 3:
            writer.int32(self.throttle_time_ms)
        writer.structs(self.brokers, version)
        if version >= 2:
            writer.nullable_string(self.cluster_id)
        if version >= 1:
            writer.int32(self.controller_id)
        writer.structs(self.topics, version)
        if 8 <= version <= 10:
            writer.int32(self.cluster_authorized_operations)
        if version >= 13:
            writer.int16(self.error_code)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        response = cls(
            throttle_time_ms=reader.int32() if version >= 3 else 0,
            brokers=reader.structs(MetadataResponseBroker, version),
            cluster_id=reader.nullable_string() if version >= 2 else None,
            controller_id=reader.int32() if version >= 1 else -1,
            topics=reader.structs(MetadataResponseTopic, version),
            cluster_authorized_operations=reader.int32() if 8 <= version <= 10 else _NO_OPERATIONS,
            error_code=reader.int16() if version >= 13 else 0,
        )
        reader.tagged_fields()
        return response


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MetadataRequestTopic(Fields):
    """A topic to describe: by name, or from version 12 by id with the name None."""

    name: str | None
    """May be None from version 10."""
    topic_id: UUID = ZERO_UUID
    """From version 10; brokers use it from version 12 (`MetadataRequest.topic_ids_from`)."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version < 10 and self.name is None:
            raise lacks(self, version, "name")
        if version >= 10:
            writer.uuid(self.topic_id)
        writer.nullable_string(self.name)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        topic = cls(
            topic_id=reader.uuid() if version >= 10 else ZERO_UUID,
            name=reader.nullable_string() if version >= 10 else reader.string(),
        )
        reader.tagged_fields()
        return topic


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class MetadataRequest(Fields):
    """Asks for the brokers and the partitions of topics."""

    api_key: ClassVar[ApiKey] = ApiKey.METADATA
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    response = MetadataResponse
    topic_ids_from: ClassVar[int] = 12
    """The first version that can ask for a topic by id."""
    without_topic_creation: ClassVar[VersionRange] = VersionRange(4, _VERSIONS.max)
    """The versions that can ask without creating topics (from Kafka 0.11)."""

    topics: tuple[MetadataRequestTopic, ...] | None
    """None (from version 1) for all topics, empty for none; in version 0, empty for all."""
    allow_auto_topic_creation: bool = True
    """From version 4; before, the configuration of the broker decides."""
    include_cluster_authorized_operations: bool = False
    """Versions 8 to 10."""
    include_topic_authorized_operations: bool = False
    """From version 8."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version < 1 and self.topics is None:
            raise lacks(self, version, "topics")
        # An older broker would create the topic: refuse the request instead of sending it.
        if version < 4 and not self.allow_auto_topic_creation:
            raise lacks(self, version, "allow_auto_topic_creation")
        if not 8 <= version <= 10 and self.include_cluster_authorized_operations:
            raise lacks(self, version, "include_cluster_authorized_operations")
        if version < 8 and self.include_topic_authorized_operations:
            raise lacks(self, version, "include_topic_authorized_operations")
        writer.nullable_structs(self.topics, version)
        if version >= 4:
            writer.boolean(self.allow_auto_topic_creation)
        if 8 <= version <= 10:
            writer.boolean(self.include_cluster_authorized_operations)
        if version >= 8:
            writer.boolean(self.include_topic_authorized_operations)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        topics = (
            # Version 0 has only the empty list for all topics; from version 1 on null is all and
            # empty is none.
            reader.nullable_structs(MetadataRequestTopic, version)
            if version >= 1
            else reader.structs(MetadataRequestTopic, version)
        )
        request = cls(
            topics=topics,
            allow_auto_topic_creation=reader.boolean() if version >= 4 else True,
            include_cluster_authorized_operations=reader.boolean() if 8 <= version <= 10 else False,
            include_topic_authorized_operations=reader.boolean() if version >= 8 else False,
        )
        reader.tagged_fields()
        return request
