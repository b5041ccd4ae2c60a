"""Produce: stores the batch of each partition, and returns a response for each.

Every partition has its own error code: a refused batch does not affect the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.produce import (
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from aioproducer.testing.apis.partition_answer import ACKS_ALL, answer_partition, check_isr
from aioproducer.testing.authorizer import Operation, ResourceType
from aioproducer.testing.framing import is_transactional
from aioproducer.testing.refusal import ConnectionDropped, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from aioproducer.testing.call import Call
    from aioproducer.testing.faults import AddUnasked, Target
    from aioproducer.testing.topology import Topology

REQUEST = ProduceRequest


def targets(request: ProduceRequest, topology: Topology) -> Iterator[Target]:
    """Return the partitions in the request."""
    for data in request.topic_data:
        try:
            name = data.name or topology.topic_by_id(data.topic_id).name
        except Refused:
            continue
        for partition in data.partition_data:
            yield name, partition.index


def answer(call: Call) -> ProduceResponse | None:
    """Store the valid batches; with acks=0 return None, and close the connection on an error."""
    request: ProduceRequest = call.request
    # Kafka checks this for the whole request: one transactional batch without a transactional id
    # fails all partitions.
    is_foreign = not _may_be_transactional(call) and any(
        is_transactional(partition.records)
        for data in request.topic_data
        for partition in data.partition_data
    )
    seen: set[tuple[str, int]] = set()
    leaders: dict[int, NodeEndpoint] = {}
    responses = []
    # A strict cluster refuses a repeated partition; Kafka keeps its last batch.
    for data in request.topic_data if call.settings.strict else _last_of_each(request.topic_data):
        told = []
        for written in data.partition_data:
            if is_foreign:
                code = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
                told.append(PartitionProduceResponse(written.index, code, -1))
            elif (response := answer_partition(call, data, written, seen, leaders)) is not None:
                told.append(response)
        if told:
            responses.append(TopicProduceResponse(data.name, data.topic_id, tuple(told)))
    if request.acks == 0:
        _close_on_errors(responses)
        return None
    return ProduceResponse(responses=tuple(responses), node_endpoints=tuple(leaders.values()))


def _may_be_transactional(call: Call) -> bool:
    transactional_id = call.request.transactional_id
    return transactional_id is not None and call.allows(
        Operation.WRITE, ResourceType.TRANSACTIONAL_ID, transactional_id
    )


def acknowledge(call: Call, response: ProduceResponse) -> ProduceResponse:
    """Check the replicas in sync again: with acks=all they must have the records before the response."""
    if call.request.acks != ACKS_ALL:
        return response
    topics = []
    for topic in response.responses:
        partitions = [
            _acknowledge_partition(call, topic, partition) for partition in topic.partition_responses
        ]
        topics.append(replace(topic, partition_responses=tuple(partitions)))
    return replace(response, responses=tuple(topics))


def add_unasked(call: Call, response: ProduceResponse, unasked: AddUnasked) -> ProduceResponse:
    """Add a partition that was not in the request."""
    name, topic_id = unasked.topic, _id_of(call.topology, unasked.topic)
    # A response has the topic's id from version 13 on, and its name before, never both.
    if call.version >= ProduceRequest.topic_ids_from:
        name = ""
    else:
        topic_id = ZERO_UUID
    partition = PartitionProduceResponse(unasked.partition, ErrorCode.NONE, base_offset=0)
    topics = list(response.responses)
    for at, topic in enumerate(topics):
        if (topic.name, topic.topic_id) == (name, topic_id):
            topics[at] = replace(topic, partition_responses=(*topic.partition_responses, partition))
            break
    else:
        topics.append(TopicProduceResponse(name, topic_id, (partition,)))
    return replace(response, responses=tuple(topics))


def _last_of_each(topics: Sequence[TopicProduceData]) -> list[TopicProduceData]:
    """Keep only the last batch of each repeated partition, as Kafka does."""
    written: dict[tuple[str, UUID], dict[int, PartitionProduceData]] = {}
    for data in topics:
        partitions = written.setdefault((data.name, data.topic_id), {})
        partitions.update({partition.index: partition for partition in data.partition_data})
    return [
        TopicProduceData(name, topic_id, tuple(partitions.values()))
        for (name, topic_id), partitions in written.items()
    ]


def _close_on_errors(responses: list[TopicProduceResponse]) -> None:
    errors = [p.error_code for topic in responses for p in topic.partition_responses if p.error_code]
    if errors:
        message = f"{ErrorCode.of(errors[0]).name}, and acks=0 has no response"
        raise ConnectionDropped(message)


def _acknowledge_partition(
    call: Call, topic: TopicProduceResponse, told: PartitionProduceResponse
) -> PartitionProduceResponse:
    if told.error_code:
        return told
    try:
        found = call.topology.topic(topic.name) if topic.name else call.topology.topic_by_id(topic.topic_id)
        check_isr(call, found, call.topology.partition(found.name, told.index))
    except Refused as refused:
        if refused.code is ErrorCode.NOT_ENOUGH_REPLICAS:
            return replace(told, error_code=ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
    return told


def _id_of(topology: Topology, name: str) -> UUID:
    topic = topology.topics.get(name)
    return ZERO_UUID if topic is None else topic.topic_id
