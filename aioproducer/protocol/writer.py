"""The Writer: collects Kafka's primitive types into bytes to send."""

from __future__ import annotations

from struct import Struct as Layout
from typing import TYPE_CHECKING

from aioproducer.protocol.fields import INT16, INT32, INT64, VARINT_LAST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from aioproducer.protocol.fields import Chunk, Struct

_INT16_MAX = 0x7FFF


class Writer:
    """Collects primitives into `chunks`; `flexible` selects the encoding.

    Small fields are copied into a buffer of the Writer; record batches are not copied.
    A number out of range of its type raises `struct.error`: it is a mistake of the caller.
    """

    __slots__ = ("_chunks", "_chunks_size", "_fields", "flexible")

    def __init__(self, *, flexible: bool = False) -> None:
        self._chunks: list[Chunk] = []
        self._chunks_size = 0
        self._fields = bytearray()
        self.flexible = flexible

    @property
    def size(self) -> int:
        """The number of bytes in all chunks."""
        return self._chunks_size + len(self._fields)

    def chunks(self) -> list[Chunk]:
        """Return the written bytes in order; no chunk is empty."""
        return [*self._chunks, self._fields] if self._fields else list(self._chunks)

    def pack(self, layout: Layout, *values: object) -> None:
        """Append several fixed-size fields at once."""
        self._fields += layout.pack(*values)

    def encoded(self, fields: bytes) -> None:
        """Append fields that are encoded already."""
        self._fields += fields

    def int16(self, value: int) -> None:
        """Append a signed 16-bit number."""
        self._fields += INT16.pack(value)

    def int32(self, value: int) -> None:
        """Append a signed 32-bit number."""
        self._fields += INT32.pack(value)

    def int64(self, value: int) -> None:
        """Append a signed 64-bit number."""
        self._fields += INT64.pack(value)

    def boolean(self, value: bool) -> None:  # noqa: FBT001 -- the value is the argument
        """Append 1 for true, 0 for false."""
        self._fields.append(1 if value else 0)

    def uuid(self, value: UUID) -> None:
        """Append 16 bytes."""
        self._fields += value.bytes

    def unsigned_varint(self, value: int) -> None:
        """Append a number of 7 bits a byte, lowest bits first."""
        fields = self._fields
        while value > VARINT_LAST:
            fields.append(value & 0x7F | 0x80)
            value >>= 7
        fields.append(value)

    def string(self, value: str) -> None:
        """Append a string."""
        self.nullable_string(value)

    def nullable_string(self, value: str | None) -> None:
        """Append a string or None."""
        text = None if value is None else value.encode()
        length = -1 if text is None else len(text)
        if self.flexible:
            self.unsigned_varint(length + 1)
        # The classic encoding has a signed length of 16 bits.
        elif length > _INT16_MAX:
            message = (
                f"a string of {length} bytes does not fit Kafka's classic encoding: at most {_INT16_MAX}"
            )
            raise ValueError(message)
        else:
            self.int16(length)
        if text:
            self._fields += text

    def strings(self, values: Sequence[str]) -> None:
        """Append an array of strings."""
        self._length(values)
        for value in values:
            self.string(value)

    def bytes_field(self, value: Chunk) -> None:
        """Append bytes; they are copied."""
        self._length(value)
        self._fields += value

    def records(self, batches: Chunk | None) -> None:
        """Append record batches as a separate chunk, without a copy, or None."""
        self._length(batches)
        if batches:
            fields = self._fields
            # The batch goes to the socket as it is, between the fields before it and those after it.
            self._chunks.append(fields)
            self._chunks.append(batches)
            self._chunks_size += len(fields) + len(batches)
            self._fields = bytearray()

    def structs(self, items: Sequence[Struct], version: int) -> None:
        """Append an array of structs."""
        self._length(items)
        for item in items:
            item.write(self, version)

    def nullable_structs(self, items: Sequence[Struct] | None, version: int) -> None:
        """Append an array of structs or None."""
        if items is None:
            self._length(None)
        else:
            self.structs(items, version)

    def int32_array(self, values: Sequence[int]) -> None:
        """Append an array of signed 32-bit numbers."""
        self._length(values)
        self._fields += Layout(f">{len(values)}i").pack(*values)

    def tagged_fields(self, fields: Mapping[int, Writer] | None = None) -> None:
        """Append the tagged section at the end of a struct; nothing in the classic encoding."""
        if not self.flexible:
            return
        if not fields:
            self._fields.append(0)
            return
        self.unsigned_varint(len(fields))
        # Tags are in ascending order (KIP-482).
        for tag in sorted(fields):
            field = fields[tag]
            self.unsigned_varint(tag)
            self.unsigned_varint(field.size)
            for chunk in field.chunks():
                self._fields += chunk

    def no_tagged_fields(self, *, structs: int) -> None:
        """Append an empty tagged section for each of `structs` nested flexible structs that end here."""
        self._fields += bytes(structs)

    def _length(self, sized: Sequence[object] | Chunk | None) -> None:
        length = -1 if sized is None else len(sized)
        if self.flexible:
            self.unsigned_varint(length + 1)
        else:
            self._fields += INT32.pack(length)
