"""Apache Kafka in a Docker container; the tools run there too."""

from __future__ import annotations

import gc
import io
import tarfile
import warnings
from typing import TYPE_CHECKING, Self

from tests.integration.kafka import Kafka
from tests.integration.layout import free_ports, quick_settings
from tests.integration.maven import KafkaMissingError, parse_version
from tests.integration.properties import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from testcontainers.core.container import DockerContainer

    from tests.integration.properties import Properties

_OLDEST_IMAGE = (3, 7)
_PORT = 9092
_INTERNAL = "localhost:9094"
_CONTROLLER = "localhost:9095"
_DATA = "/tmp/kafka-data"  # noqa: S108 - a path in the container, not here
_INPUT = "input"
_RUN = f'exec /opt/kafka/bin/kafka-run-class.sh "$@" < /tmp/{_INPUT}'


class KafkaContainer(Kafka):
    """One broker of the `apache/kafka` image; entering raises KafkaMissingError without Docker."""

    def __init__(self, version: str) -> None:
        if parse_version(version) < _OLDEST_IMAGE:
            message = f"there is no container image of Apache Kafka {version}"
            raise KafkaMissingError(message)
        host = _docker_host()
        (port,) = free_ports(1)
        super().__init__(f"{host}:{port}", version)
        self._container = _container(version, port, self.bootstrap)

    def __enter__(self) -> Self:
        try:
            self._container.start()
        except Exception as error:
            message = f"Docker did not start Apache Kafka {self.version}: {error}"
            raise KafkaMissingError(message) from error
        try:
            self.wait_until_in_sync()
        except BaseException:
            self._container.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.stop()

    def _run_tool(self, main_class: str, arguments: Sequence[str], stdin: str = "") -> str:
        self._container.get_wrapped_container().put_archive("/tmp", _archive(_INPUT, stdin.encode()))  # noqa: S108 - in the container
        return self._execute("sh", "-c", _RUN, "sh", main_class, *arguments)

    def _tools_bootstrap(self) -> str:
        return _INTERNAL

    def _segments(self, topic: str, partition: int) -> list[str]:
        return self._execute("sh", "-c", f"ls {_DATA}/{topic}-{partition}/*.log").split()

    def _execute(self, *command: str) -> str:
        code, (stdout, stderr) = self._container.get_wrapped_container().exec_run(list(command), demux=True)
        if code:
            message = f"{command} ended with {code}: {(stderr or b'').decode(errors='replace')[-2000:]}"
            raise RuntimeError(message)
        return (stdout or b"").decode()


def _docker_host() -> str:
    """Return the host of containers' ports; raises KafkaMissingError without a Docker daemon."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # testcontainers' imports warn
        try:
            from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415 - imported only when used

            client = DockerClient()
            client.client.ping()
            return str(client.host())
        except Exception as error:  # noqa: BLE001 - any error means no Docker
            reason = str(error)
        # A client without a daemon leaves its socket to the garbage collector, which would warn later.
        gc.collect()
    message = f"Docker does not answer ({reason})"
    raise KafkaMissingError(message)


def _container(version: str, port: int, advertised: str) -> DockerContainer:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - imported only with Docker

    properties: Properties = {
        **quick_settings(brokers=1),
        "node.id": 1,
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://:{_PORT},INTERNAL://{_INTERNAL},CONTROLLER://{_CONTROLLER}",
        "advertised.listeners": f"PLAINTEXT://{advertised},INTERNAL://{_INTERNAL}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{_CONTROLLER}",
        "log.dirs": _DATA,
    }
    container = DockerContainer(f"apache/kafka:{version}").with_bind_ports(_PORT, port)
    for name, value in properties.items():
        # The image maps the variable KAFKA_NODE_ID to node.id.
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", text(value))
    return container


def _archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
