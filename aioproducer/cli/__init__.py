"""The command line: `aioproducer produce`, `perf` and `metadata`.

    aioproducer produce orders lines.txt -b localhost:9092
    aioproducer perf --topic load --num-records 1000000 --record-size 100
    aioproducer metadata

The one idea: data goes to stdout, talk to stderr. Where no servers are named the commands
start a broker of their own, so that each of them can be tried on a bare machine. They exit
with 0; 1 if a record or the work failed; 2 if what was asked makes no sense; 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

from aioproducer.cli import metadata, perf, produce
from aioproducer.errors import ConfigurationError, ProducerError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own), and return its exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as done:
        # argparse has said what there is to say; --help is no failure.
        return done.code if isinstance(done.code, int) else EXIT_USAGE
    if sys.stdin is None or sys.stdout is None:
        return _complain("stdin and stdout must be open; name a file, or redirect to /dev/null", EXIT_USAGE)
    try:
        code = _run(arguments)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read stdout has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _complain("stdout was closed before everything was told", EXIT_FAILED)
    except ProducerError as error:
        code = _complain(error, EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_FAILED)
    except (OSError, TypeError, ValueError) as error:
        code = _complain(error, EXIT_USAGE)
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = asyncio.run(arguments.run(arguments))
    except BaseExceptionGroup as group:
        # The first task to fail took the others with it: its error says what happened.
        raise group.exceptions[0] from None
    sys.stdout.flush()
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aioproducer", description="Produce to Apache Kafka, and to everything that speaks its protocol."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (produce, perf, metadata):
        command.add_parser(commands)
    return parser


def _complain(what: object, code: int) -> int:
    print(f"aioproducer: {what}", file=sys.stderr)
    return code
