"""Produce: record batches to the leaders of their partitions, and what became of them.

The one idea: this is the hot path, so the fields that stand next to each other go in one
`Layout`, batches are passed on where they lie, and the end of a partition's answer, which
says "nothing wrong" in all but a few, is compared with those bytes before it is parsed.
What is made for each request is not frozen: that would double the time of making it.
"""

# ruff: noqa: ARG002, ARG003, PLR2004 -- a version says itself best; some structs are alike in all

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

_LEADER = Layout(">ii")
_PARTITION_V3 = Layout(">ihqq")
_PARTITION_V5 = Layout(">ihqqq")

# All of a request up to its records where it has one topic and one partition: no transactional
# id, acks, timeout, an array of one, the topic's id, an array of one, the partition.
_LONE_BATCH_V13 = Layout(">BhiB16sBi")

# All of an answer behind its first topic where it has one partition, with which nothing is wrong:
# an array of one; no record_errors, no error_message, no tagged fields of partition and topic, no
# throttling, no tagged fields.
_LONE_PARTITION_V9 = Layout(">BihqqqBBBBiB")
_NOTHING_WRONG_AT_ALL = (1, 0, 0, 0, 0, 0)

# No record_errors, no error_message; in the flexible form no tagged fields either.
_NOTHING_WRONG_V8 = bytes.fromhex("00000000 ffff")
_NOTHING_WRONG_V9 = bytes.fromhex("01 00 00")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchIndexAndErrorMessage(Fields):
    """Why one record made the broker refuse the batch."""

    batch_index: int
    """The record's place in the batch, from 0."""
    batch_index_error_message: str | None = None

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        writer.int32(self.batch_index)
        writer.nullable_string(self.batch_index_error_message)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
        error = cls(reader.int32(), reader.nullable_string())
        reader.tagged_fields()
        return error


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LeaderIdAndEpoch(Fields):
    """Who leads the partition now (KIP-951), -1 if that is unknown."""

    leader_id: int = -1
    leader_epoch: int = -1

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        writer.pack(_LEADER, self.leader_id, self.leader_epoch)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
        leader = cls(*reader.unpack(_LEADER))
        reader.tagged_fields()
        return leader


_NO_LEADER = LeaderIdAndEpoch()


def _read_topic(reader: Reader, version: int) -> tuple[str, UUID]:
    return (reader.string(), ZERO_UUID) if version < 13 else ("", reader.uuid())


@dataclass(slots=True, eq=False, repr=False)
class PartitionProduceResponse(Fields):
    """What became of the batch for one partition."""

    index: int
    """The partition."""
    error_code: int
    base_offset: int
    """The offset of the batch's first record, -1 on error."""
    log_append_time_ms: int = -1
    """The broker's time, if the topic uses LogAppendTime; else -1."""
    log_start_offset: int = -1
    """From version 5."""
    record_errors: tuple[BatchIndexAndErrorMessage, ...] = ()
    """From version 8: the records for which the batch was refused (KIP-467)."""
    error_message: str | None = None
    """From version 8."""
    current_leader: LeaderIdAndEpoch = _NO_LEADER
    """From version 10, with the error NOT_LEADER_OR_FOLLOWER."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        has_leader = self.current_leader != _NO_LEADER
        if version < 10 and has_leader:
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
        """Take the fields that `version` has."""
        fixed = reader.unpack(_PARTITION_V5 if version >= 5 else _PARTITION_V3)
        if version < 8 or reader.skip_if(_NOTHING_WRONG_V9 if version >= 9 else _NOTHING_WRONG_V8):
            return cls(*fixed)
        index, error_code, base_offset, log_append_time_ms, log_start_offset = fixed
        record_errors = reader.structs(BatchIndexAndErrorMessage, version)
        error_message = reader.nullable_string()
        leader = _NO_LEADER
        if (tag := reader.tagged_fields().get(0)) is not None and version >= 10:
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
    """The answers for the partitions of a topic: by `name` up to version 12, by `topic_id` from 13."""

    name: str = ""
    topic_id: UUID = ZERO_UUID
    partition_responses: tuple[PartitionProduceResponse, ...] = ()

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        if version >= 13:
            writer.uuid(self.topic_id)
        else:
            writer.string(self.name)
        writer.structs(self.partition_responses, version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
        return cls.read_rest(*_read_topic(reader, version), reader, version)

    @classmethod
    def read_rest(cls, name: str, topic_id: UUID, reader: Reader, version: int) -> Self:
        """Take what follows the topic itself."""
        topic = cls(name, topic_id, reader.structs(PartitionProduceResponse, version))
        reader.tagged_fields()
        return topic


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NodeEndpoint(Fields):
    """Where to find a broker that `current_leader` names."""

    node_id: int
    host: str
    port: int
    rack: str | None = None

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        writer.int32(self.node_id)
        writer.string(self.host)
        writer.int32(self.port)
        writer.nullable_string(self.rack)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
        node = cls(reader.int32(), reader.string(), reader.int32(), reader.nullable_string())
        reader.tagged_fields()
        return node


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class ProduceResponse(Fields):
    """What became of every batch of a request; none is sent if its acks are 0."""

    api_key: ClassVar[ApiKey] = ApiKey.PRODUCE
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM

    responses: tuple[TopicProduceResponse, ...]
    throttle_time_ms: int = 0
    """How long the client should send nothing; from version 6 it is the client that waits."""
    node_endpoints: tuple[NodeEndpoint, ...] = ()
    """From version 10: the leaders that the partitions name (KIP-951)."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        if version < 10 and self.node_endpoints:
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
        """Take the fields that `version` has."""
        responses: tuple[TopicProduceResponse, ...]
        count = reader.array_size()
        if count == 1 and version >= 9:
            name, topic_id = _read_topic(reader, version)
            lone = reader.unpack_if(_LONE_PARTITION_V9, first=2, last=_NOTHING_WRONG_AT_ALL)
            if lone is not None:
                return cls(
                    responses=(TopicProduceResponse(name, topic_id, (PartitionProduceResponse(*lone),)),)
                )
            responses = (TopicProduceResponse.read_rest(name, topic_id, reader, version),)
        else:
            responses = tuple([TopicProduceResponse.read(reader, version) for _ in range(count)])
        throttle_time_ms = reader.int32()
        nodes: tuple[NodeEndpoint, ...] = ()
        if (tag := reader.tagged_fields().get(0)) is not None and version >= 10:
            nodes = tag.structs(NodeEndpoint, version)
            tag.expect_end()
        return cls(responses=responses, throttle_time_ms=throttle_time_ms, node_endpoints=nodes)


@dataclass(slots=True, eq=False, repr=False)
class PartitionProduceData(Fields):
    """The batch for one partition; `records` read from a request is a view of the received bytes."""

    index: int
    """The partition."""
    records: Chunk | None

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has; `records` is not copied."""
        writer.int32(self.index)
        writer.records(self.records)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
        partition = cls(reader.int32(), reader.records())
        reader.tagged_fields()
        return partition


@dataclass(slots=True, eq=False, repr=False)
class TopicProduceData(Fields):
    """The batches for a topic: by `name` up to version 12, by `topic_id` from 13."""

    name: str = ""
    topic_id: UUID = ZERO_UUID
    partition_data: tuple[PartitionProduceData, ...] = ()

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        if version >= 13:
            writer.uuid(self.topic_id)
        else:
            writer.string(self.name)
        writer.structs(self.partition_data, version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
        topic = cls(*_read_topic(reader, version), reader.structs(PartitionProduceData, version))
        reader.tagged_fields()
        return topic


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class ProduceRequest(Fields):
    """Record batches, at most one for each partition, to the broker that leads them."""

    api_key: ClassVar[ApiKey] = ApiKey.PRODUCE
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    response = ProduceResponse

    transactional_id: str | None = None
    acks: int
    """-1: all replicas in sync have it; 1: the leader has it; 0: no answer at all."""
    timeout_ms: int
    """How long the broker waits for the other replicas."""
    topic_data: tuple[TopicProduceData, ...]
    """No topic may be in it twice."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        if version >= 13 and self.transactional_id is None and len(self.topic_data) == 1:
            topic = self.topic_data[0]
            if len(topic.partition_data) == 1:
                lone = topic.partition_data[0]
                topic_id = topic.topic_id.bytes
                writer.pack(_LONE_BATCH_V13, 0, self.acks, self.timeout_ms, 2, topic_id, 2, lone.index)
                writer.records(lone.records)
                writer.no_tagged_fields(structs=3)
                return
        writer.nullable_string(self.transactional_id)
        writer.int16(self.acks)
        writer.int32(self.timeout_ms)
        writer.structs(self.topic_data, version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
        request = cls(
            transactional_id=reader.nullable_string(),
            acks=reader.int16(),
            timeout_ms=reader.int32(),
            topic_data=reader.structs(TopicProduceData, version),
        )
        reader.tagged_fields()
        return request
