r"""`aioproducer produce`: the lines of a file, or of stdin, as records.

    read_lines ──▶ send, send, send … ──▶ queue of deliveries ──▶ printed in the order of the lines
                   (drain: bounded)        (bounded)

The one idea: nobody waits for one record. Lines are sent as fast as the producer's buffer
takes them, while a second task follows and tells what became of each.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aioproducer.cli.failures import Failures
from aioproducer.cli.lines import read_lines
from aioproducer.cli.servers import add_servers_option, cluster, named_servers, parse_properties
from aioproducer.config import ProducerConfig
from aioproducer.errors import ConfigurationError, ProducerError
from aioproducer.producer import Producer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from aioproducer.delivery import Delivery, RecordMetadata

EMBEDDED_PARTITIONS = 3

LINES_A_PORTION = 1000
PORTIONS_AHEAD = 100
"""How far sending may be ahead of printing: what bounds the memory that deliveries take."""

_ESCAPES = {r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\0": "\0", r"\\": "\\"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "produce",
        help="send the lines of a file or of stdin",
        description=r"Send each line of a file, or of stdin, as a record. A line ends with \n and is sent as "
        "it is. Prints where each record went, in the order of the lines.",
    )
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="default: stdin, as is -")
    add_servers_option(parser)
    parser.add_argument("-K", dest="delimiter", metavar="DELIM", help=r"between key and value; \t is a tab")
    parser.add_argument("-k", dest="key", metavar="KEY", help="key of every record")
    parser.add_argument("-p", dest="partition", metavar="N", type=int, help="partition of every record")
    parser.add_argument(
        "-H", dest="headers", metavar="NAME=VALUE", action="append", default=[], help="header of every record"
    )
    parser.add_argument("-z", dest="codec", metavar="CODEC", help="gzip, snappy, lz4, zstd or none")
    parser.add_argument(
        "-X",
        dest="properties",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="option of the producer, under Kafka's name (linger.ms=20)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object a record")
    output.add_argument("--quiet", action="store_true", help="print nothing but what went wrong")
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Send everything, tell everything, and return the exit code."""
    template = _Template.of(arguments)
    properties = parse_properties(arguments.properties)
    if arguments.codec is not None:
        properties["compression.type"] = arguments.codec
    partitions = max(EMBEDDED_PARTITIONS, (arguments.partition or 0) + 1)
    servers = named_servers(arguments, properties)
    report = _Report(arguments.topic, arguments.json, arguments.quiet)
    with _opened(arguments.file) as descriptor:
        async with cluster(servers, {arguments.topic: partitions}) as bootstrap:
            config = ProducerConfig.from_properties(properties, bootstrap_servers=bootstrap)
            async with Producer.from_config(config) as producer:
                await _send_all(producer, template, descriptor, report)
    return report.finish()


@dataclass(frozen=True, slots=True)
class _Template:
    """What all records have in common, and how a line becomes a key and a value."""

    topic: str
    delimiter: bytes | None
    key: bytes | None
    partition: int | None
    headers: tuple[tuple[str, bytes | None], ...] | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> _Template:
        if arguments.delimiter is not None and arguments.key is not None:
            message = "-K takes the key from the line, and -k is one for all: use one of them"
            raise ConfigurationError(message)
        if arguments.delimiter == "":
            message = "the delimiter of -K is empty"
            raise ConfigurationError(message)
        return cls(
            topic=arguments.topic,
            delimiter=None if arguments.delimiter is None else os.fsencode(_unescape(arguments.delimiter)),
            key=None if arguments.key is None else os.fsencode(arguments.key),
            partition=arguments.partition,
            headers=tuple([_header(pair) for pair in arguments.headers]) or None,
        )


def _unescape(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def _header(pair: str) -> tuple[str, bytes | None]:
    name, equals, value = pair.partition("=")
    return name, os.fsencode(value) if equals else None


@contextmanager
def _opened(file: str) -> Iterator[int]:
    if file == "-":
        yield sys.stdin.fileno()
        return
    descriptor = os.open(file, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Portion:
    """The fates of a few consecutive lines: a delivery, or the error that `send` raised."""

    first_line: int
    fates: list[Delivery | ProducerError] = field(default_factory=list)


class _NoDelimiter(Exception):  # noqa: N818 - ends the sending, and is told in the report
    """The line that comes next cannot be taken apart."""


async def _send_all(producer: Producer, template: _Template, descriptor: int, report: _Report) -> None:
    portions: asyncio.Queue[_Portion | None] = asyncio.Queue(PORTIONS_AHEAD)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_tell_all(portions, report), name="aioproducer-produce-tell")
        portion = _Portion(1)
        try:
            async for lines in read_lines(descriptor):
                for start in range(0, len(lines), LINES_A_PORTION):
                    await _send_some(producer, template, lines[start : start + LINES_A_PORTION], portion)
                    await portions.put(portion)
                    portion = _Portion(portion.first_line + len(portion.fates))
        except _NoDelimiter:
            await portions.put(portion)
            report.stopped_at(portion.first_line + len(portion.fates), template)
        await portions.put(None)


async def _send_some(producer: Producer, template: _Template, lines: list[bytes], portion: _Portion) -> None:
    # This loop is all that a line costs beside the producer, so it looks nothing up twice.
    send, drain, fates = producer.send, producer.drain, portion.fates
    topic, partition, headers = template.topic, template.partition, template.headers
    key, delimiter = template.key, template.delimiter
    for line in lines:
        value = line
        if delimiter is not None:
            key, found, value = line.partition(delimiter)
            if not found:
                raise _NoDelimiter
        try:
            fates.append(send(topic, value, key=key, partition=partition, headers=headers))
        except ProducerError as error:
            if error.fatal:
                raise
            fates.append(error)
        await drain()


async def _tell_all(portions: asyncio.Queue[_Portion | None], report: _Report) -> None:
    while (portion := await portions.get()) is not None:
        line = portion.first_line
        for fate in portion.fates:
            if isinstance(fate, ProducerError):
                report.failed(line, fate)
            else:
                if not fate.done():
                    report.flush()
                try:
                    report.delivered(line, await fate)
                except ProducerError as error:
                    report.failed(line, error)
            line += 1
        report.flush()


@dataclass(slots=True)
class _Report:
    """Tells what became of the lines: each on stdout, what went wrong on stderr."""

    topic: str
    as_json: bool
    is_quiet: bool
    reason: str | None = None
    _delivered: int = 0
    _failures: Failures = field(default_factory=Failures)
    _lines: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def delivered(self, line: int, metadata: RecordMetadata) -> None:
        """Tell where a record is."""
        self._delivered += 1
        if self.is_quiet:
            return
        if self.as_json:
            self._tell_json(
                line=line,
                topic=metadata.topic,
                partition=metadata.partition,
                offset=metadata.offset,
                timestamp_ms=metadata.timestamp_ms,
            )
        else:
            self._lines.append(
                f"Produced to partition {metadata.partition} at offset {metadata.offset} "
                f"with timestamp {metadata.timestamp_ms}\n"
            )

    def failed(self, line: int, error: ProducerError) -> None:
        """Tell that a record failed."""
        self._failures.add(error, f"in line {line}")
        if self.as_json:
            self._tell_json(
                line=line, topic=self.topic, error=str(error), may_be_written=error.may_be_written
            )

    def stopped_at(self, line: int, template: _Template) -> None:
        """Note that a line could not be taken apart, and nothing after it was sent."""
        delimiter = (template.delimiter or b"").decode(errors="backslashreplace")
        self.reason = f"line {line} has no key delimiter {delimiter!r}: neither it nor what follows was sent"

    def flush(self) -> None:
        """Print what there is to tell."""
        if self._lines:
            sys.stdout.write("".join(self._lines))
            sys.stdout.flush()
            self._lines.clear()

    def finish(self) -> int:
        """Print the summary, and return the exit code."""
        problems = self._failures.summary(self._delivered + self._failures.count)
        if self.reason is not None:
            problems.append(self.reason)
        for problem in problems:
            print(problem, file=sys.stderr)
        if not self.is_quiet and sys.stderr.isatty():
            seconds = time.monotonic() - self._started
            print(f"{self._delivered} records produced in {seconds:.1f} s", file=sys.stderr)
        return 1 if problems else 0

    def _tell_json(self, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        self._lines.append(json.dumps(fields, separators=(",", ":")) + "\n")
