"""The security of a fake cluster: TLS, users, tokens, ACLs, and what clients did with them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from aioproducer.config.nearest import nearest
from aioproducer.testing.authorizer import Authorizer
from aioproducer.testing.certificates import Certificates
from aioproducer.testing.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aioproducer.testing.oauth_token import AcceptedToken

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
"""The mechanisms that a fake cluster implements."""

_LEAST_ITERATIONS = 4096
_SASL = "SASL_PLAINTEXT or SASL_SSL"
_TLS = "SSL or SASL_SSL"

E = TypeVar("E", bound=Enum)


class SecurityProtocol(Enum):
    """Kafka's names of the ways to connect."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL)

    @property
    def has_sasl(self) -> bool:
        """Whether clients authenticate with SASL."""
        return self in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL)


class ClientAuth(Enum):
    """Whether a client must show a certificate (Kafka's `ssl.client.auth`)."""

    NONE = "none"
    REQUESTED = "requested"
    REQUIRED = "required"


_VERIFY = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.REQUESTED: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """One finished exchange: who, how, with which extensions; failed ones have an `error`."""

    node_id: int
    mechanism: str
    principal: str | None
    extensions: Mapping[str, str] = field(default_factory=dict)
    is_repeated: bool = False
    """Whether the connection was authenticated before (KIP-368)."""
    error: str | None = None


class Security:
    """What all brokers of a cluster share about security; see `FakeCluster` for the options."""

    def __init__(
        self,
        security: str = "PLAINTEXT",
        *,
        users: Mapping[str, str] | None = None,
        tokens: Mapping[str, str | AcceptedToken] | None = None,
        sasl_mechanisms: Iterable[str] | None = None,
        session_lifetime_ms: int | None = None,
        scram_iterations: int = _LEAST_ITERATIONS,
        client_auth: str = "none",
        certificates: Certificates | None = None,
    ) -> None:
        self.protocol = _member(SecurityProtocol, security.upper(), "security")
        self.client_auth = _member(ClientAuth, client_auth.lower(), "client_auth")
        self.mechanisms = _mechanisms(sasl_mechanisms, self.protocol)
        self.session_lifetime_ms: int | None = None
        self.limit_sessions(session_lifetime_ms)
        self.credentials = Credentials(users or {}, tokens, scram_iterations)
        self.authorizer = Authorizer()
        self.authentications: list[Authentication] = []
        self._check(users, tokens, scram_iterations, certificates)
        self.certificates: Certificates | None = None
        self.server_context: ssl.SSLContext | None = None
        if self.protocol.has_tls:
            self.certificates = certificates or Certificates.make()
            self.server_context = self.certificates.server_context()
            self.server_context.verify_mode = _VERIFY[self.client_auth]

    def limit_sessions(self, milliseconds: int | None) -> None:
        """Let new sessions end after that time; None: no limit. Raises ValueError."""
        if milliseconds is not None and milliseconds < 1:
            message = f"session_lifetime_ms is at least 1, not {milliseconds}; None: no limit"
            raise ValueError(message)
        self.session_lifetime_ms = milliseconds

    def _check(
        self,
        users: Mapping[str, str] | None,
        tokens: Mapping[str, str | AcceptedToken] | None,
        scram_iterations: int,
        certificates: Certificates | None,
    ) -> None:
        given = {"users": users, "tokens": tokens, "session_lifetime_ms": self.session_lifetime_ms}
        for name, value in given.items():
            if value is not None and not self.protocol.has_sasl:
                _refuse(name, self.protocol, _SASL)
        if not self.protocol.has_tls:
            if certificates is not None:
                _refuse("certificates", self.protocol, _TLS)
            if self.client_auth is not ClientAuth.NONE:
                _refuse("client_auth", self.protocol, _TLS)
        if tokens is not None and "OAUTHBEARER" not in self.mechanisms:
            message = f"tokens are for OAUTHBEARER, and sasl_mechanisms are {', '.join(self.mechanisms)}"
            raise ValueError(message)
        if self.protocol.has_sasl and not users and set(self.mechanisms) != {"OAUTHBEARER"}:
            message = (
                'SASL needs users, such as users={"alice": "secret"}, or sasl_mechanisms=["OAUTHBEARER"]'
            )
            raise ValueError(message)
        if scram_iterations < _LEAST_ITERATIONS:
            message = (
                f"scram_iterations are at least {_LEAST_ITERATIONS}, as in Kafka, not {scram_iterations}"
            )
            raise ValueError(message)


def _refuse(option: str, protocol: SecurityProtocol, needed: str) -> NoReturn:
    message = f"{option} has no effect with security={protocol.value!r}; it needs {needed}"
    raise ValueError(message)


def _member(kind: type[E], value: str, option: str) -> E:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in kind)
        message = f"{option} is one of {allowed}, not {value!r}"
        raise ValueError(message) from None


def _mechanisms(names: Iterable[str] | None, protocol: SecurityProtocol) -> tuple[str, ...]:
    if names is None:
        return MECHANISMS if protocol.has_sasl else ()
    if isinstance(names, str):
        message = f"sasl_mechanisms is a list of names, not the text {names!r}"
        raise TypeError(message)
    chosen = tuple(dict.fromkeys(names))
    if not protocol.has_sasl:
        _refuse("sasl_mechanisms", protocol, _SASL)
    if not chosen:
        message = f"sasl_mechanisms needs one of {', '.join(MECHANISMS)}"
        raise ValueError(message)
    for name in chosen:
        if name not in MECHANISMS:
            near = nearest(name, MECHANISMS)
            hint = f"; did you mean {near}?" if near is not None else f"; there are {', '.join(MECHANISMS)}"
            message = f"FakeCluster does not implement the SASL mechanism {name!r}{hint}"
            raise ValueError(message)
    return chosen
