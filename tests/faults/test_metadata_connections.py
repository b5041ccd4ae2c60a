"""Leaders, addresses, versions and connections change or fail under a whole producer."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aioproducer import DeliveryTimeoutError
from aioproducer.net.transport import connect
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.metadata import MetadataResponse
from aioproducer.testing import (
    ApiKey,
    ErrorCode,
    FakeCluster,
)
from tests.faults.stored import AMPLE, ResponseCodes, figure, in_flight, offsets_of, send, values
from tests.net.quick import PATIENCE, quick, until
from tests.net.relay import Relay

HOST = "kafka.test"


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


# Metadata.


@pytest.mark.scenario("stale-metadata")
async def test_stale_leader_epoch_is_ignored() -> None:
    def of_the_past(answer: MetadataResponse) -> MetadataResponse:
        (topic,) = answer.topics
        partitions = tuple(replace(each, leader_id=1, leader_epoch=0) for each in topic.partitions)
        return replace(answer, topics=(replace(topic, partitions=partitions),))

    async with FakeCluster(2, {"orders": 1}) as cluster, quick(cluster, metadata_max_age_ms=20) as producer:
        await offsets_of(send(producer, 1))
        cluster.move_leader("orders", 0, to=2)
        await offsets_of(send(producer, 1))
        stale = cluster.on(ApiKey.METADATA, times=None).rewrite(of_the_past)
        responses = ResponseCodes(cluster)

        # The third request is sent after the second response was merged.
        await until(lambda: stale.hits > 2)

        assert await offsets_of(send(producer, 1)) == [2]
        assert responses.codes == [ErrorCode.NONE]


@pytest.mark.scenario("stale-metadata")
async def test_recreated_topic_has_older_epoch() -> None:
    """A recreated topic starts with a lower leader epoch, and its metadata is taken."""
    async with FakeCluster(2, {"orders": 1}) as cluster, quick(cluster) as producer:
        for node in (2, 1, 2):
            cluster.move_leader("orders", 0, to=node)
        await offsets_of(send(producer, 1))
        cluster.delete_topic("orders")
        cluster.create_topic("orders")
        assert cluster.leader_of("orders", 0) == 1

        assert await offsets_of(send(producer, 3)) == [0, 1, 2]


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str]) -> None:
    """Resolve the brokers' name to the present content of `addresses`."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:  # noqa: ANN401 - the types of socket.getaddrinfo
        if host != HOST:
            return list(real(host, port, *arguments, **options))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def move(cluster: FakeCluster, node_id: int, host: str) -> None:
    """Start a stopped node at another address, on its old port."""
    cluster.topology.nodes[node_id].host = host
    await cluster.start_node(node_id)


@pytest.mark.scenario("brokers-replaced")
@pytest.mark.parametrize("after_storing", [False, True])
async def test_replaced_brokers_store_records_once(
    monkeypatch: pytest.MonkeyPatch, *, after_storing: bool
) -> None:
    """All brokers move to new addresses: records in flight are stored once."""
    addresses = ["127.0.0.1"]
    resolve_to(monkeypatch, addresses)
    async with FakeCluster(3, {"orders": 3}) as cluster:
        servers = [f"{HOST}:{node.port}" for node in cluster.topology.nodes.values()]
        async with quick(servers, request_timeout_ms=AMPLE, delivery_timeout_ms=AMPLE) as producer:
            await offsets_of([producer.send("orders", b"0", partition=number) for number in range(3)])
            cluster.on(ApiKey.PRODUCE, times=3).hold(after_storing=after_storing)
            deliveries = [producer.send("orders", b"1", partition=number) for number in range(3)]
            await until(lambda: in_flight(producer) == 3)
            stored = 2 if after_storing else 1
            await until(lambda: all(len(values(cluster, number)) == stored for number in range(3)))
            for node_id in (1, 2, 3):
                await cluster.stop_node(node_id)
            cluster.heal()

            addresses[:] = ["127.0.0.2"]
            for node_id in (1, 2, 3):
                await move(cluster, node_id, "127.0.0.2")

            assert await offsets_of(deliveries) == [1, 1, 1]
            after = [producer.send("orders", b"2", partition=number) for number in range(3)]
            assert await offsets_of(after) == [2, 2, 2]
        assert [values(cluster, number) for number in range(3)] == [[b"0", b"1", b"2"]] * 3


# Connections.


@pytest.mark.scenario("several-addresses")
async def test_every_address_is_tried(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java's producer tries one address per attempt, with a backoff between them.

    Here one attempt tries all addresses of the name, and each attempt looks the name up.
    """

    def by_name(answer: MetadataResponse) -> MetadataResponse:
        return replace(answer, brokers=tuple(replace(node, host=HOST) for node in answer.brokers))

    cluster.on(ApiKey.METADATA, times=None).rewrite(by_name)
    addresses = ["127.0.0.2", "127.0.0.1"]
    resolve_to(monkeypatch, addresses)
    async with quick(f"{HOST}:{cluster.topology.nodes[1].port}") as producer:
        assert await offsets_of(send(producer, 1)) == [0]

        await cluster.stop_node(1)
        addresses[:] = ["127.0.0.2", "127.0.0.1", "127.0.0.3"]
        await move(cluster, 1, "127.0.0.3")

        assert await offsets_of(send(producer, 1)) == [1]


@pytest.mark.simulated
@pytest.mark.scenario("connection-setup")
async def test_reconnect_backoff_grows(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempts to reach a stopped broker get rarer, and it is used when it is back."""
    loop = asyncio.get_running_loop()
    attempts: list[float] = []

    async def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the arguments of connect
        attempts.append(loop.time())
        return await connect(*arguments, **options)

    async with quick(
        cluster,
        delivery_timeout_ms=AMPLE,
        reconnect_backoff_ms=50,
        reconnect_backoff_max_ms=400,
        retry_backoff_ms=50,
        retry_backoff_max_ms=400,
    ) as producer:
        await offsets_of(send(producer, 1))
        monkeypatch.setattr("aioproducer.net.broker.connect", counted)
        await cluster.stop_node(1)
        delivery = producer.send("orders", b"1")

        # The node is tried, and the bootstrap server, which is the same broker. Six attempts each
        # take 50 + 100 + 200 + 400 + 400 ms, or a fifth less.
        await until(lambda: len(attempts) >= 12)
        assert attempts[11] - attempts[0] > 0.9

        await cluster.start_node(1)
        assert await offsets_of([delivery]) == [1]


@pytest.mark.simulated
@pytest.mark.scenario("silent-broker")
@pytest.mark.parametrize("after_storing", [False, True])
async def test_silent_broker_times_out(*, after_storing: bool) -> None:
    """The requests to a silent broker time out, and its batches go to the new leader."""
    async with (
        FakeCluster(2, {"orders": 1}) as cluster,
        quick(cluster, batch_size=1, request_timeout_ms=1_000, delivery_timeout_ms=AMPLE) as producer,
    ):
        await offsets_of(send(producer, 1))
        closed = figure(producer, "connection-close-total")
        hung = cluster.on(ApiKey.PRODUCE, node=1).fall_silent(after_storing=after_storing)
        deliveries = send(producer, 3, first=1)
        await hung.hit()
        await until(lambda: len(values(cluster)) == (2 if after_storing else 1))
        await until(lambda: in_flight(producer) == 3)
        cluster.move_leader("orders", 0, to=2)

        assert await offsets_of(deliveries) == [1, 2, 3]

        assert values(cluster) == [b"0", b"1", b"2", b"3"]
        assert figure(producer, "connection-close-total") > closed
        assert cluster.leader_of("orders", 0) == 2


@pytest.mark.simulated
@pytest.mark.scenario("throttling")
async def test_throttled_broker_gets_no_requests(
    cluster: FakeCluster,
) -> None:
    """No request is sent during the throttle, and its time does not count for the request timeout."""
    async with (
        Relay(cluster) as relay,
        quick(cluster, batch_size=1, request_timeout_ms=400, delivery_timeout_ms=AMPLE) as producer,
    ):
        await offsets_of(send(producer, 1))
        count = len(relay.requests)
        throttled = cluster.on(ApiKey.PRODUCE).throttle(1_500)
        # The second response takes longer than request_timeout_ms, but the throttle does not count.
        cluster.on(ApiKey.PRODUCE, skip=1).delay(0.6)
        deliveries = send(producer, 2, first=1)
        assert await offsets_of(deliveries[:1]) == [1]
        silent_from = asyncio.get_running_loop().time()
        late = producer.send("orders", b"3")

        assert await offsets_of([*deliveries, late]) == [1, 2, 3]

        assert throttled.hits == 1
        first, second, third = relay.requests[count:]
        # uvloop's clock has milliseconds, so the two may be the same.
        assert first.at <= second.at <= silent_from
        assert third.at - silent_from > 1.3
        assert figure(producer, "record-retry-total") == 0
        assert relay.connections == 2


@pytest.mark.simulated
@pytest.mark.scenario("throttling")
async def test_long_throttle_keeps_connection(cluster: FakeCluster) -> None:
    """The broker reads nothing for several times request_timeout_ms, with requests in flight."""
    async with (
        Relay(cluster) as relay,
        quick(cluster, batch_size=1, request_timeout_ms=300, delivery_timeout_ms=AMPLE) as producer,
    ):
        await offsets_of(send(producer, 1))
        connections = relay.connections
        cluster.on(ApiKey.PRODUCE, times=2).throttle(1_500, mutes=True)
        deliveries = send(producer, 4, first=1)
        assert await offsets_of(deliveries[:1]) == [1]
        # Metadata is requested after the throttle, which does not count for its timeout either.
        known = asyncio.create_task(producer.partitions_for("new"))

        assert await offsets_of(deliveries) == [1, 2, 3, 4]

        assert len(await known) == 1
        assert figure(producer, "record-retry-total") == 0
        assert relay.connections == connections


@pytest.mark.simulated
@pytest.mark.scenario("throttling")
async def test_throttle_does_not_extend_delivery_timeout(cluster: FakeCluster) -> None:
    async with quick(
        cluster, batch_size=1, request_timeout_ms=300, delivery_timeout_ms=AMPLE // 10
    ) as producer:
        await offsets_of(send(producer, 1))
        cluster.on(ApiKey.PRODUCE).throttle(10 * AMPLE, mutes=True)
        deliveries = send(producer, 3, first=1)
        assert await offsets_of(deliveries[:1]) == [1]
        for delivery in deliveries[1:]:
            with pytest.raises(DeliveryTimeoutError):
                await asyncio.wait_for(delivery, PATIENCE)


# Versions.


@pytest.mark.scenario("topic-ids")
async def test_topic_without_id_forces_names() -> None:
    """One topic of a request has no id: the request names all its topics."""

    def without_an_id(answer: MetadataResponse) -> MetadataResponse:
        topics = [replace(each, topic_id=ZERO_UUID) if each.name == "b" else each for each in answer.topics]
        return replace(answer, topics=tuple(topics))

    async with FakeCluster(topics={"a": 1, "b": 1}) as cluster, Relay(cluster) as relay:
        cluster.on(ApiKey.METADATA, times=None).rewrite(without_an_id)
        async with quick(cluster) as producer:
            await offsets_of([producer.send(topic, b"0") for topic in "ab"])
            count = len(relay.asked(ApiKey.PRODUCE))

            await offsets_of([producer.send(topic, b"1") for topic in "ab"])
            await offsets_of([producer.send("a", b"2")])

            assert [asked.version for asked in relay.asked(ApiKey.PRODUCE)[count:]] == [12, 13]
        assert [len(cluster.records(topic)) for topic in "ab"] == [3, 2]


@pytest.mark.scenario("topic-ids")
async def test_recreated_topic_uses_new_id(cluster: FakeCluster) -> None:
    async with quick(cluster, batch_size=1, request_timeout_ms=AMPLE, delivery_timeout_ms=AMPLE) as producer:
        await offsets_of(send(producer, 3))
        responses = ResponseCodes(cluster)
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = send(producer, 5)
        await until(lambda: in_flight(producer) == 5)
        cluster.delete_topic("orders")
        cluster.create_topic("orders")

        held.release()

        assert await offsets_of(deliveries) == [0, 1, 2, 3, 4]
        assert responses.codes[:5] == [ErrorCode.UNKNOWN_TOPIC_ID] * 5
        assert values(cluster) == [b"0", b"1", b"2", b"3", b"4"]
