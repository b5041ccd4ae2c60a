"""Where conversations are held, and how.

The one idea: a stage only knows where the brokers listen, and how topics and brokers come and go there. All
else, the bytes that are sent and the reading of what comes back, is the same on every stage.
"""

from __future__ import annotations

import asyncio
from asyncio import IncompleteReadError
from typing import TYPE_CHECKING, Protocol

from aioproducer.protocol.frame import decode_response, read_correlation_id
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic
from tests.conversations.answers import tell
from tests.conversations.conversation import (
    CLOSED,
    NO_ANSWER,
    FollowerLost,
    LeaderMoved,
    TopicCreated,
    TopicDeleted,
    Turn,
)
from tests.conversations.lines import CORRELATION_ID, PROBE, PROBE_CORRELATION_ID
from tests.conversations.names import Names
from tests.testing.raw_client import RawClient

if TYPE_CHECKING:
    from uuid import UUID

    from tests.conversations.conversation import Change, Conversation, Topic

FIRST_METADATA_WITH_IDS = 10


class Stage(Protocol):
    """Brokers to talk with."""

    async def address(self, topic: str, *, of_follower: bool) -> tuple[str, int]:
        """Tell where the leader of the topic's partition 0 listens, or a follower of it."""
        ...

    async def create_topic(self, name: str, topic: Topic) -> None:
        """Return when the brokers know the topic."""
        ...

    async def delete_topic(self, name: str) -> None:
        """Return when the brokers have forgotten the topic."""
        ...

    async def move_leader(self, topic: str) -> None:
        """Return when a follower of partition 0 leads it."""
        ...

    async def lose_follower(self, topic: str) -> None:
        """Return when a follower of partition 0 is down, and the leader knows."""
        ...


async def hold(conversation: Conversation, stage: Stage) -> list[str]:
    """Say all lines of a conversation, and return what was answered to each."""
    speaker = Speaker(stage)
    answers = []
    try:
        for step in conversation.steps:
            if isinstance(step, Turn):
                answers.append(await speaker.say(step))
            else:
                await speaker.hang_up()
                await _change(step, stage, speaker.names)
    finally:
        await speaker.hang_up()
    return answers


class Speaker:
    """The client's end: a connection to a leader or a follower, and the next when a broker has closed it."""

    def __init__(self, stage: Stage) -> None:
        self.names = Names()
        self._stage = stage
        self._clients: dict[bool, RawClient] = {}

    async def say(self, turn: Turn) -> str:
        """Send a frame, and tell of its answer."""
        said = turn.line(self.names)
        client = await self._connected(turn.to_follower)
        client.send_bytes(said.frame)
        if said.answer is None:
            client.send_bytes(PROBE)
        try:
            frame = await client.frame()
        except (IncompleteReadError, ConnectionError):
            await self.hang_up()
            return CLOSED
        if read_correlation_id(frame) == PROBE_CORRELATION_ID:
            return NO_ANSWER
        if said.answer is None:
            await self.hang_up()
            return f"an answer of {len(frame)} bytes"
        correlation_id, response = decode_response(said.answer, frame, said.version)
        assert correlation_id == CORRELATION_ID
        return tell(response, self.names)

    async def hang_up(self) -> None:
        while self._clients:
            _, client = self._clients.popitem()
            await client.__aexit__()

    async def _connected(self, to_follower: bool) -> RawClient:  # noqa: FBT001 - a key
        if to_follower not in self._clients:
            address = await self._stage.address(self.names.here("orders"), of_follower=to_follower)
            self._clients[to_follower] = await connect(*address)
        return self._clients[to_follower]


async def connect(host: str, port: int) -> RawClient:
    return RawClient(*await asyncio.open_connection(host, port))


async def _change(step: Change, stage: Stage, names: Names) -> None:
    name = names.here(step.name)
    match step:
        case TopicCreated():
            await stage.create_topic(name, step.topic)
            names.has_id(step.name, await _topic_id(stage, name))
        case TopicDeleted():
            await stage.delete_topic(name)
        case LeaderMoved():
            await stage.move_leader(name)
        case FollowerLost():
            await stage.lose_follower(name)


async def _topic_id(stage: Stage, name: str) -> UUID:
    request = MetadataRequest(topics=(MetadataRequestTopic(name),), allow_auto_topic_creation=False)
    async with await connect(*await stage.address(name, of_follower=False)) as client:
        [topic] = (await client.ask(request, FIRST_METADATA_WITH_IDS)).topics
    return topic.topic_id
