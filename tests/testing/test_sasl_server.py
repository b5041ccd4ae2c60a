"""The servers of SASL mechanisms, without a connection: our client's exchanges, and any bytes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.sasl.mechanism import Attempt, Exchange
from aioproducer.sasl.oauthbearer import OAuthBearer, Token
from aioproducer.sasl.plain import Plain
from aioproducer.sasl.scram import Scram, ScramHash
from aioproducer.testing import AcceptedToken, unsecured_token
from aioproducer.testing.credentials import Credentials
from aioproducer.testing.oauth_token import read_unsecured
from aioproducer.testing.sasl_server import InvalidCredentials, SaslRefused, SaslServer, server_for
from aioproducer.testing.security import MECHANISMS

# A comma and an equals sign are escaped in SCRAM.
USER, PASSWORD = "a=b,ö", "geheim, ö=1"
CREDENTIALS = Credentials({USER: PASSWORD}, None, 4096)


def server(mechanism: str) -> SaslServer:
    return server_for(mechanism, CREDENTIALS, time.time)


@pytest.mark.parametrize(
    "mechanism",
    [
        Plain(USER, PASSWORD),
        Scram(ScramHash.SHA_256, USER, PASSWORD),
        Scram(ScramHash.SHA_512, USER, PASSWORD),
    ],
    ids=lambda mechanism: mechanism.name,
)
def test_client_and_server_agree(mechanism: Plain | Scram) -> None:
    broker = server(mechanism.name)
    exchange = Exchange(mechanism, Attempt(host="localhost", now=time.time(), nonce="abcdef"))

    sent: bytes | None = exchange.first()
    while sent is not None:
        sent = exchange.next(broker.step(sent))

    assert exchange.done
    assert broker.principal == USER


def test_bearer_client_and_server_agree() -> None:
    broker = server("OAUTHBEARER")
    client = OAuthBearer(Token(unsecured_token("alice"), extensions={"logicalCluster": "lkc-1"}))
    exchange = Exchange(client, Attempt(host="localhost", now=time.time(), nonce="abcdef"))

    assert exchange.next(broker.step(exchange.first())) is None
    assert broker.principal == "alice"
    assert broker.extensions == {"logicalCluster": "lkc-1"}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@given(messages=st.lists(st.binary(max_size=200), max_size=3))
def test_any_bytes_are_refused(mechanism: str, messages: list[bytes]) -> None:
    broker = server(mechanism)
    for message in messages:
        try:
            broker.step(message)
        except (SaslRefused, InvalidCredentials):
            break
    assert broker.principal is None


@given(st.text(max_size=200))
def test_any_text_is_no_token(text: str) -> None:
    assert read_unsecured(text, 0.0) is None


@given(st.binary(max_size=100))
def test_any_proof_is_refused(proof: bytes) -> None:
    broker = server("SCRAM-SHA-256")
    nonce = broker.step(b"n,,n=a=3Db=2C\xc3\xb6,r=abcdef").split(b",")[0]

    with pytest.raises(InvalidCredentials):
        broker.step(b"c=biws," + nonce + b",p=" + proof.hex().encode() + b"=")


def test_token_is_read_back() -> None:
    token = unsecured_token("alice", issued_at=100, expires_at=200)

    assert read_unsecured(token, 150.0) == AcceptedToken("alice", 200.0)
    assert read_unsecured(token, 99.0) is None
    assert read_unsecured(token, 200.0) is None
    assert read_unsecured(token + "signature", 150.0) is None
