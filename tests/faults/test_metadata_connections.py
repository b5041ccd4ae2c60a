"""Leaders, addresses, versions and connections change or fail: whole producers find their way."""

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
from tests.faults.stored import AMPLE, Answers, figure, in_flight, landed, send, values
from tests.net.quick import PATIENCE, quick, until
from tests.net.relay import Relay

HOST = "kafka.test"


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


# Metadata.


@pytest.mark.scenario("stale-metadata")
async def test_stale_metadata_does_not_bring_back_a_leader_of_the_past() -> None:
    def of_the_past(answer: MetadataResponse) -> MetadataResponse:
        (topic,) = answer.topics
        partitions = tuple(replace(each, leader_id=1, leader_epoch=0) for each in topic.partitions)
        return replace(answer, topics=(replace(topic, partitions=partitions),))

    async with FakeCluster(2, {"orders": 1}) as cluster, quick(cluster, metadata_max_age_ms=20) as producer:
        await landed(send(producer, 1))
        cluster.move_leader("orders", 0, to=2)
        await landed(send(producer, 1))
        stale = cluster.on(ApiKey.METADATA, times=None).rewrite(of_the_past)
        answers = Answers(cluster)

        # The third is asked for when the second was dealt with.
        await until(lambda: stale.hits > 2)

        assert await landed(send(producer, 1)) == [2]
        assert answers.codes == [ErrorCode.NONE]


@pytest.mark.scenario("stale-metadata")
async def test_a_topic_created_anew_may_begin_with_an_older_leader_epoch() -> None:
    async with FakeCluster(2, {"orders": 1}) as cluster, quick(cluster) as producer:
        for node in (2, 1, 2):
            cluster.move_leader("orders", 0, to=node)
        await landed(send(producer, 1))
        cluster.delete_topic("orders")
        cluster.create_topic("orders")
        assert cluster.leader_of("orders", 0) == 1

        assert await landed(send(producer, 3)) == [0, 1, 2]


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str]) -> None:
    """Have the name of the brokers resolve to what `addresses` holds at the time."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:  # noqa: ANN401 - as socket has it
        if host != HOST:
            return list(real(host, port, *arguments, **options))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def move(cluster: FakeCluster, node_id: int, host: str) -> None:
    """Let a node that was stopped come back at another address, under the port that it had."""
    cluster.topology.nodes[node_id].host = host
    await cluster.start_node(node_id)


@pytest.mark.scenario("brokers-replaced")
@pytest.mark.parametrize("after_storing", [False, True])
async def test_when_all_brokers_are_replaced_at_new_addresses_what_was_in_flight_lands_once(
    monkeypatch: pytest.MonkeyPatch, *, after_storing: bool
) -> None:
    addresses = ["127.0.0.1"]
    resolve_to(monkeypatch, addresses)
    async with FakeCluster(3, {"orders": 3}) as cluster:
        servers = [f"{HOST}:{node.port}" for node in cluster.topology.nodes.values()]
        async with quick(servers, request_timeout_ms=AMPLE, delivery_timeout_ms=AMPLE) as producer:
            await landed([producer.send("orders", b"0", partition=number) for number in range(3)])
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

            assert await landed(deliveries) == [1, 1, 1]
            after = [producer.send("orders", b"2", partition=number) for number in range(3)]
            assert await landed(after) == [2, 2, 2]
        assert [values(cluster, number) for number in range(3)] == [[b"0", b"1", b"2"]] * 3


# Connections.


@pytest.mark.scenario("several-addresses")
async def test_of_a_name_with_several_addresses_each_is_tried_and_they_are_looked_up_anew(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java's producer tries one address an attempt, with a pause between them; here an attempt is all."""

    def by_name(answer: MetadataResponse) -> MetadataResponse:
        return replace(answer, brokers=tuple(replace(node, host=HOST) for node in answer.brokers))

    cluster.on(ApiKey.METADATA, times=None).rewrite(by_name)
    addresses = ["127.0.0.2", "127.0.0.1"]
    resolve_to(monkeypatch, addresses)
    async with quick(f"{HOST}:{cluster.topology.nodes[1].port}") as producer:
        assert await landed(send(producer, 1)) == [0]

        await cluster.stop_node(1)
        addresses[:] = ["127.0.0.2", "127.0.0.1", "127.0.0.3"]
        await move(cluster, 1, "127.0.0.3")

        assert await landed(send(producer, 1)) == [1]


@pytest.mark.scenario("connection-setup")
async def test_a_broker_that_is_away_is_tried_ever_less_often_and_used_when_it_is_back(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    attempts: list[float] = []

    async def counted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever connect has
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
        await landed(send(producer, 1))
        monkeypatch.setattr("aioproducer.net.broker.connect", counted)
        await cluster.stop_node(1)
        delivery = producer.send("orders", b"1")

        # The node is tried, and so is the bootstrap server, which is the same: six times each take
        # 50 + 100 + 200 + 400 + 400 ms, or a fifth less.
        await until(lambda: len(attempts) >= 12)
        assert attempts[11] - attempts[0] > 0.9

        await cluster.start_node(1)
        assert await landed([delivery]) == [1]


@pytest.mark.scenario("silent-broker")
@pytest.mark.parametrize("after_storing", [False, True])
async def test_what_a_hung_broker_has_got_goes_to_the_next_leader_when_its_time_is_up(
    *, after_storing: bool
) -> None:
    async with (
        FakeCluster(2, {"orders": 1}) as cluster,
        quick(cluster, batch_size=1, request_timeout_ms=1_000, delivery_timeout_ms=AMPLE) as producer,
    ):
        await landed(send(producer, 1))
        closed = figure(producer, "connection-close-total")
        hung = cluster.on(ApiKey.PRODUCE, node=1).fall_silent(after_storing=after_storing)
        deliveries = send(producer, 3, first=1)
        await hung.hit()
        await until(lambda: len(values(cluster)) == (2 if after_storing else 1))
        await until(lambda: in_flight(producer) == 3)
        cluster.move_leader("orders", 0, to=2)

        assert await landed(deliveries) == [1, 2, 3]

        assert values(cluster) == [b"0", b"1", b"2", b"3"]
        assert figure(producer, "connection-close-total") > closed
        assert cluster.leader_of("orders", 0) == 2


@pytest.mark.scenario("throttling")
async def test_while_a_broker_throttles_nothing_is_sent_to_it_and_nothing_times_out(
    cluster: FakeCluster,
) -> None:
    async with (
        Relay(cluster) as relay,
        quick(cluster, batch_size=1, request_timeout_ms=400, delivery_timeout_ms=AMPLE) as producer,
    ):
        await landed(send(producer, 1))
        count = len(relay.requests)
        throttled = cluster.on(ApiKey.PRODUCE).throttle(1_500)
        # The answer to the second takes longer than a request may, but for the throttling.
        cluster.on(ApiKey.PRODUCE, skip=1).delay(0.6)
        deliveries = send(producer, 2, first=1)
        assert await landed(deliveries[:1]) == [1]
        silent_from = asyncio.get_running_loop().time()
        late = producer.send("orders", b"3")

        assert await landed([*deliveries, late]) == [1, 2, 3]

        assert throttled.hits == 1
        first, second, third = relay.requests[count:]
        # uvloop's clock has milliseconds, so the two may be the same.
        assert first.at <= second.at <= silent_from
        assert third.at - silent_from > 1.3
        assert figure(producer, "record-retry-total") == 0
        assert relay.connections == 2


@pytest.mark.scenario("throttling")
async def test_a_long_throttle_keeps_the_connection(cluster: FakeCluster) -> None:
    """The broker reads nothing for several times request_timeout_ms, with requests in flight."""
    async with (
        Relay(cluster) as relay,
        quick(cluster, batch_size=1, request_timeout_ms=300, delivery_timeout_ms=AMPLE) as producer,
    ):
        await landed(send(producer, 1))
        connections = relay.connections
        cluster.on(ApiKey.PRODUCE, times=2).throttle(1_500, mutes=True)
        deliveries = send(producer, 4, first=1)
        assert await landed(deliveries[:1]) == [1]
        # Metadata is asked for after the throttle, which is no part of its timeout either.
        known = asyncio.create_task(producer.partitions_for("new"))

        assert await landed(deliveries) == [1, 2, 3, 4]

        assert len(await known) == 1
        assert figure(producer, "record-retry-total") == 0
        assert relay.connections == connections


@pytest.mark.scenario("throttling")
async def test_a_throttle_gives_records_no_more_time(cluster: FakeCluster) -> None:
    async with quick(
        cluster, batch_size=1, request_timeout_ms=300, delivery_timeout_ms=AMPLE // 10
    ) as producer:
        await landed(send(producer, 1))
        cluster.on(ApiKey.PRODUCE).throttle(10 * AMPLE, mutes=True)
        deliveries = send(producer, 3, first=1)
        assert await landed(deliveries[:1]) == [1]
        for delivery in deliveries[1:]:
            with pytest.raises(DeliveryTimeoutError):
                await asyncio.wait_for(delivery, PATIENCE)


# Versions.


@pytest.mark.scenario("topic-ids")
async def test_one_topic_without_an_id_has_the_whole_request_name_its_topics() -> None:
    def without_an_id(answer: MetadataResponse) -> MetadataResponse:
        topics = [replace(each, topic_id=ZERO_UUID) if each.name == "b" else each for each in answer.topics]
        return replace(answer, topics=tuple(topics))

    async with FakeCluster(topics={"a": 1, "b": 1}) as cluster, Relay(cluster) as relay:
        cluster.on(ApiKey.METADATA, times=None).rewrite(without_an_id)
        async with quick(cluster) as producer:
            await landed([producer.send(topic, b"0") for topic in "ab"])
            count = len(relay.asked(ApiKey.PRODUCE))

            await landed([producer.send(topic, b"1") for topic in "ab"])
            await landed([producer.send("a", b"2")])

            assert [asked.version for asked in relay.asked(ApiKey.PRODUCE)[count:]] == [12, 13]
        assert [len(cluster.records(topic)) for topic in "ab"] == [3, 2]


@pytest.mark.scenario("topic-ids")
async def test_a_topic_created_anew_is_written_to_under_its_new_id(cluster: FakeCluster) -> None:
    async with quick(cluster, batch_size=1, request_timeout_ms=AMPLE, delivery_timeout_ms=AMPLE) as producer:
        await landed(send(producer, 3))
        answers = Answers(cluster)
        held = cluster.on(ApiKey.PRODUCE).hold()
        deliveries = send(producer, 5)
        await until(lambda: in_flight(producer) == 5)
        cluster.delete_topic("orders")
        cluster.create_topic("orders")

        held.release()

        assert await landed(deliveries) == [0, 1, 2, 3, 4]
        assert answers.codes[:5] == [ErrorCode.UNKNOWN_TOPIC_ID] * 5
        assert values(cluster) == [b"0", b"1", b"2", b"3", b"4"]
