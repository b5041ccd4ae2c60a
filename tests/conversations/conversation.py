"""What a conversation is: lines said to a broker, and what it has to answer to each.

The one idea: an answer is compared as a short text that leaves out all in which two brokers
differ by nature (ids, ports, the names of topics, the wording of errors). So one text holds for
a real broker and for the fake, and is read without a key:

    orders-0 NONE at 3, log from 0                            stored; the log starts at offset 0
    orders-0 INVALID_RECORD, log from 0, records 0 2, why     refused, with the broker's own words
    closed                                                    hung up without an answer
    no answer                                                 silent, but it answers what comes next
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from tests.conversations.names import Names

if TYPE_CHECKING:
    from aioproducer.protocol.api import Response

OptionValue: TypeAlias = int | str


class Release(IntEnum):
    """The Kafkas that conversations are held with, in their order."""

    KAFKA_2_8 = 208
    KAFKA_3_6 = 306
    KAFKA_4 = 400


CLOSED = "closed"
NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that a conversation is about; `config` is in Kafka's own option names."""

    partitions: int = 1
    replicas: int = 1
    config: Mapping[str, OptionValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """A frame for the broker, and how its answer is to be read."""

    frame: bytes
    answer: type[Response] | None
    """None if there should be no answer."""
    version: int = 0


Line: TypeAlias = Callable[[Names], Said]
"""What is said, once it is known what the topics are called here."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A line and its answer; `older` is that of Kafka 3.6 and before, `oldest` that of 2.8."""

    line: Line
    answer: str
    older: str | None = None
    oldest: str | None = None
    to_follower: bool = False
    """Whether it is said to a broker that does not lead `orders-0`."""

    def expected(self, release: Release) -> str:
        """Return what a release answers: what the next newer one does, unless it says otherwise."""
        if release is Release.KAFKA_2_8 and self.oldest is not None:
            return self.oldest
        if release is not Release.KAFKA_4 and self.older is not None:
            return self.older
        return self.answer


@dataclass(frozen=True, slots=True)
class TopicCreated:
    """Between two lines a topic comes into being."""

    name: str
    topic: Topic = field(default_factory=Topic)


@dataclass(frozen=True, slots=True)
class TopicDeleted:
    """Between two lines a topic is deleted."""

    name: str


@dataclass(frozen=True, slots=True)
class LeaderMoved:
    """Between two lines a follower of partition 0 becomes its leader."""

    name: str


@dataclass(frozen=True, slots=True)
class FollowerLost:
    """Between two lines a broker that follows partition 0 goes down."""

    name: str


Change: TypeAlias = TopicCreated | TopicDeleted | LeaderMoved | FollowerLost
Step: TypeAlias = Turn | Change


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is said to a broker, one thing after the other.

    A connection that the broker closes is followed by a new one for the next line.
    """

    name: str
    steps: tuple[Step, ...]
    creates_topics: bool = False
    """Whether the broker has to be one that creates the topics which are asked for."""
    brokers: int = 1
    since: Release = Release.KAFKA_2_8
    """The first that has all that is talked of, such as the options of topics."""

    def __str__(self) -> str:
        return self.name

    def expected(self, release: Release) -> list[str]:
        return [step.expected(release) for step in self.steps if isinstance(step, Turn)]


def about_orders(
    name: str,
    *steps: Step,
    partitions: int = 1,
    config: Mapping[str, OptionValue] | None = None,
    since: Release = Release.KAFKA_2_8,
) -> Conversation:
    """Make a conversation about one topic, `orders`."""
    orders = TopicCreated("orders", Topic(partitions, config=config or {}))
    return Conversation(name, (orders, *steps), since=since)
