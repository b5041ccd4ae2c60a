"""ACLs of a fake cluster; the answers of each API are in the conversations too."""

from __future__ import annotations

import pytest

from aioproducer import Producer
from aioproducer.error_code import ErrorCode
from aioproducer.protocol.init_producer_id import InitProducerIdRequest
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic
from aioproducer.testing import KAFKA_2_1, KAFKA_2_8, KAFKA_4, BrokerVersion, FakeCluster, Operation
from aioproducer.testing.authorizer import Authorizer, ResourceType, Rule
from tests.testing.batches import make_batch
from tests.testing.raw_client import RawClient
from tests.testing.secured import USERS, log_in

VALID = make_batch(b"a")
DENIED = ErrorCode.TOPIC_AUTHORIZATION_FAILED


def rule(
    name: str, operation: Operation = Operation.WRITE, *, allows: bool = False, principal: str | None = None
) -> Rule:
    return Rule(
        allows=allows, operation=operation, resource=ResourceType.TOPIC, name=name, principal=principal
    )


def may_write(authorizer: Authorizer, name: str, principal: str = "alice") -> bool:
    return authorizer.allows(principal, Operation.WRITE, ResourceType.TOPIC, name)


def test_everything_is_allowed_without_rules() -> None:
    assert may_write(Authorizer(), "orders")


@pytest.mark.parametrize(
    ("pattern", "denied"),
    [("orders", {"orders"}), ("ord*", {"orders", "ord"}), ("*", {"orders", "ord", "audit"})],
)
def test_names_and_prefixes(pattern: str, denied: set[str]) -> None:
    authorizer = Authorizer([rule(pattern)])
    assert {name for name in ("orders", "ord", "audit") if not may_write(authorizer, name)} == denied


def test_last_rule_decides() -> None:
    authorizer = Authorizer([rule("*"), rule("orders", allows=True), rule("orders", principal="bob")])

    assert may_write(authorizer, "orders")
    assert not may_write(authorizer, "orders", "bob")
    assert not may_write(authorizer, "audit")


def test_other_resources_are_not_covered() -> None:
    authorizer = Authorizer([rule("*", Operation.ALL)])

    assert authorizer.allows("alice", Operation.WRITE, ResourceType.TRANSACTIONAL_ID, "orders")


def test_writer_may_describe() -> None:
    authorizer = Authorizer([rule("*", Operation.ALL), rule("orders", allows=True)])

    assert authorizer.allows("alice", Operation.DESCRIBE, ResourceType.TOPIC, "orders")
    assert not authorizer.allows("alice", Operation.CREATE, ResourceType.TOPIC, "orders")


def test_denied_writer_may_describe() -> None:
    authorizer = Authorizer([rule("orders")])

    assert authorizer.allows("alice", Operation.DESCRIBE, ResourceType.TOPIC, "orders")


@pytest.mark.parametrize(
    ("version", "with_topics", "without_topics"),
    [
        (KAFKA_4, ErrorCode.NONE, ErrorCode.CLUSTER_AUTHORIZATION_FAILED),
        (KAFKA_2_8, ErrorCode.NONE, ErrorCode.CLUSTER_AUTHORIZATION_FAILED),
        (KAFKA_2_1, ErrorCode.CLUSTER_AUTHORIZATION_FAILED, ErrorCode.CLUSTER_AUTHORIZATION_FAILED),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_idempotent_write_is_denied(
    version: BrokerVersion, with_topics: ErrorCode, without_topics: ErrorCode
) -> None:
    """Since Kafka 2.8 a client that may write to any topic needs no IDEMPOTENT_WRITE (KIP-679)."""
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
    async with FakeCluster(versions=version) as cluster, await RawClient.connect(cluster) as client:
        cluster.deny("IDEMPOTENT_WRITE")
        assert (await client.ask(request, 1)).error_code == with_topics
        cluster.deny("WRITE", topic="*")
        assert (await client.ask(request, 1)).error_code == without_topics
        cluster.allow("WRITE", topic="orders")
        assert (await client.ask(request, 1)).error_code == with_topics


async def test_denied_topic_is_not_created() -> None:
    request = MetadataRequest(topics=(MetadataRequestTopic("orders"),), allow_auto_topic_creation=True)
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.deny("CREATE")
        assert (await client.ask(request, 9)).topics[0].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert "orders" in cluster.topology.topics

        cluster.delete_topic("orders")
        cluster.deny("CREATE", topic="orders")
        assert (await client.ask(request, 9)).topics[0].error_code == DENIED
        assert "orders" not in cluster.topology.topics


async def test_authorized_operations_show_acls() -> None:
    request = MetadataRequest(
        topics=(MetadataRequestTopic("orders"),),
        include_topic_authorized_operations=True,
        include_cluster_authorized_operations=True,
    )
    async with FakeCluster(topics=["orders"]) as cluster, await RawClient.connect(cluster) as client:
        before = await client.ask(request, 9)
        cluster.deny(Operation.WRITE, topic="orders")
        cluster.deny(Operation.IDEMPOTENT_WRITE)
        after = await client.ask(request, 9)
    lost = before.topics[0].topic_authorized_operations ^ after.topics[0].topic_authorized_operations
    assert lost == 1 << Operation.WRITE
    lost = before.cluster_authorized_operations ^ after.cluster_authorized_operations
    assert lost == 1 << Operation.IDEMPOTENT_WRITE


@pytest.mark.parametrize("version", [9, 13])
async def test_only_denied_user_is_refused(version: int) -> None:
    async with FakeCluster(topics=["orders"], security="SASL_PLAINTEXT", users=USERS) as cluster:
        cluster.deny("WRITE", topic="orders", principal="User:alice")
        topic_id = cluster.topology.topic("orders").topic_id
        for user, code in (("alice", DENIED), ("bob", ErrorCode.NONE)):
            async with await RawClient.connect(cluster) as client:
                await log_in(client, user)
                if version >= 13:
                    answer = await client.produce_by_id(topic_id, 0, VALID)
                else:
                    answer = await client.produce("orders", 0, VALID)
                assert answer.error_code == code


async def test_producer_works_once_acl_is_added() -> None:
    async with FakeCluster(topics=["orders", "audit"]) as cluster:
        cluster.deny("WRITE", topic="orders")
        async with Producer(cluster.bootstrap, linger_ms=0) as producer:
            failed = producer.send("orders", b"1")
            await producer.send("audit", b"1")
            with pytest.raises(Exception, match="TOPIC_AUTHORIZATION_FAILED"):
                await failed
            cluster.allow("WRITE", topic="orders")
            await producer.send("orders", b"2")
        assert [record.value for record in cluster.records("orders")] == [b"2"]


def test_impossible_rules_are_refused() -> None:
    cluster = FakeCluster()
    with pytest.raises(ValueError, match="there is no operation 'WRIT'; did you mean WRITE"):
        cluster.deny("WRIT", topic="orders")
    with pytest.raises(ValueError, match="an ACL is for a topic or for a transactional id, not for both"):
        cluster.allow("WRITE", topic="orders", transactional_id="payments")
