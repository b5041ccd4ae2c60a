"""The parts of a record: the types in the arguments of `Producer.send`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypedDict

Header: TypeAlias = tuple[str, bytes | None]
"""One header: a name and a value (None for null)."""

Headers: TypeAlias = Sequence[Header] | Mapping[str, bytes | None]
"""The headers of a record; a sequence keeps its order and may repeat names."""

Buffer: TypeAlias = bytes | bytearray | memoryview
"""The type of keys and values without a serializer."""


class TopicPartition(NamedTuple):
    """A partition of a topic."""

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
    """The arguments of `Producer.send` as a value: `producer.send(**record.as_arguments())`.

    `timestamp_ms` is in milliseconds since the epoch, None for now. With `partition` None the
    partitioner chooses. `key` None means without a key, `b""` is an empty key.
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
