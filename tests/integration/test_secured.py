"""The secured brokers of the harness, used by librdkafka and from raw connections."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest
from confluent_kafka import KafkaError, Message
from confluent_kafka import Producer as LibrdkafkaProducer

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import unsecured_token
from aioproducer.testing.tls_server import NOT_TLS_ALERT
from tests.conversations.harness import connect
from tests.integration.secured import MECHANISMS, USERS, Listener, SecuredKafka
from tests.testing.raw_client import RawClient
from tests.testing.secured import log_in

# Slow: they test the harness and use no compiled module.
pytestmark = pytest.mark.slow

PATIENCE = 20.0
METADATA = MetadataRequest(topics=())


@pytest.fixture(params=["secured_kafka", "secured_kafka_361", "secured_kafka_282"])
def kafka(request: pytest.FixtureRequest) -> SecuredKafka:
    broker: SecuredKafka = request.getfixturevalue(request.param)
    return broker


def produce(
    kafka: SecuredKafka, listener: Listener, topic: str, mechanism: str, password: str
) -> list[object]:
    """Produce one record with librdkafka, and return the errors."""
    config: dict[str, object] = {
        "bootstrap.servers": kafka.bootstrap_of(listener),
        "security.protocol": listener.protocol,
        "message.timeout.ms": 15_000,
        "log_level": 0,
    }
    if listener.has_tls:
        config["ssl.ca.pem"] = kafka.certificates.ca.certificate
    if listener is Listener.MTLS:
        client = kafka.certificates.client
        config |= {"ssl.certificate.pem": client.certificate, "ssl.key.pem": client.key}
    if listener.has_sasl:
        config["sasl.mechanisms"] = mechanism
        if mechanism == "OAUTHBEARER":
            config["oauth_cb"] = lambda _: (unsecured_token("alice"), time.time() + 3600)
        else:
            config |= {"sasl.username": "alice", "sasl.password": password}
    errors: list[object] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        errors.extend([error] if error is not None else [])

    producer = LibrdkafkaProducer(config)
    producer.produce(topic, b"tea", on_delivery=delivered)
    assert producer.flush(PATIENCE) == 0
    return errors


@pytest.mark.parametrize(
    ("listener", "mechanism"),
    [
        (Listener.SSL, ""),
        (Listener.MTLS, ""),
        *[
            (listener, mechanism)
            for listener in (Listener.SASL_PLAINTEXT, Listener.SASL_SSL)
            for mechanism in MECHANISMS
        ],
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_librdkafka_produces(
    kafka: SecuredKafka, listener: Listener, mechanism: str, topic_name: str
) -> None:
    kafka.create_topic(topic_name)

    assert produce(kafka, listener, topic_name, mechanism, USERS["alice"]) == []
    assert [record.value for record in kafka.consume(topic_name, expected=1)] == [b"tea"]


def test_acl_is_added_and_taken_back(kafka: SecuredKafka, topic_name: str) -> None:
    kafka.create_topic(topic_name)

    kafka.deny("topic", topic_name, "write", "alice")
    [error] = produce(kafka, Listener.SASL_SSL, topic_name, "PLAIN", USERS["alice"])
    assert isinstance(error, KafkaError)
    assert error.code() == ErrorCode.TOPIC_AUTHORIZATION_FAILED
    kafka.allow_again("topic", topic_name, "write", "alice")
    assert produce(kafka, Listener.SASL_SSL, topic_name, "PLAIN", USERS["alice"]) == []


def test_client_certificate_is_the_principal(kafka: SecuredKafka, topic_name: str) -> None:
    """The mapping rule takes the common name."""
    kafka.create_topic(topic_name)
    kafka.deny("topic", topic_name, "write", "client")

    [error] = produce(kafka, Listener.MTLS, topic_name, "", "")
    assert isinstance(error, KafkaError)
    assert error.code() == ErrorCode.TOPIC_AUTHORIZATION_FAILED


async def test_plaintext_client_gets_alert(kafka: SecuredKafka) -> None:
    address = kafka.address_of(Listener.SSL)
    async with await connect(address.host, address.port) as client:
        client.send(METADATA, 9)
        assert await client.closed() == NOT_TLS_ALERT


async def test_tls_client_is_closed_by_plaintext_listener(kafka: SecuredKafka) -> None:
    address = kafka.address_of(Listener.SASL_PLAINTEXT)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await with_tls(address.port, kafka.certificates.client_context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_missing_client_certificate_is_refused(kafka: SecuredKafka, version: ssl.TLSVersion) -> None:
    context = kafka.certificates.client_context()
    context.maximum_version = version
    port = kafka.address_of(Listener.MTLS).port
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with await with_tls(port, context) as client:
            await client.ask(METADATA, 9)


async def test_password_of_scram_user_changes(kafka: SecuredKafka, topic_name: str) -> None:
    await asyncio.to_thread(kafka.create_topic, topic_name)
    await asyncio.to_thread(kafka.set_scram_user, "alice", "other")
    try:
        errors = await asyncio.to_thread(
            produce, kafka, Listener.SASL_PLAINTEXT, topic_name, "SCRAM-SHA-512", "other"
        )
        assert errors == []
    finally:
        await asyncio.to_thread(kafka.set_scram_user, "alice", USERS["alice"])


async def test_plain_user_logs_in_through_tls(kafka: SecuredKafka) -> None:
    port = kafka.address_of(Listener.SASL_SSL).port
    async with await with_tls(port, kafka.certificates.client_context()) as client:
        assert (await log_in(client)).error_code == ErrorCode.NONE


async def with_tls(port: int, context: ssl.SSLContext) -> RawClient:
    streams = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    return RawClient(*streams)
