"""Describes a response as a text that is the same for every broker."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.api_versions import ApiVersionsResponse
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.init_producer_id import InitProducerIdResponse
from aioproducer.protocol.metadata import MetadataResponse
from aioproducer.protocol.produce import ProduceResponse
from aioproducer.protocol.sasl import SaslAuthenticateResponse, SaslHandshakeResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioproducer.protocol.api import Response
    from aioproducer.protocol.metadata import MetadataResponsePartition, MetadataResponseTopic
    from aioproducer.protocol.produce import PartitionProduceResponse, TopicProduceResponse
    from tests.conversations.topic_names import TopicNames

NO_OPERATIONS = -(2**31)

_LONG = 100
# SCRAM: nonces, salts and signatures differ.
_VARYING = re.compile(r"(?<=\br=)[^,]+|(?<=\bs=)[^,]+|(?<=\bv=)[^,]+")

_TOLD_APIS = (ApiKey.PRODUCE, ApiKey.METADATA, ApiKey.API_VERSIONS, ApiKey.INIT_PRODUCER_ID)


def describe(response: Response, names: TopicNames) -> str:
    """Return the response as a text without ids, ports, and foreign topic names."""
    match response:
        case ProduceResponse():
            found = {node.node_id for node in response.node_endpoints}
            return _joined(_produced(topic, names, found) for topic in response.responses)
        case MetadataResponse():
            return _metadata(response, names)
        case ApiVersionsResponse():
            return _api_versions(response)
        case InitProducerIdResponse():
            given = "an id" if response.producer_id >= 0 else f"id {response.producer_id}"
            return f"{_name(response.error_code)}, {given}, epoch {response.producer_epoch}"
        case SaslHandshakeResponse():
            return f"{_name(response.error_code)}, {' '.join(sorted(response.mechanisms)) or 'no mechanisms'}"
        case SaslAuthenticateResponse():
            return _authenticated(response)
        case _:
            message = f"no conversation is about {type(response).__name__}"
            raise TypeError(message)


def _authenticated(response: SaslAuthenticateResponse) -> str:
    parts = [_name(response.error_code)]
    if response.error_message != "":
        parts.append(str(response.error_message))
    if response.auth_bytes:
        parts.append(_VARYING.sub("...", response.auth_bytes.decode()))
    if response.session_lifetime_ms:
        # A token of 1000 s has some milliseconds less when it arrives.
        lifetime = response.session_lifetime_ms / 1000
        parts.append(f"for {lifetime if lifetime < _LONG else math.ceil(lifetime / _LONG) * _LONG:g} s")
    return ", ".join(parts)


def _produced(topic: TopicProduceResponse, names: TopicNames, found: set[int]) -> str:
    if topic.topic_id == ZERO_UUID:
        name = names.in_conversation(topic.name) or topic.name or "(no name)"
    else:
        name = names.topic_with(topic.topic_id) or "(unknown id)"
    return _joined(_written(name, partition, found) for partition in topic.partition_responses)


def _written(topic: str, partition: PartitionProduceResponse, found: set[int]) -> str:
    parts = [f"{topic}-{partition.index} {_name(partition.error_code)}"]
    if partition.base_offset >= 0:
        parts[0] += f" at {partition.base_offset}"
    if partition.log_start_offset >= 0:
        parts.append(f"log from {partition.log_start_offset}")
    if partition.log_append_time_ms >= 0:
        parts.append("append time")
    if partition.record_errors:
        parts.append(f"records {' '.join([str(error.batch_index) for error in partition.record_errors])}")
        if not all(error.batch_index_error_message for error in partition.record_errors):
            parts.append("no words for them")
    if partition.error_message is not None:
        parts.append("why")
    leader = partition.current_leader
    if leader.leader_id >= 0:
        where = "at an address" if leader.leader_id in found else "nowhere"
        parts.append(f"leader epoch {leader.leader_epoch} {where}")
    return ", ".join(parts)


def _metadata(response: MetadataResponse, names: TopicNames) -> str:
    brokers = [broker.node_id for broker in response.brokers]
    parts = [f"{len(brokers)} broker"]
    if response.cluster_id is not None:
        parts.append("cluster id")
    if response.controller_id in brokers:
        parts.append("controller")
    if response.cluster_authorized_operations != NO_OPERATIONS:
        parts.append(f"operations {response.cluster_authorized_operations:#x}")
    if response.error_code:
        parts.append(_name(response.error_code))
    topics = [_topic(topic, names, brokers) for topic in response.topics if _is_ours(topic, names)]
    return "; ".join([", ".join(parts), *sorted(topics)])


def _is_ours(topic: MetadataResponseTopic, names: TopicNames) -> bool:
    return bool(topic.error_code) or topic.name is None or names.in_conversation(topic.name) is not None


def _topic(topic: MetadataResponseTopic, names: TopicNames, brokers: list[int]) -> str:
    name = "(no name)" if topic.name is None else names.in_conversation(topic.name) or topic.name
    parts = [f"{name} {_name(topic.error_code)}"]
    if topic.topic_id != ZERO_UUID:
        parts.append("id" if names.topic_with(topic.topic_id) == name else "an id")
    if topic.is_internal:
        parts.append("internal")
    if topic.topic_authorized_operations != NO_OPERATIONS:
        parts.append(f"operations {topic.topic_authorized_operations:#x}")
    parts += [
        _partition(partition, brokers)
        for partition in sorted(topic.partitions, key=lambda partition: partition.partition_index)
    ]
    return ", ".join(parts)


def _partition(partition: MetadataResponsePartition, brokers: list[int]) -> str:
    parts = [f"partition {partition.partition_index}"]
    if partition.error_code:
        parts.append(_name(partition.error_code))
    if partition.leader_id in brokers:
        parts.append("led")
    if partition.leader_epoch >= 0:
        parts.append(f"epoch {partition.leader_epoch}")
    nodes = (partition.replica_nodes, partition.isr_nodes, partition.offline_replicas)
    return " ".join([*parts, "/".join([str(len(group)) for group in nodes])])


def _api_versions(response: ApiVersionsResponse) -> str:
    listed = {api.api_key: f"{api.min_version}-{api.max_version}" for api in response.api_keys}
    versions = [f"{api.name} {listed[api]}" for api in _TOLD_APIS if api in listed]
    return ", ".join([_name(response.error_code), *versions])


def _name(code: int) -> str:
    return ErrorCode.of(code).name


def _joined(lines: Iterable[str]) -> str:
    return "; ".join(sorted(lines)) or "nothing"
