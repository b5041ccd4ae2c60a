import os
import signal
import subprocess
import sys

import pytest

from aioproducer.cli import main
from aioproducer.testing import FakeCluster
from aioproducer.version import __version__
from tests.cli.conftest import Run


def command(*argv: str) -> "subprocess.Popen[bytes]":
    environ = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
    return subprocess.Popen(  # noqa: S603 - this project's program
        [sys.executable, "-W", "error", "-m", "aioproducer.cli", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )


def test_help_succeeds_and_no_command_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "produce" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["produce"]) == 2
    assert "TOPIC" in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aioproducer {__version__}\n"


def test_forgotten_servers_lose_no_data() -> None:
    with command("produce", "orders") as process:
        out, err = process.communicate(b"a\nb\n", timeout=20)
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(b"aioproducer: no servers named: pass -b HOST:PORT or set KAFKA_BOOTSTRAP_SERVERS;")
    assert err.count(b"\n") == 1


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
async def test_terminal_gets_embedded_broker(run: Run, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True)
    outcome = await run("metadata")
    assert outcome.code == 0
    assert outcome.err.startswith("Using an embedded broker at 127.0.0.1:")


@pytest.mark.parametrize("argv", [["metadata"], ["produce", "orders"], ["perf", "--num-records", 10]])
async def test_embedded_overrides_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, stdin: int, argv: list[object]
) -> None:
    os.close(stdin)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "nowhere.invalid:9092")
    outcome = await run(*argv, "--embedded")
    assert outcome.code == 0
    assert "Using an embedded broker" in outcome.err


@pytest.mark.parametrize(
    "options", [["-b", "a:1"], ["-X", "bootstrap.servers=a:1"], ["-X", "metadata.broker.list=a:1"]]
)
async def test_servers_conflict_with_embedded(run: Run, options: list[str]) -> None:
    outcome = await run("produce", "orders", "--embedded", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--embedded" in outcome.err


@pytest.mark.parametrize("argv", [["produce", "t", "a", "--bogus", "b"], ["perf", "a"], ["metadata", "-q"]])
async def test_unknown_arguments_are_usage_errors(run: Run, argv: list[str]) -> None:
    outcome = await run(*argv)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"usage: aioproducer {argv[0]}" in outcome.err
    assert "unrecognized arguments: " in outcome.err


async def test_environment_names_servers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeCluster(cluster_id="from the environment") as cluster:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", cluster.bootstrap)
        outcome = await run("metadata")
    assert (outcome.code, outcome.err) == (0, "")
    assert "from the environment" in outcome.out


def test_data_and_messages_are_separate() -> None:
    """Results go to stdout, everything else to stderr."""
    with command("produce", "orders", "--json", "--embedded") as process:
        out, err = process.communicate(b"a\nb\n", timeout=20)
    assert process.returncode == 0
    assert out.count(b"\n") == 2
    assert err.startswith(b"Using an embedded broker")
    assert err.count(b"\n") == 1


def test_ctrl_c_exits_with_130() -> None:
    with command("produce", "orders", "--embedded") as process:
        assert process.stderr is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stderr.readline()
        process.stdin.write(b"a\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"Produced to partition")
        process.send_signal(signal.SIGINT)
        # stdin stays open: the thread that reads it must not keep the process alive.
        assert process.wait(timeout=10) == 130
        assert b"Traceback" not in process.stderr.read()


def test_closed_reader_prints_no_traceback() -> None:
    with command("produce", "orders", "--embedded") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"a\n")
        process.stdin.close()
        assert process.wait(timeout=10) == 1
        err = process.stderr.read()
    assert b"Traceback" not in err
    assert b"stdout was closed" in err


def test_closed_stdout_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["metadata"]) == 2
    assert "must be open" in capsys.readouterr().err
