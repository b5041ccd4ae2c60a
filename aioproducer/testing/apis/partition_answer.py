"""The response for one partition of a Produce request: a leader's checks in Kafka's order.

First the request itself (`KafkaApis`), then the partition (`ReplicaManager`, `Partition`), then
the batch, last the producer's sequence (`UnifiedLog`). The first broken rule gives the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.errors import plural
from aioproducer.protocol.produce import (
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceResponse,
    ProduceResponse,
)
from aioproducer.testing.authorizer import Operation, ResourceType
from aioproducer.testing.faults import AnswerError, LeaveOut
from aioproducer.testing.framing import one_batch
from aioproducer.testing.refusal import Refused
from aioproducer.testing.topology import INTERNAL_TOPICS, NO_NODE
from aioproducer.testing.validation import check_batch

if TYPE_CHECKING:
    from aioproducer.protocol.produce import PartitionProduceData, ProduceRequest, TopicProduceData
    from aioproducer.testing.call import Call
    from aioproducer.testing.log import Appended
    from aioproducer.testing.topology import Partition, Topic

ACKS_ALL = -1
_LEGAL_ACKS = frozenset({ACKS_ALL, 0, 1})

# With these errors Kafka's response has no log start offset.
_WITHOUT_LOG_START = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.RECORD_LIST_TOO_LARGE,
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.INVALID_REQUIRED_ACKS,
    }
)


def answer_partition(
    call: Call,
    data: TopicProduceData,
    written: PartitionProduceData,
    seen: set[tuple[str, int]],
    leaders: dict[int, NodeEndpoint],
) -> PartitionProduceResponse | None:
    """Store the batch and return the response; None if a fault leaves it out.

    `seen` has the request's earlier partitions, and `leaders` the endpoints for the response; both
    are extended here.
    """
    scripted = None
    base_offset = -1
    try:
        topic = _find_topic(call, data)
        scripted = call.scripted(topic.name, written.index)
        # A scripted error comes before all checks, so it may be for a partition that does not exist.
        _refuse_if(scripted, topic, written.index, after_storing=False)
        partition = call.topology.partition(topic.name, written.index)
        batch = _check_request(call, topic, written, seen)
        appended = _append(call, topic, partition, batch)
        # With `after_storing` the error response has the offset, as with REQUEST_TIMED_OUT in Kafka.
        base_offset = appended.base_offset
        _refuse_if(scripted, topic, written.index, after_storing=True)
    except Refused as refused:
        hint = _leader_hint(call, refused, data, written.index, leaders)
        response = _refusal(call, written.index, base_offset, refused, hint)
    else:
        response = PartitionProduceResponse(
            index=written.index,
            error_code=ErrorCode.NONE,
            base_offset=appended.base_offset,
            log_append_time_ms=appended.log_append_time_ms,
            log_start_offset=partition.log.start_offset,
        )
    return None if isinstance(scripted, LeaveOut) else response


def check_isr(call: Call, topic: Topic, partition: Partition) -> None:
    """Raise Refused if too few replicas are in sync."""
    # With min.insync.replicas=2 and one replica, Kafka 4 needs one replica in sync, Kafka 3.6 two.
    needed = topic.config.min_insync_replicas
    if call.broker.limits_min_insync_replicas:
        needed = min(needed, len(partition.replicas))
    in_sync = len(call.topology.in_sync(partition))
    if in_sync < needed:
        reason = f"{plural(in_sync, 'replica')} in sync, min.insync.replicas is {needed}"
        raise Refused(ErrorCode.NOT_ENOUGH_REPLICAS, reason)


def _refuse_if(
    scripted: AnswerError | LeaveOut | None, topic: Topic, index: int, *, after_storing: bool
) -> None:
    if not isinstance(scripted, AnswerError) or scripted.after_storing is not after_storing:
        return
    log_start_offset = scripted.log_start_offset
    if log_start_offset is None:
        has_reason = scripted.code not in _WITHOUT_LOG_START and 0 <= index < len(topic.partitions)
        log_start_offset = topic.partitions[index].log.start_offset if has_reason else -1
    raise Refused(
        scripted.code,
        scripted.reason,
        scripted.record_errors,
        has_reason=True,
        log_start_offset=log_start_offset,
    )


def _find_topic(call: Call, data: TopicProduceData) -> Topic:
    """Return the topic; a client that may not write to it does not learn whether it exists."""
    by_id = call.version >= call.request.topic_ids_from
    name = call.topology.topic_by_id(data.topic_id).name if by_id else data.name
    if not call.allows(Operation.WRITE, ResourceType.TOPIC, name):
        reason = f"{call.session.principal} may not write to {name}"
        raise Refused(ErrorCode.TOPIC_AUTHORIZATION_FAILED, reason)
    return call.topology.topic(name)


def _check_request(
    call: Call, topic: Topic, written: PartitionProduceData, seen: set[tuple[str, int]]
) -> memoryview:
    """Check everything except the log, and return the batch."""
    acks = call.request.acks
    name = f"{topic.name}-{written.index}"
    if (topic.name, written.index) in seen:
        raise Refused(ErrorCode.INVALID_REQUEST, f"{name} is in the request twice")
    seen.add((topic.name, written.index))
    batch = one_batch(written.records, call.version)
    if acks not in _LEGAL_ACKS:
        raise Refused(ErrorCode.INVALID_REQUIRED_ACKS, f"acks are -1, 0 or 1, not {acks}")
    if topic.name in INTERNAL_TOPICS:
        raise Refused(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{topic.name} is Kafka's own")
    if call.settings.strict and written.records is not None and len(batch) != len(written.records):
        reason = f"{plural(len(written.records) - len(batch), 'byte')} left over after the batch of {name}"
        raise Refused(ErrorCode.INVALID_RECORD, reason)
    return batch


def _append(call: Call, topic: Topic, partition: Partition, data: memoryview) -> Appended:
    try:
        return _append_as_leader(call, topic, partition, data)
    except Refused as refused:
        if refused.code in _WITHOUT_LOG_START:
            raise
        raise refused.at_log_start(partition.log.start_offset) from None


def _append_as_leader(call: Call, topic: Topic, partition: Partition, data: memoryview) -> Appended:
    request: ProduceRequest = call.request
    config = topic.config
    if partition.leader != call.node_id:
        reason = f"node {call.node_id} does not lead {topic.name}-{partition.index}"
        raise Refused(ErrorCode.NOT_LEADER_OR_FOLLOWER, reason)
    # Kafka checks the replicas before the batch: a corrupt batch gets NOT_ENOUGH_REPLICAS too.
    if request.acks == ACKS_ALL:
        check_isr(call, topic, partition)
    batch = check_batch(
        data,
        config=config,
        now_ms=call.now_ms,
        decode=call.settings.check_records,
        strict=call.settings.strict,
        takes_log_append_flag=call.broker.takes_log_append_flag,
    )
    if batch.is_transactional:
        reason = f"there is no transaction of {request.transactional_id!r}"
        raise Refused(ErrorCode.INVALID_TXN_STATE, reason)
    return partition.log.append(
        batch,
        leader_epoch=partition.leader_epoch,
        log_append_time_ms=call.now_ms if config.has_log_append_time else -1,
        takes_unknown_producers=call.broker.takes_unknown_producers,
    )


def _leader_hint(
    call: Call, refused: Refused, data: TopicProduceData, index: int, leaders: dict[int, NodeEndpoint]
) -> LeaderIdAndEpoch:
    if (
        call.version < ProduceResponse.leaders_from
        or not call.settings.leader_hints
        or refused.code is not ErrorCode.NOT_LEADER_OR_FOLLOWER
    ):
        return LeaderIdAndEpoch()
    try:
        partition = call.topology.partition(_find_topic(call, data).name, index)
    except Refused:
        return LeaderIdAndEpoch()
    if partition.leader != NO_NODE:
        # The response lists each leader once, with its address, for all its partitions.
        node = call.topology.nodes[partition.leader]
        leaders[node.node_id] = NodeEndpoint(node.node_id, node.host, node.port)
    return LeaderIdAndEpoch(partition.leader, partition.leader_epoch)


def _refusal(
    call: Call, index: int, base_offset: int, refused: Refused, hint: LeaderIdAndEpoch
) -> PartitionProduceResponse:
    errors = refused.record_errors.items()
    return PartitionProduceResponse(
        index=index,
        error_code=refused.code,
        base_offset=base_offset,
        log_start_offset=refused.log_start_offset,
        record_errors=tuple([BatchIndexAndErrorMessage(at, reason) for at, reason in errors]),
        error_message=refused.reason if refused.has_reason or call.settings.strict else None,
        current_leader=hint,
    )
