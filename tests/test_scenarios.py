"""Each scenario has a test, and the table in the repository lists them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tests" / "SCENARIOS.md"


def test_each_scenario_has_a_test(tmp_path: Path) -> None:
    """Each scenario has a test, and the committed table equals the generated one."""
    generated = tmp_path / "SCENARIOS.md"
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    collected = subprocess.run(  # noqa: S603 - this interpreter, this project's tests
        [*command, "--scenario-table", str(generated), "tests"],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert collected.returncode == 0, collected.stdout[-2_000:] + collected.stderr[-2_000:]

    rows = re.findall(r"^\| \d+ \| ([a-z-]+) \|.*\| (.*) \|$", generated.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(SCENARIOS)
    assert not [name for name, tests in rows if not tests]
    assert TABLE.read_text() == generated.read_text(), (
        "out of date: pytest --collect-only -q --scenario-table tests/SCENARIOS.md"
    )
