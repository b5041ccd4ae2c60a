"""What all tests share: the table that says which tests show which scenario.

A test names the scenarios it shows with ``@pytest.mark.scenario(22, 31)``; a module does so for
all its tests with ``pytestmark``. `tests/SCENARIOS.md` is generated from these marks:

    pytest --collect-only -q --scenario-table tests/SCENARIOS.md

and `tests/test_scenarios.py` fails where a scenario has no test or the file is not up to date.

``--loop uvloop`` runs coroutine tests on uvloop instead of asyncio's own event loop.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios import table_of


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--scenario-table",
        type=Path,
        metavar="FILE",
        help="write the table of scenarios and the tests that show them to FILE",
    )
    parser.addoption(
        "--loop",
        choices=("asyncio", "uvloop"),
        default="asyncio",
        help="the event loop that coroutine tests and fixtures run on",
    )


def pytest_asyncio_loop_factories(
    config: pytest.Config,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if config.getoption("--loop") == "uvloop":
        return {"uvloop": _uvloop()}
    return {"asyncio": asyncio.new_event_loop}


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop  # noqa: PLC0415 - only where it is asked for

    class Loop(uvloop.Loop):
        """Resolves names as asyncio does: tests replace `socket.getaddrinfo`, which uvloop does not call."""

        async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, **options: Any) -> list[Any]:  # noqa: ANN401 - as socket has it
            if family:
                # uvloop's own sock_connect comes here with an address in digits.
                return await super().getaddrinfo(host, port, family=family, **options)
            return await self.run_in_executor(None, partial(socket.getaddrinfo, host, port, **options))

    return Loop


def pytest_configure() -> None:
    # A shell that starts the tests in the background has Ctrl-C ignored, by them and by the
    # programs that they start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    path: Path | None = config.getoption("--scenario-table")
    if path is None:
        return
    tests: dict[int, set[str]] = {}
    for item in items:
        file = item.path.relative_to(config.rootpath).as_posix()
        name = item.nodeid.partition("::")[2].partition("[")[0]
        for mark in item.iter_markers("scenario"):
            for number in mark.args:
                tests.setdefault(number, set()).add(f"{file}::{name}")
    path.write_text(table_of(tests))
