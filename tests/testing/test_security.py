"""The security options of a fake cluster, and what it hands out to clients."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.errors import ConfigurationError
from aioproducer.testing import AcceptedToken, Certificates, FakeCluster
from aioproducer.testing.oauth_token import read_unsecured
from tests.testing.secured import USERS

if TYPE_CHECKING:
    import ssl


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"security": "TLS"},
            "security is one of 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL', not 'TLS'",
        ),
        (
            {"users": USERS},
            "users has no effect with security='PLAINTEXT'; it needs SASL_PLAINTEXT or SASL_SSL",
        ),
        ({"tokens": {"t": "alice"}}, "tokens has no effect with security='PLAINTEXT'"),
        ({"session_lifetime_ms": 5}, "session_lifetime_ms has no effect with security='PLAINTEXT'"),
        ({"sasl_mechanisms": ["PLAIN"]}, "sasl_mechanisms has no effect with security='PLAINTEXT'"),
        ({"client_auth": "required"}, "client_auth has no effect with security='PLAINTEXT'; it needs SSL"),
        ({"security": "SSL", "users": USERS}, "users has no effect with security='SSL'"),
        ({"security": "SSL", "client_auth": "want"}, "client_auth is one of 'none', 'requested', 'required'"),
        ({"security": "SASL_SSL"}, "SASL needs users"),
        (
            {"security": "SASL_PLAINTEXT", "users": USERS, "sasl_mechanisms": ["SCRAM-SHA256"]},
            "FakeCluster does not implement the SASL mechanism 'SCRAM-SHA256'; did you mean SCRAM-SHA-256?",
        ),
        (
            {"security": "SASL_PLAINTEXT", "users": USERS, "sasl_mechanisms": []},
            "sasl_mechanisms needs one of PLAIN",
        ),
        (
            {
                "security": "SASL_PLAINTEXT",
                "users": USERS,
                "sasl_mechanisms": ["PLAIN"],
                "tokens": {"t": "alice"},
            },
            "tokens are for OAUTHBEARER, and sasl_mechanisms are PLAIN",
        ),
        (
            {"security": "SASL_PLAINTEXT", "users": USERS, "session_lifetime_ms": 0},
            "session_lifetime_ms is at least 1, not 0",
        ),
        (
            {"security": "SASL_PLAINTEXT", "users": USERS, "scram_iterations": 1},
            "scram_iterations are at least 4096",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        FakeCluster(**options)

    assert reason in str(caught.value)


def test_one_mechanism_as_text_is_refused() -> None:
    with pytest.raises(TypeError, match="sasl_mechanisms is a list of names, not the text 'PLAIN'"):
        FakeCluster(security="SASL_PLAINTEXT", users=USERS, sasl_mechanisms="PLAIN")


def test_missing_cryptography_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_cryptography(name: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - any module
        if name.startswith("cryptography"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_cryptography)

    with pytest.raises(ConfigurationError, match=r'pip install "aioproducer\[testing-tls\]"'):
        FakeCluster(security="SSL")
    FakeCluster(security="SASL_PLAINTEXT", users=USERS)


@pytest.mark.parametrize("name", ["ssl_context", "ca_certificate", "client_key", "server_ssl_context"])
def test_no_certificates_without_tls(name: str) -> None:
    with pytest.raises(ValueError, match="security='PLAINTEXT' has no certificates; SSL and SASL_SSL have"):
        getattr(FakeCluster(), name)


async def test_client_options_of_every_security() -> None:
    async with FakeCluster() as cluster:
        assert cluster.client_options == {
            "bootstrap_servers": cluster.bootstrap,
            "security_protocol": "PLAINTEXT",
        }
    async with FakeCluster(security="ssl") as cluster:
        options = cluster.client_options
        context: ssl.SSLContext = options.pop("ssl_context")
        assert context.check_hostname
        assert options == {"bootstrap_servers": cluster.bootstrap, "security_protocol": "SSL"}
    async with FakeCluster(security="SASL_SSL", users=USERS, sasl_mechanisms=["SCRAM-SHA-512"]) as cluster:
        options = cluster.client_options
        del options["ssl_context"]
        assert options == {
            "bootstrap_servers": cluster.bootstrap,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "alice",
            "sasl_password": "alice-secret",
        }


def test_client_options_have_valid_token() -> None:
    cluster = FakeCluster(security="SASL_PLAINTEXT", sasl_mechanisms=["OAUTHBEARER"])
    unsecured = cluster.client_options["sasl_token_provider"]()
    assert (accepted := read_unsecured(unsecured, now=2e9)) is None or accepted.principal == "service"

    cluster.set_token("secret-token", AcceptedToken("alice"))
    assert cluster.client_options["sasl_token_provider"]() == "secret-token"


def test_secrets_do_not_show() -> None:
    cluster = FakeCluster(security="SASL_SSL", users={"alice": "hunter2"}, tokens={"hunter3": "alice"})

    shown = repr([cluster, cluster.certificates, cluster.certificates.client, vars(cluster)])

    assert "PRIVATE KEY" not in shown
    assert "hunter" not in shown


def test_certificates_have_pem_text() -> None:
    cluster = FakeCluster(security="SSL", client_auth="required")

    assert cluster.ca_certificate.startswith("-----BEGIN CERTIFICATE-----")
    assert cluster.client_certificate.startswith("-----BEGIN CERTIFICATE-----")
    assert cluster.client_key.startswith("-----BEGIN PRIVATE KEY-----")
    assert cluster.ca_certificate != FakeCluster(security="SSL").ca_certificate


def test_given_certificates_are_used() -> None:
    certificates = Certificates.make(names=["elsewhere"])

    assert FakeCluster(security="SSL", certificates=certificates).certificates is certificates
