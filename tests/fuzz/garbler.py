"""Garbles responses between brokers and a producer, at random.

    producer ◀── Garbler ◀── Relay ◀── node of a FakeCluster

No client can detect a response that calls an unstored record stored, or a stored one refused:
Kafka's responses have no checksum. The garbler sends no such response; it sends all others.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from aioproducer import ErrorCode
from aioproducer.core.outcome import IN_DOUBT
from aioproducer.errors import ProtocolError
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.frame import FrameSplitter, decode_response, encode_response
from aioproducer.protocol.produce import ProduceResponse
from tests.fuzz.mutations import mutate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random
    from uuid import UUID

    from aioproducer.protocol.fields import Chunk
    from aioproducer.protocol.produce import PartitionProduceResponse
    from tests.net.relay import Asked, Relay

    Place: TypeAlias = tuple[str, UUID, int]

SIZE = 4
HEADER_END = 8
"""The end of the correlation id."""

REMEMBERED = 40
HALF_TOLD = 0.2
MOST = 1 << 20
STORED = frozenset({ErrorCode.NONE, ErrorCode.DUPLICATE_SEQUENCE_NUMBER})


class Garbler:
    """Garbles the responses of its relays with probability `chance`."""

    def __init__(self, random: Random) -> None:
        self.chance = 0.0
        self.garbled = 0
        self._random = random
        self._seen: list[bytes] = []
        self._spoiled: set[tuple[int, int]] = set()

    def attach(self, relay: Relay) -> None:
        """Garble the responses of a relay."""
        number = id(relay)

        def on_answer(asked: Asked, frame: bytes) -> list[bytes] | None:
            return self._answer(asked, frame, (number, asked.connection))

        relay.on_answer = on_answer

    def _answer(self, asked: Asked, frame: bytes, connection: tuple[int, int]) -> list[bytes] | None:
        if connection in self._spoiled:
            # The broken frame is incomplete: bytes of the next response would complete it.
            return None
        self._seen = [*self._seen[-REMEMBERED:], frame]
        if self._random.random() >= self.chance:
            return [frame]
        garbled = self._garble(asked, frame, connection)
        if asked.api is ApiKey.PRODUCE and self._lies(asked.version, frame, garbled):
            return [frame]
        self.garbled += 1
        return garbled

    def _garble(self, asked: Asked, frame: bytes, connection: tuple[int, int]) -> list[bytes] | None:
        random = self._random
        if asked.api is ApiKey.PRODUCE and random.random() < HALF_TOLD:
            return [b"".join(_half_of(asked.version, frame))]
        match random.randrange(12):
            case 0:
                return None
            case 1:
                return []
            case 2:
                return [frame, frame]
            case 3 | 4:
                self._spoiled.add(connection)
                return [mutate(frame, random, self._seen)]
            case _:
                bodies = [seen[HEADER_END:] for seen in self._seen]
                body = frame[SIZE:HEADER_END] + mutate(frame[HEADER_END:], random, bodies)
                return [len(body).to_bytes(SIZE), body]

    def _lies(self, version: int, frame: bytes, garbled: list[bytes] | None) -> bool:
        truth = dict(_verdicts(version, frame))
        return any(
            # A stored batch must not look refused: the producer would use its sequence again.
            not (code in STORED or code in IN_DOUBT) if truth[place] in STORED else code in STORED
            for place, code in _verdicts(version, b"".join(garbled or ()))
            if place in truth
        )


def _half_of(version: int, frame: bytes) -> list[Chunk]:
    """Leave some partitions out of a response, and give others a wrong index."""
    number, response = decode_response(ProduceResponse, frame[SIZE:], version)
    topics = [
        replace(topic, partition_responses=_mixed_up(topic.partition_responses))
        for topic in response.responses
    ]
    return encode_response(replace(response, responses=tuple(topics)), version, number)


def _mixed_up(answers: tuple[PartitionProduceResponse, ...]) -> tuple[PartitionProduceResponse, ...]:
    return (*answers[: len(answers) // 2], *[replace(answer, index=7) for answer in answers[-1:]])


def _verdicts(version: int, data: bytes) -> Iterator[tuple[Place, ErrorCode]]:
    """Return the error code of each partition in Produce responses."""
    with suppress(ProtocolError):
        for frame in FrameSplitter(MOST).feed(data):
            _, response = decode_response(ProduceResponse, frame, version)
            for topic in response.responses:
                for partition in topic.partition_responses:
                    yield (
                        (topic.name, topic.topic_id, partition.index),
                        ErrorCode.of(partition.error_code),
                    )
