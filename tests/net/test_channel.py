"""A live connection: when it may be used, and how it ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from aioproducer import BrokerConnectionError, RequestTimeoutError
from aioproducer.core.batch import NEVER
from aioproducer.net.channel import Channel
from aioproducer.net.exchange import ResponseExchange
from aioproducer.net.transport import Transport
from aioproducer.protocol.metadata import MetadataRequest, MetadataResponse
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import until
from tests.net.running import Running, make_broker, port_of

SOON = 30
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


async def test_partly_read_response_is_awaited(cluster: FakeCluster, channel: Channel) -> None:
    """The timer fires when a part of the response has been read: the rest may be in the socket."""
    cluster.on(ApiKey.METADATA).fall_silent()
    errors: list[Exception | None] = []
    channel.send(ASK, 9, lambda _pending, _frame, error: errors.append(error), timeout=SOON)
    late = channel.clock() + 2 * SOON
    for part in (b"\x00\x00", b"\x00\x10"):
        channel._on_data(part)  # noqa: SLF001 - as the transport does
        channel._on_timer(late)  # noqa: SLF001 - as the timer does
        assert channel.error is None
        assert not errors
    channel._on_timer(late)  # noqa: SLF001 - nothing has arrived since the last time
    assert isinstance(channel.error, RequestTimeoutError)
    assert errors == [channel.error]


async def test_exchange_awaits_rest_of_response(cluster: FakeCluster, channel: Channel) -> None:
    cluster.on(ApiKey.METADATA).fall_silent()
    exchange = ResponseExchange[MetadataResponse](channel, ASK, 9)
    asking = asyncio.create_task(exchange.run(SOON))
    await until(lambda: channel.requests_in_flight)
    late = channel.clock() + 2 * SOON
    for part in (b"\x00\x00", b"\x00\x10"):
        channel._on_data(part)  # noqa: SLF001 - as the transport does
        exchange._expire(late)  # noqa: SLF001 - as the timer does
        assert not exchange._response.done()  # noqa: SLF001 - the result
        # `_expire` looks again in a later turn: that is not to come before the next part.
        exchange._timer.cancel()  # noqa: SLF001
    exchange._expire(late)  # noqa: SLF001 - nothing has arrived since the last time
    with pytest.raises(RequestTimeoutError, match="did not answer MetadataRequest within 30000 ms"):
        await asking


async def test_throttle_extends_exchange(cluster: FakeCluster, channel: Channel) -> None:
    """A throttle does not count as waiting for the response."""
    cluster.on(ApiKey.METADATA).fall_silent()
    exchange = ResponseExchange[MetadataResponse](channel, ASK, 9)
    asking = asyncio.create_task(exchange.run(SOON))
    await until(lambda: channel.requests_in_flight)
    now = channel.clock()
    channel.throttle(4)
    exchange._expire(now + SOON + 1)  # noqa: SLF001 - as the timer does, after the first deadline
    assert not exchange._response.done()  # noqa: SLF001 - the result
    exchange._expire(now + SOON + 6)  # noqa: SLF001 - after the extended deadline
    with pytest.raises(RequestTimeoutError):
        await asking


async def test_overlapping_throttles_count_once(cluster: FakeCluster, channel: Channel) -> None:
    """At 10 a throttle of 2 s, at 11 one of 3 s: it ends at 14, and a deadline moves by 4 s."""
    cluster.on(ApiKey.METADATA).fall_silent()
    pending = channel.send(ASK, 9, lambda *_: None)
    now = channel.clock()
    deadline = pending.deadline
    channel.clock = lambda: now
    channel.throttle(2)
    channel.clock = lambda: now + 1
    channel.throttle(3)
    channel.throttle(1)
    assert channel.throttled_until == pytest.approx(now + 4)
    assert pending.deadline - deadline == pytest.approx(4)
    # After a pause, a throttle counts in full.
    channel.clock = lambda: now + 6
    channel.throttle(0.5)
    assert channel.throttled_until == pytest.approx(now + 6.5)
    assert pending.deadline - deadline == pytest.approx(4.5)
