"""SASL of a fake cluster, where the conversations with Kafka do not show it: users, tokens, records.

The answers themselves are in `tests/conversations/suite_sasl.py`.
"""

from __future__ import annotations

import time

import pytest

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic
from aioproducer.protocol.sasl import SaslAuthenticateRequest
from aioproducer.testing import (
    KAFKA_2_1,
    KAFKA_2_8,
    AcceptedToken,
    ApiKey,
    Authentication,
    FakeCluster,
    unsecured_token,
)
from tests.testing.raw_client import RawClient
from tests.testing.secured import USERS, bearer, connect_with_tls, log_in, plain, send_auth, shake_hands

METADATA = MetadataRequest(topics=())
WRONG = ErrorCode.SASL_AUTHENTICATION_FAILED


async def test_users_change_at_run_time() -> None:
    async with FakeCluster(security="SASL_PLAINTEXT", users=USERS) as cluster:
        cluster.set_user("alice", "new-secret")
        cluster.set_user("carol", "carol-secret")
        cluster.remove_user("bob")
        for user, password, code in (
            ("alice", "alice-secret", WRONG),
            ("alice", "new-secret", ErrorCode.NONE),
            ("carol", "carol-secret", ErrorCode.NONE),
            ("bob", "bob-secret", WRONG),
        ):
            async with await RawClient.connect(cluster) as client:
                assert (await log_in(client, user, password)).error_code == code


async def test_running_session_survives_removed_user() -> None:
    async with (
        FakeCluster(security="SASL_PLAINTEXT", users=USERS) as cluster,
        await RawClient.connect(cluster) as client,
    ):
        await log_in(client)
        cluster.remove_user("alice")
        assert (await client.ask(METADATA, 9)).brokers


async def test_given_tokens_are_accepted() -> None:
    now = time.time()
    tokens: dict[str, str | AcceptedToken] = {
        "endless": "alice",
        "short": AcceptedToken("alice", now + 1000),
        "over": AcceptedToken("alice", now - 1),
    }
    async with FakeCluster(
        security="SASL_PLAINTEXT", sasl_mechanisms=["OAUTHBEARER"], tokens=tokens
    ) as cluster:

        async def lifetime_with(token: str) -> int | None:
            async with await RawClient.connect(cluster) as client:
                await shake_hands(client, "OAUTHBEARER")
                answer = await send_auth(client, bearer(token))
                assert answer.error_code == ErrorCode.NONE
                return None if answer.auth_bytes else answer.session_lifetime_ms

        assert await lifetime_with("endless") == 0
        assert 0 < (await lifetime_with("short") or 0) <= 1_000_000
        assert await lifetime_with("over") is None
        assert await lifetime_with(unsecured_token("alice")) is None
        cluster.remove_token("endless")
        assert await lifetime_with("endless") is None


async def test_authentications_are_recorded() -> None:
    async with FakeCluster(2, security="SASL_PLAINTEXT", users=USERS, session_lifetime_ms=60_000) as cluster:
        async with await RawClient.connect(cluster, 2) as client:
            await shake_hands(client, "OAUTHBEARER")
            await send_auth(client, bearer(unsecured_token("alice"), logicalCluster="lkc-1"))
            await shake_hands(client, "OAUTHBEARER")
            await send_auth(client, bearer(unsecured_token("alice")))
        async with await RawClient.connect(cluster) as client:
            await log_in(client, "bob", "wrong")
        first = Authentication(
            node_id=2, mechanism="OAUTHBEARER", principal="alice", extensions={"logicalCluster": "lkc-1"}
        )
        assert cluster.authentications == [
            first,
            Authentication(node_id=2, mechanism="OAUTHBEARER", principal="alice", is_repeated=True),
            Authentication(
                node_id=1,
                mechanism="PLAIN",
                principal=None,
                error="Authentication failed: Invalid username or password",
            ),
        ]


async def test_session_lifetime_changes_at_run_time() -> None:
    async with FakeCluster(security="SASL_PLAINTEXT", users=USERS) as cluster:
        cluster.session_lifetime_ms = 5000
        async with await RawClient.connect(cluster) as client:
            assert (await log_in(client)).session_lifetime_ms == 5000
        with pytest.raises(ValueError, match="session_lifetime_ms is at least 1"):
            cluster.session_lifetime_ms = 0


async def test_handshake_version_0_exchanges_raw_bytes() -> None:
    """KIP-43: frames without headers, and a wrong password has no answer."""
    async with FakeCluster(security="SASL_PLAINTEXT", users=USERS) as cluster:
        for password, answer in (("alice-secret", bytes(4)), ("wrong", b"")):
            async with await RawClient.connect(cluster) as client:
                await shake_hands(client, "PLAIN", version=0)
                token = plain("alice", password)
                client.send_bytes(len(token).to_bytes(4, "big") + token)
                if answer:
                    assert await client.frame() == b""
                    assert (await client.ask(METADATA, 9)).brokers
                else:
                    assert await client.closed() == b""


async def test_large_frames_need_authentication() -> None:
    async with FakeCluster(security="SASL_PLAINTEXT", users=USERS) as cluster:
        async with await RawClient.connect(cluster) as client:
            # The broker does not wait for the rest of the frame.
            client.send_bytes((100_000_000).to_bytes(4, "big") + bytes(600_000))
            assert await client.closed() == b""
        async with await RawClient.connect(cluster) as client:
            await log_in(client)
            topics = tuple([MetadataRequestTopic(f"{number:0249}") for number in range(3000)])
            request = MetadataRequest(topics=topics, allow_auto_topic_creation=False)
            assert len((await client.ask(request, 9)).topics) == 3000


async def test_kafka_2_1_has_no_session_lifetime() -> None:
    """It has SaslAuthenticate version 0 alone; a session ends all the same."""
    async with FakeCluster(
        security="SASL_PLAINTEXT", users=USERS, versions=KAFKA_2_1, session_lifetime_ms=1
    ) as cluster:
        async with await RawClient.connect(cluster) as client:
            await shake_hands(client, "PLAIN")
            answer = await send_auth(client, plain("alice", "alice-secret"), version=0)
            assert (answer.error_code, answer.session_lifetime_ms) == (ErrorCode.NONE, 0)
        async with await RawClient.connect(cluster) as client:
            await shake_hands(client, "PLAIN")
            client.send(SaslAuthenticateRequest(auth_bytes=plain("alice", "alice-secret")), 1)
            assert await client.closed() == b""


async def test_token_limits_session_of_kafka_2_8_only_below_limit() -> None:
    for lifetime, expected in ((None, 0), (5000, 5000)):
        async with (
            FakeCluster(
                security="SASL_PLAINTEXT", users=USERS, versions=KAFKA_2_8, session_lifetime_ms=lifetime
            ) as cluster,
            await RawClient.connect(cluster) as client,
        ):
            await shake_hands(client, "OAUTHBEARER")
            answer = await send_auth(client, bearer(unsecured_token("alice")))
            assert answer.session_lifetime_ms == expected


async def test_sasl_runs_inside_tls() -> None:
    async with FakeCluster(security="SASL_SSL", users=USERS) as cluster:
        async with await connect_with_tls(cluster) as client:
            assert (await log_in(client)).error_code == ErrorCode.NONE
            assert (await client.ask(METADATA, 9)).brokers
        async with await connect_with_tls(cluster) as client:
            assert (await log_in(client, password="wrong")).error_code == WRONG  # noqa: S106 - wrong on purpose
            assert await client.closed() == b""


async def test_certificate_is_no_principal_with_sasl() -> None:
    async with FakeCluster(security="SASL_SSL", users=USERS, client_auth="required") as cluster:
        async with await connect_with_tls(cluster) as client:
            await log_in(client)
        assert [each.principal for each in cluster.authentications] == ["alice"]


async def test_requests_before_authentication_count_no_fault() -> None:
    async with FakeCluster(security="SASL_PLAINTEXT", users=USERS) as cluster:
        fault = cluster.on(ApiKey.METADATA, optional=True).disconnect()
        async with await RawClient.connect(cluster) as client:
            client.send(METADATA, 9)
            assert await client.closed() == b""
        assert fault.hits == 0
