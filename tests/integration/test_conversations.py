"""Kafka gives the expected answers of every protocol conversation.

`tests/conversations` checks the fake cluster against the same answers.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from kio.schema.errors import ErrorCode as AdminErrorCode

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.init_producer_id import InitProducerIdRequest
from tests.conversations.conversation import Release
from tests.conversations.harness import connect, run, topic_id_at
from tests.conversations.suite import CONVERSATIONS
from tests.integration.conftest import OLDER, OLDEST
from tests.integration.kafka import NEWEST, Kafka, KafkaCluster
from tests.integration.topics import AdminError
from tests.testing.batches import make_batch, put, spoil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from tests.conversations.conversation import Conversation, Topic

# Slow: the conversations test brokers and use no compiled module.
pytestmark = [pytest.mark.slow, pytest.mark.peers]

TIMEOUT = 60.0

BROKEN = spoil(make_batch(b"value"), put(">b", 66, 1), fix_crc=False)

FIXTURES = {
    Release.KAFKA_2_8: "kafka_282",
    Release.KAFKA_3_6: "kafka_361",
    Release.KAFKA_4: "kafka",
}

NOT_LEADING_YET = {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.NOT_LEADER_OR_FOLLOWER}


class KafkaHarness:
    """Runs conversations against a real broker."""

    def __init__(self, kafka: KafkaCluster) -> None:
        self._kafka = kafka

    async def address(self, topic: str, *, of_follower: bool) -> tuple[str, int]:
        addresses = await asyncio.to_thread(self._kafka.broker_addresses)
        if len(addresses) == 1:
            [address] = addresses.values()
        else:
            leader = await asyncio.to_thread(self._kafka.leader, topic)
            address = addresses[self._follower(leader) if of_follower else leader]
        return address.host, address.port

    async def create_topic(self, name: str, topic: Topic) -> UUID:
        async def is_created() -> bool:
            try:
                await asyncio.to_thread(
                    self._kafka.create_topic, name, topic.partitions, topic.replicas, topic.config
                )
            except AdminError as error:
                # With ZooKeeper a name is free again only a while after its topic is gone.
                if error.code is not AdminErrorCode.topic_already_exists:
                    raise
                return False
            return True

        await until(is_created)
        await self._until_led(name, topic.partitions)
        return await topic_id_at(await self.address(name, of_follower=False), name)

    async def delete_topic(self, name: str) -> None:
        await asyncio.to_thread(self._kafka.delete_topic, name)

    async def move_leader(self, topic: str) -> None:
        leader = await asyncio.to_thread(self._kafka.leader, topic)
        await asyncio.to_thread(self._kafka.move_leader, topic, 0, self._follower(leader))
        await self._until_led(topic, 1)
        await self._until_refused(topic, ErrorCode.NOT_LEADER_OR_FOLLOWER, of_follower=True)

    async def deny(self, resource: str, name: str, operation: str) -> None:
        message = f"this broker has no ACLs to deny {operation} on {resource} {name}"
        raise NotImplementedError(message)

    async def lose_follower(self, topic: str) -> None:
        """Stop a follower; min.insync.replicas must equal the number of replicas for the check below."""
        follower = self._follower(await asyncio.to_thread(self._kafka.leader, topic))
        await asyncio.to_thread(self._kafka.stop_node, follower)
        await asyncio.to_thread(self._kafka.wait_until_in_sync)
        await self._until_refused(topic, ErrorCode.NOT_ENOUGH_REPLICAS, of_follower=False)

    def _follower(self, leader: int) -> int:
        return next(node for node in self._kafka.broker_addresses() if node != leader)

    async def ready(self) -> None:
        """Wait until the broker has producer ids: its controller assigns them."""
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000)
        async with await connect(*await self.address("", of_follower=False)) as client:

            async def has_ids() -> bool:
                return (await client.ask(request, 0)).error_code == ErrorCode.NONE

            await until(has_ids)

    # A broker's metadata is a moment ahead of its partitions. A corrupt batch shows the state of a
    # partition and stores nothing: the broker checks leadership and replicas before the batch.

    async def _until_led(self, name: str, partitions: int) -> None:
        async with await connect(*await self.address(name, of_follower=False)) as client:

            async def is_led(partition: int) -> bool:
                answer = await client.produce(name, partition, BROKEN, acks=1)
                return answer.error_code not in NOT_LEADING_YET

            for partition in range(partitions):
                await until(partial(is_led, partition))

    async def _until_refused(self, topic: str, code: ErrorCode, *, of_follower: bool) -> None:
        async with await connect(*await self.address(topic, of_follower=of_follower)) as client:

            async def is_refused() -> bool:
                return (await client.produce(topic, 0, BROKEN)).error_code == code

            await until(is_refused)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def kafka_creating(clusters: list[KafkaCluster]) -> Iterator[Kafka]:
    """One broker of the newest Kafka that creates requested topics."""
    yield from creating(NEWEST, clusters)


@pytest.fixture(scope="module")
def kafka_361_creating(clusters: list[KafkaCluster]) -> Iterator[Kafka]:
    """One broker of Kafka 3.6.1 that creates requested topics."""
    yield from creating(OLDER, clusters)


@pytest.fixture(scope="module")
def kafka_282_creating(clusters: list[KafkaCluster]) -> Iterator[Kafka]:
    """One broker of Kafka 2.8.2 that creates requested topics."""
    yield from creating(OLDEST, clusters)


def creating(version: str, clusters: list[KafkaCluster]) -> Iterator[Kafka]:
    with KafkaCluster(version, config={"auto.create.topics.enable": True}) as cluster:
        clusters.append(cluster)
        yield cluster
        clusters.remove(cluster)


def fixture_for(release: Release, conversation: Conversation) -> str:
    if conversation.brokers > 1:
        return f"{FIXTURES[release]}_three"
    return f"{FIXTURES[release]}_creating" if conversation.creates_topics else FIXTURES[release]


@pytest.mark.parametrize(
    ("release", "conversation"),
    [
        pytest.param(release, conversation, id=f"{release.name}-{conversation}")
        for release in Release
        for conversation in CONVERSATIONS
        if conversation.since <= release and not conversation.listener.has_sasl
    ],
)
async def test_kafka_gives_expected_answers(
    release: Release, conversation: Conversation, request: pytest.FixtureRequest
) -> None:
    kafka = request.getfixturevalue(fixture_for(release, conversation))
    if not isinstance(kafka, KafkaCluster):
        pytest.skip("the configuration of a foreign broker is unknown")
    harness = KafkaHarness(kafka)
    if conversation.brokers == 1:
        await harness.ready()
    assert await run(conversation, harness) == conversation.expected(release)
