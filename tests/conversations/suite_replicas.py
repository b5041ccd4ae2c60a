"""Three brokers: answers of followers, and of a leader with too few replicas in sync."""

from __future__ import annotations

from tests.conversations.conversation import (
    CLOSED,
    Conversation,
    Exchange,
    FollowerLost,
    LeaderMoved,
    Release,
    Step,
    Topic,
    TopicCreated,
)
from tests.conversations.requests import metadata, produce
from tests.testing.batches import make_batch, put, spoil

VALID = make_batch(b"a")
CORRUPT = spoil(VALID, put(">b", 66, 1), fix_crc=False)

NOT_LEADING = "orders-0 NOT_LEADER_OR_FOLLOWER"
NOT_ENOUGH = "orders-0 NOT_ENOUGH_REPLICAS, log from 0"


def among_three(name: str, *steps: Step, min_insync_replicas: int = 1) -> Conversation:
    topic = Topic(replicas=3, config={"min.insync.replicas": min_insync_replicas})
    return Conversation(name, (TopicCreated("orders", topic), *steps), brokers=3, since=Release.KAFKA_3_6)


def not_leading(version: int, epoch: int) -> Exchange:
    hint = f", leader epoch {epoch} at an address" * (version >= 10)
    older = CLOSED if version > 9 else None
    return Exchange(produce(VALID, version=version), f"{NOT_LEADING}{hint}", older, to_follower=True)


def at(offset: int) -> str:
    return f"orders-0 NONE at {offset}, log from 0"


CONVERSATIONS = [
    among_three(
        "a follower",
        *[not_leading(version, epoch=0) for version in (3, 7, 8, 9, 10, 12, 13)],
        Exchange(produce(CORRUPT), NOT_LEADING, to_follower=True),
        Exchange(produce(VALID, acks=1), NOT_LEADING, to_follower=True),
        Exchange(produce(VALID, acks=0), CLOSED, to_follower=True),
        Exchange(produce(VALID, acks=7), "orders-0 INVALID_REQUIRED_ACKS", to_follower=True),
        Exchange(
            metadata("orders"),
            "3 broker, cluster id, controller; orders NONE, partition 0 led epoch 0 3/3/0",
            to_follower=True,
        ),
        Exchange(produce(VALID), at(0)),
    ),
    among_three(
        "a moved leader",
        Exchange(produce(VALID), at(0)),
        LeaderMoved("orders"),
        not_leading(9, epoch=1),
        not_leading(12, epoch=1),
        Exchange(produce(VALID), at(1)),
        Exchange(
            metadata("orders"), "3 broker, cluster id, controller; orders NONE, partition 0 led epoch 1 3/3/0"
        ),
    ),
    among_three(
        "too few replicas in sync",
        Exchange(produce(VALID), at(0)),
        FollowerLost("orders"),
        Exchange(produce(VALID), NOT_ENOUGH),
        Exchange(produce(CORRUPT), NOT_ENOUGH),
        Exchange(produce(VALID, acks=1), at(1)),
        Exchange(produce(make_batch(b"a", producer=(5, 0, 0)), acks=1), at(2)),
        Exchange(produce(make_batch(b"a", producer=(5, 0, 0)), acks=-1), NOT_ENOUGH),
        Exchange(
            metadata("orders"), "2 broker, cluster id, controller; orders NONE, partition 0 led epoch 0 3/2/1"
        ),
        min_insync_replicas=3,
    ),
]
