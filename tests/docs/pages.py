"""Run the code blocks of a page, because a reader copies them.

The blocks of a page run from top to bottom in one namespace. `localhost:9092` in them stands
for a fake cluster, and `producer` is a started producer of that cluster when a block begins.

    ```python                        runs in the producer's event loop; `await` is allowed
    ```python, asyncio.run in it     runs without a loop
    ```python, a test in it          is a file that pytest runs, after the other blocks
    ```sh                            runs in bash; `aioproducer` and `python` are on the path
    ```properties                    is a valid configuration of a producer, which is not connected
    title="conftest.py"              is also written to a file of that name

Blocks in other languages are data, and blocks that include a file (``` {.python}, which the
formatter leaves alone) are tested where the file is. A comment above a block keeps it from
running, and says why:

    <!-- not run: needs Docker -->
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from aioproducer import Producer, ProducerConfig
from aioproducer.config.properties_file import parse_properties
from aioproducer.testing import FakeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "pages").glob("**/*.md"))

SHELL_TIMEOUT = 120.0
"""Seconds that one block of commands, or one run of pytest, may take."""

_BLOCK = re.compile(
    r"(?ms)^(?:[ ]*<!-- not run: (?P<reason>[^\n]+?) -->\n\s*)?"
    r"^(?P<indent>[ ]*)```(?: \{\.)?(?P<language>\w+)\}?(?P<attributes>[^\n]*)\n"
    r"(?P<code>.*?)^(?P=indent)```[ ]*$"
)
_TITLE = re.compile(r'title="([^"]+)"')
_ADDRESS = "localhost:9092"


@dataclass(frozen=True, slots=True)
class Block:
    """One code block: where it is, its text, and why it is not run (None: it is)."""

    page: Path
    line: int
    language: str
    title: str | None
    code: str
    reason: str | None

    @property
    def is_snippet(self) -> bool:
        """Whether the block only includes a file."""
        return self.code.startswith('--8<-- "')

    @property
    def is_test(self) -> bool:
        """Whether the block is a file for pytest."""
        return re.search(r"(?m)^(?:async )?def test_", self.code) is not None


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for found in _BLOCK.finditer(text):
        title = _TITLE.search(found["attributes"])
        blocks.append(
            Block(
                page=page,
                line=text.count("\n", 0, found.start("code")) + 1,
                language=found["language"],
                title=title[1] if title else None,
                code=dedent(found["code"]),
                reason=found["reason"],
            )
        )
    return blocks


@contextmanager
def running_cluster() -> Iterator[FakeCluster]:
    """Run a fake cluster in a thread of its own, so that blocking code can use it."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FakeCluster(topics={"orders": 3})) as cluster,
    ):
        yield cluster


def run_page(blocks: Sequence[Block], folder: Path) -> None:
    """Run the blocks of a page in order; `folder` is empty, and current for commands."""
    with running_cluster() as cluster, asyncio.Runner() as runner:
        session = _Session(cluster.bootstrap, folder, runner)
        runner.run(session.start())
        try:
            for block in blocks:
                session.run(block)
            session.run_tests()
        finally:
            runner.run(session.stop())


class _Session:
    """The namespace, folder and producer that the blocks of a page share."""

    def __init__(self, bootstrap: str, folder: Path, runner: asyncio.Runner) -> None:
        self._bootstrap = bootstrap
        self._folder = folder
        self._runner = runner
        self._producer = Producer(bootstrap)
        self._names: dict[str, Any] = {"__name__": "example"}
        self._tests: list[str] = []

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop(10)

    def run(self, block: Block) -> None:
        self._names["producer"] = self._producer
        code = block.code.replace(_ADDRESS, self._bootstrap)
        if block.title is not None:
            (self._folder / block.title).write_text(code, encoding="utf-8")
        if block.reason is not None or block.is_snippet:
            return
        match block.language:
            case "sh":
                self._run_command(f"{block.page.name}, line {block.line}", ["bash", "-e", "-c", code])
            case "properties":
                ProducerConfig.from_properties(parse_properties(code))
            case "python" if block.is_test:
                self._tests.append(block.title or f"test_line_{block.line}.py")
                (self._folder / self._tests[-1]).write_text(code, encoding="utf-8")
            case "python" if "asyncio.run(" in code:
                exec(self._compiled(block, code, 0), self._names)  # noqa: S102 - our own pages
            case "python" if block.title is None:
                compiled = self._compiled(block, code, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                self._runner.run(self._evaluated(compiled))
            case _:
                pass

    def _compiled(self, block: Block, code: str, flags: int) -> Any:  # noqa: ANN401 - a code object
        # Tracebacks then show the lines of the page.
        padded = "\n" * (block.line - 1) + code
        return compile(padded, str(block.page), "exec", flags=flags, dont_inherit=True)

    async def _evaluated(self, compiled: Any) -> None:  # noqa: ANN401 - a code object
        result = eval(compiled, self._names)  # noqa: S307 - our own pages
        if inspect.iscoroutine(result):
            await result

    def run_tests(self) -> None:
        if self._tests:
            pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            self._run_command("the tests of the page", [*pytest, *self._tests])

    def _run_command(self, name: str, command: list[str]) -> None:
        programs = self._folder / "bin"
        if not programs.exists():
            programs.mkdir()
            _write_program(programs / "aioproducer", f'exec "{sys.executable}" -m aioproducer.cli "$@"')
            _write_program(programs / "python", f'exec "{sys.executable}" "$@"')
        environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        for variable in ("PYTEST_ADDOPTS", "KAFKA_BOOTSTRAP_SERVERS"):
            environment.pop(variable, None)
        done = subprocess.run(  # noqa: S603 - the commands of our own pages
            command,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SHELL_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{name}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def _write_program(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    path.chmod(0o755)
