"""Type checkers see the public API as `api.py` says, and know all of it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

API = Path(__file__).parent / "api.py"
ROOT = API.parent.parent.parent


def check(tool: str, *arguments: str) -> None:
    if find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed (the extra `lint` brings it)")
    command = [sys.executable, "-m", tool, *arguments]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours

    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_agrees() -> None:
    check("mypy", str(API))


def test_pyright_agrees() -> None:
    check("pyright", "--pythonpath", sys.executable, str(API))
