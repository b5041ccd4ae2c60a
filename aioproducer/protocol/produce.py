"""Produce: record batches for the leaders of their partitions, and the result of each batch.

This is a hot path, so the usual case has shortcuts:

- One `Layout` packs adjacent fields together, and batches are not copied.
- A request with one batch, and a response for one successful partition, are one `Layout` each.
- The end of a partition's response is compared with the bytes of "no error" before it is parsed.
- Structs of each request and response are not frozen: frozen ones take twice as long to make.
"""

# ruff: noqa: ARG002, ARG003, PLR2004 -- version numbers explain themselves; some structs have one form

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct as Layout
from typing import TYPE_CHECKING, ClassVar, Self

from aioproducer.protocol.api import ApiKey, VersionRange, lacks
from aioproducer.protocol.fields import ZERO_UUID, Fields
from aioproducer.protocol.writer import Writer

if TYPE_CHECKING:
    from uuid import UUID

    from aioproducer.protocol.fields import Chunk
    from aioproducer.protocol.reader import Reader

_VERSIONS = VersionRange(3, 13)
_FLEXIBLE_FROM = 9
_TOPIC_IDS_FROM = 13
_LEADERS_FROM = 10

_LEADER = Layout(">ii")
_PARTITION_V3 = Layout(">ihqq")
_PARTITION_V5 = Layout(">ihqqq")

# A request with one topic and one partition, up to its records: no transactional id, acks,
# timeout, an array of one, the topic id, an array of one, the partition.
_LONE_BATCH_V13 = Layout(">BhiB16sBi")

# A response with one successful partition, after the topic: an array of one, the partition; no
# record_errors, no error_message, no tagged fields of partition and topic, no throttling, no
# tagged fields.
_LONE_PARTITION_V9 = Layout(">BihqqqBBBBiB")
_NO_ERROR_AT_ALL = (1, 0, 0, 0, 0, 0)

# No record_errors, no error_message; in the flexible encoding no tagged fields either.
_NO_ERROR_V8 = bytes.fromhex("00000000 ffff")
_NO_ERROR_V9 = bytes.fromhex("01 00 00")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchIndexAndErrorMessage(Fields):
    """The reason that one record gave the broker to refuse the batch."""

    batch_index: int
    """The index of the record in the batch, from 0."""
    batch_index_error_message: str | None = None

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.int32(self.batch_index)
        writer.nullable_string(self.batch_index_error_message)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        error = cls(reader.int32(), reader.nullable_string())
        reader.tagged_fields()
        return error


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LeaderIdAndEpoch(Fields):
    """The current leader of the partition (KIP-951), -1 if unknown."""

    leader_id: int = -1
    leader_epoch: int = -1

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.pack(_LEADER, self.leader_id, self.leader_epoch)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        leader = cls(*reader.unpack(_LEADER))
        reader.tagged_fields()
        return leader


_NO_LEADER = LeaderIdAndEpoch()


def _read_topic(reader: Reader, version: int) -> tuple[str, UUID]:
    return (reader.string(), ZERO_UUID) if version < _TOPIC_IDS_FROM else ("", reader.uuid())


@dataclass(slots=True, eq=False, repr=False)
class PartitionProduceResponse(Fields):
    """The result of the batch for one partition."""

    index: int
    """The partition."""
    error_code: int
    base_offset: int
    """The offset of the first record of the batch, -1 on error."""
    log_append_time_ms: int = -1
    """The time of the broker if the topic uses LogAppendTime, else -1."""
    log_start_offset: int = -1
    """From version 5."""
    record_errors: tuple[BatchIndexAndErrorMessage, ...] = ()
    """From version 8: the records that caused the refusal of the batch (KIP-467)."""
    error_message: str | None = None
    """From version 8."""
    current_leader: LeaderIdAndEpoch = _NO_LEADER
    """From version 10, with the error NOT_LEADER_OR_FOLLOWER."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        has_leader = self.current_leader != _NO_LEADER
        if version < _LEADERS_FROM and has_leader:
            raise lacks(self, version, "current_leader")
        writer.pack(_PARTITION_V3, self.index, self.error_code, self.base_offset, self.log_append_time_ms)
        if version >= 5:
            writer.int64(self.log_start_offset)
        if version >= 8:
            writer.structs(self.record_errors, version)
            writer.nullable_string(self.error_message)
        if has_leader:
            leader = Writer(flexible=True)
            self.current_leader.write(leader, version)
            writer.tagged_fields({0: leader})
        else:
            writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        fixed = reader.unpack(_PARTITION_V5 if version >= 5 else _PARTITION_V3)
        # Nearly every response ends with these bytes: compare them instead of reading three fields.
        if version < 8 or reader.skip_if(_NO_ERROR_V9 if version >= 9 else _NO_ERROR_V8):
            return cls(*fixed)
        index, error_code, base_offset, log_append_time_ms, log_start_offset = fixed
        record_errors = reader.structs(BatchIndexAndErrorMessage, version)
        error_message = reader.nullable_string()
        leader = _NO_LEADER
        if (tag := reader.tagged_fields().get(0)) is not None and version >= _LEADERS_FROM:
            leader = LeaderIdAndEpoch.read(tag, version)
            tag.expect_end()
        return cls(
            index,
            error_code,
            base_offset,
            log_append_time_ms,
            log_start_offset,
            record_errors,
            error_message,
            leader,
        )


@dataclass(slots=True, eq=False, repr=False)
class TopicProduceResponse(Fields):
    """The results for a topic: identified by `name` up to version 12, by `topic_id` from 13."""

    name: str = ""
    topic_id: UUID = ZERO_UUID
    partition_responses: tuple[PartitionProduceResponse, ...] = ()

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version >= _TOPIC_IDS_FROM:
            writer.uuid(self.topic_id)
        else:
            writer.string(self.name)
        writer.structs(self.partition_responses, version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        return cls.read_rest(*_read_topic(reader, version), reader, version)

    @classmethod
    def read_rest(cls, name: str, topic_id: UUID, reader: Reader, version: int) -> Self:
        """Read the fields after the topic."""
        topic = cls(name, topic_id, reader.structs(PartitionProduceResponse, version))
        reader.tagged_fields()
        return topic


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NodeEndpoint(Fields):
    """The address of a broker that `current_leader` names."""

    node_id: int
    host: str
    port: int
    rack: str | None = None

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.int32(self.node_id)
        writer.string(self.host)
        writer.int32(self.port)
        writer.nullable_string(self.rack)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        node = cls(reader.int32(), reader.string(), reader.int32(), reader.nullable_string())
        reader.tagged_fields()
        return node


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class ProduceResponse(Fields):
    """The result of each batch of a request; brokers send no response if acks is 0."""

    api_key: ClassVar[ApiKey] = ApiKey.PRODUCE
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    client_throttled_from: ClassVar[int] = 6
    leaders_from: ClassVar[int] = _LEADERS_FROM
    """The first version that names the current leaders (KIP-951)."""

    responses: tuple[TopicProduceResponse, ...]
    throttle_time_ms: int = 0
    """The time to send nothing to this broker, see `client_throttled_from`."""
    node_endpoints: tuple[NodeEndpoint, ...] = ()
    """From version 10: the addresses of the leaders that the partitions name."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version < _LEADERS_FROM and self.node_endpoints:
            raise lacks(self, version, "node_endpoints")
        writer.structs(self.responses, version)
        writer.int32(self.throttle_time_ms)
        if self.node_endpoints:
            nodes = Writer(flexible=True)
            nodes.structs(self.node_endpoints, version)
            writer.tagged_fields({0: nodes})
        else:
            writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        responses: tuple[TopicProduceResponse, ...]
        count = reader.array_size()
        if count == 1 and version >= 9:
            name, topic_id = _read_topic(reader, version)
            # One partition without an error, the response of a producer with few records: one
            # `Layout`.
            lone = reader.unpack_if(_LONE_PARTITION_V9, first=2, last=_NO_ERROR_AT_ALL)
            if lone is not None:
                return cls(
                    responses=(TopicProduceResponse(name, topic_id, (PartitionProduceResponse(*lone),)),)
                )
            responses = (TopicProduceResponse.read_rest(name, topic_id, reader, version),)
        else:
            responses = tuple([TopicProduceResponse.read(reader, version) for _ in range(count)])
        throttle_time_ms = reader.int32()
        nodes: tuple[NodeEndpoint, ...] = ()
        if (tag := reader.tagged_fields().get(0)) is not None and version >= _LEADERS_FROM:
            nodes = tag.structs(NodeEndpoint, version)
            tag.expect_end()
        return cls(responses=responses, throttle_time_ms=throttle_time_ms, node_endpoints=nodes)


@dataclass(slots=True, eq=False, repr=False)
class PartitionProduceData(Fields):
    """The batch for one partition; when read, `records` is a view of the received bytes."""

    index: int
    """The partition."""
    records: Chunk | None

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`; `records` is not copied."""
        writer.int32(self.index)
        writer.records(self.records)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        partition = cls(reader.int32(), reader.records())
        reader.tagged_fields()
        return partition


@dataclass(slots=True, eq=False, repr=False)
class TopicProduceData(Fields):
    """The batches for a topic: identified by `name` up to version 12, by `topic_id` from 13."""

    name: str = ""
    topic_id: UUID = ZERO_UUID
    partition_data: tuple[PartitionProduceData, ...] = ()

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version >= _TOPIC_IDS_FROM:
            writer.uuid(self.topic_id)
        else:
            writer.string(self.name)
        writer.structs(self.partition_data, version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        topic = cls(*_read_topic(reader, version), reader.structs(PartitionProduceData, version))
        reader.tagged_fields()
        return topic


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class ProduceRequest(Fields):
    """Record batches for the leader of their partitions, at most one for each partition."""

    api_key: ClassVar[ApiKey] = ApiKey.PRODUCE
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    response = ProduceResponse
    zstd_from: ClassVar[int] = 7
    """The first version that allows zstd (KIP-110, Kafka 2.1)."""
    topic_ids_from: ClassVar[int] = _TOPIC_IDS_FROM
    """The first version that identifies topics by id, not by name (KIP-516)."""

    transactional_id: str | None = None
    acks: int
    """-1: all replicas in sync must store it; 1: the leader must; 0: no response."""
    timeout_ms: int
    """The time that the broker waits for the replicas."""
    topic_data: tuple[TopicProduceData, ...]
    """Each topic at most once."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version >= _TOPIC_IDS_FROM and self.transactional_id is None and len(self.topic_data) == 1:
            topic = self.topic_data[0]
            if len(topic.partition_data) == 1:
                lone = topic.partition_data[0]
                topic_id = topic.topic_id.bytes
                # 0: no transactional id. 2: an array of one, since compact arrays have their length +
                # 1 (KIP-482).
                writer.pack(_LONE_BATCH_V13, 0, self.acks, self.timeout_ms, 2, topic_id, 2, lone.index)
                writer.records(lone.records)
                # The partition, the topic and the request end here.
                writer.no_tagged_fields(structs=3)
                return
        writer.nullable_string(self.transactional_id)
        writer.int16(self.acks)
        writer.int32(self.timeout_ms)
        writer.structs(self.topic_data, version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        request = cls(
            transactional_id=reader.nullable_string(),
            acks=reader.int16(),
            timeout_ms=reader.int32(),
            topic_data=reader.structs(TopicProduceData, version),
        )
        reader.tagged_fields()
        return request
