"""The users and tokens that a fake cluster accepts; both may change while it runs."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aioproducer.testing.oauth_token import AcceptedToken, read_unsecured

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ScramCredential:
    """A broker's record of a SCRAM user: enough to check a proof, not enough to make one."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


class Credentials:
    """Passwords by user, and tokens. `tokens=None` accepts unsecured tokens instead."""

    def __init__(
        self, users: Mapping[str, str], tokens: Mapping[str, str | AcceptedToken] | None, iterations: int
    ) -> None:
        self._passwords = dict(users)
        self._tokens = None if tokens is None else dict(tokens)
        self._iterations = iterations
        self._scram: dict[tuple[str, str], ScramCredential] = {}

    @property
    def users(self) -> dict[str, str]:
        """The passwords by user."""
        return dict(self._passwords)

    @property
    def tokens(self) -> dict[str, str | AcceptedToken] | None:
        """The accepted tokens; None: unsecured ones."""
        return None if self._tokens is None else dict(self._tokens)

    def set_password(self, user: str, password: str) -> None:
        """Add a user, or change the password."""
        self._passwords[user] = password
        self._forget(user)

    def remove(self, user: str) -> None:
        """Remove a user, if it exists."""
        self._passwords.pop(user, None)
        self._forget(user)

    def is_password(self, user: str, password: str) -> bool:
        """Return whether this is the user's password."""
        own = self._passwords.get(user)
        return own is not None and hmac.compare_digest(own.encode(), password.encode())

    def scram(self, user: str, digest: str) -> ScramCredential | None:
        """Return what a broker knows of a SCRAM user; None for an unknown one."""
        password = self._passwords.get(user)
        if password is None:
            return None
        # The first exchange derives the keys, about 3 ms at 4096 iterations; later ones reuse them.
        if (user, digest) not in self._scram:
            self._scram[user, digest] = self._derive(password, digest)
        return self._scram[user, digest]

    def set_token(self, value: str, token: str | AcceptedToken) -> None:
        """Accept a token; from now on unsecured tokens are refused."""
        self._tokens = {**(self._tokens or {}), value: token}

    def remove_token(self, value: str) -> None:
        """Refuse a token from now on, if it was accepted."""
        if self._tokens is not None:
            self._tokens.pop(value, None)

    def token(self, value: str, now: float) -> AcceptedToken | None:
        """Return what a token stands for, None for an invalid or expired one."""
        if self._tokens is None:
            return read_unsecured(value, now)
        token = self._tokens.get(value)
        if isinstance(token, str):
            return AcceptedToken(token)
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        return token

    def _forget(self, user: str) -> None:
        for known, digest in list(self._scram):
            if known == user:
                del self._scram[known, digest]

    def _derive(self, password: str, digest: str) -> ScramCredential:
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, self._iterations)
        client_key = hmac.digest(salted, b"Client Key", digest)
        return ScramCredential(
            salt=salt,
            iterations=self._iterations,
            stored_key=hashlib.new(digest, client_key).digest(),
            server_key=hmac.digest(salted, b"Server Key", digest),
        )
