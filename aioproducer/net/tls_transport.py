"""TLS over a Transport, with the interface of a Transport.

    Channel ──write──▶ SSLObject ──▶ outgoing BIO ──▶ Transport ──▶ socket
            ◀─on_data─ SSLObject ◀── incoming BIO ◀── Transport ◀──

OpenSSL works on two memory BIOs. asyncio's own TLS does the same with a protocol, a transport and a
state machine more, and its back-pressure counts plain bytes: here `can_write` still means the socket.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import anyio

from aioproducer.errors import AuthenticationError, BrokerConnectionError, ProducerError
from aioproducer.net.handshake import explain, fetch_certificate, needs_certificate
from aioproducer.net.mismatch import uses_plaintext
from aioproducer.net.tls import server_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aioproducer.net.certificate import Certificate
    from aioproducer.net.endpoint import Endpoint
    from aioproducer.net.tls import TlsContexts
    from aioproducer.net.transport import Transport
    from aioproducer.protocol.fields import Chunk

READ_SIZE = 64 * 1024
"""How many bytes one read asks for; OpenSSL returns one TLS record, which has at most 16 KiB."""


class TlsTransport:
    """An encrypted connection over `transport`; usable after `handshake`."""

    is_encrypted = True

    def __init__(
        self,
        transport: Transport,
        context: ssl.SSLContext,
        endpoint: Endpoint,
        *,
        has_client_certificate: bool,
    ) -> None:
        self.address = transport.address
        self._endpoint = endpoint
        self._has_client_certificate = has_client_certificate
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name(endpoint.host)
        )
        self._handshaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_over = False
        # Bytes before `attach` stay encrypted in the BIO; a loss before it is kept.
        self._is_attached = False
        self._loss: list[Exception | None] = []
        self._on_data: Callable[[bytes], object] = _ignore
        self._on_writable: Callable[[], object] = _ignore
        self._on_lost: Callable[[Exception | None], object] = self._loss.append

    @property
    def can_write(self) -> bool:
        """Whether the connection takes bytes."""
        return self._transport.can_write and not self._is_over

    async def handshake(self, timeout: float) -> None:
        """Agree on keys, within `timeout` seconds.

        Raises AuthenticationError for a failure that stays until an option or a certificate changes,
        else BrokerConnectionError.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        try:
            self._transport.attach(self._received, self._writable, self._lost)
            self._shake_hands()
            with anyio.fail_after(timeout):
                await self._handshaken
        except (OSError, EOFError) as error:  # ssl's errors and TimeoutError are OSErrors
            self.abort()
            remaining = max(0.0, deadline - asyncio.get_running_loop().time())
            certificate = None
            if needs_certificate(error):
                certificate = await self._fetch_certificate(remaining)
            fault = self._explained(error, certificate)
            if not isinstance(fault, AuthenticationError) and self._endpoint.takes_probe():
                await uses_plaintext(self._endpoint, self.address, remaining)
            raise fault from error
        except BaseException:
            self.abort()
            raise

    def attach(
        self,
        on_data: Callable[[bytes], object],
        on_writable: Callable[[], object],
        on_lost: Callable[[Exception | None], object],
    ) -> None:
        """Set the callbacks, and call them for the events so far."""
        self._on_data, self._on_writable, self._on_lost = on_data, on_writable, on_lost
        self._is_attached = True
        # TLS 1.3: a broker that refuses the client's certificate says so right after the handshake.
        self._read()
        for cause in self._loss:
            self._on_lost(cause)

    def write(self, chunks: Sequence[Chunk]) -> None:
        """Encrypt and send chunks in order; never waits. A closing connection drops them."""
        if self._is_over:
            return
        data = memoryview(b"".join(chunks))
        try:
            # One call encrypts one TLS record of at most 16 KiB.
            while data:
                data = data[self._tls.write(data) :]
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()

    def hold_nothing_back(self, patience: float) -> None:
        """Make `can_write` mean that the operating system has taken all bytes, as for a Transport."""
        self._transport.hold_nothing_back(patience)

    def abort(self) -> None:
        """Close the connection at once, without `on_lost`."""
        self._is_over = True
        self._on_data = self._on_writable = self._on_lost = _ignore
        self._transport.abort()

    def _received(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._handshaken.done():
            self._shake_hands()
        elif self._is_attached:
            self._read()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            # OpenSSL has written the alert that tells the broker why.
            self._flush()
            self._end_handshake(error)
        else:
            self._flush()
            self._end_handshake(None)

    def _end_handshake(self, error: Exception | None) -> None:
        if self._handshaken.done():
            return
        if error is None:
            self._handshaken.set_result(None)
        else:
            self._is_over = True
            self._handshaken.set_exception(error)

    def _read(self) -> None:
        parts = []
        is_closed = False
        try:
            # OpenSSL takes the bytes of an unfinished record out of the BIO: nothing is pending then.
            while self._incoming.pending or self._tls.pending():
                part = self._tls.read(READ_SIZE)
                if not part:
                    is_closed = True  # the peer's close_notify
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            is_closed = True
        except ssl.SSLError as error:
            self._deliver(parts)
            self._fail(error)
            return
        self._deliver(parts)
        if is_closed:
            self._lost(None)
        else:
            # Answers of TLS itself, such as a new key.
            self._flush()

    def _deliver(self, parts: list[bytes]) -> None:
        if parts:
            self._on_data(parts[0] if len(parts) == 1 else b"".join(parts))

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write((self._outgoing.read(),))

    def _writable(self) -> None:
        self._on_writable()

    def _fail(self, error: ssl.SSLError) -> None:
        self._flush()
        self._lost(self._explained(error, is_after=True))
        self._transport.abort()

    def _lost(self, cause: Exception | None) -> None:
        if not self._handshaken.done():
            self._end_handshake(cause or EOFError())
        elif not self._is_over:
            self._is_over = True
            self._on_lost(cause)

    def _explained(
        self, error: BaseException, certificate: Certificate | None = None, *, is_after: bool = False
    ) -> ProducerError:
        endpoint = self._endpoint
        fault = explain(
            error,
            endpoint.host,
            certificate,
            has_client_certificate=self._has_client_certificate,
            has_worked=endpoint.has_worked,
            is_after=is_after,
        )
        if fault.is_permanent:
            return AuthenticationError(fault.sentence, reason=str(error)).at(endpoint.address)
        return BrokerConnectionError(f"{endpoint.address}: {fault.sentence}")

    async def _fetch_certificate(self, timeout: float) -> Certificate | None:
        host, port = self.address[:2]
        return await fetch_certificate(host, port, server_name(self._endpoint.host), timeout)


async def secure(
    transport: Transport, contexts: TlsContexts, endpoint: Endpoint, timeout: float
) -> TlsTransport:
    """Encrypt a new connection; raises as `TlsTransport.handshake`, and closes it then."""
    try:
        context = await contexts.current()
        tls = TlsTransport(
            transport, context, endpoint, has_client_certificate=contexts.has_client_certificate
        )
    except BaseException:
        transport.abort()
        raise
    await tls.handshake(timeout)
    return tls


def _ignore(*_arguments: object) -> None:
    """Do nothing."""
