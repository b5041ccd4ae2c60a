"""All code that reads foreign bytes, as functions of bytes.

A decoder accepts its bytes or raises one of its documented errors. It never hangs, and its memory
is limited by the size of the bytes. A family is a group of similar decoders: the versions of a
message, the codecs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING

from crc32c import crc32c

from aioproducer.core.broker_versions import VersionDiscovery
from aioproducer.core.connection import Connection
from aioproducer.core.metadata_cache import MetadataCache
from aioproducer.errors import BrokerError, ProtocolError, UnsupportedVersionError
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse
from aioproducer.protocol.frame import decode_request, decode_request_header, decode_response
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from aioproducer.protocol.metadata import MetadataRequest, MetadataResponse
from aioproducer.protocol.produce import ProduceRequest, ProduceResponse
from aioproducer.protocol.reader import Reader
from aioproducer.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)
from aioproducer.records.compression import Codec
from aioproducer.records.decompression import decompress
from aioproducer.records.layout import CRC, CRC_AT, CRC_END, HEADER_SIZE
from aioproducer.records.reader import RecordBatch, _Cursor, read_batches
from aioproducer.testing.cluster import FakeCluster
from aioproducer.testing.refusal import ConnectionDropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.protocol.api import Message, Response
    from aioproducer.testing.fake_broker import FakeBroker

RESPONSES: tuple[type[Response], ...] = (
    ApiVersionsResponse,
    MetadataResponse,
    ProduceResponse,
    InitProducerIdResponse,
    SaslHandshakeResponse,
    SaslAuthenticateResponse,
)
REQUESTS: tuple[type[Message], ...] = (
    ApiVersionsRequest,
    MetadataRequest,
    ProduceRequest,
    InitProducerIdRequest,
    SaslHandshakeRequest,
    SaslAuthenticateRequest,
)

PLAIN_LIMIT = 64 * 1024
"""The limit for decompressed data, in bytes."""

MERGED_VERSION = 12
PIECE = 7

_BYTE = Struct(">b")


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way to read bytes; `plain_limit` is the limit for decompressed data, in bytes."""

    family: str
    name: str
    decode: Callable[[bytes], object]
    documented: tuple[type[Exception], ...] = (ProtocolError,)
    plain_limit: int = 0

    def accepts(self, data: bytes) -> bool:
        """Return whether the bytes are valid; an undocumented error is raised."""
        try:
            self.decode(data)
        except self.documented:
            return False
        return True


def _decode_response(kind: type[Response], version: int, data: bytes) -> object:
    return decode_response(kind, data, version)


def _decode_request(kind: type[Message], version: int, data: bytes) -> object:
    _, reader = decode_request_header(data)
    return decode_request(kind, reader, version)


def _decode_request_as_it_says(data: bytes) -> object:
    header, reader = decode_request_header(data)
    kinds = {int(kind.api_key): kind for kind in REQUESTS}
    kind = kinds.get(header.api_key, ProduceRequest)
    return decode_request(kind, reader, header.version)


def _receive(data: bytes) -> object:
    """Receive the bytes on a connection after three requests: at once, and in pieces."""
    request = ApiVersionsRequest()
    received = []
    for size in (len(data) or 1, PIECE):
        connection = Connection("fuzz")
        for _ in range(3):
            connection.send(request, 0, 0.0, 1.0, lambda *_: None)
        frames = []
        for start in range(0, len(data), size):
            frames += [bytes(frame) for _, frame in connection.receive(data[start : start + size])]
        received.append(frames)
    assert received[0] == received[1]
    return received


def _shake_hands(data: bytes) -> object:
    discovery = VersionDiscovery()
    discovery.begin()
    return discovery.receive(memoryview(data))


def _learn_from_metadata(data: bytes) -> object:
    """Merge the bytes as a Metadata response about a known topic."""
    _, response = decode_response(MetadataResponse, data, MERGED_VERSION)
    topics = {topic.name for topic in response.topics if topic.name is not None} | {"orders"}
    cache = MetadataCache()
    changes = [cache.merge(response, asked=topics, wanted=topics) for _ in range(2)]
    for topic in cache.topics.values():
        assert all(each.leader_id in {*cache.nodes, -1} for each in topic.partitions)
    return changes


def _read_batches(data: bytes) -> object:
    return [batch.records(PLAIN_LIMIT) for batch in read_batches(data, check_crc=False)]


def _read_batch_with_its_crc(data: bytes) -> object:
    whole = bytearray(data)
    if len(whole) >= HEADER_SIZE:
        CRC.pack_into(whole, CRC_AT, crc32c(whole[CRC_END:]))
    return RecordBatch.parse(whole).records(PLAIN_LIMIT)


def _decompress(codec: Codec, data: bytes) -> object:
    plain = decompress(codec, data, PLAIN_LIMIT)
    assert len(plain) <= PLAIN_LIMIT
    return plain


def _read_varints(data: bytes) -> object:
    cursor = _Cursor(data)
    numbers = []
    for bits in (32, 64) * len(data):
        if cursor.position == len(data):
            break
        number = cursor.varint(bits)
        assert -(1 << bits - 1) <= number < 1 << bits - 1
        numbers.append(number)
    return numbers


def _read_primitives(data: bytes) -> object:
    """Read all values; the byte before each names its type."""
    reader = Reader(data[1:], flexible=data[:1] == b"\x01")
    reads: tuple[Callable[[], object], ...] = (
        reader.int16, reader.int32, reader.int64, reader.boolean, reader.uuid, reader.unsigned_varint,
        reader.string, reader.nullable_string, reader.records, reader.int32_array, reader.tagged_fields,
        reader.array_size, reader.strings, reader.bytes_field,
    )  # fmt: skip
    values = []
    while reader.remaining:
        (kind,) = reader.unpack(_BYTE)
        values.append(reads[kind % len(reads)]())
    return values


def _serve(data: bytes) -> object:
    """Send the bytes as a request to a broker of the fake cluster."""
    cluster = FakeCluster(topics={"orders": 2})
    broker: FakeBroker = cluster._brokers[1]  # noqa: SLF001 - without a socket
    call = broker.receive(data, broker.open_session())
    response = broker.answer(call)
    return None if response is None else broker.encode(call, response)


def _messages() -> list[Decoder]:
    decoders = []
    for kind in RESPONSES:
        for version in range(kind.versions.min, kind.versions.max + 1):
            name = f"{kind.__name__}-{version}"
            decoders.append(Decoder(kind.__name__, name, partial(_decode_response, kind, version)))
    for message in REQUESTS:
        for version in range(message.versions.min, message.versions.max + 1):
            name = f"{message.__name__}-{version}"
            decoders.append(Decoder(message.__name__, name, partial(_decode_request, message, version)))
    return decoders


def _codecs() -> list[Decoder]:
    compressed = [codec for codec in Codec if codec is not Codec.NONE]
    return [
        Decoder("decompression", codec.name.lower(), partial(_decompress, codec), plain_limit=PLAIN_LIMIT)
        for codec in compressed
    ]


DECODERS: tuple[Decoder, ...] = (
    *_messages(),
    Decoder(
        "request header", "request", _decode_request_as_it_says, (ProtocolError, UnsupportedVersionError)
    ),
    Decoder("connection", "connection", _receive),
    Decoder("handshake", "handshake", _shake_hands, (ProtocolError, BrokerError)),
    Decoder("metadata cache", "metadata-cache", _learn_from_metadata),
    Decoder("record batches", "batches", _read_batches, plain_limit=PLAIN_LIMIT),
    Decoder("record batches", "batch-with-crc", _read_batch_with_its_crc, plain_limit=PLAIN_LIMIT),
    *_codecs(),
    Decoder("varints", "varints", _read_varints),
    Decoder("primitives", "primitives", _read_primitives),
    Decoder("embedded broker", "embedded-broker", _serve, (ConnectionDropped,), plain_limit=PLAIN_LIMIT),
)

FAMILIES: dict[str, list[Decoder]] = {}
for _decoder in DECODERS:
    FAMILIES.setdefault(_decoder.family, []).append(_decoder)
