"""Produce: bytes, round trips and malformed messages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import ProtocolError, UnsupportedVersionError
from aioproducer.protocol.produce import (
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from aioproducer.protocol.reader import Reader
from tests.protocol.agreement import (
    assert_encoded,
    assert_fails_cleanly,
    assert_survives,
    decode,
    encode,
    error_codes,
    few_examples,
    int16,
    int32,
    int64,
    nullable_texts,
    present,
    texts,
    timestamps,
    topic_ids,
    tuples_of,
    versions_of,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

TOPIC_ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
BATCH = (
    "00000000000000000000004fffffffff026857800a0000000000010000018bcfe56800"
    "0000018bcfe56805ffffffffffffffffffffffffffff0000000210000000026b02760028"
    "000a02010a68656c6c6f04046831027804683201"
)


def request_of(topic: TopicProduceData, transactional_id: str | None = None) -> ProduceRequest:
    return ProduceRequest(transactional_id=transactional_id, acks=-1, timeout_ms=30000, topic_data=(topic,))


def test_classic_request() -> None:
    partitions = (PartitionProduceData(2, bytes.fromhex(BATCH)), PartitionProduceData(3, None))
    assert_encoded(
        request_of(TopicProduceData("logs", partition_data=partitions)),
        7,
        f"ffff ffff 00007530 00000001 0004 6c6f6773 00000002 00000002 0000005b {BATCH} 00000003 ffffffff",
    )


def test_flexible_request() -> None:
    partitions = (PartitionProduceData(2, bytes.fromhex(BATCH)), PartitionProduceData(3, None))
    assert_encoded(
        request_of(TopicProduceData("logs", partition_data=partitions), "tx"),
        9,
        f"03 7478 ffff 00007530 02 05 6c6f6773 03 00000002 5c {BATCH} 00 00000003 00 00 00 00",
    )


def test_request_has_topic_ids_from_version_13() -> None:
    partitions = (PartitionProduceData(2, bytes.fromhex(BATCH)),)
    assert_encoded(
        request_of(TopicProduceData(topic_id=TOPIC_ID, partition_data=partitions)),
        13,
        f"00 ffff 00007530 02 00112233445566778899aabbccddeeff 02 00000002 5c {BATCH} 00 00 00",
    )


def test_classic_response() -> None:
    partition = PartitionProduceResponse(2, 0, 42, -1, 1)
    topic = TopicProduceResponse("logs", partition_responses=(partition,))
    assert_encoded(
        ProduceResponse(responses=(topic,), throttle_time_ms=9),
        7,
        "00000001 0004 6c6f6773 00000001"
        "00000002 0000 000000000000002a ffffffffffffffff 0000000000000001"
        "00000009",
    )


def test_version_3_response() -> None:
    topic = TopicProduceResponse("logs", partition_responses=(PartitionProduceResponse(2, 0, 42),))
    assert_encoded(
        ProduceResponse(responses=(topic,)),
        3,
        "00000001 0004 6c6f6773 00000001 00000002 0000 000000000000002a ffffffffffffffff 00000000",
    )


WRONG_RECORDS_V8 = (
    "00000001 0004 6c6f6773 00000001"
    "00000002 0057 ffffffffffffffff ffffffffffffffff ffffffffffffffff"
    "00000002 00000001 0003 626164 00000004 ffff 0004 6f6f7073"
    "00000000"
)
WRONG_RECORDS_V9 = (
    "02 05 6c6f6773 02"
    "00000002 0057 ffffffffffffffff ffffffffffffffff ffffffffffffffff"
    "03 00000001 04 626164 00 00000004 00 00 05 6f6f7073 00"
    "00 00000000 00"
)


@pytest.mark.parametrize(("version", "expected"), [(8, WRONG_RECORDS_V8), (9, WRONG_RECORDS_V9)])
def test_response_names_refused_records(version: int, expected: str) -> None:
    errors = (BatchIndexAndErrorMessage(1, "bad"), BatchIndexAndErrorMessage(4))
    partition = PartitionProduceResponse(2, 87, -1, record_errors=errors, error_message="oops")
    topic = TopicProduceResponse("logs", partition_responses=(partition,))
    assert_encoded(ProduceResponse(responses=(topic,)), version, expected)


def test_response_names_new_leader() -> None:
    partitions = (
        PartitionProduceResponse(2, 6, -1, current_leader=LeaderIdAndEpoch(3, 8)),
        PartitionProduceResponse(3, 0, 42, -1, 0),
    )
    topic = TopicProduceResponse("logs", partition_responses=partitions)
    assert_encoded(
        ProduceResponse(responses=(topic,), node_endpoints=(NodeEndpoint(3, "h", 9092),)),
        10,
        "02 05 6c6f6773 03"
        "00000002 0006 ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00 01 00 09 00000003 00000008 00"
        "00000003 0000 000000000000002a ffffffffffffffff 0000000000000000 01 00 00"
        "00 00000000"
        "01 00 0d 02 00000003 02 68 00002384 00 00",
    )


def test_read_records_are_a_view() -> None:
    received = encode(request_of(TopicProduceData("t", partition_data=(PartitionProduceData(0, b"abc"),))), 9)
    request = ProduceRequest.read(Reader(memoryview(received), flexible=True), 9)
    records = request.topic_data[0].partition_data[0].records
    assert isinstance(records, memoryview)
    assert records.obj is received


@pytest.mark.parametrize("version", range(3, 10))
def test_leaders_need_version_10(version: int) -> None:
    partition = PartitionProduceResponse(0, 6, -1, current_leader=LeaderIdAndEpoch(3, 8))
    topic = TopicProduceResponse("t", partition_responses=(partition,))
    with pytest.raises(UnsupportedVersionError, match=f"version {version} cannot carry current_leader="):
        encode(ProduceResponse(responses=(topic,)), version)
    with pytest.raises(UnsupportedVersionError, match=f"version {version} cannot carry node_endpoints="):
        encode(ProduceResponse(responses=(), node_endpoints=(NodeEndpoint(3, "h", 9092),)), version)


def test_older_versions_drop_ignorable_fields() -> None:
    errors = (BatchIndexAndErrorMessage(1, "bad"),)
    partition = PartitionProduceResponse(2, 87, -1, -1, 5, errors, "oops")
    topic = TopicProduceResponse("logs", TOPIC_ID, (partition,))
    response = ProduceResponse(responses=(topic,))

    def read_back(version: int) -> TopicProduceResponse:
        return decode(ProduceResponse, encode(response, version), version).responses[0]

    assert read_back(3) == TopicProduceResponse(
        "logs", partition_responses=(PartitionProduceResponse(2, 87, -1),)
    )
    assert read_back(7) == TopicProduceResponse(
        "logs", partition_responses=(PartitionProduceResponse(2, 87, -1, -1, 5),)
    )
    assert read_back(13) == TopicProduceResponse(topic_id=TOPIC_ID, partition_responses=(partition,))


def test_unknown_tags_are_skipped() -> None:
    body = (
        "02 05 6c6f6773 02"
        "00000002 0000 000000000000002a ffffffffffffffff 0000000000000000 01 00 02 00 01 ff 07 00"
        "00 00000000 01 00 01 ff"
    )
    topic = TopicProduceResponse("logs", partition_responses=(PartitionProduceResponse(2, 0, 42, -1, 0),))
    assert decode(ProduceResponse, bytes.fromhex(body), 9) == ProduceResponse(responses=(topic,))


def test_tagged_field_of_wrong_size_is_refused() -> None:
    with pytest.raises(ProtocolError, match="left over"):
        decode(ProduceResponse, bytes.fromhex("01 00000000 01 00 02 01 00"), 10)
    partition = "00000002 0006 ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00"
    leader = "01 00 0a 00000003 00000008 00 00"
    body = bytes.fromhex(f"02 05 6c6f6773 02 {partition} {leader} 00 00000000 00")
    with pytest.raises(ProtocolError, match="left over"):
        decode(ProduceResponse, body, 10)


@pytest.mark.parametrize("version", versions_of(ProduceRequest))
@few_examples
@given(data=st.data())
def test_requests_survive_round_trip(version: int, data: st.DataObject) -> None:
    partition = st.builds(PartitionProduceData, int32, st.none() | st.binary(max_size=200))
    topic = st.builds(
        TopicProduceData,
        partition_data=tuples_of(partition),
        **present(version < 13, name=texts),
        **present(version >= 13, topic_id=topic_ids),
    )
    message = st.builds(
        ProduceRequest,
        transactional_id=nullable_texts,
        acks=int16,
        timeout_ms=int32,
        topic_data=tuples_of(topic),
    )
    assert_survives(data.draw(message), version)


def partitions_of(version: int) -> SearchStrategy[PartitionProduceResponse]:
    error = st.builds(BatchIndexAndErrorMessage, int32, nullable_texts)
    return st.builds(
        PartitionProduceResponse,
        index=int32,
        error_code=error_codes,
        base_offset=int64,
        log_append_time_ms=timestamps,
        **present(version >= 5, log_start_offset=int64),
        **present(version >= 8, record_errors=tuples_of(error), error_message=nullable_texts),
        **present(version >= 10, current_leader=st.builds(LeaderIdAndEpoch, int32, int32)),
    )


@pytest.mark.parametrize("version", versions_of(ProduceResponse))
@few_examples
@given(data=st.data())
def test_responses_survive_round_trip(version: int, data: st.DataObject) -> None:
    topic = st.builds(
        TopicProduceResponse,
        partition_responses=tuples_of(partitions_of(version)),
        **present(version < 13, name=texts),
        **present(version >= 13, topic_id=topic_ids),
    )
    node = st.builds(NodeEndpoint, int32, texts, int32, nullable_texts)
    message = st.builds(
        ProduceResponse,
        responses=tuples_of(topic),
        throttle_time_ms=int32,
        **present(version >= 10, node_endpoints=tuples_of(node)),
    )
    assert_survives(data.draw(message), version)


@pytest.mark.parametrize("version", versions_of(ProduceRequest))
def test_malformed_messages_fail_cleanly(version: int) -> None:
    topic = TopicProduceData("" if version >= 13 else "logs", TOPIC_ID, (PartitionProduceData(2, b"batch"),))
    assert_fails_cleanly(request_of(topic), version)

    errors = (BatchIndexAndErrorMessage(1, "bad"),) if version >= 8 else ()
    leader = LeaderIdAndEpoch(3, 8) if version >= 10 else LeaderIdAndEpoch()
    partitions = (
        PartitionProduceResponse(2, 87, -1, record_errors=errors, current_leader=leader),
        PartitionProduceResponse(3, 0, 42),
    )
    nodes = (NodeEndpoint(3, "h", 9092),) if version >= 10 else ()
    answer = TopicProduceResponse("logs", TOPIC_ID, partitions)
    assert_fails_cleanly(ProduceResponse(responses=(answer,), node_endpoints=nodes), version)
