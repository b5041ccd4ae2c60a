"""The options of TLS and SASL alone: kinds, foreign names, and values that never show."""

from __future__ import annotations

import copy
import pickle
import ssl
import traceback
from pathlib import Path
from typing import Any

import pytest

from aioproducer.config import OPTIONS, ProducerConfig
from aioproducer.errors import ConfigurationError

SECRET = "hunter2"  # noqa: S105 - looked for in errors
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

PLAIN: dict[str, Any] = {
    "bootstrap_servers": "a:1",
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "me",
    "sasl_password": SECRET,
}


def password() -> str:
    return SECRET


def take(name: str, value: object) -> object:
    return OPTIONS[name].take(value)


def refusal(name: str, value: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        take(name, value)
    assert caught.value.option == name
    return caught.value


SECRETS = [name for name, option in OPTIONS.items() if option.kind.is_secret]


def test_secret_options() -> None:
    assert set(SECRETS) == {
        "ssl_truststore_password",
        "ssl_keystore_password",
        "ssl_keystore_key",
        "ssl_key_password",
        "sasl_password",
        "sasl_token_provider",
        "sasl_oauthbearer_client_credentials_client_secret",
        "sasl_oauthbearer_assertion_private_key_passphrase",
    }


@pytest.mark.parametrize("name", SECRETS)
def test_invalid_secret_is_hidden(name: str) -> None:
    for wrong in ([SECRET], SECRET.encode(), f"{SECRET}\ud800", ""):
        if name == "ssl_keystore_key" or wrong != f"{SECRET}\ud800" or name != "sasl_token_provider":
            error = refusal(name, wrong)
            shown = f"{error!r} {error} {error.__dict__} {traceback.format_exception(error)}"
            assert SECRET not in shown
            assert "[hidden]" in str(error)
            assert error.value is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ssl_keystore_location", KEY),
        ("ssl_truststore_certificates", KEY),
        ("ssl_keystore_certificate_chain", KEY),
        ("sasl_oauthbearer_token_endpoint_url", f"https://me:{SECRET}@idp/token"),
    ],
)
def test_misplaced_secret_is_hidden(name: str, value: str) -> None:
    error = refusal(name, value)
    assert SECRET not in f"{error!r} {error} {error.__dict__}"


def test_repr_hides_secrets() -> None:
    config = ProducerConfig(
        **PLAIN, ssl_keystore_key=KEY, ssl_keystore_certificate_chain=CERTIFICATE, ssl_key_password=SECRET
    )
    assert SECRET not in repr(config)
    assert "sasl_password=[hidden]" in repr(config)
    assert "sasl_username='me'" in repr(config)
    assert "ssl_keystore_key=[hidden]" in repr(config)


def test_secret_is_not_pickled() -> None:
    config = ProducerConfig(**PLAIN)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(
            TypeError, match=r"with sasl_password cannot be pickled.* set a function"
        ) as caught:
            pickle.dumps(config, protocol)
        assert SECRET not in str(caught.value)


def test_callable_is_pickled_by_name() -> None:
    config = ProducerConfig(**{**PLAIN, "sasl_password": password})
    pickled = pickle.dumps(config)
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled) == config  # noqa: S301 - pickled above


def test_copies_keep_secrets() -> None:
    config = ProducerConfig(**PLAIN)
    assert copy.copy(config).sasl_password == copy.deepcopy(config).sasl_password == SECRET
    assert config.replace(client_id="web").sasl_password == SECRET


def test_context_is_for_clients() -> None:
    context = ssl.create_default_context()
    assert take("ssl_context", context) is context
    for wrong in (object(), "ctx", True):
        refusal("ssl_context", wrong)
    assert "for servers" in str(refusal("ssl_context", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)))


def test_paths_become_strings() -> None:
    assert take("ssl_truststore_location", Path("/ca.pem")) == "/ca.pem"
    for wrong in ("", "a\0b", b"/ca.pem", 1, "/\ud800"):
        refusal("ssl_truststore_location", wrong)


@pytest.mark.parametrize(
    "text",
    [
        CERTIFICATE,
        CERTIFICATE.replace("\n", " "),
        CERTIFICATE.replace("\n", "\\n"),
        CERTIFICATE.replace("\n", "\r\n"),
        f"subject=CN = x\n{CERTIFICATE}trailing",
    ],
)
def test_pem_text_is_normal(text: str) -> None:
    assert take("ssl_truststore_certificates", text) == CERTIFICATE


def test_old_encrypted_key_keeps_headers() -> None:
    key = (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n"
        "-----END RSA PRIVATE KEY-----\n"
    )
    assert take("ssl_keystore_key", key) == key


@pytest.mark.parametrize(
    ("given", "normal"), [("https", "https"), ("HTTPS", "https"), ("", ""), ("none", ""), (None, "")]
)
def test_endpoint_identification(given: str | None, normal: str) -> None:
    assert take("ssl_endpoint_identification_algorithm", given) == normal


@pytest.mark.parametrize(
    ("given", "near"),
    [("SCRAM-SHA256", "SCRAM-SHA-256"), ("scram-sha-51", "SCRAM-SHA-512"), ("OAUTH", "OAUTHBEARER")],
)
def test_mechanism_has_hint(given: str, near: str) -> None:
    assert f"did you mean {near!r}?" in str(refusal("sasl_mechanism", given))
    assert "did you mean" not in str(refusal("sasl_mechanism", "DIGEST-MD5"))


def test_credentials_may_be_callables() -> None:
    async def fetch() -> str:
        return SECRET

    for name in ("sasl_username", "sasl_password"):
        assert take(name, password) is password
        assert take(name, fetch) is fetch
    assert take("sasl_token_provider", fetch) is fetch
    refusal("sasl_token_provider", "token")


@pytest.mark.parametrize("url", ["https://idp/token", "http://127.0.0.1:8080/token"])
def test_token_endpoint_is_a_url(url: str) -> None:
    assert take("sasl_oauthbearer_token_endpoint_url", url) == url
    for wrong in ("idp/token", "file:///token", "https://", 1, "https://idp:x/", "https://idp:65536/"):
        refusal("sasl_oauthbearer_token_endpoint_url", wrong)
    for wrong in ("https://i dp/", "https://idp/\n", "https://\ud800/"):
        refusal("sasl_oauthbearer_token_endpoint_url", wrong)


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@[idp/", "https://me:hunter2\u2100@idp/", "https://hunter2@/"]
)
def test_malformed_url_hides_credentials(url: str) -> None:
    assert "hunter2" not in str(refusal("sasl_oauthbearer_token_endpoint_url", url))


@pytest.mark.parametrize(
    "given", [{"logicalCluster": "lkc-1"}, [("logicalCluster", "lkc-1")], (("logicalCluster", "lkc-1"),)]
)
def test_extensions_become_pairs(given: object) -> None:
    assert take("sasl_oauthbearer_extensions", given) == (("logicalCluster", "lkc-1"),)


@pytest.mark.parametrize(
    "wrong",
    ["a=b", {"auth": "x"}, {"a1": "x"}, {"a": "\x01"}, {"a": ""}, {"a": 1}, [("a", "x"), ("a", "y")], [1]],
)
def test_invalid_extensions(wrong: object) -> None:
    refusal("sasl_oauthbearer_extensions", wrong)


def test_extensions_as_text() -> None:
    read = OPTIONS["sasl_oauthbearer_extensions"].read
    assert take("sasl_oauthbearer_extensions", read("a=1, b = x=y,")) == (("a", "1"), ("b", "x=y"))
    with pytest.raises(ConfigurationError):
        read("a")


def test_shares_and_limits() -> None:
    assert take("sasl_login_refresh_window_factor", 1) == 1
    assert take("sasl_login_refresh_window_jitter", 0.25) == 0.25
    for name in ("sasl_login_refresh_window_factor", "sasl_login_refresh_window_jitter"):
        for wrong in (1.1, -0.1, True, "1", float("nan")):
            refusal(name, wrong)
    for name in ("sasl_login_connect_timeout_ms", "sasl_login_read_timeout_ms"):
        assert take(name, None) is None
        for wrong in (0, -1, "1", True, 1.5):
            refusal(name, wrong)


def test_login_timeouts_in_seconds() -> None:
    config = ProducerConfig(
        bootstrap_servers="a:1",
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        sasl_token_provider=password,
        sasl_login_connect_timeout_ms=250,
        sasl_login_read_timeout_ms=1500,
    )
    assert (config.login_connect_timeout, config.login_read_timeout) == (0.25, 1.5)
    assert (config.uses_tls, config.uses_sasl) == (True, True)


@pytest.mark.parametrize(
    ("foreign", "text", "option", "value"),
    [
        ("ssl.ca.location", "/ca.pem", "ssl_truststore_location", "/ca.pem"),
        ("ssl.ca.location", "probe", "ssl_truststore_location", None),
        ("ssl.ca.pem", CERTIFICATE, "ssl_truststore_certificates", CERTIFICATE),
        ("ssl.truststore.certificates", CERTIFICATE, "ssl_truststore_certificates", CERTIFICATE),
        ("ssl.keystore.location", "/client.p12", "ssl_keystore_location", "/client.p12"),
        ("enable.ssl.certificate.verification", "false", "enable_ssl_certificate_verification", False),
        ("ssl.endpoint.identification.algorithm", "none", "ssl_endpoint_identification_algorithm", ""),
        ("ssl.endpoint.identification.algorithm", "", "ssl_endpoint_identification_algorithm", ""),
        ("ssl.cafile", "/ca.pem", "ssl_truststore_location", "/ca.pem"),
        ("ssl.check.hostname", "false", "ssl_endpoint_identification_algorithm", ""),
    ],
)
def test_foreign_names_of_tls(foreign: str, text: str, option: str, value: object) -> None:
    config = ProducerConfig.from_properties(
        {"bootstrap.servers": "a:1", "security.protocol": "ssl", foreign: text}, partitioner="murmur2"
    )
    assert getattr(config, option) == value


@pytest.mark.parametrize(
    "names",
    [
        ("ssl.certificate.location", "ssl.key.location"),
        ("ssl_certfile", "ssl_keyfile"),
    ],
)
def test_client_certificate_in_two_files(names: tuple[str, str]) -> None:
    config = ProducerConfig.from_properties(
        {"bootstrap.servers": "a:1", "security.protocol": "SSL", names[0]: "/c.pem", names[1]: "/k.pem"}
    )
    assert (config.ssl_certificate_location, config.ssl_key_location) == ("/c.pem", "/k.pem")


@pytest.mark.parametrize(
    "properties",
    [
        {"sasl.mechanisms": "PLAIN", "sasl.username": "me", "sasl.password": "pw"},
        {"sasl_mechanism": "PLAIN", "sasl_plain_username": "me", "sasl_plain_password": "pw"},
    ],
)
def test_foreign_names_of_sasl(properties: dict[str, str]) -> None:
    config = ProducerConfig.from_properties(
        {"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL", **properties}, partitioner="murmur2"
    )
    assert (config.sasl_mechanism, config.sasl_username, config.sasl_password) == ("PLAIN", "me", "pw")


def test_confluents_oidc_properties() -> None:
    config = ProducerConfig.from_properties(
        {
            "bootstrap.servers": "a:1",
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": "c",
            "sasl.oauthbearer.client.secret": SECRET,
            "sasl.oauthbearer.token.endpoint.url": "https://idp/token",
            "sasl.oauthbearer.extensions": "logicalCluster=lkc-1,identityPoolId=pool-2",
        },
        partitioner="crc32",
    )
    assert config.sasl_oauthbearer_client_credentials_client_secret == SECRET
    assert config.sasl_oauthbearer_extensions == (("logicalCluster", "lkc-1"), ("identityPoolId", "pool-2"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ssl_cipher_suites", "pass an ssl_context that has it"),
        ("ssl_cafile", "here it is ssl_truststore_location"),
        ("ssl_check_hostname", "here it is ssl_endpoint_identification_algorithm ('' for False)"),
        ("sasl_plain_password", "here it is sasl_password"),
        ("sasl_pasword", "did you mean 'sasl_password'?"),
        ("ssl_keystore_locaton", "did you mean 'ssl_keystore_location'?"),
        ("sasl_kerberos_kinit_cmd", "run kinit beside the producer"),
    ],
)
def test_unknown_name_has_hint(name: str, hint: str) -> None:
    unchecked: dict[str, Any] = {name: SECRET}
    with pytest.raises(ConfigurationError) as caught:
        ProducerConfig(bootstrap_servers="a:1", **unchecked)
    assert hint in str(caught.value)
    assert SECRET not in str(caught.value)


def test_environment_becomes_security() -> None:
    config = ProducerConfig.from_env(
        environ={
            "KAFKA_BOOTSTRAP_SERVERS": "SASL_SSL://a:1",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": "me",
            "KAFKA_SASL_PASSWORD": SECRET,
            "KAFKA_SSL_CA_LOCATION": "/ca.pem",
            # Variables of a broker's image.
            "KAFKA_SSL_KEYSTORE_FILENAME": "kafka.jks",
            "KAFKA_SASL_ENABLED_MECHANISMS": "PLAIN",
        },
        partitioner="murmur2",
    )
    assert (config.sasl_mechanism, config.sasl_password) == ("SCRAM-SHA-512", SECRET)
    assert config.ssl_truststore_location == "/ca.pem"


def test_properties_of_msk() -> None:
    """The properties that Amazon's page gives for Java."""
    config = ProducerConfig.from_properties(
        {
            "bootstrap.servers": "b-1.example.kafka.us-east-1.amazonaws.com:9098",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "AWS_MSK_IAM",
            "sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;",
            "sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
        }
    )
    assert config.sasl_mechanism == "AWS_MSK_IAM"


def test_foreign_token_handler_has_advice() -> None:
    with pytest.raises(ConfigurationError, match="pass a sasl_token_provider"):
        ProducerConfig.from_properties(
            {"bootstrap.servers": "a:1", "sasl.login.callback.handler.class": "com.example.Handler"}
        )
