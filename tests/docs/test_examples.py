"""The example programs work: each runs against a fake cluster, and its records are read back."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp.test_utils import TestServer

from aioproducer.testing import FakeCluster
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EXAMPLES = ROOT / "docs" / "examples"
TIMEOUT = 60.0
TOO_LARGE = 1_048_570
"""Bytes of a value that aiohttp accepts as a request, and that is too large for a record."""


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 3}) as cluster:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap)
        yield cluster


@asynccontextmanager
async def served_by_uvicorn(name: str) -> AsyncIterator[str]:
    """Run the service as its docstring says; frameworks that set up logging do it over there."""
    command = ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "--no-access-log", f"{name}:app"]
    server = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert server.stderr is not None
    printed = ""
    try:
        async with asyncio.timeout(TIMEOUT):
            while not (address := re.search(r"running on (http://\S+)", printed)):
                line = await server.stderr.readline()
                assert line, printed
                printed += line.decode()
        yield address[1]
        server.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT):
            printed += (await server.stderr.read()).decode()
            await server.wait()
        assert "Application shutdown complete" in printed
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


@asynccontextmanager
async def served_by_aiohttp(name: str) -> AsyncIterator[str]:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with TestServer(module.create_app()) as server:
        yield str(server.make_url("")).rstrip("/")


SERVICES = {
    "fastapi_app": served_by_uvicorn,
    "litestar_app": served_by_uvicorn,
    "aiohttp_app": served_by_aiohttp,
}


@pytest.mark.parametrize("name", SERVICES)
async def test_service(cluster: FakeCluster, name: str) -> None:
    """Requests become records with their keys, and the answers say where the records are."""
    async with (
        SERVICES[name](name) as address,
        httpx.AsyncClient(base_url=address, timeout=TIMEOUT) as client,
    ):
        answers = await asyncio.gather(
            *(client.post(f"/orders/{number}", content=b"tea %d" % number) for number in range(20))
        )
        too_large = await client.post("/orders/20", content=b"x" * TOO_LARGE)

    assert [answer.status_code for answer in answers] == [200] * 20
    stored = {(record.partition, record.offset): record for record in cluster.records("orders")}
    assert len(stored) == 20
    for number, answer in enumerate(answers):
        record = stored[answer.json()["partition"], answer.json()["offset"]]
        assert (record.key, record.value) == (b"%d" % number, b"tea %d" % number)
    assert too_large.status_code == 413
    assert too_large.json()["may_be_written"] is False


async def run(name: str, *arguments: str) -> tuple[int | None, str, str]:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / f"{name}.py"),
        *arguments,
        env=os.environ.copy(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT):
        out, err = await program.communicate()
    return program.returncode, out.decode(), err.decode()


async def test_script(cluster: FakeCluster) -> None:
    code, out, err = await run("script", cluster.bootstrap, "orders", '{"id": 1}')

    (record,) = cluster.records("orders")
    assert (code, out, err) == (0, f"orders-{record.partition} at offset 0\n", "")
    assert json.loads(record.value or b"") == {"id": 1}
    assert record.headers == (("content-type", b"application/json"),)


async def test_script_reports_an_error(cluster: FakeCluster) -> None:
    code, out, err = await run("script", cluster.bootstrap, "no such topic", "{}")

    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("InvalidTopicError: ")


async def test_bulk_pipeline(cluster: FakeCluster, tmp_path: Path) -> None:
    """One line is too large: it is reported by its number, and the others are stored in order."""
    lines = [b"line %d" % number for number in range(5_000)]
    lines[41] = b"x" * TOO_LARGE
    (tmp_path / "lines").write_bytes(b"".join(line + b"\n" for line in lines))

    code, out, err = await run("bulk", "orders", str(tmp_path / "lines"))

    assert (code, out) == (1, "4999 delivered, 1 failed\n")
    assert re.match("line 42: .*", err)
    assert sorted(record.value or b"" for record in cluster.records("orders")) == sorted(
        lines[:41] + lines[42:]
    )


async def test_benchmark(cluster: FakeCluster) -> None:
    code, out, err = await run("benchmark", cluster.bootstrap, "--records", "20000", "--topic", "orders")

    assert (code, err) == (0, "")
    assert re.fullmatch(r" +[\d,]+ records/s.*\n( +[\d.]+ ms per awaited send, \d+th percentile\n){2}", out)
    assert len(cluster.records("orders")) == 20_020


@pytest.fixture
async def secured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[FakeCluster]:
    """Run a cluster with TLS and SASL; its options are in the environment."""
    async with FakeCluster(
        topics={"orders": 1}, security="SASL_SSL", users={"alice": "the-password"}
    ) as cluster:
        (tmp_path / "ca.pem").write_text(cluster.ca_certificate)
        for name, value in {
            "BOOTSTRAP_SERVERS": cluster.bootstrap,
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SSL_TRUSTSTORE_LOCATION": str(tmp_path / "ca.pem"),
            "SASL_MECHANISM": "SCRAM-SHA-512",
            "SASL_USERNAME": "alice",
            "SASL_PASSWORD": "the-password",
        }.items():
            monkeypatch.setenv(f"KAFKA_{name}", value)
        yield cluster


async def test_secured(secured: FakeCluster) -> None:
    code, out, err = await run("secured", "orders", "tea")

    assert (code, out) == (0, "orders-0 at offset 0\n")
    assert "sasl_password=[hidden]" in err
    assert "the-password" not in err
    assert [record.value for record in secured.records("orders")] == [b"tea"]


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("KAFKA_SASL_PASSWORD", "another", "AuthenticationError: "),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", "ConfigurationError: "),
    ],
)
async def test_secured_reports_wrong_options(
    secured: FakeCluster, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, error: str
) -> None:
    monkeypatch.setenv(variable, value)

    code, _, err = await run("secured", "orders", "tea")

    assert code == 2
    assert error in err
    assert secured.records("orders") == []


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        *SERVICES,
        "script",
        "bulk",
        "benchmark",
        "secured",
    }
