"""A client's connection to a fake broker, and the faults that take time.

As with Kafka, a connection handles one request at a time; later requests wait. A request without
faults is answered in the same iteration of the event loop. A request with faults gets a task,
which blocks the connection until it ends.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
from collections import deque
from typing import TYPE_CHECKING, cast

from aioproducer.errors import ProtocolError
from aioproducer.protocol.frame import FrameSplitter
from aioproducer.testing.faults import Cut, Disconnect, FallSilent, Run, SendBytes, Throttle, Wait
from aioproducer.testing.refusal import ConnectionDropped
from aioproducer.testing.session import SessionState
from aioproducer.testing.tls_server import TlsServer

if TYPE_CHECKING:
    from aioproducer.protocol.api import Response
    from aioproducer.testing.call import Call
    from aioproducer.testing.fake_broker import FakeBroker

logger = logging.getLogger("aioproducer.testing")

MAX_REQUEST_SIZE = 100 * 1024 * 1024
"""Kafka's default of `socket.request.max.bytes`."""


class FakeConnection(asyncio.Protocol):
    """One accepted connection; it is in `connections` while it is open."""

    def __init__(
        self, broker: FakeBroker, connections: set[FakeConnection], context: ssl.SSLContext | None = None
    ) -> None:
        self._broker = broker
        self._connections = connections
        self._session = broker.open_session()
        self._context = context
        self._splitter = FrameSplitter(MAX_REQUEST_SIZE)
        self._waiting: deque[memoryview] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_silent = False
        self._tls: TlsServer | None = None
        self._transport: asyncio.Transport | TlsServer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Add the connection to the set."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if self._context is not None:
            self._transport = self._tls = TlsServer(self._transport, self._context)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any reason
        """Remove the connection and its waiting requests."""
        self._connections.discard(self)
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Serve the complete requests."""
        try:
            if self._tls is not None:
                data = self._decrypted(self._tls, data)
            self._waiting.extend(self._splitter.feed(data))
        except ssl.SSLError as error:
            self._close(f"TLS failed: {error}")
        except ProtocolError as error:
            self._close(str(error))
        else:
            self._serve()
            self._is_too_large(self._splitter.pending)
            if self._tls is not None and self._tls.has_ended:
                self._waiting.clear()
                self._transport.close()

    def drop(self) -> None:
        """Drop the connection at once."""
        self._waiting.clear()
        self._transport.abort()

    def _decrypted(self, tls: TlsServer, data: bytes) -> bytes:
        had_principal = tls.principal is not None
        plain = tls.decrypt(data)
        if tls.principal is not None and not had_principal:
            self._session.identify(tls.principal)
        return plain

    def _is_too_large(self, size: int) -> bool:
        """Close the connection if a client without authentication sends that much."""
        limit = self._session.max_frame_size
        if limit is None or size <= limit:
            return False
        self._close(f"a frame of more than {limit} bytes came before the client was authenticated")
        return True

    def _serve(self) -> None:
        # A held request blocks the requests behind it, as in Kafka: `_faults_done` calls this again.
        while self._waiting and self._task is None and not self._is_silent:
            frame = self._waiting.popleft()
            if self._is_too_large(len(frame)):
                return
            try:
                if self._session.state is SessionState.RAW_EXCHANGE:
                    token = self._session.authenticate_raw(bytes(frame))
                    self._transport.write(len(token).to_bytes(4, "big") + token)
                    continue
                call = self._broker.receive(frame, self._session)
                if call.faults:
                    self._task = asyncio.get_running_loop().create_task(
                        self._run_faults(call), name=f"aioproducer-testing-{self._broker.node_id}"
                    )
                    self._task.add_done_callback(self._faults_done)
                elif (response := self._broker.answer(call)) is not None:
                    # Not `writelines`: in Python 3.12 and 3.13 it writes to a closed transport, and may
                    # disturb a new socket with the same number (cpython#136234).
                    self._transport.write(b"".join(self._broker.encode(call, response)))
                    self._close_if_failed()
            except ConnectionDropped as reason:
                self._close(str(reason))

    async def _run_faults(self, call: Call) -> None:
        if not await self._continues(call, after_storing=False):
            return
        try:
            response = self._broker.answer(call)
        except ConnectionDropped as reason:
            self._close(str(reason))
            return
        # The hold may have taken seconds: check the replicas in sync again before the response.
        if await self._continues(call, after_storing=True) and response is not None:
            self._send(call, self._broker.acknowledge(call, response))
            await self._mute(call)

    async def _mute(self, call: Call) -> None:
        for fault in call.faults:
            if isinstance(fault.action, Throttle) and fault.action.mutes:
                await asyncio.sleep(fault.action.milliseconds / 1000)

    async def _continues(self, call: Call, *, after_storing: bool) -> bool:
        # Functions run before waits: a test may move a leader, and then hold the response.
        for fault in call.faults:
            if isinstance(fault.action, Run) and fault.action.after_storing is after_storing:
                result = fault.action.function()
                if inspect.isawaitable(result):
                    await result
        for fault in call.faults:
            match fault.action:
                case Wait(seconds, stage) if stage is after_storing:
                    await fault.wait(seconds)
                case Disconnect(stage) if stage is after_storing:
                    self.drop()
                    return False
                case FallSilent(stage) if stage is after_storing:
                    self._is_silent = True
                    return False
                case _:
                    pass
        return True

    def _send(self, call: Call, response: Response) -> None:
        frame = b"".join(self._broker.encode(call, response))
        for fault in call.faults:
            match fault.action:
                case SendBytes(data):
                    frame = data
                case Cut(size):
                    self._transport.write(frame[:size])
                    # `close` sends the written bytes first; `abort` would drop them.
                    self._transport.close()
                    return
                case _:
                    pass
        self._transport.write(frame)
        self._close_if_failed()

    def _faults_done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a scripted fault raised; its connection is dropped", exc_info=error)
            self.drop()
        self._serve()

    def _close_if_failed(self) -> None:
        if self._session.has_failed:
            self._close("the client is not authenticated")

    def _close(self, reason: str) -> None:
        # `close` instead of `abort`: responses to earlier requests are still sent, as in Kafka.
        logger.warning("node %d closes the connection: %s", self._broker.node_id, reason)
        self._waiting.clear()
        self._transport.close()
