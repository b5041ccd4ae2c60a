"""Runs `python -m aioproducer.testing` as users do: as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0


class StandAlone:
    """A stand-alone broker that runs."""

    def __init__(self, process: subprocess.Popen[str], bootstrap: str) -> None:
        self._process = process
        self.bootstrap = bootstrap

    def end(self, number: signal.Signals = signal.SIGTERM) -> list[str]:
        """Send a signal, and return what is printed in the end; nothing may go wrong."""
        self._process.send_signal(number)
        printed, complaints = self._process.communicate(timeout=PATIENCE)
        assert (self._process.returncode, complaints) == (0, ""), complaints
        return printed.splitlines()


@contextmanager
def stand_alone(*arguments: str) -> Iterator[StandAlone]:
    """Run a broker at free ports, unless `arguments` say other ones."""
    # Not `-X dev`: with it asyncio complains of whatever takes long, which a busy machine lets all things do.
    command = [sys.executable, "-W", "error", "-m", "aioproducer.testing", "--port", "0", *arguments]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield StandAlone(process, process.stdout.readline().strip())
        finally:
            process.kill()
