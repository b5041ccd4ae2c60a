"""Where batches may be written to, and how it is told what became of them."""

from __future__ import annotations

from uuid import UUID

from tests.conversations.conversation import CLOSED, NO_ANSWER, TopicCreated, TopicDeleted, Turn, about_orders
from tests.conversations.lines import produce, produce_to
from tests.testing.batches import make_batch, put, spoil

NEWEST_OF_OLDER = 9
FIRST_WITH_IDS = 13
VERSIONS = range(3, 14)

SOUND = make_batch(b"a", b"b")
CORRUPT = spoil(SOUND, put(">b", 70, 1), fix_crc=False)
NOT_ENOUGH = "orders-0 NOT_ENOUGH_REPLICAS, log from 0"
UNKNOWN = "UNKNOWN_TOPIC_OR_PARTITION"


def stored(version: int, offset: int, partition: int = 0) -> str:
    return f"orders-{partition} NONE at {offset}{', log from 0' if version >= 5 else ''}"


def too_new(version: int) -> str | None:
    """Return what Kafka 3.6.1 does with a version, if it does not have it."""
    return CLOSED if version > NEWEST_OF_OLDER else None


def turns(version: int) -> list[Turn]:
    """Write what is right and what is not, all in one version."""
    unknown_topic = "nothing-0" if version < FIRST_WITH_IDS else "(no name)-0"
    code = UNKNOWN if version < FIRST_WITH_IDS else "UNKNOWN_TOPIC_ID"
    said = [
        (produce(SOUND, version=version), stored(version, 0)),
        (produce(SOUND, SOUND, version=version), f"{stored(version, 2)}; {stored(version, 0, 1)}"),
        (produce(SOUND, version=version, acks=1), stored(version, 4)),
        (produce_to(("orders", 2, SOUND), version=version), f"orders-2 {UNKNOWN}"),
        (produce_to(("orders", -1, SOUND), version=version), f"orders--1 {UNKNOWN}"),
        (produce(SOUND, topic="nothing", version=version), f"{unknown_topic} {code}"),
        (
            produce_to(("nothing", 0, SOUND), ("orders", 1, SOUND), ("orders", 7, SOUND), version=version),
            f"{unknown_topic} {code}; {stored(version, 2, 1)}; orders-7 {UNKNOWN}",
        ),
        (produce(CORRUPT, SOUND, version=version), f"orders-0 CORRUPT_MESSAGE; {stored(version, 4, 1)}"),
        (produce(SOUND, version=version, acks=5), "orders-0 INVALID_REQUIRED_ACKS"),
        (produce(SOUND, version=version, acks=-2), "orders-0 INVALID_REQUIRED_ACKS"),
        (produce(version=version), "nothing"),
    ]
    return [Turn(line, answer, too_new(version)) for line, answer in said]


CONVERSATIONS = [
    *[about_orders(f"Produce v{version}", *turns(version), partitions=2) for version in VERSIONS],
    about_orders(
        "an id that no topic has",
        Turn(
            produce(SOUND, version=13, topic_id=UUID(int=1)),
            "(unknown id)-0 UNKNOWN_TOPIC_ID",
            CLOSED,
        ),
    ),
    about_orders(
        "the same partition twice in a request",
        Turn(
            produce_to(("orders", 0, make_batch(b"a")), ("orders", 0, make_batch(b"b", b"c"))),
            stored(9, 0),
        ),
        Turn(produce(SOUND), stored(9, 2)),
        Turn(
            produce_to(
                ("orders", 0, make_batch(b"a", b"b", b"c")),
                ("nothing", 0, SOUND),
                ("orders", 0, make_batch(b"d")),
            ),
            f"nothing-0 {UNKNOWN}; {stored(9, 4)}",
        ),
        Turn(produce(SOUND), stored(9, 5)),
        Turn(
            produce_to(("orders", 0, SOUND), ("orders", 0, make_batch(b"a")), version=13),
            stored(13, 7),
            CLOSED,
        ),
        Turn(produce(SOUND), stored(9, 8), stored(9, 7)),
    ),
    about_orders(
        "the same partition twice in a request, and one of the batches is broken",
        Turn(produce_to(("orders", 0, SOUND), ("orders", 0, CORRUPT)), "orders-0 CORRUPT_MESSAGE"),
        Turn(produce_to(("orders", 0, CORRUPT), ("orders", 0, SOUND)), stored(9, 0)),
        Turn(produce(SOUND), stored(9, 2)),
    ),
    about_orders(
        "names that no topic can have",
        *[
            Turn(produce(SOUND, topic=name, version=version), f"{name or '(no name)'}-0 {UNKNOWN}")
            for name in ("", "not good", "..")
            for version in (3, 9)
        ],
    ),
    about_orders(
        "no time to wait for replicas that there are not",
        Turn(produce(SOUND, timeout_ms=0), stored(9, 0)),
        Turn(produce(SOUND, timeout_ms=-1), stored(9, 2)),
        Turn(produce(SOUND, timeout_ms=0, acks=1), stored(9, 4)),
    ),
    about_orders(
        "a topic that is gone, and its name when it is back",
        Turn(produce(SOUND), stored(9, 0)),
        TopicDeleted("orders"),
        Turn(produce(SOUND), f"orders-0 {UNKNOWN}"),
        Turn(produce(SOUND, version=13), "orders-0 UNKNOWN_TOPIC_ID", CLOSED),
        TopicCreated("orders"),
        Turn(produce(make_batch(b"a", producer=(5, 0, 7))), stored(9, 0)),
        Turn(produce(SOUND, version=13), stored(13, 1), CLOSED),
        Turn(produce(SOUND, topic="orders before", version=13), "orders before-0 UNKNOWN_TOPIC_ID", CLOSED),
    ),
    about_orders(
        "acks=0 and all is well",
        *[Turn(produce(SOUND, version=version, acks=0), NO_ANSWER) for version in (3, 8, 9)],
        Turn(produce(SOUND), stored(9, 6)),
    ),
    about_orders(
        "acks=0 and something is not",
        Turn(produce(CORRUPT, acks=0), CLOSED),
        Turn(produce_to(("orders", 4, SOUND), acks=0), CLOSED),
        Turn(produce(SOUND, topic="nothing", acks=0), CLOSED),
        Turn(produce(SOUND, CORRUPT, acks=0), CLOSED),
        Turn(produce(b"", acks=0), CLOSED),
        Turn(produce(make_batch(b"a", transactional=True), acks=0), CLOSED),
        Turn(produce(SOUND), stored(9, 2)),
        partitions=2,
    ),
    about_orders(
        "a min.insync.replicas that is above the number of replicas",
        Turn(produce(SOUND, acks=-1), stored(9, 0), NOT_ENOUGH),
        Turn(produce(SOUND, acks=1), stored(9, 2), stored(9, 0)),
        Turn(produce(SOUND, acks=0), NO_ANSWER),
        Turn(produce(CORRUPT, acks=-1), "orders-0 CORRUPT_MESSAGE", NOT_ENOUGH),
        Turn(produce(SOUND, acks=1), stored(9, 6), stored(9, 4)),
        config={"min.insync.replicas": 2},
    ),
    about_orders(
        "a transactional id and a batch that is not part of a transaction",
        Turn(produce(SOUND, transactional_id="till"), stored(9, 0)),
    ),
    about_orders(
        "a transactional batch and no transactional id",
        Turn(
            produce(make_batch(b"a", transactional=True), SOUND),
            "orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED; orders-1 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        ),
        Turn(
            produce(make_batch(b"a", producer=(5, 0, 0), transactional=True)),
            "orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        ),
        Turn(produce(SOUND), stored(9, 0)),
        partitions=2,
    ),
]
