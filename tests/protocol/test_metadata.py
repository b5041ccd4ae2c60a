"""Metadata: bytes, round trips and malformed messages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError, UnsupportedVersionError
from aioproducer.protocol.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from tests.protocol.agreement import (
    assert_encoded,
    assert_fails_cleanly,
    assert_survives,
    decode,
    encode,
    error_codes,
    few_examples,
    int32,
    nullable_texts,
    present,
    texts,
    topic_ids,
    tuples_of,
    versions_of,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

TOPIC_ID = UUID("00112233-4455-6677-8899-aabbccddeeff")


def sample(version: int) -> MetadataResponse:
    """Return a response with a value in every field of the version."""
    return MetadataResponse(
        brokers=(MetadataResponseBroker(1, "h", 9092),),
        cluster_id="c" if version >= 2 else None,
        controller_id=1 if version >= 1 else -1,
        topics=(
            MetadataResponseTopic(
                0,
                "logs",
                TOPIC_ID if version >= 10 else UUID(int=0),
                partitions=(MetadataResponsePartition(0, 0, 1, 7 if version >= 7 else -1, (1,), (1,)),),
            ),
        ),
    )


def test_classic_request() -> None:
    assert_encoded(MetadataRequest(topics=None), 1, "ffffffff")
    assert_encoded(MetadataRequest(topics=()), 1, "00000000")
    logs = (MetadataRequestTopic("logs"),)
    assert_encoded(MetadataRequest(topics=logs), 0, "00000001 0004 6c6f6773")
    assert_encoded(MetadataRequest(topics=logs), 4, "00000001 0004 6c6f6773 01")
    assert_encoded(
        MetadataRequest(
            topics=logs, allow_auto_topic_creation=False, include_cluster_authorized_operations=True
        ),
        8,
        "00000001 0004 6c6f6773 00 01 00",
    )


def test_flexible_request() -> None:
    logs = (MetadataRequestTopic("logs"),)
    assert_encoded(MetadataRequest(topics=logs), 9, "02 05 6c6f6773 00 01 00 00 00")
    assert_encoded(MetadataRequest(topics=None), 12, "00 01 00 00")
    assert_encoded(
        MetadataRequest(
            topics=(MetadataRequestTopic(None, TOPIC_ID),),
            allow_auto_topic_creation=False,
            include_topic_authorized_operations=True,
        ),
        12,
        "02 00112233445566778899aabbccddeeff 00 00 00 01 00",
    )


def test_classic_response() -> None:
    assert_encoded(
        sample(1),
        1,
        "00000001 00000001 0001 68 00002384 ffff"
        "00000001"
        "00000001 0000 0004 6c6f6773 00"
        "00000001 0000 00000000 00000001 00000001 00000001 00000001 00000001",
    )


def test_flexible_response() -> None:
    assert_encoded(
        sample(13),
        13,
        "00000000"
        "02 00000001 02 68 00002384 00 00"
        "02 63 00000001"
        "02 0000 05 6c6f6773 00112233445566778899aabbccddeeff 00"
        "02 0000 00000000 00000001 00000007 02 00000001 02 00000001 01 00"
        "80000000 00"
        "0000 00",
    )


@pytest.mark.parametrize(
    ("version", "request_", "field"),
    [
        (0, MetadataRequest(topics=None), "topics"),
        (3, MetadataRequest(topics=(), allow_auto_topic_creation=False), "allow_auto_topic_creation"),
        (
            7,
            MetadataRequest(topics=(), include_cluster_authorized_operations=True),
            "include_cluster_authorized_operations",
        ),
        (
            11,
            MetadataRequest(topics=(), include_cluster_authorized_operations=True),
            "include_cluster_authorized_operations",
        ),
        (
            7,
            MetadataRequest(topics=(), include_topic_authorized_operations=True),
            "include_topic_authorized_operations",
        ),
        (9, MetadataRequest(topics=(MetadataRequestTopic(None, TOPIC_ID),)), "name"),
    ],
)
def test_request_refuses_unsupported_field(version: int, request_: MetadataRequest, field: str) -> None:
    with pytest.raises(UnsupportedVersionError, match=rf"version {version} cannot carry {field}="):
        encode(request_, version)


@pytest.mark.parametrize(
    ("version", "response", "field"),
    [
        (11, MetadataResponse(brokers=(), topics=(MetadataResponseTopic(0, None),)), "name"),
        (
            7,
            MetadataResponse(
                brokers=(), topics=(MetadataResponseTopic(0, "t", topic_authorized_operations=1),)
            ),
            "topic_authorized_operations",
        ),
        (
            7,
            MetadataResponse(brokers=(), topics=(), cluster_authorized_operations=1),
            "cluster_authorized_operations",
        ),
        (
            11,
            MetadataResponse(brokers=(), topics=(), cluster_authorized_operations=1),
            "cluster_authorized_operations",
        ),
    ],
)
def test_response_refuses_unsupported_field(version: int, response: MetadataResponse, field: str) -> None:
    with pytest.raises(UnsupportedVersionError, match=rf"version {version} cannot carry {field}="):
        encode(response, version)


def test_older_versions_drop_ignorable_fields() -> None:
    response = MetadataResponse(
        throttle_time_ms=5,
        brokers=(MetadataResponseBroker(1, "h", 9092, rack="r"),),
        cluster_id="c",
        controller_id=1,
        topics=(MetadataResponseTopic(0, "t", TOPIC_ID, is_internal=True),),
        error_code=129,
    )
    assert decode(MetadataResponse, encode(response, 0), 0) == MetadataResponse(
        brokers=(MetadataResponseBroker(1, "h", 9092),), topics=(MetadataResponseTopic(0, "t"),)
    )
    topics = (MetadataRequestTopic("t", TOPIC_ID),)
    assert decode(MetadataRequest, encode(MetadataRequest(topics=topics), 9), 9) == MetadataRequest(
        topics=(MetadataRequestTopic("t"),)
    )


def test_version_0_refuses_null_topics() -> None:
    with pytest.raises(ProtocolError, match="null"):
        decode(MetadataRequest, b"\xff\xff\xff\xff", 0)


@pytest.mark.parametrize("version", versions_of(MetadataRequest))
@few_examples
@given(data=st.data())
def test_requests_survive_round_trip(version: int, data: st.DataObject) -> None:
    topic = st.builds(
        MetadataRequestTopic,
        name=nullable_texts if version >= 10 else texts,
        **present(version >= 10, topic_id=topic_ids),
    )
    message = st.builds(
        MetadataRequest,
        topics=st.none() | tuples_of(topic) if version >= 1 else tuples_of(topic),
        **present(version >= 4, allow_auto_topic_creation=st.booleans()),
        **present(8 <= version <= 10, include_cluster_authorized_operations=st.booleans()),
        **present(version >= 8, include_topic_authorized_operations=st.booleans()),
    )
    assert_survives(data.draw(message), version)


def topics_of(version: int) -> SearchStrategy[MetadataResponseTopic]:
    partition = st.builds(
        MetadataResponsePartition,
        error_code=error_codes,
        partition_index=int32,
        leader_id=int32,
        replica_nodes=tuples_of(int32),
        isr_nodes=tuples_of(int32),
        **present(version >= 7, leader_epoch=int32),
        **present(version >= 5, offline_replicas=tuples_of(int32)),
    )
    return st.builds(
        MetadataResponseTopic,
        error_code=error_codes,
        name=nullable_texts if version >= 12 else texts,
        partitions=tuples_of(partition),
        **present(version >= 1, is_internal=st.booleans()),
        **present(version >= 8, topic_authorized_operations=int32),
        **present(version >= 10, topic_id=topic_ids),
    )


@pytest.mark.parametrize("version", versions_of(MetadataResponse))
@few_examples
@given(data=st.data())
def test_responses_survive_round_trip(version: int, data: st.DataObject) -> None:
    broker = st.builds(
        MetadataResponseBroker,
        node_id=int32,
        host=texts,
        port=int32,
        **present(version >= 1, rack=nullable_texts),
    )
    message = st.builds(
        MetadataResponse,
        brokers=tuples_of(broker),
        topics=tuples_of(topics_of(version)),
        **present(version >= 1, controller_id=int32),
        **present(version >= 2, cluster_id=nullable_texts),
        **present(version >= 3, throttle_time_ms=int32),
        **present(8 <= version <= 10, cluster_authorized_operations=int32),
        **present(version >= 13, error_code=error_codes),
    )
    assert_survives(data.draw(message), version)


@pytest.mark.parametrize("version", versions_of(MetadataRequest))
def test_malformed_messages_fail_cleanly(version: int) -> None:
    topics = (MetadataRequestTopic("logs"), MetadataRequestTopic("other"))
    assert_fails_cleanly(MetadataRequest(topics=topics), version)
    assert_fails_cleanly(sample(version), version)
