"""The login modules of `sasl.jaas.config`: what Java accepts, and errors without secrets."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.config import ProducerConfig
from aioproducer.config.jaas import parse_jaas
from aioproducer.errors import ConfigurationError

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
KERBEROS = "com.sun.security.auth.module.Krb5LoginModule"
IAM = "software.amazon.msk.auth.iam.IAMLoginModule"

SECRET = "hunter2"  # noqa: S105 - looked for in errors


def options(text: str) -> dict[str, object]:
    return parse_jaas("sasl.jaas.config", text).options


def from_properties(mechanism: str | None, jaas: str, **more: str) -> ProducerConfig:
    properties = {"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL", "sasl.jaas.config": jaas}
    if mechanism is not None:
        properties["sasl.mechanism"] = mechanism
    return ProducerConfig.from_properties(
        {**properties, **{name.replace("_", "."): value for name, value in more.items()}}
    )


@pytest.mark.parametrize(
    "text",
    [
        f'{PLAIN} required username="me" password="pw";',
        f"{PLAIN} REQUIRED username='me' password='pw' ; ",
        f"\n  {PLAIN}\n  required\n  username = me\n  password = pw;\n",
        f"/* login */ {PLAIN} required // of me\n username=me password=pw;",
        f'kafkashaded.{PLAIN} required username="me" password="pw";',
    ],
)
def test_spellings_of_plain(text: str) -> None:
    assert options(text) == {"sasl_username": "me", "sasl_password": "pw"}


@pytest.mark.parametrize(
    ("quoted", "password"),
    [
        (r'"p\"w"', 'p"w'),
        (r'"p\\w"', r"p\w"),
        (r'"p;w=//x/*y*/"', "p;w=//x/*y*/"),
        (r"'p\"w'", 'p"w'),
        ('"p\'w"', "p'w"),
        (r'"\101\t\z"', "A\tz"),
        ('"p w "', "p w "),
        ('"ümläut"', "ümläut"),
        ("ab/cd+ef", "ab/cd+ef"),
        ("$x-1_2.3", "$x-1_2.3"),
    ],
)
def test_quotes_and_escapes(quoted: str, password: str) -> None:
    assert options(f"{PLAIN} required username=me password={quoted};")["sasl_password"] == password


def test_plain_becomes_config() -> None:
    config = from_properties("PLAIN", f'{PLAIN} required username="key" password="{SECRET}";')
    assert (config.sasl_username, config.sasl_password) == ("key", SECRET)


def test_spaces_of_a_password_stay() -> None:
    config = from_properties("PLAIN", f'{PLAIN} required username=me password=" p w ";')
    assert config.sasl_password == " p w "  # noqa: S105 - of this test


def test_invalid_flag_names_option() -> None:
    with pytest.raises(ConfigurationError, match="sasl_scram_tokenauth must be True or False"):
        from_properties("SCRAM-SHA-256", f"{SCRAM} required username=me password=pw tokenauth=perhaps;")


def test_scram_with_token() -> None:
    config = from_properties(
        "SCRAM-SHA-512", f'{SCRAM} required username="id" password="hmac" tokenauth="true";'
    )
    assert (config.sasl_username, config.sasl_password, config.sasl_scram_tokenauth) == ("id", "hmac", True)


def test_oauthbearer_with_extensions() -> None:
    config = from_properties(
        "OAUTHBEARER",
        f'{OAUTH} required clientId="c" clientSecret="s" scope="kafka write" '
        'extension_logicalCluster="lkc-1" extension_identityPoolId="pool-2";',
        sasl_oauthbearer_token_endpoint_url="https://idp/token",  # noqa: S106 - a URL
    )
    assert config.sasl_oauthbearer_client_credentials_client_id == "c"
    assert config.sasl_oauthbearer_client_credentials_client_secret == "s"  # noqa: S105 - of this test
    assert config.sasl_oauthbearer_scope == "kafka write"
    assert config.sasl_oauthbearer_extensions == (("logicalCluster", "lkc-1"), ("identityPoolId", "pool-2"))


def test_kerberos_keytab() -> None:
    config = from_properties(
        "GSSAPI",
        f'{KERBEROS} required useKeyTab=true storeKey=true keyTab="/k.keytab" principal="me@LAB" '
        'serviceName="kafka";',
    )
    assert (config.sasl_kerberos_keytab, config.sasl_kerberos_principal) == ("/k.keytab", "me@LAB")
    assert config.sasl_kerberos_service_name == "kafka"


def test_msk_iam_needs_nothing() -> None:
    assert from_properties("AWS_MSK_IAM", f"{IAM} required;").sasl_mechanism == "AWS_MSK_IAM"


def test_environment_has_jaas_too() -> None:
    config = ProducerConfig.from_env(
        environ={
            "KAFKA_BOOTSTRAP_SERVERS": "a:1",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_JAAS_CONFIG": f'{PLAIN} required username="me" password="pw";',
        }
    )
    assert (config.sasl_username, config.sasl_password) == ("me", "pw")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        (";", "needs a login module first"),
        (f'"{PLAIN}" required;', "needs a login module first"),
        (
            f"com.example.Login required password={SECRET};",
            "unknown login module; known are PlainLoginModule",
        ),
        ("PlainLoginModul required;", "did you mean 'PlainLoginModule'?"),
        (f"{PLAIN} username=me password={SECRET};", "none of the flags"),
        (f"{PLAIN}", "needs a flag"),
        (f"{PLAIN} required username=me password={SECRET}", "does not end with a semicolon"),
        (f"{PLAIN} required username=me password;", "has no = after the option 'password'"),
        (f"{PLAIN} required username=me password {SECRET};", "has no = after the option 'password'"),
        (f"{PLAIN} required username=me password=;", "has no value for the option 'password'"),
        (f"{PLAIN} required username=me password=", "has no value for the option 'password'"),
        (f'{PLAIN} required username=me password="{SECRET};', "a quote that is not closed"),
        (f'{PLAIN} required username=me password="x"{SECRET};', "has no = after an option"),
        (f'{PLAIN} required username=me password="x" "{SECRET}"=1;', "needs the name of an option"),
        (f"{PLAIN} required usrname=me password={SECRET};", "did you mean 'username'?"),
        (
            f"{PLAIN} required {SECRET}=me;",
            "an option that PlainLoginModule does not have here; it has username",
        ),
        (f"{PLAIN} required username=a username=b;", "has the option 'username' twice"),
        (f"{PLAIN} required; {PLAIN} required;", "more than one login module"),
        (f"{IAM} required awsProfileName={SECRET};", "awsProfileName, which is not supported: set the env"),
        (f"{OAUTH} required unsecuredLoginStringClaim_sub={SECRET};", "does not have here"),
        (f"{PLAIN} required extension_x={SECRET};", "does not have here"),
    ],
)
def test_fault_is_named_without_secret(text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_jaas("sasl.jaas.config", text)
    assert str(caught.value).startswith("sasl.jaas.config ")
    assert fault in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    assert caught.value.option == "sasl.jaas.config"


@pytest.mark.parametrize(
    ("mechanism", "fault"),
    [
        (None, "but sasl.mechanism is GSSAPI, the default"),
        ("SCRAM-SHA-256", "but sasl.mechanism is SCRAM-SHA-256"),
    ],
)
def test_module_must_fit_mechanism(mechanism: str | None, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        from_properties(mechanism, f"{PLAIN} required username=me password={SECRET};")


def test_mechanism_may_be_an_override() -> None:
    properties = {
        "bootstrap.servers": "a:1",
        "security.protocol": "SASL_SSL",
        "sasl.jaas.config": f"{PLAIN} required username=me password=pw;",
    }
    config = ProducerConfig.from_properties(properties, sasl_mechanism="PLAIN")
    assert config.sasl_username == "me"


def test_username_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"sasl_username is given twice, as 'sasl\.jaas\.config'"):
        from_properties("PLAIN", f"{PLAIN} required username=me password=pw;", sasl_username="me")


def test_keyword_is_explained() -> None:
    unchecked: dict[str, str] = {"sasl_jaas_config": SECRET}
    with pytest.raises(ConfigurationError, match="from_properties and from_env read it") as caught:
        ProducerConfig(bootstrap_servers="a:1", **unchecked)  # type: ignore[arg-type]  # an unknown option
    assert SECRET not in str(caught.value)


@given(st.text(alphabet=f"{PLAIN[-16:]} required=;\"'\\/*\n", max_size=60))
def test_any_text_is_handled(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert isinstance(parse_jaas("sasl.jaas.config", f"{PLAIN} required {text}").options, dict)
