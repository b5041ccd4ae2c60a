"""Client and listener that disagree on TLS or SASL: told at once, and not after `max_block_ms`.

Brokers close such connections without a word, as they do for other reasons. So after such a close the
client asks once more, in a way that a listener of the other kind answers.

    client without TLS ──ApiVersions──▶ closed     does it answer a TLS handshake?
    client with TLS ─────ClientHello──▶ closed     does it answer ApiVersions in plain text?
    client without SASL ────Metadata──▶ closed     does it answer SaslHandshake with its mechanisms?
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.errors import AuthenticationError, ProtocolError, UnsupportedVersionError
from aioproducer.net.handshake import fetch_certificate
from aioproducer.net.tls import server_name
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.api_versions import ApiVersionsRequest
from aioproducer.protocol.frame import FrameSplitter, encode_request, read_correlation_id
from aioproducer.protocol.sasl import SaslHandshakeRequest

if TYPE_CHECKING:
    from aioproducer.net.endpoint import Endpoint
    from aioproducer.net.setup import Setup
    from aioproducer.net.transport import SocketAddress

PROBE_TIMEOUT = 2.0
"""Seconds for one of these questions."""

_CORRELATION_ID = 0x5AFE
_MAX_ANSWER = 64 * 1024


async def uses_tls(endpoint: Endpoint, peer: SocketAddress, timeout: float) -> None:
    """Raise AuthenticationError if the listener answers a TLS handshake."""
    name = server_name(endpoint.host)
    certificate = await fetch_certificate(peer[0], peer[1], name, min(timeout, PROBE_TIMEOUT))
    if certificate is not None:
        message = (
            f"the listener speaks TLS (its certificate is {certificate}): set security_protocol to SSL or "
            "SASL_SSL, or use the port of its listener without TLS"
        )
        raise AuthenticationError(message).at(endpoint.address)


async def uses_plaintext(endpoint: Endpoint, peer: SocketAddress, timeout: float) -> None:
    """Raise AuthenticationError if the listener answers ApiVersions without TLS."""
    try:
        async with asyncio.timeout(min(timeout, PROBE_TIMEOUT)):
            answers = await _answers(peer)
    except (OSError, ProtocolError):  # TimeoutError is an OSError
        return
    if answers:
        message = (
            "the listener does not speak TLS: set security_protocol to PLAINTEXT or SASL_PLAINTEXT, or use "
            "the port of its TLS listener"
        )
        raise AuthenticationError(message).at(endpoint.address)


async def check_listener(setup: Setup) -> None:
    """Raise AuthenticationError if the listener wants SASL."""
    try:
        version = setup.versions.choose(ApiKey.SASL_HANDSHAKE, SaslHandshakeRequest.versions)
    except UnsupportedVersionError:
        return
    # No mechanism has this name: a listener with SASL answers with the list of those that it has.
    response = await setup.exchange(SaslHandshakeRequest(mechanism="NONE"), version)
    if ErrorCode.of(response.error_code) is ErrorCode.UNSUPPORTED_SASL_MECHANISM:
        offered = ", ".join(response.mechanisms)
        message = (
            f"the listener wants SASL ({offered}): set security_protocol to SASL_PLAINTEXT or SASL_SSL, and "
            "sasl_mechanism"
        )
        raise AuthenticationError(message).at(setup.address)


async def _answers(peer: SocketAddress) -> bool:
    reader, writer = await asyncio.open_connection(peer[0], peer[1])
    try:
        for chunk in encode_request(ApiVersionsRequest(), 0, _CORRELATION_ID, None):
            writer.write(chunk)
        splitter = FrameSplitter(_MAX_ANSWER)
        while data := await reader.read(_MAX_ANSWER):
            for frame in splitter.feed(data):
                return read_correlation_id(frame) == _CORRELATION_ID
        return False
    finally:
        writer.transport.abort()
