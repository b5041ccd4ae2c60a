"""Denied operations: the error names the resource and the operation, and the ACL helps without a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aioproducer import AuthorizationError, ErrorCode, Producer
from tests.integration.secured import Listener, SecuredKafka
from tests.integration.security.clients import USER, options

if TYPE_CHECKING:
    from aioproducer import RecordMetadata

pytestmark = pytest.mark.scenario("authorization")

SOON = 30.0
OTHER_USER = "bob"


@pytest.fixture(
    params=[
        "secured",
        *(pytest.param(older, marks=pytest.mark.slow) for older in ("secured_361", "secured_282")),
    ]
)
def kafka(request: pytest.FixtureRequest) -> SecuredKafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, SecuredKafka)
    return kafka


async def allow(kafka: SecuredKafka, resource: str, name: str, operation: str, user: str) -> None:
    await asyncio.to_thread(kafka.allow, resource, name, operation, user)


async def delivered(producer: Producer, topic: str) -> RecordMetadata:
    """Send a record until it is delivered: a new ACL needs a moment on the broker."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await producer.send(topic, b"allowed")
            except AuthorizationError:
                await asyncio.sleep(0.1)


async def denied(producer: Producer, topic: str) -> AuthorizationError:
    """Send a record until it is denied."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                await producer.send(topic, b"denied")
            except AuthorizationError as error:
                return error


async def test_topic(kafka: SecuredKafka, topic_name: str) -> None:
    """Another topic is not affected, before and after."""
    topic = await asyncio.to_thread(kafka.create_topic, topic_name)
    other = await asyncio.to_thread(kafka.create_topic, f"{topic_name}-other")
    async with Producer(**options(kafka, Listener.SASL_SSL, "PLAIN")) as producer:
        first = await producer.send(topic, b"first")
        # An ACL for one user takes the topic from all others.
        await allow(kafka, "topic", topic, "write", OTHER_USER)
        error = await denied(producer, topic)
        assert error.code is ErrorCode.TOPIC_AUTHORIZATION_FAILED
        assert topic in str(error)
        assert "needs the operation Write on the topic" in str(error)
        assert not error.may_be_written
        assert not error.fatal
        assert (await producer.send(other, b"other")).offset == 0

        await allow(kafka, "topic", topic, "write", USER)
        again = await delivered(producer, topic)
        assert again.offset > first.offset
        assert (await producer.send(other, b"other")).offset == 1

    records = await asyncio.to_thread(kafka.consume, topic, 1)
    assert b"denied" not in [record.value for record in records[again.offset :]]


async def test_unknown_topic(kafka: SecuredKafka, topic_name: str) -> None:
    """The metadata is denied already, for a record and for `partitions_for`."""
    topic = await asyncio.to_thread(kafka.create_topic, topic_name)
    await allow(kafka, "topic", topic, "write", OTHER_USER)
    async with Producer(**options(kafka, Listener.SASL_PLAINTEXT, "SCRAM-SHA-256")) as producer:
        error = await denied(producer, topic)
        assert error.code is ErrorCode.TOPIC_AUTHORIZATION_FAILED
        assert topic in str(error)
        assert "needs the operation Write on the topic" in str(error)
        with pytest.raises(AuthorizationError, match=topic):
            await producer.partitions_for(topic)

        await allow(kafka, "topic", topic, "write", USER)
        assert (await delivered(producer, topic)).topic == topic
        assert len(await producer.partitions_for(topic)) == 1


async def test_read_only_topic(kafka: SecuredKafka, topic_name: str) -> None:
    """The metadata is allowed, and the write is not."""
    topic = await asyncio.to_thread(kafka.create_topic, topic_name)
    await allow(kafka, "topic", topic, "describe", USER)
    async with Producer(**options(kafka, Listener.SASL_PLAINTEXT, "PLAIN")) as producer:
        error = await denied(producer, topic)
        assert "needs the operation Write on the topic" in str(error)
        await allow(kafka, "topic", topic, "write", USER)
        assert (await delivered(producer, topic)).topic == topic


async def test_cluster(secured_211: SecuredKafka, topic_name: str) -> None:
    """Before Kafka 2.8 an idempotent producer needs an operation on the cluster."""
    kafka = secured_211
    topic = await asyncio.to_thread(kafka.create_topic, topic_name)
    await allow(kafka, "cluster", "kafka-cluster", "idempotent write", OTHER_USER)
    chosen = options(kafka, Listener.SASL_PLAINTEXT, "SCRAM-SHA-512")
    async with Producer(**chosen) as producer, Producer(**chosen, enable_idempotence=False) as plain:
        error = await denied(producer, topic)
        assert error.code is ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        assert "needs the operation IdempotentWrite on the cluster" in str(error)
        assert (await plain.send(topic, b"not idempotent")).offset >= 0

        await allow(kafka, "cluster", "kafka-cluster", "idempotent write", USER)
        assert (await delivered(producer, topic)).topic == topic
