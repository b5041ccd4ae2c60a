"""A real OpenID Connect server for tests: npm's `oidc-provider`, on this machine's Node.js.

~/.cache/aioproducer-kafka/           or AIOPRODUCER_KAFKA_CACHE
    oidc-provider-9.13.3/node_modules/
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration import jvm
from tests.integration.maven import cache_folder, locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_VERSION = "9.13.3"
_SOURCE = Path(__file__).with_name("oidc_server.mjs")
_STARTS_WITHIN = 60.0


@contextmanager
def oidc_server(secret: str, lifetimes: Mapping[str, int], keys: Mapping[str, str]) -> Iterator[str]:
    """Run a server and yield its address.

    Its clients share the secret; `lifetimes` are the seconds of the tokens of each client, and `keys`
    the public keys that verify assertions.
    It has the endpoints `/token`, `/assertion` and `/jwks`. Skips the test without Node.js.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no node and npm on the path to run oidc-provider")
    folder = cache_folder() / f"oidc-provider-{_VERSION}"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            _install_into(folder, npm)
    variables = {"SECRET": secret, "LIFETIMES": json.dumps(dict(lifetimes)), "KEYS": json.dumps(dict(keys))}
    settings = [f"{name}={value}" for name, value in variables.items()]
    # The modules are looked for in the working folder, as the program comes from standard input.
    command = ["env", "-C", str(folder), *settings, node, "--input-type=module", "-"]
    with _SOURCE.open("rb") as source:
        process = jvm.start(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        try:
            yield _address(process)
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _STARTS_WITHIN)
    address = process.stdout.readline().decode().strip() if ready else ""
    assert address, "oidc-provider did not start"
    return address


def _install_into(folder: Path, npm: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        made = Path(temporary, "whole")
        made.mkdir()
        (made / "package.json").write_text("{}")
        package = f"oidc-provider@{_VERSION}"
        installed = subprocess.run(  # noqa: S603 - a fixed command
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", package],
            cwd=made,
            env={**os.environ, "NODE_ENV": "production"},
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if installed.returncode:
            pytest.skip(f"npm could not install {package}: {installed.stderr.strip()[-300:]}")
        made.rename(folder)
