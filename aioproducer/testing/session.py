"""The authentication of one connection, as Kafka's `SaslServerAuthenticator` has it.

    START ──ApiVersions──▶ VERSIONED ──SaslHandshake──▶ EXCHANGE ──SaslAuthenticate──▶ OPEN
      └──────────────────SaslHandshake─────────────────────▲                            │
                                                           └───SaslHandshake, again─────┘

A request out of place closes the connection; in EXCHANGE it is answered first, with
ILLEGAL_SASL_STATE. After a failed exchange the response is sent and the connection is closed.
A connection without SASL is OPEN from the start.
"""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.sasl import SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse
from aioproducer.testing.authorizer import ANONYMOUS
from aioproducer.testing.refusal import ConnectionDropped
from aioproducer.testing.sasl_server import InvalidCredentials, SaslRefused, SaslServer, server_for
from aioproducer.testing.security import Authentication

if TYPE_CHECKING:
    from aioproducer.testing.security import Security

REAUTHENTICATION_INTERVAL = 1.0
"""A client that authenticates again sooner, in seconds, gets ILLEGAL_SASL_STATE."""

MAX_UNAUTHENTICATED_SIZE = 512 * 1024
"""Kafka's default of `sasl.server.max.receive.size`: the largest frame before authentication."""


class SessionState(Enum):
    """The place in the drawing above."""

    START = "before ApiVersions"
    VERSIONED = "before SaslHandshake"
    EXCHANGE = "during the exchange"
    RAW_EXCHANGE = "during an exchange without headers (SaslHandshake version 0)"
    OTHER_MECHANISM = "after another mechanism than the session's was chosen"
    OPEN = "open"
    FAILED = "failed"


_ADMITTED = {
    SessionState.START: {ApiKey.API_VERSIONS, ApiKey.SASL_HANDSHAKE},
    SessionState.VERSIONED: {ApiKey.SASL_HANDSHAKE},
    SessionState.OTHER_MECHANISM: set[ApiKey](),
    SessionState.FAILED: set[ApiKey](),
}
"""The requests of a state; the other states look at a request themselves."""


class Session:
    """One connection's state; `principal` is who it is."""

    def __init__(self, security: Security, node_id: int, *, token_ends_session: bool = True) -> None:
        self.principal = ANONYMOUS
        self.state = SessionState.START if security.protocol.has_sasl else SessionState.OPEN
        self._security = security
        self._node_id = node_id
        self._token_ends_session = token_ends_session
        self._mechanism = ""
        self._server: SaslServer | None = None
        self._is_repeated = False
        # By the monotonic clock.
        self._expires_at: float | None = None
        self._repeated_at: float | None = None

    @property
    def max_frame_size(self) -> int | None:
        """The largest frame in this state; None leaves it to the connection."""
        is_unknown = self.state is not SessionState.OPEN and not self._is_repeated
        return MAX_UNAUTHENTICATED_SIZE if is_unknown else None

    @property
    def has_failed(self) -> bool:
        """Whether the connection must be closed after the response."""
        return self.state is SessionState.FAILED

    def identify(self, principal: str) -> None:
        """Take the principal of the client's certificate."""
        self.principal = principal

    def admit(self, api: ApiKey) -> None:
        """Raise ConnectionDropped for a request that this state does not allow."""
        if self.state in _ADMITTED and api not in _ADMITTED[self.state]:
            message = f"{api.name} came {self.state.value}: the connection is not authenticated"
            raise ConnectionDropped(message)
        if self.state is SessionState.OPEN and self._has_expired() and not self._may_repeat(api):
            message = f"the session of {self.principal} has expired, and it was not authenticated again"
            raise ConnectionDropped(message)

    def is_out_of_place(self, api: ApiKey) -> bool:
        """Return whether an admitted request gets ILLEGAL_SASL_STATE, before the connection closes."""
        return self.state is SessionState.EXCHANGE and api is not ApiKey.SASL_AUTHENTICATE

    def versions_sent(self) -> None:
        """Expect the handshake after the first successful ApiVersions."""
        if self.state is SessionState.START:
            self.state = SessionState.VERSIONED

    def fail(self) -> None:
        """Close the connection after the response."""
        self.state = SessionState.FAILED

    def handshake(self, request: SaslHandshakeRequest, version: int) -> SaslHandshakeResponse:
        """Choose the mechanism; raises ConnectionDropped."""
        if self.state is SessionState.OPEN:
            if not self._may_repeat(ApiKey.SASL_HANDSHAKE):
                return SaslHandshakeResponse(error_code=ErrorCode.ILLEGAL_SASL_STATE)
            self._repeated_at = time.monotonic()
            self._is_repeated = True
        mechanisms = self._security.mechanisms
        if request.mechanism not in mechanisms:
            if self._is_repeated:
                message = f"the mechanism {request.mechanism} of the repeated authentication is not enabled"
                raise ConnectionDropped(message)
            self.fail()
            return SaslHandshakeResponse(
                error_code=ErrorCode.UNSUPPORTED_SASL_MECHANISM, mechanisms=mechanisms
            )
        if self._is_repeated and request.mechanism != self._mechanism:
            # Kafka accepts the handshake, and closes the connection on the next request.
            self.state = SessionState.OTHER_MECHANISM
        else:
            self._mechanism = request.mechanism
            self._server = server_for(request.mechanism, self._security.credentials, time.time)
            is_framed = version >= SaslHandshakeRequest.framed_from
            self.state = SessionState.EXCHANGE if is_framed else SessionState.RAW_EXCHANGE
        return SaslHandshakeResponse(error_code=ErrorCode.NONE, mechanisms=mechanisms)

    def authenticate(self, data: bytes) -> SaslAuthenticateResponse:
        """Answer the client's bytes."""
        if self.state is not SessionState.EXCHANGE or self._server is None:
            return SaslAuthenticateResponse(
                error_code=ErrorCode.ILLEGAL_SASL_STATE,
                error_message="SaslAuthenticate request received after successful authentication",
            )
        try:
            answer = self._step(self._server, data)
        except SaslRefused as refused:
            return self._refuse(str(refused))
        lifetime_ms = self._open(self._server) if self._server.principal is not None else 0
        # Kafka sends an empty message, not null.
        return SaslAuthenticateResponse(
            error_code=ErrorCode.NONE, error_message="", auth_bytes=answer, session_lifetime_ms=lifetime_ms
        )

    def authenticate_raw(self, data: bytes) -> bytes:
        """Answer a frame without a header; raises ConnectionDropped for wrong credentials."""
        assert self._server is not None  # noqa: S101 - RAW_EXCHANGE has a server
        try:
            answer = self._step(self._server, data)
        except SaslRefused as refused:
            self._refuse(str(refused))
            raise ConnectionDropped(str(refused)) from None
        if self._server.principal is not None:
            self._open(self._server)
        return answer

    def _step(self, server: SaslServer, data: bytes) -> bytes:
        """Return the mechanism's answer; raises SaslRefused with Kafka's message."""
        try:
            answer = server.step(data)
        except InvalidCredentials:
            # Kafka hides the reason from the client.
            what = "re-authentication" if self._is_repeated else "authentication"
            message = (
                f"Authentication failed during {what} due to invalid credentials "
                f"with SASL mechanism {self._mechanism}"
            )
            raise SaslRefused(message) from None
        if self._is_repeated and server.principal not in (None, self.principal):
            message = (
                "Cannot change principals during re-authentication from "
                f"User.{self.principal}: User.{server.principal}"
            )
            raise SaslRefused(message)
        return answer

    def _refuse(self, message: str) -> SaslAuthenticateResponse:
        self._record(None, error=message)
        self.fail()
        return SaslAuthenticateResponse(
            error_code=ErrorCode.SASL_AUTHENTICATION_FAILED, error_message=message
        )

    def _open(self, server: SaslServer) -> int:
        """End the exchange; return the lifetime of the session in milliseconds, 0 for no limit."""
        self.principal = server.principal or ANONYMOUS
        self.state = SessionState.OPEN
        self._record(server)
        limits = [self._security.session_lifetime_ms]
        if server.expires_at is not None and (self._token_ends_session or limits != [None]):
            limits.append(max(0, int((server.expires_at - time.time()) * 1000)))
        known = [limit for limit in limits if limit is not None]
        self._expires_at = time.monotonic() + min(known) / 1000 if known else None
        return min(known, default=0)

    def _record(self, server: SaslServer | None, error: str | None = None) -> None:
        self._security.authentications.append(
            Authentication(
                node_id=self._node_id,
                mechanism=self._mechanism,
                principal=None if server is None else server.principal,
                extensions={} if server is None else dict(server.extensions),
                is_repeated=self._is_repeated,
                error=error,
            )
        )

    def _has_expired(self) -> bool:
        return self._expires_at is not None and time.monotonic() >= self._expires_at

    def _may_repeat(self, api: ApiKey) -> bool:
        # Only a session with an end can be authenticated again, and at most once a second.
        if api is not ApiKey.SASL_HANDSHAKE or self._expires_at is None:
            return False
        return self._repeated_at is None or time.monotonic() - self._repeated_at >= REAUTHENTICATION_INTERVAL
