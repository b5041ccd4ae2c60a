"""Starts Java processes that never outlive the test runner, and runs Kafka's command line classes."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.maven import Libraries

# A process started through setpriv is killed by the kernel when its parent dies
# (PR_SET_PDEATHSIG): the parent *thread*. A worker thread of an event loop ends with
# its loop, so all processes come from one thread that lives as long as the runner.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="java-starter")
_setpriv = shutil.which("setpriv")

QUICK_START = ("-XX:TieredStopAtLevel=1",)
"""Compiles less well but sooner: right for tests, wrong for benchmarks."""


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
    """Options to take classes from `archive`; without it, or with one of another JVM, Java reads the jars."""
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
    """Start a process of a session of its own: an interrupt from the keyboard reaches the runner alone."""
    guarded = [_setpriv, "--pdeathsig", "KILL", *arguments] if _setpriv else list(arguments)
    return _starter.submit(
        subprocess.Popen, guarded, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    ).result()


def run(
    libraries: Libraries, main_class: str, arguments: Sequence[str], stdin: str = "", timeout: float = 300.0
) -> str:
    """Run a command line class of Kafka to its end and give what it printed; RuntimeError when it fails."""
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
        said = (stderr + stdout).decode(errors="replace")[-2000:]
        message = f"{main_class} ended with {process.returncode}: {said}"
        raise RuntimeError(message)
    return stdout.decode()
