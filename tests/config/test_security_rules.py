"""The rules between the options of TLS and SASL: what has no effect or is incomplete is refused."""

from __future__ import annotations

import importlib.util
import ssl
from typing import Any

import pytest

from aioproducer.config import ProducerConfig, security_rules
from aioproducer.errors import ConfigurationError

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"

OIDC: dict[str, Any] = {"sasl_oauthbearer_token_endpoint_url": "https://idp/token"}
CREDENTIALS: dict[str, Any] = {
    "sasl_oauthbearer_client_credentials_client_id": "c",
    "sasl_oauthbearer_client_credentials_client_secret": "hunter2",
}


def config(protocol: str = "PLAINTEXT", servers: Any = "a:1", **options: Any) -> ProducerConfig:  # noqa: ANN401 - any options
    return ProducerConfig(bootstrap_servers=servers, security_protocol=protocol, **options)


def sasl(mechanism: str, **options: Any) -> ProducerConfig:  # noqa: ANN401 - any options
    return config("SASL_SSL", sasl_mechanism=mechanism, **options)


def token() -> str:
    return "t"


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("PLAINTEXT", {}),
        ("SSL", {}),
        ("SSL", {"ssl_context": ssl.create_default_context()}),
        ("SSL", {"ssl_truststore_location": "/ca.pem", "ssl_keystore_location": "/c.pem"}),
        ("SSL", {"ssl_keystore_location": "/c.p12", "ssl_keystore_password": "hunter2"}),
        ("SSL", {"ssl_keystore_key": KEY, "ssl_keystore_certificate_chain": CERTIFICATE}),
        ("SSL", {"ssl_key_location": "/k.pem", "ssl_certificate_location": "/c.pem"}),
        ("SSL", {"ssl_key_location": "/k.pem", "ssl_keystore_certificate_chain": CERTIFICATE}),
        ("SSL", {"ssl_keystore_location": "/c.pem", "ssl_key_password": "hunter2"}),
        ("SSL", {"ssl_endpoint_identification_algorithm": ""}),
        ("SSL", {"enable_ssl_certificate_verification": False}),
        ("SASL_PLAINTEXT", {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "hunter2"}),
        ("SASL_SSL", {"sasl_mechanism": "SCRAM-SHA-256", "sasl_username": token, "sasl_password": token}),
        ("SASL_SSL", {"sasl_kerberos_service_name": "kafka"}),
        ("SASL_SSL", {"sasl_mechanism": "OAUTHBEARER", "sasl_token_provider": token}),
        ("SASL_SSL", {"sasl_mechanism": "OAUTHBEARER", **OIDC, **CREDENTIALS, "sasl_oauthbearer_scope": "s"}),
        (
            "SASL_SSL",
            {
                "sasl_mechanism": "OAUTHBEARER",
                **OIDC,
                "sasl_oauthbearer_assertion_private_key_file": "/k.pem",
                "sasl_oauthbearer_assertion_private_key_passphrase": "hunter2",
                "sasl_oauthbearer_assertion_claim_iss": "me",
            },
        ),
        ("SASL_SSL", {"sasl_mechanism": "OAUTHBEARER", **OIDC, "sasl_oauthbearer_assertion_file": "/jwt"}),
        ("SASL_SSL", {"sasl_mechanism": "AWS_MSK_IAM"}),
    ],
)
def test_consistent_options_are_accepted(protocol: str, options: dict[str, Any]) -> None:
    assert config(protocol, **options).security_protocol == protocol


@pytest.mark.parametrize(
    ("protocol", "options", "culprit", "advice"),
    [
        ("PLAINTEXT", {"ssl_truststore_location": "/ca"}, "ssl_truststore_location", "'SSL' or 'SASL_SSL'"),
        ("PLAINTEXT", {"ssl_context": ssl.create_default_context()}, "ssl_context", "no effect"),
        ("SASL_PLAINTEXT", {"ssl_key_password": "hunter2"}, "ssl_key_password", "'SSL' or 'SASL_SSL'"),
        (
            "PLAINTEXT",
            {"enable_ssl_certificate_verification": False},
            "enable_ssl_certificate_verification",
            "no effect",
        ),
        ("PLAINTEXT", {"sasl_username": "u"}, "sasl_username", "'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("SSL", {"sasl_password": "hunter2"}, "sasl_password", "'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ("SSL", {"sasl_mechanism": "PLAIN"}, "sasl_mechanism", "no effect with security_protocol='SSL'"),
        ("SSL", {"sasl_token_provider": token}, "sasl_token_provider", "to use SASL"),
    ],
)
def test_idle_options_are_refused(protocol: str, options: dict[str, Any], culprit: str, advice: str) -> None:
    check_refusal(protocol, options, culprit, advice)


def check_refusal(protocol: str, options: dict[str, Any], culprit: str, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config(protocol, **options)
    assert caught.value.option == culprit
    assert culprit in str(caught.value)
    assert advice in str(caught.value)
    assert "hunter2" not in f"{caught.value} {caught.value.__dict__}"


@pytest.mark.parametrize(
    ("options", "culprit", "advice"),
    [
        (
            {"ssl_context": ssl.create_default_context(), "ssl_truststore_location": "/ca"},
            "ssl_truststore_location",
            "is given beside ssl_context",
        ),
        (
            {"ssl_truststore_location": "/ca", "ssl_truststore_certificates": CERTIFICATE},
            "ssl_truststore_certificates",
            "beside ssl_truststore_location",
        ),
        ({"ssl_keystore_key": KEY}, "ssl_keystore_key", "without its certificate"),
        (
            {"ssl_keystore_certificate_chain": CERTIFICATE},
            "ssl_keystore_certificate_chain",
            "without its key",
        ),
        ({"ssl_key_location": "/k"}, "ssl_key_location", "without its certificate"),
        ({"ssl_certificate_location": "/c"}, "ssl_certificate_location", "without its key"),
        (
            {"ssl_keystore_location": "/c", "ssl_keystore_key": KEY},
            "ssl_keystore_key",
            "beside ssl_keystore_location",
        ),
        (
            {"ssl_keystore_key": KEY, "ssl_key_location": "/k", "ssl_certificate_location": "/c"},
            "ssl_keystore_key",
            "beside ssl_key_location",
        ),
        ({"ssl_key_password": "hunter2"}, "ssl_key_password", "needs ssl_keystore_location or"),
        ({"ssl_keystore_password": "hunter2"}, "ssl_keystore_password", "needs ssl_keystore_location"),
        ({"ssl_truststore_password": "hunter2"}, "ssl_truststore_password", "needs ssl_truststore_location"),
        (
            {"enable_ssl_certificate_verification": False, "ssl_truststore_location": "/ca"},
            "ssl_truststore_location",
            "enable_ssl_certificate_verification=False",
        ),
    ],
)
def test_conflicts_of_tls(options: dict[str, Any], culprit: str, advice: str) -> None:
    check_refusal("SSL", options, culprit, advice)


@pytest.mark.parametrize(
    ("mechanism", "options", "culprit", "advice"),
    [
        (None, {}, "sasl_kerberos_service_name", "'GSSAPI' (the default, as in Java) needs"),
        (None, {}, "sasl_kerberos_service_name", "set sasl_mechanism to 'PLAIN'"),
        (None, {"sasl_username": "u"}, "sasl_username", "needs sasl_mechanism, which is missing"),
        (None, {"sasl_token_provider": token}, "sasl_token_provider", "needs sasl_mechanism"),
        ("PLAIN", {}, "sasl_username", "needs sasl_username: a string or a callable"),
        ("PLAIN", {"sasl_username": "u"}, "sasl_password", "needs sasl_password"),
        ("SCRAM-SHA-512", {"sasl_password": "hunter2"}, "sasl_username", "needs sasl_username"),
        (
            "PLAIN",
            {"sasl_username": "u", "sasl_password": "hunter2", "sasl_scram_tokenauth": True},
            "sasl_scram_tokenauth",
            "no effect with sasl_mechanism='PLAIN'",
        ),
        ("OAUTHBEARER", {}, "sasl_oauthbearer_token_endpoint_url", "needs sasl_token_provider or"),
        (
            "OAUTHBEARER",
            {"sasl_username": "u"},
            "sasl_username",
            "no effect with sasl_mechanism='OAUTHBEARER'",
        ),
        (
            "OAUTHBEARER",
            {"sasl_token_provider": token, **OIDC},
            "sasl_oauthbearer_token_endpoint_url",
            "beside sasl_token_provider",
        ),
        (
            "OAUTHBEARER",
            {"sasl_token_provider": token, "sasl_oauthbearer_scope": "s"},
            "sasl_oauthbearer_scope",
            "no effect with sasl_token_provider",
        ),
        (
            "OAUTHBEARER",
            {"sasl_token_provider": token, "https_ca_location": "/ca.pem"},
            "https_ca_location",
            "no effect with sasl_token_provider",
        ),
        (
            "OAUTHBEARER",
            {**OIDC, "sasl_oauthbearer_assertion_file": "/jwt", "sasl_oauthbearer_header_urlencode": True},
            "sasl_oauthbearer_header_urlencode",
            "needs sasl_oauthbearer_client_credentials_client_id",
        ),
        ("PLAIN", {"https_ca_location": "/ca.pem"}, "https_ca_location", "no effect with sasl_mechanism"),
        ("OAUTHBEARER", OIDC, "sasl_oauthbearer_token_endpoint_url", "needs credentials"),
        (
            "OAUTHBEARER",
            {**OIDC, "sasl_oauthbearer_client_credentials_client_id": "c"},
            "sasl_oauthbearer_client_credentials_client_id",
            "needs sasl_oauthbearer_client_credentials_client_secret",
        ),
        (
            "OAUTHBEARER",
            {**OIDC, "sasl_oauthbearer_client_credentials_client_secret": "hunter2"},
            "sasl_oauthbearer_client_credentials_client_secret",
            "needs sasl_oauthbearer_client_credentials_client_id",
        ),
        (
            "OAUTHBEARER",
            {**OIDC, **CREDENTIALS, "sasl_oauthbearer_assertion_file": "/jwt"},
            "sasl_oauthbearer_assertion_file",
            "beside sasl_oauthbearer_client_credentials_client_id",
        ),
        (
            "OAUTHBEARER",
            {**OIDC, **CREDENTIALS, "sasl_oauthbearer_assertion_claim_iss": "i"},
            "sasl_oauthbearer_assertion_claim_iss",
            "needs sasl_oauthbearer_assertion_private_key_file",
        ),
        ("GSSAPI", {"sasl_login_retry_backoff_ms": 1}, "sasl_login_retry_backoff_ms", "no effect"),
        ("AWS_MSK_IAM", {"sasl_username": "u"}, "sasl_username", "no effect"),
    ],
)
def test_mechanism_needs_its_options(
    mechanism: str | None, options: dict[str, Any], culprit: str, advice: str
) -> None:
    chosen = {} if mechanism is None else {"sasl_mechanism": mechanism}
    check_refusal("SASL_SSL", {**chosen, **options}, culprit, advice)


@pytest.mark.parametrize("servers", ["SASL_SSL://a:1", "b:1, sasl_ssl://a:1", ["SASL_SSL://a:1"]])
def test_address_must_fit_protocol(servers: object) -> None:
    with pytest.raises(ConfigurationError, match="set security_protocol='SASL_SSL'") as caught:
        config("PLAINTEXT", servers)
    assert caught.value.option == "security_protocol"
    assert config("SASL_SSL", servers, sasl_kerberos_service_name="k").bootstrap_servers[-1] == ("a", 1)


def test_defaults_are_not_idle() -> None:
    options: dict[str, Any] = {
        "sasl_mechanism": "GSSAPI",
        "ssl_endpoint_identification_algorithm": "https",
        "sasl_username": None,
    }
    assert config("PLAINTEXT", **options) == config()


def test_missing_httpx_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[oauth\]'"):
        sasl("OAUTHBEARER", **OIDC, **CREDENTIALS)
    assert security_rules.importlib.util.find_spec("x") is None  # type: ignore[attr-defined]  # the patched one
