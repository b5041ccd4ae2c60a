"""Failed handshakes of real TLS connections: each has a sentence that names the cause."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from aioproducer.config import ProducerConfig
from aioproducer.net.handshake import HandshakeFault, explain, fetch_certificate, needs_certificate
from aioproducer.net.tls import TlsContexts
from tests.support.certificates import Authority, Issued

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Serve = Callable[[socket.socket], None]

CA = Authority("Test CA")
OTHER_CA = Authority("Other CA")
BROKER = CA.issue("broker", ["localhost", "127.0.0.1"])
CLIENT = CA.issue("client")

HOST = "localhost"
LIMIT = 20.0


def hold(connection: socket.socket) -> None:
    """Answer one byte with one byte."""
    connection.sendall(connection.recv(1))


@asynccontextmanager
async def listener(context: ssl.SSLContext | None, serve: Serve = hold) -> AsyncIterator[int]:
    """Listen in threads: asyncio closes a connection without the alert that a broker sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=_accept, args=(server, context, serve))
        accepting.start()
        try:
            yield server.getsockname()[1]
        finally:
            # Closing alone does not wake `accept`.
            server.shutdown(socket.SHUT_RDWR)
            await asyncio.to_thread(accepting.join, LIMIT)


def _accept(server: socket.socket, context: ssl.SSLContext | None, serve: Serve) -> None:
    handlers = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            handlers.append(threading.Thread(target=_handle, args=(connection, context, serve)))
            handlers[-1].start()
    for handler in handlers:
        handler.join(LIMIT)


def _handle(raw: socket.socket, context: ssl.SSLContext | None, serve: Serve) -> None:
    raw.settimeout(LIMIT)
    with raw, contextlib.suppress(OSError):
        if context is None:
            serve(raw)
            return
        secure = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        with secure, contextlib.suppress(OSError):
            try:
                secure.do_handshake()
                serve(secure)
            finally:
                # An unread byte would reset the connection, and the alert would be lost.
                socket.socket.shutdown(secure, socket.SHUT_WR)
                while socket.socket.recv(secure, 4096):
                    pass


def client_context(client: Issued | None = None, trusts: Authority = CA, **options: object) -> ssl.SSLContext:
    config = ProducerConfig(
        bootstrap_servers="a:1",
        security_protocol="SSL",
        ssl_truststore_certificates=trusts.pem,
        ssl_keystore_key=client.key_pem() if client else None,
        ssl_keystore_certificate_chain=client.chain_pem if client else None,
        **options,  # type: ignore[arg-type]  # mixed options
    )
    return TlsContexts(config)._context  # noqa: SLF001 - the tests of `current` are elsewhere


async def connect(port: int, context: ssl.SSLContext, name: str = HOST) -> bytes:
    """Make the handshake and exchange a byte; a refusal in TLS 1.3 comes with the first read."""
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        try:
            writer.write(b"x")
            await writer.drain()
            return await reader.readexactly(1)
        finally:
            writer.transport.abort()


async def fault(
    port: int, context: ssl.SSLContext, name: str = HOST, *, has_client_certificate: bool = False
) -> HandshakeFault:
    with pytest.raises((OSError, EOFError)) as caught:
        await connect(port, context, name)
    certificate = None
    if needs_certificate(caught.value):
        certificate = await fetch_certificate("127.0.0.1", port, name, LIMIT)
        assert certificate is not None
    return explain(caught.value, name, certificate, has_client_certificate=has_client_certificate)


async def test_valid_certificate_is_accepted() -> None:
    async with listener(BROKER.server_context()) as port:
        for name in ("localhost", "127.0.0.1"):
            assert await connect(port, client_context(), name) == b"x"


async def test_wrong_ca_names_the_certificate() -> None:
    async with listener(BROKER.server_context()) as port:
        sentence, is_permanent = await fault(port, client_context(trusts=OTHER_CA))
    assert sentence.startswith(
        "the certificate CN=broker (issued by CN=Test CA,O=Tests) is not trusted: unable"
    )
    assert "set ssl_truststore_location" in sentence
    assert is_permanent


async def test_wrong_host_names_the_certificates_names() -> None:
    async with listener(CA.issue("broker", ["kafka-1", "10.0.0.1"]).server_context()) as port:
        for name in ("localhost", "127.0.0.1"):
            sentence, is_permanent = await fault(port, client_context(), name)
            assert f"is for kafka-1, 10.0.0.1, not for {name}; connect to one of its names" in sentence
            assert is_permanent


async def test_name_is_not_checked_on_request() -> None:
    context = client_context(ssl_endpoint_identification_algorithm="")
    async with listener(CA.issue("broker", ["kafka-1"]).server_context()) as port:
        assert await connect(port, context) == b"x"
    async with listener(OTHER_CA.issue("broker", ["localhost"]).server_context()) as port:
        assert "is not trusted" in (await fault(port, context)).sentence


async def test_expired_certificate_has_date() -> None:
    expired = CA.issue("broker", ["localhost"], days=(-20, -10))
    async with listener(expired.server_context()) as port:
        sentence, is_permanent = await fault(port, client_context())
    day = expired.certificate.not_valid_after_utc.strftime("%Y-%m-%d")
    assert f"has expired on {day}" in sentence
    assert "this clock: 20" in sentence
    assert is_permanent


async def test_future_certificate_mentions_clock() -> None:
    future = CA.issue("broker", ["localhost"], days=(10, 20))
    async with listener(future.server_context()) as port:
        sentence, _ = await fault(port, client_context())
    assert "is not valid before" in sentence
    assert "compare this machine's clock" in sentence


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_missing_client_certificate(version: ssl.TLSVersion) -> None:
    context = BROKER.server_context(clients=CA)
    context.minimum_version = context.maximum_version = version
    async with listener(context) as port:
        sentence, _ = await fault(port, client_context())
        assert "requires a client certificate" in sentence
        assert await connect(port, client_context(CLIENT)) == b"x"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_foreign_client_certificate(version: ssl.TLSVersion) -> None:
    context = BROKER.server_context(clients=CA)
    context.minimum_version = context.maximum_version = version
    async with listener(context) as port:
        sentence, is_permanent = await fault(
            port, client_context(OTHER_CA.issue("client")), has_client_certificate=True
        )
    assert sentence == "the client's certificate was refused: the broker does not trust its CA"
    assert is_permanent


async def test_expired_client_certificate() -> None:
    async with listener(BROKER.server_context(clients=CA)) as port:
        sentence, _ = await fault(
            port, client_context(CA.issue("client", days=(-20, -10))), has_client_certificate=True
        )
    assert sentence == "the client's certificate was refused: the broker says that it is expired"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_old_versions_are_refused() -> None:
    context = BROKER.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listener(context) as port:
        sentence, is_permanent = await fault(port, client_context())
    assert sentence.startswith("the broker and this client have no common version of TLS")
    assert is_permanent


async def test_no_common_cipher() -> None:
    context = BROKER.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    # For RSA keys, and the broker's is an elliptic curve's.
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    async with listener(context) as port:
        assert "no common cipher" in (await fault(port, client_context())).sentence


async def test_plaintext_server_that_answers() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"\x00\x00\x00\x08\x00\x00\x00\x01hello, this is no TLS")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    async with listener(None, answer) as port:
        sentence, is_permanent = await fault(port, client_context())
    assert sentence.startswith("the listener does not speak TLS: set security_protocol='PLAINTEXT'")
    assert is_permanent


@pytest.mark.parametrize("resets", [False, True])
async def test_server_closes_in_handshake(*, resets: bool) -> None:
    """A broker closes a plaintext listener's connection at the first bytes of TLS."""

    def close(connection: socket.socket) -> None:
        # An unread byte at the end resets the connection.
        connection.recv(4 if resets else 4096)

    async with listener(None, close) as port:
        sentence, is_permanent = await fault(port, client_context())
        assert await fetch_certificate("127.0.0.1", port, HOST, LIMIT) is None
    assert "the listener may be one without TLS (security_protocol='PLAINTEXT'" in sentence
    assert "requires a client certificate" in sentence
    assert not is_permanent


async def test_silent_server_is_left_in_time() -> None:
    def wait(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    async with listener(None, wait) as port:
        assert await fetch_certificate("127.0.0.1", port, HOST, 0.1) is None
        assert await fetch_certificate("127.0.0.1", port, ".bad", LIMIT) is None
    assert "did not end in time" in explain(TimeoutError(), HOST).sentence


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(113, "x"), "no route to host"),
        (ssl.SSLError(1, "[SSL: DH_KEY_TOO_SMALL] dh key too small"), "the TLS handshake failed: "),
        (ConnectionResetError(104, "x"), "the connection was closed during the TLS handshake"),
    ],
)
def test_other_errors_keep_their_cause(error: Exception, expected: str) -> None:
    assert expected in explain(error, HOST).sentence


async def test_error_without_certificate_is_explained() -> None:
    """The second connection may fail: the sentence then has what the first error says."""
    async with listener(BROKER.server_context()) as port:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await connect(port, client_context(trusts=OTHER_CA))
    assert explain(caught.value, HOST).sentence.startswith("the certificate is not trusted: ")


def openssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (openssl_error("BAD_RECORD_TYPE"), "bad record type"),
        (openssl_error("WRONG_VERSION_NUMBER"), "wrong version number"),
        (ssl.SSLWantReadError(2, "no errno of the operating system"), "the broker renegotiates (TLS 1.2)"),
        (ssl.SSLError(1, "odd"), "odd"),
    ],
)
def test_error_after_handshake_may_pass(error: ssl.SSLError, text: str) -> None:
    """The options fit the listener: a damaged record or a renegotiation ends one connection."""
    fault = explain(error, HOST, is_after=True, has_worked=True)
    assert not fault.is_permanent
    assert fault.sentence.startswith(f"the TLS connection is broken: {text}")


@pytest.mark.parametrize(
    ("reason", "is_permanent"),
    [("SSLV3_ALERT_BAD_CERTIFICATE", True), ("SSLV3_ALERT_HANDSHAKE_FAILURE", False)],
)
def test_late_alerts(reason: str, *, is_permanent: bool) -> None:
    """A broker refuses a client's certificate after the handshake (TLS 1.3), also later on."""
    error = openssl_error(reason)
    assert explain(error, HOST, is_after=True, has_worked=True).is_permanent is is_permanent
    assert explain(error, HOST, is_after=True).is_permanent


def test_known_listener_is_not_doubted() -> None:
    """A network that cuts the handshake of a broker that has worked tells nothing about options."""
    sentence = explain(EOFError(), HOST, has_worked=True).sentence
    assert sentence == "the connection was closed during the TLS handshake"
    assert "security_protocol" in explain(EOFError(), HOST).sentence
