"""AWS_MSK_IAM: the signature against AWS's own code, regions, answers and missing packages."""

from __future__ import annotations

import datetime as dt
import json
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.sasl.aws_msk_iam import AwsCredentials, AwsMskIam, MskIamTokens, region_of
from tests.sasl.exchanges import NOW, attempt, refusal, talk

HOST = "b-1.orders.abc123.c2.kafka.eu-west-1.amazonaws.com"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 -- AWS's own example
CONFIRMED = b'{"version":"2020_10_22","request-id":"1"}'
AT = attempt(host=HOST)

# Computed with botocore's SigV4QueryAuth, see `test_signature_is_that_of_botocore`.
SIGNATURE = "f66d454b081f46a47663bdd689cd9e900ffa7693dc3f9eb670df1d551e270666"


def payload(credentials: AwsCredentials, region: str | None = None, host: str = HOST) -> dict[str, str]:
    [first] = talk(AwsMskIam(credentials, region), at=attempt(host=host))
    assert first is not None
    message: dict[str, str] = json.loads(first)
    return message


def test_payload() -> None:
    message = payload(AwsCredentials("AKIDEXAMPLE", SECRET))
    assert message.pop("user-agent").startswith("aioproducer/")
    assert message == {
        "version": "2020_10_22",
        "host": HOST,
        "action": "kafka-cluster:Connect",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": "AKIDEXAMPLE/20231114/eu-west-1/kafka-cluster/aws4_request",
        "x-amz-date": "20231114T221320Z",
        "x-amz-signedheaders": "host",
        "x-amz-expires": "900",
        "x-amz-signature": SIGNATURE,
    }


def test_session_token_is_sent() -> None:
    plain = payload(AwsCredentials("AKIDEXAMPLE", SECRET))
    temporary = payload(AwsCredentials("AKIDEXAMPLE", SECRET, "token+/="))
    assert temporary["x-amz-security-token"] == "token+/="
    assert temporary["x-amz-signature"] != plain["x-amz-signature"]


@pytest.mark.parametrize("token", [None, "IQoJb3JpZ2luX2VjE+/=~ü"])
def test_signature_is_that_of_botocore(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = pytest.importorskip("botocore.auth", reason="the extra aws-msk-iam is not installed")
    monkeypatch.setattr(auth, "get_current_datetime", _now)
    credentials = import_module("botocore.credentials").Credentials("AKIDEXAMPLE", SECRET, token)
    request = import_module("botocore.awsrequest").AWSRequest(
        method="GET", url=f"https://{HOST}/", params={"Action": "kafka-cluster:Connect"}
    )
    auth.SigV4QueryAuth(credentials, "kafka-cluster", "eu-west-1", expires=900).add_auth(request)
    theirs = {key.lower(): value for key, [value] in parse_qs(urlsplit(request.url).query).items()}

    ours = payload(AwsCredentials("AKIDEXAMPLE", SECRET, token))

    assert {key: ours[key] for key in theirs} == theirs


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, "eu-west-1"),
        (HOST.upper(), "eu-west-1"),
        ("boot-x.c1.kafka-serverless.us-east-1.amazonaws.com", "us-east-1"),
        ("b-1.x.c2.kafka.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("b-1.x.c2.kafka.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("kafka.example.com", None),
        ("localhost", None),
    ],
)
def test_region_of_host(host: str, region: str | None) -> None:
    assert region_of(host) == region


def test_region_is_needed() -> None:
    mechanism = AwsMskIam(AwsCredentials("AKIDEXAMPLE", SECRET))
    error = refusal(mechanism, at=attempt(host="kafka.example.com"))
    assert "the host name 'kafka.example.com' has no AWS region: set AWS_REGION" in str(error)
    given = payload(AwsCredentials("AKIDEXAMPLE", SECRET), "eu-west-3", "kafka.example.com")
    assert "/eu-west-3/" in given["x-amz-credential"]


@pytest.mark.parametrize(("key_id", "secret"), [("", SECRET), ("AKIDEXAMPLE", "")])
def test_empty_credentials(key_id: str, secret: str) -> None:
    assert "is empty" in str(refusal(AwsMskIam(AwsCredentials(key_id, secret)), at=AT))


@pytest.mark.parametrize(
    "credentials",
    [AwsCredentials("AK\udcff", SECRET), AwsCredentials("AKIDEXAMPLE", SECRET, f"{SECRET}\udcff")],
)
def test_bytes_of_environment(credentials: AwsCredentials) -> None:
    """Python decodes an environment that is not UTF-8 to lone surrogates."""
    error = refusal(AwsMskIam(credentials), at=AT)
    assert "has a lone surrogate" in str(error)
    assert error.__context__ is None


def test_confirmation() -> None:
    assert talk(AwsMskIam(AwsCredentials("AKIDEXAMPLE", SECRET)), CONFIRMED, at=AT)[1] is None


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b"\xff", b"[" * 60_000, b'"version"', b"version"])
def test_other_answers_are_failures(answer: bytes) -> None:
    error = refusal(AwsMskIam(AwsCredentials("AKIDEXAMPLE", SECRET)), answer, at=AT)
    assert "instead of a confirmation" in str(error)
    assert len(str(error)) < 1600


def test_refusal_names_policy() -> None:
    mechanism = AwsMskIam(AwsCredentials("AKIDEXAMPLE", SECRET))
    assert (
        "check that the IAM policy of 'AKIDEXAMPLE' allows kafka-cluster:Connect on the cluster, "
        "that the region is 'eu-west-1'"
    ) in mechanism.likely_cause(AT)


def test_missing_package_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("botocore.session", "aws_msk_iam_sasl_signer.MSKAuthTokenProvider"):
        monkeypatch.setitem(sys.modules, name, None)
    for load in (AwsCredentials.load, MskIamTokens("eu-west-1")):
        with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[aws-msk-iam\]'"):
            load()


@pytest.fixture
def _aws_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:  # noqa: ANN401
    """Provide an AWS without files and without a metadata service, so that nothing asks the network."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_aws_environment")
def test_credentials_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("botocore.session", reason="the extra aws-msk-iam is not installed")
    with pytest.raises(AuthenticationError, match="there are no AWS credentials"):
        AwsCredentials.load()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert AwsCredentials.load() == AwsCredentials("AKIDEXAMPLE", SECRET, "token")


@pytest.mark.usefixtures("_aws_environment")
def test_msk_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aws_msk_iam_sasl_signer", reason="the extra aws-msk-iam is not installed")
    with pytest.raises(AuthenticationError, match=r"OAUTHBEARER .* there are no AWS credentials"):
        MskIamTokens("eu-west-1")()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    token = MskIamTokens("eu-west-1")()
    assert token.expires_at is not None
    assert token.expires_at > NOW
    assert SECRET not in repr(token)


def test_tokens_of_profile_and_role(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = SimpleNamespace(
        generate_auth_token_from_profile=lambda *given: (" ".join(given), 5000),
        generate_auth_token_from_role_arn=lambda *given: (" ".join(given), 6000),
    )
    session = SimpleNamespace(get_credentials=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer.MSKAuthTokenProvider", signer)
    monkeypatch.setitem(sys.modules, "botocore.session", SimpleNamespace(Session=lambda **_: session))
    of_profile = MskIamTokens("eu-west-1", profile="dev")()
    assert (of_profile.value, of_profile.expires_at) == ("eu-west-1 dev", 5.0)
    of_role = MskIamTokens("eu-west-1", role_arn="arn:aws:iam::1:role/kafka")()
    assert (of_role.value, of_role.expires_at) == ("eu-west-1 arn:aws:iam::1:role/kafka", 6.0)


def _now(*_: object) -> Any:  # noqa: ANN401 -- a datetime, as botocore's
    return dt.datetime.fromtimestamp(NOW, dt.UTC).replace(tzinfo=None)
