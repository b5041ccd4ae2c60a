"""The mechanism of each authentication, made from the options."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.config import ProducerConfig
from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.net.credentials import Credentials
from aioproducer.sasl.aws_msk_iam import AwsMskIam
from aioproducer.sasl.gssapi import Gssapi
from aioproducer.sasl.mechanism import Exchange
from aioproducer.sasl.oauthbearer import OAuthBearer
from aioproducer.sasl.plain import Plain
from aioproducer.sasl.scram import Scram, ScramHash
from tests.net.token_server import TokenServer, jwt, oauth_config
from tests.sasl.exchanges import attempt

if TYPE_CHECKING:
    from pathlib import Path

    from aioproducer.sasl.mechanism import Mechanism

SECRET = "s3cret-hunter2"  # noqa: S105 -- for tests


def credentials_of(mechanism: str, **options: Any) -> Credentials:  # noqa: ANN401
    config = ProducerConfig(
        bootstrap_servers="localhost:9092",
        security_protocol="SASL_SSL",
        sasl_mechanism=mechanism,
        **{"request_timeout_ms": 300, "delivery_timeout_ms": 5000, **options},
    )
    return Credentials(config, lambda: 0.0)


async def mechanism_of(mechanism: str, **options: Any) -> Mechanism:  # noqa: ANN401
    return await asyncio.wait_for(credentials_of(mechanism, **options).mechanism(), 20)


async def refusal(mechanism: str, **options: Any) -> AuthenticationError:  # noqa: ANN401
    with pytest.raises(AuthenticationError) as caught:
        await mechanism_of(mechanism, **options)
    assert caught.value.mechanism == mechanism
    assert str(caught.value).startswith(f"{mechanism} authentication failed: ")
    assert SECRET not in str(caught.value)
    return caught.value


async def give_password() -> str:
    return SECRET


async def test_plain() -> None:
    given = await mechanism_of("PLAIN", sasl_username="alice", sasl_password=SECRET)
    assert given == Plain("alice", SECRET)


@pytest.mark.parametrize("kind", ScramHash)
@pytest.mark.parametrize("tokenauth", [False, True])
async def test_scram(kind: ScramHash, *, tokenauth: bool) -> None:
    name = f"SCRAM-{kind.name.replace('_', '-')}"
    options = {"sasl_username": "alice", "sasl_password": SECRET, "sasl_scram_tokenauth": tokenauth}
    given = await mechanism_of(name, **options)
    assert given == Scram(kind, "alice", SECRET, delegation_token=tokenauth)
    assert given.name == name


async def test_callables_are_asked_each_time() -> None:
    """A password changes while the producer runs."""
    count = itertools.count(1)
    credentials = credentials_of(
        "PLAIN", sasl_username=lambda: f"user{next(count)}", sasl_password=give_password
    )
    given = [await credentials.mechanism() for _ in range(2)]
    assert given == [Plain("user1", SECRET), Plain("user2", SECRET)]


@pytest.mark.parametrize("option", ["sasl_username", "sasl_password"])
@pytest.mark.parametrize(
    ("given", "shown"), [(None, "NoneType"), (b"x", "bytes"), (5, "int"), ("", "an empty one")]
)
async def test_callables_give_strings(option: str, given: object, shown: str) -> None:
    options = {"sasl_username": "alice", "sasl_password": SECRET, option: lambda: given}
    error = await refusal("PLAIN", **options)
    assert str(error).endswith(f"{option} must give a non-empty string, it gave {shown}")


@pytest.mark.parametrize("error", [KeyError(SECRET), TimeoutError(SECRET), asyncio.CancelledError(SECRET)])
async def test_failing_callables(error: BaseException) -> None:
    async def fail() -> str:
        raise error

    refused = await refusal("PLAIN", sasl_username="alice", sasl_password=fail)
    name = "RuntimeError" if isinstance(error, asyncio.CancelledError) else type(error).__name__
    assert str(refused).endswith(f"sasl_password raised {name}")
    assert refused.__cause__ is not None


async def test_own_errors_of_callables() -> None:
    error = AuthenticationError("PLAIN authentication failed: no vault", mechanism="PLAIN")

    def fail() -> str:
        raise error

    assert await refusal("PLAIN", sasl_username="alice", sasl_password=fail) is error


@pytest.mark.parametrize("is_async", [False, True])
async def test_hanging_callables(*, is_async: bool) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return SECRET

    def block() -> str:
        time.sleep(1)
        return SECRET

    refused = await refusal("PLAIN", sasl_username="alice", sasl_password=hang if is_async else block)
    assert str(refused).endswith("sasl_password took more than 0.3 s (request_timeout_ms)")


# GSSAPI, AWS_MSK_IAM, OAUTHBEARER.


async def test_gssapi(tmp_path: Path) -> None:
    service = {"sasl_kerberos_service_name": "kfk"}
    assert await mechanism_of("GSSAPI", **service) == Gssapi("kfk")
    keytab = tmp_path / "alice.keytab"
    options = {"sasl_kerberos_principal": "alice@LAB.TEST", "sasl_kerberos_keytab": keytab}
    given = await mechanism_of("GSSAPI", **service, **options)
    assert given == Gssapi("kfk", principal="alice@LAB.TEST", keytab=str(keytab))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Give AWS's package credentials in the environment, and no other source: no network."""
    pytest.importorskip("botocore.session", reason="the extra aws-msk-iam is not installed")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return monkeypatch


def first_bytes(mechanism: Mechanism, host: str) -> bytes:
    return Exchange(mechanism, replace(attempt(), host=host)).first()


async def test_aws_msk_iam(aws: pytest.MonkeyPatch) -> None:
    credentials = credentials_of("AWS_MSK_IAM", request_timeout_ms=20_000, delivery_timeout_ms=30_000)
    given = await credentials.mechanism()
    assert isinstance(given, AwsMskIam)
    host = "b-1.orders.abc123.c2.kafka.eu-west-1.amazonaws.com"
    sent = first_bytes(given, host)
    assert b"AKIAEXAMPLE/20231114/eu-west-1/kafka-cluster/aws4_request" in sent
    assert SECRET.encode() not in sent
    # Renewed credentials are read at the next authentication.
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIARENEWED")
    assert b"AKIARENEWED/" in first_bytes(await credentials.mechanism(), host)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
async def test_aws_region_of_other_host_names(aws: pytest.MonkeyPatch, variable: str) -> None:
    aws.setenv(variable, "us-east-2")
    limits = {"request_timeout_ms": 20_000, "delivery_timeout_ms": 30_000}
    given = await mechanism_of("AWS_MSK_IAM", **limits)
    assert b"/us-east-2/kafka-cluster/" in first_bytes(given, "kafka.example.com")
    assert b"/eu-west-1/kafka-cluster/" in first_bytes(given, "b-1.x.y.c2.kafka.eu-west-1.amazonaws.com")


@pytest.mark.usefixtures("aws")
async def test_aws_region_is_required() -> None:
    given = await mechanism_of("AWS_MSK_IAM", request_timeout_ms=20_000, delivery_timeout_ms=30_000)
    with pytest.raises(AuthenticationError, match=r"'kafka\.example\.com' has no AWS region: set AWS_REGION"):
        first_bytes(given, "kafka.example.com")


async def test_missing_aws_credentials(aws: pytest.MonkeyPatch) -> None:
    aws.delenv("AWS_ACCESS_KEY_ID")
    limits = {"request_timeout_ms": 20_000, "delivery_timeout_ms": 30_000}
    assert "there are no AWS credentials" in str(await refusal("AWS_MSK_IAM", **limits))
    aws.setenv("AWS_PROFILE", "missing")
    assert "the credentials of AWS raised ProfileNotFound" in str(await refusal("AWS_MSK_IAM", **limits))


async def test_missing_aws_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[aws-msk-iam\]'"):
        await mechanism_of("AWS_MSK_IAM")


async def test_oauthbearer() -> None:
    given = await mechanism_of("OAUTHBEARER", sasl_token_provider=lambda: "opaque")
    assert isinstance(given, OAuthBearer)
    assert given.token.value == "opaque"


async def test_token_of_endpoint_is_kept() -> None:
    async with TokenServer() as server:
        credentials = Credentials(oauth_config(server.url), lambda: 0.0)
        for _ in range(3):
            given = await credentials.mechanism()
            assert isinstance(given, OAuthBearer)
            assert given.token.value == jwt(sub="alice", number=1)
        assert len(server.requests) == 1
