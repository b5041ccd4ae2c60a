"""Assertions of the JWT bearer grant, verified with `cryptography` on its own."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from aioproducer.errors import ConfigurationError
from aioproducer.net.assertion import make_assertion
from aioproducer.net.oauth import TokenEndpoint
from tests.net.token_server import JWT_BEARER, TokenServer, decode_jwt, jwt, oauth_config

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

NOW = 1_700_000_000.9
URL = "https://idp.example.com/token"
PASSPHRASE = "k3y-hunter2"  # noqa: S105 -- for tests

RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, PrivateKeyTypes] = {
    "rsa": RSA,
    "p256": P256,
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def write_key(folder: Path, name: str, passphrase: str | None = None) -> Path:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    path = folder / f"{name}.pem"
    path.write_bytes(KEYS[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


def assertion(url: str = URL, **options: Any) -> str:  # noqa: ANN401
    given = {f"sasl_oauthbearer_assertion_{name}": value for name, value in options.items()}
    return make_assertion(oauth_config(url, **given), NOW)


def refusal(**options: Any) -> str:  # noqa: ANN401
    with pytest.raises(ConfigurationError) as caught:
        assertion(**options)
    assert PASSPHRASE not in str(caught.value)
    return str(caught.value)


def test_rs256(tmp_path: Path) -> None:
    header, claims, signed, signature = decode_jwt(assertion(private_key_file=write_key(tmp_path, "rsa")))
    RSA.public_key().verify(signature, signed, padding.PKCS1v15(), SHA256())
    assert header == {"alg": "RS256", "typ": "JWT"}
    assert claims == {"iat": 1_700_000_000, "exp": 1_700_000_300, "nbf": 1_699_999_940}


def test_es256(tmp_path: Path) -> None:
    """Both numbers have 32 bytes, also where one is short: about one signature of 128."""
    key = write_key(tmp_path, "p256")
    for _ in range(300):
        header, _, signed, signature = decode_jwt(assertion(private_key_file=key, algorithm="ES256"))
        assert header["alg"] == "ES256"
        assert len(signature) == 64
        numbers = [int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")]
        P256.public_key().verify(encode_dss_signature(*numbers), signed, ec.ECDSA(SHA256()))


def test_claims_of_options(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "claim_aud": "kafka",
        "claim_iss": "issuer",
        "claim_sub": "alice",
        "claim_exp_seconds": 10,
        "claim_nbf_seconds": 0,
        "claim_jti_include": True,
    }
    key = write_key(tmp_path, "rsa")
    claims = [decode_jwt(assertion(private_key_file=key, **options))[1] for _ in range(2)]
    ids = [each.pop("jti") for each in claims]
    assert ids[0] != ids[1]
    assert claims[0] == claims[1]
    times = {"iat": 1_700_000_000, "exp": 1_700_000_010, "nbf": 1_700_000_000}
    assert claims[0] == {"aud": "kafka", "iss": "issuer", "sub": "alice", **times}


def test_template(tmp_path: Path) -> None:
    """Options replace its claims, and the times are always of now."""
    template = tmp_path / "template.json"
    template.write_text(
        json.dumps(
            {
                "header": {"kid": "key-1", "alg": "none"},
                "payload": {"iss": "template", "sub": "template", "roles": ["a"], "exp": 1},
            }
        )
    )
    header, claims, _, _ = decode_jwt(
        assertion(private_key_file=write_key(tmp_path, "rsa"), template_file=template, claim_sub="option")
    )
    assert header == {"kid": "key-1", "alg": "RS256", "typ": "JWT"}
    assert claims["iss"] == "template"
    assert claims["sub"] == "option"
    assert claims["roles"] == ["a"]
    assert claims["exp"] == 1_700_000_300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be a JSON object with the objects"),
        ("{}", "must be a JSON object with the objects"),
        ('{"payload": {}, "claims": {}}', "must be a JSON object with the objects"),
        ('{"header": {}, "payload": 5}', "must be a JSON object with the objects"),
    ],
)
def test_unusable_templates(tmp_path: Path, text: str, message: str) -> None:
    template = tmp_path / "template.json"
    template.write_text(text)
    assert message in refusal(private_key_file=write_key(tmp_path, "rsa"), template_file=template)


def test_encrypted_key(tmp_path: Path) -> None:
    key = write_key(tmp_path, "rsa", PASSPHRASE)
    assert assertion(private_key_file=key, private_key_passphrase=PASSPHRASE)
    for wrong in (None, "x" + PASSPHRASE):
        text = refusal(private_key_file=key, **({} if wrong is None else {"private_key_passphrase": wrong}))
        assert "or sasl_oauthbearer_assertion_private_key_passphrase is not its passphrase" in text


def test_passphrase_of_open_key(tmp_path: Path) -> None:
    key = write_key(tmp_path, "rsa")
    assert "is not its passphrase" in refusal(private_key_file=key, private_key_passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    ("algorithm", "name", "message"),
    [
        ("RS256", "p256", "'RS256' needs an RSA key in sasl_oauthbearer_assertion_private_key_file"),
        ("RS256", "ed25519", "'RS256' needs an RSA key"),
        ("ES256", "rsa", "'ES256' needs a key of the curve P-256"),
        ("ES256", "p384", "'ES256' needs a key of the curve P-256"),
    ],
)
def test_key_of_other_kind(tmp_path: Path, algorithm: str, name: str, message: str) -> None:
    assert message in refusal(private_key_file=write_key(tmp_path, name), algorithm=algorithm)


def test_unreadable_files(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff" + PASSPHRASE.encode())
    for option in ("private_key_file", "file"):
        assert f"'{missing}' cannot be read: No such file" in refusal(**{option: missing})
        assert f"'{binary}' cannot be read: it is not text" in refusal(**{option: binary})
    text = tmp_path / "text"
    text.write_text(f"{PASSPHRASE} x")
    assert "is not a PEM private key" in refusal(private_key_file=text)
    assert "has no assertion: the token has characters" in refusal(file=text)


def test_assertion_of_file(tmp_path: Path) -> None:
    """It is read for each request: another program renews it."""
    path = tmp_path / "assertion"
    for number in range(2):
        path.write_text(f"{jwt(number=number)}\n")
        assert assertion(file=path) == jwt(number=number)


def test_missing_package_names_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = write_key(tmp_path, "rsa")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    assert "pip install 'aioproducer[oauth]'" in refusal(private_key_file=key)


# With an endpoint.


async def test_jwt_bearer_request(tmp_path: Path) -> None:
    async with TokenServer() as server:
        config = oauth_config(
            server.url,
            sasl_oauthbearer_assertion_private_key_file=write_key(tmp_path, "p256"),
            sasl_oauthbearer_assertion_algorithm="ES256",
            sasl_oauthbearer_assertion_claim_sub="alice",
            sasl_oauthbearer_scope="kafka",
        )
        token = await TokenEndpoint(config)()
        assert token.principal == "alice"
        headers, form = server.requests[0]
    # As in Java, the assertion alone stands for the client.
    assert "Authorization" not in headers
    assert form.keys() == {"grant_type", "assertion", "scope"}
    assert form["grant_type"] == JWT_BEARER


async def test_assertion_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "assertion"
    path.write_text(jwt(sub="alice"))
    async with TokenServer() as server:
        server.answer(400, {"error": "invalid_grant", "error_description": f"{jwt(sub='alice')} is bad"})
        config = oauth_config(server.url, sasl_oauthbearer_assertion_file=path)
        with pytest.raises(
            Exception, match=r'"invalid_grant": "\[hidden\] is bad"; check the key and the claims'
        ):
            await TokenEndpoint(config)()
