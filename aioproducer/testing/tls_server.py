"""The server's end of TLS on one connection: bytes in, bytes out.

    socket ── bytes ──▶ decrypt ──▶ plain bytes
    socket ◀── bytes ── write ◀── plain bytes

TLS runs in memory, not in asyncio's transport: so a node that stops can drop a connection in the
middle of its handshake.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

_READ_SIZE = 64 * 1024
_HANDSHAKE_RECORD = b"\x16"
_ATTRIBUTES = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
}


class TlsServer:
    """Wraps the transport of a connection; it has the methods of a transport that a broker needs."""

    def __init__(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._has_begun = False
        self._is_ready = False
        self.has_ended = False
        """Whether the client has said goodbye: it waits until the broker closes the connection."""
        self.principal: str | None = None
        """The subject of the client's certificate, once the handshake is done: `CN=client`."""

    def decrypt(self, data: bytes) -> bytes:
        """Return the plain bytes that `data` completes; raises ssl.SSLError, after the alert is sent."""
        if not self._has_begun and data[:1] != _HANDSHAKE_RECORD:
            # OpenSSL would send an alert here, and a client without TLS could not read it: Kafka
            # closes without an answer.
            message = "the client does not speak TLS"
            raise ssl.SSLError(0, message)
        self._has_begun = True
        self._incoming.write(data)
        plain = bytearray()
        try:
            if not self._is_ready:
                self._tls.do_handshake()
                self._is_ready = True
                self.principal = _subject(self._tls.getpeercert())
            while chunk := self._tls.read(_READ_SIZE):
                plain += chunk
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        finally:
            # An error has put an alert there, which tells the client the reason.
            self._flush()
        return bytes(plain)

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self._is_ready:
            self._tls.write(data)
        self._flush()

    def close(self) -> None:
        """Say goodbye, send the rest and close."""
        if self._is_ready:
            # It raises because it does not wait for the client's goodbye; ours is in `_outgoing`.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._transport.write(data)


def _subject(certificate: Any) -> str | None:  # noqa: ANN401 - nested tuples
    """Return the subject as Kafka writes it, by RFC 2253: the last part first."""
    if not certificate:
        return None
    parts = [pair for relative in certificate.get("subject", ()) for pair in relative]
    return ",".join([f"{_ATTRIBUTES.get(name, name)}={value}" for name, value in reversed(parts)])
