"""The metadata cache: what of an answer gets in, and what it is said to have changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.core.cluster_view import MetadataChange, Node, PartitionLeader, PartitionMetadata
from aioproducer.core.metadata_cache import ClusterCheck, MetadataCache
from aioproducer.core.queues import NO_LEADER
from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataResponse, MetadataResponseBroker, MetadataResponseTopic
from aioproducer.protocol.produce import NodeEndpoint
from tests.core.metadata_answers import (
    FIRST_ID,
    NO_ID,
    SECOND_ID,
    answer,
    brokers,
    led_by,
    partition,
    topic,
)

if TYPE_CHECKING:
    from uuid import UUID

UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
FORBIDDEN = ErrorCode.TOPIC_AUTHORIZATION_FAILED


def merge(
    cache: MetadataCache, response: MetadataResponse, *asked: str, reliable_epochs: bool = True
) -> MetadataChange:
    names = asked or ("orders",)
    return cache.merge(response, asked=names, wanted=set(names), reliable_epochs=reliable_epochs)


def leaders(cache: MetadataCache, name: str = "orders") -> list[int]:
    return [partition.leader_id for partition in cache.topics[name].partitions]


def knowing(*topics: MetadataResponseTopic) -> MetadataCache:
    cache = MetadataCache()
    names = [given.name for given in topics if given.name is not None]
    cache.merge(answer(*topics), asked=names, wanted=names)
    return cache


def test_the_first_answer_tells_everything() -> None:
    cache = MetadataCache()

    change = merge(cache, answer(led_by("orders", 2, 3, epoch=7)))

    assert change == MetadataChange(
        sizes={"orders": 2},
        leaders=(PartitionLeader("orders", 0, 2, 7), PartitionLeader("orders", 1, 3, 7)),
        nodes=tuple(Node(n, f"broker-{n}", 9092, f"rack-{n}") for n in (1, 2, 3)),
    )
    assert cache.topics["orders"].topic_id == FIRST_ID
    assert cache.topics["orders"].partitions == (PartitionMetadata(0, 2, 7), PartitionMetadata(1, 3, 7))
    assert cache.cluster_id == "cluster"


def test_same_response_changes_nothing() -> None:
    cache = knowing(led_by("orders", 2, 3))
    before = cache.topics["orders"]

    change = merge(cache, answer(led_by("orders", 2, 3)))

    assert change == MetadataChange()
    assert not change.is_news
    assert cache.topics["orders"] is before


def test_partitions_may_come_in_any_order() -> None:
    cache = MetadataCache()

    change = merge(cache, answer(topic("orders", partition(2, 3), partition(0, 1), partition(1, 2))))

    assert not change.errors
    assert leaders(cache) == [1, 2, 3]


def test_only_what_changed_is_told() -> None:
    cache = knowing(led_by("orders", 1, 2, 3))

    change = merge(cache, answer(topic("orders", partition(0, 1), partition(1, 3, 1), partition(2, 3))))

    assert change == MetadataChange(leaders=(PartitionLeader("orders", 1, 3, 1),))


@pytest.mark.scenario("new-partitions")
def test_new_partitions_are_in_change() -> None:
    cache = knowing(led_by("orders", 1, 2))

    change = merge(cache, answer(led_by("orders", 1, 2, 3)))

    assert change == MetadataChange(sizes={"orders": 3}, leaders=(PartitionLeader("orders", 2, 3, 0),))


@pytest.mark.scenario("new-partitions")
def test_old_view_removes_no_partitions() -> None:
    cache = knowing(led_by("orders", 1, 2, 3))

    change = merge(cache, answer(led_by("orders", 1, 2)))

    assert not change.is_news
    assert leaders(cache) == [1, 2, 3]


@pytest.mark.scenario("new-partitions")
def test_last_response_counts_without_ids() -> None:
    cache = knowing(led_by("orders", 1, 2, 3, topic_id=NO_ID))

    change = merge(cache, answer(led_by("orders", 1, 2, topic_id=NO_ID)))

    assert change.sizes == {"orders": 2}
    assert leaders(cache) == [1, 2]


@pytest.mark.scenario("stale-metadata")
def test_older_epoch_changes_nothing() -> None:
    cache = knowing(led_by("orders", 1, 2, epoch=5))

    change = merge(cache, answer(topic("orders", partition(0, 3, 4), partition(1, 3, 6))))

    assert change.leaders == (PartitionLeader("orders", 1, 3, 6),)
    assert leaders(cache) == [1, 3]


@pytest.mark.scenario("stale-metadata")
def test_changed_topic_id_is_accepted() -> None:
    cache = knowing(led_by("orders", 1, 2, 3, epoch=5))

    change = merge(cache, answer(led_by("orders", 1, 2, epoch=0, topic_id=SECOND_ID)))

    assert change.recreated == {"orders"}
    assert change.sizes == {"orders": 2}
    # Told even where the leader is the same: it leads another topic now.
    assert change.leaders == (PartitionLeader("orders", 0, 1, 0), PartitionLeader("orders", 1, 2, 0))
    assert cache.topics["orders"].topic_id == SECOND_ID


@pytest.mark.scenario("stale-metadata")
@pytest.mark.parametrize(("before", "after"), [(NO_ID, FIRST_ID), (FIRST_ID, NO_ID)])
def test_missing_id_is_same_topic(before: UUID, after: UUID) -> None:
    """An id that appears is told with the size; one that is left out stays known."""
    cache = knowing(led_by("orders", 1, epoch=5, topic_id=before))

    change = merge(cache, answer(led_by("orders", 2, epoch=4, topic_id=after)))

    assert change == MetadataChange(sizes={"orders": 1} if before == NO_ID else {})
    assert cache.topics["orders"].topic_id == FIRST_ID
    assert leaders(cache) == [1]


@pytest.mark.scenario("stale-metadata")
def test_deleted_topic_may_lower_epochs() -> None:
    cache = knowing(led_by("orders", 1, epoch=5, topic_id=NO_ID))
    merge(cache, answer(topic("orders", error=UNKNOWN, topic_id=NO_ID)))

    change = merge(cache, answer(led_by("orders", 2, epoch=0, topic_id=NO_ID)))
    merge(cache, answer(led_by("orders", 3, epoch=2, topic_id=NO_ID)))
    stale = merge(cache, answer(led_by("orders", 1, epoch=1, topic_id=NO_ID)))

    assert change.leaders == (PartitionLeader("orders", 0, 2, 0),)
    assert not stale.is_news
    assert leaders(cache) == [3]


@pytest.mark.scenario("stale-metadata")
def test_other_clusters_epochs_are_ignored() -> None:
    cache = knowing(led_by("orders", 1, epoch=5, topic_id=NO_ID))

    merge(cache, answer(led_by("orders", 2, epoch=1, topic_id=NO_ID), cluster_id="another"))

    assert leaders(cache) == [2]
    assert cache.cluster_id == "another"


def test_other_cluster_drops_missing_topics() -> None:
    """Leaders, epochs and ids of the old cluster are not true of the new one."""
    cache = knowing(led_by("orders", 1, 2, epoch=5), led_by("audit", 1, epoch=5))

    told = answer(topic("orders", error=UNKNOWN), led_by("audit", 1, epoch=0), cluster_id="another")
    change = merge(cache, told, "orders", "audit")

    assert change.is_other_cluster
    assert {node.id for node in change.nodes} == set(cache.nodes)
    assert leaders(cache, "orders") == [NO_LEADER, NO_LEADER]
    assert cache.topics["orders"].topic_id == NO_ID
    assert cache.leaderless == {"orders"}

    change = merge(cache, answer(led_by("orders", 2, epoch=0), cluster_id="another"))

    assert not change.is_other_cluster
    assert change.recreated == frozenset()
    assert change.sizes == {"orders": 1}
    assert change.leaders == (PartitionLeader("orders", 0, 2, 0),)


def test_missing_cluster_id_is_same() -> None:
    cache = knowing(led_by("orders", 1))

    assert not merge(cache, answer(led_by("orders", 1), cluster_id=None)).is_other_cluster
    assert cache.cluster_id == "cluster"
    assert merge(cache, answer(led_by("orders", 1), cluster_id="another")).is_other_cluster


def test_forgotten_topic_was_recreated() -> None:
    """Sequences of a forgotten topic are kept, so its id is too."""
    cache = knowing(led_by("orders", 1), led_by("audit", 1))
    cache.forget("orders")
    cache.forget("audit")

    change = merge(
        cache, answer(led_by("orders", 1, topic_id=SECOND_ID), led_by("audit", 1)), "orders", "audit"
    )

    assert change.recreated == {"orders"}


def test_forgotten_topic_in_early_response() -> None:
    cache = knowing(led_by("orders", 1))
    cache.forget("orders")

    change = merge(cache, answer(led_by("orders", 1, topic_id=SECOND_ID)), "audit")
    assert change == MetadataChange(recreated=frozenset({"orders"}), errors={"audit": UNKNOWN})
    assert not cache.topics

    assert merge(cache, answer(led_by("orders", 1, topic_id=SECOND_ID))).recreated == frozenset()


@pytest.mark.parametrize(
    ("response", "check"),
    [
        (answer(led_by("orders", 1)), ClusterCheck.SAME),
        (answer(led_by("orders", 1), cluster_id=None), ClusterCheck.SAME),
        (answer(led_by("orders", 1, topic_id=NO_ID)), ClusterCheck.SAME),
        (answer(led_by("other", 1, topic_id=SECOND_ID)), ClusterCheck.SAME),
        (answer(topic(None, topic_id=SECOND_ID)), ClusterCheck.SAME),
        (answer(topic("orders", topic_id=SECOND_ID, error=FORBIDDEN)), ClusterCheck.SAME),
        (answer(), ClusterCheck.SAME),
        (answer(topic("orders", error=UNKNOWN), led_by("audit", 1)), ClusterCheck.SAME),
        (answer(topic("orders", error=UNKNOWN)), ClusterCheck.EMPTY),
        (answer(topic("orders", error=UNKNOWN), cluster_id="another"), ClusterCheck.OTHER),
        (answer(led_by("orders", 1, topic_id=SECOND_ID)), ClusterCheck.OTHER),
        (answer(led_by("orders", 1, topic_id=SECOND_ID), led_by("audit", 1)), ClusterCheck.OTHER),
        (answer(led_by("audit", 1, topic_id=SECOND_ID)), ClusterCheck.OTHER),
        (answer(cluster_id="another"), ClusterCheck.OTHER),
    ],
)
def test_cluster_is_known_by_its_ids(response: MetadataResponse, check: ClusterCheck) -> None:
    cache = knowing(led_by("orders", 1), led_by("audit", 1))
    cache.forget("audit")

    assert cache.verify(response) is check


def test_sample_holds_topics_with_ids() -> None:
    cache = knowing(led_by("orders", 1), led_by("audit", 1), led_by("old", 1, topic_id=NO_ID))
    cache.forget("orders")

    assert cache.sample(10) == ("audit", "orders")
    assert cache.sample(1) == ("audit",)


@pytest.mark.scenario("stale-metadata")
def test_unreliable_epochs_are_ignored() -> None:
    cache = MetadataCache()
    merge(cache, answer(led_by("orders", 1, epoch=5)), reliable_epochs=False)

    change = merge(cache, answer(led_by("orders", 2, epoch=4)), reliable_epochs=False)
    known = cache.topics["orders"]
    again = merge(cache, answer(led_by("orders", 2, epoch=3)), reliable_epochs=False)

    assert cache.topics["orders"] is known
    assert change.leaders == (PartitionLeader("orders", 0, 2, -1),)
    assert again == MetadataChange()


def test_old_broker_keeps_cluster_id() -> None:
    cache = knowing(led_by("orders", 1, epoch=5))

    merge(cache, answer(led_by("orders", 2, epoch=1), cluster_id=None))

    assert cache.cluster_id == "cluster"
    assert leaders(cache) == [1]


def test_an_unknown_epoch_is_accepted() -> None:
    cache = knowing(led_by("orders", 1, epoch=5))

    merge(cache, answer(led_by("orders", 2, epoch=-1)))

    assert cache.topics["orders"].partitions == (PartitionMetadata(0, 2, -1),)


@pytest.mark.parametrize("error", [ErrorCode.LEADER_NOT_AVAILABLE, ErrorCode.LISTENER_NOT_FOUND])
def test_partition_error_removes_leader(error: ErrorCode) -> None:
    cache = knowing(led_by("orders", 1, 2))

    change = merge(cache, answer(topic("orders", partition(0, 1, 0, error), partition(1, 2))))

    assert change.leaders == (PartitionLeader("orders", 0, NO_LEADER, 0),)
    assert not change.errors
    assert cache.leaderless == {"orders"}


def test_missing_replica_keeps_leader() -> None:
    cache = knowing(topic("orders", partition(0, 1, error=ErrorCode.REPLICA_NOT_AVAILABLE)))

    assert leaders(cache) == [1]


@pytest.mark.parametrize("leader_id", [-1, -7, 99])
def test_unknown_leader_counts_as_none(leader_id: int) -> None:
    cache = knowing(led_by("orders", leader_id))

    assert leaders(cache) == [NO_LEADER]
    assert cache.leaderless == {"orders"}


def test_a_new_leader_ends_being_leaderless() -> None:
    cache = knowing(led_by("orders", NO_LEADER))

    merge(cache, answer(led_by("orders", 3, epoch=1)))

    assert cache.leaderless == set()


@pytest.mark.parametrize(
    "response",
    [
        answer(nodes=()),
        answer(led_by("orders", 3), nodes=()),
        answer(led_by("orders", 3), nodes=[MetadataResponseBroker(1, "", 9092, None)]),
    ],
)
def test_response_without_brokers_is_refused(response: MetadataResponse) -> None:
    cache = knowing(led_by("orders", 1))

    change = merge(cache, response)

    assert change == MetadataChange(error=ErrorCode.BROKER_NOT_AVAILABLE)
    assert leaders(cache) == [1]
    assert len(cache.nodes) == 3


def test_error_response_is_refused() -> None:
    cache = knowing(led_by("orders", 1))

    change = merge(cache, answer(led_by("orders", 3), error=ErrorCode.REBOOTSTRAP_REQUIRED))

    assert change == MetadataChange(error=ErrorCode.REBOOTSTRAP_REQUIRED)
    assert leaders(cache) == [1]


@pytest.mark.parametrize(
    "broken",
    [
        topic("orders"),
        topic("orders", partition(0, 3), partition(0, 2)),
        topic("orders", partition(0, 3), partition(2, 2)),
        topic("orders", partition(1, 3), partition(2, 2)),
        topic("orders", partition(-1, 3), partition(0, 2)),
    ],
    ids=["no partitions", "twice the same", "a gap", "not from 0", "negative"],
)
def test_invalid_topic_is_its_error(broken: MetadataResponseTopic) -> None:
    cache = knowing(led_by("orders", 1, 1), led_by("audit", 1))

    change = merge(cache, answer(broken, led_by("audit", 2, epoch=1)), "orders", "audit")

    assert change.errors == {"orders": ErrorCode.CORRUPT_MESSAGE}
    assert leaders(cache, "orders") == [1, 1]
    assert leaders(cache, "audit") == [2]


def test_topic_error_keeps_state() -> None:
    cache = knowing(led_by("orders", 1))

    change = merge(cache, answer(topic("orders", error=ErrorCode.TOPIC_AUTHORIZATION_FAILED)))

    assert change == MetadataChange(errors={"orders": ErrorCode.TOPIC_AUTHORIZATION_FAILED})
    assert leaders(cache) == [1]


def test_missing_topic_is_in_error() -> None:
    change = merge(MetadataCache(), answer(led_by("orders", 1)), "orders", "audit")

    assert change.errors == {"audit": UNKNOWN}


def test_unwanted_topics_are_ignored() -> None:
    cache = MetadataCache()

    change = merge(
        cache, answer(led_by("orders", 1), led_by("orders", 2), led_by("spam", 1), topic(None, error=UNKNOWN))
    )

    assert change.errors == {}
    assert list(cache.topics) == ["orders"]
    assert leaders(cache) == [1]


def test_unknown_code_is_an_error() -> None:
    response = MetadataResponseTopic(error_code=9_999, name="orders", topic_id=FIRST_ID, partitions=())

    assert merge(MetadataCache(), answer(response)).errors == {"orders": ErrorCode.UNKNOWN_SERVER_ERROR}


@pytest.mark.parametrize(
    "broker",
    [
        MetadataResponseBroker(-1, "host", 9092, None),
        MetadataResponseBroker(4, "", 9092, None),
        MetadataResponseBroker(4, " ", 9092, None),
        MetadataResponseBroker(4, "ho\nst", 9092, None),
        MetadataResponseBroker(4, "host", 0, None),
        MetadataResponseBroker(4, "host", -1, None),
        MetadataResponseBroker(4, "host", 65_536, None),
    ],
)
def test_broker_without_address_is_ignored(broker: MetadataResponseBroker) -> None:
    cache = MetadataCache()

    merge(cache, answer(led_by("orders", 4), nodes=[*brokers(1), broker]))

    assert set(cache.nodes) == {1}
    assert leaders(cache) == [NO_LEADER]


def test_node_changes_are_in_change() -> None:
    cache = knowing()
    nodes, topics = cache.nodes, cache.topics

    change = merge(
        cache,
        answer(nodes=[*brokers(1), MetadataResponseBroker(2, "elsewhere", 9092, None), *brokers(4)]),
        "orders",
    )

    assert [node.id for node in change.nodes] == [2, 4]
    assert change.removed_nodes == (3,)
    assert nodes is cache.nodes
    assert topics is cache.topics
    assert nodes[2] == Node(2, "elsewhere", 9092)


def test_another_rack_is_no_other_address() -> None:
    cache = knowing()

    change = merge(
        cache, answer(nodes=[MetadataResponseBroker(n, f"broker-{n}", 9092, None) for n in (1, 2, 3)])
    )

    assert change.nodes == ()
    assert cache.nodes[1].rack is None


def test_lost_node_leads_no_partition() -> None:
    cache = knowing(led_by("orders", 1, 2), led_by("audit", 3, 2, epoch=4))

    change = merge(cache, answer(led_by("orders", 1, 1), nodes=brokers(1, 3)), "orders")

    assert change.removed_nodes == (2,)
    assert change.leaders == (PartitionLeader("orders", 1, 1, 0), PartitionLeader("audit", 1, NO_LEADER, 4))
    assert cache.leaderless == {"audit"}


@pytest.mark.scenario("brokers-replaced")
def test_replaced_brokers_are_in_change() -> None:
    cache = knowing(led_by("orders", 1, 2, epoch=3))

    change = merge(
        cache,
        answer(
            led_by("orders", 1, 2, epoch=4),
            nodes=[MetadataResponseBroker(n, f"new-{n}", 9093, None) for n in (1, 2, 3)],
        ),
    )

    assert [node.host for node in change.nodes] == ["new-1", "new-2", "new-3"]
    assert change.removed_nodes == ()


@pytest.mark.scenario("leader-hint")
def test_newer_hint_is_used() -> None:
    cache = knowing(led_by("orders", 1, 2, epoch=5))

    change = cache.apply_leader_hint("orders", 1, 3, 6, [])

    assert change == MetadataChange(leaders=(PartitionLeader("orders", 1, 3, 6),))
    assert cache.topics["orders"].partitions == (PartitionMetadata(0, 1, 5), PartitionMetadata(1, 3, 6))


@pytest.mark.scenario("leader-hint")
def test_hint_may_name_new_node() -> None:
    cache = knowing(led_by("orders", NO_LEADER, epoch=5))

    change = cache.apply_leader_hint(
        "orders", 0, 7, 6, [NodeEndpoint(8, "h8", 1, None), NodeEndpoint(7, "h7", 2)]
    )

    assert change is not None
    assert change.nodes == (Node(7, "h7", 2),)
    assert set(cache.nodes) == {1, 2, 3, 7}
    assert cache.leaderless == set()


@pytest.mark.scenario("leader-hint")
@pytest.mark.parametrize(
    ("topic_name", "index", "leader_id", "epoch"),
    [
        ("orders", 0, 3, 5),
        ("orders", 0, 3, 4),
        ("orders", 0, 3, -1),
        ("orders", 0, -1, 6),
        ("orders", 0, 9, 6),
        ("orders", 2, 3, 6),
        ("orders", -1, 3, 6),
        ("audit", 0, 3, 6),
    ],
    ids=[
        "same epoch",
        "old epoch",
        "no epoch",
        "no leader",
        "unknown node",
        "no such partition",
        "negative",
        "no topic",
    ],
)
def test_old_hint_changes_nothing(topic_name: str, index: int, leader_id: int, epoch: int) -> None:
    cache = knowing(led_by("orders", 1, 2, epoch=5))

    assert cache.apply_leader_hint(topic_name, index, leader_id, epoch, []) is None
    assert leaders(cache) == [1, 2]


@pytest.mark.scenario("leader-hint")
def test_older_metadata_keeps_hint() -> None:
    cache = knowing(led_by("orders", 1, epoch=5))
    cache.apply_leader_hint("orders", 0, 3, 6, [])

    merge(cache, answer(led_by("orders", 1, epoch=5)))

    assert leaders(cache) == [3]


def test_forgotten_topic_is_new_again() -> None:
    cache = knowing(led_by("orders", NO_LEADER, epoch=5))

    cache.forget("orders")
    cache.forget("never heard of")

    assert cache.leaderless == set()
    assert merge(cache, answer(led_by("orders", 1, epoch=0))).sizes == {"orders": 1}


numbers = st.integers(-2, 6)
any_topic = st.builds(
    lambda name, code, topic_id, partitions: MetadataResponseTopic(
        error_code=code, name=name, topic_id=topic_id, partitions=tuple(partitions)
    ),
    st.sampled_from([None, "orders", "audit", "spam"]),
    st.sampled_from([0, 0, 0, 3, 5, 17, 29, 9_999]),
    st.sampled_from([NO_ID, FIRST_ID, SECOND_ID]),
    st.lists(
        st.builds(
            partition,
            numbers,
            numbers,
            numbers,
            st.sampled_from([ErrorCode.NONE, ErrorCode.LEADER_NOT_AVAILABLE]),
        ),
        max_size=4,
    )
    | st.integers(1, 4).map(lambda count: [partition(index, 1) for index in range(count)]),
)
any_answer = st.builds(
    lambda topics, nodes, cluster_id: answer(*topics, nodes=nodes, cluster_id=cluster_id),
    st.lists(any_topic, max_size=4),
    st.lists(
        st.builds(
            MetadataResponseBroker, numbers, st.sampled_from(["a", "b", ""]), st.sampled_from([0, 9092])
        ),
        max_size=4,
    ),
    st.sampled_from([None, "cluster", "another"]),
)


@given(st.lists(any_answer, max_size=8))
def test_changes_add_up_to_cache(answers: list[MetadataResponse]) -> None:
    cache = MetadataCache()
    told_leaders: dict[tuple[str, int], int] = {}
    told_sizes: dict[str, int] = {}
    told_nodes: set[int] = set()

    for response in answers:
        change = merge(cache, response, "orders", "audit")
        told_sizes.update(change.sizes)
        told_leaders.update({(name, index): leader for name, index, leader, _ in change.leaders})
        told_nodes = (told_nodes | {node.id for node in change.nodes}) - set(change.removed_nodes)

        assert set(cache.topics) <= {"orders", "audit"}
        for name, known in cache.topics.items():
            assert [one.index for one in known.partitions] == list(range(told_sizes[name]))
            for one in known.partitions:
                assert one.leader_id in cache.nodes or one.leader_id == NO_LEADER
                assert told_leaders[name, one.index] == one.leader_id
            assert (NO_LEADER in leaders(cache, name)) == (name in cache.leaderless)
        assert set(cache.nodes) == told_nodes


@pytest.mark.scenario("stale-metadata")
def test_known_topic_keeps_higher_epochs() -> None:
    cache = knowing(led_by("orders", 1, epoch=5, topic_id=NO_ID))
    merge(cache, answer(topic("orders", error=ErrorCode.TOPIC_AUTHORIZATION_FAILED, topic_id=NO_ID)))

    merge(cache, answer(led_by("orders", 2, epoch=4, topic_id=NO_ID)))

    assert leaders(cache) == [1]


@pytest.mark.scenario("stale-metadata")
def test_epoch_0_is_compared() -> None:
    cache = knowing(led_by("orders", 1, epoch=5))

    merge(cache, answer(led_by("orders", 2, epoch=0)))

    assert leaders(cache) == [1]


def test_an_epoch_below_none_is_none() -> None:
    cache = knowing(led_by("orders", 1, epoch=-7))

    assert cache.topics["orders"].partitions == (PartitionMetadata(0, 1, -1),)


def test_node_0_and_last_port_count() -> None:
    cache = MetadataCache()

    merge(cache, answer(led_by("orders", 0), nodes=[MetadataResponseBroker(0, "host", 65_535, None)]))

    assert cache.nodes == {0: Node(0, "host", 65_535)}
    assert leaders(cache) == [0]


@pytest.mark.parametrize("is_internal", [False, True])
def test_topic_is_internal_as_told(*, is_internal: bool) -> None:
    cache = knowing(replace(led_by("orders", 1), is_internal=is_internal))

    assert cache.topics["orders"].is_internal is is_internal


def test_no_leader_is_one_number() -> None:
    cache = knowing(led_by("orders", 99))

    assert leaders(cache) == [NO_LEADER]


@pytest.mark.parametrize(
    "change",
    [
        MetadataChange(sizes={"orders": 1}),
        MetadataChange(recreated=frozenset({"orders"})),
        MetadataChange(leaders=(PartitionLeader("orders", 0, 1, 1),)),
        MetadataChange(nodes=(Node(1, "host", 9092),)),
        MetadataChange(removed_nodes=(1,)),
        MetadataChange(is_other_cluster=True),
    ],
)
def test_every_kind_of_change_is_news(change: MetadataChange) -> None:
    assert change.is_news


def test_an_error_is_no_news() -> None:
    assert not MetadataChange(error=ErrorCode.BROKER_NOT_AVAILABLE, errors={"orders": UNKNOWN}).is_news


def test_a_sound_answer_is_no_error() -> None:
    assert merge(MetadataCache(), answer(led_by("orders", 1))).error is ErrorCode.NONE
