import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.produce import (
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from aioproducer.testing import ApiKey, FakeCluster, TopicConfig
from tests.testing.batches import make_batch, put, spoil
from tests.testing.raw_client import RawClient, only_answer, produce_request


@pytest.mark.parametrize("version", range(3, 14))
async def test_every_version_stores_records(version: int) -> None:
    async with FakeCluster(topics={"orders": 2}) as cluster, await RawClient.connect(cluster) as client:
        topic_id = cluster.topology.topic("orders").topic_id
        data = TopicProduceData("orders", topic_id, (PartitionProduceData(1, make_batch(b"a", b"b")),))
        request = ProduceRequest(acks=-1, timeout_ms=1, topic_data=(data,))
        for offset in (0, 2):
            answer = only_answer(await client.ask(request, version))
            assert (answer.index, answer.error_code, answer.base_offset) == (1, ErrorCode.NONE, offset)
            assert answer.log_start_offset == (0 if version >= 5 else -1)
        assert [(r.partition, r.offset, r.value) for r in cluster.records("orders")] == [
            (1, 0, b"a"),
            (1, 1, b"b"),
            (1, 2, b"a"),
            (1, 3, b"b"),
        ]


async def test_records_keep_all_fields() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        batch = make_batch(
            b"v", None, key=b"k", headers={"a": b"1", "b": None}, timestamp_ms=1_700_000_000_000
        )
        await client.produce("orders", 0, batch)
        first, second = cluster.records("orders")
        assert (first.topic, first.key, first.value) == ("orders", b"k", b"v")
        assert first.headers == (("a", b"1"), ("b", None))
        assert first.timestamp_ms == 1_700_000_000_000
        assert (second.offset, second.value) == (1, None)


async def test_duplicate_returns_first_offset() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        first = make_batch(b"a", producer=(9, 0, 0))
        await client.produce("orders", 0, first)
        await client.produce("orders", 0, make_batch(b"b", producer=(9, 0, 1)))
        again = await client.produce("orders", 0, first)
        assert (again.error_code, again.base_offset) == (ErrorCode.NONE, 0)
        assert again.log_append_time_ms == cluster.records("orders")[0].timestamp_ms
        assert [record.value for record in cluster.records("orders")] == [b"a", b"b"]


async def test_gap_and_old_epoch_are_refused() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        await client.produce("orders", 0, make_batch(b"a", producer=(9, 1, 0)))
        gap = await client.produce("orders", 0, make_batch(b"c", producer=(9, 1, 2)))
        assert (gap.error_code, gap.base_offset) == (ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1)
        old = await client.produce("orders", 0, make_batch(b"c", producer=(9, 0, 1)))
        assert old.error_code == ErrorCode.INVALID_PRODUCER_EPOCH
        assert {gap.log_start_offset, old.log_start_offset} == {0}
        assert len(cluster.records("orders")) == 1


async def test_partitions_have_their_own_results() -> None:
    async with FakeCluster(topics={"orders": 3}) as cluster, await RawClient.connect(cluster) as client:
        corrupt = spoil(make_batch(b"abc"), put(">b", 70, 1), fix_crc=False)
        request = produce_request("orders", {0: make_batch(b"a"), 1: corrupt, 7: make_batch(b"c")})
        [topic] = (await client.ask(request, 9)).responses
        assert [answer.error_code for answer in topic.partition_responses] == [
            ErrorCode.NONE,
            ErrorCode.CORRUPT_MESSAGE,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ]
        assert "CRC" in (topic.partition_responses[1].error_message or "")
        assert [answer.log_start_offset for answer in topic.partition_responses] == [0, -1, -1]
        assert [record.value for record in cluster.records("orders")] == [b"a"]


async def test_repeated_partition_is_refused() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        data = (PartitionProduceData(0, make_batch(b"a")), PartitionProduceData(0, make_batch(b"b")))
        request = ProduceRequest(
            acks=1, timeout_ms=1, topic_data=(TopicProduceData("orders", partition_data=data),)
        )
        [topic] = (await client.ask(request, 9)).responses
        codes = [answer.error_code for answer in topic.partition_responses]
        assert codes == [ErrorCode.NONE, ErrorCode.INVALID_REQUEST]


async def test_followers_name_the_leader() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster, await RawClient.connect(cluster, 1) as client:
        cluster.move_leader("orders", 0, 2)
        response = await client.ask(produce_request("orders", {0: make_batch(b"a")}), 10)
        answer = only_answer(response)
        assert answer.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER
        assert answer.current_leader == LeaderIdAndEpoch(2, 1)
        node = cluster.topology.nodes[2]
        assert response.node_endpoints == (NodeEndpoint(2, node.host, node.port),)
        old = await client.produce("orders", 0, make_batch(b"a"), version=9)
        assert (old.error_code, old.current_leader) == (
            ErrorCode.NOT_LEADER_OR_FOLLOWER,
            LeaderIdAndEpoch(),
        )


async def test_unknown_topics_and_ids() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        answer = await client.produce("nothing", 0, make_batch(b"a"))
        assert answer.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        topic_id = cluster.topology.topic("orders").topic_id
        cluster.delete_topic("orders")
        cluster.create_topic("orders")
        data = TopicProduceData("", topic_id, (PartitionProduceData(0, make_batch(b"a")),))
        request = ProduceRequest(acks=-1, timeout_ms=1, topic_data=(data,))
        assert only_answer(await client.ask(request, 13)).error_code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_acks_all_needs_in_sync_replicas() -> None:
    async with FakeCluster(2) as cluster, await RawClient.connect(cluster, 1) as client:
        cluster.create_topic("orders", 1, config=TopicConfig(min_insync_replicas=2))
        await cluster.stop_node(2)
        batch = make_batch(b"a")
        assert (await client.produce("orders", 0, batch)).error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert (await client.produce("orders", 0, batch, acks=1)).error_code == ErrorCode.NONE
        await cluster.start_node(2)
        assert (await client.produce("orders", 0, batch)).error_code == ErrorCode.NONE


async def test_other_acks_are_refused() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        answer = await client.produce("orders", 0, make_batch(b"a"), acks=2)
        assert answer.error_code == ErrorCode.INVALID_REQUIRED_ACKS


async def test_acks_0_has_no_response() -> None:
    """An error closes the connection instead."""
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        client.send(produce_request("orders", {0: make_batch(b"a")}, acks=0), 9)
        assert (await client.produce("orders", 0, make_batch(b"b"))).base_offset == 1
        client.send(produce_request("orders", {5: make_batch(b"c")}, acks=0), 9)
        assert await client.closed() == b""


async def test_log_append_time_is_set() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.create_topic("orders", 1, config=TopicConfig(message_timestamp_type="LogAppendTime"))
        answer = await client.produce("orders", 0, make_batch(b"a", timestamp_ms=5))
        assert answer.log_append_time_ms > 1_700_000_000_000
        [record] = cluster.records("orders")
        assert record.timestamp_ms == answer.log_append_time_ms


async def test_record_errors_name_records() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.create_topic("orders", 1, config=TopicConfig(cleanup_policy="compact"))
        answer = await client.produce("orders", 0, make_batch(b"a", b"b"))
        assert answer.error_code == ErrorCode.INVALID_RECORD
        assert [error.batch_index for error in answer.record_errors] == [0, 1]


async def test_transactional_batches_are_refused() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        batch = make_batch(b"a", producer=(9, 0, 0), transactional=True)
        answer = await client.produce("orders", 0, batch)
        assert answer.error_code == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        request = produce_request("orders", {0: batch}, transactional_id="t")
        assert only_answer(await client.ask(request, 9)).error_code == ErrorCode.INVALID_TXN_STATE


async def test_scripted_errors_around_storing() -> None:
    async with FakeCluster(topics={"orders": 2}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.PRODUCE, partition=1).answer(ErrorCode.KAFKA_STORAGE_ERROR, "no disk")
        answer = await client.produce("orders", 1, make_batch(b"a"))
        assert (answer.error_code, answer.error_message) == (ErrorCode.KAFKA_STORAGE_ERROR, "no disk")
        assert not cluster.records("orders")
        late = cluster.on(ApiKey.PRODUCE)
        late.answer(ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND, after_storing=True)
        answer = await client.produce("orders", 1, make_batch(b"b"))
        assert answer.error_code == ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        assert [record.value for record in cluster.records("orders")] == [b"b"]


async def test_scripted_error_hits_one_partition() -> None:
    async with FakeCluster(topics={"orders": 2}) as cluster, await RawClient.connect(cluster) as client:
        blamed = {0: "bad"}
        cluster.on(ApiKey.PRODUCE, partition=1).answer(ErrorCode.INVALID_RECORD, record_errors=blamed)
        request = produce_request("orders", {0: make_batch(b"a"), 1: make_batch(b"b")})
        [topic] = (await client.ask(request, 9)).responses
        good, bad = topic.partition_responses
        assert good.error_code == ErrorCode.NONE
        assert [(e.batch_index, e.batch_index_error_message) for e in bad.record_errors] == [(0, "bad")]


async def test_partition_can_be_left_out() -> None:
    async with FakeCluster(topics={"orders": 2}) as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.PRODUCE, topic="orders", partition=0).leave_out()
        request = produce_request("orders", {0: make_batch(b"a"), 1: make_batch(b"b")})
        answer = only_answer(await client.ask(request, 9))
        assert answer.index == 1
        assert len(cluster.records("orders")) == 2
        cluster.on(ApiKey.PRODUCE).leave_out()
        assert (await client.ask(request, 9)).responses == ()


async def test_transactional_batch_without_id() -> None:
    """One such batch fails every partition of the request."""
    async with FakeCluster(topics={"orders": 2}) as cluster, await RawClient.connect(cluster) as client:
        transactional = make_batch(b"a", producer=(9, 0, 0), transactional=True)
        request = produce_request("orders", {0: make_batch(b"b"), 1: transactional})
        [topic] = (await client.ask(request, 9)).responses
        assert [(answer.index, answer.error_code) for answer in topic.partition_responses] == [
            (0, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            (1, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        ]
        assert not cluster.records("orders")


async def test_transactional_id_without_transaction() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        request = produce_request("orders", {0: make_batch(b"a")}, transactional_id="t")
        assert only_answer(await client.ask(request, 9)).error_code == ErrorCode.NONE


async def test_request_errors_precede_partition_errors() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster, await RawClient.connect(cluster, 2) as client:
        old = spoil(make_batch(b"a"), put(">b", 16, 1))
        corrupt = spoil(make_batch(b"abc"), put(">b", 70, 1), fix_crc=False)
        for batch, acks, code in (
            (old, 2, ErrorCode.INVALID_RECORD),
            (corrupt, 2, ErrorCode.INVALID_REQUIRED_ACKS),
            (corrupt, 1, ErrorCode.NOT_LEADER_OR_FOLLOWER),
        ):
            answer = await client.produce("orders", 0, batch, acks=acks)
            assert (answer.error_code, answer.log_start_offset) == (code, -1)


async def test_replica_check_precedes_batch_check() -> None:
    config = TopicConfig(min_insync_replicas=2)
    cluster = FakeCluster(2, {"orders": 1}, topic_config=config)
    async with cluster, await RawClient.connect(cluster) as client:
        cluster.shrink_isr("orders", 0, 2)
        corrupt = spoil(make_batch(b"abc"), put(">b", 70, 1), fix_crc=False)
        answer = await client.produce("orders", 0, corrupt)
        assert (answer.error_code, answer.log_start_offset) == (ErrorCode.NOT_ENOUGH_REPLICAS, 0)


async def test_internal_topics_are_refused() -> None:
    own = "__transaction_state"
    async with FakeCluster(topics={own: 1}) as cluster, await RawClient.connect(cluster) as client:
        assert (
            await client.produce(own, 0, make_batch(b"a"))
        ).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION


async def test_topic_without_partitions_is_skipped() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        assert (await client.ask(produce_request("orders", {}), 9)).responses == ()
