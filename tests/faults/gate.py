"""A gate before a node of a fake cluster: while it is closed nobody reads what comes.

    producer ──▶ Gate ──▶ node
             ◀──

The one idea: what a stuck machine does not read stays where it is, in the producer's own
memory once the sockets between them are full, and they are made small.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from aioproducer.testing import FakeCluster

CHUNK = 4096


class Gate:
    """Takes the address of a node; open at first."""

    def __init__(self, cluster: FakeCluster, node_id: int = 1) -> None:
        self._node = cluster.topology.nodes[node_id]
        self._port = self._node.port
        self._open = asyncio.Event()
        self._open.set()
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

    def close(self) -> None:
        """Read no more."""
        self._open.clear()

    def open(self) -> None:
        """Read on."""
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._node.host, self._port)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK):
                await self._open.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()
