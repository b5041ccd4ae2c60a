"""What a record is made of: the types that users hand in and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypedDict

Header: TypeAlias = tuple[str, bytes | None]
"""One header: its name, and its value (None for null)."""

Headers: TypeAlias = Sequence[Header] | Mapping[str, bytes | None]
"""What `send` takes as headers; a sequence keeps order and may repeat a name."""

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What a key or a value is without a serializer."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class RecordArguments(TypedDict):
    """The arguments of `Producer.send`, by name."""

    topic: str
    value: Buffer | None
    key: Buffer | None
    partition: int | None
    timestamp_ms: int | None
    headers: Headers | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as `Producer.send` takes it: `producer.send(**record.as_arguments())`.

    `timestamp_ms` counts milliseconds since the epoch, None for now; `partition` None lets
    the partitioner choose; `key` None is no key, `b""` is an empty one.
    """

    topic: str
    value: Buffer | None = None
    key: Buffer | None = None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: Headers | None = None

    def as_arguments(self) -> RecordArguments:
        """Return the keyword arguments of `Producer.send`."""
        return {
            "topic": self.topic,
            "value": self.value,
            "key": self.key,
            "partition": self.partition,
            "timestamp_ms": self.timestamp_ms,
            "headers": self.headers,
        }
