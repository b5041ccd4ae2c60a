"""Sends one request to one broker with kio's codecs: the harness shares no code with the package.

All versions used here are flexible (KIP-482), so that one pair of headers is enough, and exist
in Kafka 2.8, Redpanda and Kafka 4.
"""

from __future__ import annotations

import io
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from kio.schema.request_header.v2.header import RequestHeader
from kio.schema.response_header.v1.header import ResponseHeader
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i16, i32

if TYPE_CHECKING:
    from kio.static.protocol import HeaderV1ResponsePayload, HeaderV2RequestPayload

ResponseT = TypeVar("ResponseT", bound="HeaderV1ResponsePayload")

_CORRELATION_ID = i32(7)
_LENGTH = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        host, _, port = text.strip().rpartition(":")
        return cls(host.strip("[]"), int(port))


def ask(
    address: Address, request: HeaderV2RequestPayload, response_type: type[ResponseT], timeout: float = 20.0
) -> ResponseT:
    """Send `request` on a new connection and return the response; raises OSError without one."""
    header = RequestHeader(
        request_api_key=i16(request.__api_key__),
        request_api_version=i16(request.__version__),
        correlation_id=_CORRELATION_ID,
        client_id="aioproducer-tests",
    )
    buffer = io.BytesIO()
    entity_writer(RequestHeader)(buffer, header)
    entity_writer(type(request))(buffer, request)
    payload = buffer.getvalue()
    with socket.create_connection((address.host, address.port), timeout) as connection:
        connection.sendall(_LENGTH.pack(len(payload)) + payload)
        (length,) = _LENGTH.unpack(_receive(connection, _LENGTH.size))
        answer = _receive(connection, length)
    _, header_size = entity_reader(ResponseHeader)(answer, 0)
    response, _ = entity_reader(response_type)(answer, header_size)
    return response


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            message = f"the broker closed the connection after {len(received)} of {size} bytes"
            raise ConnectionError(message)
        received += chunk
    return bytes(received)
