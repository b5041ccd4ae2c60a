"""Credentials that are removed while the producer runs: an error at once, and no restart afterwards."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import AuthenticationError, Producer
from tests.integration.secured import Listener, SecuredKafka
from tests.integration.security.clients import options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aioproducer import ProducerError

pytestmark = [pytest.mark.slow, pytest.mark.scenario("sasl")]

SOON = 30.0
REFUSED = "SCRAM-SHA-256 authentication failed"
PASSWORD = "carol-secret"  # noqa: S105 - of a test


@pytest.fixture
def user(secured: SecuredKafka) -> str:
    """Add a user of SCRAM, whom the test removes."""
    name = f"carol-{secrets.token_hex(4)}"
    secured.set_scram_user(name, PASSWORD)
    return name


def options_of(kafka: SecuredKafka, listener: Listener, user: str) -> dict[str, Any]:
    return options(kafka, listener, "SCRAM-SHA-256", sasl_username=user, sasl_password=PASSWORD)


@asynccontextmanager
async def soon() -> AsyncIterator[None]:
    async with asyncio.timeout(SOON):
        yield


async def failure(producer: Producer, topic: str) -> ProducerError | None:
    """Send until a record fails, and return its error."""
    while True:
        delivery = producer.send(topic, b"refused")
        await asyncio.wait([delivery.future()])
        if delivery.exception() is not None:
            return delivery.exception()
        await asyncio.sleep(0.05)


async def recovered(producer: Producer, topic: str) -> None:
    """Send until a record is delivered."""
    while True:
        with suppress(AuthenticationError):
            await producer.send(topic, b"accepted")
            return
        await asyncio.sleep(0.05)


async def test_removed_user(secured: SecuredKafka, topic_name: str, user: str) -> None:
    """The session of two seconds cannot be renewed; the next connection is refused, as are records."""
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    async with Producer(**options_of(secured, Listener.SASL_SHORT, user)) as producer:
        await producer.send(topic, b"first")
        await asyncio.to_thread(secured.remove_scram_user, user)
        async with soon():
            error = await failure(producer, topic)
        assert isinstance(error, AuthenticationError)
        assert REFUSED in str(error)
        assert error.address == str(secured.address_of(Listener.SASL_SHORT))
        with pytest.raises(AuthenticationError, match=REFUSED):
            await producer.send(topic, b"later")

        await asyncio.to_thread(secured.set_scram_user, user, PASSWORD)
        async with soon():
            await recovered(producer, topic)


async def test_waiting_records_fail(secured: SecuredKafka, topic_name: str, user: str) -> None:
    """A hundred records in a batch that lingers and a hundred for a topic without metadata."""
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    chosen = options_of(secured, Listener.SASL_SHORT, user)
    async with Producer(**chosen, linger_ms=60_000, delivery_timeout_ms=120_000) as producer:
        first = producer.send(topic, b"first")
        await producer.flush()
        assert first.result().offset == 0
        await asyncio.to_thread(secured.remove_scram_user, user)
        deliveries = [producer.send(topic, b"%d" % number) for number in range(100)]
        deliveries += [producer.send(f"{topic}-unknown", b"%d" % number) for number in range(100)]
        async with soon():
            await asyncio.wait([delivery.future() for delivery in deliveries])
        for delivery in deliveries:
            with pytest.raises(AuthenticationError, match=REFUSED):
                delivery.result()
        await asyncio.to_thread(secured.set_scram_user, user, PASSWORD)


async def test_restarted_broker(secured: SecuredKafka, topic_name: str, user: str) -> None:
    """Connections are lost with the broker, and the user is gone when it is back."""
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    async with Producer(**options_of(secured, Listener.SASL_SSL, user)) as producer:
        await producer.send(topic, b"first")
        await asyncio.to_thread(secured.remove_scram_user, user)
        # The session goes on.
        await producer.send(topic, b"second")
        await asyncio.to_thread(secured.restart, 1)
        async with soon():
            assert isinstance(await failure(producer, topic), AuthenticationError)
            await asyncio.to_thread(secured.set_scram_user, user, PASSWORD)
            await recovered(producer, topic)

    records = await asyncio.to_thread(secured.consume, topic, 3)
    values = [record.value for record in records]
    assert values[:2] == [b"first", b"second"]
    assert values[-1] == b"accepted"
    assert values.count(b"accepted") == 1


async def test_start_without_wait(secured: SecuredKafka, topic_name: str) -> None:
    """The producer begins to send when its credentials exist."""
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    user = f"dave-{secrets.token_hex(4)}"
    producer = Producer(**options_of(secured, Listener.SASL_SSL, user))
    await producer.start(wait=False)
    try:
        async with soon():
            for call in (producer.send(topic, b"1").future(), producer.ready()):
                with pytest.raises(AuthenticationError, match=REFUSED):
                    await call
            await asyncio.to_thread(secured.set_scram_user, user, PASSWORD)
            await recovered(producer, topic)
            await producer.ready()
    finally:
        await producer.stop()
