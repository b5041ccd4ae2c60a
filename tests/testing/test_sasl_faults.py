"""Scripted faults of SASL requests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import ApiKey, FakeCluster
from tests.testing.raw_client import RawClient
from tests.testing.secured import USERS, log_in, plain, send_auth, shake_hands

METADATA = MetadataRequest(topics=())
RIGHT = plain("alice", "alice-secret")


def secured() -> FakeCluster:
    return FakeCluster(security="SASL_PLAINTEXT", users=USERS)


async def test_handshake_fails() -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.SASL_HANDSHAKE).answer(ErrorCode.UNSUPPORTED_SASL_MECHANISM)
        answer = await shake_hands(client, "PLAIN")
        assert answer.error_code == ErrorCode.UNSUPPORTED_SASL_MECHANISM
        assert answer.mechanisms == ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
        assert await client.closed() == b""


async def test_authentication_fails_once() -> None:
    async with secured() as cluster:
        cluster.on(ApiKey.SASL_AUTHENTICATE).answer(ErrorCode.SASL_AUTHENTICATION_FAILED, "not today")
        async with await RawClient.connect(cluster) as client:
            answer = await log_in(client)
            assert (answer.error_code, answer.error_message) == (
                ErrorCode.SASL_AUTHENTICATION_FAILED,
                "not today",
            )
            assert await client.closed() == b""
        async with await RawClient.connect(cluster) as client:
            assert (await log_in(client)).error_code == ErrorCode.NONE


@pytest.mark.parametrize("api", [ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE])
async def test_connection_is_dropped(api: ApiKey) -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        fault = cluster.on(api).disconnect()
        with pytest.raises((EOFError, ConnectionError)):
            await log_in(client)
        assert fault.hits == 1


@pytest.mark.parametrize("api", [ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE])
async def test_request_is_held(api: ApiKey) -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        held = cluster.on(api).hold()
        cluster.on(api).run(held.release)
        assert (await log_in(client)).error_code == ErrorCode.NONE
        assert (await client.ask(METADATA, 9)).brokers


async def test_failure_after_hold_closes_connection() -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.SASL_AUTHENTICATE).delay(0)
        assert (await log_in(client, password="wrong")).error_code  # noqa: S106 - wrong on purpose
        assert await client.closed() == b""


async def test_broker_sends_garbage() -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.SASL_HANDSHAKE).answer_bytes(b"\0\0\0\4abcd")
        client.send_bytes(b"")
        with pytest.raises(Exception, match=r"\w"):
            await shake_hands(client, "PLAIN")


async def test_iteration_count_is_huge() -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.SASL_AUTHENTICATE).rewrite(
            lambda answer: replace(answer, auth_bytes=answer.auth_bytes.replace(b"i=4096", b"i=2000000000"))
        )
        await shake_hands(client, "SCRAM-SHA-256")
        answer = await send_auth(client, b"n,,n=alice,r=abcdef")
        assert answer.auth_bytes.startswith(b"r=abcdef")
        assert answer.auth_bytes.endswith(b",i=2000000000")


async def test_exchange_never_ends() -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        endless = cluster.on(ApiKey.SASL_AUTHENTICATE, times=None).answer_auth_bytes(b"more")
        await shake_hands(client, "PLAIN")
        for _ in range(20):
            answer = await send_auth(client, b"anything")
            assert (answer.error_code, answer.auth_bytes) == (ErrorCode.NONE, b"more")
        assert endless.hits == 20
        cluster.heal()
        assert (await send_auth(client, RIGHT)).error_code == ErrorCode.NONE
        assert cluster.authentications[0].principal == "alice"


async def test_auth_bytes_depend_on_request() -> None:
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.SASL_AUTHENTICATE).answer_auth_bytes(lambda data: data[::-1])
        await shake_hands(client, "PLAIN")
        assert (await send_auth(client, b"abc")).auth_bytes == b"cba"


async def test_fault_of_any_api_hits_sasl() -> None:
    """Responses of SASL have no throttle time, and are sent as they are."""
    async with secured() as cluster, await RawClient.connect(cluster) as client:
        throttled = cluster.on(times=None).throttle(1)
        assert (await log_in(client)).error_code == ErrorCode.NONE
        assert (await client.ask(METADATA, 9)).throttle_time_ms == 1
        assert throttled.hits == 3


def test_impossible_faults_are_refused() -> None:
    cluster = secured()
    with pytest.raises(ValueError, match=r"answer_auth_bytes is for on\(ApiKey.SASL_AUTHENTICATE\) alone"):
        cluster.on(ApiKey.PRODUCE).answer_auth_bytes(b"")
    with pytest.raises(ValueError, match="a response of SASL_HANDSHAKE has no throttle time"):
        cluster.on(ApiKey.SASL_HANDSHAKE).throttle(5)
    with pytest.raises(ValueError, match="leave_out needs an API whose responses have topics"):
        cluster.on(ApiKey.SASL_HANDSHAKE).leave_out()
