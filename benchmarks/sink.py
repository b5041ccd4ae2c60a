"""A broker that only counts, as a cheap target of the benchmarks, in its own process.

It answers ApiVersions, Metadata (every requested topic exists), InitProducerId and Produce, and
stores nothing. Of a Produce request it reads the frame and, in each batch, the count of records at
offset 57. It skips the records and checks no CRC. So the measured client limits a run, not the
broker. Fetch and FindCoordinator are in the list of versions because librdkafka derives codecs and
the record format from them; a connection that requests them is closed.

    client ──▶ one blocking thread per connection ──▶ recv_into one buffer, no copy ──▶ response
                                                      └─ with --delay-ms: a second thread
                                                         answers each request this long after
                                                         its arrival, in order

A topic with a name that ends in `-p<N>` has N partitions, any other has `--partitions`. The process
writes `{"port": ...}` when it listens, answers each line `report` on its standard input with a line
of JSON (records, bytes of batches, requests, its own CPU seconds), and ends at the end of its input.

Its cost, measured on a shared two-core machine with CPython 3.11 and 100-byte records, in CPU
seconds (user and system) per million records: 0.02-0.03 with twelve batches of 16 KiB per request,
0.04-0.06 with one batch of 256 KiB per request, 0.15-0.2 with one batch of 16 KiB per request (as
librdkafka sends them). A request with one record costs 33-36 microseconds, nearly all of it system
time. A broker with asyncio's BufferedProtocol needed the same in bulk, a fifth more for a request
with one record, and answered it 10-40 % later; hence the threads.
"""

from __future__ import annotations

import argparse
import gc
import json
import queue
import socket
import ssl
import struct
import sys
import threading
import time
from typing import Final

from sink_broker import INT32, Counts, ProtocolError, SinkBroker

BUFFER_BYTES: Final = 1 << 18


class Connection:
    """One client's connection: reads frames into one buffer and answers each.

    A blocking read returns the available bytes: often many small requests, or the beginning of a
    large one, whose rest is then read in a single call.
    """

    def __init__(self, peer: socket.socket, broker: SinkBroker, delay: float) -> None:
        self.peer = peer
        self.broker = broker
        self.delay = delay
        self.counts = Counts()
        self.answers: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()

    def serve(self) -> None:
        """Answer until the client disconnects or sends invalid bytes."""
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
        # A TLS socket knows no flags, and returns one record of at most 16 KiB.
        whole = 0 if isinstance(self.peer, ssl.SSLSocket) else socket.MSG_WAITALL
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
                    got = receive(view[end : start + size], 0, whole)
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
        """Answer the request at this position, now or after the delay."""
        self.counts.requests += 1
        answer = self.broker.answer(buffer, start, self.counts)
        if answer is None:
            return
        if self.delay:
            self.answers.put((time.monotonic() + self.delay, answer))
        else:
            self.peer.sendall(answer)

    def answer_late(self) -> None:
        """Send each response after its delay."""
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
    """Listens, and adds up the counts of its connections."""

    def __init__(self, host: str, port: int, partitions: int, delay: float, tls: str | None) -> None:
        self.listener = socket.create_server((host, port))
        self.context = None
        if tls is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls)
        self.port = self.listener.getsockname()[1]
        self.broker = SinkBroker(host, self.port, partitions)
        self.delay = delay
        self.counts: list[Counts] = []

    def accept(self) -> None:
        """Serve each connection in its own thread."""
        while True:
            peer, _ = self.listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer: socket.socket) -> None:
        """Serve one connection, after its TLS handshake."""
        if self.context is not None:
            try:
                peer = self.context.wrap_socket(peer, server_side=True)
            except OSError as error:
                print(f"connection closed: {error!r}", file=sys.stderr)
                return
        connection = Connection(peer, self.broker, self.delay)
        self.counts.append(connection.counts)
        connection.serve()

    def report(self) -> dict[str, float]:
        """Return the sums of all counts, and the CPU seconds of this process."""
        return {
            "records": sum(counts.records for counts in self.counts),
            "bytes": sum(counts.octets for counts in self.counts),
            "requests": sum(counts.requests for counts in self.counts),
            "connections": len(self.counts),
            "cpu_seconds": time.process_time(),
        }


def main() -> None:
    """Listen until the end of the standard input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="default 0: a free port")
    parser.add_argument("--partitions", type=int, default=12, help="of topics without -p<N> in their name")
    parser.add_argument("--delay-ms", type=float, default=0, help="delay of each response")
    parser.add_argument("--tls", metavar="FILE", help="listen with TLS: the PEM file of key and certificate")
    arguments = parser.parse_args()
    delay = arguments.delay_ms / 1000
    sink = Sink(arguments.host, arguments.port, arguments.partitions, delay, arguments.tls)
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
