"""Other clients produce to a fake cluster over TLS and SASL, and their records are stored."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError
from confluent_kafka import KafkaError
from confluent_kafka import Producer as LibrdkafkaProducer

from aioproducer.testing import FakeCluster, unsecured_token
from tests.testing.secured import USERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
RECORDS = 50
PATIENCE = 20.0


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc] # aiokafka has no types
    async def token(self) -> str:
        return unsecured_token("alice")

    def extensions(self) -> dict[str, str]:
        return {"logicalCluster": "lkc-1"}


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(
        2, {"orders": 4}, security="SASL_SSL", users=USERS, client_auth="requested"
    ) as cluster:
        yield cluster


def librdkafka(cluster: FakeCluster, mechanism: str, **options: object) -> LibrdkafkaProducer:
    config = {
        "bootstrap.servers": cluster.bootstrap,
        "security.protocol": "SASL_SSL",
        "ssl.ca.pem": cluster.ca_certificate,
        "sasl.mechanisms": mechanism,
        "linger.ms": 1,
        "log_level": 0,
    }
    if mechanism == "OAUTHBEARER":
        config["oauth_cb"] = lambda _: (
            unsecured_token("alice"),
            time.time() + 3600,
            "alice",
            {"logicalCluster": "lkc-1"},
        )
    else:
        config |= {"sasl.username": "alice", "sasl.password": USERS["alice"]}
    return LibrdkafkaProducer({**config, **options})


def produce(producer: LibrdkafkaProducer) -> None:
    failed: list[object] = []
    for number in range(RECORDS):
        producer.produce(
            "orders",
            b"%d" % number,
            on_delivery=lambda error, _message: failed.append(error) if error else None,
        )
    assert producer.flush(PATIENCE) == 0
    assert not failed


def aiokafka(cluster: FakeCluster, mechanism: str, password: str = USERS["alice"]) -> AIOKafkaProducer:
    options: dict[str, object] = {
        "bootstrap_servers": cluster.bootstrap,
        "security_protocol": "SASL_SSL",
        "ssl_context": cluster.ssl_context,
        "sasl_mechanism": mechanism,
        "retry_backoff_ms": 10,
    }
    if mechanism == "OAUTHBEARER":
        options["sasl_oauth_token_provider"] = TokenProvider()
    else:
        options |= {"sasl_plain_username": "alice", "sasl_plain_password": password}
    return AIOKafkaProducer(**options)


def check(cluster: FakeCluster, mechanism: str) -> None:
    values = [int(record.value or b"") for record in cluster.records("orders")]
    assert sorted(values) == list(range(RECORDS))
    assert cluster.authentications
    for authentication in cluster.authentications:
        assert (authentication.mechanism, authentication.principal) == (mechanism, "alice")
        if mechanism == "OAUTHBEARER":
            assert authentication.extensions == {"logicalCluster": "lkc-1"}


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_librdkafka_produces(cluster: FakeCluster, mechanism: str) -> None:
    producer = librdkafka(cluster, mechanism)
    await asyncio.to_thread(produce, producer)
    check(cluster, mechanism)


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_aiokafka_produces(cluster: FakeCluster, mechanism: str) -> None:
    producer = aiokafka(cluster, mechanism)
    await producer.start()
    try:
        sent = [await producer.send("orders", b"%d" % number) for number in range(RECORDS)]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    check(cluster, mechanism)


async def test_librdkafka_hears_of_wrong_password(cluster: FakeCluster) -> None:
    errors: asyncio.Queue[KafkaError] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    producer = librdkafka(
        cluster,
        "SCRAM-SHA-256",
        error_cb=lambda error: loop.call_soon_threadsafe(errors.put_nowait, error),
        **{"sasl.password": "wrong"},
    )
    async with asyncio.timeout(PATIENCE):
        while True:
            await asyncio.to_thread(producer.poll, 0.1)
            if not errors.empty() and (error := errors.get_nowait()).code() == KafkaError._AUTHENTICATION:  # noqa: SLF001 - its public name
                break
    assert "invalid credentials with SASL mechanism SCRAM-SHA-256" in error.str()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_aiokafka_hears_of_wrong_password(cluster: FakeCluster, mechanism: str) -> None:
    producer = aiokafka(cluster, mechanism, password="wrong")  # noqa: S106 - wrong on purpose
    with pytest.raises((AuthenticationFailedError, KafkaConnectionError)):
        await producer.start()
    await producer.stop()
    assert all(authentication.error for authentication in cluster.authentications)


async def test_librdkafka_authenticates_again() -> None:
    """A session of two seconds; librdkafka renews it on the live connection."""
    async with FakeCluster(
        topics={"orders": 1}, security="SASL_SSL", users=USERS, session_lifetime_ms=2000
    ) as cluster:
        producer = librdkafka(cluster, "SCRAM-SHA-256", **{"enable.idempotence": True})
        async with asyncio.timeout(PATIENCE):
            while not any(each.is_repeated for each in cluster.authentications):
                await asyncio.to_thread(producer.poll, 0.1)
        await asyncio.to_thread(produce, producer)
        assert len(cluster.records("orders")) == RECORDS
        assert [each.error for each in cluster.authentications if each.error] == []


async def test_librdkafka_shows_client_certificate() -> None:
    async with FakeCluster(topics={"orders": 1}, security="SSL", client_auth="required") as cluster:
        cluster.deny("WRITE", topic="orders")
        cluster.allow("WRITE", topic="orders", principal="CN=client")
        producer = LibrdkafkaProducer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "security.protocol": "SSL",
                "ssl.ca.pem": cluster.ca_certificate,
                "ssl.certificate.pem": cluster.client_certificate,
                "ssl.key.pem": cluster.client_key,
                "log_level": 0,
            }
        )
        await asyncio.to_thread(produce, producer)
        assert len(cluster.records("orders")) == RECORDS
