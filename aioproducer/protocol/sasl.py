"""SaslHandshake and SaslAuthenticate: the choice of a mechanism, then the bytes of its exchange.

The client sends one SaslHandshake, then SaslAuthenticate until the mechanism is complete. The
same two requests authenticate a live connection again before its session ends (KIP-368).

With SaslHandshake version 0 the bytes follow without headers, in frames of their own (KIP-43).
Only brokers before 1.0 need that; this client requires version 1 to authenticate.
"""

# ruff: noqa: ARG002, ARG003 -- the handshake has one form

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from aioproducer.errors import plural
from aioproducer.protocol.api import ApiKey, VersionRange
from aioproducer.protocol.fields import Fields

if TYPE_CHECKING:
    from aioproducer.protocol.reader import Reader
    from aioproducer.protocol.writer import Writer

_HANDSHAKE_VERSIONS = VersionRange(0, 1)
_AUTHENTICATE_VERSIONS = VersionRange(0, 2)
_FLEXIBLE_FROM = 2
# No version of the handshake is flexible, and no response here has a throttle time.
_NEVER = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SaslHandshakeResponse(Fields):
    """Whether the broker has the mechanism enabled, and the list of those that it has."""

    api_key: ClassVar[ApiKey] = ApiKey.SASL_HANDSHAKE
    versions: ClassVar[VersionRange] = _HANDSHAKE_VERSIONS
    flexible_from: ClassVar[int] = _NEVER
    client_throttled_from: ClassVar[int] = _NEVER

    error_code: int
    """UNSUPPORTED_SASL_MECHANISM (33) if the mechanism is not in the list."""
    mechanisms: tuple[str, ...] = ()

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.int16(self.error_code)
        writer.strings(self.mechanisms)

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        return cls(error_code=reader.int16(), mechanisms=reader.strings())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SaslHandshakeRequest(Fields):
    """Chooses the mechanism, such as `SCRAM-SHA-256`."""

    api_key: ClassVar[ApiKey] = ApiKey.SASL_HANDSHAKE
    versions: ClassVar[VersionRange] = _HANDSHAKE_VERSIONS
    flexible_from: ClassVar[int] = _NEVER
    response = SaslHandshakeResponse
    framed_from: ClassVar[int] = 1
    """The first version after which the exchange goes on in SaslAuthenticate requests (KIP-152)."""

    mechanism: str

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.string(self.mechanism)

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        return cls(mechanism=reader.string())


class _Secretive(Fields):
    """The base of both SaslAuthenticate messages: shows the size of `auth_bytes`, not the bytes."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        # The bytes of PLAIN are the password itself.
        shown = [
            f"{name}=<{plural(len(value), 'byte')}>" if isinstance(value, bytes) else f"{name}={value!r}"
            for name, value in zip(self.__slots__, self._values(), strict=True)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SaslAuthenticateResponse(_Secretive):
    """The answer of the mechanism, and how long the session lasts."""

    api_key: ClassVar[ApiKey] = ApiKey.SASL_AUTHENTICATE
    versions: ClassVar[VersionRange] = _AUTHENTICATE_VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    client_throttled_from: ClassVar[int] = _NEVER

    error_code: int
    """SASL_AUTHENTICATION_FAILED (58) for wrong credentials."""
    error_message: str | None = None
    auth_bytes: bytes = b""
    session_lifetime_ms: int = 0
    """From version 1: the time until the client has to authenticate again, 0 for no limit."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`; version 0 omits the lifetime."""
        writer.int16(self.error_code)
        writer.nullable_string(self.error_message)
        writer.bytes_field(self.auth_bytes)
        if version >= 1:
            writer.int64(self.session_lifetime_ms)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        response = cls(
            error_code=reader.int16(),
            error_message=reader.nullable_string(),
            auth_bytes=reader.bytes_field(),
            session_lifetime_ms=reader.int64() if version >= 1 else 0,
        )
        reader.tagged_fields()
        return response


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SaslAuthenticateRequest(_Secretive):
    """The next bytes of the mechanism."""

    api_key: ClassVar[ApiKey] = ApiKey.SASL_AUTHENTICATE
    versions: ClassVar[VersionRange] = _AUTHENTICATE_VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    response = SaslAuthenticateResponse

    auth_bytes: bytes

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.bytes_field(self.auth_bytes)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        request = cls(auth_bytes=reader.bytes_field())
        reader.tagged_fields()
        return request
