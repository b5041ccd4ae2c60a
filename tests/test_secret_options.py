"""No configuration shows a secret: in no repr, pickle or error, whatever is wrong with its options."""

from __future__ import annotations

import functools
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import Producer, ProducerConfig, ProducerError
from aioproducer.config import OPTIONS
from tests.support.leaks import (
    CHAIN,
    CLIENT_SECRET,
    KEY,
    PASSPHRASE,
    PASSWORD,
    TOKEN,
    WRONG,
    Texts,
    collected,
    password,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def texts() -> Iterator[Texts]:
    with collected() as texts:
        yield texts


CONFIGS: dict[str, dict[str, Any]] = {
    "password": {"security_protocol": "SASL_SSL", **password("PLAIN")},
    "partial": {"security_protocol": "SASL_SSL", **password("PLAIN", functools.partial(str, PASSWORD))},
    "bound method": {"security_protocol": "SASL_SSL", **password("PLAIN", PASSWORD.swapcase)},
    "partial for the user name": {
        "security_protocol": "SASL_SSL",
        **password("PLAIN"),
        "sasl_username": functools.partial(str, PASSWORD),
    },
    "token provider": {"security_protocol": "SASL_SSL", **token(functools.partial(str, TOKEN))},
    "client secret": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": "https://login.example.com/token",
        "sasl_oauthbearer_client_credentials_client_id": "me",
        "sasl_oauthbearer_client_credentials_client_secret": CLIENT_SECRET,
    },
    "assertion": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": "https://login.example.com/token",
        "sasl_oauthbearer_assertion_private_key_file": "key.pem",
        "sasl_oauthbearer_assertion_private_key_passphrase": PASSPHRASE,
    },
    "key": {
        "security_protocol": "SSL",
        "ssl_keystore_key": KEY,
        "ssl_keystore_certificate_chain": CHAIN,
        "ssl_key_password": PASSPHRASE,
    },
    "stores": {
        "security_protocol": "SSL",
        "ssl_keystore_location": "client.p12",
        "ssl_keystore_password": PASSPHRASE,
        "ssl_truststore_location": "ca.p12",
        "ssl_truststore_password": PASSPHRASE,
    },
}


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_config_shows_no_secret(texts: Texts, options: dict[str, Any]) -> None:
    config = ProducerConfig(bootstrap_servers="localhost:9092", **options)

    texts.add_objects(config)
    texts.add("format", f"{config} {config!s} {config:}")
    with pytest.raises(TypeError) as refused:
        pickle.dumps(config)
    texts.add_error(refused.value)

    assert "[hidden]" in repr(config)


MISTAKES: dict[str, dict[str, Any]] = {
    "password beside PLAINTEXT": password("PLAIN"),
    "password as bytes": {"security_protocol": "SASL_SSL", **password("PLAIN", PASSWORD.encode())},
    "password with a surrogate": {"security_protocol": "SASL_SSL", **password("PLAIN", f"{PASSWORD}\ud800")},
    "key in the place of certificates": {"security_protocol": "SSL", "ssl_truststore_certificates": KEY},
    "key in the place of a path": {"security_protocol": "SSL", "ssl_key_location": KEY},
    "key without its certificate": {"security_protocol": "SSL", "ssl_keystore_key": KEY},
    "passphrase of the key alone": {"security_protocol": "SSL", "ssl_key_password": PASSPHRASE},
    "key with a surrogate": {
        "security_protocol": "SSL",
        "ssl_keystore_certificate_chain": CHAIN,
        "ssl_keystore_key": KEY.replace("\n", "\n\ud800", 1),
    },
    "key of a wrong type": {"security_protocol": "SSL", "ssl_keystore_key": KEY.encode()},
    "secret without its id": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": "https://login.example.com/token",
        "sasl_oauthbearer_client_credentials_client_secret": CLIENT_SECRET,
    },
    "secret in the URL": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": f"https://me:{CLIENT_SECRET}@login.example.com/token",
    },
    "token in the place of its provider": {"security_protocol": "SASL_SSL", **token(TOKEN)},  # type: ignore[arg-type]
    "misspelt option": {"security_protocol": "SASL_SSL", "sasl_pasword": PASSWORD},
}


@pytest.mark.parametrize("options", MISTAKES.values(), ids=MISTAKES)
def test_mistake_shows_no_secret(texts: Texts, options: dict[str, Any]) -> None:
    properties = {name.replace("_", "."): value for name, value in options.items()}

    with pytest.raises(ProducerError) as refused:
        ProducerConfig(bootstrap_servers="localhost:9092", **options)
    texts.add_error(refused.value)
    with pytest.raises(ProducerError) as refused:
        ProducerConfig.from_properties(properties, bootstrap_servers="localhost:9092")
    texts.add_error(refused.value)


def _unreadable(**options: Any) -> dict[str, Any]:  # noqa: ANN401 - any option
    return {"security_protocol": "SSL", "ssl_keystore_certificate_chain": CHAIN, **options}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(_unreadable(ssl_keystore_key=KEY), id="no passphrase"),
        pytest.param(_unreadable(ssl_keystore_key=KEY, ssl_key_password=WRONG), id="wrong passphrase"),
        pytest.param(_unreadable(ssl_keystore_key=KEY, ssl_key_password=PASSPHRASE), id="other certificate"),
        pytest.param(
            _unreadable(
                ssl_keystore_key=KEY.replace(KEY.splitlines()[2], "AAAA"), ssl_key_password=PASSPHRASE
            ),
            id="damaged key",
        ),
    ],
)
async def test_unusable_key_shows_no_secret(texts: Texts, options: dict[str, Any]) -> None:
    """The key is read when the producer is made or started."""
    with pytest.raises(ProducerError) as refused:
        async with Producer("localhost:1", **options):
            pass
    texts.add_error(refused.value)


def test_undecodable_file_shows_no_secret(texts: Texts, tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.write_bytes(f"sasl.password={PASSWORD}".encode() + b"\xff")

    with pytest.raises(ProducerError) as refused:
        ProducerConfig.from_properties(path)
    texts.add_error(refused.value)


def test_every_secret_option_is_tried() -> None:
    """A new secret needs its case in CONFIGS."""
    tried = {name for options in CONFIGS.values() for name in options}
    secrets = {name for name, option in OPTIONS.items() if option.kind.is_secret}

    assert secrets <= tried
