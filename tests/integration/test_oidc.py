"""Tokens of a real OpenID Connect server, which a real broker verifies."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from aioproducer import AuthenticationError, Producer
from aioproducer.net.credentials import Credentials
from aioproducer.net.oauth import TokenEndpoint
from aioproducer.sasl.oauthbearer import OAuthBearer, Token
from tests.integration import jvm
from tests.integration.kafka import NEWEST, KafkaCluster
from tests.integration.layout import free_ports
from tests.integration.oidc import oidc_server
from tests.net.token_server import decode_jwt, oauth_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aioproducer.config import ProducerConfig
    from tests.integration.maven import Libraries
    from tests.integration.properties import Properties

SECRET = "s3cret+/=hunter2 %"  # noqa: S105 -- for tests

KEYS: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
}
PUBLIC = {
    name: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for name, key in KEYS.items()
}


@pytest.fixture(scope="module")
def oidc() -> Iterator[str]:
    with oidc_server(SECRET, {"alice": 300, "brief": 4}, PUBLIC) as address:
        yield address


def client_credentials(oidc: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "sasl_oauthbearer_token_endpoint_url": f"{oidc}/token",
        "sasl_oauthbearer_client_credentials_client_id": "alice",
        "sasl_oauthbearer_client_credentials_client_secret": SECRET,
        # This server decodes the header as RFC 6749 says.
        "sasl_oauthbearer_header_urlencode": True,
        "sasl_oauthbearer_scope": "kafka",
        **options,
    }


def jwt_bearer(oidc: str, folder: Path, algorithm: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    path = folder / f"{algorithm}.pem"
    path.write_bytes(KEYS[algorithm].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {
        "sasl_oauthbearer_token_endpoint_url": f"{oidc}/assertion",
        "sasl_oauthbearer_assertion_private_key_file": path,
        "sasl_oauthbearer_assertion_algorithm": algorithm,
        "sasl_oauthbearer_assertion_claim_aud": oidc,
        "sasl_oauthbearer_assertion_claim_iss": "tests",
        "sasl_oauthbearer_assertion_claim_sub": "alice",
        "sasl_oauthbearer_assertion_claim_jti_include": True,
        "sasl_oauthbearer_scope": "kafka",
        **options,
    }


async def token_of(config: ProducerConfig) -> Token:
    mechanism = await Credentials(config, lambda: 0.0).mechanism()
    assert isinstance(mechanism, OAuthBearer)
    return mechanism.token


def check(token: Token, oidc: str) -> None:
    _, claims, _, _ = decode_jwt(token.value)
    assert (claims["iss"], claims["sub"], claims["aud"], claims["scope"]) == (oidc, "alice", "kafka", "kafka")
    assert token.principal == "alice"
    assert token.expires_at == pytest.approx(claims["exp"], abs=30)


async def test_client_credentials(oidc: str) -> None:
    check(await token_of(oauth_config(None, **client_credentials(oidc))), oidc)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_jwt_bearer(oidc: str, tmp_path: Path, algorithm: str) -> None:
    """The library jose verifies the signature and the claims."""
    check(await token_of(oauth_config(None, **jwt_bearer(oidc, tmp_path, algorithm))), oidc)


async def test_wrong_secret(oidc: str) -> None:
    wrong = {"sasl_oauthbearer_client_credentials_client_secret": "wrong" + SECRET}
    with pytest.raises(AuthenticationError) as caught:
        await token_of(oauth_config(None, **client_credentials(oidc, **wrong)))
    assert 'answered 401 Unauthorized, "invalid_client": "client authentication failed"' in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_scope_of_others(oidc: str) -> None:
    with pytest.raises(AuthenticationError, match=r'"invalid_scope".*check sasl_oauthbearer_scope'):
        await token_of(oauth_config(None, **client_credentials(oidc, sasl_oauthbearer_scope="other")))


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("claim_aud", "other", 'unexpected \\\\"aud\\\\" claim value'),
        ("claim_nbf_seconds", 0, None),
        ("claim_exp_seconds", 0, '\\\\"exp\\\\" claim timestamp check failed'),
        ("claim_jti_include", False, 'missing required \\\\"jti\\\\" claim'),
    ],
)
async def test_claims_of_assertion(
    oidc: str, tmp_path: Path, option: str, value: object, reason: str | None
) -> None:
    options = {f"sasl_oauthbearer_assertion_{option}": value}
    config = oauth_config(None, **jwt_bearer(oidc, tmp_path, "RS256", **options))
    if reason is None:
        check(await token_of(config), oidc)
        return
    with pytest.raises(AuthenticationError, match='"invalid_grant": ') as caught:
        await token_of(config)
    assert reason.replace("\\\\", "") in str(caught.value)


# With a broker.


class OauthKafka(KafkaCluster):
    """A broker with one more listener, for OAUTHBEARER with the tokens of a server."""

    def __init__(self, oidc: str) -> None:
        self._oidc = oidc
        self.oauth_address = f"127.0.0.1:{free_ports(1)[0]}"
        urls = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={oidc}/jwks"
        super().__init__(
            NEWEST, config={"auto.create.topics.enable": True}, jvm_options=[*jvm.QUICK_START, urls]
        )

    def _properties(self, libraries: Libraries) -> dict[int, Properties]:
        own = f",OAUTH://{self.oauth_address}"
        protocols = "listener.security.protocol.map"
        package = "org.apache.kafka.common.security.oauthbearer"
        added = {
            "sasl.enabled.mechanisms": "OAUTHBEARER",
            "oauthbearer.sasl.jaas.config": f"{package}.OAuthBearerLoginModule required;",
            "oauthbearer.sasl.server.callback.handler.class": (
                f"{package}.OAuthBearerValidatorCallbackHandler"
            ),
            "sasl.oauthbearer.jwt.validator.class": f"{package}.BrokerJwtValidator",
            "sasl.oauthbearer.jwks.endpoint.url": f"{self._oidc}/jwks",
            "sasl.oauthbearer.expected.issuer": self._oidc,
            "sasl.oauthbearer.expected.audience": "kafka",
        }
        return {
            node: {
                **properties,
                **{f"listener.name.oauth.{name}": value for name, value in added.items()},
                "listeners": f"{properties['listeners']}{own}",
                "advertised.listeners": f"{properties['advertised.listeners']}{own}",
                protocols: f"{properties[protocols]},OAUTH:SASL_PLAINTEXT",
            }
            for node, properties in super()._properties(libraries).items()
        }


@pytest.fixture(scope="module")
def oauth_kafka(oidc: str) -> Iterator[OauthKafka]:
    with OauthKafka(oidc) as kafka:
        yield kafka


def producer_of(kafka: OauthKafka, options: dict[str, Any]) -> Producer:
    return Producer(
        kafka.oauth_address, security_protocol="SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", **options
    )


async def test_broker_accepts_tokens(
    oidc: str, oauth_kafka: OauthKafka, tmp_path: Path, topic_name: str
) -> None:
    ways = [client_credentials(oidc), *[jwt_bearer(oidc, tmp_path, algorithm) for algorithm in KEYS]]
    for number, options in enumerate(ways):
        async with producer_of(oauth_kafka, options) as producer:
            metadata = await producer.send(topic_name, b"value")
            assert metadata.offset == number


async def test_start_names_refusal_of_endpoint(oidc: str, oauth_kafka: OauthKafka) -> None:
    wrong = {"sasl_oauthbearer_client_credentials_client_secret": "wrong" + SECRET}
    producer = producer_of(oauth_kafka, client_credentials(oidc, **wrong))
    with pytest.raises(AuthenticationError, match='answered 401 Unauthorized, "invalid_client"'):
        await producer.start()
    await producer.stop()


@pytest.mark.slow
async def test_sessions_end_with_tokens(
    oidc: str, oauth_kafka: OauthKafka, topic_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens and sessions of 4 s: each is renewed, and no record is lost or doubled."""
    caplog.set_level(logging.DEBUG, "aioproducer")
    options = client_credentials(oidc, sasl_oauthbearer_client_credentials_client_id="brief")
    endpoint = TokenEndpoint(oauth_config(None, **options))
    tokens: list[Token] = []

    async def provider() -> Token:
        tokens.append(await endpoint())
        return tokens[-1]

    async with producer_of(oauth_kafka, {"sasl_token_provider": provider}) as producer:
        for number in range(150):
            assert (await producer.send(topic_name, b"value")).offset == number
            await asyncio.sleep(0.1)
    assert len({token.value for token in tokens}) == len(tokens) >= 4
    # Not all of them: on a slow machine a session may end first, and the client connects again.
    assert caplog.text.count("authenticated again") >= 2


async def test_broker_refuses_changed_token(oidc: str, oauth_kafka: OauthKafka) -> None:
    token = await token_of(oauth_config(None, **client_credentials(oidc)))
    changed = token.value[:-8] + ("A" * 8)
    producer = producer_of(oauth_kafka, {"sasl_token_provider": lambda: changed})
    with pytest.raises(AuthenticationError, match="OAUTHBEARER authentication failed: the broker answered"):
        await producer.start()
    await producer.stop()


def test_keys_of_server(oidc: str) -> None:
    with urlopen(f"{oidc}/jwks") as response:  # noqa: S310 -- of this test
        assert json.load(response)["keys"]
