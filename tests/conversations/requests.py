"""The lines of conversations: requests as a client sends them, and as none should."""

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
from tests.conversations.conversation import Line, Said

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.protocol.api import Request, Response
    from tests.conversations.names import Names

Batch: TypeAlias = bytes | None

CORRELATION_ID = 7
PROBE_CORRELATION_ID = 8

FIRST_THAT_CHOOSES = 4
"""The first version of Metadata whose requests say whether to create topics; before, all of them do."""

CLUSTER_OPERATIONS = range(8, 11)
"""The versions of Metadata that tell what a client may do with the cluster."""

_HEADER = Struct(">ihhi")
_CLIENT_ID = b"\x00\x03raw"

PROBE = b"".join(encode_request(ApiVersionsRequest(), 0, PROBE_CORRELATION_ID, "raw"))
"""What any broker answers at once: a sign that it is done with what was said before."""


def ask(request: Request[Response], version: int) -> Line:
    """Say a request that has no topics in it."""
    return lambda _: _said(request, version)


def produce(
    *batches: Batch,
    topic: str = "orders",
    version: int = 9,
    acks: int = -1,
    timeout_ms: int = 5000,
    transactional_id: str | None = None,
    topic_id: UUID | None = None,
) -> Line:
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
) -> Line:
    """Write batches to (topic, partition); what follows each other for one topic goes together."""

    def line(names: Names) -> Said:
        topics = [
            TopicProduceData(
                names.here(topic),
                names.id_of(topic) if topic_id is None else topic_id,
                tuple([PartitionProduceData(partition, batch) for _, partition, batch in parts]),
            )
            for topic, parts in groupby(batches, key=itemgetter(0))
        ]
        request = ProduceRequest(
            transactional_id=transactional_id, acks=acks, timeout_ms=timeout_ms, topic_data=tuple(topics)
        )
        return _said(request, version)

    return line


def metadata(
    *topics: str | None,
    version: int = 9,
    of_all: bool = False,
    creates: bool = False,
    by_id: bool = False,
    operations: bool = False,
) -> Line:
    """Ask for topics by their names or ids; None stands for an id that no topic has."""

    def line(names: Names) -> Said:
        asked = tuple([_asked(names, topic, by_id=by_id) for topic in topics])
        creating = creates or version < FIRST_THAT_CHOOSES
        request = MetadataRequest(
            topics=None if of_all else asked,
            allow_auto_topic_creation=creating,
            include_cluster_authorized_operations=operations and version in CLUSTER_OPERATIONS,
            include_topic_authorized_operations=operations,
        )
        return _said(request, version)

    return line


def init_producer_id(
    version: int, *, producer_id: int = -1, producer_epoch: int = -1, transactional_id: str | None = None
) -> Line:
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
) -> Line:
    """Say something with the header of a request, whatever the versions are that there are."""
    header = _HEADER.pack(_HEADER.size - 4 + len(_CLIENT_ID) + len(body), api, version, CORRELATION_ID)
    return lambda _: Said(header + _CLIENT_ID + body, answer, answer_version)


def raw_bytes(data: bytes) -> Line:
    """Say what is no request at all."""
    return lambda _: Said(data, None)


def changed(line: Line, change: Callable[[bytes], bytes]) -> Line:
    """Say the same with something else behind the size of the frame, which is made to fit."""

    def spoiled(names: Names) -> Said:
        said = line(names)
        body = change(said.frame[4:])
        return replace(said, frame=len(body).to_bytes(4, "big") + body)

    return spoiled


def _said(request: Request[Response], version: int) -> Said:
    frame = b"".join(encode_request(request, version, CORRELATION_ID, "raw"))
    is_answered = not (isinstance(request, ProduceRequest) and request.acks == 0)
    return Said(frame, request.response if is_answered else None, version)


def _asked(names: Names, topic: str | None, *, by_id: bool) -> MetadataRequestTopic:
    if topic is None:
        return MetadataRequestTopic(None, UUID(int=1))
    if by_id:
        return MetadataRequestTopic(None, names.id_of(topic))
    return MetadataRequestTopic(names.here(topic))
