"""The connection to one broker: made when it is wanted, given up in time, made again with patience."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Unpack

import pytest

from aioproducer import BrokerConnectionError, ProtocolError, RequestTimeoutError
from aioproducer.config import AllOptions
from aioproducer.core.backoff import Backoff
from aioproducer.metrics.producer_metrics import ProducerMetrics
from aioproducer.net.broker import Broker
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import quick, quick_config, turns, until
from tests.net.relay import Relay
from tests.net.traces import cuts, no_traces

SOON = 5
ASK = MetadataRequest(topics=(), allow_auto_topic_creation=False)


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


def _broker(port: int, **options: Unpack[AllOptions]) -> Broker:
    config = quick_config("localhost:1", **options)
    return Broker(
        1,
        "127.0.0.1",
        port,
        config=config,
        client_id="me",
        events=ProducerMetrics(time.monotonic()),
        reconnect_backoff=Backoff(config.reconnect_backoff, config.reconnect_backoff_max, random.random),
        setup_backoff=Backoff(
            config.connection_setup_timeout, config.connection_setup_timeout_max, random.random
        ),
        clock=time.monotonic,
    )


class _Running:
    """A broker whose coroutine runs."""

    def __init__(self, port: int, **options: Unpack[AllOptions]) -> None:
        self.broker = _broker(port, **options)

    async def __aenter__(self) -> Broker:
        self._task = asyncio.create_task(self.broker.run())
        return self.broker

    async def __aexit__(self, *_error: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def _port(cluster: FakeCluster) -> int:
    return cluster.topology.nodes[1].port


async def test_it_connects_when_it_is_wanted_and_not_before(cluster: FakeCluster) -> None:
    async with no_traces(), _Running(_port(cluster)) as broker:
        await turns()
        assert "not connected" in repr(broker)
        assert cluster.connections(1) == 0
        broker.want()
        await until(lambda: broker.is_ready)
        assert "ready in_flight=0" in repr(broker)
        assert broker.version(ApiKey.METADATA, MetadataRequest.versions) == MetadataRequest.versions.max
        assert (await broker.request(ASK, timeout=SOON)).brokers


async def test_requests_share_the_connection(cluster: FakeCluster) -> None:
    async with Relay(cluster) as relay, _Running(_port(cluster)) as broker:
        answers = await asyncio.gather(*[broker.request(ASK, timeout=SOON) for _ in range(10)])
        assert len(answers) == 10
        assert relay.connections == 1


@pytest.mark.scenario(59)
async def test_a_request_that_is_not_answered_closes_the_connection(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.METADATA).fall_silent()
    async with _Running(_port(cluster)) as broker:
        others: list[object] = []
        waiting = asyncio.create_task(broker.request(ASK, timeout=60))
        waiting.add_done_callback(lambda task: others.append(task.exception()))
        await until(lambda: broker.in_flight)
        with pytest.raises(RequestTimeoutError, match=r"did not answer MetadataRequest within 100 ms"):
            await broker.request(ASK, timeout=0.1)
        broker.drop(BrokerConnectionError("lost"))
        await until(lambda: others)
        assert isinstance(others[0], BrokerConnectionError)
        assert (await broker.request(ASK, timeout=SOON)).brokers


async def test_asking_can_be_cancelled_anywhere(cluster: FakeCluster) -> None:
    for cut in cuts():
        async with no_traces(), _Running(_port(cluster)) as broker:
            await cut.run(broker.request(ASK, timeout=SOON))
            assert (await broker.request(ASK, timeout=SOON)).brokers


async def test_running_can_be_cancelled_anywhere(cluster: FakeCluster) -> None:
    for cut in cuts():
        async with no_traces():
            broker = _broker(_port(cluster))

            async def run(broker: Broker = broker) -> None:
                asking = asyncio.create_task(broker.request(ASK, timeout=SOON))
                asking.add_done_callback(lambda _task: broker.close(BrokerConnectionError("enough")))
                try:
                    await broker.run()
                finally:
                    await asyncio.gather(asking, return_exceptions=True)

            await cut.run(run())
            assert broker.is_closed


async def test_it_can_be_closed_at_any_time(cluster: FakeCluster) -> None:
    for number in range(30):
        async with no_traces():
            broker = _broker(_port(cluster))
            running = asyncio.create_task(broker.run())
            asking = asyncio.create_task(broker.request(ASK, timeout=SOON))
            await turns(number)
            broker.close(BrokerConnectionError("closed by hand"))
            await asyncio.wait_for(running, SOON)
            await asyncio.wait([asking])
            assert asking.exception() is None or isinstance(asking.exception(), BrokerConnectionError)
            with pytest.raises(BrokerConnectionError):
                await broker.request(ASK, timeout=SOON)
            assert "closed" in repr(broker)


async def test_an_unused_connection_is_closed_and_made_again(cluster: FakeCluster) -> None:
    async with quick(cluster, connections_max_idle_ms=60) as producer:
        await producer.send("orders", b"1")
        await until(lambda: cluster.connections(1) == 0)
        await asyncio.sleep(0.05)
        assert cluster.connections(1) == 0
        assert (await asyncio.wait_for(producer.send("orders", b"2"), SOON)).offset == 1


async def test_a_connection_that_waits_for_an_answer_is_not_unused(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = Broker._on_timer  # noqa: SLF001 - how often it looks is what matters here

    def counted(broker: Broker, now: float) -> None:
        nonlocal looks
        looks += 1
        look(broker, now)

    monkeypatch.setattr(Broker, "_on_timer", counted)
    cluster.on(ApiKey.PRODUCE).delay(0.2)
    async with quick(cluster, connections_max_idle_ms=20, request_timeout_ms=5_000) as producer:
        await producer.send("orders", b"1")
        assert looks < 30
        assert producer.metrics()["producer-metrics"]["record-retry-total"] == 0


@pytest.mark.scenario(58)
@pytest.mark.parametrize("greeting", [None, b""])
async def test_reconnecting_is_bounded(greeting: bytes | None) -> None:
    attempts: list[float] = []

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        if greeting is not None:
            await _reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with _Running(port, reconnect_backoff_ms=40, reconnect_backoff_max_ms=160) as broker:
            ends = time.monotonic() + 1
            while time.monotonic() < ends:
                broker.want()
                await asyncio.sleep(0.002)
    # 40, 80, 160, 160, ... ms, each give or take a fifth.
    assert 5 <= len(attempts) <= 11
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert min(pauses) >= 0.03
    assert min(pauses[3:]) >= 0.125


@pytest.mark.scenario(58)
async def test_connecting_takes_no_longer_than_allowed_and_more_each_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        options: AllOptions = {
            "socket_connection_setup_timeout_ms": 50,
            "socket_connection_setup_timeout_max_ms": 100,
            "request_timeout_ms": 5_000,
        }
        async with no_traces(), _Running(port, **options) as broker:
            started = time.monotonic()
            with pytest.raises(RequestTimeoutError, match="did not answer ApiVersionsRequest"):
                await broker.request(ASK, timeout=SOON)
            assert 0.03 < time.monotonic() - started < 1
            started = time.monotonic()
            with pytest.raises(RequestTimeoutError):
                await broker.request(ASK, timeout=SOON)
            assert time.monotonic() - started > 0.075


async def test_a_connection_that_is_made_to_nobody_names_where_and_why() -> None:
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
    async with _Running(port) as broker:
        with pytest.raises(
            BrokerConnectionError, match=f"cannot connect to 127.0.0.1:{port}: connection refused"
        ):
            await broker.request(ASK, timeout=SOON)
        assert broker.last_error is not None


async def test_a_broker_that_comes_back_is_used_again(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        await producer.send("orders", b"0")
        for number in range(1, 4):
            await cluster.stop_node(1)
            delivery = producer.send("orders", b"%d" % number)
            await asyncio.sleep(0.05)
            await cluster.start_node(1)
            assert (await asyncio.wait_for(delivery, SOON)).offset == number
    assert [record.value for record in cluster.records("orders")] == [b"0", b"1", b"2", b"3"]


@pytest.mark.scenario(60)
async def test_a_broker_that_asks_for_silence_is_not_asked(cluster: FakeCluster) -> None:
    async with Relay(cluster) as relay, _Running(_port(cluster), request_timeout_ms=5_000) as broker:
        cluster.on(ApiKey.METADATA).throttle(150)
        await broker.request(ASK, timeout=SOON)
        await broker.request(ASK, timeout=SOON)
        first, second = relay.asked(ApiKey.METADATA)
        assert second.at - first.at > 0.13


async def test_an_answer_that_cannot_be_read_is_an_error_and_ends_the_connection(
    cluster: FakeCluster,
) -> None:
    async with Relay(cluster) as relay, _Running(_port(cluster)) as broker:
        relay.on_answer = lambda asked, frame: (
            [frame[:12] + b"\xff" * (len(frame) - 12)] if asked.api is ApiKey.METADATA else [frame]
        )
        with pytest.raises(ProtocolError):
            await broker.request(ASK, timeout=SOON)
        relay.on_answer = lambda _asked, frame: [frame]
        assert (await broker.request(ASK, timeout=SOON)).brokers
        assert relay.connections == 2


async def test_a_peer_that_says_no_more_is_gone_though_it_still_listens() -> None:
    ended = asyncio.Event()

    async def half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write_eof()
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(half_close, "127.0.0.1") as server, no_traces():
        async with _Running(server.sockets[0].getsockname()[1]) as broker:
            with pytest.raises(BrokerConnectionError, match="was lost: the broker closed it"):
                await broker.request(ASK, timeout=SOON)
        await asyncio.wait_for(ended.wait(), SOON)
