"""The requests of conversations, valid and invalid."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from aioproducer.protocol.api_versions import ApiVersionsRequest
from aioproducer.protocol.frame import encode_request
from aioproducer.protocol.init_producer_id import InitProducerIdRequest
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic
from aioproducer.protocol.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tests.conversations.conversation import RawRequest, RequestMaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.protocol.api import Request, Response
    from tests.conversations.topic_names import TopicNames

Batch: TypeAlias = bytes | None

CORRELATION_ID = 7
PROBE_CORRELATION_ID = 8

FIRST_WITH_CREATION_FLAG = 4
"""The first version of Metadata with the flag for topic creation; older versions always create topics."""

CLUSTER_OPERATIONS = range(8, 11)
"""The versions of Metadata with the cluster's authorized operations."""

_HEADER = Struct(">ihhi")
_CLIENT_ID = b"\x00\x03raw"

PROBE = b"".join(encode_request(ApiVersionsRequest(), 0, PROBE_CORRELATION_ID, "raw"))
"""Every broker answers this at once. If its response comes first, the request before it has none."""


def ask(request: Request[Response], version: int) -> RequestMaker:
    """Send a request without topics."""
    return lambda _: _raw_request(request, version)


def produce(
    *batches: Batch,
    topic: str = "orders",
    version: int = 9,
    acks: int = -1,
    timeout_ms: int = 5000,
    transactional_id: str | None = None,
    topic_id: UUID | None = None,
) -> RequestMaker:
    """Write to the partitions of a topic: the first batch to partition 0, the second to 1, and so on."""
    return produce_to(
        *[(topic, partition, batch) for partition, batch in enumerate(batches)],
        version=version,
        acks=acks,
        timeout_ms=timeout_ms,
        transactional_id=transactional_id,
        topic_id=topic_id,
    )


def produce_to(
    *batches: tuple[str, int, Batch],
    version: int = 9,
    acks: int = -1,
    timeout_ms: int = 5000,
    transactional_id: str | None = None,
    topic_id: UUID | None = None,
) -> RequestMaker:
    """Write batches to (topic, partition); consecutive batches of one topic share its entry."""

    def make(names: TopicNames) -> RawRequest:
        topics = [
            TopicProduceData(
                names.on_broker(topic),
                names.id_of(topic) if topic_id is None else topic_id,
                tuple([PartitionProduceData(partition, batch) for _, partition, batch in parts]),
            )
            for topic, parts in groupby(batches, key=itemgetter(0))
        ]
        request = ProduceRequest(
            transactional_id=transactional_id, acks=acks, timeout_ms=timeout_ms, topic_data=tuple(topics)
        )
        return _raw_request(request, version)

    return make


def metadata(
    *topics: str | None,
    version: int = 9,
    of_all: bool = False,
    creates: bool = False,
    by_id: bool = False,
    operations: bool = False,
) -> RequestMaker:
    """Request topics by their names or ids; None stands for an unknown id."""

    def make(names: TopicNames) -> RawRequest:
        asked = tuple([_topic_in_request(names, topic, by_id=by_id) for topic in topics])
        creating = creates or version < FIRST_WITH_CREATION_FLAG
        request = MetadataRequest(
            topics=None if of_all else asked,
            allow_auto_topic_creation=creating,
            include_cluster_authorized_operations=operations and version in CLUSTER_OPERATIONS,
            include_topic_authorized_operations=operations,
        )
        return _raw_request(request, version)

    return make


def init_producer_id(
    version: int, *, producer_id: int = -1, producer_epoch: int = -1, transactional_id: str | None = None
) -> RequestMaker:
    return ask(
        InitProducerIdRequest(
            transactional_id=transactional_id,
            transaction_timeout_ms=60_000,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
        ),
        version,
    )


def raw(
    api: int, version: int, body: bytes, *, answer: type[Response] | None = None, answer_version: int = 0
) -> RequestMaker:
    """Send any body after a request header with any API and version."""
    header = _HEADER.pack(_HEADER.size - 4 + len(_CLIENT_ID) + len(body), api, version, CORRELATION_ID)
    return lambda _: RawRequest(header + _CLIENT_ID + body, answer, answer_version)


def raw_bytes(data: bytes) -> RequestMaker:
    """Send bytes that are no request."""
    return lambda _: RawRequest(data, None)


def changed(make: RequestMaker, change: Callable[[bytes], bytes]) -> RequestMaker:
    """Send a changed frame, with a size that fits."""

    def spoiled(names: TopicNames) -> RawRequest:
        request = make(names)
        body = change(request.frame[4:])
        return replace(request, frame=len(body).to_bytes(4, "big") + body)

    return spoiled


def _raw_request(request: Request[Response], version: int) -> RawRequest:
    frame = b"".join(encode_request(request, version, CORRELATION_ID, "raw"))
    is_answered = not (isinstance(request, ProduceRequest) and request.acks == 0)
    return RawRequest(frame, request.response if is_answered else None, version)


def _topic_in_request(names: TopicNames, topic: str | None, *, by_id: bool) -> MetadataRequestTopic:
    if topic is None:
        return MetadataRequestTopic(None, UUID(int=1))
    if by_id:
        return MetadataRequestTopic(None, names.id_of(topic))
    return MetadataRequestTopic(names.on_broker(topic))
