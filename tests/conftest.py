"""Options that all tests share: the table of scenarios, and the event loop.

A test names the scenarios it shows, ``@pytest.mark.scenario("split-too-large")``; a module does
so for all its tests with ``pytestmark``. `tests/SCENARIOS.md` is generated from these marks:

    pytest --collect-only -q --scenario-table tests/SCENARIOS.md

`tests/test_scenarios.py` fails if a scenario has no test or the file is out of date.

`tests/integration/security/MATRIX.md` is written by a run of the tests against real brokers:

    pytest -q --security-matrix tests/integration/security/MATRIX.md tests/integration/security/test_matrix.py

``--loop uvloop`` runs coroutine tests on uvloop instead of asyncio's own event loop. A test marked
``simulated`` runs on a loop with simulated time instead, and so do its fixtures.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.net.simulated import SimulatedLoop
from tests.scenarios import table_of


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--scenario-table",
        type=Path,
        metavar="FILE",
        help="write the table of scenarios and the tests that show them to FILE",
    )
    parser.addoption(
        "--security-matrix",
        type=Path,
        metavar="FILE",
        help="write the table of listeners, mechanisms and brokers that the tests connected to to FILE",
    )
    parser.addoption(
        "--loop",
        choices=("asyncio", "uvloop"),
        default="asyncio",
        help="the event loop that coroutine tests and fixtures run on",
    )


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("simulated") is not None:
        return {"simulated": SimulatedLoop}
    if config.getoption("--loop") == "uvloop":
        return {"uvloop": _uvloop()}
    return {"asyncio": asyncio.new_event_loop}


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop  # noqa: PLC0415 - loaded only with --loop uvloop

    class Loop(uvloop.Loop):
        """Calls `socket.getaddrinfo`, which tests replace; uvloop's own resolver does not call it."""

        async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, **options: Any) -> list[Any]:  # noqa: ANN401 - the types of socket.getaddrinfo
            if family:
                # uvloop's own sock_connect calls this with a numeric address.
                return await super().getaddrinfo(host, port, family=family, **options)
            return await self.run_in_executor(None, partial(socket.getaddrinfo, host, port, **options))

    return Loop


def pytest_configure() -> None:
    # Without this, the first `asyncio.get_event_loop` outside of a coroutine makes a loop that is
    # never closed. It warns when a later test's `asyncio.Runner` drops it.
    asyncio.set_event_loop(None)
    # A shell ignores Ctrl-C in its background jobs, and their child processes inherit that.
    # Restore it: some tests interrupt the programs that they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    path: Path | None = config.getoption("--scenario-table")
    if path is None:
        return
    tests: dict[str, set[str]] = {}
    for item in items:
        file = item.path.relative_to(config.rootpath).as_posix()
        name = item.nodeid.partition("::")[2].partition("[")[0]
        for mark in item.iter_markers("scenario"):
            for scenario in mark.args:
                tests.setdefault(scenario, set()).add(f"{file}::{name}")
    path.write_text(table_of(tests))
