"""A conversation: requests to a broker, and the expected response to each.

A response is compared as a short text. The text leaves out the differences between any two
brokers: ids, ports, names of topics, wording of errors. So a real broker and the fake have the
same text:

    orders-0 NONE at 3, log from 0                            stored; the log starts at offset 0
    orders-0 INVALID_RECORD, log from 0, records 0 2, why     refused, with an error message
    closed                                                    connection closed, no response
    no answer                                                 no response, but one to the next request
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, TypeAlias

from tests.conversations.topic_names import TopicNames

if TYPE_CHECKING:
    from aioproducer.protocol.api import Response

OptionValue: TypeAlias = int | str


class Release(IntEnum):
    """The Kafka releases that run the conversations, oldest first."""

    KAFKA_2_8 = 208
    KAFKA_3_6 = 306
    KAFKA_4 = 400


class Listener(Enum):
    """The listener that a conversation uses."""

    PLAINTEXT = "PLAINTEXT"
    SASL = "SASL_PLAINTEXT"
    SHORT_SESSIONS = "SASL_PLAINTEXT, with sessions of two seconds"

    @property
    def has_sasl(self) -> bool:
        return self is not Listener.PLAINTEXT


CLOSED = "closed"
NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a conversation; `config` has Kafka's option names."""

    partitions: int = 1
    replicas: int = 1
    config: Mapping[str, OptionValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A frame for the broker, and the type and version of its response."""

    frame: bytes
    response: type[Response] | None
    """None if no response is expected."""
    version: int = 0


RequestMaker: TypeAlias = Callable[[TopicNames], RawRequest]
"""Makes the frame from the topics' names on the broker."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response; `older` is that of Kafka 3.6 and before, `oldest` that of 2.8."""

    request: RequestMaker
    answer: str
    older: str | None = None
    oldest: str | None = None
    to_follower: bool = False
    """Whether the request goes to a follower of `orders-0`."""

    def expected(self, release: Release) -> str:
        """Return the answer of a release: that of the next newer one unless it has its own."""
        if release is Release.KAFKA_2_8 and self.oldest is not None:
            return self.oldest
        if release is not Release.KAFKA_4 and self.older is not None:
            return self.older
        return self.answer


@dataclass(frozen=True, slots=True)
class TopicCreated:
    """A topic is created between two requests."""

    name: str
    topic: Topic = field(default_factory=Topic)


@dataclass(frozen=True, slots=True)
class TopicDeleted:
    """A topic is deleted between two requests."""

    name: str


@dataclass(frozen=True, slots=True)
class LeaderMoved:
    """A follower of partition 0 becomes its leader between two requests."""

    name: str


@dataclass(frozen=True, slots=True)
class FollowerLost:
    """A follower of partition 0 stops between two requests."""

    name: str


@dataclass(frozen=True, slots=True)
class Denied:
    """An ACL denies alice an operation on a topic or a transactional id, from the next request on."""

    resource: str
    name: str
    operation: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Time passes between two requests on one connection."""

    seconds: float


Change: TypeAlias = TopicCreated | TopicDeleted | LeaderMoved | FollowerLost | Denied
Step: TypeAlias = Exchange | Change | Pause


@dataclass(frozen=True, slots=True)
class Conversation:
    """Requests to a broker and changes of its topics, in order.

    After the broker closes a connection, the next request opens a new one.
    """

    name: str
    steps: tuple[Step, ...]
    creates_topics: bool = False
    """Whether the broker must create requested topics."""
    brokers: int = 1
    since: Release = Release.KAFKA_2_8
    """The first release with all features of the conversation, such as options of topics."""
    listener: Listener = Listener.PLAINTEXT

    def __str__(self) -> str:
        return self.name

    def expected(self, release: Release) -> list[str]:
        return [step.expected(release) for step in self.steps if isinstance(step, Exchange)]


def about_orders(
    name: str,
    *steps: Step,
    partitions: int = 1,
    config: Mapping[str, OptionValue] | None = None,
    since: Release = Release.KAFKA_2_8,
) -> Conversation:
    """Return a conversation about one topic, `orders`."""
    orders = TopicCreated("orders", Topic(partitions, config=config or {}))
    return Conversation(name, (orders, *steps), since=since)
