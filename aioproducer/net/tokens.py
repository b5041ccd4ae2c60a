"""Tokens for OAUTHBEARER: one for all connections, renewed before it expires.

    requested ────────── 80 % of its lifetime ────────── expired
       the token is used  │  a new one is requested, the old one used if that fails

The first authentication after that share of the lifetime requests a new token. Brokers end a session
with its token, so a live connection authenticates again before the token expires, too.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from aioproducer.core.backoff import Backoff
from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.net.providers import call
from aioproducer.sasl.oauthbearer import OAuthBearer, Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config import ProducerConfig

logger = logging.getLogger("aioproducer.sasl")


class TokenSource:
    """The token of a client; `provider` gives a new one, `random` floats from 0 up to 1."""

    def __init__(
        self, provider: Callable[[], Any], config: ProducerConfig, random: Callable[[], float]
    ) -> None:
        self._provider = provider
        self._config = config
        self._random = random
        self._backoff = Backoff(config.login_retry_backoff, config.login_retry_backoff_max, random)
        self._token: Token | None = None
        self._renew_at = 0.0
        # Many connections authenticate at once: one of them requests the token.
        self._lock = anyio.Lock()

    async def token(self) -> Token:
        """Return a token that is valid now; raises AuthenticationError.

        A failed request does not discard a good token.
        """
        async with self._lock:
            token = self._token
            if token is not None and time.time() < self._renew_at:
                return token
            try:
                new = await self._request()
            except AuthenticationError as error:
                if token is None or token.expires_at is None or token.expires_at <= time.time():
                    raise
                remaining = token.expires_at - time.time()
                logger.warning("using a token for %.0f s more: %s", remaining, error)
                return token
            self._token = new
            self._renew_at = self._next_renewal(new)
            return new

    async def _request(self) -> Token:
        limit = self._config.request_timeout
        cause: Exception | None = None
        attempts = 0
        with anyio.move_on_after(limit):
            while True:
                try:
                    return self._checked(await call(self._provider))
                except ConfigurationError:
                    raise
                except Exception as error:
                    cause = error
                    # The endpoint refused the request itself: a second one would not differ.
                    if isinstance(error, AuthenticationError) and not error.retriable:
                        raise
                await anyio.sleep(self._backoff.delay(attempts))
                attempts += 1
        # Its type alone where the text may contain the token: only our own errors never do.
        reason = str(cause) if isinstance(cause, AuthenticationError) else type(cause).__name__
        failed = f"it raised {reason} ({attempts} times)" if cause is not None else "it gave none"
        message = f"no token from the token provider within {limit:.1f} s (request_timeout_ms): {failed}"
        raise AuthenticationError(message, mechanism=OAuthBearer.name) from cause

    def _checked(self, given: object) -> Token:
        extensions = dict(self._config.sasl_oauthbearer_extensions or ())
        if isinstance(given, str):
            return Token.from_jwt(given, extensions)
        if isinstance(given, Token):
            return replace(given, extensions={**extensions, **given.extensions})
        message = f"the token provider must return a string or a Token, it returned {type(given).__name__}"
        raise AuthenticationError(message, mechanism=OAuthBearer.name)

    def _next_renewal(self, token: Token) -> float:
        if token.expires_at is None:
            # Its end is not known: the next authentication requests a new one.
            return 0.0
        now, config = time.time(), self._config
        lifetime = max(0.0, token.expires_at - now)
        share = config.sasl_login_refresh_window_factor
        share += config.sasl_login_refresh_window_jitter * self._random()
        # A lifetime of 60 s is renewed after 48 to 51 s. Java's minimum period and buffer apply to its
        # thread, which must not request tokens without end; here each request is for an authentication.
        return now + lifetime * min(share, 1.0)
