"""Metadata of brokers and topics."""

from __future__ import annotations

from tests.conversations.conversation import (
    CLOSED,
    Conversation,
    Exchange,
    Topic,
    TopicCreated,
    TopicDeleted,
    about_orders,
)
from tests.conversations.requests import CLUSTER_OPERATIONS, FIRST_WITH_CREATION_FLAG, metadata

NEWEST_OF_2_8 = 11
NEWEST_OF_3_6 = 12


def head(version: int) -> str:
    return ", ".join(["1 broker", *["cluster id"] * (version >= 2), *["controller"] * (version >= 1)])


def orders(version: int, *, partitions: int = 1) -> str:
    parts = ["orders NONE", *["id"] * (version >= 10)]
    for index in range(partitions):
        epoch = " epoch 0" if version >= 7 else ""
        parts.append(f"partition {index} led{epoch} 1/1/0")
    return ", ".join(parts)


def exchange(
    version: int,
    *topics: str | None,
    tell: str = "",
    of_all: bool = False,
    by_id: bool = False,
    creates: bool = False,
    oldest: str | None = None,
) -> Exchange:
    """Request metadata; `tell` describes the topics, `oldest` those of Kafka 2.8 where they differ."""
    return Exchange(
        metadata(*topics, version=version, of_all=of_all, by_id=by_id, creates=creates),
        "; ".join([head(version), *[tell] * bool(tell)]),
        CLOSED if version > NEWEST_OF_3_6 else None,
        CLOSED if version > NEWEST_OF_2_8 else oldest and f"{head(version)}; {oldest}",
    )


UNKNOWN = "UNKNOWN_TOPIC_OR_PARTITION"

CONVERSATIONS = [
    *[
        about_orders(
            f"Metadata v{version}",
            exchange(version, "orders", tell=orders(version, partitions=2)),
            exchange(version, of_all=version > 0, tell=orders(version, partitions=2)),
            *[exchange(version, tell="")] * (version > 0),
            exchange(version, "orders", "orders", tell=orders(version, partitions=2)),
            exchange(
                version, "nothing", "orders", tell=f"nothing {UNKNOWN}; {orders(version, partitions=2)}"
            ),
            partitions=2,
        )
        for version in range(14)
    ],
    *[
        Conversation(
            f"Metadata v{version} of illegal names",
            (
                exchange(version, "", tell=" INVALID_TOPIC_EXCEPTION"),
                exchange(version, "not good", tell="not good INVALID_TOPIC_EXCEPTION"),
                exchange(version, "..", tell=".. INVALID_TOPIC_EXCEPTION"),
                exchange(version, "a-" * 125, tell="a-" * 125 + " INVALID_TOPIC_EXCEPTION"),
            ),
        )
        for version in (1, 4, 12)
    ],
    *[
        Conversation(
            f"Metadata v{version} of illegal names, where the broker creates topics",
            (
                exchange(version, "", tell=" INVALID_TOPIC_EXCEPTION", creates=True),
                exchange(version, "not good", tell="not good INVALID_TOPIC_EXCEPTION", creates=True),
            ),
            creates_topics=True,
        )
        for version in (1, 4, 12)
    ],
    *[
        Conversation(
            f"Metadata v{version} of an unknown topic, where the broker creates none",
            (
                exchange(version, "orders", tell=f"orders {UNKNOWN}", creates=True),
                exchange(version, "orders", tell=f"orders {UNKNOWN}"),
            ),
        )
        for version in (0, 4, 12)
    ],
    *[
        Conversation(
            f"Metadata v{version} of an unknown topic, where the broker creates topics",
            (
                *[exchange(version, "orders", tell=f"orders {UNKNOWN}")]
                * (version >= FIRST_WITH_CREATION_FLAG),
                exchange(
                    version,
                    "orders",
                    tell=f"orders {UNKNOWN}",
                    oldest="orders LEADER_NOT_AVAILABLE",
                    creates=True,
                ),
            ),
            creates_topics=True,
        )
        for version in (0, 3, 4, 12)
    ],
    *[
        about_orders(
            f"Metadata v{version} of authorized operations",
            Exchange(
                metadata("orders", "nothing", version=version, operations=True),
                f"{head(version)}{', operations 0x1fa0' * (version in CLUSTER_OPERATIONS)}; "
                f"nothing {UNKNOWN}, operations 0xdf8; "
                f"orders NONE, {'id, ' * (version >= 10)}operations 0xdf8, partition 0 led epoch 0 1/1/0",
            ),
        )
        for version in (8, 10, 11)
    ],
    about_orders(
        "Metadata v12 by id",
        exchange(12, "orders", tell=orders(12), by_id=True),
        exchange(12, None, tell="(no name) UNKNOWN_TOPIC_ID, an id"),
        exchange(12, "orders", None, tell="(no name) UNKNOWN_TOPIC_ID, an id; " + orders(12), by_id=True),
        TopicDeleted("orders"),
        exchange(12, "orders", tell="(no name) UNKNOWN_TOPIC_ID, an id", by_id=True),
        exchange(12, "orders", tell=f"orders {UNKNOWN}"),
    ),
    about_orders("Metadata v13 by id", exchange(13, "orders", tell=orders(13), by_id=True)),
    *[
        about_orders(
            f"Metadata v{version} ignores topic ids",
            Exchange(metadata("orders", version=version, by_id=True), "0 broker;  INVALID_REQUEST, an id"),
        )
        for version in (10, 11)
    ],
    about_orders(
        "a recreated topic has a new id",
        TopicDeleted("orders"),
        TopicCreated("orders", Topic(3)),
        exchange(12, "orders", tell=orders(12, partitions=3)),
        exchange(12, "orders before", tell="(no name) UNKNOWN_TOPIC_ID, an id", by_id=True),
    ),
]
