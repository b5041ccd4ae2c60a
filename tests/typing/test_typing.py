"""Type checkers infer the types in `api.py`, and know every type of the public API.

The extra `lint` installs the checkers; without them these tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import aioproducer

API = Path(__file__).parent / "api.py"
ROOT = API.parent.parent.parent

PUBLIC_MODULES = {
    "batch_result",
    "config",
    "delivery",
    "error_code",
    "errors",
    "options",
    "producer",
    "record",
}
"""The modules with public names. Other modules are checked by mypy only, which infers more types."""


def run(tool: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed (the extra `lint` brings it)")
    # Pyright uses the packages of the first python on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-m", tool, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_mypy_agrees() -> None:
    checked = run("mypy", str(API), folder=ROOT)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_pyright_agrees() -> None:
    checked = run("pyright", str(API), folder=ROOT)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_public_types_are_known(tmp_path: Path) -> None:
    if "site-packages" not in aioproducer.__file__:
        pytest.skip("pyright verifies installed packages only, and aioproducer is imported from its source")

    verified = run(
        "pyright", "--verifytypes", "aioproducer", "--ignoreexternal", "--outputjson", folder=tmp_path
    )

    symbols = json.loads(verified.stdout)["typeCompleteness"]["symbols"]
    public = [symbol for symbol in symbols if is_public(symbol["name"])]
    assert "aioproducer.producer.Producer.send" in {symbol["name"] for symbol in public}
    assert [symbol for symbol in public if not symbol["isTypeKnown"]] == []


def is_public(name: str) -> bool:
    module = name.split(".")[1]
    return module in PUBLIC_MODULES or module in aioproducer.__all__
