"""SASL on one connection: the handshake, the exchange of a mechanism, and when to do it again.

    Credentials.mechanism ──▶ SaslHandshake ──▶ SaslAuthenticate … ──▶ Session

The same steps authenticate a live connection again before its session ends (KIP-368).
"""

from __future__ import annotations

import secrets
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio

from aioproducer.error_code import ErrorCode
from aioproducer.errors import (
    AuthenticationError,
    BrokerConnectionError,
    BrokerError,
    ProducerError,
    UnsupportedVersionError,
)
from aioproducer.protocol.api import ApiKey, VersionRange
from aioproducer.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest
from aioproducer.sasl.gssapi import Gssapi
from aioproducer.sasl.mechanism import Attempt, Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.net.credentials import Credentials
    from aioproducer.net.setup import Setup
    from aioproducer.sasl.mechanism import Mechanism

T = TypeVar("T")

_FRAMED = VersionRange(SaslHandshakeRequest.framed_from, SaslHandshakeRequest.versions.max)

_EARLIEST, _LATEST = 0.85, 0.95
"""The part of a session after which it is renewed, random, so that clients do not all do it at once."""

_MARGIN = 0.5
"""Seconds between the renewal and the end of a session: a busy machine may stall for some of them."""

_EARLIEST_OF_SHORT = 0.6
"""The part of a short session after which it is renewed at the earliest, whatever the margin."""

_SOONEST = 1.05
"""Seconds between two authentications at least: brokers refuse a second one within a second."""


class Session(NamedTuple):
    """How long a connection may be used after an authentication, in seconds of the loop's clock."""

    renew_at: float
    ends_at: float


def _request(data: bytes | None) -> SaslAuthenticateRequest | None:
    # Not the bytes themselves in a variable of the exchange: those of PLAIN are the password, and tools
    # that report errors show the variables of each frame.
    return None if data is None else SaslAuthenticateRequest(auth_bytes=data)


def without_causes(error: AuthenticationError) -> AuthenticationError:
    """Return the error without the errors of users' callables and libraries, which may show a secret.

    The message gets the place instead, so that the callable can be found.
    """
    cause = error.__cause__
    if cause is not None and not isinstance(cause, ProducerError) and cause.__traceback__ is not None:
        *_, last = traceback.extract_tb(cause.__traceback__)
        place = f"({Path(last.filename).name}, line {last.lineno}, in {last.name})"
        error.args = (f"{error} {place}",)
    error.__cause__ = error.__context__ = None
    # Its frames lead to the callable's error in local variables.
    return error.with_traceback(None)


class Authenticator:
    """Authenticates connections with the credentials of one client.

    `random` gives floats from 0 up to 1, `clock` the seconds of the event loop.
    """

    def __init__(
        self, credentials: Credentials, clock: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._random = random

    def close(self) -> None:
        """End requests in the background: the client is closed."""
        self._credentials.close()

    async def mechanism(self) -> Mechanism:
        """Ask for the credentials of one authentication; raises AuthenticationError."""
        try:
            return await self._credentials.mechanism()
        except AuthenticationError as error:
            refusal = without_causes(error)
        # Outside of the `except`, which would make the error of the user's callable its context again.
        raise refusal

    async def run(self, setup: Setup, mechanism: Mechanism) -> Session | None:
        """Authenticate a connection; return its session, None if it has no end.

        Raises AuthenticationError, and what the requests of `setup` raise.
        """
        try:
            return await self._run(setup, mechanism)
        except AuthenticationError as error:
            # The frames of the exchange have the broker's bytes, which may be the token that was sent.
            refusal = error.with_traceback(None)
        raise refusal if refusal.address is not None else refusal.at(setup.address)

    async def _run(self, setup: Setup, mechanism: Mechanism) -> Session | None:
        await self._choose_mechanism(setup, mechanism.name)
        # `Attempt` needs the real time: AWS signs it.
        attempt = Attempt(host=setup.host, now=time.time(), nonce=secrets.token_urlsafe(24))
        exchange = Exchange(mechanism, attempt)
        version = setup.versions.choose(ApiKey.SASL_AUTHENTICATE, SaslAuthenticateRequest.versions)
        sent_at = self._clock()
        lifetime_ms = 0
        request = _request(await self._compute(setup, exchange, exchange.first))
        while request is not None:
            sent_at = self._clock()
            response = await setup.exchange(request, version)
            if response.error_code:
                raise exchange.refused(response.error_message)
            lifetime_ms = response.session_lifetime_ms
            answer = partial(exchange.next, response.auth_bytes)
            request = _request(await self._compute(setup, exchange, answer))
        return self._session(sent_at, lifetime_ms)

    async def _choose_mechanism(self, setup: Setup, name: str) -> None:
        try:
            # Of this connection's ApiVersions: another broker of the cluster may be older.
            version = setup.versions.choose(ApiKey.SASL_HANDSHAKE, _FRAMED)
        except UnsupportedVersionError:
            message = "the broker has no SaslHandshake version 1, which needs Kafka 1.0"
            raise AuthenticationError(message, mechanism=name) from None
        response = await setup.exchange(SaslHandshakeRequest(mechanism=name), version)
        code = ErrorCode.of(response.error_code)
        if code is ErrorCode.UNSUPPORTED_SASL_MECHANISM:
            offered = ", ".join(response.mechanisms) or "none"
            message = f"the broker does not have the mechanism {name}; it has {offered} (sasl_mechanism)"
            raise AuthenticationError(message, mechanism=name)
        if code is ErrorCode.ILLEGAL_SASL_STATE and not setup.has_worked:
            message = (
                "the listener does not use SASL: set security_protocol to PLAINTEXT or SSL, or use the "
                "port of its SASL listener"
            )
            raise AuthenticationError(message, mechanism=name)
        if code is not ErrorCode.NONE:
            raise BrokerError.of(code, "SaslHandshake")

    async def _compute(self, setup: Setup, exchange: Exchange, step: Callable[[], T]) -> T:
        # PBKDF2 takes a millisecond and more, Kerberos asks the KDC: not in the event loop.
        if not exchange.blocking:
            return step()
        limit = setup.remaining()
        with anyio.move_on_after(limit):
            return await self._credentials.providers.run(step)
        # Not an AuthenticationError, which would fail records: the KDC may answer the next time.
        cause = ": perhaps the KDC does not answer" if exchange.mechanism == Gssapi.name else ""
        message = f"{setup.address}: {exchange.mechanism} was not ready within {limit:.1f} s{cause}"
        raise BrokerConnectionError(message)

    def _session(self, sent_at: float, lifetime_ms: int) -> Session | None:
        if lifetime_ms <= 0:
            return None
        lifetime = lifetime_ms / 1000
        part = _EARLIEST + (_LATEST - _EARLIEST) * self._random()
        # Of 2 s, 85-95 % would leave 0.1 to 0.3 s: renew after 1.5 s.
        renew_after = min(part * lifetime, max(lifetime - _MARGIN, _EARLIEST_OF_SHORT * lifetime))
        if lifetime > _SOONEST:
            renew_after = max(renew_after, _SOONEST)
        return Session(sent_at + renew_after, sent_at + lifetime)
