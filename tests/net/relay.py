"""A proxy that changes bytes, for faults that a scripted broker cannot make.

    producer ──▶ Relay ──▶ node of a FakeCluster
             ◀──       ◀──

The relay reads frames and headers only. It records every request. Functions, which a test
replaces, decide which requests go to the node and which responses come back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.frame import RequestHeader, decode_request_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.testing import FakeCluster

SIZE = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its header, its bytes, the number of its connection, and its time."""

    header: RequestHeader
    frame: bytes
    connection: int
    at: float

    @property
    def api(self) -> ApiKey:
        """The API of the request."""
        return ApiKey(self.header.api_key)

    @property
    def version(self) -> int:
        """The version of the request."""
        return self.header.version


class Relay:
    """Takes the address of one node of a cluster and forwards to the node.

    `on_request(asked)` returns whether to forward the request; False closes the connection.
    `rewrite(asked)` returns the bytes to forward. `on_answer(asked, frame)` returns the frames to
    send back; None closes the connection. While `reads` is not set, no request is read.
    """

    def __init__(self, cluster: FakeCluster, node_id: int = 1) -> None:
        self.requests: list[Asked] = []
        self.connections = 0
        self.reads = asyncio.Event()
        self.reads.set()
        self.on_request: Callable[[Asked], bool] = lambda _asked: True
        self.rewrite: Callable[[Asked], bytes] = lambda asked: asked.frame
        self.on_answer: Callable[[Asked, bytes], list[bytes] | None] = lambda _asked, frame: [frame]
        self._node = cluster.topology.nodes[node_id]
        self._port = self._node.port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._node.host)
        self._node.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._node.port = self._port

    def asked(self, api: ApiKey) -> list[Asked]:
        """Return the requests of one API so far."""
        return [asked for asked in self.requests if asked.api is api]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        waiting: list[Asked] = []
        there, back = await asyncio.open_connection(self._node.host, self._port)
        answers = asyncio.create_task(self._answers(there, writer, waiting))
        try:
            while True:
                await self.reads.wait()
                frame = await _frame(reader)
                header, _ = decode_request_header(frame[SIZE:])
                asked = Asked(header, frame, number, asyncio.get_running_loop().time())
                self.requests.append(asked)
                if not self.on_request(asked):
                    break
                waiting.append(asked)
                back.write(self.rewrite(asked))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            for each in (back, writer):
                each.close()

    async def _answers(
        self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, waiting: list[Asked]
    ) -> None:
        try:
            while True:
                frame = await _frame(there)
                frames = self.on_answer(waiting.pop(0), frame)
                if frames is None:
                    break
                writer.write(b"".join(frames))
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(SIZE)
    return size + await reader.readexactly(int.from_bytes(size))
