import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.testing import TopicConfig
from aioproducer.testing.refusal import Refused
from aioproducer.testing.topology import NO_NODE, Topology


def three_nodes() -> Topology:
    topology = Topology(3, "test")
    topology.create_topic("orders", 6, 2, TopicConfig())
    for node_id in topology.nodes:
        topology.node_started(node_id)
    return topology


def leaders(topology: Topology) -> list[int]:
    return [partition.leader for partition in topology.topic("orders").partitions]


def test_leaders_are_spread_over_nodes() -> None:
    assert leaders(three_nodes()) == [1, 2, 3, 1, 2, 3]


def test_lost_node_moves_leaders() -> None:
    topology = three_nodes()
    topology.node_stopped(1)
    assert leaders(topology) == [2, 2, 3, 2, 2, 3]
    assert topology.partition("orders", 0).leader_epoch == 1
    assert topology.partition("orders", 1).leader_epoch == 0
    assert topology.in_sync(topology.partition("orders", 0)) == [2]
    assert topology.controller() == 2


def test_partition_without_replicas_has_no_leader() -> None:
    topology = three_nodes()
    topology.node_stopped(1)
    topology.node_stopped(2)
    assert topology.partition("orders", 0).leader == NO_NODE
    topology.node_started(2)
    assert topology.partition("orders", 0).leader == 2


def test_added_partitions_keep_old_ones() -> None:
    topology = three_nodes()
    topology.add_partitions("orders", 8)
    assert leaders(topology) == [1, 2, 3, 1, 2, 3, 1, 2]
    with pytest.raises(Refused):
        topology.add_partitions("orders", 8)


def test_recreated_topic_has_new_id() -> None:
    topology = three_nodes()
    before = topology.topic("orders").topic_id
    topology.delete_topic("orders")
    with pytest.raises(Refused) as refused:
        topology.topic_by_id(before)
    assert refused.value.code is ErrorCode.UNKNOWN_TOPIC_ID
    assert topology.create_topic("orders", 1, 1, TopicConfig()).topic_id != before


@pytest.mark.parametrize(
    ("name", "partitions", "replicas", "code"),
    [
        ("orders", 1, 1, ErrorCode.TOPIC_ALREADY_EXISTS),
        ("a b", 1, 1, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("..", 1, 1, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("x" * 250, 1, 1, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ("new", 0, 1, ErrorCode.INVALID_PARTITIONS),
        ("new", 1, 4, ErrorCode.INVALID_REPLICATION_FACTOR),
    ],
)
def test_impossible_topics_are_refused(name: str, partitions: int, replicas: int, code: ErrorCode) -> None:
    with pytest.raises(Refused) as refused:
        three_nodes().create_topic(name, partitions, replicas, TopicConfig())
    assert refused.value.code is code


def test_leader_is_any_known_node() -> None:
    topology = three_nodes()
    partition = topology.partition("orders", 0)
    topology.move_leader(partition, 3)
    assert (partition.leader, partition.leader_epoch, partition.replicas) == (3, 1, [1, 2, 3])
    with pytest.raises(ValueError, match="no node 9"):
        topology.move_leader(partition, 9)
