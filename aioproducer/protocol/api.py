"""The APIs of Kafka's protocol: their keys, their versions, and what every message class provides.

The one idea: a version is agreed per API, not per connection. Each side names a range,
and `negotiate` takes the highest number that is in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Protocol, TypeVar

from aioproducer.errors import UnsupportedVersionError
from aioproducer.protocol.fields import Struct


class ApiKey(IntEnum):
    """The number that stands for an API in the header of a request."""

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
    """The versions of an API that one side speaks, both ends included.

    >>> 7 in VersionRange(3, 13)
    True
    """

    min: int
    max: int

    def __contains__(self, version: int) -> bool:
        return self.min <= version <= self.max

    def __str__(self) -> str:
        return str(self.min) if self.min == self.max else f"{self.min}-{self.max}"


NEVER_FLEXIBLE = 0x7FFF + 1
"""The `flexible_from` of an API that has no flexible version: one more than a version can be."""


class Message(Struct, Protocol):
    """The body of a request or a response: one class holds every version."""

    api_key: ClassVar[ApiKey]
    versions: ClassVar[VersionRange]
    flexible_from: ClassVar[int]


class Response(Message, Protocol):
    """The body of an answer."""


R = TypeVar("R", bound=Response)
R_co = TypeVar("R_co", bound=Response, covariant=True)


class Request(Message, Protocol[R_co]):
    """The body of a request, which names the class of its answer.

    The name is a plain assignment in the class: a ClassVar cannot hold a type variable.
    """

    @property
    def response(self) -> type[R_co]:
        """The class that reads the answer."""
        ...


def negotiate(
    api: ApiKey, client: VersionRange, broker: VersionRange | None, *, at_most: int | None = None
) -> int:
    """Return the highest version that both sides speak, and that is not above `at_most`.

    `broker` is None for a broker that does not list the API. Raises UnsupportedVersionError.

    >>> negotiate(ApiKey.PRODUCE, VersionRange(3, 13), VersionRange(0, 9))
    9
    """
    if broker is None:
        msg = f"the broker has no {api.name}; this client speaks versions {client} of it"
        raise UnsupportedVersionError(msg)
    version = min(client.max, broker.max)
    if at_most is not None:
        version = min(version, at_most)
    if version < client.min or version < broker.min:
        limit = "" if at_most is None else f", here at most {at_most}"
        msg = f"no common version of {api.name}: this client speaks {client}{limit}, the broker {broker}"
        raise UnsupportedVersionError(msg)
    return version


def check_version(kind: type[Message], version: int) -> None:
    """Raise UnsupportedVersionError unless the class knows `version`."""
    if not kind.versions.min <= version <= kind.versions.max:
        msg = f"{kind.__name__} has versions {kind.versions}, not {version}"
        raise UnsupportedVersionError(msg)


def lacks(struct: Struct, version: int, field: str) -> UnsupportedVersionError:
    """Make the error for a `field` that has a value which this version cannot say."""
    return UnsupportedVersionError(
        f"{type(struct).__name__} version {version} cannot carry {field}={getattr(struct, field)!r}"
    )
