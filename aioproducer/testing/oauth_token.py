"""Unsecured tokens (RFC 7515, alg "none"): what a broker without an identity provider accepts.

>>> token = unsecured_token("alice", issued_at=0, expires_at=3600)
>>> read_unsecured(token, now=60.0)
AcceptedToken(principal='alice', expires_at=3600.0)
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from dataclasses import dataclass
from typing import Any, TypeGuard

_DEFAULT_LIFETIME = 3600.0
# A broker refuses a token of the future, and its clock may be behind.
_DEFAULT_AGE = 60.0


@dataclass(frozen=True, slots=True)
class AcceptedToken:
    """The principal of a token, and when it expires, in seconds since 1970 (None: never)."""

    principal: str
    expires_at: float | None = None


def unsecured_token(
    principal: str, *, issued_at: float | None = None, expires_at: float | None = None, **claims: object
) -> str:
    """Return an unsecured token for a principal; times are in seconds since 1970.

    By default it was issued a minute ago, for an hour. `claims` are added, such as `scope=["write"]`.
    """
    issued_at = time.time() - _DEFAULT_AGE if issued_at is None else issued_at
    expires_at = issued_at + _DEFAULT_LIFETIME if expires_at is None else expires_at
    payload = {"sub": principal, "iat": issued_at, "exp": expires_at, **claims}
    return f"{_encode({'alg': 'none'})}.{_encode(payload)}."


def read_unsecured(token: str, now: float) -> AcceptedToken | None:
    """Return what a token stands for, None for one that Kafka's unsecured validator refuses.

    `now` is in seconds since 1970.
    """
    header, dot, rest = token.partition(".")
    payload, second_dot, signature = rest.partition(".")
    # "header.payload." ends with an empty signature.
    if not dot or not second_dot or signature:
        return None
    claims = _decode(payload)
    if _decode(header).get("alg") != "none":
        return None
    principal, expires_at, issued_at = claims.get("sub"), claims.get("exp"), claims.get("iat", 0)
    if not isinstance(principal, str) or not principal:
        return None
    if not _is_number(expires_at) or not _is_number(issued_at):
        return None
    if not issued_at <= now < expires_at:
        return None
    return AcceptedToken(principal, float(expires_at))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _decode(part: str) -> dict[str, Any]:
    """Return the JSON object; an empty one for anything else."""
    try:
        decoded = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
