"""Faults of other clients, as their users reported them, on the fake cluster.

Those that need a real broker are in `tests/integration/security`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from aioproducer import AuthenticationError, ConfigurationError, Producer
from aioproducer.protocol.api import ApiKey
from aioproducer.sasl.oauthbearer import Token
from aioproducer.testing import FakeCluster
from tests.net.quick import insides, quick, until
from tests.net.relay import Asked, Relay

if TYPE_CHECKING:
    from aioproducer.testing.security import Authentication

SOON = 20.0
USERS = {"alice": "alice-secret"}
SASL = (ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE)

Event: TypeAlias = tuple[int, str, ApiKey]
"""The connection, "request" or "answer", and its API."""


def quick_for(cluster: FakeCluster, **changes: object) -> Producer[Any, Any]:
    """Make a producer with the credentials of the cluster, and short timeouts."""
    chosen = {"request_timeout_ms": 5_000, **cluster.client_options, **changes}
    return quick(chosen.pop("bootstrap_servers"), **chosen)


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_sasl_options_are_not_ignored(protocol: str) -> None:
    """Credentials beside a protocol without SASL had no effect (kafka-python#846)."""
    with pytest.raises(ConfigurationError, match=r"SASL_PLAINTEXT.*SASL_SSL"):
        Producer(
            "localhost:9092",
            security_protocol=protocol,
            sasl_mechanism="PLAIN",
            sasl_username="alice",
            sasl_password="alice-secret",  # noqa: S106 - of a test
        )


@pytest.mark.scenario("reauthentication")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_nothing_in_flight_while_authenticating(mechanism: str) -> None:
    """Requests in flight at the re-authentication broke the connection (librdkafka PR 4301)."""
    async with with_sessions(mechanism) as cluster, Relay(cluster) as relay:
        events = recorded(relay)
        # Requests are in flight all the time.
        cluster.on(ApiKey.PRODUCE, times=None).delay(0.005)
        async with quick_for(cluster, linger_ms=0, max_in_flight_requests_per_connection=5) as producer:
            deliveries = []
            async with asyncio.timeout(SOON):
                while not repeated(cluster):
                    deliveries += [producer.send("orders", b"x") for _ in range(20)]
                    await asyncio.sleep(0.002)
                await producer.flush()
            for delivery in deliveries:
                delivery.result()

        assert len(cluster.records("orders")) == len(deliveries)
        begun = assert_alone_in_flight(events)
        assert begun >= 3


@pytest.mark.scenario("reauthentication")
async def test_late_response_does_not_overlap_authentication() -> None:
    """The response of a slow request comes after the end of the session: SASL begins only then."""
    async with with_sessions("PLAIN") as cluster, Relay(cluster) as relay:
        events = recorded(relay)
        cluster.on(ApiKey.PRODUCE).delay(3.0)
        async with asyncio.timeout(SOON), quick_for(cluster, request_timeout_ms=15_000) as producer:
            assert (await producer.send("orders", b"late")).offset == 0
            await until(lambda: repeated(cluster), SOON)
            assert (await producer.send("orders", b"next")).offset == 1
            metrics = producer.metrics()["producer-metrics"]

        assert_alone_in_flight(events)
        assert metrics["record-retry-total"] == 0
        assert metrics["connection-creation-total"] == 2


def with_sessions(mechanism: str) -> FakeCluster:
    """Return a cluster whose sessions end after 2 s."""
    return FakeCluster(
        topics={"orders": 1},
        security="SASL_PLAINTEXT",
        users=USERS,
        sasl_mechanisms=[mechanism],
        session_lifetime_ms=2_000,
    )


def recorded(relay: Relay) -> list[Event]:
    """Return the list that each request and each answer is added to."""
    events: list[Event] = []

    def asked(request: Asked) -> bool:
        events.append((request.connection, "request", request.api))
        return True

    def answered(request: Asked, frame: bytes) -> list[bytes]:
        events.append((request.connection, "answer", request.api))
        return [frame]

    relay.on_request, relay.on_answer = asked, answered
    return events


def assert_alone_in_flight(events: list[Event]) -> int:
    """Return how many exchanges began; no other request is in flight from their begin to their end."""
    begun = 0
    in_flight: dict[int, list[ApiKey]] = {}
    for connection, kind, api in events:
        waiting = in_flight.setdefault(connection, [])
        if kind == "answer":
            waiting.remove(api)
            continue
        begun += api is ApiKey.SASL_HANDSHAKE
        if api in SASL:
            assert not waiting
        assert not set(SASL) & set(waiting)
        waiting.append(api)
    return begun


async def test_error_0_is_no_success() -> None:
    """The broker refuses a token with error code 0, and was taken to accept it (aiokafka)."""
    cluster = FakeCluster(
        topics={"orders": 1},
        security="SASL_PLAINTEXT",
        sasl_mechanisms=["OAUTHBEARER"],
        tokens={"a.b.c": "me"},
    )
    async with cluster, asyncio.timeout(SOON):
        producer = quick_for(cluster, sasl_token_provider=lambda: "a.b.other")
        with pytest.raises(AuthenticationError, match="invalid_token"):
            await producer.start()
        [failed] = {each.error for each in cluster.authentications}
        assert failed is not None


async def test_failed_refresh_keeps_good_token(caplog: pytest.LogCaptureFixture) -> None:
    """A failed refresh discarded a token that was valid for minutes (thingsboard PR 15670)."""
    calls = 0

    def provider() -> Token:
        nonlocal calls
        calls += 1
        if calls > 1:
            message = "the identity provider is down"
            raise OSError(message)
        return Token("good", expires_at=time.time() + 60)

    cluster = FakeCluster(
        topics={"orders": 1},
        security="SASL_PLAINTEXT",
        sasl_mechanisms=["OAUTHBEARER"],
        tokens={"good": "alice"},
        session_lifetime_ms=1_000,
    )
    changes = {
        "sasl_token_provider": provider,
        "sasl_login_refresh_window_factor": 0.5,
        "sasl_login_refresh_window_jitter": 0.0,
        "request_timeout_ms": 300,
    }
    async with cluster, asyncio.timeout(SOON), quick_for(cluster, **changes) as producer:
        authenticator = insides(producer)._client.authenticator  # noqa: SLF001
        assert authenticator is not None
        source = authenticator._credentials._tokens  # noqa: SLF001
        assert source is not None
        await producer.send("orders", b"1")
        # Half of the token's minute is over.
        source._renew_at = 0.0  # noqa: SLF001
        with caplog.at_level(logging.WARNING, "aioproducer.sasl"):
            await until(lambda: repeated(cluster), SOON)
        assert (await producer.send("orders", b"2")).offset == 1
        metrics = producer.metrics()["producer-metrics"]

    assert calls > 1
    assert metrics["record-error-total"] == 0
    assert "using the old token" in caplog.text


def repeated(cluster: FakeCluster) -> list[Authentication]:
    return [each for each in cluster.authentications if each.is_repeated and each.error is None]


async def test_versions_are_those_of_the_connection() -> None:
    """The ApiVersions of an earlier connection decided that there is no SASL (librdkafka#1218)."""
    cluster = FakeCluster(topics={"orders": 1}, security="SASL_PLAINTEXT", users=USERS)
    async with cluster, asyncio.timeout(SOON):
        # A load balancer leads to an old broker first, then to a new one.
        cluster.on(ApiKey.API_VERSIONS).rewrite(
            lambda response: replace(
                response, api_keys=tuple(key for key in response.api_keys if key.api_key not in SASL)
            )
        )
        producer = quick_for(cluster)
        await producer.start(wait=False)
        try:
            with pytest.raises(AuthenticationError, match="no SaslHandshake version 1"):
                await producer.ready()
            while not producer.is_ready:
                with suppress(AuthenticationError):
                    await producer.ready()
            assert (await producer.send("orders", b"1")).offset == 0
        finally:
            await producer.stop()
