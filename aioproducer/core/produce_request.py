"""Produce messages: batches into a request, a response back to its batches.

    [batches] ──ProduceRequests.build──▶ ProduceCall ──request──▶ broker
                                              │
    pairs, missing, unexpected ◀──match───────┴───────response── broker

Since version 13 a request names topics by their ids (KIP-516). An older version is used if a topic id is
unknown, or if two topics seem to have the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from aioproducer.errors import UnsupportedVersionError
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from aioproducer.records.compression import Codec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import TopicQueue
    from aioproducer.protocol.produce import PartitionProduceResponse, ProduceResponse


# These are made for each request, and not frozen: frozen ones take twice as long to make.


@dataclass(slots=True)
class Matches:
    """The batches of a request and what the response says about each.

    `missing` batches have no response; `unexpected` responses have no batch.
    """

    pairs: list[tuple[ProducerBatch, PartitionProduceResponse]]
    missing: list[ProducerBatch]
    unexpected: list[PartitionProduceResponse]


@dataclass(slots=True)
class ProduceCall:
    """A request and its batches by topic and partition; `at_most` limits the version, None does not."""

    request: ProduceRequest
    at_most: int | None
    by_topic: dict[str, dict[int, ProducerBatch]]

    def batches(self) -> Iterator[ProducerBatch]:
        """Iterate over the batches."""
        for partitions in self.by_topic.values():
            yield from partitions.values()

    def match(self, response: ProduceResponse, version: int) -> Matches:
        """Find the batch of each partition's response."""
        # Up to version 12 a response names its topics; from version 13 on it has their ids only.
        by_id = version >= ProduceRequest.topic_ids_from
        pair = self._match_lone(response, by_id=by_id)
        if pair is not None:
            return Matches([pair], [], [])
        waiting = {
            data.topic_id if by_id else data.name: dict(self.by_topic[data.name])
            for data in self.request.topic_data
        }
        pairs = []
        unexpected = []
        for topic in response.responses:
            partitions = waiting.get(topic.topic_id if by_id else topic.name, {})
            for partition in topic.partition_responses:
                # Each batch is taken once: a partition that the response has twice is unexpected the
                # second time.
                batch = partitions.pop(partition.index, None)
                if batch is None:
                    unexpected.append(partition)
                else:
                    pairs.append((batch, partition))
        missing = [batch for partitions in waiting.values() for batch in partitions.values()]
        return Matches(pairs, missing, unexpected)

    def _match_lone(
        self, response: ProduceResponse, *, by_id: bool
    ) -> tuple[ProducerBatch, PartitionProduceResponse] | None:
        """Match the usual request of a producer that awaits each record: one batch, its response."""
        data, responses = self.request.topic_data, response.responses
        if len(data) != 1 or len(responses) != 1:
            return None
        asked, answered = data[0], responses[0]
        if len(asked.partition_data) != 1 or len(answered.partition_responses) != 1:
            return None
        # Comparing two UUIDs calls Python code; comparing their numbers does not.
        is_same = asked.topic_id.int == answered.topic_id.int if by_id else asked.name == answered.name
        partition = answered.partition_responses[0]
        if not is_same or asked.partition_data[0].index != partition.index:
            return None
        return self.by_topic[asked.name][partition.index], partition


class ProduceRequests:
    """Builds the Produce requests of one producer. `topics` has the topics' ids."""

    def __init__(
        self,
        topics: Mapping[str, TopicQueue],
        *,
        acks: int,
        timeout_ms: int,
        codec: Codec = Codec.NONE,
        transactional_id: str | None = None,
    ) -> None:
        self.acks = acks
        self._topics = topics
        self._timeout_ms = timeout_ms
        self._codec = codec
        self._transactional_id = transactional_id

    def build(self, batches: list[ProducerBatch]) -> ProduceCall:
        """Return the request that writes these batches, which have their sequences; one per partition."""
        by_topic: dict[str, dict[int, ProducerBatch]] = {}
        for batch in batches:
            queue = batch.queue
            partitions = by_topic.get(queue.topic)
            if partitions is None:
                partitions = by_topic[queue.topic] = {}
            partitions[queue.partition] = batch
        topics = []
        ids = set()
        at_most = None
        is_transactional = self._transactional_id is not None
        for topic, partitions in by_topic.items():
            topic_id = self._topic_id(topic)
            # Some services accept version 13 without topic ids in their metadata (Azure Event Hubs).
            # With one id for two topics, a batch could go to the wrong topic.
            if topic_id.int == 0 or topic_id.int in ids:
                at_most = ProduceRequest.topic_ids_from - 1
            ids.add(topic_id.int)
            data = []
            for index, batch in partitions.items():
                records = batch.builder.stamp(
                    batch.producer_id, batch.producer_epoch, batch.sequence, transactional=is_transactional
                )
                data.append(PartitionProduceData(index, records))
            topics.append(TopicProduceData(topic, topic_id, tuple(data)))
        request = ProduceRequest(
            transactional_id=self._transactional_id,
            acks=self.acks,
            timeout_ms=self._timeout_ms,
            topic_data=tuple(topics),
        )
        return ProduceCall(request, at_most, by_topic)

    def check_version(self, version: int, node_id: int) -> None:
        """Raise UnsupportedVersionError if the batches' codec needs a later version."""
        if version < ProduceRequest.zstd_from and self._codec is Codec.ZSTD:
            msg = f"broker {node_id} is too old for zstd, which needs Kafka 2.1"
            raise UnsupportedVersionError(msg)

    def _topic_id(self, topic: str) -> UUID:
        topic_queue = self._topics.get(topic)
        topic_id = None if topic_queue is None else topic_queue.topic_id
        return topic_id if isinstance(topic_id, UUID) and topic_id.int else ZERO_UUID
