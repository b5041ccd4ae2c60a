"""Tokens for Google's Managed Service for Apache Kafka, from Google's own package.

    {"alg": "GOOG_OAUTH2_TOKEN"} . {"sub": "name@project.iam…", "iat": …, "exp": …} . access token

The service takes an access token of Google's in the place of a signature, and the account in `sub`.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aioproducer.errors import ConfigurationError
from aioproducer.sasl.mechanism import failed
from aioproducer.sasl.oauthbearer import OAuthBearer, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True, slots=True)
class GoogleTokens:
    """A token provider for OAUTHBEARER with Google's application default credentials.

        Producer(..., sasl_mechanism="OAUTHBEARER", sasl_token_provider=GoogleTokens())

    Credentials of a user have no account of their own: pass it as `principal`. Each call may do I/O.
    """

    principal: str | None = None

    def __call__(self) -> Token:
        """Return a new token, which lasts for an hour at most."""
        credentials, _ = _package("google.auth").default(scopes=[_SCOPE])
        credentials.refresh(_package("google.auth.transport.requests").Request())
        # A service account has an address only after the refresh, where a metadata server gives it.
        principal = self.principal or getattr(credentials, "service_account_email", None)
        if not principal:
            message = "Google's credentials have no service account: pass its address as principal"
            raise failed(OAuthBearer.name, message)
        # A datetime in UTC without a time zone.
        expires_at = credentials.expiry.replace(tzinfo=UTC).timestamp()
        claims = {
            "exp": int(expires_at),
            "iat": int(datetime.now(UTC).timestamp()),
            "iss": "Google",
            "scope": "kafka",
            "sub": principal,
        }
        header = {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
        parts = [_json(header), _json(claims), credentials.token.encode()]
        value = ".".join([urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts])
        return Token(value, expires_at=expires_at, principal=principal)


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _package(name: str) -> Any:  # noqa: ANN401 -- the package is optional
    try:
        return import_module(name)
    except ImportError as error:
        message = f"GoogleTokens needs an extra: pip install 'aioproducer[google]' ({error})"
        raise ConfigurationError(message, option="sasl_token_provider") from error
