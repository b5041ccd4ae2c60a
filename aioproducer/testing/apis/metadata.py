"""Metadata: tells the cluster's nodes and topics, and creates topics that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from aioproducer.protocol.primitives import ZERO_UUID
from aioproducer.testing.faults import AnswerError
from aioproducer.testing.refusal import HungUp, Refused
from aioproducer.testing.topology import NO_NODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.testing.call import Call
    from aioproducer.testing.faults import Target
    from aioproducer.testing.topology import Partition, Topic, Topology

REQUEST = MetadataRequest

FIRST_VERSION_WITH_IDS = 12


def targets(request: MetadataRequest, topology: Topology) -> Iterator[Target]:
    """Name the topics that are asked for."""
    if not request.topics:
        yield from ((name, None) for name in topology.topics)
    for asked in request.topics or ():
        try:
            yield (topology.topic_by_id(asked.topic_id).name if asked.name is None else asked.name, None)
        except Refused:
            continue


def answer(call: Call) -> MetadataResponse:
    """Tell of the nodes that are alive and of the topics asked for."""
    request: MetadataRequest = call.request
    topology = call.topology
    if request.topics is None or (call.version == 0 and not request.topics):
        asked = [MetadataRequestTopic(name) for name in topology.topics]
    else:
        asked = list(request.topics)
    topics = [_answer_topic(call, topic) for topic in asked]
    return MetadataResponse(
        brokers=tuple([MetadataResponseBroker(n.node_id, n.host, n.port) for n in topology.live_nodes()]),
        cluster_id=topology.cluster_id,
        controller_id=topology.controller(),
        topics=tuple([topic for topic in topics if topic is not None]),
    )


def _answer_topic(call: Call, asked: MetadataRequestTopic) -> MetadataResponseTopic | None:
    if call.version < FIRST_VERSION_WITH_IDS and (asked.name is None or asked.topic_id != ZERO_UUID):
        message = f"Metadata version {call.version} does not look topics up by their ids"
        raise HungUp(message)
    topology = call.topology
    try:
        topic = topology.topic_by_id(asked.topic_id) if asked.name is None else topology.topic(asked.name)
    except Refused as refused:
        code = refused.code
        name = asked.name
        if name is not None and call.request.allow_auto_topic_creation and call.settings.auto_create_topics:
            code = _create(call, name)
        return _scripted(call, MetadataResponseTopic(code, name, asked.topic_id))
    partitions = tuple([_tell_partition(topology, partition) for partition in topic.partitions])
    return _scripted(call, _tell_topic(topic, partitions))


def _create(call: Call, name: str) -> ErrorCode:
    settings = call.settings
    try:
        call.topology.create_topic(
            name, settings.partitions, settings.replication_factor, settings.topic_config
        )
    except Refused as refused:
        return refused.code
    # The controller of a real cluster takes its time: only the next request finds the topic.
    return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _scripted(call: Call, topic: MetadataResponseTopic) -> MetadataResponseTopic | None:
    scripted = call.scripted(topic.name)
    if scripted is None:
        return topic
    if isinstance(scripted, AnswerError):
        return MetadataResponseTopic(scripted.code, topic.name, topic.topic_id)
    return None


def _tell_topic(topic: Topic, partitions: tuple[MetadataResponsePartition, ...]) -> MetadataResponseTopic:
    return MetadataResponseTopic(ErrorCode.NONE, topic.name, topic.topic_id, partitions=partitions)


def _tell_partition(topology: Topology, partition: Partition) -> MetadataResponsePartition:
    in_sync = topology.in_sync(partition)
    has_leader = partition.leader != NO_NODE
    return MetadataResponsePartition(
        error_code=ErrorCode.NONE if has_leader else ErrorCode.LEADER_NOT_AVAILABLE,
        partition_index=partition.index,
        leader_id=partition.leader,
        leader_epoch=partition.leader_epoch,
        replica_nodes=tuple(partition.replicas),
        isr_nodes=tuple(in_sync),
        offline_replicas=tuple([node for node in partition.replicas if node not in in_sync]),
    )
