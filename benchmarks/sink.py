"""A broker that only counts: the cheap other end of the benchmarks, in a process of its own.

It answers ApiVersions, Metadata (every topic asked for exists), InitProducerId and Produce,
and keeps nothing: of a Produce request it reads the frame and, in each batch, the count of
records at offset 57; the payload is stepped over, no checksum is taken. So the client under
test is what limits a run, not the broker. Fetch and FindCoordinator stand in the list of
versions because librdkafka derives codecs and the record format from them; no producer asks
for them, and a connection that does is closed.

    client ──▶ one blocking thread a connection ──▶ recv_into one buffer, no copy ──▶ answer
                                                    └─ with --delay-ms: a second thread that
                                                       answers each request so long after its
                                                       arrival, in order, many at a time

A topic whose name ends in `-p<N>` has N partitions, any other has `--partitions`. The process
writes `{"port": ...}` when it listens, answers each line `report` on its standard input with
a line of JSON (records, bytes of batches, requests, its own CPU seconds), and ends with its
input.

Cost, measured on a shared two-core machine with CPython 3.11 and 100-byte records, as CPU
seconds (user and system) of this process for a million records: 0.02-0.03 where a request
carries twelve batches of 16 KiB, 0.04-0.06 with batches of 256 KiB one a request, 0.15-0.2
with batches of 16 KiB one a request (as librdkafka sends them); a request with one record
costs 33-36 microseconds, nearly all of it the system's. The same broker over asyncio's
BufferedProtocol took as much in bulk and a fifth more for a request with one record, and
answered it 10-40 % later; hence the threads.
"""

from __future__ import annotations

import argparse
import gc
import json
import queue
import re
import socket
import struct
import sys
import threading
import time
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

BUFFER_BYTES: Final = 1 << 18
RECORDS_COUNT_AT: Final = 57
HEADER: Final = struct.Struct(">ihhih")
ACKS_TIMEOUT: Final = struct.Struct(">hi")
INT16: Final = struct.Struct(">h")
INT32: Final = struct.Struct(">i")
INDEX_LENGTH: Final = struct.Struct(">ii")

# One partition of a Produce answer: index, error, base offset, log append time, then what
# the version adds (log start offset, no record errors, no message, no tags).
ANSWERS: Final = {
    3: (struct.Struct(">ihqq"), ()),
    5: (struct.Struct(">ihqqq"), (0,)),
    8: (struct.Struct(">ihqqqih"), (0, 0, -1)),
    9: (struct.Struct(">ihqqqBBB"), (0, 1, 0, 0)),
}
ANSWER_BY_VERSION: Final = {v: ANSWERS[max(f for f in ANSWERS if f <= v)] for v in range(3, 14)}


class ProtocolError(Exception):
    """The peer sent what this broker does not speak; its connection is closed."""


def read_uvarint(frame: bytearray, position: int) -> tuple[int, int]:
    """Read an unsigned varint; give it and the position behind it."""
    value = shift = 0
    while True:
        octet = frame[position]
        position += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:  # noqa: PLR2004 - the sign bit says that more follows
            return value, position
        shift += 7


def skip_tags(frame: bytearray, position: int) -> int:
    """Step over a section of tagged fields; give the position behind it."""
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
        """Encode the count in front of an array's elements."""
        return uvarint(count + 1) if self.flexible else INT32.pack(count)

    def int32_array(self, *numbers: int) -> bytes:
        """Encode an array of int32."""
        return self.length(len(numbers)) + b"".join(map(INT32.pack, numbers))


class Counts:
    """What came over one connection."""

    __slots__ = ("octets", "records", "requests")

    def __init__(self) -> None:
        self.records = 0
        self.octets = 0
        self.requests = 0


class Broker:
    """Answers requests, and remembers each partition's next offset and nothing else."""

    def __init__(self, host: str, port: int, partitions: int) -> None:
        self.host = host
        self.port = port
        self.partitions = partitions
        self.offsets: dict[bytes, dict[int, int]] = {}
        self.topics: dict[bytes, str] = {}
        self.producer_id = 1000

    def answer(self, frame: bytearray, position: int, counts: Counts) -> bytes | None:
        """Answer the request that starts at `position` (at its size), if it wants an answer."""
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
        # The header of an ApiVersions answer has no tags in any version.
        tags = b"\x00" if flexible and key != API_VERSIONS else b""
        return framed(INT32.pack(correlation) + tags + body)

    def produce(self, frame: bytearray, position: int, version: int, counts: Counts) -> bytes | None:
        """Count a Produce request's records; None where the request wants no answer (acks 0)."""
        if version < FLEXIBLE_FROM[PRODUCE]:
            return self.produce_classic(frame, position, version, counts)
        return self.produce_flexible(frame, position, version, counts)

    def produce_classic(self, frame: bytearray, position: int, version: int, counts: Counts) -> bytes | None:
        """Produce up to version 8."""
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
        """Produce from version 9; from 13 on a topic goes by its id."""
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
        """List the versions served, as an ApiVersions answer does behind its error code."""
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
        if version >= 13:  # noqa: PLR2004 - an error of the whole answer
            out.append(INT16.pack(0))
        return b"".join([*out, encoder.tags])

    def topic(self, name: str, version: int, encoder: Encoder) -> bytes:
        """Encode one topic of a Metadata answer."""
        topic_id = uuid.uuid5(uuid.NAMESPACE_OID, name).bytes
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
        """Read from a topic's name how many partitions it has."""
        named = re.search(r"-p(\d+)$", name)
        return int(named.group(1)) if named else self.partitions


def framed(body: bytes) -> bytes:
    """Put its size in front of `body`."""
    return INT32.pack(len(body)) + body


class Connection:
    """One client's connection: reads frames into one buffer and answers each.

    A blocking read returns whatever is there, often many small requests or the beginning of
    a large one; the rest of a large one is then waited for in a single call.
    """

    def __init__(self, peer: socket.socket, broker: Broker, delay: float) -> None:
        self.peer = peer
        self.broker = broker
        self.delay = delay
        self.counts = Counts()
        self.answers: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()

    def serve(self) -> None:
        """Answer until the client goes away or talks nonsense."""
        if self.delay:
            threading.Thread(target=self.answer_late, daemon=True).start()
        try:
            self.read()
        except OSError:
            pass
        except (ProtocolError, struct.error, IndexError) as error:
            print(f"connection closed: {error!r}", file=sys.stderr)
        finally:
            self.answers.put(None)
            if not self.delay:
                self.peer.close()

    def read(self) -> None:
        """Read and answer frame after frame."""
        buffer = bytearray(BUFFER_BYTES)
        view = memoryview(buffer)
        receive, unpack = self.peer.recv_into, INT32.unpack_from
        start = end = 0
        while True:
            got = receive(view[end:])
            if not got:
                return
            end += got
            while end - start >= INT32.size:
                size = unpack(buffer, start)[0] + INT32.size
                if size > end - start:
                    if start + size > len(buffer):
                        buffer, view = moved(buffer, start, end, size)
                        start, end = 0, end - start
                    got = receive(view[end : start + size], 0, socket.MSG_WAITALL)
                    if not got:
                        return
                    end += got
                    continue
                self.take(buffer, start)
                start += size
            if start == end:
                start = end = 0
            elif len(buffer) - end < INT32.size:
                buffer, view = moved(buffer, start, end, INT32.size)
                start, end = 0, end - start

    def take(self, buffer: bytearray, start: int) -> None:
        """Answer the request that starts there, now or after the delay."""
        self.counts.requests += 1
        answer = self.broker.answer(buffer, start, self.counts)
        if answer is None:
            return
        if self.delay:
            self.answers.put((time.monotonic() + self.delay, answer))
        else:
            self.peer.sendall(answer)

    def answer_late(self) -> None:
        """Send each answer when its delay is over."""
        try:
            while (entry := self.answers.get()) is not None:
                due, answer = entry
                pause = due - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
                self.peer.sendall(answer)
        except OSError:
            pass
        finally:
            self.peer.close()


def moved(buffer: bytearray, start: int, end: int, need: int) -> tuple[bytearray, memoryview]:
    """Copy `buffer[start:end]` to the start of a buffer with room for `need` bytes."""
    larger = bytearray(max(len(buffer), need))
    larger[: end - start] = buffer[start:end]
    return larger, memoryview(larger)


class Sink:
    """Listens, and adds up what its connections counted."""

    def __init__(self, host: str, port: int, partitions: int, delay: float) -> None:
        self.listener = socket.create_server((host, port))
        self.port = self.listener.getsockname()[1]
        self.broker = Broker(host, self.port, partitions)
        self.delay = delay
        self.counts: list[Counts] = []

    def accept(self) -> None:
        """Serve each connection in a thread of its own."""
        while True:
            peer, _ = self.listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(peer, self.broker, self.delay)
            self.counts.append(connection.counts)
            threading.Thread(target=connection.serve, daemon=True).start()

    def report(self) -> dict[str, float]:
        """Sum up what was counted so far, and the CPU seconds it took."""
        return {
            "records": sum(counts.records for counts in self.counts),
            "bytes": sum(counts.octets for counts in self.counts),
            "requests": sum(counts.requests for counts in self.counts),
            "connections": len(self.counts),
            "cpu_seconds": time.process_time(),
        }


def main() -> None:
    """Listen until the standard input ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument("--partitions", type=int, default=12, help="of topics whose name ends in no -p<N>")
    parser.add_argument("--delay-ms", type=float, default=0, help="answer so long after a request came")
    arguments = parser.parse_args()
    sink = Sink(arguments.host, arguments.port, arguments.partitions, arguments.delay_ms / 1000)
    gc.freeze()
    gc.disable()
    threading.Thread(target=sink.accept, daemon=True).start()
    print(json.dumps({"port": sink.port}), flush=True)
    for line in sys.stdin:
        if line.strip() == "report":
            print(json.dumps(sink.report()), flush=True)
        else:
            print(json.dumps({"error": f"{line.strip()!r}: the one command is report"}), flush=True)


if __name__ == "__main__":
    main()
