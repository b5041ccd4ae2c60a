"""Sessions of two seconds under load: each connection authenticates again, and no record notices."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from aioproducer import Producer
from tests.integration.secured import GSSAPI, MECHANISMS, SHORT_SESSION_MS, Listener, SecuredKafka
from tests.integration.security.clients import options
from tests.integration.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.scenario("reauthentication")]

PARTITIONS = 6
RENEWED = "authenticated again"


@pytest.fixture(autouse=True)
def renewals(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG, "aioproducer.broker"):
        yield


def renewals_in(caplog: pytest.LogCaptureFixture) -> int:
    return sum(RENEWED in record.getMessage() for record in caplog.records)


async def stream_through_sessions(
    kafka: SecuredKafka, topic_name: str, mechanism: str, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Produce for some time, and check each record, and that no request failed."""
    topic = await asyncio.to_thread(kafka.create_topic, topic_name, PARTITIONS)
    # The pause keeps the log small enough to be read back.
    chosen = options(kafka, Listener.SASL_SHORT, mechanism, linger_ms=2, buffer_memory=2**20)
    async with Producer(**chosen) as producer:
        stream = Stream(producer, topic, PARTITIONS)
        async with stream.flowing(pause=0.02):
            # A broker that does not know the new topic yet refuses the first batches.
            await stream.acknowledged(50 * PARTITIONS)
            retries = producer.metrics()["producer-metrics"]["record-retry-total"]
            await asyncio.sleep(seconds)
        metrics = producer.metrics()["producer-metrics"]

    assert metrics["record-error-total"] == 0
    renewals = renewals_in(caplog)
    assert renewals >= seconds * 1000 // SHORT_SESSION_MS - 1
    # A machine that stalls for half a second outlives a session of two: the broker ends that connection,
    # and its batches are sent again.
    lost = metrics["connection-creation-total"] - 2
    assert lost <= renewals // 3
    if lost <= 0:
        assert metrics["record-retry-total"] == retries
    await stream.check(kafka)


@pytest.mark.parametrize("mechanism", [*MECHANISMS, GSSAPI])
async def test_records_outlive_sessions(
    request: pytest.FixtureRequest,
    secured: SecuredKafka,
    topic_name: str,
    mechanism: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if mechanism == GSSAPI:
        request.getfixturevalue("ticket")
    await stream_through_sessions(secured, topic_name, mechanism, 5, caplog)


async def test_older_broker(
    secured_361: SecuredKafka, topic_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await stream_through_sessions(secured_361, topic_name, "SCRAM-SHA-256", 5, caplog)


async def test_a_minute(secured: SecuredKafka, topic_name: str, caplog: pytest.LogCaptureFixture) -> None:
    await stream_through_sessions(secured, topic_name, "SCRAM-SHA-512", 60, caplog)


async def test_idle_connection(
    secured: SecuredKafka, topic_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection without requests authenticates again too: the next record needs no new one."""
    topic = await asyncio.to_thread(secured.create_topic, topic_name)
    async with Producer(**options(secured, Listener.SASL_SHORT, "PLAIN")) as producer:
        await producer.send(topic, b"first")
        connections = producer.metrics()["producer-metrics"]["connection-creation-total"]
        async with asyncio.timeout(30):
            while renewals_in(caplog) < 2:  # noqa: ASYNC110 - the log has no events
                await asyncio.sleep(0.1)
        assert (await producer.send(topic, b"second")).offset == 1
        assert producer.metrics()["producer-metrics"]["connection-creation-total"] == connections
