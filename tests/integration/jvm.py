"""Starts Java processes that end with the test runner, and runs Kafka's command line classes."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.maven import Libraries

# The kernel kills a process started by setpriv when its parent *thread* ends (PR_SET_PDEATHSIG).
# A worker thread of an event loop ends with its loop. So one thread, which lives as long as the
# runner, starts all processes.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="java-starter")
_setpriv = shutil.which("setpriv")

QUICK_START = ("-XX:TieredStopAtLevel=1",)
"""Less compilation, quicker starts: for tests, not for benchmarks."""


def command(
    libraries: Libraries, main_class: str, arguments: Sequence[str], options: Sequence[str] = ()
) -> list[str]:
    return [
        str(libraries.java),
        "-Xmx512m",
        "-Xms64m",
        "-XX:+UseSerialGC",
        *libraries.logging_options,
        *options,
        "-cp",
        libraries.class_path,
        main_class,
        *arguments,
    ]


def with_archive(archive: Path) -> list[str]:
    """Return the options for an archive of classes; without a valid one Java reads the jars."""
    if not archive.exists():
        return []
    return [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]


def start(
    arguments: Sequence[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
) -> subprocess.Popen[bytes]:
    """Start a process in its own session: Ctrl-C reaches only the runner."""
    guarded = [_setpriv, "--pdeathsig", "KILL", *arguments] if _setpriv else list(arguments)
    return _starter.submit(
        subprocess.Popen, guarded, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    ).result()


def run(
    libraries: Libraries, main_class: str, arguments: Sequence[str], stdin: str = "", timeout: float = 300.0
) -> str:
    """Run a command line class of Kafka and return its output; raises RuntimeError if it fails."""
    options = ["-Dlog.level=WARN", *QUICK_START, *with_archive(libraries.archive)]
    process = start(
        command(libraries, main_class, arguments, options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            stdout, stderr = process.communicate(stdin.encode(), timeout)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        output = (stderr + stdout).decode(errors="replace")[-2000:]
        message = f"{main_class} ended with {process.returncode}: {output}"
        raise RuntimeError(message)
    return stdout.decode()
