"""Compare producers in bulk: CPU per record, records per second, memory.

Every client sends the same records with the same settings (acks=all, idempotence, linger
5 ms, batches of 16 KiB, values of 100 random bytes, no codec, 12 partitions) unless the case
says otherwise. "us a record" is the CPU of the client's whole process, user and system, all
threads, so it does not depend on the broker. Records per second is wall clock, which the broker
and the number of cores limit too. "sink us" is the sink's own CPU per record.

    W1     fire and forget, no result is read; batches of 16 and of 256 KiB
    W1w    windows of 10,000: send, flush, read every delivery
    W1c    400,000 handles are kept, then read; the peak of memory
    W2     with keys of 16 bytes; W2h: and a timestamp and two headers
    W3     JSON of 1 KiB with each codec
    W7     1 to 1,000 partitions, without keys and with
    W8     bytes of memory per unsent record, with its handle (values are shared; linger 3 s
           and batches of 2 MiB, so that all records are unsent)
    W9     time of the import; from construction to the first acknowledged record; memory then
    W10    1 KB, one partition, a broker 5 ms away: records per second, up to 2,000 in flight,
           every delivery is read (always against the sink)

Examples: `python benchmarks/produce.py --quick`, `... --only W1 W2 --json out.json --plot
out.svg`, `... --bootstrap localhost:9092 --java-libs kafka/libs`.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from case import Case, Column
from comparison import add_common_arguments, compare

if TYPE_CHECKING:
    from collections.abc import Iterator

BULK: Final = ("aioproducer", "aiokafka", "confluent", "confluent-bare", "confluent-aio", "wrap")
UNKEYED: Final = (*BULK, "java")
TRACKED: Final = ("aioproducer", "aiokafka", "confluent", "confluent-aio", "wrap")
WITH_HEADERS: Final = ("aioproducer", "aiokafka", "confluent", "wrap")

CPU: Final = Column("us_per_record", "us/record", 3)
RATE: Final = Column("records_per_second", "records/s", 0)
PEAK: Final = Column("peak_mb", "peak MB", 0)
SINK: Final = Column("sink_us_per_record", "sink us", 3)
BULK_COLUMNS: Final = (CPU, RATE, PEAK, SINK)


def bulk_cases(size: int) -> Iterator[Case]:
    """Return W1, W1w, W1c, W2 and W2h; `size` is a million, or less."""
    for name, kib in (("W1", 16), ("W1-256K", 256)):
        yield Case(
            name,
            f"bulk, fire and forget, batches of {kib} KiB",
            "bulk",
            BULK_COLUMNS,
            UNKEYED,
            settings={"batch_bytes": kib * 1024},
            job={"records": size},
        )
    yield Case(
        "W1w",
        "windows of 10,000, every delivery looked at",
        "windows",
        BULK_COLUMNS,
        TRACKED,
        job={"records": size // 2, "window": 10_000},
    )
    kept = size * 4 // 10
    yield Case(
        "W1c",
        f"{kept:,} handles kept, then looked at",
        "windows",
        BULK_COLUMNS,
        TRACKED,
        job={"records": kept, "window": kept},
    )
    yield Case("W2", "keys of 16 bytes", "bulk", BULK_COLUMNS, BULK, job={"records": size, "shape": "keyed"})
    yield Case(
        "W2h",
        "keys, a timestamp and two headers",
        "bulk",
        BULK_COLUMNS,
        WITH_HEADERS,
        job={"records": size // 2, "shape": "full"},
    )


def codec_cases(size: int) -> Iterator[Case]:
    """Return W3."""
    for codec in ("none", "lz4", "zstd", "snappy", "gzip"):
        yield Case(
            f"W3-{codec}",
            f"JSON of 1 KiB, codec {codec}",
            "bulk",
            BULK_COLUMNS,
            UNKEYED,
            settings={"compression": codec},
            job={"records": size // 10, "value": "json", "value_bytes": 1024},
        )


def partition_cases(size: int) -> Iterator[Case]:
    """Return W7."""
    for shape, title in (("plain", "without keys"), ("keyed", "with keys")):
        for partitions in (1, 10, 100, 1000):
            yield Case(
                f"W7-{shape}-{partitions}",
                f"{partitions:,} partition{'s' * (partitions > 1)}, {title}",
                "bulk",
                BULK_COLUMNS,
                ("aioproducer", "aiokafka", "confluent"),
                job={"records": size // 4, "shape": shape},
                partitions=partitions,
            )


def other_cases(size: int) -> Iterator[Case]:
    """Return W8, W9 and W10."""
    waiting = min(100_000, max(size // 4, 20_000))
    yield Case(
        "W8",
        f"memory of {waiting:,} waiting records of 100 B",
        "hold",
        (Column("bytes_per_record", "bytes/record", 0), CPU, PEAK),
        TRACKED,
        settings={"linger_ms": 3000, "batch_bytes": 2 << 20},
        job={"records": waiting},
    )
    yield Case(
        "W9",
        "start: import, construction to first acknowledgement, linger 0",
        "start",
        (
            Column("first_ack_ms", "first ack ms", 1),
            Column("import_ms", "import ms", 1),
            Column("resident_mb", "resident MB", 1),
        ),
        TRACKED,
        settings={"linger_ms": 0},
    )
    yield Case(
        "W10",
        "1 KB, one partition, broker 5 ms away",
        "pipeline",
        (RATE, CPU, PEAK),
        TRACKED,
        job={"records": max(size // 50, 10_000), "window": 2000, "value_bytes": 1000},
        partitions=1,
        delay_ms=5,
        more_is_better=True,
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser)
    parser.add_argument(
        "--records", type=int, help="number of records in W1 (default 1,000,000); the others are scaled"
    )
    arguments = parser.parse_args()
    size = arguments.records or (100_000 if arguments.quick else 1_000_000)
    cases = [*bulk_cases(size), *codec_cases(size), *partition_cases(size), *other_cases(size)]
    return compare(cases, arguments)


if __name__ == "__main__":
    sys.exit(main())
