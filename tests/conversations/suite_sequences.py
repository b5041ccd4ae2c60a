"""Producer ids, epochs and sequences."""

from __future__ import annotations

from tests.conversations.conversation import Exchange, TopicCreated, TopicDeleted, about_orders
from tests.conversations.requests import produce
from tests.testing.batches import make_batch

PRODUCER = 4_000_001
HIGHEST_SEQUENCE = 2**31 - 1
HIGHEST_EPOCH = 2**15 - 1

OUT_OF_ORDER = "orders-0 OUT_OF_ORDER_SEQUENCE_NUMBER, log from 0"
OLD_EPOCH = "orders-0 INVALID_PRODUCER_EPOCH, log from 0"


def at(offset: int) -> str:
    return f"orders-0 NONE at {offset}, log from 0"


def again(offset: int) -> str:
    """Return the answer to a duplicate; the broker puts the batch's max timestamp in the append time."""
    return f"{at(offset)}, append time"


def write(
    sequence: int,
    answer: str,
    *,
    count: int = 1,
    epoch: int = 0,
    producer: int = PRODUCER,
    value: bytes = b"v",
) -> Exchange:
    batch = make_batch(*[value] * count, producer=(producer, epoch, sequence))
    return Exchange(produce(batch), answer)


CONVERSATIONS = [
    about_orders(
        "sequences from 0",
        write(0, at(0)),
        write(1, at(1), count=3),
        write(4, at(4)),
    ),
    about_orders(
        "an unknown producer id begins with sequence 5",
        write(5, at(0)),
        write(6, at(1)),
        write(5, again(0)),
        write(0, OUT_OF_ORDER),
    ),
    about_orders(
        "an unknown producer id begins with epoch 3 and sequence 5",
        write(5, at(0), epoch=3),
        write(6, at(1), epoch=3),
        write(6, OLD_EPOCH, epoch=2),
    ),
    about_orders(
        "a gap",
        write(0, at(0)),
        write(2, OUT_OF_ORDER),
        write(1, at(1)),
        write(2, at(2)),
    ),
    about_orders(
        "the last five batches repeated, and the one before",
        *[write(sequence, at(sequence)) for sequence in range(6)],
        *[write(sequence, again(sequence)) for sequence in range(5, 0, -1)],
        write(0, OUT_OF_ORDER),
        write(6, at(6)),
        write(1, OUT_OF_ORDER),
        write(2, again(2)),
    ),
    about_orders(
        "a repeated sequence with other bytes is a duplicate",
        write(0, at(0), count=2),
        write(2, at(2)),
        write(0, again(0), count=2, value=b"other"),
        write(3, at(3)),
    ),
    about_orders(
        "sequences that overlap a stored batch",
        write(0, at(0), count=4),
        write(0, OUT_OF_ORDER, count=2),
        write(2, OUT_OF_ORDER, count=2),
        write(3, OUT_OF_ORDER, count=2),
        write(0, OUT_OF_ORDER, count=5),
        write(4, at(4)),
        write(0, OUT_OF_ORDER, count=5),
        write(3, OUT_OF_ORDER, count=2),
    ),
    about_orders(
        "a higher epoch begins at 0",
        write(0, at(0)),
        write(1, at(1)),
        write(2, OUT_OF_ORDER, epoch=1),
        write(1, OUT_OF_ORDER, epoch=1),
        write(0, at(2), epoch=1),
        write(1, at(3), epoch=1),
        write(0, again(2), epoch=1),
    ),
    about_orders(
        "a lower epoch is refused, duplicate or not",
        write(0, at(0), epoch=3),
        write(0, OLD_EPOCH, epoch=2),
        write(1, OLD_EPOCH, epoch=2),
        write(7, OLD_EPOCH, epoch=0),
        write(0, at(1), epoch=9),
        write(0, OLD_EPOCH, epoch=3),
        write(1, at(2), epoch=9),
    ),
    about_orders(
        "after the highest sequence comes 0",
        write(HIGHEST_SEQUENCE - 1, at(0)),
        write(HIGHEST_SEQUENCE, at(1)),
        write(0, at(2)),
        write(HIGHEST_SEQUENCE, again(1)),
        write(1, at(3)),
    ),
    about_orders(
        "a batch whose sequences wrap",
        write(HIGHEST_SEQUENCE - 1, at(0), count=4),
        write(HIGHEST_SEQUENCE - 1, again(0), count=4),
        write(1, OUT_OF_ORDER),
        write(2, at(4)),
    ),
    about_orders(
        "the highest epoch",
        write(0, at(0), epoch=HIGHEST_EPOCH),
        write(1, at(1), epoch=HIGHEST_EPOCH),
        write(2, OLD_EPOCH, epoch=HIGHEST_EPOCH - 1),
    ),
    about_orders(
        "every producer has its own sequences",
        write(0, at(0)),
        write(0, at(1), producer=PRODUCER + 1),
        write(1, at(2), producer=PRODUCER + 1),
        write(1, at(3)),
        write(0, again(0)),
        Exchange(produce(make_batch(b"a")), at(4)),
        write(2, at(5)),
    ),
    about_orders(
        "every partition has its own sequences",
        Exchange(
            produce(make_batch(b"a", producer=(PRODUCER, 0, 0)), make_batch(b"a", producer=(PRODUCER, 0, 0))),
            f"{at(0)}; orders-1 NONE at 0, log from 0",
        ),
        Exchange(
            produce(make_batch(b"a", producer=(PRODUCER, 0, 1)), make_batch(b"a", producer=(PRODUCER, 0, 5))),
            f"{at(1)}; orders-1 OUT_OF_ORDER_SEQUENCE_NUMBER, log from 0",
        ),
        partitions=2,
    ),
    about_orders(
        "a refused batch uses no sequence",
        write(0, at(0)),
        write(1, "orders-0 MESSAGE_TOO_LARGE", value=b"x" * 3000),
        write(2, OUT_OF_ORDER),
        write(1, at(1)),
        config={"max.message.bytes": 2000},
    ),
    about_orders(
        "a recreated topic knows no producers",
        write(0, at(0)),
        write(1, at(1)),
        TopicDeleted("orders"),
        TopicCreated("orders"),
        write(2, at(0)),
        write(3, at(1)),
    ),
    about_orders(
        "a duplicate in a topic with the broker's time",
        write(0, f"{at(0)}, append time"),
        write(1, f"{at(1)}, append time"),
        write(0, f"{at(0)}, append time"),
        config={"message.timestamp.type": "LogAppendTime"},
    ),
    about_orders(
        "sequences in Produce v3 and v13",
        *[
            Exchange(produce(make_batch(b"a", producer=(PRODUCER, 0, sequence)), version=3), answer)
            for sequence, answer in (
                (0, "orders-0 NONE at 0"),
                (0, "orders-0 NONE at 0, append time"),
                (2, "orders-0 OUT_OF_ORDER_SEQUENCE_NUMBER"),
            )
        ],
        *[
            Exchange(
                produce(make_batch(b"a", producer=(PRODUCER, 0, sequence)), version=13), answer, "closed"
            )
            for sequence, answer in ((0, again(0)), (1, at(1)), (5, OUT_OF_ORDER))
        ],
    ),
]
