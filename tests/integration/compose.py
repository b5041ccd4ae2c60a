"""Runs the brokers of a compose file on this machine's Java, with their own properties.

Only what belongs to the container changes: hosts and ports, the folder of the data, and the paths of
mounted files.

    EXTERNAL://localhost:9092  ──▶  EXTERNAL://127.0.0.1:20001        log.dirs  ──▶  a temporary folder
"""

from __future__ import annotations

import re
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.docker.compose import Service, services
from tests.integration import jvm
from tests.integration.kafka import Kafka
from tests.integration.layout import free_ports
from tests.integration.maven import Libraries
from tests.integration.node import KAFKA, ZOOKEEPER, Node
from tests.integration.polling import until
from tests.integration.wire import Address
from tests.integration.zookeeper import is_serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.integration.properties import Properties

_HOST = "127.0.0.1"
_CLUSTER_ID = "3vR8mQ1xT5KpZbWc7nYdLg"
_ENTRY = re.compile(r"(\w+)://([\w.-]*):(\d+)")
_VOTER = re.compile(r"(\d+)@([\w.-]+):(\d+)")


class Environment:
    """The running brokers of a compose file."""

    def __init__(self, path: Path, mounts: Mapping[str, Path]) -> None:
        self._services = {name: service for name, service in services(path).items() if service.is_kafka}
        self._has_zookeeper = "zookeeper" in services(path)
        self._mounts = mounts
        first = next(iter(self._services.values()))
        self.version = first.version
        self._listeners = [
            (service.name, listener)
            for service in self._services.values()
            for listener in _listeners(service)
        ]
        ports = free_ports(len(self._listeners) + 1)
        self._zookeeper = Address(_HOST, ports.pop())
        self._ports = dict(zip(self._listeners, ports, strict=True))

    def address(self, listener: str, service: str | None = None) -> str:
        name = service or next(iter(self._services))
        return f"{_HOST}:{self._ports[name, listener]}"

    @property
    def kafka(self) -> Kafka:
        """The brokers for the tests' tools, at their listener for the host without security."""
        return Kafka(",".join(self.address("EXTERNAL", name) for name in self._services), self.version)

    @contextmanager
    def running(self) -> Iterator[Kafka]:
        libraries = Libraries.fetch(self.version)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compose-")))
            if self._has_zookeeper:
                node = Node(
                    0,
                    libraries,
                    folder / "zookeeper",
                    properties=_zookeeper(self._zookeeper),
                    options=(),
                    program=ZOOKEEPER,
                )
                stack.callback(node.destroy)
                node.start()
                until("ZooKeeper serves", lambda: is_serving(self._zookeeper))
            nodes = [
                Node(
                    number,
                    libraries,
                    folder / service.name,
                    properties=self.properties(service),
                    options=jvm.QUICK_START,
                    program=KAFKA,
                )
                for number, service in enumerate(self._services.values(), 1)
            ]
            try:
                self._start(stack, nodes)
                yield self.kafka
            except BaseException as error:
                for failed in nodes:
                    error.add_note(failed.log_tail())
                raise

    def _start(self, stack: ExitStack, nodes: list[Node]) -> None:
        for node in nodes:
            stack.callback(node.destroy)
            if not self._has_zookeeper:
                assert node.format(_CLUSTER_ID).wait(60) == 0, node.log_tail()
        for node in nodes:
            node.start()

        def ready() -> bool:
            for node in nodes:
                node.check()
            try:
                return len(self.kafka.broker_addresses()) == len(nodes)
            except OSError:
                return False

        until("all brokers are registered", ready)
        self.kafka.wait_until_in_sync()

    def properties(self, service: Service) -> Properties:
        """Return the service's own properties, for this machine."""

        def placed(match: re.Match[str]) -> str:
            # Other names of the container's own host, and addresses of the service, are this machine.
            return f"{match[1]}://{_HOST}:{self._ports[service.name, match[1]]}"

        def voter(match: re.Match[str]) -> str:
            name = match[2] if match[2] in self._services else service.name
            return f"{match[1]}@{self.address('CONTROLLER', name)}"

        own = dict(service.properties)
        for name in ("listeners", "advertised.listeners"):
            own[name] = _ENTRY.sub(placed, own[name])
        if self._has_zookeeper:
            own["zookeeper.connect"] = str(self._zookeeper)
        else:
            own["controller.quorum.voters"] = _VOTER.sub(voter, own["controller.quorum.voters"])
        for target, source in self._mounts.items():
            own = {name: value.replace(target, str(source)) for name, value in own.items()}
        return own


def _listeners(service: Service) -> list[str]:
    return [name for name, _, _ in _ENTRY.findall(service.properties["listeners"])]


def _zookeeper(address: Address) -> Properties:
    return {
        "clientPort": address.port,
        "clientPortAddress": address.host,
        "admin.enableServer": False,
        "4lw.commands.whitelist": "dump",
    }
