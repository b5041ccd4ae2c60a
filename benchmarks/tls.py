"""Measure TLS on a connection: asyncio's own transport against a memory BIO over a plain one.

A server in a process of its own answers each request with 100 bytes. The figure is the client's CPU
time for one request and its answer, in microseconds: the median of the rounds, the smallest in
brackets. Both designs and a connection without TLS take turns in each round.

    python benchmarks/tls.py --rounds 5 --uvloop

Needs the package `cryptography`.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvloop

from aioproducer.net.endpoint import Endpoint
from aioproducer.net.tls_transport import TlsTransport
from aioproducer.net.transport import connect
from aioproducer.testing.certificates import Certificates

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

SIZES: Final = {"1 KiB": 1024, "16 KiB": 16 * 1024, "256 KiB": 256 * 1024}
ANSWER: Final = bytes(100)
WARM_UP: Final = 100
REQUESTS: Final = {"1 KiB": 4000, "16 KiB": 2000, "256 KiB": 300}


class Client(asyncio.Protocol):
    """asyncio's side: counts the bytes of the answers."""

    def __init__(self) -> None:
        self.answered: Callable[[bytes], object] = len

    def data_received(self, data: bytes) -> None:
        """Count bytes."""
        self.answered(data)


async def exchanges(write: Callable[[bytes], object], on_data: Callable[[Any], None], name: str) -> float:
    """Return the CPU microseconds of one request and its answer."""
    loop = asyncio.get_running_loop()
    received = 0
    waiter = loop.create_future()

    def count(data: bytes) -> None:
        nonlocal received
        received += len(data)
        if received == len(ANSWER):
            received = 0
            waiter.set_result(None)

    on_data(count)
    request = bytes(SIZES[name])
    count_of = REQUESTS[name]
    started = 0.0
    for number in range(count_of + WARM_UP):
        if number == WARM_UP:
            started = time.process_time()
        waiter = loop.create_future()
        write(request)
        await waiter
    return (time.process_time() - started) / count_of * 1e6


async def by_asyncio(port: int, context: ssl.SSLContext | None, name: str) -> float:
    """Measure asyncio's TLS, or no TLS."""
    loop = asyncio.get_running_loop()
    host = "localhost" if context is not None else None
    transport, client = await loop.create_connection(
        Client, "127.0.0.1", port, ssl=context, server_hostname=host
    )

    def on_data(count: Callable[[bytes], None]) -> None:
        client.answered = count

    try:
        transport.write(len(bytes(SIZES[name])).to_bytes(4))
        return await exchanges(transport.write, on_data, name)
    finally:
        transport.abort()


async def by_memory_bio(port: int, context: ssl.SSLContext, name: str) -> float:
    """Measure this package's TLS."""
    endpoint = Endpoint(1, "localhost", port)
    plain = await connect("127.0.0.1", port, timeout=10, send_buffer=-1, receive_buffer=-1)
    tls = TlsTransport(plain, context, endpoint, has_client_certificate=False)
    await tls.handshake(10)
    try:
        tls.write([SIZES[name].to_bytes(4)])
        return await exchanges(
            lambda data: tls.write([data]), lambda count: tls.attach(count, len, print), name
        )
    finally:
        tls.abort()


def serve(certificates: Certificates, ports: Connection) -> None:
    """Serve with TLS and without."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(4))
            while True:
                await reader.readexactly(size)
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        servers = [
            await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context, limit=1 << 20)
            for context in (certificates.server_context(), None)
        ]
        ports.send([server.sockets[0].getsockname()[1] for server in servers])
        await asyncio.Event().wait()

    uvloop.run(run())


@contextmanager
def running(certificates: Certificates) -> Iterator[list[int]]:
    """Run the server; give its ports."""
    mine, its = multiprocessing.Pipe()
    server = multiprocessing.get_context("fork").Process(target=serve, args=(certificates, its), daemon=True)
    server.start()
    try:
        yield mine.recv()
    finally:
        server.kill()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds in turn (%(default)s)")
    parser.add_argument("--uvloop", action="store_true", help="use uvloop instead of asyncio's own loop")
    options = parser.parse_args()
    certificates = Certificates.make()
    context = certificates.client_context()
    figures: dict[tuple[str, str], list[float]] = {}

    async def rounds(tls: int, plain: int) -> None:
        for _ in range(options.rounds):
            for name in SIZES:
                for way, figure in (
                    ("no TLS", by_asyncio(plain, None, name)),
                    ("asyncio's TLS", by_asyncio(tls, context, name)),
                    ("memory BIO", by_memory_bio(tls, context, name)),
                ):
                    figures.setdefault((name, way), []).append(await figure)

    with running(certificates) as (tls, plain):
        (uvloop.run if options.uvloop else asyncio.run)(rounds(tls, plain))
    for (name, way), values in figures.items():
        print(f"{name:8} {way:14} {statistics.median(values):8.1f} ({min(values):.1f}) us")


if __name__ == "__main__":
    main()
