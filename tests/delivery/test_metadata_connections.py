"""Leaders, addresses, versions and connections change or fail: whole producers find their way."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aioproducer import Delivery, Producer
from aioproducer.net.transport import connect
from aioproducer.protocol.metadata import MetadataResponse
from aioproducer.protocol.primitives import ZERO_UUID
from aioproducer.testing import (
    KAFKA_2_1,
    KAFKA_2_8,
    KAFKA_3_6,
    KAFKA_4,
    REDPANDA,
    ApiKey,
    BrokerVersion,
    ErrorCode,
    FakeCluster,
)
from tests.delivery.stored import Answers, figure, in_flight, landed, values
from tests.net.quick import PATIENCE, quick, turns, until
from tests.net.relay import Asked, Relay

AMPLE = 20_000
"""Milliseconds that no test takes: nothing times out by itself."""

HOST = "kafka.test"


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


def send(producer: Producer[Any, Any], count: int, first: int = 0) -> list[Delivery]:
    return [producer.send("orders", b"%d" % number) for number in range(first, first + count)]


# Metadata.


@pytest.mark.scenario(54)
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


@pytest.mark.scenario(54)
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


@pytest.mark.scenario(56)
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


@pytest.mark.scenario(57)
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


@pytest.mark.scenario(58)
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


@pytest.mark.scenario(59)
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


@pytest.mark.scenario(60)
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
        assert first.at <= second.at < silent_from
        assert third.at - silent_from > 1.3
        assert figure(producer, "record-retry-total") == 0
        assert relay.connections == 2


# Versions.


@pytest.mark.scenario(62)
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


@pytest.mark.scenario(62)
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


# A stream of records while brokers and networks fail.


def patient(
    cluster: FakeCluster, *, batch_size: int = 200, metadata_max_age_ms: int = AMPLE
) -> Producer[Any, Any]:
    """Make a producer of small batches that waits for answers."""
    return quick(
        cluster,
        batch_size=batch_size,
        metadata_max_age_ms=metadata_max_age_ms,
        request_timeout_ms=AMPLE,
        delivery_timeout_ms=AMPLE,
    )


class Stream:
    """Numbered records, sent to all partitions in turn."""

    def __init__(self, cluster: FakeCluster, producer: Producer[Any, Any], partitions: int) -> None:
        self._cluster = cluster
        self._producer = producer
        self._sent: list[list[tuple[bytes, Delivery]]] = [[] for _ in range(partitions)]

    async def flow(self, count: int) -> list[Delivery]:
        """Send so many records to each partition, and return the deliveries of the last."""
        for _ in range(count):
            for partition, sent in enumerate(self._sent):
                value = b"%06d" % len(sent)
                sent.append((value, self._producer.send("orders", value, partition=partition)))
            await asyncio.sleep(0)
        return [sent[-1][1] for sent in self._sent]

    async def check(self) -> None:
        """See that each record was acknowledged, and is in the log once, in order, where it was told."""
        for partition, sent in enumerate(self._sent):
            offsets = await landed(delivery for _, delivery in sent)
            assert offsets == list(range(len(sent)))
            assert values(self._cluster, partition) == [value for value, _ in sent]


@pytest.mark.scenario(63)
@pytest.mark.parametrize("is_clean", [True, False])
async def test_leaders_that_bounce_in_a_loop_lose_and_double_nothing(*, is_clean: bool) -> None:
    async with FakeCluster(3, {"orders": 3}) as cluster, patient(cluster) as producer:
        stream = Stream(cluster, producer, 3)
        for bounce in range(9):
            await landed(await stream.flow(20))
            leader = cluster.leader_of("orders", bounce % 3)
            if is_clean:
                for partition in range(3):
                    if cluster.leader_of("orders", partition) == leader:
                        cluster.move_leader("orders", partition, to=leader % 3 + 1)
                await landed(await stream.flow(20))
            else:
                # It dies when it has stored something that nobody hears of any more.
                dying = cluster.on(ApiKey.PRODUCE, node=leader).hold(after_storing=True)
                await stream.flow(20)
                await asyncio.wait_for(dying.hit(), PATIENCE)
                await turns()
            await cluster.stop_node(leader)
            await landed(await stream.flow(20))
            await cluster.start_node(leader)
        await stream.check()


@pytest.mark.scenario(64)
async def test_a_slow_network_that_loses_requests_and_answers_is_only_slow() -> None:
    async with (
        FakeCluster(topics={"orders": 3}) as cluster,
        Relay(cluster) as relay,
        patient(cluster, batch_size=500) as producer,
    ):
        stream = Stream(cluster, producer, 3)
        await landed(await stream.flow(1))
        cluster.on(times=None).delay(0.01)
        lost = 0

        def loses(asked: Asked, each: int) -> bool:
            nonlocal lost
            if asked.api is not ApiKey.PRODUCE or len(relay.asked(ApiKey.PRODUCE)) % each:
                return False
            lost += 1
            return True

        relay.on_request = lambda asked: not loses(asked, 7)
        relay.on_answer = lambda asked, frame: None if loses(asked, 5) else [frame]
        for _ in range(30):
            await stream.flow(10)
            await asyncio.sleep(0.01)

        await stream.check()

        assert lost > 2
        # Neither one request for each record, nor one batch after the other.
        assert len(relay.asked(ApiKey.PRODUCE)) < 300


VERSIONS = [KAFKA_2_1, KAFKA_2_8, KAFKA_3_6, KAFKA_4, REDPANDA]


@pytest.mark.scenario(61, 65)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_brokers_of_every_release_take_records_through_faults_and_moves(version: BrokerVersion) -> None:
    async with (
        FakeCluster(2, {"orders": 2}, versions=version) as cluster,
        Relay(cluster, 1) as one,
        Relay(cluster, 2) as other,
        patient(cluster) as producer,
    ):
        stream = Stream(cluster, producer, 2)
        await stream.flow(10)
        cluster.on(ApiKey.PRODUCE, skip=1).disconnect(after_storing=True)
        await landed(await stream.flow(10))
        cluster.move_leader("orders", 0, to=2)
        await landed(await stream.flow(10))
        cluster.move_leader("orders", 0, to=1)

        await landed(await stream.flow(10))

        await stream.check()
        for api in (ApiKey.PRODUCE, ApiKey.METADATA, ApiKey.INIT_PRODUCER_ID):
            asked = {asked.version for relay in (one, other) for asked in relay.asked(api)}
            assert asked == {version.apis[api].max}


@pytest.mark.scenario(65)
async def test_in_a_mixed_cluster_every_broker_is_spoken_to_in_its_own_versions() -> None:
    versions = {1: KAFKA_4, 2: KAFKA_2_1}
    async with (
        FakeCluster(2, {"orders": 2}, versions=versions) as cluster,
        Relay(cluster, 1) as new,
        Relay(cluster, 2) as old,
        patient(cluster, metadata_max_age_ms=20) as producer,
    ):
        stream = Stream(cluster, producer, 2)
        for leaders in ((1, 2), (2, 1), (1, 1), (2, 2)) * 2:
            for partition, leader in enumerate(leaders):
                cluster.move_leader("orders", partition, to=leader)
            await landed(await stream.flow(10))
            await turns()
        await stream.check()

        assert {asked.version for asked in old.asked(ApiKey.PRODUCE)} == {7}
        # What an old broker tells of a topic is without its id.
        assert {asked.version for asked in new.asked(ApiKey.PRODUCE)} <= {12, 13}
        assert {asked.version for asked in old.asked(ApiKey.METADATA)} == {7}
        assert {asked.version for asked in new.asked(ApiKey.METADATA)} == {13}


@pytest.mark.scenario(63, 65)
async def test_while_brokers_are_upgraded_one_after_the_other_nothing_is_lost_or_doubled() -> None:
    async with FakeCluster(3, {"orders": 3}, versions=KAFKA_2_1) as cluster, patient(cluster) as producer:
        stream = Stream(cluster, producer, 3)
        for version in (KAFKA_2_8, KAFKA_3_6, KAFKA_4, KAFKA_2_8):
            for node in (1, 2, 3):
                for partition in range(3):
                    cluster.move_leader("orders", partition, to=node)
                await landed(await stream.flow(10))
                stored = cluster.on(ApiKey.PRODUCE, node=node).hold(after_storing=True)
                await stream.flow(10)
                await asyncio.wait_for(stored.hit(), PATIENCE)
                await turns()
                await cluster.restart_node(node, version)
                await landed(await stream.flow(10))
        await stream.check()


@pytest.mark.scenario(65)
async def test_a_broker_that_comes_back_as_another_release_is_asked_for_its_versions_anew() -> None:
    async with FakeCluster(topics={"orders": 1}, versions=KAFKA_4) as cluster, patient(cluster) as producer:
        stream = Stream(cluster, producer, 1)
        for version in (KAFKA_2_1, KAFKA_3_6, KAFKA_2_1, KAFKA_4):
            await landed(await stream.flow(10))
            await cluster.restart_node(1, version)
        await landed(await stream.flow(10))
        await stream.check()
