"""SCRAM: the vectors of the RFCs, hostile brokers, and credentials that it cannot carry."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import AuthenticationError
from aioproducer.sasl.mechanism import Exchange
from aioproducer.sasl.scram import MAX_ITERATIONS, MIN_ITERATIONS, Scram, ScramHash
from tests.protocol.agreement import few_examples
from tests.sasl.exchanges import PASSWORD, attempt, refusal, talk
from tests.sasl.scram_server import ScramServer

NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = NONCE + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
SERVER_FIRST = f"r={SERVER_NONCE},s={SALT},i=4096"

# The proof and the signature of user "user" with password "pencil": those of SHA-256 are from
# RFC 7677, section 3; those of SHA-512 were computed with PBKDF2 written out, on the same nonces and salt.
VECTORS = {
    ScramHash.SHA_256: (
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
    ScramHash.SHA_512: (
        "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
        "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
    ),
}
AT = attempt(NONCE)


def pencil(kind: ScramHash = ScramHash.SHA_256) -> Scram:
    return Scram(kind, "user", "pencil")


@pytest.mark.parametrize("kind", ScramHash)
def test_vectors(kind: ScramHash) -> None:
    proof, signature = VECTORS[kind]
    sent = talk(pencil(kind), SERVER_FIRST.encode(), f"v={signature}".encode(), at=AT)
    assert sent == [f"n,,n=user,r={NONCE}".encode(), f"c=biws,r={SERVER_NONCE},p={proof}".encode(), None]


def test_names() -> None:
    assert pencil(ScramHash.SHA_256).name == "SCRAM-SHA-256"
    assert pencil(ScramHash.SHA_512).name == "SCRAM-SHA-512"
    assert Exchange(pencil(), AT).blocking


@pytest.mark.parametrize("kind", ScramHash)
@pytest.mark.parametrize("iterations", [MIN_ITERATIONS, 16_384])
def test_server_accepts(kind: ScramHash, iterations: int) -> None:
    server = ScramServer(kind.value, PASSWORD.encode(), iterations=iterations, extension=",x=1,y=2=3")
    assert authenticate(Scram(kind, "alice", PASSWORD), server)


def test_server_refuses_wrong_password() -> None:
    server = ScramServer("sha256", b"other")
    exchange = Exchange(Scram(ScramHash.SHA_256, "alice", PASSWORD), attempt())
    final = exchange.next(server.challenge(exchange.first()))
    assert final is not None
    assert server.verdict(final) is None


@pytest.mark.parametrize(
    ("username", "saslname"),
    [
        ("a,b", "a=2Cb"),
        ("a=b", "a=3Db"),
        ("=,=2C", "=3D=2C=3D2C"),
        ("zoë", "zoë"),
        ("O=x,CN=y", "O=3Dx=2CCN=3Dy"),
    ],
)
def test_user_name_is_escaped(username: str, saslname: str) -> None:
    [first] = talk(Scram(ScramHash.SHA_256, username, "pw"), at=AT)
    assert first == f"n,,n={saslname},r={NONCE}".encode()


def test_delegation_token() -> None:
    """Kafka's extension (KIP-48) comes after the nonce, and the proof covers it."""
    mechanism = Scram(ScramHash.SHA_512, "token-id", "hmac==", delegation_token=True)
    assert talk(mechanism, at=AT) == [f"n,,n=token-id,r={NONCE},tokenauth=true".encode()]
    assert authenticate(mechanism, ScramServer("sha512", b"hmac=="))
    assert "check that the delegation token 'token-id' exists" in str(Exchange(mechanism, AT).refused("no"))


def test_password_is_sent_as_kafka_stores_it() -> None:
    """Kafka does not apply SASLprep, which would turn "m²" into "m2"."""
    assert authenticate(Scram(ScramHash.SHA_256, "alice", "m²"), ScramServer("sha256", "m²".encode()))
    prepared = Scram(ScramHash.SHA_256, "alice", "m²", prepare_password=True)
    assert authenticate(prepared, ScramServer("sha256", b"m2"))


def test_prohibited_password() -> None:
    error = refusal(Scram(ScramHash.SHA_256, "alice", "hunt\u0007er2", prepare_password=True))
    assert "SASLprep prohibits the password: it has a control character" in str(error)
    assert "hunt" not in str(error)
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("username", "password", "message"),
    [
        ("", "pw", "the user name is empty"),
        ("alice", "", "the password is empty"),
        ("al\0ice", "pw", "the user name has a NUL character"),
        ("al\udc80ice", "pw", "the user name has a lone surrogate"),
        ("alice", "hunt\udc80er2", "the password has a lone surrogate"),
    ],
)
def test_unusable_credentials(username: str, password: str, message: str) -> None:
    error = refusal(Scram(ScramHash.SHA_256, username, password))
    assert message in str(error)
    assert "hunt" not in str(error)


@pytest.mark.parametrize("nonce", ["", "a,b", "a b", "é", "a\x7f"])
def test_nonce_of_caller_is_checked(nonce: str) -> None:
    with pytest.raises(ValueError, match="the nonce must be printable ASCII without commas"):
        Exchange(pencil(), attempt(nonce)).first()


@pytest.mark.parametrize(
    ("server_first", "message"),
    [
        (f"r=other{SERVER_NONCE},s={SALT},i=4096", "nonce does not extend the client's"),
        (f"r={NONCE},s={SALT},i=4096", "nonce does not extend the client's"),
        (f"r={NONCE[:-1]},s={SALT},i=4096", "nonce does not extend the client's"),
        (f"r={SERVER_NONCE},s={SALT},i=4095", "asks for 4095 iterations, but 4096 to 600000 are accepted"),
        (f"r={SERVER_NONCE},s={SALT},i=0", "asks for 0 iterations"),
        (f"r={SERVER_NONCE},s={SALT},i={MAX_ITERATIONS + 1}", "asks for 600001 iterations"),
        (f"r={SERVER_NONCE},s={SALT},i=9999999999", "asks for 9999999999 iterations"),
        (f"r={SERVER_NONCE},s={SALT},i=" + "9" * 60_000, "instead of r=NONCE,s=SALT,i=ITERATIONS"),
        (f"r={SERVER_NONCE},s={SALT},i=-4096", "instead of"),
        (f"r={SERVER_NONCE},s={SALT},i=4_096", "instead of"),
        (f"r={SERVER_NONCE},s={SALT},i=٤٠٩٦", "instead of"),
        (f"r={SERVER_NONCE},s={SALT},i=", "instead of"),
        (f"r={SERVER_NONCE},s={SALT}", "instead of"),
        (f"r={SERVER_NONCE},i=4096", "instead of"),
        (f"s={SALT},i=4096", "instead of"),
        (f"s={SALT},r={SERVER_NONCE},i=4096", "instead of"),
        (f"r={SERVER_NONCE},s=,i=4096", "instead of"),
        (f"r={SERVER_NONCE},s=abc,i=4096", "instead of"),
        (f"r={SERVER_NONCE},s=====,i=4096", "instead of"),
        (f"r={SERVER_NONCE},s={SALT},i=4096,", "instead of"),
        (f"r={SERVER_NONCE},s={SALT},i=4096,i=5000", "repeats an attribute"),
        (f"r={SERVER_NONCE},r={SERVER_NONCE},s={SALT},i=4096", "repeats an attribute"),
        (f"r={SERVER_NONCE},s={SALT},i=4096,m=later", "requires an extension"),
        (f"m=x,r={SERVER_NONCE},s={SALT},i=4096", "requires an extension"),
        ("e=unknown-user", 'the broker answered "unknown-user"; check sasl_username'),
        ("", 'the broker sent "" instead of'),
        ("\0", "instead of"),
    ],
)  # fmt: skip
def test_hostile_first_message(server_first: str, message: str) -> None:
    error = refusal(pencil(), server_first.encode(), at=AT)
    assert message in str(error)
    assert len(str(error)) < 600


def test_not_utf8() -> None:
    assert "is not UTF-8" in str(refusal(pencil(), b"r=\xff", at=AT))
    error = refusal(pencil(), SERVER_FIRST.encode(), b"v=\xff", at=AT)
    assert "is not UTF-8" in str(error)
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("server_final", "message"),
    [
        ("v=" + "A" * 43 + "=", "the broker's signature is wrong"),
        ("v=AAAA", "the broker's signature is wrong"),
        ("v=A", "instead of v=SIGNATURE"),
        ("v=", "instead of v=SIGNATURE"),
        ("", "instead of v=SIGNATURE"),
        ("x=1", "instead of v=SIGNATURE"),
        ("v=AAAA,e=other-error,", "instead of v=SIGNATURE"),
        ("e=invalid-proof", "the broker answered \"invalid-proof\"; check sasl_username ('user')"),
        ("e=other,x=1", 'the broker answered "other"'),
    ],
)
def test_hostile_final_message(server_final: str, message: str) -> None:
    error = refusal(pencil(), SERVER_FIRST.encode(), server_final.encode(), at=AT)
    assert message in str(error)


def test_error_attribute_is_the_reason() -> None:
    error = refusal(pencil(), SERVER_FIRST.encode(), b"e=invalid-proof", at=AT)
    assert error.reason == '"invalid-proof"'


def test_signature_of_other_hash_is_refused() -> None:
    _, signature = VECTORS[ScramHash.SHA_512]
    error = refusal(pencil(), SERVER_FIRST.encode(), f"v={signature}".encode(), at=AT)
    assert "may be an impostor" in str(error)


def test_broker_must_not_stop_early() -> None:
    """Empty bytes, with which PLAIN ends, do not prove that the broker knows the password."""
    refusal(pencil(), b"", at=AT)
    refusal(pencil(), SERVER_FIRST.encode(), b"", at=AT)


def test_refusal_says_each_mechanism_has_its_credential() -> None:
    exchange = Exchange(pencil(ScramHash.SHA_512), AT)
    exchange.first()
    assert re.search(
        r'the broker answered "Authentication failed"; check sasl_username \(\'user\'\) and sasl_password, '
        r"and that the user has a credential for SCRAM-SHA-512: each SCRAM mechanism has its own",
        str(exchange.refused("Authentication failed")),
    )


@few_examples
@given(
    username=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    password=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    salt=st.binary(min_size=1, max_size=64),
)
def test_any_credentials_are_proved(username: str, password: str, salt: bytes) -> None:
    server = ScramServer("sha256", password.encode(), salt=salt)
    assert authenticate(Scram(ScramHash.SHA_256, username, password), server)
    [saslname] = re.findall(r"n=([^,]*),r=", server.client_first_bare.decode())
    assert saslname.replace("=2C", ",").replace("=3D", "=") == username


def authenticate(mechanism: Scram, server: ScramServer) -> bool:
    exchange = Exchange(mechanism, attempt())
    final = exchange.next(server.challenge(exchange.first()))
    assert final is not None
    verdict = server.verdict(final)
    if verdict is None:
        return False
    # The smallest change of the signature makes it invalid.
    forged = Exchange(mechanism, attempt())
    forged.next(server.challenge(forged.first()))
    last = b"B" if verdict[2:3] == b"A" else b"A"
    with pytest.raises(AuthenticationError, match="signature is wrong"):
        forged.next(b"v=" + last + verdict[3:])
    assert exchange.next(verdict) is None
    return exchange.done
