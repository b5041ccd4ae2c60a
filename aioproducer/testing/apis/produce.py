"""Produce: checks each partition's batch as its leader does, and stores it.

The one idea: every partition has its own verdict. What is wrong with one batch is told of its
partition, and keeps no other from being stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.produce import (
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from aioproducer.testing.faults import AnswerError, LeaveOut
from aioproducer.testing.refusal import HungUp, Refused
from aioproducer.testing.topology import NO_NODE
from aioproducer.testing.validation import check_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.protocol.produce import PartitionProduceData, TopicProduceData
    from aioproducer.testing.call import Call
    from aioproducer.testing.faults import Target
    from aioproducer.testing.log import Appended
    from aioproducer.testing.topology import Partition, Topic, Topology

REQUEST = ProduceRequest

FIRST_VERSION_WITH_LEADERS = 10
FIRST_VERSION_WITH_IDS = 13

ACKS_ALL = -1
_LEGAL_ACKS = frozenset({ACKS_ALL, 0, 1})


def targets(request: ProduceRequest, topology: Topology) -> Iterator[Target]:
    """Name the partitions that are written to."""
    for data in request.topic_data:
        try:
            name = data.name or topology.topic_by_id(data.topic_id).name
        except Refused:
            continue
        for partition in data.partition_data:
            yield name, partition.index


def answer(call: Call) -> ProduceResponse | None:
    """Store what can be stored; with acks=0 there is no answer, and an error ends the connection."""
    request: ProduceRequest = call.request
    seen: set[tuple[str, int]] = set()
    leaders: dict[int, NodeEndpoint] = {}
    responses = []
    for data in request.topic_data:
        answered = [
            _answer_partition(call, data, partition, seen, leaders) for partition in data.partition_data
        ]
        told = tuple([response for response in answered if response is not None])
        if told or not answered:
            responses.append(TopicProduceResponse(data.name, data.topic_id, told))
    if request.acks == 0:
        errors = [p.error_code for topic in responses for p in topic.partition_responses if p.error_code]
        if errors:
            message = f"acks=0 leaves no other way to tell of {ErrorCode.of(errors[0]).name}"
            raise HungUp(message)
        return None
    return ProduceResponse(responses=tuple(responses), node_endpoints=tuple(leaders.values()))


def _answer_partition(
    call: Call,
    data: TopicProduceData,
    written: PartitionProduceData,
    seen: set[tuple[str, int]],
    leaders: dict[int, NodeEndpoint],
) -> PartitionProduceResponse | None:
    scripted = None
    partition = None
    try:
        topic = _find_topic(call, data)
        scripted = call.scripted(topic.name, written.index)
        _refuse_if(scripted, after_storing=False)
        partition = call.topology.partition(topic.name, written.index)
        appended = _append(call, topic, partition, written, seen)
        _refuse_if(scripted, after_storing=True)
    except Refused as refused:
        response = _refusal(written.index, refused, _leader_hint(call, refused, partition, leaders))
    else:
        response = PartitionProduceResponse(
            index=written.index,
            error_code=ErrorCode.NONE,
            base_offset=appended.base_offset,
            log_append_time_ms=appended.log_append_time_ms,
            log_start_offset=partition.log.start_offset,
        )
    return None if isinstance(scripted, LeaveOut) else response


def _refuse_if(scripted: AnswerError | LeaveOut | None, *, after_storing: bool) -> None:
    if isinstance(scripted, AnswerError) and scripted.after_storing is after_storing:
        raise Refused(scripted.code, scripted.reason, scripted.record_errors)


def _find_topic(call: Call, data: TopicProduceData) -> Topic:
    if call.version >= FIRST_VERSION_WITH_IDS:
        return call.topology.topic_by_id(data.topic_id)
    return call.topology.topic(data.name)


def _append(
    call: Call,
    topic: Topic,
    partition: Partition,
    written: PartitionProduceData,
    seen: set[tuple[str, int]],
) -> Appended:
    request: ProduceRequest = call.request
    config = topic.config
    if (topic.name, written.index) in seen:
        raise Refused(ErrorCode.INVALID_REQUEST, f"{topic.name}-{written.index} is in the request twice")
    seen.add((topic.name, written.index))
    if request.acks not in _LEGAL_ACKS:
        raise Refused(ErrorCode.INVALID_REQUIRED_ACKS, f"acks are -1, 0 or 1, not {request.acks}")
    if partition.leader != call.node_id:
        reason = f"node {call.node_id} does not lead {topic.name}-{partition.index}"
        raise Refused(ErrorCode.NOT_LEADER_OR_FOLLOWER, reason)
    if request.acks == ACKS_ALL:
        in_sync = len(call.topology.in_sync(partition))
        if in_sync < config.min_insync_replicas:
            reason = f"{in_sync} replicas are in sync, min.insync.replicas is {config.min_insync_replicas}"
            raise Refused(ErrorCode.NOT_ENOUGH_REPLICAS, reason)
    batch = check_batch(
        written.records,
        version=call.version,
        config=config,
        now_ms=call.now_ms,
        decode=call.settings.check_records,
    )
    if batch.is_transactional and request.transactional_id is None:
        reason = "a transactional batch came without a transactional id"
        raise Refused(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, reason)
    if request.transactional_id is not None:
        reason = f"there is no transaction of {request.transactional_id!r}"
        raise Refused(ErrorCode.INVALID_TXN_STATE, reason)
    log_append_time_ms = call.now_ms if config.has_log_append_time else -1
    return partition.log.append(
        batch, leader_epoch=partition.leader_epoch, log_append_time_ms=log_append_time_ms
    )


def _leader_hint(
    call: Call, refused: Refused, partition: Partition | None, leaders: dict[int, NodeEndpoint]
) -> LeaderIdAndEpoch:
    if (
        call.version < FIRST_VERSION_WITH_LEADERS
        or refused.code is not ErrorCode.NOT_LEADER_OR_FOLLOWER
        or partition is None
        or partition.leader == NO_NODE
    ):
        return LeaderIdAndEpoch()
    node = call.topology.nodes[partition.leader]
    leaders[node.node_id] = NodeEndpoint(node.node_id, node.host, node.port)
    return LeaderIdAndEpoch(partition.leader, partition.leader_epoch)


def _refusal(index: int, refused: Refused, current_leader: LeaderIdAndEpoch) -> PartitionProduceResponse:
    errors = refused.record_errors.items()
    return PartitionProduceResponse(
        index=index,
        error_code=refused.code,
        base_offset=-1,
        record_errors=tuple([BatchIndexAndErrorMessage(at, reason) for at, reason in errors]),
        error_message=refused.reason,
        current_leader=current_leader,
    )
