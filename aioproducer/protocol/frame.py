"""Frames: a message on the wire is its size, a header and a body.

    int32 size │ request header:  api key, version, correlation id, client id │ body
               │ response header: correlation id                              │ body

The one idea: a response does not say what it answers. Its correlation id finds the
request, and only the request knows the API and the version to read the body with.
Headers end with tagged fields where the body is flexible, but for the answer to
ApiVersions: it must be readable before either side knows the other's versions.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct as Layout
from typing import NamedTuple, TypeVar

from aioproducer.errors import ProtocolError, plural
from aioproducer.protocol.api import ApiKey, Message, R, Request, Response, check_version
from aioproducer.protocol.primitives import Chunk, Reader, Writer

_SIZE = Layout(">i")
_REQUEST = Layout(">hhi")

# What other protocols begin with, where ours has a size.
_STRANGERS = (
    (b"\x15\x03", "a TLS alert: this port wants TLS (security_protocol SSL or SASL_SSL)"),
    (b"\x16\x03", "a TLS handshake: the peer speaks TLS"),
    (b"HTTP", "an answer of an HTTP server: this is no Kafka port"),
    (b"SSH-", "the greeting of an SSH server: this is no Kafka port"),
)

M = TypeVar("M", bound=Message)


class RequestHeader(NamedTuple):
    """What precedes every request; `api_key` may be one that we do not know."""

    api_key: int
    version: int
    correlation_id: int
    client_id: str | None


def encode_request(
    request: Request[Response], version: int, correlation_id: int, client_id: str | None
) -> list[Chunk]:
    """Return the whole frame of a request, its size included; record batches are not copied.

    Raises UnsupportedVersionError if the version lacks something that the request says.
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
    """Read the header of a request; the Reader is what `decode_request` goes on with."""
    reader = Reader(frame)
    api_key, version, correlation_id = reader.unpack(_REQUEST)
    return RequestHeader(api_key, version, correlation_id, reader.nullable_string()), reader


def decode_request(kind: type[M], reader: Reader, version: int) -> M:
    """Read the body of a request with the Reader that `decode_request_header` left behind it."""
    check_version(kind, version)
    reader.flexible = version >= kind.flexible_from
    reader.tagged_fields()
    return _body(kind, reader, version)


def encode_response(response: Response, version: int, correlation_id: int) -> list[Chunk]:
    """Return the whole frame of a response, its size included."""
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

    Raises ProtocolError for anything else than exactly one such response.
    """
    check_version(kind, version)
    # Slices of bytes cost a third of what slices of a view do.
    reader = Reader(bytes(frame), flexible=version >= kind.flexible_from)
    correlation_id = reader.int32()
    if _has_header_tags(kind):
        reader.tagged_fields()
    return correlation_id, _body(kind, reader, version)


def read_correlation_id(frame: Chunk) -> int:
    """Return the correlation id of a response, whatever else is in it."""
    if len(frame) < _SIZE.size:
        msg = f"a frame of {plural(len(frame), 'byte')} has no correlation id"
        raise ProtocolError(msg)
    return int.from_bytes(frame[: _SIZE.size], "big", signed=True)


class FrameSplitter:
    """Cuts a stream of bytes into frames of at most `max_size` bytes.

    A frame that arrives within one chunk is a view of that chunk; only a frame that is
    spread over several is put together by copying, each byte once.
    """

    __slots__ = ("_max_size", "_needed", "_pending")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._pending = bytearray()
        # How many bytes `_pending` must have before looking at it is worth the while.
        self._needed = _SIZE.size

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame were received: not 0 if the stream ended too early."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[memoryview]:
        """Return the frames that `data` completes, without their sizes.

        Raises ProtocolError if a size is impossible; the stream is of no use from then on.
        """
        if not self._pending:
            size = len(data) - _SIZE.size
            if size > 0 and _SIZE.unpack_from(data)[0] == size <= self._max_size:
                return [memoryview(data)[_SIZE.size :]]  # one whole frame, as nearly always
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
            if not 0 <= size <= self._max_size:
                raise self._impossible(size, bytes(view[start:body]))
            if body + size > end:
                self._needed = _SIZE.size + size
                break
            frames.append(view[body : body + size])
            start = body + size
        if start < end:
            self._pending += view[start:]
        return frames

    def _impossible(self, size: int, prefix: bytes) -> ProtocolError:
        words = f"a frame cannot have {plural(size, 'byte')} (the limit is {self._max_size})"
        for start, meaning in _STRANGERS:
            if prefix.startswith(start):
                words = f"{words}; the bytes {prefix!r} look like {meaning}"
        return ProtocolError(words)


@lru_cache(maxsize=64)
def _client_id(client_id: str | None) -> bytes:
    # It keeps its classic form in the flexible header too, so that a broker can read it before
    # it knows whether it has the version.
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
        msg = f"this is no {kind.__name__} version {version}: {error}"
        raise ProtocolError(msg) from None
    return message


def _framed(writer: Writer) -> list[Chunk]:
    first, *others = writer.chunks()
    return [b"".join((_SIZE.pack(writer.size), first)), *others]
