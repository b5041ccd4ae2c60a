"""Batches that are not as they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.records.batch import HEADER_SIZE
from aioproducer.records.compression import Codec, compressor
from tests.conversations.conversation import Conversation, Turn, about_orders
from tests.conversations.lines import produce
from tests.testing.batches import make_batch, put, spoil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.conversations.conversation import OptionValue

STORED = "orders-0 NONE at 0, log from 0"
CORRUPT = "orders-0 CORRUPT_MESSAGE"
INVALID = "orders-0 INVALID_RECORD"
INVALID_IN_LOG = f"{INVALID}, log from 0"
UNKNOWN_ERROR = "orders-0 UNKNOWN_SERVER_ERROR, log from 0"

SOUND = make_batch(b"a", b"b")


def refused(
    name: str,
    batch: bytes,
    answer: str,
    *,
    oldest: str | None = None,
    config: Mapping[str, OptionValue] | None = None,
) -> Conversation:
    """Write the batch, and then a sound one to see that nothing was stored."""
    return about_orders(
        name, Turn(produce(batch), answer, oldest=oldest), Turn(produce(SOUND), STORED), config=config
    )


def stored(name: str, batch: bytes) -> Conversation:
    """Write a batch that has two records, and then another one."""
    after = Turn(produce(SOUND), "orders-0 NONE at 2, log from 0")
    return about_orders(name, Turn(produce(batch), STORED), after)


def both(*changes: Callable[[bytearray], object]) -> Callable[[bytearray], object]:
    def change(data: bytearray) -> None:
        for each in changes:
            each(data)

    return change


def packed(batch: bytes, codec: Codec) -> bytes:
    """Compress the records of a batch as they are, right or wrong."""
    records = compressor(codec)(batch[HEADER_SIZE:])
    whole = batch[:HEADER_SIZE] + records
    return spoil(whole, both(put(">i", 8, len(whole) - 12), put(">h", 21, codec)))


def exactly(size: int, codec: Codec = Codec.NONE) -> bytes:
    """Make a batch of so many bytes, at least 1,000."""
    start = size - 100
    return make_batch(b"x" * (start + size - len(make_batch(b"x" * start))), codec=codec)


# Where the first record begins with its length, attributes, timestamp and offset deltas, key length…
FIRST = HEADER_SIZE
SECOND = FIRST + 8

HEADER = [
    refused("a wrong checksum", spoil(SOUND, put(">b", 66, 1), fix_crc=False), CORRUPT),
    refused("magic 1", spoil(SOUND, put(">b", 16, 1)), INVALID),
    refused("magic 0", spoil(SOUND, put(">b", 16, 0)), INVALID),
    refused("magic 3", spoil(SOUND, put(">b", 16, 3)), f"{CORRUPT}, why"),
    refused("magic -1", spoil(SOUND, put(">b", 16, -1)), f"{CORRUPT}, why"),
    refused("no batch at all", b"", INVALID),
    refused("a few bytes", SOUND[:5], INVALID),
    refused("less than the length of a batch", SOUND[:11], INVALID),
    refused("a batch cut in its header", SOUND[:40], INVALID),
    refused("a batch cut behind its header", SOUND[:61], INVALID),
    refused("a batch without its last byte", SOUND[:-1], INVALID),
    stored("a batch with a byte too many", SOUND + b"\0"),
    stored("a batch with the start of another", SOUND + SOUND[:20]),
    refused("two batches", SOUND + make_batch(b"c"), INVALID),
    refused("a length that is too high", spoil(SOUND, put(">i", 8, 10_000)), INVALID),
    refused("a length that is too low for a header", spoil(SOUND, put(">i", 8, 5)), f"{CORRUPT}, why"),
    refused("a length of 0", spoil(SOUND, put(">i", 8, 0)), f"{CORRUPT}, why"),
    refused("a negative length", spoil(SOUND, put(">i", 8, -1)), f"{CORRUPT}, why"),
    refused(
        "a length that ends before the last record", spoil(SOUND, put(">i", 8, len(SOUND) - 15)), CORRUPT
    ),
    refused("base offset 5", spoil(SOUND, put(">q", 0, 5)), INVALID_IN_LOG),
    refused("base offset -1", spoil(SOUND, put(">q", 0, -1)), INVALID_IN_LOG),
    stored("leader epoch 42", spoil(SOUND, put(">i", 12, 42))),
    refused("a count that is too high", spoil(SOUND, put(">i", 57, 3)), INVALID_IN_LOG),
    refused("a count that is too low", spoil(SOUND, put(">i", 57, 1)), INVALID_IN_LOG),
    refused("a count of 0", spoil(SOUND, put(">i", 57, 0)), INVALID_IN_LOG),
    refused("a negative count", spoil(SOUND, put(">i", 57, -1)), INVALID_IN_LOG),
    refused("a last offset delta that is too high", spoil(SOUND, put(">i", 23, 2)), INVALID_IN_LOG),
    refused("a last offset delta that is too low", spoil(SOUND, put(">i", 23, 0)), INVALID_IN_LOG),
    refused("a negative last offset delta", spoil(SOUND, put(">i", 23, -1)), INVALID_IN_LOG),
    refused(
        "a count and a last offset delta that are too high",
        spoil(SOUND, both(put(">i", 23, 2), put(">i", 57, 3))),
        INVALID_IN_LOG,
    ),
    refused(
        "a count and a last offset delta that are too low",
        spoil(SOUND, both(put(">i", 23, 0), put(">i", 57, 1))),
        INVALID_IN_LOG,
    ),
    refused(
        "no records, and a header that says so",
        spoil(SOUND[:HEADER_SIZE], both(put(">i", 8, 49), put(">i", 23, -1), put(">i", 57, 0))),
        INVALID_IN_LOG,
    ),
    refused(
        "no records, count 0, last offset delta 0",
        spoil(SOUND[:HEADER_SIZE], both(put(">i", 8, 49), put(">i", 23, 0), put(">i", 57, 0))),
        INVALID_IN_LOG,
    ),
    refused(
        "a control batch of a transaction",
        spoil(SOUND, put(">h", 21, 0x30)),
        "orders-0 TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    refused("a control batch", spoil(SOUND, put(">h", 21, 0x20)), INVALID_IN_LOG),
    stored("the delete horizon flag", spoil(SOUND, put(">h", 21, 0x40))),
    stored("attributes that mean nothing", spoil(SOUND, put(">h", 21, 0x7F80))),
    refused("a producer id without a sequence", spoil(SOUND, put(">q", 43, 7)), INVALID_IN_LOG),
    stored("a producer id with sequence 0 and no epoch", make_batch(b"a", b"b", producer=(7, -1, 0))),
    stored("a sequence without a producer id", make_batch(b"a", b"b", producer=(-1, 0, 3))),
    stored("a negative producer id", make_batch(b"a", b"b", producer=(-2, 0, 0))),
]

RECORDS = [
    refused("a record length that is too low", spoil(SOUND, put(">b", FIRST, 2)), INVALID_IN_LOG),
    refused(
        "a record length that is too high",
        spoil(SOUND, put(">b", FIRST, 120)),
        INVALID_IN_LOG,
        oldest=UNKNOWN_ERROR,
    ),
    refused("a negative record length", spoil(SOUND, put(">b", FIRST, 1)), INVALID_IN_LOG),
    refused("a record length of five bytes and more", spoil(SOUND, put(">q", FIRST, -1)), UNKNOWN_ERROR),
    stored("attributes of a record", spoil(SOUND, put(">b", FIRST + 1, 1))),
    stored("first offset delta 5", spoil(SOUND, put(">b", FIRST + 3, 10))),
    stored("second offset delta 0", spoil(SOUND, put(">b", SECOND + 3, 0))),
    stored("second offset delta -1", spoil(SOUND, put(">b", SECOND + 3, 1))),
    stored("a key length of -2", spoil(SOUND, put(">b", FIRST + 4, 3))),
    refused("a key longer than its record", spoil(SOUND, put(">b", FIRST + 4, 40)), INVALID_IN_LOG),
    refused("a value length of -2", spoil(SOUND, put(">b", FIRST + 5, 3)), INVALID_IN_LOG),
    refused("a value shorter than its record", spoil(SOUND, put(">b", FIRST + 5, 0)), INVALID_IN_LOG),
    refused("a value longer than its record", spoil(SOUND, put(">b", FIRST + 5, 8)), INVALID_IN_LOG),
    refused("a negative number of headers", spoil(SOUND, put(">b", FIRST + 7, 1)), INVALID_IN_LOG),
    refused("a header that is missing", spoil(SOUND, put(">b", FIRST + 7, 2)), INVALID_IN_LOG),
    refused(
        "a null key of a header",
        spoil(make_batch(b"a", headers={"k": b"v"}), put(">b", FIRST + 8, 1)),
        INVALID_IN_LOG,
    ),
    stored(
        "a header key that is no UTF-8",
        spoil(make_batch(b"a", b"b", headers={"k": b"v"}), put(">B", FIRST + 9, 0xFF)),
    ),
]

CODECS = [
    *[
        about_orders(
            f"a batch in {codec.name.lower()}, in Produce v{version}",
            Turn(
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
            f"{codec.name.lower()} that is none",
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
        "gzip whose own checksum is wrong",
        spoil(make_batch(b"a" * 50, codec=Codec.GZIP), put(">i", -8, 1)),
        UNKNOWN_ERROR,
    ),
    *[
        refused(
            f"{codec.name.lower()} with a count that is too high",
            spoil(whole, both(put(">i", 23, 1), put(">i", 57, 2))),
            INVALID_IN_LOG,
        )
        for codec, whole in ((codec, make_batch(b"a" * 50, codec=codec)) for codec in Codec)
        if codec
    ],
    *[
        refused(
            f"{codec.name.lower()} with a count that is too low",
            spoil(whole, both(put(">i", 23, 0), put(">i", 57, 1))),
            INVALID_IN_LOG,
        )
        for codec, whole in ((codec, make_batch(b"a" * 50, b"b", codec=codec)) for codec in Codec)
        if codec
    ],
    *[refused(f"codec {codec}", spoil(SOUND, put(">h", 21, codec)), UNKNOWN_ERROR) for codec in (5, 6, 7)],
    stored("sound records, packed", packed(SOUND, Codec.LZ4)),
    stored("attributes of a record, packed", packed(spoil(SOUND, put(">b", FIRST + 1, 1)), Codec.GZIP)),
    about_orders(
        "a record length that is too high, packed",
        Turn(produce(packed(spoil(SOUND, put(">b", FIRST, 120)), Codec.GZIP)), STORED, oldest=INVALID_IN_LOG),
        Turn(produce(SOUND), "orders-0 NONE at 2, log from 0", oldest=STORED),
    ),
    *[
        refused(f"{name}, packed", packed(spoil(SOUND, change), Codec.GZIP), answer)
        for name, change, answer in (
            ("first offset delta 5", put(">b", FIRST + 3, 10), UNKNOWN_ERROR),
            ("second offset delta 0", put(">b", SECOND + 3, 0), UNKNOWN_ERROR),
            ("a key longer than its record", put(">b", FIRST + 4, 40), INVALID_IN_LOG),
            ("a negative number of headers", put(">b", FIRST + 7, 1), INVALID_IN_LOG),
        )
    ],
    refused("bytes behind the last record, packed", packed(SOUND + b"more", Codec.GZIP), INVALID_IN_LOG),
    refused(
        "nothing, in gzip",
        spoil(make_batch(b"a", codec=Codec.GZIP)[:HEADER_SIZE], put(">i", 8, 49)),
        UNKNOWN_ERROR,
    ),
]

TOO_LARGE = "orders-0 MESSAGE_TOO_LARGE"
LIMIT: dict[str, OptionValue] = {"max.message.bytes": 2000}
SEGMENT: dict[str, OptionValue] = {"segment.bytes": 2_000_000, "max.message.bytes": 3_000_000}

SIZES = [
    refused("a batch of one byte more than max.message.bytes", exactly(2001), TOO_LARGE, config=LIMIT),
    about_orders(
        "a batch of max.message.bytes",
        Turn(produce(exactly(2000)), STORED),
        Turn(produce(make_batch(*[b"x" * 100] * 30)), TOO_LARGE),
        Turn(produce(make_batch(*[b"x" * 100] * 30, codec=Codec.GZIP)), "orders-0 NONE at 1, log from 0"),
        config=LIMIT,
    ),
    about_orders(
        "a batch of the broker's message.max.bytes, and one byte more",
        Turn(produce(exactly(1_048_588)), STORED),
        Turn(produce(exactly(1_048_589)), TOO_LARGE),
    ),
    refused(
        "a corrupt batch that is too large",
        spoil(exactly(3000), put(">b", 90, 1), fix_crc=False),
        TOO_LARGE,
        config=LIMIT,
    ),
    refused(
        "a batch larger than a segment", exactly(2_000_001), "orders-0 RECORD_LIST_TOO_LARGE", config=SEGMENT
    ),
]

CONVERSATIONS = [*HEADER, *RECORDS, *CODECS, *SIZES]
