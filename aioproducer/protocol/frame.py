"""Frames: on the wire, a message is a size, a header and a body.

    int32 size │ request header:  api key, version, correlation id, client id │ body
               │ response header: correlation id                              │ body

A response does not name its API or version. Its correlation id identifies the request, and the
request determines how to read the body. Headers end with tagged fields if the body is flexible.
The exception is the response to ApiVersions: clients must be able to read it before they know
the versions of the broker.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct as Layout
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from aioproducer.errors import ProtocolError, plural
from aioproducer.protocol.api import ApiKey, Message, R, Request, Response, check_version
from aioproducer.protocol.reader import Reader
from aioproducer.protocol.writer import Writer

if TYPE_CHECKING:
    from aioproducer.protocol.fields import Chunk

# The size of a frame counts the bytes after it. A request begins with API key, version and
# correlation id.
_SIZE = Layout(">i")
_REQUEST = Layout(">hhi")

# The first bytes of other protocols, in place of the size of a frame.
_OTHER_PROTOCOLS = (
    (b"\x15\x03", "a TLS alert: this port wants TLS (security_protocol SSL or SASL_SSL)"),
    (b"\x16\x03", "a TLS handshake: the peer speaks TLS"),
    (b"HTTP", "a response of an HTTP server: this is not a Kafka port"),
    (b"SSH-", "the greeting of an SSH server: this is not a Kafka port"),
)

M = TypeVar("M", bound=Message)


class RequestHeader(NamedTuple):
    """The header of a request; `api_key` may be unknown here."""

    api_key: int
    version: int
    correlation_id: int
    client_id: str | None


def encode_request(
    request: Request[Response], version: int, correlation_id: int, client_id: str | None
) -> list[Chunk]:
    """Return the frame of a request with its size; record batches are not copied.

    Raises UnsupportedVersionError if the version cannot carry a value of the request.
    """
    check_version(type(request), version)
    writer = Writer()
    writer.pack(_REQUEST, request.api_key, version, correlation_id)
    writer.encoded(_client_id(client_id))
    writer.flexible = version >= request.flexible_from
    writer.tagged_fields()
    request.write(writer, version)
    return _framed(writer)


def decode_request_header(frame: Chunk) -> tuple[RequestHeader, Reader]:
    """Read the header of a request; pass the Reader to `decode_request`."""
    reader = Reader(frame)
    api_key, version, correlation_id = reader.unpack(_REQUEST)
    return RequestHeader(api_key, version, correlation_id, reader.nullable_string()), reader


def decode_request(kind: type[M], reader: Reader, version: int) -> M:
    """Read the body of a request with the Reader from `decode_request_header`."""
    check_version(kind, version)
    reader.flexible = version >= kind.flexible_from
    reader.tagged_fields()
    return _body(kind, reader, version)


def encode_response(response: Response, version: int, correlation_id: int) -> list[Chunk]:
    """Return the frame of a response with its size."""
    kind = type(response)
    check_version(kind, version)
    writer = Writer()
    writer.int32(correlation_id)
    writer.flexible = version >= kind.flexible_from
    if _has_header_tags(kind):
        writer.tagged_fields()
    response.write(writer, version)
    return _framed(writer)


def decode_response(kind: type[R], frame: Chunk, version: int) -> tuple[int, R]:
    """Read a response as `version` of `kind`; return its correlation id and the message.

    Raises ProtocolError unless the frame is exactly one such response.
    """
    check_version(kind, version)
    # Slicing bytes costs a third of slicing a memoryview.
    reader = Reader(bytes(frame), flexible=version >= kind.flexible_from)
    correlation_id = reader.int32()
    if _has_header_tags(kind):
        reader.tagged_fields()
    return correlation_id, _body(kind, reader, version)


def read_correlation_id(frame: Chunk) -> int:
    """Return the correlation id of a response without reading its body."""
    if len(frame) < _SIZE.size:
        message = f"a frame of {plural(len(frame), 'byte')} is too short for a correlation id"
        raise ProtocolError(message)
    return int.from_bytes(frame[: _SIZE.size], "big", signed=True)


class FrameSplitter:
    """Splits a stream of bytes into frames of at most `max_size` bytes.

    A frame that arrives in one chunk is a view of that chunk. Only frames spread over several
    chunks are copied, each byte once.
    """

    __slots__ = ("_needed", "_pending", "max_size")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self._pending = bytearray()
        # `_pending` is not parsed until it has this many bytes.
        self._needed = _SIZE.size

    @property
    def pending(self) -> int:
        """The number of bytes of an unfinished frame; not 0 at the end of a stream if it was cut off."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[memoryview]:
        """Return the frames that `data` completes, without their sizes.

        Raises ProtocolError for an impossible size; the stream cannot be used after that.
        """
        if not self._pending:
            size = len(data) - _SIZE.size
            if size > 0 and _SIZE.unpack_from(data)[0] == size <= self.max_size:
                return [memoryview(data)[_SIZE.size :]]  # one whole frame: nearly always
            return self._split(data)
        self._pending += data
        if len(self._pending) < self._needed:
            return []
        received, self._pending = self._pending, bytearray()
        return self._split(received)

    def _split(self, data: Chunk) -> list[memoryview]:
        frames = []
        view = memoryview(data)
        start, end = 0, len(data)
        self._needed = _SIZE.size
        while end - start >= _SIZE.size:
            body = start + _SIZE.size
            size: int = _SIZE.unpack_from(view, start)[0]
            if not 0 <= size <= self.max_size:
                raise self._impossible(size, bytes(view[start:body]))
            if body + size > end:
                # A frame of 1 MB arrives in many chunks: parse again when it is complete.
                self._needed = _SIZE.size + size
                break
            frames.append(view[body : body + size])
            start = body + size
        if start < end:
            self._pending += view[start:]
        return frames

    def _impossible(self, size: int, prefix: bytes) -> ProtocolError:
        message = f"a frame cannot have {plural(size, 'byte')} (the limit is {self.max_size})"
        for start, meaning in _OTHER_PROTOCOLS:
            if prefix.startswith(start):
                message = f"{message}; the bytes {prefix!r} look like {meaning}"
        return ProtocolError(message)


@lru_cache(maxsize=64)
def _client_id(client_id: str | None) -> bytes:
    # The client id has the classic encoding in flexible headers too, so a broker can read it
    # in requests of versions that it does not support.
    writer = Writer()
    writer.nullable_string(client_id)
    return b"".join(writer.chunks())


def _has_header_tags(kind: type[Message]) -> bool:
    return kind.api_key is not ApiKey.API_VERSIONS


def _body(kind: type[M], reader: Reader, version: int) -> M:
    try:
        message = kind.read(reader, version)
        reader.expect_end()
    except ProtocolError as error:
        reason = f"malformed {kind.__name__} version {version}: {error}"
        raise ProtocolError(reason) from None
    return message


def _framed(writer: Writer) -> list[Chunk]:
    first, *others = writer.chunks()
    return [b"".join((_SIZE.pack(writer.size), first)), *others]
