"""`python -m aioproducer.testing`: the fake cluster as a program, for clients in any language.

It prints its addresses, runs until SIGINT or SIGTERM, and then prints the number of records in
each topic. It accepts everything that Kafka accepts; `--strict` also refuses the faults of clients
that Kafka overlooks.

    $ python -m aioproducer.testing --port 9092 --topic orders:6
    127.0.0.1:9092
    ^Corders: 300 records

    $ KAFKA_USERS=alice:secret python -m aioproducer.testing --security SASL_SSL --ca-file ca.pem
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aioproducer.errors import plural
from aioproducer.testing.cluster import FakeCluster
from aioproducer.testing.refusal import Refused
from aioproducer.testing.security import MECHANISMS, SecurityProtocol
from aioproducer.testing.versions import KAFKA_2_1, KAFKA_2_8, KAFKA_3_6, KAFKA_4, REDPANDA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["main"]

EXIT_FAILED = 1

_VERSIONS = {
    "kafka-2.1": KAFKA_2_1,
    "kafka-2.8": KAFKA_2_8,
    "kafka-3.6": KAFKA_3_6,
    "kafka-4": KAFKA_4,
    "redpanda": REDPANDA,
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - only compared
_MAX_PORT = 65535
_MAX_PARTITIONS = 100_000
_MAX_LIFETIME_MS = 2**31 - 1
_USERS_VARIABLE = "KAFKA_USERS"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a cluster until a signal, and return the exit code; SystemExit for a wrong command line."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.port and arguments.port + arguments.nodes - 1 > _MAX_PORT:
        parser.error(f"{arguments.nodes} nodes from port {arguments.port} on need ports above {_MAX_PORT}")
    try:
        cluster = _cluster(arguments)
    except (Refused, ValueError) as error:
        parser.error(str(error))
    try:
        if arguments.ca_file is not None:
            Path(arguments.ca_file).write_text(cluster.ca_certificate, encoding="ascii")
        asyncio.run(_serve(cluster, arguments.advertised_host))
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return EXIT_FAILED
    for name, topic in sorted(cluster.topology.topics.items()):
        logs = [partition.log for partition in topic.partitions]
        count = sum(log.end_offset - log.start_offset for log in logs)
        sys.stdout.write(f"{name}: {plural(count, 'record')}\n")
    sys.stdout.flush()
    return 0


async def _serve(cluster: FakeCluster, advertised_host: str | None) -> None:
    stop = asyncio.Event()
    with _set_on_signal(stop):
        try:
            await cluster.start()
            # The nodes listen now. From here on `host` is only the address in Metadata responses.
            # Clients cannot connect to 0.0.0.0, so the default is then localhost.
            for node in cluster.topology.nodes.values():
                host = "localhost" if node.host in _EVERY_ADDRESS else node.host
                node.move_to(advertised_host or host, node.port)
            sys.stdout.write(f"{cluster.bootstrap}\n")
            sys.stdout.flush()
            await stop.wait()
        finally:
            await cluster.stop()


@contextmanager
def _set_on_signal(event: asyncio.Event) -> Iterator[None]:
    # `loop.add_signal_handler` does not work on every system, `signal.signal` does.
    loop = asyncio.get_running_loop()
    before = {
        number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(event.set)) for number in _SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cluster(arguments: argparse.Namespace) -> FakeCluster:
    cluster = FakeCluster(
        arguments.nodes,
        auto_create_topics=arguments.auto_create,
        default_partitions=arguments.partitions,
        versions=_VERSIONS[arguments.versions],
        strict=arguments.strict,
        security=arguments.security,
        users=_users(arguments.security, arguments.mechanisms),
        sasl_mechanisms=arguments.mechanisms,
        session_lifetime_ms=arguments.session_lifetime_ms,
    )
    if arguments.ca_file is not None and not arguments.security.endswith("SSL"):
        message = f"--ca-file needs --security SSL or SASL_SSL, not {arguments.security}"
        raise ValueError(message)
    for name, partitions in arguments.topics:
        cluster.create_topic(name, arguments.partitions if partitions is None else partitions)
    for index, node in enumerate(cluster.topology.nodes.values()):
        node.move_to(arguments.host, arguments.port + index if arguments.port else 0)
    return cluster


def _users(security: str, mechanisms: list[str] | None) -> dict[str, str] | None:
    """Return the users in the environment: passwords do not belong on a command line."""
    if not security.startswith("SASL"):
        return None
    users = {}
    for entry in filter(None, os.environ.get(_USERS_VARIABLE, "").split(",")):
        name, colon, password = entry.partition(":")
        if not name or not colon or not password:
            # The entry may be a password: do not show it.
            message = f"{_USERS_VARIABLE} holds users as name:password, separated by commas"
            raise ValueError(message)
        users[name] = password
    if not users and mechanisms != ["OAUTHBEARER"]:
        message = f"--security {security} needs users in the environment: {_USERS_VARIABLE}=alice:secret"
        raise ValueError(message)
    return users


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m aioproducer.testing",
        description="Run a fake Kafka that stores records in memory. Prints its addresses and, after "
        "Ctrl-C or SIGTERM, the number of records in each topic.",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen at")
    parser.add_argument(
        "--advertised-host", metavar="HOST", help="the address for clients in metadata (default: the host)"
    )
    parser.add_argument(
        "--port",
        type=_whole(0, _MAX_PORT),
        default=9092,
        metavar="N",
        help="port of the first node; the others get the next ones (default: 9092; 0: free ports)",
    )
    parser.add_argument("--nodes", type=_whole(1, 1000), default=1, metavar="N", help="number of brokers")
    parser.add_argument(
        "--partitions",
        type=_whole(1, _MAX_PARTITIONS),
        default=1,
        metavar="N",
        help="number of partitions of new topics (default: 1)",
    )
    parser.add_argument(
        "--topic",
        dest="topics",
        type=_topic,
        action="append",
        default=[],
        metavar="NAME[:PARTITIONS]",
        help="create a topic; may be repeated",
    )
    parser.add_argument(
        "--no-auto-create",
        dest="auto_create",
        action="store_false",
        help="do not create topics on request",
    )
    parser.add_argument(
        "--versions",
        choices=_VERSIONS,
        default="kafka-4",
        metavar="RELEASE",
        help=f"the brokers' release: {', '.join(_VERSIONS)} (default: kafka-4)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="also refuse the faults that Kafka overlooks, and give reasons: for authors of clients",
    )
    _add_security(parser)
    return parser


def _add_security(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("security")
    group.add_argument(
        "--security",
        choices=[protocol.value for protocol in SecurityProtocol],
        default=SecurityProtocol.PLAINTEXT.value,
        metavar="PROTOCOL",
        help="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL (default: PLAINTEXT); the users are in the "
        f"environment: {_USERS_VARIABLE}=alice:secret,bob:other",
    )
    group.add_argument(
        "--mechanism",
        dest="mechanisms",
        choices=MECHANISMS,
        action="append",
        metavar="NAME",
        help=f"enable a SASL mechanism; may be repeated (default: {', '.join(MECHANISMS)})",
    )
    group.add_argument(
        "--session-lifetime-ms",
        type=_whole(1, _MAX_LIFETIME_MS),
        metavar="N",
        help="clients must authenticate again after this time (default: no limit)",
    )
    group.add_argument("--ca-file", metavar="PATH", help="write the CA's certificate here, for clients")


def _whole(low: int, high: int) -> Callable[[str], int]:
    """Return a converter to whole numbers from `low` to `high`."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            message = f"must be a whole number from {low} to {high}, not {text!r}"
            raise argparse.ArgumentTypeError(message)
        return number

    return convert


def _topic(text: str) -> tuple[str, int | None]:
    name, colon, partitions = text.partition(":")
    return name, _whole(1, _MAX_PARTITIONS)(partitions) if colon else None


if __name__ == "__main__":
    sys.exit(main())
