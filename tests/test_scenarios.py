"""Each scenario has a test, and the table in the repository says which."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tests" / "SCENARIOS.md"


def test_each_scenario_has_a_test(tmp_path: Path) -> None:
    """The table is generated from the tests' marks, and the one in the repository is up to date."""
    generated = tmp_path / "SCENARIOS.md"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    collected = subprocess.run(  # noqa: S603 - our own interpreter, our own tests
        [*command, "--scenario-table", str(generated), "tests"],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert collected.returncode == 0, collected.stdout[-2_000:] + collected.stderr[-2_000:]

    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", generated.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(SCENARIOS)
    assert not [int(number) for number, tests in rows if not tests]
    assert TABLE.read_text() == generated.read_text(), (
        "out of date: pytest --collect-only -q --scenario-table tests/SCENARIOS.md"
    )
