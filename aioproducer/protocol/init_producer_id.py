"""InitProducerId: the producer id and epoch that idempotence and transactions are built on.

The one idea: the same call has three uses. Without a transactional id it gives a new
producer id; with one it also fences whoever used that id before and ends what they left
open; with the current producer id and epoch (from version 3) it raises the epoch only.
"""

# ruff: noqa: ARG002, ARG003, PLR2004 -- a version says itself best; the response is alike in all

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

    throttle_time_ms: int = 0
    error_code: int
    producer_id: int = -1
    """-1 on error."""
    producer_epoch: int = 0

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        writer.pack(_RESPONSE, self.throttle_time_ms, self.error_code, self.producer_id, self.producer_epoch)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
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
    """Asks for a producer id, or for the next epoch of the one in use."""

    api_key: ClassVar[ApiKey] = ApiKey.INIT_PRODUCER_ID
    versions: ClassVar[VersionRange] = _VERSIONS
    flexible_from: ClassVar[int] = _FLEXIBLE_FROM
    response = InitProducerIdResponse

    transactional_id: str | None
    """None if idempotence is all that is wanted."""
    transaction_timeout_ms: int
    """After which the broker aborts an open transaction; without a transactional id it means nothing."""
    producer_id: int = -1
    """From version 3: the one in use, -1 for none."""
    producer_epoch: int = -1
    """From version 3."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""
        writer.nullable_string(self.transactional_id)
        writer.int32(self.transaction_timeout_ms)
        if version >= 3:
            writer.pack(_PRODUCER, self.producer_id, self.producer_epoch)
        elif self.producer_id != -1:
            raise lacks(self, version, "producer_id")
        elif self.producer_epoch != -1:
            raise lacks(self, version, "producer_epoch")
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has."""
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
