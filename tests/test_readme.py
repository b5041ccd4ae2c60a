"""What the README shows is so: its tables are the code's, its examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

import pytest
from anyio.from_thread import start_blocking_portal

import aioproducer
from aioproducer.testing import FakeCluster, plugin
from tests.readme import README, written_anew

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?s)```(\w+)\n(.*?)```", TEXT)


def block(kind: str, containing: str) -> str:
    (found,) = (code for language, code in BLOCKS if language == kind and containing in code)
    return str(found)


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, README.name, "exec"), names)  # noqa: S102 - our own
    return names


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """Run an embedded cluster beside the test, in a thread of its own."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FakeCluster(topics={"orders": 3})) as cluster,
    ):
        yield cluster


def test_tables_are_what_the_code_says() -> None:
    assert written_anew(TEXT) == TEXT, "run `python -m tests.readme`"


def test_every_exported_error_is_in_the_table() -> None:
    errors = {name for name in aioproducer.__all__ if name.endswith("Error")}

    assert errors <= set(re.findall(r"`(\w+Error)`", TEXT))


def test_the_first_command_produces_to_the_embedded_broker() -> None:
    command = block("sh", "aioproducer produce").rpartition("&&")[2].strip()
    folder = Path(sys.executable).parent
    if not (folder / "aioproducer").exists():
        pytest.skip("aioproducer is not installed in this environment")

    done = subprocess.run(  # noqa: S602 - the README's own words
        command.replace(".venv/bin", str(folder)), shell=True, capture_output=True, text=True, check=True
    )

    assert re.fullmatch(r"Produced to partition \d at offset 0 with timestamp \d+\n", done.stdout)
    assert "embedded broker" in done.stderr


def test_the_script_runs(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    run(block("python", "asyncio.run").replace("localhost:9092", cluster.bootstrap))

    place, count, error = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"orders-\d at offset 0", place)
    assert count == "10000 delivered, 0 failed"
    assert error.startswith("RecordTooLargeError: ")
    assert error.endswith("(may be written: False)")
    assert len(cluster.records("orders")) == 10_001


def test_the_web_service_runs(cluster: FakeCluster) -> None:
    testclient = pytest.importorskip("fastapi.testclient")
    service = run(block("python", "FastAPI").replace("localhost:9092", cluster.bootstrap))

    with testclient.TestClient(service["app"]) as client:
        answer = client.post("/orders/42", content=b"tea")
        too_large = client.post("/orders/42", content=bytes(2_000_000))
        cluster.on("PRODUCE").answer("TOPIC_AUTHORIZATION_FAILED")
        refused = client.post("/orders/42", content=b"tea")

    (record,) = cluster.records("orders")
    assert (too_large.status_code, refused.status_code) == (413, 503)
    assert refused.json() == {"error": "AuthorizationError", "may_be_written": False}
    assert (record.key, record.value) == (b"42", b"tea")
    assert answer.json() == {"partition": record.partition, "offset": 0}


def test_the_test_of_a_service_passes(tmp_path: Path) -> None:
    """In pytest-asyncio's strict mode, where a test without its mark is not run."""
    (tmp_path / "test_orders.py").write_text(block("python", "FakeCluster"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = strict\nfilterwarnings = error\n")
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    options = ["-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"]
    options += ["-o", "asyncio_default_fixture_loop_scope=function", str(tmp_path)]

    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "pytest", *options], capture_output=True, text=True, env=environ, check=False
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_example_of_the_fixtures_is_the_plugins_own() -> None:
    """It is run where the plugin is tested."""
    example = indent(block("python", "pytest_plugins"), "    ")

    assert example in str(plugin.__doc__)


def test_configurations_are_accepted() -> None:
    names = run(block("python", "from_env"))

    assert names["producer"].config.linger_ms == 20
