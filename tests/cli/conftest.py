import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aioproducer.cli import main


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command line."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture(autouse=True)
def no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("KAFKA_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line in a thread, beside the test's event loop."""

    async def run(*argv: object) -> Outcome:
        code = await asyncio.to_thread(main, [str(argument) for argument in argv])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[bytes], Path]:
    """Return a function that writes a file of lines."""

    def lines(content: bytes) -> Path:
        path = tmp_path / "lines"
        path.write_bytes(content)
        return path

    return lines


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Return the write end of a pipe to stdin; the test closes it."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        yield writing
