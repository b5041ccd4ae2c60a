"""The Reader: takes Kafka's primitive types from received bytes.

A Reader does not trust its input. Every malformed input is a `ProtocolError`. A length or count
in the input cannot cause more allocation or iteration than the received bytes justify.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct as Layout
from struct import error as LayoutError  # noqa: N812 -- a class with an old lower-case name
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aioproducer.errors import ProtocolError, plural
from aioproducer.protocol.fields import INT16, INT32, INT64, VARINT_LAST, ZERO_UUID, Chunk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.protocol.fields import S

_BOOLEAN = Layout(">?")
_UINT32_MAX = 0xFFFF_FFFF
_VARINT_SHIFTS = (0, 7, 14, 21, 28)


class Reader:
    """Reads primitives from `data` in order; `flexible` selects the encoding."""

    __slots__ = ("_at", "_data", "flexible")

    def __init__(self, data: Chunk, *, flexible: bool = False) -> None:
        self._data = data
        self._at = 0
        self.flexible = flexible

    @property
    def remaining(self) -> int:
        """The number of bytes that were not read yet."""
        return len(self._data) - self._at

    def expect_end(self) -> None:
        """Raise ProtocolError if bytes are left over."""
        if self.remaining:
            message = f"{self.remaining} of {plural(len(self._data), 'byte')} left over after the last field"
            raise ProtocolError(message)

    def unpack(self, layout: Layout) -> tuple[Any, ...]:
        """Read several fixed-size fields at once."""
        try:
            values = layout.unpack_from(self._data, self._at)
        except LayoutError:
            raise self._too_short(layout.size) from None
        self._at += layout.size
        return values

    def unpack_if(self, layout: Layout, *, first: object, last: tuple[object, ...]) -> tuple[Any, ...] | None:
        """Read several fixed-size fields if they start with `first` and end with `last`.

        Return the values between; return None and read nothing if the bytes differ.
        """
        end = self._at + layout.size
        if end > len(self._data):
            return None
        values = layout.unpack_from(self._data, self._at)
        if values[0] != first or values[-len(last) :] != last:
            return None
        self._at = end
        return values[1 : -len(last)]

    def skip_if(self, expected: bytes) -> bool:
        """Skip `expected` if these bytes come next; return whether they did."""
        end = self._at + len(expected)
        if self._data[self._at : end] != expected:
            return False
        self._at = end
        return True

    def int16(self) -> int:
        """Read a signed 16-bit number."""
        value: int = self.unpack(INT16)[0]
        return value

    def int32(self) -> int:
        """Read a signed 32-bit number."""
        value: int = self.unpack(INT32)[0]
        return value

    def int64(self) -> int:
        """Read a signed 64-bit number."""
        value: int = self.unpack(INT64)[0]
        return value

    def boolean(self) -> bool:
        """Read a byte; every value except 0 is true."""
        value: bool = self.unpack(_BOOLEAN)[0]
        return value

    def uuid(self) -> UUID:
        """Read 16 bytes; 16 zero bytes give the object `ZERO_UUID`."""
        return _uuid(bytes(self._take(16)))

    def unsigned_varint(self) -> int:
        """Read a number of 7 bits a byte, lowest bits first: at most five bytes and 32 bits."""
        data, at, value = self._data, self._at, 0
        try:
            # Nearly every count and length is below 128.
            if (byte := data[at]) <= VARINT_LAST:
                self._at = at + 1
                return byte
            for shift in _VARINT_SHIFTS:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte <= VARINT_LAST:
                    break
            else:
                # Five bytes, and the last of them announces a sixth.
                value = _UINT32_MAX + 1
        except IndexError:
            raise self._too_short(at + 1 - self._at) from None
        if value > _UINT32_MAX:
            message = f"the unsigned varint at byte {self._at} is longer than 32 bits"
            raise ProtocolError(message)
        self._at = at
        return value

    def string(self) -> str:
        """Read a string that must not be null."""
        return self._text(self._not_null(self._string_length()))

    def nullable_string(self) -> str | None:
        """Read a string or None."""
        length = self._string_length()
        return None if length is None else self._text(length)

    def strings(self) -> tuple[str, ...]:
        """Read an array of strings that must not be null."""
        return tuple([self.string() for _ in range(self.array_size())])

    def bytes_field(self) -> bytes:
        """Read bytes that must not be null; they are copied."""
        return bytes(self._take(self._not_null(self._length())))

    def records(self) -> memoryview | None:
        """Read record batches without a copy: the view keeps the received bytes alive."""
        length = self._length()
        return None if length is None else memoryview(self._take(length))

    def array_size(self) -> int:
        """Read the count of an array that must not be null; it is at most `remaining`."""
        if self.flexible:
            # The fast path: nearly every count is one byte.
            at, size = self._at, len(self._data)
            if at < size and 0 < (count := self._data[at]) <= VARINT_LAST and count <= size - at:
                self._at = at + 1
                return count - 1
        return self._not_null(self._nullable_array_size())

    def structs(self, kind: type[S], version: int) -> tuple[S, ...]:
        """Read an array of structs that must not be null."""
        read = kind.read
        return tuple([read(self, version) for _ in range(self.array_size())])

    def nullable_structs(self, kind: type[S], version: int) -> tuple[S, ...] | None:
        """Read an array of structs or None."""
        count = self._nullable_array_size()
        return None if count is None else tuple([kind.read(self, version) for _ in range(count)])

    def int32_array(self) -> tuple[int, ...]:
        """Read an array of signed 32-bit numbers."""
        return self.unpack(Layout(f">{self.array_size()}i"))

    def tagged_fields(self) -> Mapping[int, Reader]:
        """Read the tagged section at the end of a struct; the classic encoding has none.

        Return a Reader for each tag. Callers read the tags they know and ignore the others,
        which are newer.
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
            message = f"the string of length {length} before byte {self._at} is not UTF-8: {error.reason}"
            raise ProtocolError(message) from None

    def _string_length(self) -> int | None:
        return self._length() if self.flexible else self._known(self.int16())

    def _nullable_array_size(self) -> int | None:
        count = self._length()
        # Every element takes at least one byte. So a larger count is wrong: refuse it before a
        # loop or an allocation uses it.
        if count is not None and count > self.remaining:
            left = plural(self.remaining, "byte")
            message = f"an array of length {count} cannot be in the remaining {left}"
            raise ProtocolError(message)
        return count

    def _length(self) -> int | None:
        return self._known(self.unsigned_varint() - 1 if self.flexible else self.int32())

    def _known(self, length: int) -> int | None:
        if length < -1:
            message = f"the length before byte {self._at} is {length}"
            raise ProtocolError(message)
        return None if length == -1 else length

    def _not_null(self, length: int | None) -> int:
        if length is None:
            message = f"the field before byte {self._at} is null but must not be"
            raise ProtocolError(message)
        return length

    def _too_short(self, needed: int) -> ProtocolError:
        return ProtocolError(
            f"the field at byte {self._at} needs {plural(needed, 'byte')}, but {self.remaining} are left"
        )


_NO_FIELDS: Mapping[int, Reader] = {}


@lru_cache(maxsize=4096)
def _uuid(raw: bytes) -> UUID:
    # Every response repeats the same few topic ids. Constructing a UUID takes longer than
    # reading the rest of a partition's response.
    return UUID(bytes=raw) if any(raw) else ZERO_UUID
