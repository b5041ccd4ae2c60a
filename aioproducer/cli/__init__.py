"""The command line: `aioproducer produce`, `perf` and `metadata`.

    aioproducer produce orders lines.txt -b localhost:9092
    aioproducer perf --topic load --num-records 1000000 --record-size 100
    aioproducer metadata --embedded

Results go to stdout, messages to stderr. The commands can start an embedded broker, so that they
can be tried without Kafka (see `servers`). Exit codes: 0; 1 if a record or the command failed; 2
for wrong arguments; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from aioproducer.cli import metadata, perf, produce
from aioproducer.errors import ConfigurationError, ProducerError
from aioproducer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: that of the process), and return its exit code."""
    try:
        arguments = _parse(argv)
    except SystemExit as done:
        # argparse has printed its message; --help has the code 0.
        return done.code if isinstance(done.code, int) else EXIT_USAGE
    if sys.stdin is None or sys.stdout is None:
        return _report("stdin and stdout must be open; name a file, or redirect to /dev/null", EXIT_USAGE)
    try:
        code = _run(arguments)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout is gone. Python would print a second error when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _report("stdout was closed before the end of the output", EXIT_FAILED)
    except ProducerError as error:
        code = _report(error, EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_FAILED)
    except (OSError, TypeError, ValueError) as error:
        code = _report(error, EXIT_USAGE)
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = asyncio.run(arguments.run(arguments))
    except BaseExceptionGroup as group:
        # The first failed task cancelled the others: its error is the cause.
        raise group.exceptions[0] from None
    sys.stdout.flush()
    return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments, rest = _parser().parse_known_args(argv)
    # argparse fills a list of positionals from consecutive arguments only: in
    # `produce TOPIC -b HOST FILE` the list is empty when the options begin, and FILE is left over.
    positionals: list[str] | None = getattr(arguments, arguments.more_to, None)
    if positionals is not None and not any(_is_option(each) for each in rest):
        positionals += rest
    elif rest:
        arguments.parser.error(f"unrecognized arguments: {' '.join(_shown(rest))}")
    return arguments


def _shown(arguments: list[str]) -> list[str]:
    """Return unrecognized arguments without the values of options: `--password hunter2` has a secret."""
    if any(map(_is_option, arguments)):
        arguments = [argument for argument in arguments if _is_option(argument)]
    return [argument.partition("=")[0] for argument in arguments]


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and argument != "-"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="aioproducer", description="Produce to Apache Kafka and other servers with its protocol."
    )
    parser.add_argument("--version", action="version", version=f"aioproducer {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (produce, perf, metadata):
        command.add_parser(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors show no values of properties."""

    def error(self, message: str) -> NoReturn:
        # `aioproducer -X sasl.password=hunter2 produce` takes the property for the command.
        name, equals, _ = message.partition("=")
        super().error(f"{name}=…" if equals else message)


def _report(message: object, code: int) -> int:
    print(f"aioproducer: {message}", file=sys.stderr)
    return code
