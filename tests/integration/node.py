"""One node of a cluster: a folder, a Java process, and the signals that make it misbehave.

DOWN ──start──▶ RUNNING ──pause──▶ PAUSED
  ▲                │  ▲              │ │
  ├──stop, kill────┘  └────resume────┘ │
  └──────────────kill──────────────────┘
"""

from __future__ import annotations

import enum
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration import jvm
from tests.integration.properties import pairs

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.maven import Libraries
    from tests.integration.properties import Properties

_LOG_TAIL_BYTES = 3000


class NodeState(enum.Enum):
    DOWN = "down"
    RUNNING = "running"
    PAUSED = "paused"


class NodeDiedError(Exception):
    """A process ended by itself."""


@dataclass(frozen=True, slots=True)
class Program:
    """The main class of a node, and the property for its data folder."""

    main_class: str
    storage: str
    options: tuple[str, ...] = ()


KAFKA = Program("kafka.Kafka", "log.dirs")
ZOOKEEPER = Program(
    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
    "dataDir",
    # It would look for a missing version of log4j.
    ("-Dzookeeper.jmx.log4j.disable=true",),
)


class Node:
    """A broker, a controller or both, or a ZooKeeper; it keeps addresses and folder across restarts."""

    def __init__(
        self,
        node_id: int,
        libraries: Libraries,
        folder: Path,
        *,
        properties: Properties,
        options: Sequence[str],
        program: Program = KAFKA,
    ) -> None:
        self.id = node_id
        self.state = NodeState.DOWN
        self.log_dir = folder / "data"
        self._libraries = libraries
        self._log = folder / "kafka.log"
        self._options = options
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = folder / "server.properties"
        folder.mkdir()
        lines = pairs({**properties, program.storage: str(self.log_dir)})
        self._properties.write_text("\n".join(lines) + "\n")

    def __repr__(self) -> str:
        return f"<Node {self.id} {self.state.value}>"

    @property
    def is_running(self) -> bool:
        return self.state is NodeState.RUNNING

    def install(self, libraries: Libraries, options: Sequence[str]) -> None:
        """Use other libraries from the next start on."""
        self._libraries, self._options = libraries, options

    def format(self, cluster_id: str) -> subprocess.Popen[bytes]:
        """Format the storage in a process; the node can start after its end."""
        arguments = ["format", "-t", cluster_id, "-c", str(self._properties)]
        options = ["-Dlog.level=WARN", *jvm.QUICK_START, *jvm.with_archive(self._libraries.archive)]
        return self._spawn("kafka.tools.StorageTool", arguments, options)

    def start(self) -> None:
        if self.state is not NodeState.DOWN:
            message = f"{self} cannot be started"
            raise ValueError(message)
        options = ["-Dlog.level=INFO", *self._program.options, *self._options]
        self._process = self._spawn(self._program.main_class, [str(self._properties)], options)
        self.state = NodeState.RUNNING

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open, without responses."""
        process = self._expect(NodeState.RUNNING)
        process.send_signal(signal.SIGSTOP)
        # Signals are asynchronous: wait until the process has stopped.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        self.state = NodeState.PAUSED

    def resume(self) -> None:
        self._expect(NodeState.PAUSED).send_signal(signal.SIGCONT)
        self.state = NodeState.RUNNING

    def kill(self) -> None:
        """Kill the process (SIGKILL), as if the machine lost power."""
        self._end(self._expect(NodeState.RUNNING, NodeState.PAUSED), signal.SIGKILL, timeout=10)

    def stop(self, timeout: float = 30.0) -> None:
        """Ask the process to end (SIGTERM): a broker moves its leaders first."""
        if self.state is NodeState.PAUSED:
            self.resume()
        self._end(self._expect(NodeState.RUNNING), signal.SIGTERM, timeout)

    def destroy(self) -> None:
        """End the process in any state."""
        if self._process is not None and self._process.poll() is None:
            self._end(self._process, signal.SIGKILL, timeout=10)
        self.state = NodeState.DOWN

    def check(self) -> None:
        """Raise NodeDiedError if the process ended by itself."""
        if (
            self._process is not None
            and self.state is not NodeState.DOWN
            and self._process.poll() is not None
        ):
            self.state = NodeState.DOWN
            message = f"node {self.id} died with {self._process.returncode}; its log ends:\n{self.log_tail()}"
            raise NodeDiedError(message)

    def log_tail(self) -> str:
        if not self._log.exists():
            return f"({self._log} was not written)"
        return f"{self._log}: …{self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors='replace')}"

    def _end(self, process: subprocess.Popen[bytes], ending: signal.Signals, timeout: float) -> None:
        process.send_signal(ending)
        process.wait(timeout)
        self.state = NodeState.DOWN

    def _expect(self, *states: NodeState) -> subprocess.Popen[bytes]:
        self.check()
        if self._process is None or self.state not in states:
            message = f"{self} is not {' or '.join(state.value for state in states)}"
            raise ValueError(message)
        return self._process

    def _spawn(
        self, main_class: str, arguments: Sequence[str], options: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return jvm.start(
                jvm.command(self._libraries, main_class, arguments, options), stdout=log, stderr=log
            )
