"""A bulk pipeline: send every line of a file, and report the lines that failed.

    KAFKA_BOOTSTRAP_SERVERS=localhost:9092 python bulk.py orders orders.jsonl

Memory is bounded: `drain` waits while the producer's buffer is half full, and at most
`AHEAD` deliveries are kept.
"""

import asyncio
import os
import sys
from collections import deque

from aioproducer import Delivery, Producer, ProducerError

AHEAD = 100_000
"""Deliveries that may be pending at a time."""


class Report:
    """Counts the records, in the order of the lines."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self._pending: deque[tuple[int, Delivery]] = deque()

    def add(self, line: int, delivery: Delivery) -> None:
        """Keep a delivery until its result is known."""
        self._pending.append((line, delivery))

    def fail(self, line: int, error: ProducerError) -> None:
        """Count a failed record and print its line."""
        self.failed += 1
        print(f"line {line}: {error}", file=sys.stderr)

    async def collect(self, keep: int) -> None:
        """Count results until at most `keep` deliveries are left."""
        while len(self._pending) > keep or (self._pending and self._pending[0][1].done()):
            line, delivery = self._pending.popleft()
            try:
                await delivery
            except ProducerError as error:
                self.fail(line, error)
            else:
                self.delivered += 1


async def main(topic: str, path: str) -> int:
    """Send the file, and return the exit code."""
    report = Report()
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    async with Producer(bootstrap, linger_ms=20, batch_size=128 * 1024, compression_type="lz4") as producer:
        with open(path, "rb") as file:  # noqa: ASYNC230, PTH123 - a file does not make the loop wait long
            for number, line in enumerate(file, 1):
                try:
                    report.add(number, producer.send(topic, line.rstrip(b"\n")))
                except ProducerError as error:
                    if error.fatal:
                        raise
                    report.fail(number, error)
                await producer.drain()
                await report.collect(keep=AHEAD)
        await producer.flush()
        await report.collect(keep=0)
    print(f"{report.delivered} delivered, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
