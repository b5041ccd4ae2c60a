"""Three brokers: what those say that do not lead a partition, and what the leader says without them."""

from __future__ import annotations

from tests.conversations.conversation import (
    CLOSED,
    Conversation,
    FollowerLost,
    LeaderMoved,
    Release,
    Step,
    Topic,
    TopicCreated,
    Turn,
)
from tests.conversations.lines import metadata, produce
from tests.testing.batches import make_batch, put, spoil

SOUND = make_batch(b"a")
CORRUPT = spoil(SOUND, put(">b", 66, 1), fix_crc=False)

NOT_LEADING = "orders-0 NOT_LEADER_OR_FOLLOWER"
NOT_ENOUGH = "orders-0 NOT_ENOUGH_REPLICAS, log from 0"


def among_three(name: str, *steps: Step, min_insync_replicas: int = 1) -> Conversation:
    topic = Topic(replicas=3, config={"min.insync.replicas": min_insync_replicas})
    return Conversation(name, (TopicCreated("orders", topic), *steps), brokers=3, since=Release.KAFKA_3_6)


def not_leading(version: int, epoch: int) -> Turn:
    hint = f", leader epoch {epoch} at an address" * (version >= 10)
    older = CLOSED if version > 9 else None
    return Turn(produce(SOUND, version=version), f"{NOT_LEADING}{hint}", older, to_follower=True)


def at(offset: int) -> str:
    return f"orders-0 NONE at {offset}, log from 0"


CONVERSATIONS = [
    among_three(
        "a broker that does not lead",
        *[not_leading(version, epoch=0) for version in (3, 7, 8, 9, 10, 12, 13)],
        Turn(produce(CORRUPT), NOT_LEADING, to_follower=True),
        Turn(produce(SOUND, acks=1), NOT_LEADING, to_follower=True),
        Turn(produce(SOUND, acks=0), CLOSED, to_follower=True),
        Turn(produce(SOUND, acks=7), "orders-0 INVALID_REQUIRED_ACKS", to_follower=True),
        Turn(
            metadata("orders"),
            "3 broker, cluster id, controller; orders NONE, partition 0 led epoch 0 3/3/0",
            to_follower=True,
        ),
        Turn(produce(SOUND), at(0)),
    ),
    among_three(
        "a leader that moved",
        Turn(produce(SOUND), at(0)),
        LeaderMoved("orders"),
        not_leading(9, epoch=1),
        not_leading(12, epoch=1),
        Turn(produce(SOUND), at(1)),
        Turn(
            metadata("orders"), "3 broker, cluster id, controller; orders NONE, partition 0 led epoch 1 3/3/0"
        ),
    ),
    among_three(
        "fewer replicas in sync than there have to be",
        Turn(produce(SOUND), at(0)),
        FollowerLost("orders"),
        Turn(produce(SOUND), NOT_ENOUGH),
        Turn(produce(CORRUPT), NOT_ENOUGH),
        Turn(produce(SOUND, acks=1), at(1)),
        Turn(produce(make_batch(b"a", producer=(5, 0, 0)), acks=1), at(2)),
        Turn(produce(make_batch(b"a", producer=(5, 0, 0)), acks=-1), NOT_ENOUGH),
        Turn(
            metadata("orders"), "2 broker, cluster id, controller; orders NONE, partition 0 led epoch 0 3/2/1"
        ),
        min_insync_replicas=3,
    ),
]
