"""The primitive types of Kafka's protocol: a `Reader` over received bytes, a `Writer` for bytes to send.

The one idea: Kafka has two encodings of the same types, classic and flexible (KIP-482),
and whoever makes the Reader or Writer says which. A message then reads the same in both,
and the tagged section at the end of every struct is simply nothing in the classic one:

    type            classic                       flexible
    string, bytes   int16 or int32 length         unsigned varint of length + 1
    array           int32 count                   unsigned varint of count + 1
    null            length -1                     0
    end of struct   nothing                       tagged fields

A Reader trusts nothing: whatever is wrong with the bytes is a `ProtocolError`, and no
length or count makes it allocate or loop more than the bytes at hand can pay for.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct as Layout
from struct import error as LayoutError  # noqa: N812 -- it is a class, lower-case by age alone
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias, TypeVar
from uuid import UUID

from aioproducer.errors import ProtocolError, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Chunk: TypeAlias = bytes | bytearray | memoryview
"""A piece of a message, as sockets take it."""

ZERO_UUID = UUID(int=0)
"""What Kafka sends where there is no id."""

_INT8 = Layout(">b")
_INT16 = Layout(">h")
_INT32 = Layout(">i")
_INT64 = Layout(">q")
_INT16_MAX = 0x7FFF
_UINT32_MAX = 0xFFFF_FFFF
_VARINT_SHIFTS = (0, 7, 14, 21, 28)
_VARINT_LAST = 0x7F


class Struct(Protocol):
    """A part of a message: it writes itself, and its class reads it, in any version."""

    def write(self, writer: Writer, version: int) -> None:
        """Append the fields that `version` has."""

    @classmethod
    def read(cls, reader: Reader, version: int) -> Self:
        """Take the fields that `version` has; the others get their defaults."""
        ...


S = TypeVar("S", bound=Struct)


class Fields:
    """What all structs have in common: they are equal if their fields are, and show these.

    The structs are dataclasses with `eq=False, repr=False`: to make the like anew for each class
    would take a sixteenth of the time in which the library is imported.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == [getattr(other, name) for name in self.__slots__]

    def __hash__(self) -> int:
        return hash(tuple(self._values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"

    def _values(self) -> list[object]:
        return [getattr(self, name) for name in self.__slots__]


class Reader:
    """Takes primitives off `data`, one after the other; `flexible` says in which encoding."""

    __slots__ = ("_at", "_data", "flexible")

    def __init__(self, data: Chunk, *, flexible: bool = False) -> None:
        self._data = data
        self._at = 0
        self.flexible = flexible

    @property
    def remaining(self) -> int:
        """How many bytes are not taken yet."""
        return len(self._data) - self._at

    def expect_end(self) -> None:
        """Raise ProtocolError if bytes are left over."""
        if self.remaining:
            msg = f"{self.remaining} of {plural(len(self._data), 'byte')} left over behind the last field"
            raise ProtocolError(msg)

    def unpack(self, layout: Layout) -> tuple[Any, ...]:
        """Take a run of fixed-size fields at once."""
        try:
            values = layout.unpack_from(self._data, self._at)
        except LayoutError:
            raise self._too_short(layout.size) from None
        self._at += layout.size
        return values

    def unpack_if(self, layout: Layout, *, first: object, last: tuple[object, ...]) -> tuple[Any, ...] | None:
        """Take a run of fixed-size fields if it begins and ends so, and return what is between; else None."""
        end = self._at + layout.size
        if end > len(self._data):
            return None
        values = layout.unpack_from(self._data, self._at)
        if values[0] != first or values[-len(last) :] != last:
            return None
        self._at = end
        return values[1 : -len(last)]

    def skip_if(self, expected: bytes) -> bool:
        """Step over `expected` if just that comes next, and say whether it did."""
        end = self._at + len(expected)
        if self._data[self._at : end] != expected:
            return False
        self._at = end
        return True

    def int8(self) -> int:
        """Take a signed byte."""
        value: int = self.unpack(_INT8)[0]
        return value

    def int16(self) -> int:
        """Take a signed 16-bit number."""
        value: int = self.unpack(_INT16)[0]
        return value

    def int32(self) -> int:
        """Take a signed 32-bit number."""
        value: int = self.unpack(_INT32)[0]
        return value

    def int64(self) -> int:
        """Take a signed 64-bit number."""
        value: int = self.unpack(_INT64)[0]
        return value

    def boolean(self) -> bool:
        """Take a byte; anything but 0 is true."""
        return self.int8() != 0

    def uuid(self) -> UUID:
        """Take 16 bytes; all zero is `ZERO_UUID`."""
        return _uuid(bytes(self._take(16)))

    def unsigned_varint(self) -> int:
        """Take a number of 7 bits a byte, lowest first, five bytes and 32 bits at most."""
        data, at, value = self._data, self._at, 0
        try:
            # Nearly every count and length is below 128.
            if (byte := data[at]) <= _VARINT_LAST:
                self._at = at + 1
                return byte
            for shift in _VARINT_SHIFTS:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte <= _VARINT_LAST:
                    break
            else:
                value = _UINT32_MAX + 1
        except IndexError:
            raise self._too_short(at + 1 - self._at) from None
        if value > _UINT32_MAX:
            msg = f"the unsigned varint at byte {self._at} is longer than 32 bits"
            raise ProtocolError(msg)
        self._at = at
        return value

    def string(self) -> str:
        """Take a text that must not be null."""
        return self._text(self._not_null(self._string_length()))

    def nullable_string(self) -> str | None:
        """Take a text or None."""
        length = self._string_length()
        return None if length is None else self._text(length)

    def bytes_(self) -> bytes:
        """Take bytes that must not be null."""
        return bytes(self._take(self._not_null(self._length())))

    def nullable_bytes(self) -> bytes | None:
        """Take bytes or None."""
        length = self._length()
        return None if length is None else bytes(self._take(length))

    def records(self) -> memoryview | None:
        """Take record batches, without a copy: the view keeps the received bytes alive."""
        length = self._length()
        return None if length is None else memoryview(self._take(length))

    def array_size(self) -> int:
        """Take the count of an array that must not be null; it is at most `remaining`."""
        if self.flexible:
            # The short way through, for nearly every array there is.
            at, size = self._at, len(self._data)
            if at < size and 0 < (count := self._data[at]) <= _VARINT_LAST and count <= size - at:
                self._at = at + 1
                return count - 1
        return self._not_null(self.nullable_array_size())

    def nullable_array_size(self) -> int | None:
        """Take the count of an array, None for null; it is at most `remaining`."""
        count = self._length()
        # No element is smaller than a byte, so a larger count is a lie, and is
        # found out before a loop or an allocation believes it.
        if count is not None and count > self.remaining:
            left = plural(self.remaining, "byte")
            msg = f"an array of {plural(count, 'element')} does not fit in the remaining {left}"
            raise ProtocolError(msg)
        return count

    def structs(self, kind: type[S], version: int) -> tuple[S, ...]:
        """Take an array of structs that must not be null."""
        read = kind.read
        return tuple([read(self, version) for _ in range(self.array_size())])

    def nullable_structs(self, kind: type[S], version: int) -> tuple[S, ...] | None:
        """Take an array of structs or None."""
        count = self.nullable_array_size()
        return None if count is None else tuple([kind.read(self, version) for _ in range(count)])

    def int32_array(self) -> tuple[int, ...]:
        """Take an array of signed 32-bit numbers."""
        return self.unpack(Layout(f">{self.array_size()}i"))

    def string_array(self) -> tuple[str, ...]:
        """Take an array of texts."""
        return tuple([self.string() for _ in range(self.array_size())])

    def tagged_fields(self) -> Mapping[int, Reader]:
        """Take the tagged section that ends a struct: a Reader for each tag, none in the classic encoding.

        The caller reads the tags it knows and leaves the others, which are newer than it is.
        """
        if not self.flexible or self.skip_if(b"\x00"):
            return _NO_FIELDS
        fields = {}
        for _ in range(self.unsigned_varint()):
            tag = self.unsigned_varint()
            fields[tag] = Reader(self._take(self.unsigned_varint()), flexible=True)
        return fields

    def _take(self, length: int) -> Chunk:
        end = self._at + length
        if end > len(self._data):
            raise self._too_short(length)
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _text(self, length: int) -> str:
        try:
            return str(self._take(length), "utf-8")
        except UnicodeDecodeError as error:
            msg = (
                f"the string of {plural(length, 'byte')} before byte {self._at} is not UTF-8: {error.reason}"
            )
            raise ProtocolError(msg) from None

    def _string_length(self) -> int | None:
        return self._length() if self.flexible else self._known(self.int16())

    def _length(self) -> int | None:
        return self._known(self.unsigned_varint() - 1 if self.flexible else self.int32())

    def _known(self, length: int) -> int | None:
        if length < -1:
            msg = f"the length before byte {self._at} is {length}"
            raise ProtocolError(msg)
        return None if length == -1 else length

    def _not_null(self, length: int | None) -> int:
        if length is None:
            msg = f"the field before byte {self._at} is null, which it must not be"
            raise ProtocolError(msg)
        return length

    def _too_short(self, needed: int) -> ProtocolError:
        return ProtocolError(
            f"the field at byte {self._at} needs {plural(needed, 'byte')}, with {self.remaining} left"
        )


_NO_FIELDS: Mapping[int, Reader] = {}


@lru_cache(maxsize=4096)
def _uuid(raw: bytes) -> UUID:
    # The same few topic ids stand in every answer, and making a UUID takes longer than
    # reading all the rest of the answer for a partition.
    return UUID(bytes=raw) if any(raw) else ZERO_UUID


class Writer:
    """Collects primitives into `chunks`; `flexible` says in which encoding.

    Small fields gather in a buffer of the Writer's own; record batches stay where they are.
    A number that its type cannot hold raises `struct.error`: it is the caller's mistake.
    """

    __slots__ = ("_chunks", "_chunks_size", "_fields", "flexible")

    def __init__(self, *, flexible: bool = False) -> None:
        self._chunks: list[Chunk] = []
        self._chunks_size = 0
        self._fields = bytearray()
        self.flexible = flexible

    @property
    def size(self) -> int:
        """How many bytes the chunks have together."""
        return self._chunks_size + len(self._fields)

    def chunks(self) -> list[Chunk]:
        """Return what was written, in order; none of the chunks is empty."""
        return [*self._chunks, self._fields] if self._fields else list(self._chunks)

    def pack(self, layout: Layout, *values: object) -> None:
        """Append a run of fixed-size fields at once."""
        self._fields += layout.pack(*values)

    def encoded(self, fields: bytes) -> None:
        """Append fields as they are."""
        self._fields += fields

    def int8(self, value: int) -> None:
        """Append a signed byte."""
        self._fields += _INT8.pack(value)

    def int16(self, value: int) -> None:
        """Append a signed 16-bit number."""
        self._fields += _INT16.pack(value)

    def int32(self, value: int) -> None:
        """Append a signed 32-bit number."""
        self._fields += _INT32.pack(value)

    def int64(self, value: int) -> None:
        """Append a signed 64-bit number."""
        self._fields += _INT64.pack(value)

    def boolean(self, value: bool) -> None:  # noqa: FBT001 -- the value is the argument
        """Append 1 for true, 0 for false."""
        self._fields.append(1 if value else 0)

    def uuid(self, value: UUID) -> None:
        """Append 16 bytes."""
        self._fields += value.bytes

    def unsigned_varint(self, value: int) -> None:
        """Append a number of 7 bits a byte, lowest first."""
        fields = self._fields
        while value > _VARINT_LAST:
            fields.append(value & 0x7F | 0x80)
            value >>= 7
        fields.append(value)

    def string(self, value: str) -> None:
        """Append a text."""
        self.nullable_string(value)

    def nullable_string(self, value: str | None) -> None:
        """Append a text or None."""
        text = None if value is None else value.encode()
        length = -1 if text is None else len(text)
        if self.flexible:
            self.unsigned_varint(length + 1)
        elif length > _INT16_MAX:
            msg = (
                f"a string of {length} bytes is longer than the {_INT16_MAX} that Kafka's classic form holds"
            )
            raise ValueError(msg)
        else:
            self.int16(length)
        if text:
            self._fields += text

    def bytes_(self, value: Chunk) -> None:
        """Append bytes, copied."""
        self.nullable_bytes(value)

    def nullable_bytes(self, value: Chunk | None) -> None:
        """Append bytes, copied, or None."""
        self._length(value)
        if value:
            self._fields += value

    def records(self, batches: Chunk | None) -> None:
        """Append record batches as a chunk of their own, not copied, or None."""
        self._length(batches)
        if batches:
            fields = self._fields
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

    def string_array(self, values: Sequence[str]) -> None:
        """Append an array of texts."""
        self._length(values)
        for value in values:
            self.nullable_string(value)

    def tagged_fields(self, fields: Mapping[int, Writer] | None = None) -> None:
        """Append the tagged section that ends a struct: nothing in the classic encoding."""
        if not self.flexible:
            return
        if not fields:
            self._fields.append(0)
            return
        self.unsigned_varint(len(fields))
        for tag in sorted(fields):
            field = fields[tag]
            self.unsigned_varint(tag)
            self.unsigned_varint(field.size)
            for chunk in field.chunks():
                self._fields += chunk

    def no_tagged_fields(self, *, structs: int) -> None:
        """Append empty tagged sections, where several structs that are flexible end together."""
        self._fields += bytes(structs)

    def _length(self, sized: Sequence[object] | Chunk | None) -> None:
        length = -1 if sized is None else len(sized)
        if self.flexible:
            self.unsigned_varint(length + 1)
        else:
            self._fields += _INT32.pack(length)
