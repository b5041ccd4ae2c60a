"""Requests with two errors: which of them the broker reports."""

from __future__ import annotations

from aioproducer.records.compression import Codec
from tests.conversations.conversation import Exchange, about_orders
from tests.conversations.requests import produce, produce_to
from tests.testing.batches import make_batch, put, spoil

PRODUCER = 4_000_001

VALID = make_batch(b"a")
CORRUPT = spoil(VALID, put(">b", 66, 1), fix_crc=False)
TRANSACTIONAL = make_batch(b"a", transactional=True)
ZSTD = make_batch(b"a", codec=Codec.ZSTD)
UNKNOWN = "UNKNOWN_TOPIC_OR_PARTITION"
INVALID = "orders-0 INVALID_RECORD"
STORED = "orders-0 NONE at 0, log from 0"


def sequenced(sequence: int, *values: bytes, epoch: int = 3, key: bytes | None = b"k") -> bytes:
    return make_batch(*values, key=key, producer=(PRODUCER, epoch, sequence))


CONVERSATIONS = [
    about_orders(
        "illegal acks and another error",
        Exchange(produce(VALID, topic="nothing", acks=5), f"nothing-0 {UNKNOWN}"),
        Exchange(produce_to(("orders", 7, VALID), acks=5), f"orders-7 {UNKNOWN}"),
        Exchange(produce(b"", acks=5), INVALID),
        Exchange(produce(VALID + VALID, acks=5), INVALID),
        Exchange(produce(CORRUPT, acks=5), "orders-0 INVALID_REQUIRED_ACKS"),
        Exchange(produce(ZSTD, acks=5, version=6), "orders-0 UNSUPPORTED_COMPRESSION_TYPE"),
        Exchange(produce(TRANSACTIONAL, acks=5), "orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    ),
    about_orders(
        "an unknown topic and another error",
        Exchange(produce(b"", topic="nothing"), f"nothing-0 {UNKNOWN}"),
        Exchange(produce(ZSTD, topic="nothing", version=6), f"nothing-0 {UNKNOWN}"),
        Exchange(produce(CORRUPT, topic="nothing"), f"nothing-0 {UNKNOWN}"),
        Exchange(
            produce(TRANSACTIONAL, topic="nothing"),
            "nothing-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        ),
        Exchange(
            produce_to(("orders", 0, VALID), ("nothing", 0, TRANSACTIONAL)),
            "nothing-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED; orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        ),
        Exchange(produce(VALID), STORED),
    ),
    about_orders(
        "an out-of-order sequence and another error",
        Exchange(produce(sequenced(0, b"a")), STORED),
        Exchange(
            produce(spoil(sequenced(5, b"a"), put(">b", 66, 1), fix_crc=False)), "orders-0 CORRUPT_MESSAGE"
        ),
        Exchange(produce(sequenced(5, b"a", key=None)), f"{INVALID}, log from 0, records 0, why"),
        Exchange(produce(sequenced(5, b"x" * 3000)), "orders-0 MESSAGE_TOO_LARGE"),
        Exchange(produce(spoil(sequenced(5, b"a"), put(">i", 57, 2))), f"{INVALID}, log from 0"),
        Exchange(produce(sequenced(5, b"a", epoch=2)), "orders-0 INVALID_PRODUCER_EPOCH, log from 0"),
        Exchange(produce(sequenced(5, b"a", epoch=4)), "orders-0 OUT_OF_ORDER_SEQUENCE_NUMBER, log from 0"),
        Exchange(produce(sequenced(1, b"a")), "orders-0 NONE at 1, log from 0"),
        config={"cleanup.policy": "compact", "max.message.bytes": 2000},
    ),
    about_orders(
        "a duplicate with another error",
        Exchange(produce(sequenced(0, b"a")), STORED),
        Exchange(
            produce(spoil(sequenced(0, b"a"), put(">b", 66, 1), fix_crc=False)), "orders-0 CORRUPT_MESSAGE"
        ),
        Exchange(produce(sequenced(0, b"a", key=None)), f"{INVALID}, log from 0, records 0, why"),
        Exchange(produce(sequenced(0, b"x" * 3000)), "orders-0 MESSAGE_TOO_LARGE"),
        Exchange(produce(sequenced(0, b"a")), f"{STORED}, append time"),
        config={"cleanup.policy": "compact", "max.message.bytes": 2000},
    ),
    about_orders(
        "a batch above the segment size and another error",
        Exchange(produce(make_batch(b"x" * 2000, key=None)), f"{INVALID}, log from 0, records 0, why"),
        Exchange(produce(sequenced(0, b"a")), STORED),
        Exchange(produce(sequenced(7, b"x" * 2_000_000)), "orders-0 RECORD_LIST_TOO_LARGE"),
        Exchange(produce(sequenced(0, b"x" * 2_000_000)), "orders-0 RECORD_LIST_TOO_LARGE"),
        config={"cleanup.policy": "compact", "segment.bytes": 1_900_000, "max.message.bytes": 3_000_000},
    ),
    about_orders(
        "a batch with several faults",
        Exchange(produce(spoil(make_batch(b"x" * 3000), put(">q", 0, 5))), f"{INVALID}, log from 0"),
        Exchange(produce(spoil(VALID, put(">q", 0, 5), fix_crc=False)[:-1] + b"x"), f"{INVALID}, log from 0"),
        Exchange(
            produce(spoil(spoil(VALID, put(">h", 21, 0x20)), put(">b", 66, 1), fix_crc=False)),
            "orders-0 CORRUPT_MESSAGE",
        ),
        Exchange(produce(spoil(VALID, put(">h", 21, 0x27))), "orders-0 UNKNOWN_SERVER_ERROR, log from 0"),
        Exchange(
            produce(spoil(spoil(VALID, put(">i", 57, 2)), put(">h", 21, 0x20))), f"{INVALID}, log from 0"
        ),
        Exchange(
            produce(spoil(VALID, put(">h", 21, 0x04)), version=6), "orders-0 UNSUPPORTED_COMPRESSION_TYPE"
        ),
        config={"max.message.bytes": 2000},
    ),
]
