"""InitProducerId: the producer id and epoch for idempotence and transactions.

The request has three uses. Without a transactional id it returns a new producer id. With one it
also fences earlier producers of that transactional id and ends their open transaction. With the
current producer id and epoch (from version 3) it only raises the epoch.
"""

# ruff: noqa: ARG002, ARG003, PLR2004 -- version numbers explain themselves; the response has one form

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct as Layout
from typing import TYPE_CHECKING, ClassVar, Self

from aioproducer.protocol.api import ApiKey, VersionRange, lacks
from aioproducer.protocol.fields import Fields

if TYPE_CHECKING:
    from aioproducer.protocol.reader import Reader
    from aioproducer.protocol.writer import Writer

_VERSIONS = VersionRange(0, 5)
_FLEXIBLE_FROM = 2

_PRODUCER = Layout(">qh")
_RESPONSE = Layout(">ihqh")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class InitProducerIdResponse(Fields):
    """The producer id and epoch to write with."""

    api_key: ClassVar[ApiKey] = ApiKey.INIT_PRODUCER_ID
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    client_throttled_from: ClassVar[int] = 1

    throttle_time_ms: int = 0
    error_code: int
    producer_id: int = -1
    """-1 on error."""
    producer_epoch: int = 0

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.pack(_RESPONSE, self.throttle_time_ms, self.error_code, self.producer_id, self.producer_epoch)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        throttle_time_ms, error_code, producer_id, producer_epoch = reader.unpack(_RESPONSE)
        reader.tagged_fields()
        return cls(
            throttle_time_ms=throttle_time_ms,
            error_code=error_code,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class InitProducerIdRequest(Fields):
    """Asks for a producer id, or for the next epoch of the current one."""

    api_key: ClassVar[ApiKey] = ApiKey.INIT_PRODUCER_ID
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    response = InitProducerIdResponse

    transactional_id: str | None
    """None for idempotence without transactions."""
    transaction_timeout_ms: int
    """The time after which the broker aborts an open transaction; ignored without transactional id."""
    producer_id: int = -1
    """From version 3: the current one, -1 for none."""
    producer_epoch: int = -1
    """From version 3."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""
        writer.nullable_string(self.transactional_id)
        writer.int32(self.transaction_timeout_ms)
        if version >= 3:
            writer.pack(_PRODUCER, self.producer_id, self.producer_epoch)
        # Versions 0 to 2 lack the fields: the broker would give a new id instead of the next epoch.
        elif self.producer_id != -1:
            raise lacks(self, version, "producer_id")
        elif self.producer_epoch != -1:
            raise lacks(self, version, "producer_epoch")
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`."""
        transactional_id = reader.nullable_string()
        transaction_timeout_ms = reader.int32()
        producer_id, producer_epoch = reader.unpack(_PRODUCER) if version >= 3 else (-1, -1)
        reader.tagged_fields()
        return cls(
            transactional_id=transactional_id,
            transaction_timeout_ms=transaction_timeout_ms,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
        )
