"""Runs conversations against a harness: the fake cluster, or real brokers.

    run(conversation, harness) ──▶ Client ──bytes──▶ broker of the harness

A harness knows the brokers' addresses, and creates and deletes topics. The requests and the
reading of responses are the same for every harness.
"""

from __future__ import annotations

import asyncio
from asyncio import IncompleteReadError
from typing import TYPE_CHECKING, Protocol

from aioproducer.protocol.frame import decode_response, read_correlation_id
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic
from aioproducer.protocol.sasl import SaslAuthenticateResponse
from tests.conversations.conversation import (
    CLOSED,
    NO_ANSWER,
    Denied,
    Exchange,
    FollowerLost,
    LeaderMoved,
    Pause,
    TopicCreated,
    TopicDeleted,
)
from tests.conversations.description import describe
from tests.conversations.requests import CORRELATION_ID, PROBE, PROBE_CORRELATION_ID
from tests.conversations.topic_names import TopicNames
from tests.testing.raw_client import RawClient

if TYPE_CHECKING:
    from uuid import UUID

    from tests.conversations.conversation import Change, Conversation, Topic

FIRST_METADATA_WITH_IDS = 10


class Harness(Protocol):
    """Brokers that can run a conversation."""

    async def address(self, topic: str, *, of_follower: bool) -> tuple[str, int]:
        """Return host and port of the leader of the topic's partition 0, or of a follower."""
        ...

    async def create_topic(self, name: str, topic: Topic) -> UUID:
        """Create the topic, and return its id when the brokers know it."""
        ...

    async def delete_topic(self, name: str) -> None:
        """Delete the topic, and return when the brokers have dropped it."""
        ...

    async def move_leader(self, topic: str) -> None:
        """Make a follower the leader of partition 0, and return when it leads."""
        ...

    async def deny(self, resource: str, name: str, operation: str) -> None:
        """Deny alice an operation, and return when the brokers know."""
        ...

    async def lose_follower(self, topic: str) -> None:
        """Stop a follower of partition 0, and return when the leader knows."""
        ...


async def run(conversation: Conversation, harness: Harness) -> list[str]:
    """Send all requests of a conversation, and return the description of each response."""
    client = Client(harness)
    answers = []
    try:
        for step in conversation.steps:
            if isinstance(step, Exchange):
                answers.append(await client.exchange(step))
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                await client.close()
                await _change(step, harness, client.names)
    finally:
        await client.close()
    return answers


class Client:
    """Connections to a leader and a follower; a closed one is replaced at the next request."""

    def __init__(self, harness: Harness) -> None:
        self.names = TopicNames()
        self._harness = harness
        self._clients: dict[bool, RawClient] = {}

    async def exchange(self, exchange: Exchange) -> str:
        """Send a frame, and return the description of its response."""
        request = exchange.request(self.names)
        client = await self._connected(exchange.to_follower)
        client.send_bytes(request.frame)
        if request.response is None:
            client.send_bytes(PROBE)
        try:
            frame = await client.frame()
        except (IncompleteReadError, ConnectionError):
            await self.close()
            return CLOSED
        if read_correlation_id(frame) == PROBE_CORRELATION_ID:
            return NO_ANSWER
        if request.response is None:
            await self.close()
            return f"an answer of {len(frame)} bytes"
        correlation_id, response = decode_response(request.response, frame, request.version)
        assert correlation_id == CORRELATION_ID
        if isinstance(response, SaslAuthenticateResponse):
            self.names.challenge = response.auth_bytes
        return describe(response, self.names)

    async def close(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.__aexit__()

    async def _connected(self, to_follower: bool) -> RawClient:  # noqa: FBT001 - a key
        if to_follower not in self._clients:
            address = await self._harness.address(self.names.on_broker("orders"), of_follower=to_follower)
            self._clients[to_follower] = await connect(*address)
        return self._clients[to_follower]


async def connect(host: str, port: int) -> RawClient:
    return RawClient(*await asyncio.open_connection(host, port))


async def _change(step: Change, harness: Harness, names: TopicNames) -> None:
    name = names.on_broker(step.name)
    match step:
        case TopicCreated():
            names.set_id(step.name, await harness.create_topic(name, step.topic))
        case TopicDeleted():
            await harness.delete_topic(name)
        case Denied():
            await harness.deny(step.resource, name, step.operation)
        case LeaderMoved():
            await harness.move_leader(name)
        case FollowerLost():
            await harness.lose_follower(name)


async def topic_id_at(address: tuple[str, int], name: str) -> UUID:
    """Ask a plaintext listener for the id of a topic."""
    request = MetadataRequest(topics=(MetadataRequestTopic(name),), allow_auto_topic_creation=False)
    async with await connect(*address) as client:
        [topic] = (await client.ask(request, FIRST_METADATA_WITH_IDS)).topics
    return topic.topic_id
