"""Where the commands get their options from, secrets among them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aioproducer.testing import FakeCluster, unsecured_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.cli.conftest import Outcome, Run

PASSWORD = "hunter2-in-the-cli"  # noqa: S105 - made for these tests

COMMANDS = [
    pytest.param(["produce", "orders"], id="produce"),
    pytest.param(["perf", "--topic", "orders", "--num-records", "20"], id="perf"),
    pytest.param(["metadata"], id="metadata"),
]


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(
        topics={"orders": 1},
        security="SASL_SSL",
        users={"alice": PASSWORD},
        sasl_mechanisms=["SCRAM-SHA-256"],
    ) as cluster:
        yield cluster


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a properties file; keywords have `_` for dots."""

    def config_file(**options: str) -> Path:
        path = tmp_path / "client.properties"
        path.write_text("".join(f"{name.replace('_', '.')}={value}\n" for name, value in options.items()))
        return path

    return config_file


@pytest.fixture
def secured(cluster: FakeCluster, tmp_path: Path) -> dict[str, str]:
    """Return the options for the cluster, as texts."""
    ca = tmp_path / "ca.pem"
    ca.write_text(cluster.ca_certificate)
    return {
        "bootstrap_servers": cluster.bootstrap,
        "security_protocol": "SASL_SSL",
        "ssl_truststore_location": str(ca),
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_username": "alice",
        "sasl_password": PASSWORD,
    }


def assert_worked(outcome: Outcome, *, err: str = "") -> None:
    assert (outcome.code, outcome.err) == (0, err)
    assert outcome.out


@pytest.mark.parametrize("argv", COMMANDS)
async def test_file_has_the_secrets(
    run: Run, stdin: int, secured: dict[str, str], config_file: Callable[..., Path], argv: list[str]
) -> None:
    os.write(stdin, b"tea\n")
    os.close(stdin)

    assert_worked(await run(*argv, "--config-file", config_file(**secured)))


@pytest.mark.parametrize("argv", COMMANDS)
async def test_environment_has_the_secrets(
    run: Run, stdin: int, secured: dict[str, str], monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    os.write(stdin, b"tea\n")
    os.close(stdin)
    for name, value in secured.items():
        monkeypatch.setenv(f"KAFKA_{name.upper()}", value)

    assert_worked(await run(*argv))


@pytest.mark.parametrize("argv", COMMANDS)
async def test_secret_as_argument_warns(
    run: Run, stdin: int, secured: dict[str, str], config_file: Callable[..., Path], argv: list[str]
) -> None:
    """It works, and the warning shows the name alone."""
    os.write(stdin, b"tea\n")
    os.close(stdin)
    del secured["sasl_password"]
    option = ["--producer-props"] if argv[0] == "perf" else ["-X"]

    outcome = await run(*argv, "-F", config_file(**secured), *option, f"sasl.password={PASSWORD}")

    assert outcome.code == 0
    assert outcome.err == (
        "aioproducer: sasl.password among the arguments: other users of this machine can read them, and "
        "the shell keeps them; use --config-file or KAFKA_SASL_PASSWORD\n"
    )


@pytest.mark.parametrize(
    "option",
    [
        "sasl.jaas.config=PlainLoginModule required username=alice password=hunter2;",
        "ssl.key.password=hunter2",
        "ssl.key.pem=hunter2",
        "sasl_plain_password=hunter2",
        "sasl.oauthbearer.client.secret=hunter2",
    ],
)
async def test_every_secret_warns(run: Run, option: str) -> None:
    outcome = await run("metadata", "-b", "localhost:1", "-X", option)

    assert outcome.code == 2
    assert f"{option.partition('=')[0]} among the arguments" in outcome.err
    assert "hunter2" not in outcome.err


async def test_arguments_precede_file_and_environment(
    run: Run,
    secured: dict[str, str],
    config_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An option under librdkafka's name replaces the same one under Java's."""
    path = config_file(**{**secured, "sasl_mechanism": "PLAIN"})
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "of the environment")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "nowhere.invalid:9092")

    assert_worked(await run("metadata", "-F", path, "-X", "sasl.mechanisms=SCRAM-SHA-256"))


async def test_codec_precedes_the_file(
    run: Run, secured: dict[str, str], config_file: Callable[..., Path], stdin: int
) -> None:
    os.write(stdin, b"tea\n")
    os.close(stdin)
    path = config_file(**secured, compression_codec="gzip")

    assert_worked(await run("produce", "orders", "-z", "lz4", "-F", path))


async def test_embedded_broker_ignores_security(
    run: Run, secured: dict[str, str], config_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded broker has neither TLS nor SASL, whatever the environment has for the real ones."""
    for name, value in secured.items():
        monkeypatch.setenv(f"KAFKA_{name.upper()}", value)
    del secured["bootstrap_servers"]

    for option in ([], ["-F", config_file(**secured)]):
        outcome = await run("metadata", "--embedded", *option)
        assert outcome.code == 0


async def test_provider_cannot_be_in_a_file(run: Run, config_file: Callable[..., Path]) -> None:
    """Tokens come from an endpoint or from Python: a provider cannot be written into a file."""
    path = config_file(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="OAUTHBEARER",
        sasl_token_provider=unsecured_token("alice"),
    )

    outcome = await run("metadata", "-b", "localhost:1", "-F", path)

    assert outcome.code == 2
    assert "sasl.token.provider must be a callable" in outcome.err
    assert unsecured_token("alice")[:20] not in outcome.err


@pytest.mark.parametrize("argv", COMMANDS)
async def test_wrong_password_fails_promptly(
    run: Run, stdin: int, secured: dict[str, str], config_file: Callable[..., Path], argv: list[str]
) -> None:
    os.close(stdin)
    path = config_file(**{**secured, "sasl_password": f"wrong-{PASSWORD}"})

    outcome = await run(*argv, "-F", path)

    assert outcome.code == 1
    assert "check sasl_username ('alice') and sasl_password" in outcome.err
    assert PASSWORD not in outcome.err + outcome.out


@pytest.mark.parametrize(
    "argv",
    [
        ["metadata", "-X", "sasl.password hunter2"],
        ["metadata", "-X", "sasl.pasword=hunter2"],
        ["metadata", "-X", "=hunter2"],
        ["metadata", "--sasl-password", "hunter2"],
        ["metadata", "--sasl.password=hunter2"],
        ["perf", "sasl.password=hunter2"],
        ["-X", "sasl.password=hunter2", "metadata"],
        ["metadata", "-X", "security.protocol=SASL_SSL", "-X", "sasl.password=hunter2"],
        ["metadata", "-X", "ssl.truststore.certificates=hunter2", "-X", "security.protocol=SSL"],
        ["metadata", "-X", "ssl.keystore.key=hunter2", "-X", "security.protocol=SSL"],
        ["metadata", "-X", "sasl.jaas.config=hunter2"],
        ["metadata", "-X", "sasl.oauthbearer.token.endpoint.url=https://me:hunter2@example.com"],
    ],
)
async def test_usage_errors_show_no_secret(run: Run, argv: list[str]) -> None:
    outcome = await run(*argv)

    assert outcome.code == 2
    assert outcome.err
    assert "hunter2" not in outcome.err + outcome.out


@pytest.mark.parametrize("command", ["produce", "perf", "metadata"])
async def test_help_shows_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", PASSWORD)

    outcome = await run(command, "--help")

    assert "--config-file" in outcome.out
    assert PASSWORD not in outcome.out


async def test_file_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"sasl.password=hunter2\xff\n")

    missing = await run("metadata", "-F", tmp_path / "missing")
    undecodable = await run("metadata", "-F", garbage)

    assert (missing.code, undecodable.code) == (2, 2)
    assert missing.err == f"aioproducer: {tmp_path / 'missing'}: No such file or directory\n"
    assert undecodable.err == f"aioproducer: {garbage} is not a properties file in UTF-8\n"
