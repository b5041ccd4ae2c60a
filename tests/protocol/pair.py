"""A struct for tests of the Reader and the Writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.protocol.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.protocol.reader import Reader


class Pair:
    """A struct of two numbers, the second from version 1."""

    def __init__(self, left: int, right: int = 0) -> None:
        self.left = left
        self.right = right

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and (self.left, self.right) == (other.left, other.right)

    def __hash__(self) -> int:
        return hash((self.left, self.right))

    def write(self, writer: Writer, version: int) -> None:
        writer.int16(self.left)
        if version >= 1:
            writer.int16(self.right)
        writer.tagged_fields()

    @classmethod
    def read(cls, reader: Reader, version: int) -> Pair:
        pair = cls(reader.int16(), reader.int16() if version >= 1 else 0)
        reader.tagged_fields()
        return pair


def written(write: Callable[[Writer], None], *, flexible: bool) -> bytes:
    """Return the bytes that `write` writes."""
    writer = Writer(flexible=flexible)
    write(writer)
    return b"".join(writer.chunks())
