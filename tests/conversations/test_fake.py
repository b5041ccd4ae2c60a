"""The fake answers as Kafka does, conversation by conversation.

That Kafka answers so is shown in `tests/integration/test_conversations.py`, with the same
conversations and the same answers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.testing import KAFKA_2_8, KAFKA_3_6, KAFKA_4, BrokerVersion, FakeCluster, TopicConfig
from tests.conversations.conversation import Release
from tests.conversations.stage import hold
from tests.conversations.suite import CONVERSATIONS

if TYPE_CHECKING:
    from tests.conversations.conversation import Conversation, Topic

# Of the compiled modules only one is in them, and it has tests of its own.
pytestmark = pytest.mark.slow

TOO_LONG = "a record's length that is too high is always refused as invalid"

NOT_YET: dict[tuple[Release, str], str] = {
    (Release.KAFKA_4, "a record length that is too high, packed"): TOO_LONG,
    (Release.KAFKA_3_6, "a record length that is too high, packed"): TOO_LONG,
    (Release.KAFKA_2_8, "a record length that is too high"): TOO_LONG,
}
"""Where the fake does otherwise, and what it does."""

PLAYED: dict[Release, BrokerVersion] = {
    Release.KAFKA_2_8: KAFKA_2_8,
    Release.KAFKA_3_6: KAFKA_3_6,
    Release.KAFKA_4: KAFKA_4,
}

STRICTER = frozenset(
    {
        "a client with a name that is no text",
        "what follows the end of a request is not looked at",
        "the same partition twice in a request",
        "the same partition twice in a request, and one of the batches is broken",
        "a batch with a byte too many",
        "a batch with the start of another",
        "a length that ends before the last record",
        "the delete horizon flag",
        "attributes that mean nothing",
        "a producer id with sequence 0 and no epoch",
        "a record length of five bytes and more",
        "attributes of a record",
        "first offset delta 5",
        "second offset delta 0",
        "second offset delta -1",
        "a key length of -2",
        "a header key that is no UTF-8",
        "attributes of a record, packed",
        "a record length that is too high, packed",
        "first offset delta 5, packed",
        "second offset delta 0, packed",
        "a header with another highest timestamp than that of the records",
        "a first timestamp that is too new, and records that are not",
        "the flag that the time is the broker's, where it is not",
    }
)
"""What Kafka overlooks, or has another error for, and a strict fake refuses as soon as it sees it."""


def known(release: Release, conversation: Conversation) -> list[pytest.MarkDecorator]:
    """Mark a conversation that the fake does not answer rightly yet."""
    reason = NOT_YET.get((release, conversation.name))
    return [pytest.mark.xfail(strict=True, reason=reason)] if reason else []


class FakeStage:
    """The fake, told of topics as Kafka is."""

    def __init__(self, cluster: FakeCluster, config: TopicConfig) -> None:
        self._cluster = cluster
        self._config = config

    async def address(self, topic: str, *, of_follower: bool) -> tuple[str, int]:
        leader = self._leader(topic)
        node = self._cluster.topology.nodes[self._follower(leader) if of_follower else leader]
        return node.host, node.port

    async def create_topic(self, name: str, topic: Topic) -> None:
        options: dict[str, Any] = {option.replace(".", "_"): value for option, value in topic.config.items()}
        config = replace(self._config, **options)
        self._cluster.create_topic(name, topic.partitions, replication_factor=topic.replicas, config=config)

    async def delete_topic(self, name: str) -> None:
        self._cluster.delete_topic(name)

    async def move_leader(self, topic: str) -> None:
        self._cluster.move_leader(topic, 0, self._follower(self._leader(topic)))

    async def lose_follower(self, topic: str) -> None:
        await self._cluster.stop_node(self._follower(self._leader(topic)))

    def _leader(self, topic: str) -> int:
        return self._cluster.leader_of(topic, 0) if topic in self._cluster.topology.topics else 1

    def _follower(self, leader: int) -> int:
        return next(node.node_id for node in self._cluster.topology.live_nodes() if node.node_id != leader)


async def answers_of(release: Release, conversation: Conversation, *, strict: bool) -> list[str]:
    """Hold a conversation with a fake of its own."""
    version = PLAYED[release]
    async with FakeCluster(
        conversation.brokers, versions=version, auto_create_topics=conversation.creates_topics, strict=strict
    ) as cluster:
        return await hold(conversation, FakeStage(cluster, version.topic_config))


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
async def test_the_fake_answers_as_kafka_does(release: Release, conversation: Conversation) -> None:
    answers = await answers_of(release, conversation, strict=False)
    assert answers == conversation.expected(release)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=str)
async def test_a_strict_fake_says_why_and_differs_from_kafka_only_where_it_is_known_to(
    conversation: Conversation,
) -> None:
    answers = await answers_of(Release.KAFKA_4, conversation, strict=True)
    expected = conversation.expected(Release.KAFKA_4)
    as_kafka_does = [*map(without_reason, answers)] == [*map(without_reason, expected)]
    assert as_kafka_does is (conversation.name not in STRICTER)


def without_reason(answer: str) -> str:
    return answer.replace(", why", "")


def test_every_conversation_has_a_name_of_its_own_and_the_exceptions_are_among_them() -> None:
    names = Counter(conversation.name for conversation in CONVERSATIONS)
    assert [name for name, count in names.items() if count > 1] == []
    assert {name for _, name in NOT_YET} | STRICTER <= names.keys()
