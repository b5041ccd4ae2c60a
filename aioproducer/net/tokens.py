"""Tokens for OAUTHBEARER: one for all connections, renewed before it expires.

    requested ────────── 80 % of its lifetime ────────── expired
       the token is used  │  a new one is requested, the old one is used if that fails or is slow

The first authentication after that share of the lifetime requests a new token. Brokers end a session
with its token, so a live connection authenticates again before the token expires, too.

One request serves all authentications that wait at the same time: they share its token or its error.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from aioproducer.core.backoff import Backoff
from aioproducer.errors import AuthenticationError, ConfigurationError, ProducerError, plural
from aioproducer.net.oauth import TokenEndpoint
from aioproducer.sasl.mechanism import failed
from aioproducer.sasl.oauthbearer import OAuthBearer, Token, extensions_fault, token_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig
    from aioproducer.net.providers import Providers

logger = logging.getLogger("aioproducer.sasl")

_PATIENCE = 5.0
"""Seconds that an authentication waits for a new token while the old one is valid. It is less than the
limit of the set-up of a connection, 10 s by default."""

# Mistakes in the provider's code: the next call would not differ.
_BUGS = (TypeError, AttributeError, NameError, ImportError, NotImplementedError)

# In seconds this is the year 33658, in milliseconds 2001.
_MAX_TIME = 1e12


class TokenSource:
    """The token of a client; `provider` gives a new one, `random` floats from 0 up to 1."""

    def __init__(
        self,
        provider: Callable[[], Any],
        config: ProducerConfig,
        random: Callable[[], float],
        providers: Providers,
    ) -> None:
        self._provider = provider
        self._name = str(provider) if isinstance(provider, TokenEndpoint) else "the token provider"
        self._providers = providers
        self._config = config
        self._random = random
        self._backoff = Backoff(config.login_retry_backoff, config.login_retry_backoff_max, random)
        self._token: Token | None = None
        self._renew_at = 0.0
        self._failures = 0
        self._renewal: asyncio.Task[Token] | None = None
        self._waiting = 0

    async def token(self) -> Token:
        """Return a token that is valid now; raises AuthenticationError or ConfigurationError.

        A failed or slow request does not discard a valid token.
        """
        if self._token is not None and time.time() < self._renew_at:
            return self._token
        renewal = self._renewal or self._begin()
        await self._wait(renewal)
        # Of the time after the wait: the old token may have expired meanwhile.
        old = self._valid_token()
        if not renewal.done():
            if old is not None:
                return old
            await self._wait(renewal)
        if renewal.cancelled():
            raise failed(OAuthBearer.name, "the request for a token was cancelled")
        error = renewal.exception()
        if error is None:
            return renewal.result()
        if isinstance(error, ProducerError) and old is not None:
            return old
        # A copy: each connection adds its own address.
        raise copy.copy(error) from error.__cause__

    def close(self) -> None:
        """End a request that goes on: the client is closed."""
        if self._renewal is not None:
            self._renewal.cancel()

    def _begin(self) -> asyncio.Task[Token]:
        # A task of its own: it also serves the authentications that come after this one, and it goes on
        # when this one is satisfied with the old token. It ends by itself.
        self._renewal = asyncio.get_running_loop().create_task(self._renew(), name="aioproducer-token")
        self._renewal.add_done_callback(self._ended)
        return self._renewal

    def _ended(self, renewal: asyncio.Task[Token]) -> None:
        if self._renewal is renewal:
            self._renewal = None
        if not renewal.cancelled():
            # asyncio logs an exception that nothing looked at.
            renewal.exception()

    async def _wait(self, renewal: asyncio.Task[Token]) -> None:
        old = self._valid_token()
        patience = None if old is None else _PATIENCE
        if old is not None and old.expires_at is not None:
            patience = min(_PATIENCE, (old.expires_at - time.time()) / 2)
        self._waiting += 1
        try:
            await asyncio.wait({renewal}, timeout=patience)
        except asyncio.CancelledError:
            # The producer stops. While others wait, the request goes on.
            if self._waiting == 1:
                self._renewal = None
                renewal.cancel()
            raise
        finally:
            self._waiting -= 1

    def _valid_token(self) -> Token | None:
        token = self._token
        # Without a known end it is for the broker to refuse it.
        if token is None or token.expires_at is None or token.expires_at > time.time():
            return token
        return None

    async def _renew(self) -> Token:
        try:
            new = await self._request()
        except ProducerError as error:
            if (old := self._valid_token()) is not None:
                # Until then other authentications use the old token without a new request.
                self._renew_at = time.time() + self._backoff.delay(self._failures)
                if old.expires_at is not None:
                    self._renew_at = min(self._renew_at, old.expires_at)
                logger.warning("using the old token, %s: %s", _remaining(old), error)
            self._failures += 1
            raise
        self._token, self._failures = new, 0
        self._renew_at = self._next_renewal(new)
        return new

    async def _request(self) -> Token:
        limit = self._config.request_timeout
        cause: Exception | None = None
        attempts = 0
        with anyio.move_on_after(limit):
            while True:
                attempts += 1
                try:
                    return self._checked(await self._providers.call(self._provider))
                except Exception as error:  # noqa: BLE001 -- the user's code
                    cause = error
                    if _is_final(error):
                        break
                logger.log(
                    logging.WARNING if attempts == 1 else logging.INFO,
                    "no token from %s (attempt %d): %s", self._name, attempts, self._text(cause),
                )  # fmt: skip
                await anyio.sleep(self._backoff.delay(attempts - 1))
        if isinstance(cause, ProducerError) and _is_final(cause):
            raise cause
        raise self._failed(cause, attempts, limit) from cause

    def _failed(self, cause: Exception | None, attempts: int, limit: float) -> AuthenticationError:
        if cause is None:
            message = f"{self._name} gave no token within {limit:.1f} s (request_timeout_ms)"
        elif _is_final(cause):
            message = f"{self._name} raised {self._text(cause)}"
        else:
            tried = plural(attempts, "attempt")
            message = (
                f"{self._name} gave no token in {tried} within {limit:.1f} s (request_timeout_ms): "
                f"{self._text(cause)}"
            )
        reason = cause.reason if isinstance(cause, AuthenticationError) else None
        return failed(OAuthBearer.name, message, reason=reason)

    def _checked(self, given: object) -> Token:
        extensions = dict(self._config.sasl_oauthbearer_extensions or ())
        if isinstance(given, str):
            token = Token.from_jwt(given)
        elif isinstance(given, Token):
            token = given
        else:
            message = f"{self._name} must return a string or a Token, it returned {type(given).__name__}"
            raise failed(OAuthBearer.name, message)
        # Checked before the broker sees it, and before it replaces a valid token.
        fault = _expiry_fault(token.expires_at) or token_fault(token.value)
        if fault := fault or extensions_fault(token.extensions):
            raise failed(OAuthBearer.name, f"{self._name} returned an unusable token: {fault}")
        return replace(token, extensions={**extensions, **token.extensions})

    def _next_renewal(self, token: Token) -> float:
        if token.expires_at is None:
            # Its end is not known: the next authentication requests a new one.
            return 0.0
        now, config = time.time(), self._config
        lifetime = max(0.0, token.expires_at - now)
        share = config.sasl_login_refresh_window_factor
        share += config.sasl_login_refresh_window_jitter * self._random()
        renew_at = now + lifetime * min(share, 1.0)
        # As in Java, the two limits apply only to lifetimes that have room for both. By default a token
        # for an hour is renewed after 48 to 51 minutes, for 10 minutes after 5, for 60 s after 48 to 51 s.
        period, buffer = (
            config.sasl_login_refresh_min_period_seconds,
            config.sasl_login_refresh_buffer_seconds,
        )
        if lifetime > period + buffer:
            renew_at = max(min(renew_at, token.expires_at - buffer), now + period)
        return renew_at

    def _text(self, error: Exception) -> str:
        # Not the text of foreign errors: it may contain the token.
        if not isinstance(error, AuthenticationError):
            return type(error).__name__
        # The endpoint's own errors begin with its name.
        return str(error).removeprefix(f"{self._name} ")


def _remaining(token: Token) -> str:
    if token.expires_at is None:
        return "as its expiry is unknown"
    return f"{token.expires_at - time.time():.0f} s more"


def _is_final(error: Exception) -> bool:
    """Return whether the provider would fail again."""
    if isinstance(error, AuthenticationError | ConfigurationError):
        return not error.retriable
    return isinstance(error, _BUGS)


def _expiry_fault(expires_at: object) -> str | None:
    if expires_at is None:
        return None
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        return f"expires_at must be a number of seconds since the epoch, it is {type(expires_at).__name__}"
    if not 0 <= expires_at < _MAX_TIME:
        return "expires_at must be in seconds since the epoch, not in milliseconds"
    return None
