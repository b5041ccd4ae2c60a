"""The sink's responses: request bytes in, response bytes out; it keeps only counts.

ApiVersions, Metadata, InitProducerId and Produce in all versions of Kafka 4, those with topic ids
too. Only Produce must be fast.
"""

from __future__ import annotations

import re
import struct
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCE: Final = 0
FETCH: Final = 1
METADATA: Final = 3
FIND_COORDINATOR: Final = 10
API_VERSIONS: Final = 18
INIT_PRODUCER_ID: Final = 22

VERSIONS: Final = {
    PRODUCE: (3, 13),
    FETCH: (4, 12),
    METADATA: (0, 13),
    FIND_COORDINATOR: (0, 4),
    API_VERSIONS: (0, 4),
    INIT_PRODUCER_ID: (0, 5),
}
FLEXIBLE_FROM: Final = {PRODUCE: 9, METADATA: 9, API_VERSIONS: 3, INIT_PRODUCER_ID: 2}
UNSUPPORTED_VERSION: Final = 35
NODE: Final = 1

RECORDS_COUNT_AT: Final = 57
HEADER: Final = struct.Struct(">ihhih")
ACKS_TIMEOUT: Final = struct.Struct(">hi")
INT16: Final = struct.Struct(">h")
INT32: Final = struct.Struct(">i")
INDEX_LENGTH: Final = struct.Struct(">ii")

# One partition of a Produce response: index, error, base offset, log append time, then the fields
# of later versions (log start offset, no record errors, no message, no tags).
ANSWERS: Final = {
    3: (struct.Struct(">ihqq"), ()),
    5: (struct.Struct(">ihqqq"), (0,)),
    8: (struct.Struct(">ihqqqih"), (0, 0, -1)),
    9: (struct.Struct(">ihqqqBBB"), (0, 1, 0, 0)),
}
ANSWER_BY_VERSION: Final = {v: ANSWERS[max(f for f in ANSWERS if f <= v)] for v in range(3, 14)}


class ProtocolError(Exception):
    """The client sent an unsupported request; its connection is closed."""


def read_uvarint(frame: bytearray, position: int) -> tuple[int, int]:
    """Read an unsigned varint; return it and the position after it."""
    value = shift = 0
    while True:
        octet = frame[position]
        position += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:  # noqa: PLR2004 - the high bit marks more octets
            return value, position
        shift += 7


def skip_tags(frame: bytearray, position: int) -> int:
    """Skip a section of tagged fields; return the position after it."""
    count, position = read_uvarint(frame, position)
    for _ in range(count):
        _, position = read_uvarint(frame, position)
        size, position = read_uvarint(frame, position)
        position += size
    return position


def uvarint(value: int) -> bytes:
    """Encode `value` as an unsigned varint."""
    octets = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - seven bits an octet
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


class Encoder:
    """Strings, arrays and tags in the classic or the flexible encoding."""

    def __init__(self, *, flexible: bool) -> None:
        self.flexible = flexible
        self.tags = b"\x00" if flexible else b""

    def string(self, text: str | None) -> bytes:
        """Encode a nullable string."""
        if text is None:
            return b"\x00" if self.flexible else INT16.pack(-1)
        octets = text.encode()
        return (uvarint(len(octets) + 1) if self.flexible else INT16.pack(len(octets))) + octets

    def length(self, count: int) -> bytes:
        """Encode the count of an array's elements."""
        return uvarint(count + 1) if self.flexible else INT32.pack(count)

    def int32_array(self, *numbers: int) -> bytes:
        """Encode an array of int32."""
        return self.length(len(numbers)) + b"".join(map(INT32.pack, numbers))


class Counts:
    """The counts of one connection."""

    __slots__ = ("octets", "records", "requests")

    def __init__(self) -> None:
        self.records = 0
        self.octets = 0
        self.requests = 0


class SinkBroker:
    """Answers requests, and keeps only each partition's next offset."""

    def __init__(self, host: str, port: int, partitions: int) -> None:
        self.host = host
        self.port = port
        self.partitions = partitions
        self.offsets: dict[bytes, dict[int, int]] = {}
        self.topics: dict[bytes, str] = {}
        self.producer_id = 1000
        # The first hash of a process loads a library for milliseconds: do it before clients connect.
        self.topic_id("")

    @staticmethod
    def topic_id(name: str) -> bytes:
        """Return the id of a topic, which depends on its name only."""
        return uuid.uuid5(uuid.NAMESPACE_OID, name).bytes

    def answer(self, frame: bytearray, position: int, counts: Counts) -> bytes | None:
        """Return the response to the request at `position` (at its size), None without one."""
        _, key, version, correlation, client_id_size = HEADER.unpack_from(frame, position)
        low, high = VERSIONS.get(key, (0, -1))
        if not low <= version <= high or key not in FLEXIBLE_FROM:
            if key == API_VERSIONS:
                return framed(INT32.pack(correlation) + INT16.pack(UNSUPPORTED_VERSION) + self.ranges(0))
            message = f"request {key} in version {version} is not served"
            raise ProtocolError(message)
        position += HEADER.size + max(client_id_size, 0)
        flexible = version >= FLEXIBLE_FROM[key]
        if flexible:
            position = skip_tags(frame, position)
        if key == PRODUCE:
            body = self.produce(frame, position, version, counts)
            if body is None:
                return None
        elif key == METADATA:
            body = self.metadata(list(self.topics_asked(frame, position, version)), version)
        elif key == API_VERSIONS:
            body = INT16.pack(0) + self.ranges(version)
        else:
            self.producer_id += 1
            body = struct.pack(">ihqh", 0, 0, self.producer_id, 0) + Encoder(flexible=flexible).tags
        # The header of an ApiVersions response has no tags in any version.
        tags = b"\x00" if flexible and key != API_VERSIONS else b""
        return framed(INT32.pack(correlation) + tags + body)

    def produce(self, frame: bytearray, position: int, version: int, counts: Counts) -> bytes | None:
        """Count a Produce request's records and return the response, None for acks=0."""
        if version < FLEXIBLE_FROM[PRODUCE]:
            return self.produce_classic(frame, position, version, counts)
        return self.produce_flexible(frame, position, version, counts)

    def produce_classic(self, frame: bytearray, position: int, version: int, counts: Counts) -> bytes | None:
        """Answer Produce up to version 8."""
        answer, rest = ANSWER_BY_VERSION[version]
        (size,) = INT16.unpack_from(frame, position)
        position += 2 + max(size, 0)
        acks, _ = ACKS_TIMEOUT.unpack_from(frame, position)
        (topics,) = INT32.unpack_from(frame, position + 6)
        position += 10
        out = [INT32.pack(topics)]
        for _ in range(topics):
            (size,) = INT16.unpack_from(frame, position)
            name = bytes(frame[position + 2 : position + 2 + size])
            position += 2 + size
            (partitions,) = INT32.unpack_from(frame, position)
            position += 4
            offsets = self.offsets.setdefault(name, {})
            out += INT16.pack(size), name, INT32.pack(partitions)
            for _ in range(partitions):
                index, length = INDEX_LENGTH.unpack_from(frame, position)
                position += 8
                (count,) = INT32.unpack_from(frame, position + RECORDS_COUNT_AT)
                offset = offsets.get(index, 0)
                offsets[index] = offset + count
                out.append(answer.pack(index, 0, offset, -1, *rest))
                counts.records += count
                counts.octets += length
                position += length
        out.append(INT32.pack(0))
        return b"".join(out) if acks else None

    def produce_flexible(self, frame: bytearray, position: int, version: int, counts: Counts) -> bytes | None:
        """Answer Produce from version 9; from version 13 it has topic ids."""
        answer, rest = ANSWER_BY_VERSION[version]
        by_id = version >= 13  # noqa: PLR2004
        size, position = read_uvarint(frame, position)
        position += max(size - 1, 0)
        acks, _ = ACKS_TIMEOUT.unpack_from(frame, position)
        topics, position = read_uvarint(frame, position + 6)
        out = [uvarint(topics)]
        for _ in range(topics - 1):
            start = position
            size, position = (17, position) if by_id else read_uvarint(frame, position)
            name = bytes(frame[position : position + size - 1])
            position += size - 1
            named = frame[start:position]
            start = position
            partitions, position = read_uvarint(frame, position)
            offsets = self.offsets.setdefault(name, {})
            out += named, frame[start:position]
            for _ in range(partitions - 1):
                (index,) = INT32.unpack_from(frame, position)
                length, position = read_uvarint(frame, position + 4)
                length -= 1
                (count,) = INT32.unpack_from(frame, position + RECORDS_COUNT_AT)
                offset = offsets.get(index, 0)
                offsets[index] = offset + count
                out.append(answer.pack(index, 0, offset, -1, *rest))
                counts.records += count
                counts.octets += length
                position = skip_tags(frame, position + length)
            position = skip_tags(frame, position)
            out.append(b"\x00")
        out.append(b"\x00\x00\x00\x00\x00")
        return b"".join(out) if acks else None

    def ranges(self, version: int) -> bytes:
        """Encode the versions of an ApiVersions response, after its error code."""
        encoder = Encoder(flexible=version >= FLEXIBLE_FROM[API_VERSIONS])
        out = [encoder.length(len(VERSIONS))]
        for key, (low, high) in VERSIONS.items():
            out += struct.pack(">hhh", key, low, high), encoder.tags
        if version >= 1:
            out.append(INT32.pack(0))
        return b"".join([*out, encoder.tags])

    def topics_asked(self, frame: bytearray, position: int, version: int) -> Iterator[str]:
        """Read the names in a Metadata request."""
        if version < FLEXIBLE_FROM[METADATA]:
            (count,) = INT32.unpack_from(frame, position)
            position += 4
            for _ in range(count):
                (size,) = INT16.unpack_from(frame, position)
                yield frame[position + 2 : position + 2 + size].decode()
                position += 2 + size
            return
        count, position = read_uvarint(frame, position)
        for _ in range(count - 1):
            topic_id = b""
            if version >= 10:  # noqa: PLR2004 - ids since 10
                topic_id = bytes(frame[position : position + 16])
                position += 16
            size, position = read_uvarint(frame, position)
            if size:
                yield frame[position : position + size - 1].decode()
                position += size - 1
            elif topic_id in self.topics:
                yield self.topics[topic_id]
            position = skip_tags(frame, position)

    def metadata(self, names: list[str], version: int) -> bytes:
        """Name one broker as the leader of every partition of every topic."""
        encoder = Encoder(flexible=version >= FLEXIBLE_FROM[METADATA])
        out = [INT32.pack(0)] if version >= 3 else []  # noqa: PLR2004 - throttle time
        out += encoder.length(1), INT32.pack(NODE), encoder.string(self.host), INT32.pack(self.port)
        if version >= 1:
            out.append(encoder.string(None))
        out.append(encoder.tags)
        if version >= 2:  # noqa: PLR2004 - cluster id
            out.append(encoder.string("sink"))
        if version >= 1:
            out.append(INT32.pack(NODE))
        out.append(encoder.length(len(names)))
        out += (self.topic(name, version, encoder) for name in names)
        if 8 <= version <= 10:  # noqa: PLR2004 - operations allowed on the cluster
            out.append(INT32.pack(-(1 << 31)))
        if version >= 13:  # noqa: PLR2004 - an error of the whole response
            out.append(INT16.pack(0))
        return b"".join([*out, encoder.tags])

    def topic(self, name: str, version: int, encoder: Encoder) -> bytes:
        """Encode one topic of a Metadata response."""
        topic_id = self.topic_id(name)
        self.topics[topic_id] = name
        count = self.partition_count(name)
        out = [INT16.pack(0), encoder.string(name)]
        if version >= 10:  # noqa: PLR2004 - topic id
            out.append(topic_id)
        if version >= 1:
            out.append(b"\x00")
        out.append(encoder.length(count))
        epoch = INT32.pack(0) if version >= 7 else b""  # noqa: PLR2004 - leader epoch
        offline = encoder.length(0) if version >= 5 else b""  # noqa: PLR2004 - offline replicas
        replicas = encoder.int32_array(NODE)
        rest = INT32.pack(NODE) + epoch + replicas + replicas + offline + encoder.tags
        out += (struct.pack(">hi", 0, index) + rest for index in range(count))
        if version >= 8:  # noqa: PLR2004 - operations allowed on the topic
            out.append(INT32.pack(-(1 << 31)))
        return b"".join([*out, encoder.tags])

    def partition_count(self, name: str) -> int:
        """Return the number of partitions in a topic's name."""
        named = re.search(r"-p(\d+)$", name)
        return int(named.group(1)) if named else self.partitions


def framed(body: bytes) -> bytes:
    """Return `body` with its size before it."""
    return INT32.pack(len(body)) + body
