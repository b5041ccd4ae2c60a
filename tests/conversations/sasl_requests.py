"""The requests of SASL conversations."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING

from aioproducer.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest
from tests.conversations.requests import ask

if TYPE_CHECKING:
    from tests.conversations.conversation import RawRequest, RequestMaker
    from tests.conversations.topic_names import TopicNames

USERS = {"alice": "alice-secret", "bob": "bob-secret"}
"""The users of every broker that runs SASL conversations."""

SESSION_LIFETIME_MS = 2000
TOKEN_LIFETIME = 1000

PLAIN = b"\0alice\0alice-secret"
PLAIN_OF_BOB = b"\0bob\0bob-secret"
SCRAM = b"n,,n=alice,r=abcdef"
NO_MORE = b"\x01"
"""The client's answer to OAUTHBEARER's error."""

_DIGESTS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


def handshake(mechanism: str, version: int = 1) -> RequestMaker:
    return ask(SaslHandshakeRequest(mechanism=mechanism), version)


def authenticate(data: bytes, version: int = 2) -> RequestMaker:
    return ask(SaslAuthenticateRequest(auth_bytes=data), version)


def scram_final(mechanism: str, password: str = USERS["alice"]) -> RequestMaker:
    """Prove the password, after SCRAM was sent and its challenge received."""
    digest = _DIGESTS[mechanism]

    def make(names: TopicNames) -> RawRequest:
        challenge = names.challenge.decode()
        nonce, salt, iterations = [part[2:] for part in challenge.split(",")]
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), base64.b64decode(salt), int(iterations))
        client_key = hmac.digest(salted, b"Client Key", digest)
        final = f"c=biws,r={nonce}"
        signed = ",".join((SCRAM.decode().removeprefix("n,,"), challenge, final)).encode()
        signature = hmac.digest(hashlib.new(digest, client_key).digest(), signed, digest)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return authenticate(f"{final},p={base64.b64encode(proof).decode()}".encode())(names)

    return make


def bearer(
    *, extensions: str = "", authorization_id: str = "", lifetime: float = TOKEN_LIFETIME, **claims: object
) -> RequestMaker:
    """Send an unsecured token of alice; a claim of None is left out."""

    def make(names: TopicNames) -> RawRequest:
        now = time.time()
        # A broker refuses a token of the future, even by a millisecond.
        all_claims = {"sub": "alice", "iat": now - 5, "exp": now + lifetime, "scope": [], **claims}
        payload = {name: value for name, value in all_claims.items() if value is not None}
        token = f"{_encoded({'alg': 'none'})}.{_encoded(payload)}."
        return authenticate(bearer_bytes(token, authorization_id, extensions))(names)

    return make


def bearer_bytes(token: str, authorization_id: str = "", extensions: str = "") -> bytes:
    header = f"n,a={authorization_id}," if authorization_id else "n,,"
    return f"{header}\x01auth=Bearer {token}\x01{extensions}\x01".encode()


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
