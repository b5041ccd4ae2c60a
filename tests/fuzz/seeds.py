"""Valid bytes for every decoder: messages with every field set, and responses of real brokers.

The folder `corpus` has a folder for each decoder: `kafka-*` are responses of real brokers, the
others are inputs that fuzzing found.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aioproducer.protocol.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.frame import encode_request, encode_response
from aioproducer.protocol.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from aioproducer.protocol.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from aioproducer.protocol.produce import (
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from aioproducer.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)
from aioproducer.protocol.writer import Writer
from aioproducer.records.compression import Codec, compressor
from aioproducer.records.varint import put_varint
from tests.fuzz.decoders import DECODERS, MERGED_VERSION, REQUESTS, RESPONSES
from tests.testing.batches import make_batch

if TYPE_CHECKING:
    from aioproducer.protocol.api import Message
    from tests.fuzz.decoders import Decoder

CORPUS = Path(__file__).parent / "corpus"

TOPIC_ID = UUID("0f6e2a0c-6b1c-4f4e-9d53-1f6a5d7e8b90")
TEXT = b"what is said three times is true; " * 3
NOW_MS = 1_700_000_000_000
PRIMITIVES = (
    "00 000001 0100000002 020000000000000003 0301 0505 0600026162 07ffff 080000000179 090000000100000005 0a",
    "00 0c00000001000261620d0000000178",
    "01 06036162 0700 080279 090200000005 0a01050178 0b01 0c02036162 0d0279",
)
"""Values of each type, each after the number of its type; the first byte is the flexible flag."""

MANY = 10_000
BOMB = 100_000_000

SIZE = 4
"""The bytes of a frame's size, which decoders of messages do not get."""


@cache
def seeds_of(decoder: Decoder) -> tuple[bytes, ...]:
    """Return valid bytes for a decoder, with those of the corpus."""
    return (*_made()[decoder.name], *corpus_of(decoder))


def corpus_of(decoder: Decoder) -> list[bytes]:
    """Return the bytes of the corpus for a decoder."""
    return [path.read_bytes() for path in sorted((CORPUS / decoder.name).glob("*"))]


@cache
def all_seeds() -> tuple[tuple[Decoder, bytes], ...]:
    """Return every decoder with each of its seeds."""
    return tuple([(decoder, seed) for decoder in DECODERS for seed in seeds_of(decoder)])


@cache
def _made() -> dict[str, list[bytes]]:
    made: dict[str, list[bytes]] = {}
    for kind in RESPONSES:
        for version in range(kind.versions.min, kind.versions.max + 1):
            answers = responses(kind, version)
            made[f"{kind.__name__}-{version}"] = [
                b"".join(encode_response(answer, version, 0))[SIZE:] for answer in answers
            ]
    for request_kind in REQUESTS:
        for version in range(request_kind.versions.min, request_kind.versions.max + 1):
            made[f"{request_kind.__name__}-{version}"] = [
                b"".join(encode_request(request, version, 7, "producer-1"))[SIZE:]
                for request in requests(request_kind, version)
            ]
    every_request = [seed for kind in REQUESTS for seed in made[f"{kind.__name__}-{kind.versions.max}"]]
    made["request"] = made["embedded-broker"] = every_request
    made["secured-broker"] = [
        seed
        for kind in (SaslAuthenticateRequest, SaslHandshakeRequest, MetadataRequest, ApiVersionsRequest)
        for seed in made[f"{kind.__name__}-{kind.versions.max}"]
    ]
    made["connection"] = [_frames(0), _frames(0, 1, 2)]
    made["handshake"] = made["ApiVersionsResponse-4"]
    made["metadata-cache"] = made[f"MetadataResponse-{MERGED_VERSION}"]
    made["batches"] = [*batches(), b"".join(batches())]
    made["batch-with-crc"] = list(batches())
    for codec in Codec:
        made[codec.name.lower()] = [compressor(codec)(plain) for plain in (b"", b"x", TEXT, TEXT * 100)]
    made["varints"] = [_varints()]
    made["primitives"] = [bytes.fromhex(row) for row in PRIMITIVES]
    return made


def _frames(*correlation_ids: int) -> bytes:
    answer = ApiVersionsResponse(error_code=0, api_keys=(ApiVersion(18, 0, 4),))
    return b"".join(b"".join(encode_response(answer, 0, number)) for number in correlation_ids)


def _varints() -> bytes:
    numbers = bytearray()
    for number in (0, -1, 63, -64, 64, 2**31 - 1, -(2**31), 5):
        put_varint(numbers, number)
    return bytes(numbers)


@cache
def batches() -> tuple[bytes, ...]:
    """Return valid record batches, one for each codec, with all fields of a record."""
    headers: dict[str, bytes | None] = {"trace": b"0123", "empty": b"", "null": None}
    many = [b"value %d" % number for number in range(20)]
    return (
        make_batch(b"x", timestamp_ms=NOW_MS),
        make_batch(None, b"", TEXT, key=b"key", headers=headers, timestamp_ms=NOW_MS, producer=(4000, 0, 0)),
        *(make_batch(*many, key=b"k", codec=codec, timestamp_ms=NOW_MS) for codec in Codec),
    )


def responses(kind: type[Message], version: int) -> list[Any]:
    """Return responses of one kind: a plain one, and one with all fields of the version."""
    if kind is ApiVersionsResponse:
        return [_api_versions(version), ApiVersionsResponse(error_code=35, api_keys=(ApiVersion(18, 0, 3),))]
    if kind is MetadataResponse:
        return [_metadata(version)]
    if kind is ProduceResponse:
        return [_produced(version, error_code=0), _produced(version, error_code=6)]
    if kind is SaslHandshakeResponse:
        mechanisms = ("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER")
        return [SaslHandshakeResponse(error_code=code, mechanisms=mechanisms) for code in (0, 33)]
    if kind is SaslAuthenticateResponse:
        return [
            SaslAuthenticateResponse(error_code=0, auth_bytes=b"r=abc,s=QSXCR+Q6sek8bf92,i=4096"),
            SaslAuthenticateResponse(error_code=58, error_message="Authentication failed"),
        ]
    return [
        InitProducerIdResponse(error_code=0, producer_id=4000, producer_epoch=3),
        InitProducerIdResponse(error_code=14, producer_epoch=-1, throttle_time_ms=5),
    ]


def requests(kind: type[Message], version: int) -> list[Any]:
    """Return requests of one kind: a plain one, and one with all fields of the version."""
    if kind is ApiVersionsRequest:
        return [ApiVersionsRequest(client_software_name="aioproducer", client_software_version="1.0")]
    if kind is MetadataRequest:
        topics = (MetadataRequestTopic("orders"), MetadataRequestTopic("audit"))
        return [
            MetadataRequest(
                topics=topics,
                allow_auto_topic_creation=version < 4,
                include_cluster_authorized_operations=8 <= version <= 10,
                include_topic_authorized_operations=version >= 8,
            ),
            MetadataRequest(topics=()),
        ]
    if kind is ProduceRequest:
        return [_produce(version, batch) for batch in batches()]
    if kind is SaslHandshakeRequest:
        return [SaslHandshakeRequest(mechanism="SCRAM-SHA-256")]
    if kind is SaslAuthenticateRequest:
        return [SaslAuthenticateRequest(auth_bytes=b"n,,n=user,r=abc")]
    known = {"producer_id": 4000, "producer_epoch": 3} if version >= 3 else {}
    return [
        InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=2**31 - 1),
        InitProducerIdRequest(transactional_id="payments", transaction_timeout_ms=60_000, **known),
    ]


def _api_versions(version: int) -> ApiVersionsResponse:
    keys = tuple([ApiVersion(number, 0, number % 14) for number in (0, 1, 3, 18, 22)])
    if version < 3:
        return ApiVersionsResponse(error_code=0, api_keys=keys)
    return ApiVersionsResponse(
        error_code=0,
        api_keys=keys,
        throttle_time_ms=5,
        supported_features=(SupportedFeatureKey("transaction.version", 0, 2),),
        finalized_features_epoch=41,
        finalized_features=(FinalizedFeatureKey("transaction.version", 2, 1),),
        zk_migration_ready=True,
    )


def _metadata(version: int) -> MetadataResponse:
    partitions = tuple(
        [
            MetadataResponsePartition(
                error_code=0 if index else 5,
                partition_index=index,
                leader_id=index + 1,
                leader_epoch=7 if version >= 7 else -1,
                replica_nodes=(1, 2, 3),
                isr_nodes=(1, 2),
                offline_replicas=(3,) if version >= 5 else (),
            )
            for index in range(3)
        ]
    )
    topics = (
        MetadataResponseTopic(0, "orders", TOPIC_ID, partitions=partitions),
        MetadataResponseTopic(3, None if version >= 12 else "missing", ZERO_UUID),
    )
    brokers = tuple([MetadataResponseBroker(number, f"kafka-{number}", 9092, "rack") for number in (1, 2, 3)])
    return MetadataResponse(
        brokers=brokers,
        cluster_id="MkU3OEVBNTcwNTJENDM2Qg",
        controller_id=1,
        topics=topics,
        throttle_time_ms=9,
    )


def _produced(version: int, error_code: int) -> ProduceResponse:
    by_id = version >= 13
    tells_more = bool(error_code) and version >= 8
    tells_leader = bool(error_code) and version >= 10
    partitions = tuple(
        [
            PartitionProduceResponse(
                index=index,
                error_code=error_code,
                base_offset=-1 if error_code else 1000 + index,
                log_start_offset=5,
                record_errors=(BatchIndexAndErrorMessage(0, "no"), BatchIndexAndErrorMessage(2))
                if tells_more
                else (),
                error_message="the record has no key" if tells_more else None,
                current_leader=LeaderIdAndEpoch(2, 8) if tells_leader else LeaderIdAndEpoch(),
            )
            for index in range(3)
        ]
    )
    topic = TopicProduceResponse(
        name="" if by_id else "orders",
        topic_id=TOPIC_ID if by_id else ZERO_UUID,
        partition_responses=partitions,
    )
    nodes = (NodeEndpoint(2, "kafka-2", 9092, "rack"),) if tells_leader else ()
    return ProduceResponse(responses=(topic, topic), throttle_time_ms=3, node_endpoints=nodes)


def _produce(version: int, batch: bytes) -> ProduceRequest:
    by_id = version >= 13
    partitions = (PartitionProduceData(0, batch), PartitionProduceData(1, batch))
    topic = TopicProduceData(
        name="" if by_id else "orders", topic_id=TOPIC_ID if by_id else ZERO_UUID, partition_data=partitions
    )
    return ProduceRequest(transactional_id=None, acks=-1, timeout_ms=30_000, topic_data=(topic,))


def hostile() -> list[bytes]:
    """Return long runs of the same byte, and empty bytes."""
    return [
        b"",
        *[bytes([byte]) * 100_000 for byte in (0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF)],
        struct.pack(">i", 2**31 - 1) * 20_000,
    ]


def bombs() -> list[bytes]:
    """Return small compressed data of each codec that decompress to very many bytes."""
    return [compressor(codec)(bytes(BOMB)) for codec in Codec if codec is not Codec.NONE]


@cache
def dense() -> dict[str, bytes]:
    """Return messages with many small structs, by decoder."""
    apis = ApiVersionsResponse(error_code=0, api_keys=(ApiVersion(257, 258, 1799),) * MANY)
    tags = b"".join([_varint(number) + b"\x00" for number in range(4, MANY)])
    refused = (BatchIndexAndErrorMessage(257),) * MANY
    partition = PartitionProduceResponse(257, 0, 1 << 40, 1 << 40, record_errors=refused)
    topic = TopicProduceResponse(partition_responses=(partition,))
    empty_topics = (TopicProduceResponse(),) * MANY
    batches_for = tuple([PartitionProduceData(257, b"")] * MANY)
    headers: dict[str, bytes | None] = dict.fromkeys(map(str, range(MANY // 2)))
    return {
        "ApiVersionsResponse-0": _answer(apis, 0),
        "ApiVersionsResponse-4": bytes.fromhex("00000000 0000 01 00000000") + _varint(MANY - 4) + tags,
        "MetadataRequest-0": _asked(MetadataRequest(topics=(MetadataRequestTopic(""),) * MANY), 0),
        "ProduceResponse-3": _answer(ProduceResponse(responses=empty_topics), 3),
        "ProduceResponse-9": _answer(ProduceResponse(responses=(topic,)), 9),
        "ProduceRequest-3": _asked(
            ProduceRequest(
                transactional_id=None,
                acks=1,
                timeout_ms=1,
                topic_data=(TopicProduceData("", ZERO_UUID, batches_for),),
            ),
            3,
        ),
        "SaslHandshakeResponse-1": _answer(
            SaslHandshakeResponse(error_code=0, mechanisms=tuple([f"{n:02x}" for n in range(MANY)])), 1
        ),
        "batch-with-crc": make_batch(*[None] * (MANY // 2), timestamp_ms=NOW_MS),
        "batches": make_batch(None, headers=headers, timestamp_ms=NOW_MS),
    }


def _answer(message: Any, version: int) -> bytes:  # noqa: ANN401 - of any kind
    return b"".join(encode_response(message, version, 0))[SIZE:]


def _asked(message: Any, version: int) -> bytes:  # noqa: ANN401 - of any kind
    return b"".join(encode_request(message, version, 7, None))[SIZE:]


def _varint(number: int) -> bytes:
    writer = Writer(flexible=True)
    writer.unsigned_varint(number)
    return b"".join(writer.chunks())
