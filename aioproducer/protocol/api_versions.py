"""ApiVersions: the APIs and versions that a broker supports; the first request on every connection.

The client does not know yet which versions of ApiVersions the broker supports. A broker that does
not support the version of the request responds with UNSUPPORTED_VERSION in version 0, which every
client can read (KIP-511). `ApiVersionsResponse` reads and writes this case.
"""

# ruff: noqa: ARG002, ARG003, PLR2004 -- version numbers explain themselves; some structs have one form

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct as Layout
from typing import TYPE_CHECKING, ClassVar, Self

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey, VersionRange
from aioproducer.protocol.fields import Fields
from aioproducer.protocol.writer import Writer

if TYPE_CHECKING:
    from aioproducer.protocol.reader import Reader

_VERSIONS = VersionRange(0, 4)
_FLEXIBLE_FROM = 3
_THREE_INT16 = Layout(">hhh")
_TWO_INT16 = Layout(">hh")

_SOFTWARE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
_NOT_IN_SOFTWARE_NAME = re.compile(r"[^a-zA-Z0-9\-.]+")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ApiVersion(Fields):
    """The versions of one API; `api_key` may be unknown here."""

    api_key: int
    min_version: int
    max_version: int

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.pack(_THREE_INT16, self.api_key, self.min_version, self.max_version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        api = cls(*reader.unpack(_THREE_INT16))
        reader.tagged_fields()
        return api


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SupportedFeatureKey(Fields):
    """The levels of a feature that this broker supports."""

    name: str
    min_version: int
    max_version: int

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.string(self.name)
        writer.pack(_TWO_INT16, self.min_version, self.max_version)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        feature = cls(reader.string(), *reader.unpack(_TWO_INT16))
        reader.tagged_fields()
        return feature


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FinalizedFeatureKey(Fields):
    """The finalized levels of a feature in the cluster; the maximum is in force."""

    name: str
    max_version_level: int
    min_version_level: int

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.string(self.name)
        writer.pack(_TWO_INT16, self.max_version_level, self.min_version_level)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        feature = cls(reader.string(), *reader.unpack(_TWO_INT16))
        reader.tagged_fields()
        return feature


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ApiVersionsResponse(Fields):
    """The broker's versions, and from version 3 the cluster's features."""

    api_key: ClassVar[ApiKey] = ApiKey.API_VERSIONS
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    client_throttled_from: ClassVar[int] = 2

    error_code: int
    api_keys: tuple[ApiVersion, ...]
    throttle_time_ms: int = 0
    """From version 1."""
    supported_features: tuple[SupportedFeatureKey, ...] = ()
    """From version 3, which omits features with minimum 0."""
    finalized_features_epoch: int = -1
    """From version 3. The features with the highest epoch are the latest; -1: unknown."""
    finalized_features: tuple[FinalizedFeatureKey, ...] = ()
    """From version 3; valid unless the epoch is -1."""
    zk_migration_ready: bool = False
    """From version 3."""

    @property
    def feature_levels(self) -> dict[str, int]:
        """The level in force of each finalized feature, such as `transaction.version`.

        Empty while the epoch is unknown.
        """
        # Without an epoch the broker does not know the features yet: they are not valid.
        if self.finalized_features_epoch < 0:
            return {}
        return {feature.name: feature.max_version_level for feature in self.finalized_features}

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`; of version 0 with the error UNSUPPORTED_VERSION."""
        # KIP-511: a client of any version has to be able to read this response.
        if self.error_code == ErrorCode.UNSUPPORTED_VERSION:
            writer.flexible = False
            version = 0
        writer.int16(self.error_code)
        writer.structs(self.api_keys, version)
        if version >= 1:
            writer.int32(self.throttle_time_ms)
        if version >= _FLEXIBLE_FROM:
            writer.tagged_fields(self._tagged_fields(version))

    def _tagged_fields(self, version: int) -> dict[int, Writer]:
        fields = {}
        if self.supported_features:
            fields[0] = Writer(flexible=True)
            fields[0].structs(self.supported_features, version)
        if self.finalized_features_epoch != -1:
            fields[1] = Writer(flexible=True)
            fields[1].int64(self.finalized_features_epoch)
        if self.finalized_features:
            fields[2] = Writer(flexible=True)
            fields[2].structs(self.finalized_features, version)
        if self.zk_migration_ready:
            fields[3] = Writer(flexible=True)
            fields[3].boolean(self.zk_migration_ready)
        return fields

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`; of version 0 with the error UNSUPPORTED_VERSION."""
        error_code = reader.int16()
        if error_code == ErrorCode.UNSUPPORTED_VERSION:
            reader.flexible = False
            # Accept a response that ends after the error code, without a list.
            api_keys = reader.structs(ApiVersion, 0) if reader.remaining else ()
            return cls(error_code=error_code, api_keys=api_keys)
        api_keys = reader.structs(ApiVersion, version)
        # Every known field is read, also those of features: `expect_end` below finds malformed ones.
        throttle_time_ms = reader.int32() if version >= 1 else 0
        tags = reader.tagged_fields()
        response = cls(
            error_code=error_code,
            api_keys=api_keys,
            throttle_time_ms=throttle_time_ms,
            supported_features=tags[0].structs(SupportedFeatureKey, version) if 0 in tags else (),
            finalized_features_epoch=tags[1].int64() if 1 in tags else -1,
            finalized_features=tags[2].structs(FinalizedFeatureKey, version) if 2 in tags else (),
            zk_migration_ready=tags[3].boolean() if 3 in tags else False,
        )
        for tag in tags.keys() & {0, 1, 2, 3}:
            tags[tag].expect_end()
        return response


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ApiVersionsRequest(Fields):
    """Asks for the versions of the broker; names the client from version 3."""

    api_key: ClassVar[ApiKey] = ApiKey.API_VERSIONS
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    response = ApiVersionsResponse
    software_from: ClassVar[int] = _FLEXIBLE_FROM
    """The first version that carries the name and version of the client (KIP-511)."""

    client_software_name: str = ""
    client_software_version: str = ""

    @property
    def has_valid_software(self) -> bool:
        """Whether brokers accept the name and version; if not, they respond with INVALID_REQUEST."""
        return all(map(_SOFTWARE_NAME.fullmatch, (self.client_software_name, self.client_software_version)))

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        if version >= self.software_from:
            writer.string(self.client_software_name)
            writer.string(self.client_software_version)
            writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        if version < cls.software_from:
            return cls()
        request = cls(client_software_name=reader.string(), client_software_version=reader.string())
        reader.tagged_fields()
        return request


def software_name(text: str) -> str:
    """Return `text` with only the characters that Kafka allows in a client's name or version (KIP-511).

    >>> software_name("1.2.0+git 5")
    '1.2.0-git-5'
    """
    return _NOT_IN_SOFTWARE_NAME.sub("-", text).strip("-.") or "unknown"
