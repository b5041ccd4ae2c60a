"""The types that `reader` and `writer` share, and Kafka's two encodings.

Kafka has two encodings of the same types, classic and flexible (KIP-482). The Reader or Writer
knows which one applies, so a message is written the same way for both:

    type            classic                       flexible
    string, bytes   int16 or int32 length         unsigned varint of length + 1
    array           int32 count                   unsigned varint of count + 1
    null            length -1                     0
    end of struct   nothing                       tagged fields
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeAlias, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from aioproducer.protocol.reader import Reader
    from aioproducer.protocol.writer import Writer

Chunk: TypeAlias = bytes | bytearray | memoryview
"""A piece of a message, in a form that sockets accept."""

ZERO_UUID = UUID(int=0)
"""The UUID that Kafka sends for "no id"."""

INT16 = Layout(">h")
INT32 = Layout(">i")
INT64 = Layout(">q")
VARINT_LAST = 0x7F
"""The largest byte that ends a varint: larger ones are followed by another."""


class Struct(Protocol):
    """A part of a message: instances write themselves and the class reads them, in every version."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields of `version`."""

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Read the fields of `version`; other fields get their defaults."""
        ...


S = TypeVar("S", bound=Struct)


class Fields:
    """The base of all structs: compares, hashes and shows instances by their fields.

    The structs are dataclasses with `eq=False, repr=False`: generating these methods for each
    class takes a sixteenth of the import time of the library.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        # `__slots__` of a dataclass lists its fields in order.
        return self._values() == [getattr(other, name) for name in self.__slots__]

    def __hash__(self) -> int:
        return hash(tuple(self._values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"

    def _values(self) -> list[object]:
        return [getattr(self, name) for name in self.__slots__]
