"""Produce: topics and partitions, acks, and the form of the responses."""

from __future__ import annotations

from uuid import UUID

from tests.conversations.conversation import (
    CLOSED,
    NO_ANSWER,
    Exchange,
    TopicCreated,
    TopicDeleted,
    about_orders,
)
from tests.conversations.requests import produce, produce_to
from tests.testing.batches import make_batch, put, spoil

NEWEST_OF_OLDER = 9
FIRST_WITH_IDS = 13
VERSIONS = range(3, 14)

VALID = make_batch(b"a", b"b")
CORRUPT = spoil(VALID, put(">b", 70, 1), fix_crc=False)
NOT_ENOUGH = "orders-0 NOT_ENOUGH_REPLICAS, log from 0"
UNKNOWN = "UNKNOWN_TOPIC_OR_PARTITION"


def stored(version: int, offset: int, partition: int = 0) -> str:
    return f"orders-{partition} NONE at {offset}{', log from 0' if version >= 5 else ''}"


def too_new(version: int) -> str | None:
    """Return the answer of Kafka 3.6.1 to a version that it lacks."""
    return CLOSED if version > NEWEST_OF_OLDER else None


def exchanges_of(version: int) -> list[Exchange]:
    """Write valid and invalid batches in one version."""
    unknown_topic = "nothing-0" if version < FIRST_WITH_IDS else "(no name)-0"
    code = UNKNOWN if version < FIRST_WITH_IDS else "UNKNOWN_TOPIC_ID"
    exchanges = [
        (produce(VALID, version=version), stored(version, 0)),
        (produce(VALID, VALID, version=version), f"{stored(version, 2)}; {stored(version, 0, 1)}"),
        (produce(VALID, version=version, acks=1), stored(version, 4)),
        (produce_to(("orders", 2, VALID), version=version), f"orders-2 {UNKNOWN}"),
        (produce_to(("orders", -1, VALID), version=version), f"orders--1 {UNKNOWN}"),
        (produce(VALID, topic="nothing", version=version), f"{unknown_topic} {code}"),
        (
            produce_to(("nothing", 0, VALID), ("orders", 1, VALID), ("orders", 7, VALID), version=version),
            f"{unknown_topic} {code}; {stored(version, 2, 1)}; orders-7 {UNKNOWN}",
        ),
        (produce(CORRUPT, VALID, version=version), f"orders-0 CORRUPT_MESSAGE; {stored(version, 4, 1)}"),
        (produce(VALID, version=version, acks=5), "orders-0 INVALID_REQUIRED_ACKS"),
        (produce(VALID, version=version, acks=-2), "orders-0 INVALID_REQUIRED_ACKS"),
        (produce(version=version), "nothing"),
    ]
    return [Exchange(request, answer, too_new(version)) for request, answer in exchanges]


CONVERSATIONS = [
    *[about_orders(f"Produce v{version}", *exchanges_of(version), partitions=2) for version in VERSIONS],
    about_orders(
        "an unknown topic id",
        Exchange(
            produce(VALID, version=13, topic_id=UUID(int=1)),
            "(unknown id)-0 UNKNOWN_TOPIC_ID",
            CLOSED,
        ),
    ),
    about_orders(
        "a repeated partition in a request",
        Exchange(
            produce_to(("orders", 0, make_batch(b"a")), ("orders", 0, make_batch(b"b", b"c"))),
            stored(9, 0),
        ),
        Exchange(produce(VALID), stored(9, 2)),
        Exchange(
            produce_to(
                ("orders", 0, make_batch(b"a", b"b", b"c")),
                ("nothing", 0, VALID),
                ("orders", 0, make_batch(b"d")),
            ),
            f"nothing-0 {UNKNOWN}; {stored(9, 4)}",
        ),
        Exchange(produce(VALID), stored(9, 5)),
        Exchange(
            produce_to(("orders", 0, VALID), ("orders", 0, make_batch(b"a")), version=13),
            stored(13, 7),
            CLOSED,
        ),
        Exchange(produce(VALID), stored(9, 8), stored(9, 7)),
    ),
    about_orders(
        "a repeated partition with a corrupt batch",
        Exchange(produce_to(("orders", 0, VALID), ("orders", 0, CORRUPT)), "orders-0 CORRUPT_MESSAGE"),
        Exchange(produce_to(("orders", 0, CORRUPT), ("orders", 0, VALID)), stored(9, 0)),
        Exchange(produce(VALID), stored(9, 2)),
    ),
    about_orders(
        "illegal topic names",
        *[
            Exchange(produce(VALID, topic=name, version=version), f"{name or '(no name)'}-0 {UNKNOWN}")
            for name in ("", "not good", "..")
            for version in (3, 9)
        ],
    ),
    about_orders(
        "no timeout and no followers",
        Exchange(produce(VALID, timeout_ms=0), stored(9, 0)),
        Exchange(produce(VALID, timeout_ms=-1), stored(9, 2)),
        Exchange(produce(VALID, timeout_ms=0, acks=1), stored(9, 4)),
    ),
    about_orders(
        "a deleted topic, and its name after it is recreated",
        Exchange(produce(VALID), stored(9, 0)),
        TopicDeleted("orders"),
        Exchange(produce(VALID), f"orders-0 {UNKNOWN}"),
        Exchange(produce(VALID, version=13), "orders-0 UNKNOWN_TOPIC_ID", CLOSED),
        TopicCreated("orders"),
        Exchange(produce(make_batch(b"a", producer=(5, 0, 7))), stored(9, 0)),
        Exchange(produce(VALID, version=13), stored(13, 1), CLOSED),
        Exchange(
            produce(VALID, topic="orders before", version=13), "orders before-0 UNKNOWN_TOPIC_ID", CLOSED
        ),
    ),
    about_orders(
        "acks=0 without errors",
        *[Exchange(produce(VALID, version=version, acks=0), NO_ANSWER) for version in (3, 8, 9)],
        Exchange(produce(VALID), stored(9, 6)),
    ),
    about_orders(
        "acks=0 with errors",
        Exchange(produce(CORRUPT, acks=0), CLOSED),
        Exchange(produce_to(("orders", 4, VALID), acks=0), CLOSED),
        Exchange(produce(VALID, topic="nothing", acks=0), CLOSED),
        Exchange(produce(VALID, CORRUPT, acks=0), CLOSED),
        Exchange(produce(b"", acks=0), CLOSED),
        Exchange(produce(make_batch(b"a", transactional=True), acks=0), CLOSED),
        Exchange(produce(VALID), stored(9, 2)),
        partitions=2,
    ),
    about_orders(
        "min.insync.replicas above the number of replicas",
        Exchange(produce(VALID, acks=-1), stored(9, 0), NOT_ENOUGH),
        Exchange(produce(VALID, acks=1), stored(9, 2), stored(9, 0)),
        Exchange(produce(VALID, acks=0), NO_ANSWER),
        Exchange(produce(CORRUPT, acks=-1), "orders-0 CORRUPT_MESSAGE", NOT_ENOUGH),
        Exchange(produce(VALID, acks=1), stored(9, 6), stored(9, 4)),
        config={"min.insync.replicas": 2},
    ),
    about_orders(
        "a transactional id with an ordinary batch",
        Exchange(produce(VALID, transactional_id="till"), stored(9, 0)),
    ),
    about_orders(
        "a transactional batch without a transactional id",
        Exchange(
            produce(make_batch(b"a", transactional=True), VALID),
            "orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED; orders-1 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        ),
        Exchange(
            produce(make_batch(b"a", producer=(5, 0, 0), transactional=True)),
            "orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        ),
        Exchange(produce(VALID), stored(9, 0)),
        partitions=2,
    ),
]
