"""Kafka gives the expected answers of the conversations over SASL, and with ACLs.

`tests/conversations` checks the fake cluster against the same answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.conversations.conversation import Listener, Release
from tests.conversations.harness import run
from tests.conversations.suite import CONVERSATIONS
from tests.integration import secured
from tests.integration.test_conversations import KafkaHarness

if TYPE_CHECKING:
    from uuid import UUID

    from tests.conversations.conversation import Conversation, Topic

# Slow: the conversations test brokers and use no compiled module.
pytestmark = [pytest.mark.slow, pytest.mark.peers]

FIXTURES = {
    Release.KAFKA_2_8: "secured_kafka_282",
    Release.KAFKA_3_6: "secured_kafka_361",
    Release.KAFKA_4: "secured_kafka",
}

LISTENERS = {
    Listener.SASL: secured.Listener.SASL_PLAINTEXT,
    Listener.SHORT_SESSIONS: secured.Listener.SASL_SHORT,
}


class SecuredHarness:
    """Runs conversations at a listener with SASL; topics are created at the plaintext one."""

    def __init__(self, kafka: secured.SecuredKafka, listener: secured.Listener) -> None:
        self._kafka = kafka
        self._listener = listener
        self._admin = KafkaHarness(kafka)

    async def address(self, topic: str, *, of_follower: bool) -> tuple[str, int]:  # noqa: ARG002 - one broker
        address = self._kafka.address_of(self._listener)
        return address.host, address.port

    async def create_topic(self, name: str, topic: Topic) -> UUID:
        return await self._admin.create_topic(name, topic)

    async def delete_topic(self, name: str) -> None:
        await self._admin.delete_topic(name)

    async def move_leader(self, topic: str) -> None:
        await self._admin.move_leader(topic)

    async def lose_follower(self, topic: str) -> None:
        await self._admin.lose_follower(topic)

    async def deny(self, resource: str, name: str, operation: str) -> None:
        await asyncio.to_thread(self._kafka.deny, resource, name, operation, "alice")

    async def ready(self) -> None:
        await self._admin.ready()


@pytest.mark.parametrize(
    ("release", "conversation"),
    [
        pytest.param(release, conversation, id=f"{release.name}-{conversation}")
        for release in Release
        for conversation in CONVERSATIONS
        if conversation.since <= release and conversation.listener.has_sasl
    ],
)
async def test_kafka_gives_expected_answers(
    release: Release, conversation: Conversation, request: pytest.FixtureRequest
) -> None:
    kafka: secured.SecuredKafka = request.getfixturevalue(FIXTURES[release])
    harness = SecuredHarness(kafka, LISTENERS[conversation.listener])
    await harness.ready()
    assert await run(conversation, harness) == conversation.expected(release)
