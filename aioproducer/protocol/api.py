"""The APIs of Kafka's protocol: their keys and versions, and the interface of message classes.

Client and broker agree on one version for each API, not for each connection: each side names a
range, and `negotiate` returns the highest version in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol, TypeVar

from aioproducer.errors import UnsupportedVersionError
from aioproducer.protocol.fields import Struct


class ApiKey(IntEnum):
    """The number of an API in the header of a request."""

    PRODUCE = 0
    METADATA = 3
    FIND_COORDINATOR = 10
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_CONFIGS = 32
    SASL_AUTHENTICATE = 36
    INCREMENTAL_ALTER_CONFIGS = 44
    DESCRIBE_CLUSTER = 60
    GET_TELEMETRY_SUBSCRIPTIONS = 71
    PUSH_TELEMETRY = 72


@dataclass(frozen=True, slots=True)
class VersionRange:
    """The versions of an API that one side supports, both ends included.

    >>> 7 in VersionRange(3, 13)
    True
    """

    min: int
    max: int

    def __contains__(self, version: int) -> bool:
        return self.min <= version <= self.max

    def __str__(self) -> str:
        return str(self.min) if self.min == self.max else f"{self.min}-{self.max}"


class Message(Struct, Protocol):
    """The body of a request or a response: one class for every version."""

    api_key: ClassVar[ApiKey]
    versions: ClassVar[VersionRange]
    flexible_from: ClassVar[int]
    """The first version in the flexible encoding (KIP-482)."""


class Response(Message, Protocol):
    """The body of a response."""

    client_throttled_from: ClassVar[int]
    """The first version whose `throttle_time_ms` the client must wait; before it, brokers wait (KIP-219)."""


R = TypeVar("R", bound=Response)
R_co = TypeVar("R_co", bound=Response, covariant=True)


class Request(Message, Protocol[R_co]):
    """The body of a request; `response` is the class of its response.

    Classes assign `response` without an annotation: a ClassVar cannot hold a type variable.
    """

    @property
    def response(self) -> type[R_co]:
        """The class of the response."""
        ...


def negotiate(
    api: ApiKey, client: VersionRange, broker: VersionRange | None, *, at_most: int | None = None
) -> int:
    """Return the highest version that both sides support, at most `at_most`.

    `broker` is None if the broker does not list the API. Raises UnsupportedVersionError.

    >>> negotiate(ApiKey.PRODUCE, VersionRange(3, 13), VersionRange(0, 9))
    9
    """
    if broker is None:
        message = f"the broker does not support {api.name}; this client supports versions {client}"
        raise UnsupportedVersionError(message)
    # Client 3-13, broker 0-9: version 9. With at most 12 and a broker 0-13: version 12.
    version = min(client.max, broker.max)
    if at_most is not None:
        version = min(version, at_most)
    if version < client.min or version < broker.min:
        limit = "" if at_most is None else f" (here at most {at_most})"
        message = f"no common version of {api.name}: client {client}{limit}, broker {broker}"
        raise UnsupportedVersionError(message)
    return version


def check_version(kind: type[Message], version: int) -> None:
    """Raise UnsupportedVersionError unless the message class has `version`."""
    if not kind.versions.min <= version <= kind.versions.max:
        message = f"{kind.__name__} has versions {kind.versions}, not {version}"
        raise UnsupportedVersionError(message)


def lacks(struct: Struct, version: int, field: str) -> UnsupportedVersionError:
    """Return the error for a value of `field` that `version` cannot carry."""
    return UnsupportedVersionError(
        f"{type(struct).__name__} version {version} cannot carry {field}={getattr(struct, field)!r}"
    )
