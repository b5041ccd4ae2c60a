"""Timestamps, and keys in compacted topics: errors of single records."""

from __future__ import annotations

import time

from aioproducer.records.batch import RecordBatchBuilder
from aioproducer.records.compression import Codec, compressor
from tests.conversations.conversation import Exchange, Release, about_orders
from tests.conversations.requests import produce
from tests.testing.batches import make_batch, put, spoil

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

NOW = time.time_ns() // 1_000_000
STORED = "orders-0 NONE at 0, log from 0"
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}


def timed(*timestamps: int, keys: tuple[bytes | None, ...] = (), codec: Codec = Codec.NONE) -> bytes:
    """Return a batch of records with these timestamps and keys."""
    builder = RecordBatchBuilder(1 << 20, timestamps[0])
    for index, timestamp in enumerate(timestamps):
        builder.append(timestamp, keys[index] if keys else b"k", b"v", None)
    if codec is not Codec.NONE:
        builder.close(int(codec), compressor(codec))
    return bytes(builder.stamp(-1, -1, -1, transactional=False))


def badly_timed(*records: int) -> str:
    return f"orders-0 INVALID_TIMESTAMP, log from 0, records {' '.join(map(str, records))}, why"


def keyless(*records: int) -> str:
    return f"orders-0 INVALID_RECORD, log from 0, records {' '.join(map(str, records))}, why"


BROKER_TIMED = spoil(timed(NOW), put(">h", 21, 8))

CONVERSATIONS = [
    about_orders(
        "the producer's time is kept, however old",
        Exchange(produce(timed(NOW)), STORED),
        Exchange(produce(timed(1)), "orders-0 NONE at 1, log from 0"),
        Exchange(produce(timed(0)), "orders-0 NONE at 2, log from 0"),
        Exchange(produce(timed(-1)), "orders-0 NONE at 3, log from 0"),
        Exchange(produce(timed(-5)), "orders-0 NONE at 4, log from 0"),
        Exchange(produce(timed(NOW + 50 * MINUTE)), "orders-0 NONE at 5, log from 0"),
        Exchange(produce(timed(NOW, NOW - HOUR)), "orders-0 NONE at 6, log from 0"),
    ),
    about_orders(
        "the broker's time is returned",
        *[
            Exchange(produce(make_batch(b"a"), version=version), f"{answer}, append time")
            for version, answer in (
                (3, "orders-0 NONE at 0"),
                (5, "orders-0 NONE at 1, log from 0"),
                (9, "orders-0 NONE at 2, log from 0"),
            )
        ],
        Exchange(produce(timed(1)), "orders-0 NONE at 3, log from 0, append time"),
        Exchange(produce(timed(NOW + 1000 * DAY)), "orders-0 NONE at 4, log from 0, append time"),
        Exchange(produce(timed(NOW, codec=Codec.GZIP)), "orders-0 NONE at 5, log from 0, append time"),
        Exchange(produce(b""), "orders-0 INVALID_RECORD"),
        config=APPEND_TIME,
    ),
    about_orders(
        "records too new",
        Exchange(produce(timed(NOW + 3 * DAY)), badly_timed(0)),
        Exchange(produce(timed(NOW, NOW + 3 * DAY, NOW, NOW + 5 * DAY)), badly_timed(1, 3)),
        Exchange(produce(timed(NOW, NOW + 3 * DAY), version=8), badly_timed(1)),
        Exchange(produce(timed(NOW + 3 * DAY), version=7), "orders-0 INVALID_TIMESTAMP, log from 0"),
        Exchange(produce(timed(NOW, NOW + 3 * DAY, NOW, codec=Codec.LZ4)), badly_timed(1)),
        Exchange(produce(timed(NOW)), STORED),
        config={"message.timestamp.after.max.ms": HOUR},
        since=Release.KAFKA_3_6,
    ),
    about_orders(
        "the default limit for new records",
        Exchange(produce(timed(NOW + 3 * DAY)), badly_timed(0), STORED),
    ),
    about_orders(
        "records too old",
        Exchange(produce(timed(NOW - 3 * DAY, NOW)), badly_timed(0)),
        Exchange(produce(timed(NOW, 1, 0)), badly_timed(1, 2)),
        Exchange(produce(timed(-1)), STORED),
        Exchange(produce(timed(-2)), badly_timed(0)),
        Exchange(produce(timed(NOW)), "orders-0 NONE at 1, log from 0"),
        config={"message.timestamp.before.max.ms": DAY},
        since=Release.KAFKA_3_6,
    ),
    about_orders(
        "time limits do not apply to the broker's time",
        Exchange(produce(timed(1)), f"{STORED}, append time"),
        config={**APPEND_TIME, "message.timestamp.before.max.ms": DAY},
        since=Release.KAFKA_3_6,
    ),
    about_orders(
        "a header with a wrong max timestamp",
        Exchange(produce(spoil(timed(NOW), put(">q", 35, NOW + 5000))), STORED),
        Exchange(produce(spoil(timed(NOW), put(">q", 35, 0))), "orders-0 NONE at 1, log from 0"),
        Exchange(produce(spoil(timed(NOW), put(">q", 35, -1))), "orders-0 NONE at 2, log from 0"),
        Exchange(produce(spoil(timed(NOW), put(">q", 35, NOW + 9 * DAY))), "orders-0 NONE at 3, log from 0"),
        Exchange(
            produce(spoil(timed(NOW, codec=Codec.GZIP), put(">q", 35, 0))), "orders-0 NONE at 4, log from 0"
        ),
    ),
    about_orders(
        "a base timestamp too new, with valid records",
        Exchange(
            produce(spoil(timed(NOW), put(">q", 27, NOW + 9 * DAY))),
            badly_timed(0),
        ),
        config={"message.timestamp.after.max.ms": HOUR},
        since=Release.KAFKA_3_6,
    ),
    about_orders(
        "the log-append-time flag in a create-time topic",
        Exchange(produce(BROKER_TIMED), STORED, oldest=badly_timed(0)),
        Exchange(produce(timed(NOW)), "orders-0 NONE at 1, log from 0", oldest=STORED),
    ),
    about_orders(
        "the log-append-time flag in a log-append-time topic",
        Exchange(produce(BROKER_TIMED), badly_timed(0)),
        Exchange(produce(timed(NOW)), f"{STORED}, append time"),
        config=APPEND_TIME,
    ),
    about_orders(
        "records without a key in a compacted topic",
        Exchange(produce(timed(NOW, keys=(None,))), keyless(0)),
        Exchange(produce(timed(NOW, NOW, NOW, keys=(None, b"k", None))), keyless(0, 2)),
        Exchange(produce(timed(NOW, NOW, keys=(b"k", None), codec=Codec.GZIP)), keyless(1)),
        Exchange(produce(timed(NOW, keys=(None,)), version=7), "orders-0 INVALID_RECORD, log from 0"),
        Exchange(produce(timed(NOW, NOW, keys=(b"", b"k"))), STORED),
        config={"cleanup.policy": "compact"},
    ),
    about_orders(
        "records without a key in a compact,delete topic",
        Exchange(produce(timed(NOW, keys=(None,))), keyless(0)),
        config={"cleanup.policy": "compact,delete"},
    ),
    about_orders(
        "a record without a key, and one too new",
        Exchange(produce(timed(NOW, NOW + 3 * DAY, keys=(None, b"k"))), badly_timed(0, 1)),
        Exchange(produce(timed(NOW, NOW + 3 * DAY, keys=(b"k", None))), keyless(1)),
        Exchange(produce(timed(NOW + 3 * DAY, NOW, keys=(b"k", None))), badly_timed(0, 1)),
        config={"cleanup.policy": "compact", "message.timestamp.after.max.ms": HOUR},
        since=Release.KAFKA_3_6,
    ),
    about_orders(
        "a compacted topic with the broker's time",
        Exchange(produce(timed(NOW, keys=(None,))), keyless(0)),
        Exchange(produce(timed(NOW)), f"{STORED}, append time"),
        config={"cleanup.policy": "compact", **APPEND_TIME},
    ),
]
