"""`aioproducer perf`: measures throughput and latency, with the output of kafka-producer-perf-test.

The records of a batch are acknowledged together. So the start of each record is kept in a list of
its batch, and one callback per batch turns the list into latencies. This counts all records, at a
tenth of the cost of a callback per record.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import string
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aioproducer.cli.failures import Failures
from aioproducer.cli.latencies import Latencies
from aioproducer.cli.servers import add_servers_option, cluster, named_servers, parse_properties
from aioproducer.config import ProducerConfig
from aioproducer.errors import ConfigurationError, ProducerError
from aioproducer.producer import Producer

if TYPE_CHECKING:
    import argparse

    from aioproducer.delivery import BatchResult

EMBEDDED_PARTITIONS = 6

POOL_SIZE = 1024 * 1024
"""Size of the random bytes that payloads are cut from: a batch must not contain repetitions."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "perf",
        help="measure throughput and latency",
        description="Produce records and report throughput and latency, as kafka-producer-perf-test does.",
    )
    add_servers_option(parser)
    parser.add_argument("--topic", default="perf", help="topic to produce to (default: perf)")
    parser.add_argument(
        "--num-records", type=int, default=1_000_000, metavar="N", help="records to send (default: 1000000)"
    )
    content = parser.add_mutually_exclusive_group()
    content.add_argument(
        "--record-size",
        type=int,
        default=100,
        metavar="BYTES",
        help="size of a value (default: 100)",
    )
    content.add_argument("--payload-file", metavar="FILE", help="take values at random from these lines")
    parser.add_argument(
        "--throughput",
        type=float,
        default=-1,
        metavar="N",
        help="the limit in records per second; -1 for no limit (default)",
    )
    parser.add_argument(
        "--producer-props",
        dest="properties",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="options of the producer, under Kafka's names",
    )
    parser.add_argument("--print-metrics", action="store_true", help="print the metrics at the end")
    # The records are random, so they may go to an embedded broker without --embedded.
    parser.set_defaults(run=run, parser=parser, more_to="", may_embed=True)


async def run(arguments: argparse.Namespace) -> int:
    """Produce, report, and return the exit code."""
    if arguments.num_records < 1 or arguments.record_size < 0:
        message = "--num-records is at least 1 and --record-size at least 0"
        raise ConfigurationError(message)
    payloads = _payloads(arguments)
    properties = parse_properties(arguments.properties)
    servers = named_servers(arguments, properties)
    topics = {arguments.topic: EMBEDDED_PARTITIONS}
    async with cluster(servers, topics, check_records=False) as bootstrap:
        config = ProducerConfig.from_properties(properties, bootstrap_servers=bootstrap)
        async with Producer.from_config(config) as producer:
            # Wait for the topic's metadata first: it is not part of the measurement.
            await producer.partitions_for(arguments.topic)
            load = _Load(producer, arguments)
            await load.send_all(payloads)
            print(load.latencies.closing_line(), flush=True)
            if arguments.print_metrics:
                _print_metrics(producer.metrics())
    for line in load.failures.summary(arguments.num_records):
        print(line, file=sys.stderr)
    return 1 if load.failures.count else 0


class _Batch:
    """The pending records of one batch: the time of each send, and the bytes of their values."""

    __slots__ = ("size", "starts")

    def __init__(self) -> None:
        self.size = 0
        self.starts: list[float] = []


class _Load:
    """Sends records and measures their latencies."""

    def __init__(self, producer: Producer, arguments: argparse.Namespace) -> None:
        self._producer = producer
        self._topic: str = arguments.topic
        self._count: int = arguments.num_records
        self._throughput: float = arguments.throughput
        self._batches: dict[BatchResult, _Batch] = {}
        self._all_counted = asyncio.Event()
        self.failures = Failures()
        self.latencies = Latencies(arguments.num_records)

    async def send_all(self, payloads: Iterator[bytes]) -> None:
        """Send all records, within the limit of throughput, and wait for all results."""
        send, drain, now = self._producer.send, self._producer.drain, time.perf_counter
        topic, batches, throughput = self._topic, self._batches, self._throughput
        began = now()
        for index, payload in enumerate(itertools.islice(payloads, self._count), 1):
            start = now()
            try:
                result = send(topic, payload).result_of_batch
            except ProducerError as error:
                if error.fatal:
                    raise
                self.failures.add(error)
                continue
            batch = batches.get(result)
            if batch is None:
                batch = batches[result] = _Batch()
                result.settled().add_done_callback(partial(self._settled, result))
            batch.starts.append(start)
            batch.size += len(payload)
            await drain()
            if throughput > 0 and (ahead := index / throughput - (now() - began)) > 0:
                await asyncio.sleep(ahead)
        await self._producer.flush()
        # `flush` may return before the callbacks of the last batches have run, and awaiting their
        # finished futures does not yield (`gather` neither, since Python 3.12).
        if batches:
            self._all_counted.clear()
            await self._all_counted.wait()

    def _settled(self, result: BatchResult, _future: asyncio.Future[None]) -> None:
        batch = self._batches.pop(result)
        if not self._batches:
            self._all_counted.set()
        error = _error_of(result)
        if error is not None:
            self.failures.add(error, count=len(batch.starts))
        elif report := self.latencies.add(batch.starts, batch.size, time.perf_counter()):
            print(report, flush=True)


def _error_of(result: BatchResult) -> ProducerError | None:
    """Return the error of a batch or of one of its split pieces, None without one."""
    for _, piece in result.pieces or ():
        if (error := _error_of(piece)) is not None:
            return error
    # Read every record's error: otherwise the producer logs failures without a reader.
    errors = [result.error_of(index) for index in range(result.count)]
    return errors[0] if errors else None


def _payloads(arguments: argparse.Namespace) -> Iterator[bytes]:
    if arguments.payload_file is not None:
        lines = Path(arguments.payload_file).read_bytes().split(b"\n")
        lines = [line for line in lines if line]
        if not lines:
            message = f"{arguments.payload_file} has only empty lines"
            raise ConfigurationError(message)
        return _chosen(lines)
    return _cut(arguments.record_size)


def _chosen(lines: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from random.choices(lines, k=1000)  # noqa: S311 - test data


def _cut(size: int) -> Iterator[bytes]:
    letters = string.ascii_uppercase.encode()
    pool = bytes(random.choices(letters, k=POOL_SIZE + size))  # noqa: S311 - test data
    return itertools.chain.from_iterable(map(partial(_pieces, pool, max(size, 1)), itertools.repeat(size)))


def _pieces(pool: bytes, step: int, size: int) -> list[bytes]:
    # Each round starts at another offset, so that payloads are not repeated.
    first = random.randrange(step)  # noqa: S311 - test data
    return [pool[start : start + size] for start in range(first, POOL_SIZE, step)]


def _print_metrics(metrics: Mapping[str, object]) -> None:
    flat = dict(_flatten("", metrics))
    width = max(map(len, flat), default=0)
    print(f"\n{'Metric Name':<{width}}   Value")
    for name in sorted(flat):
        value = flat[name]
        print(f"{name:<{width}} : {value:.3f}" if isinstance(value, float) else f"{name:<{width}} : {value}")


def _flatten(prefix: str, metrics: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in metrics.items():
        full = f"{prefix}:{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from _flatten(full, value)
        else:
            yield full, value
