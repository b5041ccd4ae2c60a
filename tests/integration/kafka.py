"""Real Kafka for tests: a running one (`Kafka`), or one that the tests start and break (`KafkaCluster`).

    with KafkaCluster("4.3.0", brokers=3) as kafka:
        kafka.create_topic("orders", partitions=6, config={"min.insync.replicas": 2})
        ...                                           # a producer at kafka.bootstrap
        kafka.kill(kafka.leader("orders", 0))         # SIGKILL: no clean shutdown
        records = kafka.consume("orders", expected=200_000)

All methods block. In a coroutine, the quick ones (`kill`, `pause`, `resume`) can be
called as they are, the others with `asyncio.to_thread`.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.integration import jvm
from tests.integration.layout import (
    Endpoints,
    server_properties,
    zookeeper_properties,
    zookeeper_server_properties,
)
from tests.integration.maven import NEWEST, KafkaMissingError, Libraries, parse_version
from tests.integration.node import KAFKA, ZOOKEEPER, Node, NodeDiedError, NodeState
from tests.integration.polling import until
from tests.integration.tools import Tools
from tests.integration.topics import Topics
from tests.integration.zookeeper import is_serving, registered_brokers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.integration.properties import Properties
    from tests.integration.wire import Address

__all__ = ["NEWEST", "Kafka", "KafkaCluster", "KafkaMissingError", "NodeDiedError"]

_CONTROLLER_ID = 100
_ZOOKEEPER_ID = 0

# Older brokers do not understand the requests that tell when a broker is ready.
_ARCHIVED = (2, 4)


class Kafka(Topics, Tools):
    """A Kafka that the tests did not start; the tools run on this machine's Java."""

    def __init__(self, bootstrap: str, version: str = NEWEST) -> None:
        self._bootstrap = bootstrap
        self._version = version

    @property
    def bootstrap(self) -> str:
        return self._bootstrap

    @property
    def version(self) -> str:
        return self._version

    def _run_tool(self, main_class: str, arguments: Sequence[str], stdin: str = "") -> str:
        return jvm.run(Libraries.fetch(self.version), main_class, arguments, stdin)

    def _tools_bootstrap(self) -> str:
        return self.bootstrap

    def _segments(self, topic: str, partition: int) -> list[str]:
        message = f"the log files of {topic}-{partition} at {self.bootstrap} are not accessible"
        raise KafkaMissingError(message)


class KafkaCluster(Kafka):
    """Apache Kafka of any version since 2.4, run on this machine's Java; in KRaft mode since 3.3.

    Brokers have the node ids 1 to `brokers`. Each is also a controller, so a majority must be
    running; with `dedicated_controller` another process is the only controller, and all brokers
    can stop. Before 3.3 there is a ZooKeeper: all brokers can stop too, but a topic cannot be
    recreated right after it was deleted.
    `config` is added to every broker's server.properties; the default creates no topics on
    request. Elections take 3 s, and starts are quick; for measurements pass `jvm_options=()`:
    Java then compiles fully.
    """

    def __init__(
        self,
        version: str = NEWEST,
        brokers: int = 1,
        *,
        config: Properties | None = None,
        dedicated_controller: bool = False,
        jvm_options: Sequence[str] = jvm.QUICK_START,
    ) -> None:
        self._brokers = range(1, brokers + 1)
        self._voters = [_CONTROLLER_ID] if dedicated_controller else [*self._brokers]
        self._endpoints = Endpoints.choose({_ZOOKEEPER_ID, *self._brokers, *self._voters})
        super().__init__(",".join(self.address(node) for node in self._brokers), version)
        self._config = config or {}
        self._jvm_options = tuple(jvm_options)
        self._nodes: dict[int, Node] = {}
        self._folder: Path | None = None
        self._cluster_id = _new_cluster_id()

    def __repr__(self) -> str:
        return f"<KafkaCluster {self.version} {list(self._nodes.values())}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and return when the brokers know each other; an error shows the logs."""
        libraries = _prepared(self.version)
        self._launch(libraries, self._options(libraries))

    def stop(self) -> None:
        """Kill all processes and delete their files."""
        self._kill_all()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def replace(self, *, keeps_id: bool = False) -> None:
        """Replace this cluster by an empty one at the same addresses.

        It has a new id; in KRaft mode it can keep the old one, like a cluster restored from a backup.
        """
        self.stop()
        self._nodes.clear()
        if not keeps_id:
            self._cluster_id = _new_cluster_id()
        self.start()

    @property
    def node_ids(self) -> list[int]:
        """The node ids of the brokers, running or not."""
        return [*self._brokers]

    def address(self, node: int) -> str:
        """Return a broker's address as host:port."""
        return str(self._endpoints[node].client)

    def log_dir(self, node: int) -> Path:
        """Return the folder with a broker's partitions, for dump tools."""
        return self._nodes[node].log_dir

    def kill(self, node: int) -> None:
        """Kill a broker (SIGKILL); its leaders move when its session ends."""
        self._nodes[node].kill()

    def stop_node(self, node: int) -> None:
        """Shut a broker down (SIGTERM): it moves its leaders first."""
        self._nodes[node].stop()

    def pause(self, node: int) -> None:
        """Freeze a broker (SIGSTOP): its connections stay open, and it answers nothing."""
        self._nodes[node].pause()

    def resume(self, node: int) -> None:
        """Resume a broker (SIGCONT); its first responses are outdated. See `wait_until_in_sync`."""
        self._nodes[node].resume()

    def restart(self, node: int) -> None:
        """Start a broker again, after stopping it if it runs, and wait until it is in sync.

        After `kill` this takes 4 s: the controller first waits for the end of the old session.
        """
        if self._nodes[node].state is not NodeState.DOWN:
            self.stop_node(node)
        self._start_again(self._nodes[node])
        self.wait_until_in_sync()

    def upgrade(self, node: int, version: str) -> None:
        """Stop a broker and start it as another version of Kafka, with its data.

        The metadata.version stays, so nodes of both versions can work together. The tools stay
        those of the first version.
        """
        libraries = _prepared(version)
        if self._nodes[node].state is not NodeState.DOWN:
            self.stop_node(node)
        self._nodes[node].install(libraries, self._options(libraries))
        self.restart(node)

    def heal(self) -> None:
        """Start or resume all stopped brokers; raises NodeDiedError if a node ended by itself."""
        for node in self._nodes.values():
            node.check()
        hurt = [node for node in self._nodes.values() if not node.is_running]
        for node in hurt:
            if node.state is NodeState.PAUSED:
                node.resume()
            else:
                self._start_again(node)
        if hurt:
            self.wait_until_in_sync()

    def broker_addresses(self) -> dict[int, Address]:
        return {node: self._endpoints[node].client for node in self._brokers if self._nodes[node].is_running}

    def _admin_address(self) -> Address:
        if self._has_zookeeper:
            return super()._admin_address()
        # Any broker forwards requests to the controller. Its metadata may still list stopped brokers.
        return next(iter(self.broker_addresses().values()))

    def _is_in_sync(self) -> bool:
        for node in self._nodes.values():
            node.check()
        return super()._is_in_sync()

    def _segments(self, topic: str, partition: int) -> list[str]:
        state = self.partitions(topic)[partition]
        holder = state.leader if state.leader in self._nodes else state.replicas[0]
        return [str(segment) for segment in sorted(self.log_dir(holder).glob(f"{topic}-{partition}/*.log"))]

    def _launch(self, libraries: Libraries, options: Sequence[str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"kafka-{self.version}-"))
        for node, properties in self._properties(libraries).items():
            folder = self._folder / f"node{node}"
            program = ZOOKEEPER if node == _ZOOKEEPER_ID else KAFKA
            self._nodes[node] = Node(
                node, libraries, folder, properties=properties, options=options, program=program
            )
        try:
            if not libraries.needs_zookeeper:
                self._format()
            for starting in self._nodes.values():
                starting.start()
                if starting.id == _ZOOKEEPER_ID:
                    until("ZooKeeper serves", lambda: is_serving(self._zookeeper_address()))
            self.wait_until_in_sync()
        except BaseException as error:
            self._kill_all()
            for failed in self._nodes.values():
                error.add_note(f"node {failed.id}: {failed.log_tail()}")
            raise

    @property
    def _has_zookeeper(self) -> bool:
        return _ZOOKEEPER_ID in self._nodes

    def _zookeeper_address(self) -> Address:
        return self._endpoints[_ZOOKEEPER_ID].client

    def _options(self, libraries: Libraries) -> list[str]:
        return [*self._jvm_options, *jvm.with_archive(libraries.archive)]

    def _properties(self, libraries: Libraries) -> dict[int, Properties]:
        """Give the properties of each process, in the order in which they are to start."""
        if not libraries.needs_zookeeper:
            return {
                node: {
                    **server_properties(node, self._endpoints, self._brokers, self._voters),
                    **self._config,
                }
                for node in sorted({*self._brokers, *self._voters})
            }
        zookeeper = self._zookeeper_address()
        brokers: dict[int, Properties] = {
            node: {
                **zookeeper_server_properties(node, self._endpoints, self._brokers, zookeeper),
                **self._config,
            }
            for node in self._brokers
        }
        return {_ZOOKEEPER_ID: zookeeper_properties(zookeeper), **brokers}

    def _start_again(self, node: Node) -> None:
        if self._has_zookeeper:
            # A broker exits at start if its former session in ZooKeeper has not ended yet.
            zookeeper = self._zookeeper_address()
            until(f"the session of {node} is over", lambda: node.id not in registered_brokers(zookeeper))
        node.start()

    def _format(self) -> None:
        formatting = {node: node.format(self._cluster_id) for node in self._nodes.values()}
        for node, process in formatting.items():
            if process.wait():
                message = f"node {node.id} could not be formatted: {node.log_tail()}"
                raise NodeDiedError(message)

    def _kill_all(self) -> None:
        for node in self._nodes.values():
            node.destroy()


def _new_cluster_id() -> str:
    # Kafka's tools would read an id with a leading dash as an option.
    return "k" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]


def _prepared(version: str) -> Libraries:
    libraries = Libraries.fetch(version)
    if not libraries.archive.exists() and parse_version(version) >= _ARCHIVED:
        _record_archive(libraries)
    return libraries


def _record_archive(libraries: Libraries) -> None:
    """Run one broker to record the classes that it loads."""
    unfinished = libraries.archive.with_name(f"{libraries.archive.name}.{os.getpid()}")
    model = KafkaCluster(libraries.version)
    try:
        model._launch(libraries, [*jvm.QUICK_START, f"-XX:ArchiveClassesAtExit={unfinished}"])  # noqa: SLF001 - the same class
        model.stop_node(1)
        if unfinished.exists():
            unfinished.rename(libraries.archive)
    finally:
        model.stop()
