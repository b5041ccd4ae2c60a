"""Short ways to write down what a broker answers to a MetadataRequest."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_ID = UUID(int=0)
FIRST_ID = UUID(int=1)
SECOND_ID = UUID(int=2)


def brokers(*node_ids: int) -> tuple[MetadataResponseBroker, ...]:
    return tuple(MetadataResponseBroker(n, f"broker-{n}", 9092, f"rack-{n}") for n in node_ids)


def partition(
    index: int, leader_id: int, epoch: int = 0, error: ErrorCode = ErrorCode.NONE
) -> MetadataResponsePartition:
    return MetadataResponsePartition(
        error_code=error,
        partition_index=index,
        leader_id=leader_id,
        leader_epoch=epoch,
        replica_nodes=(1, 2, 3),
        isr_nodes=(1, 2, 3),
    )


def topic(
    name: str | None,
    *partitions: MetadataResponsePartition,
    topic_id: UUID = FIRST_ID,
    error: ErrorCode = ErrorCode.NONE,
) -> MetadataResponseTopic:
    return MetadataResponseTopic(error_code=error, name=name, topic_id=topic_id, partitions=partitions)


def led_by(name: str, *leader_ids: int, epoch: int = 0, topic_id: UUID = FIRST_ID) -> MetadataResponseTopic:
    """Return a topic with one partition for each leader."""
    partitions = [partition(index, leader_id, epoch) for index, leader_id in enumerate(leader_ids)]
    return topic(name, *partitions, topic_id=topic_id)


def answer(
    *topics: MetadataResponseTopic,
    nodes: Sequence[MetadataResponseBroker] | None = None,
    cluster_id: str | None = "cluster",
    error: ErrorCode = ErrorCode.NONE,
) -> MetadataResponse:
    return MetadataResponse(
        brokers=brokers(1, 2, 3) if nodes is None else tuple(nodes),
        cluster_id=cluster_id,
        controller_id=1,
        topics=topics,
        error_code=error,
    )
