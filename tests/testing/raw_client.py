"""A client that sends any bytes or requests, valid or not."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self, TypeVar

from aioproducer.protocol.api import Request, Response
from aioproducer.protocol.frame import decode_response, encode_request
from aioproducer.protocol.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)

if TYPE_CHECKING:
    from uuid import UUID

    from aioproducer.testing import FakeCluster

R = TypeVar("R", bound=Response)

PATIENCE = 5.0


class RawClient:
    """One connection to one node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._correlation_id = 0

    @classmethod
    async def connect(cls, cluster: FakeCluster, node_id: int = 1) -> Self:
        node = cluster.topology.nodes[node_id]
        return await cls.connect_to(node.host, node.port)

    @classmethod
    async def connect_to(cls, host: str, port: int) -> Self:
        return cls(*await asyncio.open_connection(host, port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, request: Request[R], version: int) -> None:
        self._correlation_id += 1
        self._writer.writelines(encode_request(request, version, self._correlation_id, "raw"))

    async def frame(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            size = int.from_bytes(await self._reader.readexactly(4))
            return await self._reader.readexactly(size)

    async def receive(self, kind: type[R], version: int) -> R:
        correlation_id, response = decode_response(kind, await self.frame(), version)
        assert correlation_id <= self._correlation_id
        return response

    async def ask(self, request: Request[R], version: int) -> R:
        self.send(request, version)
        return await self.receive(request.response, version)

    async def closed(self) -> bytes:
        """Wait until the broker closes the connection; return the bytes it sent before."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    async def produce(
        self, topic: str, partition: int, batch: bytes | None, *, version: int = 9, acks: int = -1
    ) -> PartitionProduceResponse:
        """Write one batch to one partition, and return the partition's response."""
        response = await self.ask(produce_request(topic, {partition: batch}, acks=acks), version)
        return only_answer(response)

    async def produce_by_id(
        self, topic_id: UUID, partition: int, batch: bytes | None
    ) -> PartitionProduceResponse:
        """Write one batch to one partition of a topic that is named by its id."""
        data = TopicProduceData(topic_id=topic_id, partition_data=(PartitionProduceData(partition, batch),))
        request = ProduceRequest(transactional_id=None, acks=-1, timeout_ms=1000, topic_data=(data,))
        return only_answer(await self.ask(request, ProduceRequest.topic_ids_from))


def produce_request(
    topic: str, batches: dict[int, bytes | None], *, acks: int = -1, transactional_id: str | None = None
) -> ProduceRequest:
    data = tuple([PartitionProduceData(index, batch) for index, batch in batches.items()])
    return ProduceRequest(
        transactional_id=transactional_id,
        acks=acks,
        timeout_ms=1000,
        topic_data=(TopicProduceData(name=topic, partition_data=data),),
    )


def only_answer(response: ProduceResponse) -> PartitionProduceResponse:
    [topic] = response.responses
    [partition] = topic.partition_responses
    return partition
