"""Runs `python -m aioproducer.testing` in its own process, as users do."""

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
    """A running stand-alone broker."""

    def __init__(self, process: subprocess.Popen[str], bootstrap: str) -> None:
        self._process = process
        self.bootstrap = bootstrap

    def end(self, number: signal.Signals = signal.SIGTERM) -> list[str]:
        """Send a signal, assert a clean exit, and return the printed lines."""
        self._process.send_signal(number)
        printed, errors = self._process.communicate(timeout=PATIENCE)
        assert (self._process.returncode, errors) == (0, ""), errors
        return printed.splitlines()


@contextmanager
def stand_alone(*arguments: str) -> Iterator[StandAlone]:
    """Run a broker at free ports, unless `arguments` name ports."""
    # Not `-X dev`: asyncio would print warnings about slow callbacks on a busy machine.
    command = [sys.executable, "-W", "error", "-m", "aioproducer.testing", "--port", "0", *arguments]
    with subprocess.Popen(  # noqa: S603 - this project's program
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield StandAlone(process, process.stdout.readline().strip())
        finally:
            process.kill()
