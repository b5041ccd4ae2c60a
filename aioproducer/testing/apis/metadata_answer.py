"""Metadata: returns the cluster's nodes and topics, and creates requested topics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from aioproducer.testing.authorizer import CLUSTER_NAME, Operation, ResourceType
from aioproducer.testing.faults import AnswerError, LeaveOut
from aioproducer.testing.refusal import Refused
from aioproducer.testing.topology import INTERNAL_TOPICS, NO_NODE, check_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.testing.call import Call
    from aioproducer.testing.faults import AddUnasked, Target
    from aioproducer.testing.topology import Partition, Topic, Topology

REQUEST = MetadataRequest

# The operations that exist on a topic and on a cluster, as bits (AclOperation).
_TOPIC_OPERATIONS = 0b1101_1111_1000
_CLUSTER_OPERATIONS = 0b1_1111_1010_0000
_NOT_ASKED_FOR = -(2**31)


def targets(request: MetadataRequest, topology: Topology) -> Iterator[Target]:
    """Return the requested topics."""
    if request.topics is None:
        yield from ((name, None) for name in topology.topics)
    for asked in request.topics or ():
        try:
            yield (topology.topic_by_id(asked.topic_id).name if asked.name is None else asked.name, None)
        except Refused:
            continue


def answer(call: Call) -> MetadataResponse:
    """Return the running nodes and the requested topics."""
    request: MetadataRequest = call.request
    topology = call.topology
    # All topics: a null list, or an empty one in version 0, which has no null. From version 1 on
    # an empty list requests no topics.
    if request.topics is None or (call.version == 0 and not request.topics):
        # Unlike requested topics, these leave out the ones that the client may not see.
        asked = [MetadataRequestTopic(name) for name in topology.topics if _is_visible(call, name)]
    else:
        asked = list(dict.fromkeys(request.topics))
    if (code := _illegal(asked, call.version)) is not ErrorCode.NONE:
        refused = [MetadataResponseTopic(code, topic.name or "", topic.topic_id) for topic in asked]
        return MetadataResponse(brokers=(), topics=tuple(refused))
    topics = [_answer_topic(call, topic) for topic in asked]
    wants_operations = request.include_cluster_authorized_operations
    return MetadataResponse(
        brokers=tuple([MetadataResponseBroker(n.node_id, n.host, n.port) for n in topology.live_nodes()]),
        cluster_id=topology.cluster_id,
        controller_id=topology.controller(),
        topics=tuple([topic for topic in topics if topic is not None]),
        cluster_authorized_operations=(
            _allowed(call, _CLUSTER_OPERATIONS, ResourceType.CLUSTER, CLUSTER_NAME)
            if wants_operations
            else _NOT_ASKED_FOR
        ),
    )


def add_unasked(call: Call, response: MetadataResponse, unasked: AddUnasked) -> MetadataResponse:
    """Add a partition that was not requested, with this node as its leader."""
    partition = MetadataResponsePartition(
        ErrorCode.NONE, unasked.partition, call.node_id, 0, (call.node_id,), (call.node_id,)
    )
    topics = list(response.topics)
    for at, topic in enumerate(topics):
        if topic.name == unasked.topic:
            topics[at] = replace(topic, partitions=(*topic.partitions, partition))
            break
    else:
        topics.append(MetadataResponseTopic(ErrorCode.NONE, unasked.topic, uuid4(), partitions=(partition,)))
    return replace(response, topics=tuple(topics))


def _illegal(asked: list[MetadataRequestTopic], version: int) -> ErrorCode:
    """Return the error for the whole request, or NONE."""
    for topic in asked:
        # Versions 10 and 11 have a field for topic ids, but brokers refuse requests that use it.
        if version < MetadataRequest.topic_ids_from and (topic.name is None or topic.topic_id != ZERO_UUID):
            return ErrorCode.INVALID_REQUEST
        # A topic without name and id is an error that Kafka does not handle.
        if topic.name is None and topic.topic_id == ZERO_UUID:
            return ErrorCode.UNKNOWN_SERVER_ERROR
    return ErrorCode.NONE


def _answer_topic(call: Call, asked: MetadataRequestTopic) -> MetadataResponseTopic | None:
    topology = call.topology
    if asked.topic_id == ZERO_UUID and asked.name is not None:
        if not _is_visible(call, asked.name):
            return _scripted(call, MetadataResponseTopic(ErrorCode.TOPIC_AUTHORIZATION_FAILED, asked.name))
        try:
            return _scripted(call, _describe_topic(call, topology.topic(asked.name)))
        except Refused:
            return _scripted(
                call,
                MetadataResponseTopic(
                    _missing(call, asked.name),
                    asked.name,
                    topic_authorized_operations=_operations(call, asked.name),
                ),
            )
    try:
        topic = topology.topic_by_id(asked.topic_id)
    except Refused as refused:
        return MetadataResponseTopic(refused.code, None, asked.topic_id)
    if not _is_visible(call, topic.name):
        return MetadataResponseTopic(ErrorCode.TOPIC_AUTHORIZATION_FAILED, None, asked.topic_id)
    return _scripted(call, _describe_topic(call, topic))


def _is_visible(call: Call, name: str) -> bool:
    return call.allows(Operation.DESCRIBE, ResourceType.TOPIC, name)


def _missing(call: Call, name: str) -> ErrorCode:
    """Create a missing topic if that is allowed, and return its error code."""
    try:
        check_name(name)
    except Refused as refused:
        return refused.code
    if call.request.allow_auto_topic_creation and call.settings.auto_create_topics:
        if not (
            call.allows(Operation.CREATE, ResourceType.CLUSTER, CLUSTER_NAME)
            or call.allows(Operation.CREATE, ResourceType.TOPIC, name)
        ):
            return ErrorCode.TOPIC_AUTHORIZATION_FAILED
        return _create(call, name)
    return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _create(call: Call, name: str) -> ErrorCode:
    settings = call.settings
    try:
        call.topology.create_topic(
            name, settings.partitions, settings.replication_factor, settings.topic_config
        )
    except Refused:
        # The controller refuses the topic, and the broker does not wait for it.
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    # A real controller creates the topic later: only the next request finds it.
    return call.broker.while_creating


def _scripted(call: Call, topic: MetadataResponseTopic) -> MetadataResponseTopic | None:
    scripted = call.scripted(topic.name)
    if isinstance(scripted, AnswerError):
        return MetadataResponseTopic(scripted.code, topic.name, topic.topic_id)
    return None if isinstance(scripted, LeaveOut) else topic


def _describe_topic(call: Call, topic: Topic) -> MetadataResponseTopic:
    partitions = [_describe_partition(call, topic, partition) for partition in topic.partitions]
    return MetadataResponseTopic(
        ErrorCode.NONE,
        topic.name,
        topic.topic_id,
        is_internal=topic.name in INTERNAL_TOPICS,
        partitions=tuple([partition for partition in partitions if partition is not None]),
        topic_authorized_operations=_operations(call, topic.name),
    )


def _operations(call: Call, name: str) -> int:
    if not call.request.include_topic_authorized_operations:
        return _NOT_ASKED_FOR
    return _allowed(call, _TOPIC_OPERATIONS, ResourceType.TOPIC, name)


def _allowed(call: Call, operations: int, resource: ResourceType, name: str) -> int:
    """Return those of the `operations` that the client may do, as bits."""
    # Bit 3 is READ, whose number is 3.
    possible = [each for each in Operation if operations & 1 << each]
    return sum(1 << each for each in possible if call.allows(each, resource, name))


def _describe_partition(call: Call, topic: Topic, partition: Partition) -> MetadataResponsePartition | None:
    scripted = call.scripted(topic.name, partition.index)
    if isinstance(scripted, LeaveOut):
        return None
    in_sync = call.topology.in_sync(partition)
    code = ErrorCode.NONE if partition.leader != NO_NODE else ErrorCode.LEADER_NOT_AVAILABLE
    if isinstance(scripted, AnswerError):
        # An error response does not name a leader, as in Kafka.
        code = scripted.code
    nodes = call.topology.nodes
    return MetadataResponsePartition(
        error_code=code,
        partition_index=partition.index,
        leader_id=partition.leader if code == ErrorCode.NONE else NO_NODE,
        leader_epoch=partition.leader_epoch,
        replica_nodes=tuple(partition.replicas),
        isr_nodes=tuple(in_sync),
        offline_replicas=tuple([node for node in partition.replicas if not nodes[node].is_alive]),
    )
