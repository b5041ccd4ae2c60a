"""Measure `send` alone: CPU microseconds per record, without a network.

A producer is set up without sockets, with topics and partitions in its accumulator. Then records
of 100 bytes are sent and no batch is taken out, as if all brokers were slow. The figure includes
the loop that calls `send`, serialization, the choice of the partition, the record's bytes in its
batch, its Delivery, and a new batch for each full one. Before the measurement the open batches (of
every partition with keys, of one partition per topic without) are filled to levels between empty
and full, as in a long run: the first record of a partition and a growing empty batch cost more.

    unkeyed, a 16-byte key, or a key with a timestamp and two headers
    1 to 10,000 partitions of one topic; 1 to 1,000 topics (in turn) of 12 partitions

Every round is a new process of this interpreter. With `--pure-python`, an interpreter that has
aioproducer without compiled modules runs in turns with it. The table shows the median of the
rounds, and the smallest figure in brackets.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import time
from collections import deque
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Send = Callable[..., object]
    Figures = dict[str, float]

SHAPES: Final = {"unkeyed": "unkeyed", "keyed": "16-byte key", "full": "key, timestamp, 2 headers"}
PARTITIONS: Final = (1, 10, 100, 1000, 10_000)
TOPICS: Final = (1, 10, 100, 1000)
PARTITIONS_A_TOPIC: Final = 12
LAYOUTS: Final = [(1, count) for count in PARTITIONS] + [(count, PARTITIONS_A_TOPIC) for count in TOPICS]
VALUE_BYTES: Final = 100
KEY_BYTES: Final = 16
DISTINCT_VALUES: Final = 4096
DISTINCT_KEYS: Final = 65_536
HEADERS: Final = [("trace", b"0af7651916cd43dd8448eb211c80319c"), ("content-type", b"application/json")]
RECORDS_A_BATCH: Final = 16_384 // (VALUE_BYTES + KEY_BYTES)


def make_producer(topics: Sequence[str], partitions: int) -> Send:
    """Set up a started producer without sockets; return its `send`."""
    from aioproducer import Producer  # noqa: PLC0415 - not in the parent process
    from aioproducer.net.place import current_place  # noqa: PLC0415 - likewise

    producer = Producer("127.0.0.1:1", buffer_memory=1 << 30)
    accumulator = producer._accumulator  # noqa: SLF001 - `start` would set it up
    for topic in topics:
        accumulator.set_partitions(topic, partitions, None)
        for partition in range(partitions):
            accumulator.set_leader(topic, partition, 1, 0)
    producer._place = current_place()  # noqa: SLF001 - likewise
    # On CPython 3.11 the check makes a system call for each batch.
    producer._engine.check = lambda: None  # type: ignore[method-assign] # noqa: SLF001 - likewise
    return producer.send


def sends(send: Send, shape: str, topics: Sequence[str]) -> Iterator[object]:
    """Send one record for each item."""
    rng = random.Random(4)  # noqa: S311 - must be reproducible
    values = cycle([rng.randbytes(VALUE_BYTES) for _ in range(DISTINCT_VALUES)])
    names = cycle(topics)
    rows = zip(names, values, strict=False)
    if shape == "unkeyed":
        return (send(topic, value) for topic, value in rows)
    keys = cycle([rng.randbytes(KEY_BYTES) for _ in range(DISTINCT_KEYS)])
    keyed = zip(names, values, keys, strict=False)
    if shape == "keyed":
        return (send(topic, value, key=key) for topic, value, key in keyed)
    now = time.time_ns() // 1_000_000
    return (send(topic, value, key=key, timestamp_ms=now, headers=HEADERS) for topic, value, key in keyed)


def take(iterator: Iterator[object], count: int) -> None:
    """Consume `count` items, in C."""
    deque(islice(iterator, count), maxlen=0)


def fill(send: Send, shape: str, topics: Sequence[str], partitions: int) -> None:
    """Fill the open batches to different levels, as in a long run."""
    rng = random.Random(5)  # noqa: S311 - must be reproducible
    value = rng.randbytes(VALUE_BYTES)
    for topic in topics:
        for partition in range(1 if shape == "unkeyed" else partitions):
            at = None if shape == "unkeyed" else partition
            for _ in range(rng.randrange(RECORDS_A_BATCH)):
                send(topic, value, partition=at)


def measure(shape: str, topic_count: int, partitions: int, records: int) -> float:
    """Return the CPU microseconds of one record."""
    topics = [f"topic-{index}" for index in range(topic_count)]
    send = make_producer(topics, partitions)
    fill(send, shape, topics, partitions)
    iterator = sends(send, shape, topics)
    take(iterator, 1)
    gc.collect()
    start = time.process_time()
    take(iterator, records)
    return (time.process_time() - start) / records * 1e6


def measure_all(records: int) -> dict[str, Any]:
    """Measure every shape and layout once, in this process."""
    import aioproducer  # noqa: PLC0415 - not in the parent process

    measure("full", 1, 1, 10_000)
    figures = {
        f"{shape}/{topics}/{partitions}": measure(shape, topics, partitions, records)
        for topics, partitions in LAYOUTS
        for shape in SHAPES
    }
    return {"compiled": getattr(aioproducer, "__compiled__", None), "figures": figures}


def run_round(interpreter: str, records: int) -> dict[str, Any]:
    """Measure everything once in a new process."""
    command = [interpreter, str(Path(__file__)), "--one-round", "--records", str(records)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - this script
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def summarize(reports: Sequence[dict[str, Any]]) -> dict[str, Figures]:
    """Return median and minimum over the rounds."""
    summary = {}
    for name in reports[0]["figures"]:
        values = [report["figures"][name] for report in reports]
        summary[name] = {"median": statistics.median(values), "min": min(values)}
    return summary


def table(build: str, summary: dict[str, Figures], rounds: int) -> str:
    """Return the summary as a text table."""
    heading = "".join(f"{title:>28}" for title in SHAPES.values())
    lines = [
        f"send, {build}: CPU us a record, median of {rounds} (min)",
        f"{'topics':>8}{'partitions':>12}{heading}",
    ]
    for topics, partitions in LAYOUTS:
        cells = ""
        for shape in SHAPES:
            figures = summary[f"{shape}/{topics}/{partitions}"]
            cell = f"{figures['median']:.3f} ({figures['min']:.3f})"
            cells += f"{cell:>28}"
        lines.append(f"{topics:>8,}{partitions:>12,}{cells}")
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="processes of each build (default 5)")
    parser.add_argument(
        "--records", type=int, default=100_000, help="number of records for each figure (default 100,000)"
    )
    parser.add_argument("--quick", action="store_true", help="two rounds of 20,000 records")
    parser.add_argument(
        "--pure-python", metavar="PATH", help="an interpreter that has aioproducer without compiled modules"
    )
    parser.add_argument("--json", metavar="FILE", help="write every round's figures")
    parser.add_argument("--one-round", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_round:
        print(json.dumps(measure_all(arguments.records)))
        return
    rounds, records = (2, 20_000) if arguments.quick else (arguments.rounds, arguments.records)
    interpreters = [sys.executable, *([arguments.pure_python] if arguments.pure_python else [])]
    reports: dict[str, list[dict[str, Any]]] = {interpreter: [] for interpreter in interpreters}
    for _ in range(rounds):
        for interpreter in interpreters:
            reports[interpreter].append(run_round(interpreter, records))
    builds = []
    for interpreter, of in reports.items():
        build = {True: "compiled", False: "pure Python"}.get(of[0]["compiled"], "build not known")
        summary = summarize(of)
        builds.append({"build": build, "interpreter": interpreter, "summary": summary, "rounds": of})
        print(table(build, summary, rounds))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(builds, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
