"""The connection to one broker: made when wanted, closed in time, made again after a backoff."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from aioproducer import BrokerConnectionError, ProtocolError, RequestTimeoutError
from aioproducer.net.broker import Broker, BrokerState, NoListener
from aioproducer.net.channel import Channel
from aioproducer.net.setup import Setup
from aioproducer.protocol.api_versions import FinalizedFeatureKey
from aioproducer.protocol.metadata import MetadataRequest
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import quick, turns, until
from tests.net.relay import Relay
from tests.net.running import Running, make_broker, port_of
from tests.net.traces import at_each_await, no_traces

if TYPE_CHECKING:
    from aioproducer.config import AllOptions

SOON = 30
ASK = MetadataRequest(topics=(), allow_auto_topic_creation=False)


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


async def _ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read all requests of a connection and respond to none."""
    await reader.read()
    writer.close()


async def test_connects_when_wanted(cluster: FakeCluster) -> None:
    async with no_traces(), Running(make_broker(port_of(cluster))) as broker:
        await turns()
        assert "not connected" in repr(broker)
        assert cluster.connections(1) == 0
        broker.want()
        await until(lambda: broker.is_ready)
        assert "ready in_flight=0" in repr(broker)
        assert broker.version(ApiKey.METADATA, MetadataRequest.versions) == MetadataRequest.versions.max
        assert (await broker.request(ASK, timeout=SOON)).brokers


async def test_states_of_connection(cluster: FakeCluster) -> None:
    states: list[BrokerState] = []

    class Listener(NoListener):
        def broker_changed(self, broker: Broker) -> None:
            states.append(broker.state)

    async with Running(make_broker(port_of(cluster), listener=Listener())) as broker:
        assert broker.state is BrokerState.IDLE
        broker.want()
        await until(lambda: broker.channel)
        broker.drop(BrokerConnectionError("closed by the test"))
        await until(lambda: broker.state is BrokerState.IDLE)
    assert states == [BrokerState.READY, BrokerState.BACKING_OFF, BrokerState.CLOSED]


def test_unlisted_transition_raises() -> None:
    with pytest.raises(RuntimeError, match="from IDLE to READY"):
        make_broker(1)._enter(BrokerState.READY)  # noqa: SLF001 - a bug would do this


@pytest.mark.simulated
async def test_steps_of_setup_share_limit(cluster: FakeCluster) -> None:
    class Listener(NoListener):
        async def verify(self, setup: Setup) -> None:
            await setup.exchange(ASK, setup.versions.choose(ApiKey.METADATA, ASK.versions))

    cluster.on(ApiKey.API_VERSIONS).delay(0.2)
    cluster.on(ApiKey.METADATA).fall_silent()
    options: AllOptions = {"request_timeout_ms": 1_000}
    async with Running(make_broker(port_of(cluster), listener=Listener(), **options)) as broker:
        with pytest.raises(
            RequestTimeoutError, match=r"did not answer MetadataRequest within \d+ ms"
        ) as raised:
            await broker.request(ASK, timeout=SOON)
        limit = int(str(raised.value).split()[-2])
        assert 0 <= limit <= 800, "ApiVersions has taken 200 ms of the second"
        assert (await broker.request(ASK, timeout=SOON)).brokers


async def test_features_are_kept(cluster: FakeCluster) -> None:
    features = (FinalizedFeatureKey("transaction.version", 2, 1),)
    cluster.on(ApiKey.API_VERSIONS).rewrite(
        lambda response: replace(response, finalized_features_epoch=7, finalized_features=features)
    )
    async with Running(make_broker(port_of(cluster))) as broker:
        broker.want()
        await until(lambda: broker.channel)
        assert broker.channel is not None
        assert broker.channel.versions.features == {"transaction.version": 2}


async def test_requests_share_the_connection(cluster: FakeCluster) -> None:
    async with Relay(cluster) as relay, Running(make_broker(port_of(cluster))) as broker:
        answers = await asyncio.gather(*[broker.request(ASK, timeout=SOON) for _ in range(10)])
        assert len(answers) == 10
        assert relay.connections == 1


@pytest.mark.simulated
@pytest.mark.scenario("silent-broker")
async def test_request_times_out(cluster: FakeCluster) -> None:
    cluster.on(ApiKey.METADATA).fall_silent()
    async with Running(make_broker(port_of(cluster))) as broker:
        others: list[object] = []
        waiting = asyncio.create_task(broker.request(ASK, timeout=60))
        waiting.add_done_callback(lambda task: others.append(task.exception()))
        await until(lambda: broker.requests_in_flight)
        with pytest.raises(RequestTimeoutError, match=r"did not answer MetadataRequest within 100 ms"):
            await broker.request(ASK, timeout=0.1)
        broker.drop(BrokerConnectionError("lost"))
        await until(lambda: others)
        assert isinstance(others[0], BrokerConnectionError)
        assert (await broker.request(ASK, timeout=SOON)).brokers


async def test_request_is_cancelled_anywhere(cluster: FakeCluster) -> None:
    for cut in at_each_await():
        async with no_traces(), Running(make_broker(port_of(cluster))) as broker:
            await cut.run(broker.request(ASK, timeout=SOON))
            assert (await broker.request(ASK, timeout=SOON)).brokers


async def test_run_is_cancelled_anywhere(cluster: FakeCluster) -> None:
    for cut in at_each_await():
        async with no_traces():
            broker = make_broker(port_of(cluster))

            async def run(broker: Broker = broker) -> None:
                asking = asyncio.create_task(broker.request(ASK, timeout=SOON))
                asking.add_done_callback(lambda _task: broker.close(BrokerConnectionError("enough")))
                try:
                    await broker.run()
                finally:
                    await asyncio.gather(asking, return_exceptions=True)

            await cut.run(run())
            assert broker.is_closed


async def test_closes_at_any_time(cluster: FakeCluster) -> None:
    for number in range(30):
        async with no_traces():
            broker = make_broker(port_of(cluster))
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


@pytest.mark.simulated
async def test_idle_connection_is_replaced(cluster: FakeCluster) -> None:
    async with quick(cluster, connections_max_idle_ms=60) as producer:
        await producer.send("orders", b"1")
        await until(lambda: cluster.connections(1) == 0)
        await asyncio.sleep(0.05)
        assert cluster.connections(1) == 0
        assert (await asyncio.wait_for(producer.send("orders", b"2"), SOON)).offset == 1


@pytest.mark.simulated
async def test_waiting_connection_is_not_idle(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    look = Channel._on_timer  # noqa: SLF001 - how often it looks is what matters here

    def counted(channel: Channel, now: float) -> None:
        nonlocal looks
        looks += 1
        look(channel, now)

    monkeypatch.setattr(Channel, "_on_timer", counted)
    cluster.on(ApiKey.PRODUCE).delay(0.2)
    async with quick(cluster, connections_max_idle_ms=20, request_timeout_ms=5_000) as producer:
        await producer.send("orders", b"1")
        assert looks < 30
        assert producer.metrics()["producer-metrics"]["record-retry-total"] == 0


@pytest.mark.simulated
@pytest.mark.scenario("connection-setup")
@pytest.mark.parametrize("greeting", [None, b""])
async def test_reconnecting_is_bounded(greeting: bytes | None) -> None:
    loop = asyncio.get_running_loop()
    attempts: list[float] = []

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(loop.time())
        if greeting is not None:
            await _reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with Running(
            make_broker(port, reconnect_backoff_ms=40, reconnect_backoff_max_ms=160)
        ) as broker:
            ends = loop.time() + 1
            while loop.time() < ends:
                broker.want()
                await asyncio.sleep(0.002)
    # 40, 80, 160, 160, ... ms, each give or take a fifth.
    assert 5 <= len(attempts) <= 11
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert min(pauses) >= 0.03
    assert min(pauses[3:]) >= 0.125


@pytest.mark.simulated
@pytest.mark.scenario("connection-setup")
async def test_setup_time_limit_grows() -> None:
    """The limit is 2 s, then 4 s, then at most 5 s, each give or take a fifth."""
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(_ignore, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        options: AllOptions = {
            "socket_connection_setup_timeout_ms": 2_000,
            "socket_connection_setup_timeout_max_ms": 5_000,
            "request_timeout_ms": 30_000,
            "delivery_timeout_ms": 60_000,
        }
        async with no_traces(), Running(make_broker(port, **options)) as broker:
            for shortest, longest in ((1.6, 2.4), (3.2, 4.8), (4, 6)):
                # The broker connects in a later turn than the call begins.
                await until(lambda: broker.state is BrokerState.IDLE)
                started = loop.time()
                with pytest.raises(RequestTimeoutError, match="did not answer ApiVersionsRequest"):
                    await broker.request(ASK, timeout=SOON)
                assert shortest <= loop.time() - started <= longest + 0.01


@pytest.mark.simulated
async def test_outage_tells_duration_of_attempt() -> None:
    """An attempt to connect that takes long is the present cause of an outage."""
    async with await asyncio.start_server(_ignore, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with Running(make_broker(port, request_timeout_ms=7_000)) as broker:
            assert broker.outage() is None
            await asyncio.sleep(5)
            broker.want()
            await until(lambda: broker.state is BrokerState.CONNECTING)
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(3)
            outage = broker.outage()
            assert str(outage) == f"broker 1 at 127.0.0.1:{port}: no connection for 3.0 s"
            with pytest.raises(RequestTimeoutError):
                await broker.request(ASK, timeout=SOON)
            assert 6.9 < asyncio.get_running_loop().time() - began < 7.1
            assert "did not answer ApiVersionsRequest" in str(broker.outage())


async def test_refused_connection_names_address() -> None:
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
    async with Running(make_broker(port)) as broker:
        with pytest.raises(
            BrokerConnectionError, match=f"cannot connect to 127.0.0.1:{port}: connection refused"
        ):
            await broker.request(ASK, timeout=SOON)
        assert broker.last_error is not None


async def test_returning_broker_is_used_again(cluster: FakeCluster) -> None:
    async with quick(cluster) as producer:
        await producer.send("orders", b"0")
        for number in range(1, 4):
            await cluster.stop_node(1)
            delivery = producer.send("orders", b"%d" % number)
            await asyncio.sleep(0.05)
            await cluster.start_node(1)
            assert (await asyncio.wait_for(delivery, SOON)).offset == number
    assert [record.value for record in cluster.records("orders")] == [b"0", b"1", b"2", b"3"]


@pytest.mark.simulated
@pytest.mark.scenario("throttling")
async def test_throttle_delays_request(cluster: FakeCluster) -> None:
    async with (
        Relay(cluster) as relay,
        Running(make_broker(port_of(cluster), request_timeout_ms=5_000)) as broker,
    ):
        cluster.on(ApiKey.METADATA).throttle(150)
        await broker.request(ASK, timeout=SOON)
        await broker.request(ASK, timeout=SOON)
        first, second = relay.asked(ApiKey.METADATA)
        assert second.at - first.at > 0.13


async def test_malformed_response_closes_connection(
    cluster: FakeCluster,
) -> None:
    async with Relay(cluster) as relay, Running(make_broker(port_of(cluster))) as broker:
        relay.on_answer = lambda asked, frame: (
            [frame[:12] + b"\xff" * (len(frame) - 12)] if asked.api is ApiKey.METADATA else [frame]
        )
        with pytest.raises(ProtocolError):
            await broker.request(ASK, timeout=SOON)
        relay.on_answer = lambda _asked, frame: [frame]
        assert (await broker.request(ASK, timeout=SOON)).brokers
        assert relay.connections == 2


async def test_half_closed_connection_is_lost() -> None:
    ended = asyncio.Event()

    async def half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write_eof()
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(half_close, "127.0.0.1") as server, no_traces():
        async with Running(make_broker(server.sockets[0].getsockname()[1])) as broker:
            with pytest.raises(BrokerConnectionError, match="was lost: the broker closed it"):
                await broker.request(ASK, timeout=SOON)
        await asyncio.wait_for(ended.wait(), SOON)
