"""A live connection: when it may be used, and how it ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from aioproducer import BrokerConnectionError
from aioproducer.core.batch import NEVER
from aioproducer.net.channel import Channel
from aioproducer.net.transport import Transport
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import until
from tests.net.running import Running, make_broker, port_of

SOON = 5
ASK = MetadataRequest(topics=(), allow_auto_topic_creation=False)


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


@pytest.fixture
async def channel(cluster: FakeCluster) -> AsyncIterator[Channel]:
    async with Running(make_broker(port_of(cluster), request_timeout_ms=5_000)) as broker:
        broker.want()
        await until(lambda: broker.channel)
        assert broker.channel is not None
        yield broker.channel


def test_is_sendable_at_once(channel: Channel) -> None:
    now = channel.clock()
    assert channel.sendable_at(now) == now


def _socket(channel: Channel) -> Transport:
    transport = channel._transport  # noqa: SLF001 - to call it as asyncio does
    assert isinstance(transport, Transport)
    return transport


def test_is_sendable_after_throttle(channel: Channel) -> None:
    channel.throttle(60)
    now = channel.clock()
    assert now + 59 < channel.sendable_at(now) <= now + 60
    channel.throttle(0)
    channel.throttle(10)
    assert channel.sendable_at(now) > now + 59
    assert channel.sendable_at(now + 61) == now + 61


def test_back_pressure_stops_sending(channel: Channel) -> None:
    _socket(channel).pause_writing()
    assert channel.sendable_at(channel.clock()) == NEVER
    _socket(channel).resume_writing()
    assert channel.sendable_at(channel.clock()) < NEVER


async def test_written_waits_for_back_pressure(channel: Channel) -> None:
    await channel.written()
    _socket(channel).pause_writing()
    waiting = asyncio.create_task(channel.written())
    await asyncio.sleep(0)
    assert not waiting.done()
    channel.close(BrokerConnectionError("closed by the test"))
    await asyncio.wait_for(waiting, SOON)


async def test_closed_channel_is_dead(cluster: FakeCluster, channel: Channel) -> None:
    """Requests in flight fail with the error that closed the channel, and so do later ones."""
    cluster.on(ApiKey.METADATA).fall_silent()
    asking = asyncio.create_task(channel.exchange(ASK, 9, timeout=SOON))
    await until(lambda: channel.requests_in_flight)
    error = BrokerConnectionError("closed by the test")
    channel.close(error)
    channel.close(BrokerConnectionError("closed again"))
    assert channel.error is error
    assert channel.sendable_at(channel.clock()) == NEVER
    assert "closed" in repr(channel)
    for exchange in (asking, channel.exchange(ASK, 9, timeout=SOON)):
        with pytest.raises(BrokerConnectionError, match="closed by the test"):
            await exchange


async def test_throttle_outlives_connection(cluster: FakeCluster) -> None:
    async with Running(make_broker(port_of(cluster))) as broker:
        broker.want()
        await until(lambda: broker.channel)
        assert broker.channel is not None
        broker.channel.throttle(60)
        broker.drop(BrokerConnectionError("closed by the test"))
        broker.want()
        await until(lambda: broker.channel)
        now = broker.channel.clock()
        assert broker.channel.sendable_at(now) > now + 50
