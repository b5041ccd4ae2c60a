"""The cluster of a command: the named one, or an embedded broker.

The first of these is used:
-b/--bootstrap-server or --embedded  ▸  bootstrap.servers among the properties or in their file
▸  KAFKA_BOOTSTRAP_SERVERS  ▸  on a terminal: an embedded broker

The embedded broker loses all records at the end. So a script without servers gets an error
instead: it has probably forgotten them. On a terminal a notice is enough.
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aioproducer.cli.client_options import named_in
from aioproducer.errors import ConfigurationError
from aioproducer.testing import FakeCluster, TopicConfig

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Mapping

ENVIRONMENT = "KAFKA_BOOTSTRAP_SERVERS"

# The embedded broker shares the command's memory, so it keeps few records.
EMBEDDED_RETENTION_BYTES = 64 * 1024 * 1024


def add_servers_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the cluster."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-b",
        "--bootstrap-server",
        "--bootstrap-servers",
        dest="servers",
        metavar="HOST:PORT,…",
        help=f"bootstrap servers (default: ${ENVIRONMENT})",
    )
    group.add_argument(
        "--embedded",
        action="store_true",
        help="use a broker inside this command; its records are lost at the end",
    )


def named_servers(arguments: argparse.Namespace, properties: Mapping[str, object]) -> str | None:
    """Return the named servers, None for an embedded broker; raises ConfigurationError."""
    if arguments.servers:
        return str(arguments.servers)
    named = named_in(properties)
    if arguments.embedded:
        if named is not None:
            message = f"--embedded and servers are given: {named}"
            raise ConfigurationError(message)
        return None
    named = named or os.environ.get(ENVIRONMENT)
    if not named and not (arguments.may_embed or sys.stdin.isatty() or sys.stdout.isatty()):
        message = (
            f"no servers named: pass -b HOST:PORT or set {ENVIRONMENT}; "
            "--embedded uses a broker whose records are lost at the end"
        )
        raise ConfigurationError(message)
    return named or None


@asynccontextmanager
async def cluster(
    servers: str | None, topics: Mapping[str, int], *, check_records: bool = True
) -> AsyncIterator[str]:
    """Yield the bootstrap servers: `servers`, or those of an embedded broker with `topics`."""
    if servers is not None:
        yield servers
        return
    embedded = FakeCluster(
        topics=topics,
        check_records=check_records,
        topic_config=TopicConfig(retention_bytes=EMBEDDED_RETENTION_BYTES),
    )
    async with embedded:
        print(
            f"Using an embedded broker at {embedded.bootstrap}, "
            f"whose records are lost at the end (name yours with -b or {ENVIRONMENT}).",
            file=sys.stderr,
        )
        yield embedded.bootstrap
