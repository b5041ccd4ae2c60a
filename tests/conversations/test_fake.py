"""The fake gives the expected answers of every conversation.

`tests/integration/test_conversations.py` shows that Kafka gives the same answers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.testing import KAFKA_2_8, KAFKA_3_6, KAFKA_4, BrokerVersion, FakeCluster, TopicConfig
from tests.conversations.conversation import Listener, Release
from tests.conversations.harness import run
from tests.conversations.sasl_requests import SESSION_LIFETIME_MS, USERS
from tests.conversations.suite import CONVERSATIONS

if TYPE_CHECKING:
    from uuid import UUID

    from tests.conversations.conversation import Conversation, Topic

# Slow: the conversations use only one compiled module, and it has its own tests.
pytestmark = pytest.mark.slow

TOO_LONG = "the fake always refuses a record length too high as invalid"

NOT_YET: dict[tuple[Release, str], str] = {
    (Release.KAFKA_4, "a record length too high, packed"): TOO_LONG,
    (Release.KAFKA_3_6, "a record length too high, packed"): TOO_LONG,
    (Release.KAFKA_2_8, "a record length too high"): TOO_LONG,
}
"""Known differences between the fake and Kafka, with the reason."""

PLAYED: dict[Release, BrokerVersion] = {
    Release.KAFKA_2_8: KAFKA_2_8,
    Release.KAFKA_3_6: KAFKA_3_6,
    Release.KAFKA_4: KAFKA_4,
}

STRICTER = frozenset(
    {
        "a client name without UTF-8",
        "bytes after a request are ignored",
        "a repeated partition in a request",
        "a repeated partition with a corrupt batch",
        "a batch with an extra byte",
        "a batch with the start of another",
        "a length before the last record",
        "the delete horizon flag",
        "unknown attributes",
        "a producer id with sequence 0 and no epoch",
        "a record length of five bytes and more",
        "attributes of a record",
        "first offset delta 5",
        "second offset delta 0",
        "second offset delta -1",
        "a key length of -2",
        "a header key without UTF-8",
        "attributes of a record, packed",
        "a record length too high, packed",
        "first offset delta 5, packed",
        "second offset delta 0, packed",
        "a header with a wrong max timestamp",
        "a base timestamp too new, with valid records",
        "the log-append-time flag in a create-time topic",
    }
)
"""Conversations with faults that Kafka overlooks, or has another error for; a strict fake refuses them."""


def known(release: Release, conversation: Conversation) -> list[pytest.MarkDecorator]:
    """Mark a conversation with a known difference as an expected failure."""
    reason = NOT_YET.get((release, conversation.name))
    return [pytest.mark.xfail(strict=True, reason=reason)] if reason else []


class FakeHarness:
    """Runs conversations against a fake cluster."""

    def __init__(self, cluster: FakeCluster, config: TopicConfig) -> None:
        self._cluster = cluster
        self._config = config

    async def address(self, topic: str, *, of_follower: bool) -> tuple[str, int]:
        leader = self._leader(topic)
        node = self._cluster.topology.nodes[self._follower(leader) if of_follower else leader]
        return node.host, node.port

    async def create_topic(self, name: str, topic: Topic) -> UUID:
        options: dict[str, Any] = {option.replace(".", "_"): value for option, value in topic.config.items()}
        config = replace(self._config, **options)
        self._cluster.create_topic(name, topic.partitions, replication_factor=topic.replicas, config=config)
        return self._cluster.topology.topic(name).topic_id

    async def delete_topic(self, name: str) -> None:
        self._cluster.delete_topic(name)

    async def deny(self, resource: str, name: str, operation: str) -> None:
        key = resource.replace(" ", "_")
        self._cluster.deny(operation, **{key: name}, principal="alice")

    async def move_leader(self, topic: str) -> None:
        self._cluster.move_leader(topic, 0, self._follower(self._leader(topic)))

    async def lose_follower(self, topic: str) -> None:
        await self._cluster.stop_node(self._follower(self._leader(topic)))

    def _leader(self, topic: str) -> int:
        return self._cluster.leader_of(topic, 0) if topic in self._cluster.topology.topics else 1

    def _follower(self, leader: int) -> int:
        return next(node.node_id for node in self._cluster.topology.live_nodes() if node.node_id != leader)


async def answers_of(release: Release, conversation: Conversation, *, strict: bool) -> list[str]:
    """Run a conversation against a new fake cluster."""
    version = PLAYED[release]
    async with FakeCluster(
        conversation.brokers,
        versions=version,
        auto_create_topics=conversation.creates_topics,
        strict=strict,
        **security_options(conversation),
    ) as cluster:
        return await run(conversation, FakeHarness(cluster, version.topic_config))


def security_options(conversation: Conversation) -> dict[str, Any]:
    if not conversation.listener.has_sasl:
        return {}
    lifetime = SESSION_LIFETIME_MS if conversation.listener is Listener.SHORT_SESSIONS else None
    return {"security": "SASL_PLAINTEXT", "users": USERS, "session_lifetime_ms": lifetime}


@pytest.mark.parametrize(
    ("release", "conversation"),
    [
        pytest.param(
            release, conversation, id=f"{release.name}-{conversation}", marks=known(release, conversation)
        )
        for release in Release
        for conversation in CONVERSATIONS
        if conversation.since <= release
    ],
)
async def test_fake_answers_as_kafka(release: Release, conversation: Conversation) -> None:
    answers = await answers_of(release, conversation, strict=False)
    assert answers == conversation.expected(release)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=str)
async def test_strict_fake_differs_where_listed(
    conversation: Conversation,
) -> None:
    """A strict fake adds reasons, and differs from Kafka only in the conversations of STRICTER."""
    answers = await answers_of(Release.KAFKA_4, conversation, strict=True)
    expected = conversation.expected(Release.KAFKA_4)
    as_kafka_does = [*map(without_reason, answers)] == [*map(without_reason, expected)]
    assert as_kafka_does is (conversation.name not in STRICTER)


def without_reason(answer: str) -> str:
    return answer.replace(", why", "")


def test_conversation_names_are_unique() -> None:
    """The names are unique, and each exception names an existing conversation."""
    names = Counter(conversation.name for conversation in CONVERSATIONS)
    assert [name for name, count in names.items() if count > 1] == []
    assert {name for _, name in NOT_YET} | STRICTER <= names.keys()
