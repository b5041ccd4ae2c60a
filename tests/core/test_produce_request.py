"""Produce requests: built from batches, and their responses matched with them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from aioproducer.core.produce_request import ProduceRequests
from aioproducer.errors import UnsupportedVersionError
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.produce import (
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from aioproducer.records.compression import Codec
from aioproducer.records.reader import RecordBatch
from tests.core.harness import TOPIC, DeliveryHarness

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch

OLD = ProduceRequest.topic_ids_from - 1
NEW = ProduceRequest.topic_ids_from
ID = UUID(int=7)


def two_batches(topic_id: UUID | None = ID) -> tuple[DeliveryHarness, list[ProducerBatch]]:
    harness = DeliveryHarness()
    harness.accumulator.set_partitions(TOPIC, 3, topic_id)
    harness.send_some(1, partition=0)
    harness.send_some(1, partition=2)
    return harness, harness.take()


def new_requests(harness: DeliveryHarness, transactional_id: str | None = None) -> ProduceRequests:
    return ProduceRequests(
        harness.accumulator.topics, acks=-1, timeout_ms=30_000, transactional_id=transactional_id
    )


def response(name: str, topic_id: UUID, *partitions: int) -> ProduceResponse:
    answers = tuple(PartitionProduceResponse(index, 0, 40 + index) for index in partitions)
    return ProduceResponse(responses=(TopicProduceResponse(name, topic_id, answers),))


def test_request_holds_each_batch() -> None:
    harness, batches = two_batches()

    call = new_requests(harness).build(batches)

    (topic,) = call.request.topic_data
    assert (topic.name, topic.topic_id, call.at_most) == (TOPIC, ID, None)
    assert [data.index for data in topic.partition_data] == [0, 2]
    assert list(call.batches()) == batches


def test_unknown_topic_id_limits_version() -> None:
    harness, batches = two_batches(topic_id=None)

    call = new_requests(harness).build(batches)

    assert call.request.topic_data[0].topic_id == ZERO_UUID
    assert call.at_most == OLD


@pytest.mark.parametrize(("version", "name", "topic_id"), [(OLD, TOPIC, ZERO_UUID), (NEW, "", ID)])
def test_responses_find_their_batches(version: int, name: str, topic_id: UUID) -> None:
    harness, batches = two_batches()
    call = new_requests(harness).build(batches)

    matches = call.match(response(name, topic_id, 2, 1, 2), version)

    assert [(batch, partition.base_offset) for batch, partition in matches.pairs] == [(batches[1], 42)]
    assert matches.missing == batches[:1]
    assert [partition.index for partition in matches.unexpected] == [1, 2]


def test_other_topics_are_unexpected() -> None:
    harness, batches = two_batches()
    call = new_requests(harness).build(batches)

    matches = call.match(response("audit", ZERO_UUID, 0), OLD)

    assert (matches.pairs, matches.missing, len(matches.unexpected)) == ([], batches, 1)


@pytest.mark.parametrize("transactional_id", [None, "payments"])
def test_transactional_id_marks_batches(transactional_id: str | None) -> None:
    harness, batches = two_batches()

    request = new_requests(harness, transactional_id).build(batches).request

    assert request.transactional_id == transactional_id
    data = request.topic_data[0].partition_data[0].records
    assert data is not None
    assert RecordBatch.parse(bytes(data)).is_transactional == (transactional_id is not None)


def test_zstd_needs_later_version() -> None:
    harness = DeliveryHarness()
    requests = ProduceRequests(harness.accumulator.topics, acks=1, timeout_ms=1, codec=Codec.ZSTD)

    requests.check_version(ProduceRequest.zstd_from, 1)
    with pytest.raises(UnsupportedVersionError, match="broker 1 is too old for zstd"):
        requests.check_version(ProduceRequest.zstd_from - 1, 1)
