import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import FakeCluster
from tests.testing.batches import make_batch
from tests.testing.raw_client import RawClient

ALL = MetadataRequest(topics=None)


async def test_cluster_id_can_change() -> None:
    async with FakeCluster(cluster_id="one") as cluster, await RawClient.connect(cluster) as client:
        assert cluster.cluster_id == (await client.ask(ALL, 12)).cluster_id == "one"
        cluster.cluster_id = "another"
        assert (await client.ask(ALL, 12)).cluster_id == "another"


async def test_out_of_sync_replica_never_leads() -> None:
    async with FakeCluster(3, {"orders": 1}) as cluster, await RawClient.connect(cluster, 3) as client:
        cluster.shrink_isr("orders", 0, 2)
        [partition] = (await client.ask(ALL, 12)).topics[0].partitions
        assert (partition.isr_nodes, partition.replica_nodes) == ((1, 3), (1, 2, 3))
        assert partition.offline_replicas == ()
        cluster.expand_isr("orders", 0)
        [partition] = (await client.ask(ALL, 12)).topics[0].partitions
        assert partition.isr_nodes == (1, 2, 3)
        cluster.shrink_isr("orders", 0, 2)
        await cluster.stop_node(1)
        assert cluster.leader_of("orders", 0) == 3
        with pytest.raises(ValueError, match=r"node 3 is no follower of partition 0, only \[1, 2\] are"):
            cluster.shrink_isr("orders", 0, 3)


async def test_only_last_in_sync_replica_leads() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster:
        cluster.shrink_isr("orders", 0, 2)
        await cluster.stop_node(1)
        assert cluster.leader_of("orders", 0) == -1
        await cluster.restart_node(2)
        assert cluster.leader_of("orders", 0) == -1
        await cluster.start_node(1)
        assert cluster.leader_of("orders", 0) == 1


async def test_moved_leader_is_in_sync() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster:
        cluster.shrink_isr("orders", 0, 2)
        cluster.move_leader("orders", 0, 2)
        assert cluster.topology.in_sync(cluster.topology.partition("orders", 0)) == [1, 2]


async def test_deleted_records_move_log_start() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster, await RawClient.connect(cluster) as client:
        for value in (b"a", b"b"):
            await client.produce("orders", 0, make_batch(value))
        cluster.delete_records("orders", 0, before=1)
        assert [record.offset for record in cluster.records("orders")] == [1]
        assert (await client.produce("orders", 0, make_batch(b"c"))).log_start_offset == 1


@pytest.mark.parametrize(
    ("forget", "known"),
    [
        ({}, set()),
        ({"topic": "orders"}, {("audit", 0)}),
        ({"topic": "orders", "partition": 1}, {("orders", 0), ("audit", 0)}),
        ({"producer_id": 9}, set()),
        ({"producer_id": 8}, {("orders", 0), ("orders", 1), ("audit", 0)}),
    ],
)
async def test_forget_producer_by_filter(forget: dict[str, object], known: set[tuple[str, int]]) -> None:
    """`forget_producer` forgets by topic, by partition or by producer id."""
    cluster = FakeCluster(topics={"orders": 2, "audit": 1})
    async with cluster, await RawClient.connect(cluster) as client:
        partitions = [("orders", 0), ("orders", 1), ("audit", 0)]
        for topic, partition in partitions:
            await client.produce(topic, partition, make_batch(b"a", producer=(9, 0, 0)))
        cluster.forget_producer(**forget)  # type: ignore[arg-type] # each case names its arguments
        remembered = set()
        for topic, partition in partitions:
            answer = await client.produce(topic, partition, make_batch(b"b", producer=(9, 0, 5)))
            if answer.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
                remembered.add((topic, partition))
        assert remembered == known
