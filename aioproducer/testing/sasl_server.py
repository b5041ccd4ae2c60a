"""The servers of SASL mechanisms: bytes of the client in, bytes of the broker out.

Errors are Kafka's (`PlainSaslServer`, `ScramSaslServer`, `OAuthBearerSaslServer`): a wrong password
of PLAIN is told as such, one of SCRAM as invalid credentials. Each server is one exchange.

    SCRAM    n,,n=alice,r=…  ─▶  ◀─  r=…,s=…,i=4096     c=biws,r=…,p=…  ─▶  ◀─  v=…
    OAUTHBEARER   n,,auth=Bearer …  ─▶  ◀─  nothing, or {"status":"invalid_token"}, then 0x01  ─▶
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.testing.credentials import Credentials, ScramCredential
    from aioproducer.testing.oauth_token import AcceptedToken

_PLAIN_PARTS = 3
_DIGESTS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_OTHER_AUTHORIZATION_ID = (
    "Authentication failed: Client requested an authorization id that is different from username"
)

_CLIENT_FIRST = re.compile(
    r"n,(?:a=(?P<authorization>[^,]+))?,"
    r"(?P<bare>n=(?P<user>(?:[^,=]|=2C|=3D)+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?P<extensions>(?:,[a-zA-Z]+=[^,]+)*))"
)
_CLIENT_FINAL = re.compile(
    r"(?P<without_proof>c=(?P<binding>[a-zA-Z0-9+/=]*),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)),p=(?P<proof>[a-zA-Z0-9+/=]+)"
)
_TOKEN_FIRST = re.compile(
    r"n,(?:a=(?P<authorization>[^,\x01]+))?,\x01(?P<pairs>(?:[a-zA-Z]+=[^\x01]*\x01)+)\x01", re.DOTALL
)
_BEARER = re.compile(r"[Bb]earer +(?P<token>[-_~+/.a-zA-Z0-9=]+)")

ERROR_RECEIVED: Final = b"\x01"
"""The client's answer to the error of OAUTHBEARER."""

REFUSAL: Final = '{"status":"invalid_token"}'


class SaslRefused(Exception):  # noqa: N818 - a response, not a fault of the program
    """The client has failed; the message is in the response."""


class InvalidCredentials(Exception):  # noqa: N818 - as above
    """The client has failed, and the response says no more than that."""


class SaslServer(Protocol):
    """One exchange."""

    principal: str | None
    """Set when the exchange has succeeded."""
    extensions: dict[str, str]
    expires_at: float | None
    """When the credentials expire, in seconds since 1970."""

    def step(self, data: bytes) -> bytes:
        """Answer the client's bytes; raises SaslRefused and InvalidCredentials."""
        ...


def server_for(mechanism: str, credentials: Credentials, now: Callable[[], float]) -> SaslServer:
    """Return the server of a new exchange; `now` tells the seconds since 1970."""
    if mechanism == "PLAIN":
        return PlainServer(credentials)
    if mechanism == "OAUTHBEARER":
        return OAuthBearerServer(credentials, now)
    return ScramServer(mechanism, credentials)


class PlainServer:
    """PLAIN: authorization id, user and password in one message."""

    def __init__(self, credentials: Credentials) -> None:
        self.principal: str | None = None
        self.extensions: dict[str, str] = {}
        self.expires_at: float | None = None
        self._credentials = credentials

    def step(self, data: bytes) -> bytes:
        """Check the password."""
        parts = data.decode(errors="replace").split("\0")
        if len(parts) != _PLAIN_PARTS:
            message = f"Invalid SASL/PLAIN response: expected {_PLAIN_PARTS} tokens, got {min(len(parts), 4)}"
            raise SaslRefused(message)
        authorization_id, user, password = parts
        if not user:
            message = "Authentication failed: username not specified"
            raise SaslRefused(message)
        if not password:
            message = "Authentication failed: password not specified"
            raise SaslRefused(message)
        if not self._credentials.is_password(user, password):
            message = "Authentication failed: Invalid username or password"
            raise SaslRefused(message)
        if authorization_id not in ("", user):
            raise SaslRefused(_OTHER_AUTHORIZATION_ID)
        self.principal = user
        return b""


class ScramServer:
    """SCRAM (RFC 5802), without channel binding, as Kafka has it."""

    def __init__(self, mechanism: str, credentials: Credentials) -> None:
        self.principal: str | None = None
        self.extensions: dict[str, str] = {}
        self.expires_at: float | None = None
        self._mechanism = mechanism
        self._digest = _DIGESTS[mechanism]
        self._credentials = credentials
        self._user = ""
        self._credential: ScramCredential | None = None
        self._nonce = ""
        # The client's first message without its header, and the server's.
        self._messages: tuple[str, str] = ("", "")

    def step(self, data: bytes) -> bytes:
        """Send the salt, then check the proof."""
        text = data.decode(errors="replace")
        return self._first(text) if self._credential is None else self._final(text, self._credential)

    def _first(self, text: str) -> bytes:
        found = _CLIENT_FIRST.fullmatch(text)
        if found is None:
            raise InvalidCredentials
        extensions = [pair.partition("=") for pair in found["extensions"].split(",") if pair]
        self.extensions = {name: value for name, _, value in extensions}
        self._user = found["user"].replace("=2C", ",").replace("=3D", "=")
        # Delegation tokens (KIP-48): the user is the token's id, and this cluster has none.
        is_token = self.extensions.get("tokenauth", "").lower() == "true"
        credential = None if is_token else self._credentials.scram(self._user, self._digest)
        if credential is None:
            raise InvalidCredentials
        if found["authorization"] not in (None, self._user):
            raise SaslRefused(_OTHER_AUTHORIZATION_ID)
        self._credential = credential
        self._nonce = found["nonce"] + secrets.token_hex(12)
        salt = base64.b64encode(credential.salt).decode()
        first = f"r={self._nonce},s={salt},i={credential.iterations}"
        self._messages = (found["bare"], first)
        return first.encode()

    def _final(self, text: str, credential: ScramCredential) -> bytes:
        found = _CLIENT_FINAL.fullmatch(text)
        if found is None or found["nonce"] != self._nonce:
            raise InvalidCredentials
        signed = ",".join((*self._messages, found["without_proof"])).encode()
        # proof = client key XOR signature: with the stored hash of the client key, that is checked.
        signature = hmac.digest(credential.stored_key, signed, self._digest)
        try:
            proof = base64.b64decode(found["proof"], validate=True)
        except binascii.Error:
            raise InvalidCredentials from None
        if len(proof) != len(signature):
            raise InvalidCredentials
        client_key = bytes(ours ^ theirs for ours, theirs in zip(signature, proof, strict=True))
        if not hmac.compare_digest(hashlib.new(self._digest, client_key).digest(), credential.stored_key):
            raise InvalidCredentials
        self.principal = self._user
        verifier = hmac.digest(credential.server_key, signed, self._digest)
        return b"v=" + base64.b64encode(verifier)


class OAuthBearerServer:
    """OAUTHBEARER (RFC 7628): the error comes with error code 0, and the client must confirm it."""

    def __init__(self, credentials: Credentials, now: Callable[[], float]) -> None:
        self.principal: str | None = None
        self.extensions: dict[str, str] = {}
        self.expires_at: float | None = None
        self._credentials = credentials
        self._now = now
        self._has_refused = False

    def step(self, data: bytes) -> bytes:
        """Check the token."""
        if self._has_refused and data == ERROR_RECEIVED:
            raise SaslRefused(REFUSAL)
        self._has_refused = False
        found = _TOKEN_FIRST.fullmatch(data.decode(errors="replace"))
        if found is None:
            raise InvalidCredentials
        pairs = dict(pair.split("=", 1) for pair in found["pairs"].split("\x01") if pair)
        bearer = _BEARER.fullmatch(pairs.pop("auth", ""))
        if bearer is None:
            raise InvalidCredentials
        token = self._credentials.token(bearer["token"], self._now())
        if token is None:
            self._has_refused = True
            return REFUSAL.encode()
        return self._accept(token, found["authorization"], pairs)

    def _accept(
        self, token: AcceptedToken, authorization_id: str | None, extensions: dict[str, str]
    ) -> bytes:
        if authorization_id not in (None, token.principal):
            message = (
                f"Authentication failed: Client requested an authorization id ({authorization_id}) that is "
                f"different from the token's principal name ({token.principal})"
            )
            raise SaslRefused(message)
        self.extensions = extensions
        self.expires_at = token.expires_at
        self.principal = token.principal
        return b""
