"""A proxy before a node of a fake cluster that can stop reading.

    producer ◀──▶ StallingProxy ◀──▶ node

While it is stalled, unread bytes stay in the producer's own memory as soon as the sockets
are full. The socket buffers are small, so that this happens early.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from aioproducer.testing import FakeCluster

CHUNK = 4096


class StallingProxy:
    """Takes the address of a node while the context is entered; reads at first."""

    def __init__(self, cluster: FakeCluster, node_id: int = 1) -> None:
        self._node = cluster.topology.nodes[node_id]
        self._port = self._node.port
        self._reading = asyncio.Event()
        self._reading.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        listener.bind((self._node.host, 0))
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=CHUNK)
        self._node.port = listener.getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._node.port = self._port

    def stall(self) -> None:
        """Stop reading."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node_reader, node_writer = await asyncio.open_connection(self._node.host, self._port)
        for source, target in ((reader, node_writer), (node_reader, writer)):
            task = asyncio.create_task(self._forward(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK):
                await self._reading.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()
