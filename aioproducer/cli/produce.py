r"""`aioproducer produce`: sends the lines of files, or of stdin, as records.

    read_lines ──▶ send, send, send … ──▶ queue of deliveries ──▶ printed in the order of the lines
                   (drain: bounded)        (bounded)

Lines are sent as fast as the producer's buffer accepts them. A second task awaits the deliveries
and prints the result of each line.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
import time
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aioproducer.cli.client_options import (
    add_config_file_option,
    add_properties_option,
    all_properties,
    given_properties,
)
from aioproducer.cli.failures import Failures
from aioproducer.cli.lines import read_lines
from aioproducer.cli.servers import add_servers_option, cluster, named_servers
from aioproducer.config import ProducerConfig
from aioproducer.errors import ConfigurationError, ProducerError, plural
from aioproducer.producer import Producer

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterator

    from aioproducer.batch_result import RecordMetadata
    from aioproducer.delivery import Delivery

EMBEDDED_PARTITIONS = 3

LINES_A_PORTION = 1000
PORTIONS_AHEAD = 100
"""The limit of sent portions before the printed one; it bounds the memory of deliveries."""

STDIN = "-"

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "0": "\0", "\\": "\\"}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "produce",
        help="send the lines of files or of stdin",
        description=r"Send each line of the files, or of stdin, as a record. A line ends with \n and is sent "
        "unchanged. Prints partition and offset of each record, in the order of the lines.",
    )
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("files", metavar="FILE", nargs="*", help="default: stdin; - is stdin too")
    add_servers_option(parser)
    parser.add_argument(
        "-K",
        dest="delimiter",
        metavar="DELIM",
        help=r"between key and value; \t is a tab, \x1f a byte; a line without it has no key",
    )
    parser.add_argument(
        "-D", dest="separator", metavar="DELIM", default=r"\n", help=r"at the end of a line (default: \n)"
    )
    parser.add_argument(
        "-Z", dest="empty_is_null", action="store_true", help="send empty values and keys as null"
    )
    parser.add_argument("-c", dest="count", metavar="N", type=int, help="end after N records")
    parser.add_argument("-k", dest="key", metavar="KEY", help="key of every record")
    parser.add_argument("-p", dest="partition", metavar="N", type=int, help="partition of every record")
    parser.add_argument(
        "-H", dest="headers", metavar="NAME=VALUE", action="append", default=[], help="header of every record"
    )
    parser.add_argument("-z", dest="codec", metavar="CODEC", help="gzip, snappy, lz4, zstd or none")
    add_properties_option(parser)
    add_config_file_option(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object per record")
    output.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=run, parser=parser, more_to="files", may_embed=False)


async def run(arguments: argparse.Namespace) -> int:
    """Send all lines, print all results, and return the exit code."""
    template = _Template.of(arguments)
    codec = {} if arguments.codec is None else {"compression.type": arguments.codec}
    given = given_properties(arguments, codec)
    partitions = max(EMBEDDED_PARTITIONS, (arguments.partition or 0) + 1)
    servers = named_servers(arguments, given)
    properties = all_properties(given, is_embedded=servers is None)
    files: list[str] = arguments.files or [STDIN]
    # Look at all files first: a missing third file is reported before the first one is sent.
    _check_files(files)
    limit = sys.maxsize if arguments.count is None else arguments.count
    report = _Report(arguments.topic, arguments.json, arguments.quiet, has_several_files=len(files) > 1)
    async with cluster(servers, {arguments.topic: partitions}) as bootstrap:
        config = ProducerConfig.from_properties(properties, bootstrap_servers=bootstrap)
        async with Producer.from_config(config) as producer:
            await _send_all(producer, template, files, limit, report)
    return report.finish()


@dataclass(frozen=True, slots=True)
class _Template:
    """The common parts of all records, and the options that split a line into key and value."""

    topic: str
    separator: bytes
    delimiter: bytes | None
    empty_is_null: bool
    key: bytes | None
    partition: int | None
    headers: tuple[tuple[str, bytes | None], ...] | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> _Template:
        if arguments.delimiter is not None and arguments.key is not None:
            message = "-K takes the key from the line, -k sets one key for all lines: use one of them"
            raise ConfigurationError(message)
        for option, delimiter in (("-K", arguments.delimiter), ("-D", arguments.separator)):
            if delimiter == "":
                message = f"the delimiter of {option} is empty"
                raise ConfigurationError(message)
        if arguments.count is not None and arguments.count < 1:
            message = f"-c is at least 1, not {arguments.count}"
            raise ConfigurationError(message)
        return cls(
            topic=arguments.topic,
            separator=_unescape(arguments.separator),
            delimiter=None if arguments.delimiter is None else _unescape(arguments.delimiter),
            empty_is_null=arguments.empty_is_null,
            key=None if arguments.key is None else os.fsencode(arguments.key),
            partition=arguments.partition,
            headers=tuple([_header(pair) for pair in arguments.headers]) or None,
        )


def _unescape(text: str) -> bytes:
    """Return the bytes of a delimiter; unknown escapes stay as they are."""

    def character(escape: re.Match[str]) -> str:
        name = escape[1]
        # Bytes above 127 are surrogates, as in every argument (PEP 383).
        return os.fsdecode(bytes.fromhex(name[1:])) if len(name) > 1 else _ESCAPES.get(name, escape[0])

    return os.fsencode(_ESCAPE.sub(character, text))


def _header(pair: str) -> tuple[str, bytes | None]:
    name, equals, value = pair.partition("=")
    return name, os.fsencode(value) if equals else None


def _check_files(files: list[str]) -> None:
    """Raise ConfigurationError for unreadable files before any record is sent."""
    for file in files:
        if file == STDIN:
            continue
        try:
            mode = Path(file).stat().st_mode
        except OSError as error:
            message = f"{file}: {error.strerror}"
            raise ConfigurationError(message) from None
        if stat.S_ISDIR(mode):
            message = f"{file}: Is a directory"
            raise ConfigurationError(message)
        if not os.access(file, os.R_OK):
            message = f"{file}: Permission denied"
            raise ConfigurationError(message)


@contextmanager
def _opened(file: str) -> Iterator[int]:
    if file == STDIN:
        yield sys.stdin.fileno()
        return
    descriptor = os.open(file, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Portion:
    """Consecutive lines: for each its delivery, or the error that `send` raised."""

    file: str
    first_line: int
    results: list[Delivery | ProducerError] = field(default_factory=list)


async def _send_all(
    producer: Producer, template: _Template, files: list[str], limit: int, report: _Report
) -> None:
    """Send the lines of all files, at most `limit`."""
    # The queue is full after 100,000 lines without a result: then reading waits.
    portions: asyncio.Queue[_Portion | None] = asyncio.Queue(PORTIONS_AHEAD)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_print_results(portions, report), name="aioproducer-produce-print")
        for file in files:
            line = 1
            async for lines in _lines_of(file, template.separator, limit):
                for start in range(0, len(lines), LINES_A_PORTION):
                    portion = _Portion(file, line)
                    some = lines[start : start + LINES_A_PORTION]
                    await _send_some(producer, template, some, portion, report)
                    await portions.put(portion)
                    line += len(some)
            limit -= line - 1
        await portions.put(None)


async def _lines_of(file: str, separator: bytes, limit: int) -> AsyncIterator[list[bytes]]:
    """Yield the lines of a file, at most `limit`; an OSError names the file."""
    if not limit:
        return
    with _opened(file) as descriptor:
        async with aclosing(read_lines(descriptor, separator)) as reading:
            try:
                async for lines in reading:
                    yield lines[:limit]
                    limit -= min(limit, len(lines))
                    if not limit:
                        return
            except OSError as error:
                message = f"{file}: {error.strerror}"
                raise OSError(message) from error


async def _send_some(
    producer: Producer, template: _Template, lines: list[bytes], portion: _Portion, report: _Report
) -> None:
    # This loop runs once per line, so attributes are looked up before it.
    send, drain, results = producer.send, producer.drain, portion.results
    topic, partition, headers = template.topic, template.partition, template.headers
    key, delimiter, empty_is_null = template.key, template.delimiter, template.empty_is_null
    for line in lines:
        value: bytes | None = line
        if delimiter is not None:
            key, found, value = line.partition(delimiter)
            if not found:
                key, value = None, line
                # `results` has one entry for each earlier line of the portion.
                report.has_no_key(portion.file, portion.first_line + len(results))
            elif empty_is_null and not key:
                key = None
        if empty_is_null and not value:
            value = None
        try:
            results.append(send(topic, value, key=key, partition=partition, headers=headers))
        except ProducerError as error:
            if error.fatal:
                raise
            results.append(error)
        await drain()


async def _print_results(portions: asyncio.Queue[_Portion | None], report: _Report) -> None:
    while (portion := await portions.get()) is not None:
        file, line = portion.file, portion.first_line
        for result in portion.results:
            if isinstance(result, ProducerError):
                report.failed(file, line, result)
            else:
                if not result.done():
                    # Print the finished lines before waiting for this one.
                    report.flush()
                try:
                    report.delivered(file, line, await result)
                except ProducerError as error:
                    report.failed(file, line, error)
            line += 1
        report.flush()


@dataclass(slots=True)
class _Report:
    """Prints the result of each line to stdout, and errors to stderr."""

    topic: str
    as_json: bool
    is_quiet: bool
    has_several_files: bool
    _delivered: int = 0
    _failures: Failures = field(default_factory=Failures)
    _without_key: int = 0
    _first_without_key: str = ""
    _lines: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def delivered(self, file: str, line: int, metadata: RecordMetadata) -> None:
        """Print the place of a record."""
        self._delivered += 1
        if self.is_quiet:
            return
        if self.as_json:
            self._print_json(
                file,
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

    def failed(self, file: str, line: int, error: ProducerError) -> None:
        """Count a failed record, and print it as JSON if asked for."""
        self._failures.add(error, f"in {self._place(file, line)}")
        if self.as_json:
            self._print_json(
                file, line=line, topic=self.topic, error=str(error), may_be_written=error.may_be_written
            )

    def has_no_key(self, file: str, line: int) -> None:
        """Note that a line has no key delimiter."""
        self._without_key += 1
        self._first_without_key = self._first_without_key or self._place(file, line)

    def flush(self) -> None:
        """Print the collected lines."""
        if self._lines:
            sys.stdout.write("".join(self._lines))
            sys.stdout.flush()
            self._lines.clear()

    def finish(self) -> int:
        """Print the summary, and return the exit code."""
        problems = self._failures.summary(self._delivered + self._failures.count)
        for problem in problems:
            print(problem, file=sys.stderr)
        if self._without_key:
            count = plural(self._without_key, "line")
            print(
                f"{count} without the key delimiter: no key, first in {self._first_without_key}",
                file=sys.stderr,
            )
        if not self.is_quiet and sys.stderr.isatty():
            seconds = time.monotonic() - self._started
            print(f"{plural(self._delivered, 'record')} produced in {seconds:.1f} s", file=sys.stderr)
        return 1 if problems else 0

    def _place(self, file: str, line: int) -> str:
        return f"line {line} of {file}" if self.has_several_files else f"line {line}"

    def _print_json(self, file: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON value
        if self.has_several_files:
            fields = {"file": file, **fields}
        self._lines.append(json.dumps(fields, separators=(",", ":")) + "\n")
