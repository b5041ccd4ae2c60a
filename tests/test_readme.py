"""The README's commands, programs and tests work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.docs.pages import ROOT, blocks_of, run_page, running_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioproducer.testing import FakeCluster

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = blocks_of(README)


def block(kind: str, containing: str) -> str:
    (found,) = (block.code for block in BLOCKS if block.language == kind and containing in block.code)
    return found


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, README.name, "exec"), names)  # noqa: S102 - code of the README
    return names


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with running_cluster() as cluster:
        yield cluster


def test_first_command_produces() -> None:
    command = block("sh", "aioproducer produce").rpartition("&&")[2].strip()
    folder = Path(sys.executable).parent
    if not (folder / "aioproducer").exists():
        pytest.skip("aioproducer is not installed in this environment")

    done = subprocess.run(  # noqa: S602 - a command of the README
        command.replace(".venv/bin", str(folder)), shell=True, capture_output=True, text=True, check=True
    )

    assert re.fullmatch(r"Produced to partition \d at offset 0 with timestamp \d+\n", done.stdout)


def test_script_runs(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    run(block("python", "asyncio.run").replace("localhost:9092", cluster.bootstrap))

    place, count, error = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"orders-\d at offset 0", place)
    assert count == "10000 delivered, 0 failed"
    assert error.startswith("RecordTooLargeError: ")
    assert error.endswith("(may be written: False)")
    assert len(cluster.records("orders")) == 10_001


def test_web_service_runs(cluster: FakeCluster) -> None:
    testclient = pytest.importorskip("fastapi.testclient")
    service = run(block("python", "FastAPI").replace("localhost:9092", cluster.bootstrap))

    with testclient.TestClient(service["app"]) as client:
        answer = client.post("/orders/42", content=b"tea")
        too_large = client.post("/orders/42", content=b"x" * 2_000_000)

    (record,) = cluster.records("orders")
    assert (record.key, record.value) == (b"42", b"tea")
    assert answer.json() == {"partition": record.partition, "offset": 0}
    assert too_large.status_code == 413
    assert too_large.json()["may_be_written"] is False


def test_tests_pass(tmp_path: Path) -> None:
    tests = [block for block in BLOCKS if block.is_test]

    assert len(tests) == 2
    run_page(tests, tmp_path)


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^):]+)\)", TEXT)

    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_length() -> None:
    """A README must be short; details have their own pages."""
    assert len(TEXT.split()) < 1_700
