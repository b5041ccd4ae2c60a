"""The target of the clients: a sink that is started for a run, or a running Kafka.

Both return the number of received records, so that a comparison can check it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class Target(Protocol):
    """A broker or cluster that the clients produce to."""

    bootstrap: str
    kind: str
    ca: str | None

    def count(self, topic: str) -> int:
        """Return the number of received records."""

    def cpu_seconds(self) -> float:
        """Return its CPU seconds so far, NaN if unknown."""

    def __enter__(self) -> Self:
        """Prepare the target."""

    def __exit__(self, *_: object) -> None:
        """Clean up."""


class SinkTarget:
    """A process of `sink.py`."""

    def __init__(self, delay_ms: float, *, tls: bool = False) -> None:
        self.kind = "sink with TLS" if tls else "sink"
        self.delay_ms = delay_ms
        self.tls = tls
        self.ca: str | None = None

    def __enter__(self) -> Self:
        """Start the process."""
        command = [sys.executable, str(Path(__file__).parent / "sink.py"), "--delay-ms", str(self.delay_ms)]
        self.folder = tempfile.TemporaryDirectory()
        if self.tls:
            from aioproducer.testing.certificates import Certificates  # noqa: PLC0415 - with TLS only

            certificates = Certificates.make()
            server, ca = Path(self.folder.name, "server.pem"), Path(self.folder.name, "ca.pem")
            server.write_text(certificates.server.pem)
            ca.write_text(certificates.ca.certificate)
            self.ca = str(ca)
            command += ["--tls", str(server)]
        self.process = subprocess.Popen(  # noqa: S603 - this project's script
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.bootstrap = f"127.0.0.1:{self.read()['port']}"
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.process.communicate(timeout=10)
        self.folder.cleanup()

    def read(self) -> dict[str, Any]:
        """Read one line of the sink's output."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            message = "the sink is gone"
            raise RuntimeError(message)
        report: dict[str, Any] = json.loads(line)
        return report

    def report(self) -> dict[str, Any]:
        """Request the sink's counts."""
        if self.process.stdin:
            self.process.stdin.write("report\n")
            self.process.stdin.flush()
        return self.read()

    def count(self, topic: str) -> int:
        """See Target."""
        del topic
        return int(self.report()["records"])

    def cpu_seconds(self) -> float:
        """See Target."""
        return float(self.report()["cpu_seconds"])


class KafkaTarget:
    """A running cluster: its topics are created here and deleted at the end."""

    kind = "Kafka"
    ca = None

    def __init__(self, bootstrap: str, partition_counts: Iterable[int]) -> None:
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - needed with a real cluster only

        self.bootstrap = bootstrap
        self.partition_counts = sorted(set(partition_counts))
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.topics: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Create the topics; delete existing ones first."""
        from confluent_kafka.admin import NewTopic  # noqa: PLC0415

        self.topics = {f"aioproducer-benchmark-p{count}": count for count in self.partition_counts}
        there = set(self.admin.list_topics(timeout=10).topics)
        self.delete(there & set(self.topics))
        wanted = [NewTopic(name, num_partitions=count) for name, count in self.topics.items()]
        for future in self.admin.create_topics(wanted).values():
            future.result()
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the topics."""
        self.delete(self.topics)

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics and wait until they have vanished."""
        doomed = list(names)
        if not doomed:
            return
        for future in self.admin.delete_topics(doomed).values():
            future.result()
        until = time.monotonic() + 30
        while time.monotonic() < until and set(self.admin.list_topics(timeout=10).topics) & set(doomed):
            time.sleep(0.2)

    def count(self, topic: str) -> int:
        """Add up the end offsets of the topic's partitions."""
        from confluent_kafka import TopicPartition  # noqa: PLC0415
        from confluent_kafka.admin import OffsetSpec  # noqa: PLC0415

        partitions = [TopicPartition(topic, index) for index in range(self.topics[topic])]
        futures = self.admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()))
        return sum(future.result().offset for future in futures.values())

    def cpu_seconds(self) -> float:
        """See Target."""
        return math.nan
