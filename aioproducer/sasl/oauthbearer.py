"""OAUTHBEARER (RFC 7628): a bearer token of an OAuth server, with Kafka's SASL extensions (KIP-342).

    client ── n,,^Aauth=Bearer TOKEN^AlogicalCluster=lkc-1^A^A ──▶ broker
    client ◀─ nothing: accepted ────────────────────────────────── broker

A broker that refuses the token does not use its error code at first. It sends JSON and expects
one more byte, and its answer to that byte has the error code:

    client ◀─ {"status":"invalid_token"} ─── broker     with error code 0
    client ── ^A ──────────────────────────▶ broker
    client ◀─ SASL_AUTHENTICATION_FAILED ─── broker     a failure with any other code too
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from aioproducer.sasl.mechanism import Abort, failed, refuse_pickle

if TYPE_CHECKING:
    from typing import NoReturn

    from aioproducer.sasl.mechanism import Attempt, Steps

_SEPARATOR = "\x01"

# The patterns of Kafka's `OAuthBearerClientInitialResponse`.
_TOKEN = re.compile(r"[-_~+/.a-zA-Z0-9]+=*")
_EXTENSION_KEY = re.compile(r"[A-Za-z]+")
_EXTENSION_VALUE = re.compile(r"[\x21-\x7e \t\r\n]+")

# Some thirty thousand years.
_MAX_TIME = 1e12

_NO_CLAIMS: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token: what a token provider returns."""

    value: str = field(repr=False)
    expires_at: float | None = None
    """The time in seconds since the epoch; None if the provider does not know it."""
    principal: str | None = None
    """The user that the token stands for, for messages alone."""
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """SASL extensions, such as `logicalCluster` and `identityPoolId`."""

    def __reduce__(self) -> NoReturn:
        refuse_pickle(self)

    @classmethod
    def from_jwt(cls, value: str, extensions: Mapping[str, str] | None = None) -> Self:
        """Return a token with the expiry and subject of a JWT; without them if `value` is none.

        The signature is not verified: that is for the broker.
        """
        claims = _claims(value)
        subject = claims.get("sub")
        return cls(
            value,
            expires_at=_time(claims.get("exp")),
            principal=subject if isinstance(subject, str) else None,
            extensions=extensions or {},
        )


@dataclass(frozen=True, slots=True)
class OAuthBearer:
    """OAUTHBEARER with a token."""

    name: ClassVar[str] = "OAUTHBEARER"
    blocking: ClassVar[bool] = False

    token: Token

    def __reduce__(self) -> NoReturn:
        refuse_pickle(self)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token."""
        return (self.token.value,)

    def steps(self, attempt: Attempt) -> Steps:  # noqa: ARG002 -- the token depends on nothing else
        """Send the token; report a refusal that comes without an error code."""
        if fault := token_fault(self.token.value) or extensions_fault(self.token.extensions):
            raise failed(self.name, fault)
        pairs = [f"auth=Bearer {self.token.value}"]
        pairs += [f"{key}={value}" for key, value in self.token.extensions.items()]
        challenge = yield _SEPARATOR.join(["n,,", *pairs, _SEPARATOR]).encode()
        # An expired token that is sent all the same gets here too: clocks differ, so the broker decides.
        if challenge:
            yield Abort(_SEPARATOR.encode(), _refusal(challenge))

    def likely_cause(self, attempt: Attempt) -> str:
        """Return what to check if the broker refuses the token."""
        subject = f"the token of {self.token.principal!r}" if self.token.principal else "the token"
        expires_at = self.token.expires_at
        if expires_at is not None and expires_at <= attempt.now:
            ago = attempt.now - expires_at
            return f"{subject} expired {ago:.0f} s ago by the clock of this machine"
        return (
            f"check that the audience, issuer and scope of {subject} are those of the broker, "
            "and that the clocks of both agree"
        )


def token_fault(value: object) -> str | None:
    """Return what is wrong with the text of a token, without the text, or None."""
    if not isinstance(value, str):
        return f"the token must be a string, it is {type(value).__name__}"
    if not value:
        return "the token is empty"
    if value.lower().startswith("bearer "):
        return "the token begins with 'Bearer ': pass the token alone"
    if value != value.strip():
        return "the token has spaces or line breaks around it: strip them"
    if not _TOKEN.fullmatch(value):
        return "the token has characters that no bearer token has (RFC 6750)"
    return None


def extensions_fault(extensions: object) -> str | None:
    """Return what is wrong with SASL extensions, or None; the rules are those of Java's client."""
    if not isinstance(extensions, Mapping):
        return f"the SASL extensions must be a mapping of strings, they are {type(extensions).__name__}"
    for key, value in extensions.items():
        if key == "auth":
            return "the SASL extension 'auth' is reserved for the token"
        if not isinstance(key, str) or not _EXTENSION_KEY.fullmatch(key):
            return f"the name of the SASL extension {key!r} must consist of ASCII letters"
        if not isinstance(value, str) or not _EXTENSION_VALUE.fullmatch(value):
            return f"the value of the SASL extension {key!r} must be printable ASCII, and not empty"
    return None


def _refusal(challenge: bytes) -> str:
    text = challenge.decode(errors="replace")
    try:
        answer = json.loads(text)
    # Many opening brackets end Python's recursion.
    except (ValueError, RecursionError):
        return text
    if not isinstance(answer, dict) or not isinstance(answer.get("status"), str):
        return text
    details = [f"{key}: {answer[key]}" for key in ("scope", "openid-configuration") if answer.get(key)]
    return f"{answer['status']} ({', '.join(details)})" if details else answer["status"]


def _claims(token: str) -> Mapping[str, object]:
    """Return the claims of a JWT, none if the text is not a JWT."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 -- header, claims, signature
        return _NO_CLAIMS
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        return _NO_CLAIMS
    return claims if isinstance(claims, dict) else _NO_CLAIMS


def _time(claim: object) -> float | None:
    # JSON's 1e999 is infinity, and an int of a thousand digits has no float.
    if isinstance(claim, int | float) and 0 <= claim < _MAX_TIME:
        return float(claim)
    return None
