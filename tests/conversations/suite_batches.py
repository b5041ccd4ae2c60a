"""Invalid batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.records.batch import HEADER_SIZE
from aioproducer.records.compression import Codec, compressor
from tests.conversations.conversation import Conversation, Exchange, about_orders
from tests.conversations.requests import produce
from tests.testing.batches import make_batch, put, spoil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.conversations.conversation import OptionValue

STORED = "orders-0 NONE at 0, log from 0"
CORRUPT = "orders-0 CORRUPT_MESSAGE"
INVALID = "orders-0 INVALID_RECORD"
INVALID_IN_LOG = f"{INVALID}, log from 0"
UNKNOWN_ERROR = "orders-0 UNKNOWN_SERVER_ERROR, log from 0"

VALID = make_batch(b"a", b"b")


def refused(
    name: str,
    batch: bytes,
    answer: str,
    *,
    oldest: str | None = None,
    config: Mapping[str, OptionValue] | None = None,
) -> Conversation:
    """Write the batch, and then a valid one, whose offset shows that nothing was stored."""
    return about_orders(
        name, Exchange(produce(batch), answer, oldest=oldest), Exchange(produce(VALID), STORED), config=config
    )


def stored(name: str, batch: bytes) -> Conversation:
    """Write a batch of two records, and then another one."""
    after = Exchange(produce(VALID), "orders-0 NONE at 2, log from 0")
    return about_orders(name, Exchange(produce(batch), STORED), after)


def both(*changes: Callable[[bytearray], object]) -> Callable[[bytearray], object]:
    def change(data: bytearray) -> None:
        for each in changes:
            each(data)

    return change


def packed(batch: bytes, codec: Codec) -> bytes:
    """Compress the records of a batch, valid or not."""
    records = compressor(codec)(batch[HEADER_SIZE:])
    whole = batch[:HEADER_SIZE] + records
    return spoil(whole, both(put(">i", 8, len(whole) - 12), put(">h", 21, codec)))


def exactly(size: int, codec: Codec = Codec.NONE) -> bytes:
    """Return a batch of `size` bytes, at least 1,000."""
    start = size - 100
    return make_batch(b"x" * (start + size - len(make_batch(b"x" * start))), codec=codec)


# Offsets of the first and second record: length, attributes, timestamp delta, offset delta, key length…
FIRST = HEADER_SIZE
SECOND = FIRST + 8

HEADER = [
    refused("a wrong checksum", spoil(VALID, put(">b", 66, 1), fix_crc=False), CORRUPT),
    refused("magic 1", spoil(VALID, put(">b", 16, 1)), INVALID),
    refused("magic 0", spoil(VALID, put(">b", 16, 0)), INVALID),
    refused("magic 3", spoil(VALID, put(">b", 16, 3)), f"{CORRUPT}, why"),
    refused("magic -1", spoil(VALID, put(">b", 16, -1)), f"{CORRUPT}, why"),
    refused("no batch", b"", INVALID),
    refused("a few bytes", VALID[:5], INVALID),
    refused("less than the length of a batch", VALID[:11], INVALID),
    refused("a batch cut in its header", VALID[:40], INVALID),
    refused("a batch cut after its header", VALID[:61], INVALID),
    refused("a batch without its last byte", VALID[:-1], INVALID),
    stored("a batch with an extra byte", VALID + b"\0"),
    stored("a batch with the start of another", VALID + VALID[:20]),
    refused("two batches", VALID + make_batch(b"c"), INVALID),
    refused("a length too high", spoil(VALID, put(">i", 8, 10_000)), INVALID),
    refused("a length below the header", spoil(VALID, put(">i", 8, 5)), f"{CORRUPT}, why"),
    refused("a length of 0", spoil(VALID, put(">i", 8, 0)), f"{CORRUPT}, why"),
    refused("a negative length", spoil(VALID, put(">i", 8, -1)), f"{CORRUPT}, why"),
    refused("a length before the last record", spoil(VALID, put(">i", 8, len(VALID) - 15)), CORRUPT),
    refused("base offset 5", spoil(VALID, put(">q", 0, 5)), INVALID_IN_LOG),
    refused("base offset -1", spoil(VALID, put(">q", 0, -1)), INVALID_IN_LOG),
    stored("leader epoch 42", spoil(VALID, put(">i", 12, 42))),
    refused("a count too high", spoil(VALID, put(">i", 57, 3)), INVALID_IN_LOG),
    refused("a count too low", spoil(VALID, put(">i", 57, 1)), INVALID_IN_LOG),
    refused("a count of 0", spoil(VALID, put(">i", 57, 0)), INVALID_IN_LOG),
    refused("a negative count", spoil(VALID, put(">i", 57, -1)), INVALID_IN_LOG),
    refused("a last offset delta too high", spoil(VALID, put(">i", 23, 2)), INVALID_IN_LOG),
    refused("a last offset delta too low", spoil(VALID, put(">i", 23, 0)), INVALID_IN_LOG),
    refused("a negative last offset delta", spoil(VALID, put(">i", 23, -1)), INVALID_IN_LOG),
    refused(
        "count and last offset delta too high",
        spoil(VALID, both(put(">i", 23, 2), put(">i", 57, 3))),
        INVALID_IN_LOG,
    ),
    refused(
        "count and last offset delta too low",
        spoil(VALID, both(put(">i", 23, 0), put(">i", 57, 1))),
        INVALID_IN_LOG,
    ),
    refused(
        "no records, with a matching header",
        spoil(VALID[:HEADER_SIZE], both(put(">i", 8, 49), put(">i", 23, -1), put(">i", 57, 0))),
        INVALID_IN_LOG,
    ),
    refused(
        "no records, count 0, last offset delta 0",
        spoil(VALID[:HEADER_SIZE], both(put(">i", 8, 49), put(">i", 23, 0), put(">i", 57, 0))),
        INVALID_IN_LOG,
    ),
    refused(
        "a control batch of a transaction",
        spoil(VALID, put(">h", 21, 0x30)),
        "orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    refused("a control batch", spoil(VALID, put(">h", 21, 0x20)), INVALID_IN_LOG),
    stored("the delete horizon flag", spoil(VALID, put(">h", 21, 0x40))),
    stored("unknown attributes", spoil(VALID, put(">h", 21, 0x7F80))),
    refused("a producer id without a sequence", spoil(VALID, put(">q", 43, 7)), INVALID_IN_LOG),
    stored("a producer id with sequence 0 and no epoch", make_batch(b"a", b"b", producer=(7, -1, 0))),
    stored("a sequence without a producer id", make_batch(b"a", b"b", producer=(-1, 0, 3))),
    stored("a negative producer id", make_batch(b"a", b"b", producer=(-2, 0, 0))),
]

RECORDS = [
    refused("a record length too low", spoil(VALID, put(">b", FIRST, 2)), INVALID_IN_LOG),
    refused(
        "a record length too high",
        spoil(VALID, put(">b", FIRST, 120)),
        INVALID_IN_LOG,
        oldest=UNKNOWN_ERROR,
    ),
    refused("a negative record length", spoil(VALID, put(">b", FIRST, 1)), INVALID_IN_LOG),
    refused("a record length of five bytes and more", spoil(VALID, put(">q", FIRST, -1)), UNKNOWN_ERROR),
    stored("attributes of a record", spoil(VALID, put(">b", FIRST + 1, 1))),
    stored("first offset delta 5", spoil(VALID, put(">b", FIRST + 3, 10))),
    stored("second offset delta 0", spoil(VALID, put(">b", SECOND + 3, 0))),
    stored("second offset delta -1", spoil(VALID, put(">b", SECOND + 3, 1))),
    stored("a key length of -2", spoil(VALID, put(">b", FIRST + 4, 3))),
    refused("a key longer than its record", spoil(VALID, put(">b", FIRST + 4, 40)), INVALID_IN_LOG),
    refused("a value length of -2", spoil(VALID, put(">b", FIRST + 5, 3)), INVALID_IN_LOG),
    refused("a value shorter than its record", spoil(VALID, put(">b", FIRST + 5, 0)), INVALID_IN_LOG),
    refused("a value longer than its record", spoil(VALID, put(">b", FIRST + 5, 8)), INVALID_IN_LOG),
    refused("a negative number of headers", spoil(VALID, put(">b", FIRST + 7, 1)), INVALID_IN_LOG),
    refused("a missing header", spoil(VALID, put(">b", FIRST + 7, 2)), INVALID_IN_LOG),
    refused(
        "a null key of a header",
        spoil(make_batch(b"a", headers={"k": b"v"}), put(">b", FIRST + 8, 1)),
        INVALID_IN_LOG,
    ),
    stored(
        "a header key without UTF-8",
        spoil(make_batch(b"a", b"b", headers={"k": b"v"}), put(">B", FIRST + 9, 0xFF)),
    ),
]

CODECS = [
    *[
        about_orders(
            f"a batch in {codec.name.lower()}, in Produce v{version}",
            Exchange(
                produce(
                    make_batch(b"a" * 500, None, b"c", key=b"k", headers={"h": None}, codec=codec),
                    version=version,
                ),
                "orders-0 UNSUPPORTED_COMPRESSION_TYPE"
                if codec is Codec.ZSTD and version < 7
                else "orders-0 NONE at 0" + ", log from 0" * (version >= 5),
            ),
        )
        for codec in Codec
        for version in (3, 6, 7, 9)
    ],
    *[
        refused(
            f"{codec.name.lower()} with invalid bytes",
            spoil(make_batch(b"a" * 50), put(">h", 21, codec)),
            UNKNOWN_ERROR,
        )
        for codec in Codec
        if codec
    ],
    *[
        refused(
            f"{codec.name.lower()} cut short",
            spoil(whole[:-4], put(">i", 8, len(whole) - 16)),
            UNKNOWN_ERROR,
        )
        for codec, whole in ((codec, make_batch(b"a" * 50, codec=codec)) for codec in Codec)
        if codec
    ],
    refused(
        "gzip with a wrong checksum of its own",
        spoil(make_batch(b"a" * 50, codec=Codec.GZIP), put(">i", -8, 1)),
        UNKNOWN_ERROR,
    ),
    *[
        refused(
            f"{codec.name.lower()} with a count too high",
            spoil(whole, both(put(">i", 23, 1), put(">i", 57, 2))),
            INVALID_IN_LOG,
        )
        for codec, whole in ((codec, make_batch(b"a" * 50, codec=codec)) for codec in Codec)
        if codec
    ],
    *[
        refused(
            f"{codec.name.lower()} with a count too low",
            spoil(whole, both(put(">i", 23, 0), put(">i", 57, 1))),
            INVALID_IN_LOG,
        )
        for codec, whole in ((codec, make_batch(b"a" * 50, b"b", codec=codec)) for codec in Codec)
        if codec
    ],
    *[refused(f"codec {codec}", spoil(VALID, put(">h", 21, codec)), UNKNOWN_ERROR) for codec in (5, 6, 7)],
    stored("valid records, packed", packed(VALID, Codec.LZ4)),
    stored("attributes of a record, packed", packed(spoil(VALID, put(">b", FIRST + 1, 1)), Codec.GZIP)),
    about_orders(
        "a record length too high, packed",
        Exchange(
            produce(packed(spoil(VALID, put(">b", FIRST, 120)), Codec.GZIP)), STORED, oldest=INVALID_IN_LOG
        ),
        Exchange(produce(VALID), "orders-0 NONE at 2, log from 0", oldest=STORED),
    ),
    *[
        refused(f"{name}, packed", packed(spoil(VALID, change), Codec.GZIP), answer)
        for name, change, answer in (
            ("first offset delta 5", put(">b", FIRST + 3, 10), UNKNOWN_ERROR),
            ("second offset delta 0", put(">b", SECOND + 3, 0), UNKNOWN_ERROR),
            ("a key longer than its record", put(">b", FIRST + 4, 40), INVALID_IN_LOG),
            ("a negative number of headers", put(">b", FIRST + 7, 1), INVALID_IN_LOG),
        )
    ],
    refused("bytes after the last record, packed", packed(VALID + b"more", Codec.GZIP), INVALID_IN_LOG),
    refused(
        "no bytes, in gzip",
        spoil(make_batch(b"a", codec=Codec.GZIP)[:HEADER_SIZE], put(">i", 8, 49)),
        UNKNOWN_ERROR,
    ),
]

TOO_LARGE = "orders-0 MESSAGE_TOO_LARGE"
LIMIT: dict[str, OptionValue] = {"max.message.bytes": 2000}
SEGMENT: dict[str, OptionValue] = {"segment.bytes": 2_000_000, "max.message.bytes": 3_000_000}

SIZES = [
    refused("a batch one byte above max.message.bytes", exactly(2001), TOO_LARGE, config=LIMIT),
    about_orders(
        "a batch of max.message.bytes",
        Exchange(produce(exactly(2000)), STORED),
        Exchange(produce(make_batch(*[b"x" * 100] * 30)), TOO_LARGE),
        Exchange(produce(make_batch(*[b"x" * 100] * 30, codec=Codec.GZIP)), "orders-0 NONE at 1, log from 0"),
        config=LIMIT,
    ),
    about_orders(
        "a batch at message.max.bytes, and one byte above",
        Exchange(produce(exactly(1_048_588)), STORED),
        Exchange(produce(exactly(1_048_589)), TOO_LARGE),
    ),
    refused(
        "a corrupt batch above the size limit",
        spoil(exactly(3000), put(">b", 90, 1), fix_crc=False),
        TOO_LARGE,
        config=LIMIT,
    ),
    refused(
        "a batch larger than a segment", exactly(2_000_001), "orders-0 RECORD_LIST_TOO_LARGE", config=SEGMENT
    ),
]

CONVERSATIONS = [*HEADER, *RECORDS, *CODECS, *SIZES]
