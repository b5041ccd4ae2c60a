"""What tests of a secured fake cluster need: a client with TLS, and whole SASL exchanges."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)
from tests.testing.raw_client import RawClient

if TYPE_CHECKING:
    import ssl

    from aioproducer.testing import FakeCluster

USERS = {"alice": "alice-secret", "bob": "bob-secret"}


async def connect_with_tls(
    cluster: FakeCluster, context: ssl.SSLContext | None = None, *, server_name: str = "localhost"
) -> RawClient:
    """Connect to node 1, with the cluster's own context by default."""
    node = cluster.topology.nodes[1]
    streams = await asyncio.open_connection(
        node.host, node.port, ssl=context or cluster.ssl_context, server_hostname=server_name
    )
    return RawClient(*streams)


async def shake_hands(client: RawClient, mechanism: str, *, version: int = 1) -> SaslHandshakeResponse:
    return await client.ask(SaslHandshakeRequest(mechanism=mechanism), version)


async def send_auth(client: RawClient, data: bytes, *, version: int = 2) -> SaslAuthenticateResponse:
    return await client.ask(SaslAuthenticateRequest(auth_bytes=data), version)


def plain(user: str, password: str, authorization_id: str = "") -> bytes:
    return f"{authorization_id}\0{user}\0{password}".encode()


def bearer(token: str, authorization_id: str = "", **extensions: str) -> bytes:
    header = f"n,a={authorization_id}," if authorization_id else "n,,"
    pairs = "".join(f"{name}={value}\x01" for name, value in extensions.items())
    return f"{header}\x01auth=Bearer {token}\x01{pairs}\x01".encode()


async def log_in(
    client: RawClient, user: str = "alice", password: str | None = None
) -> SaslAuthenticateResponse:
    """Authenticate with PLAIN; the password is right by default."""
    shaken = await shake_hands(client, "PLAIN")
    assert shaken.error_code == ErrorCode.NONE
    return await send_auth(client, plain(user, USERS[user] if password is None else password))
