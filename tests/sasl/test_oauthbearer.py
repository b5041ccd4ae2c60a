"""OAUTHBEARER: the examples of RFC 7628, Kafka's extensions, refusals, and tokens that are none."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.sasl.mechanism import Exchange
from aioproducer.sasl.oauthbearer import OAuthBearer, Token, extensions_fault, token_fault
from tests.sasl.exchanges import NOW, attempt, refusal, talk

# The token of RFC 7628, section 4.1.
VALUE = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
TOKEN = Token(VALUE)


def test_first_message() -> None:
    assert talk(OAuthBearer(TOKEN), b"") == [f"n,,\x01auth=Bearer {VALUE}\x01\x01".encode(), None]


def test_extensions_follow_token() -> None:
    """The key/value pairs of the RFC's example, in the order of Java's client."""
    token = Token(VALUE, extensions={"host": "server.example.com", "port": "143"})
    [first] = talk(OAuthBearer(token))
    assert first == f"n,,\x01auth=Bearer {VALUE}\x01host=server.example.com\x01port=143\x01\x01".encode()


def test_confluent_extensions() -> None:
    token = Token("eyJ.eyJ.sig", extensions={"logicalCluster": "lkc-1", "identityPoolId": "pool-2"})
    [first] = talk(OAuthBearer(token))
    assert first == b"n,,\x01auth=Bearer eyJ.eyJ.sig\x01logicalCluster=lkc-1\x01identityPoolId=pool-2\x01\x01"


def test_error_code_0_is_no_success() -> None:
    """The example of RFC 7628, section 4.3: JSON, then one byte, then a failure with any code."""
    answer = (
        b'{"status":"invalid_token","scope":"example_scope","openid-configuration":"https://x/.well-known"}'
    )
    assert talk(OAuthBearer(TOKEN), answer)[1] == b"\x01"
    error = refusal(OAuthBearer(TOKEN), answer, b"")
    assert (
        'the broker answered "invalid_token (scope: example_scope, '
        'openid-configuration: https://x/.well-known)"; check that the audience'
    ) in str(error)


def test_error_code_after_json_keeps_status() -> None:
    exchange = Exchange(OAuthBearer(TOKEN), attempt())
    exchange.first()
    exchange.next(b'{"status":"invalid_token"}')
    error = exchange.refused("Authentication failed during authentication due to invalid credentials")
    assert error.reason == (
        '"invalid_token"; "Authentication failed during authentication due to invalid credentials"'
    )


def test_refusal_is_quoted_once() -> None:
    """Kafka's message is the JSON of its first answer."""
    exchange = Exchange(OAuthBearer(TOKEN), attempt())
    exchange.first()
    exchange.next(b'{"status":"invalid_token"}')
    assert exchange.refused('{"status":"invalid_token"}').reason == '"invalid_token"'


@pytest.mark.parametrize(
    "answer",
    [b"{", b"null", b"[]", b'{"status":5}', b"nonsense", b"\xff\xfe", b"\x01", b"[" * 60_000, b"0" * 60_000],
)
def test_other_bytes_are_refusals_too(answer: bytes) -> None:
    assert talk(OAuthBearer(TOKEN), answer)[1] == b"\x01"
    assert len(str(refusal(OAuthBearer(TOKEN), answer, b""))) < 1600


def test_expired_token_is_named() -> None:
    exchange = Exchange(OAuthBearer(Token(VALUE, expires_at=NOW - 30, principal="alice")), attempt())
    exchange.first()
    error = exchange.refused("{}")
    assert "the token of 'alice' expired 30 s ago by the clock of this machine" in str(error)


def test_infinite_age_is_no_crash() -> None:
    mechanism = OAuthBearer(Token(VALUE, expires_at=float("-inf")))
    assert "expired inf s ago" in mechanism.likely_cause(attempt())


def test_valid_token_names_other_causes() -> None:
    exchange = Exchange(OAuthBearer(Token(VALUE, expires_at=NOW + 30)), attempt())
    exchange.first()
    assert str(exchange.refused("no")).endswith(
        "check that the audience, issuer and scope of the token are those of the broker, "
        "and that the clocks of both agree"
    )


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", "the token is empty"),
        ("Bearer abc", "begins with 'Bearer '"),
        ("abc\n", "has spaces or line breaks around it"),
        (" abc", "has spaces or line breaks around it"),
        ("a b", "has characters that no bearer token has"),
        ("a\x01b=c", "has characters that no bearer token has"),
        ("ä", "has characters that no bearer token has"),
        ("a=b", "has characters that no bearer token has"),
    ],
)
def test_unusable_tokens(value: str, fault: str) -> None:
    assert fault in (token_fault(value) or "")
    error = refusal(OAuthBearer(Token(value)))
    assert fault in str(error)


@pytest.mark.parametrize(
    ("extensions", "fault"),
    [
        ({"auth": "x"}, "'auth' is reserved"),
        ({"": "x"}, "must consist of ASCII letters"),
        ({"a-b": "x"}, "must consist of ASCII letters"),
        ({"a1": "x"}, "must consist of ASCII letters"),
        ({"ä": "x"}, "must consist of ASCII letters"),
        ({"a\n": "x"}, "must consist of ASCII letters"),
        ({1: "x"}, "must consist of ASCII letters"),
        ({"a": ""}, "must be printable ASCII"),
        ({"a": "x\x01auth=Bearer other"}, "must be printable ASCII"),
        ({"a": "ä"}, "must be printable ASCII"),
        ({"a": 5}, "must be printable ASCII"),
    ],
)
def test_invalid_extensions(extensions: Any, fault: str) -> None:  # noqa: ANN401 -- also of the wrong type
    """The rules of Java's client (KIP-342)."""
    assert fault in (extensions_fault(extensions) or "")
    assert fault in str(refusal(OAuthBearer(Token(VALUE, extensions=extensions))))


def test_valid_extensions() -> None:
    assert extensions_fault({"logicalCluster": "lkc-1", "Auth": "a b\t\r\n~"}) is None


@given(st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_pairs_cannot_be_smuggled(value: str, extensions: dict[str, str]) -> None:
    """A message that is sent has exactly one pair for the token and for each extension."""
    if token_fault(value) or extensions_fault(extensions):
        return
    [first] = talk(OAuthBearer(Token(value, extensions=extensions)))
    assert first is not None
    assert first.count(b"\x01") == 3 + len(extensions)


def jwt(claims: object) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]) + "."


def test_jwt_claims() -> None:
    token = Token.from_jwt(jwt({"sub": "alice", "exp": 1_700_000_300, "iat": 1}), {"logicalCluster": "x"})
    assert (token.principal, token.expires_at) == ("alice", 1_700_000_300.0)
    assert token.extensions == {"logicalCluster": "x"}
    assert "alice" in repr(token)
    assert token.value not in repr(token)


@pytest.mark.parametrize(
    "value",
    [
        "opaque",
        "a.b.c",
        "..",
        "a.ä.c",
        "x." + urlsafe_b64encode(b"[" * 60_000).decode() + ".y",
        jwt([]),
        jwt({"exp": "soon", "sub": 5}),
        jwt({"exp": None}),
        jwt({"exp": 10**400}),
        jwt({"exp": float("inf")}),
        jwt({"exp": float("nan")}),
        jwt({"exp": -1}),
    ],
)
def test_other_tokens_have_no_claims(value: str) -> None:
    token = Token.from_jwt(value)
    assert (token.value, token.principal, token.expires_at) == (value, None, None)
