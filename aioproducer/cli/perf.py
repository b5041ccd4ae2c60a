"""`aioproducer perf`: measure throughput and latency, in the format of kafka-producer-perf-test.

Every record is counted. A callback per record would halve the throughput. So consecutive records
form a group, and only the first and the last record of a group get a callback. It counts all
records of the group that are done by then. This is exact for a group in one or two batches, as
most are; otherwise the sends of a group are at most `GROUP_SECONDS` apart.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import string
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aioproducer.cli.client_options import add_config_file_option, all_properties, given_properties
from aioproducer.cli.failures import Failures
from aioproducer.cli.latencies import Latencies
from aioproducer.cli.servers import add_servers_option, cluster, named_servers
from aioproducer.config import ProducerConfig
from aioproducer.delivery import Delivery
from aioproducer.errors import ConfigurationError, ProducerError
from aioproducer.producer import Producer

if TYPE_CHECKING:
    import argparse

EMBEDDED_PARTITIONS = 6

GROUP_SIZE = 32
GROUP_SECONDS = 0.001
"""The most records of a group, and the time in seconds in which it accepts more."""

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
        help="options of the producer, under Kafka's names; secrets belong into a file",
    )
    add_config_file_option(parser)
    parser.add_argument("--print-metrics", action="store_true", help="print the metrics at the end")
    # The records are random, so they may go to an embedded broker without --embedded.
    parser.set_defaults(run=run, parser=parser, more_to="", may_embed=True)


async def run(arguments: argparse.Namespace) -> int:
    """Produce, report, and return the exit code."""
    if arguments.num_records < 1 or arguments.record_size < 0:
        message = "--num-records is at least 1 and --record-size at least 0"
        raise ConfigurationError(message)
    payloads = _payloads(arguments)
    given = given_properties(arguments)
    servers = named_servers(arguments, given)
    properties = all_properties(given, is_embedded=servers is None)
    topics = {arguments.topic: EMBEDDED_PARTITIONS}
    async with cluster(servers, topics, check_records=False) as bootstrap:
        config = ProducerConfig.from_properties(properties, bootstrap_servers=bootstrap)
        async with Producer.from_config(config) as producer:
            # Fetch the metadata before the measurement begins.
            await producer.partitions_for(arguments.topic)
            load = _Load(producer, arguments)
            await load.send_all(payloads)
            print(load.latencies.closing_line(time.perf_counter()), flush=True)
            if arguments.print_metrics:
                _print_metrics(producer.metrics())
    for line in load.failures.summary(arguments.num_records):
        print(line, file=sys.stderr)
    return 1 if load.failures.count else 0


class _Group:
    """Consecutive records that are not counted yet; `last` closes the group."""

    __slots__ = ("deliveries", "last", "payloads", "starts")

    def __init__(self) -> None:
        # Three lists instead of a list of tuples: the garbage collector would traverse the tuples.
        self.deliveries: list[Delivery] = []
        self.starts: list[float] = []
        self.payloads: list[bytes] = []
        self.last: Delivery | None = None

    def add(self, delivery: Delivery, start: float, payload: bytes) -> None:
        """Add a record."""
        self.deliveries.append(delivery)
        self.starts.append(start)
        self.payloads.append(payload)

    def take_done(self) -> _Group:
        """Remove the records that are delivered or have failed, and return them."""
        done = _Group()
        deliveries, starts, payloads = self.deliveries, self.starts, self.payloads
        self.deliveries, self.starts, self.payloads = [], [], []
        if all(map(Delivery.done, deliveries)):
            done.deliveries, done.starts, done.payloads = deliveries, starts, payloads
            return done
        for delivery, start, payload in zip(deliveries, starts, payloads, strict=True):
            (done if delivery.done() else self).add(delivery, start, payload)
        return done


class _Load:
    """Sends records and measures the latency of each."""

    def __init__(self, producer: Producer, arguments: argparse.Namespace) -> None:
        self._producer = producer
        self._topic: str = arguments.topic
        self._count: int = arguments.num_records
        self._throughput: float = arguments.throughput
        self._pending = 0
        self._all_done = asyncio.Event()
        # One context for all callbacks, instead of a copy for each.
        self._context = copy_context()
        self.failures = Failures()
        self.latencies = Latencies(arguments.num_records, time.perf_counter())

    async def send_all(self, payloads: Iterator[bytes]) -> None:
        """Send all records at the allowed rate and wait until the last is counted."""
        send, drain, now = self._producer.send, self._producer.drain, time.perf_counter
        topic, throughput = self._topic, self._throughput
        group, group_ends = _Group(), 0.0
        began = now()
        for index, payload in enumerate(itertools.islice(payloads, self._count), 1):
            start = now()
            try:
                delivery = send(topic, payload)
            except ProducerError as error:
                if error.fatal:
                    raise
                self.failures.add(error)
                continue
            if start >= group_ends or len(group.starts) >= GROUP_SIZE:
                # The last record of a group is known only when the next group begins.
                self._close(group)
                group, group_ends = _Group(), start + GROUP_SECONDS
                self._watch(group, delivery)
            group.add(delivery, start, payload)
            self._pending += 1
            await drain()
            # 1000 records a second: record 500 is due 0.5 s after the start, so earlier delays are
            # made up for.
            if throughput > 0 and (ahead := index / throughput - (now() - began)) > 0:
                await asyncio.sleep(ahead)
        self._close(group)
        await self._producer.flush()
        # `flush` may return before the callbacks of the last batches have run.
        if self._pending:
            self._all_done.clear()
            await self._all_done.wait()

    def _watch(self, group: _Group, delivery: Delivery) -> None:
        delivery.add_done_callback(partial(self._count_done, group), context=self._context)

    def _close(self, group: _Group) -> None:
        if group.deliveries:
            group.last = group.deliveries[-1]
            self._watch(group, group.last)

    def _count_done(self, group: _Group, delivery: Delivery) -> None:
        now = time.perf_counter()
        done = group.take_done()
        self._pending -= len(done.deliveries)
        errors = list(map(Delivery.exception, done.deliveries))
        starts, payloads = done.starts, done.payloads
        if any(errors):
            for error in filter(None, errors):
                self.failures.add(error)
            starts = [start for start, error in zip(starts, errors, strict=True) if error is None]
            payloads = [payload for payload, error in zip(payloads, errors, strict=True) if error is None]
        if starts and (report := self.latencies.add(starts, sum(map(len, payloads)), now)):
            print(report, flush=True)
        if delivery is group.last:
            # The batches of the remaining records are acknowledged after that of the last record.
            for pending in group.deliveries:
                self._watch(group, pending)
        if not self._pending:
            self._all_done.set()


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
