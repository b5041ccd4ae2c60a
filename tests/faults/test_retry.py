"""Retries of retriable errors: when, where, and how often."""

import asyncio
import random
from itertools import pairwise

import pytest

from aioproducer import BrokerError, DeliveryTimeoutError, UnknownTopicError
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster, TopicConfig
from tests.faults.outcomes import SOON, all_stored, buffer_is_free, failure, patient, stored, values
from tests.faults.stored import TOPIC, figure
from tests.net.quick import insides, quick, until

MOST = 0.999
"""The random number that makes a backoff the longest: a fifth longer."""


@pytest.mark.scenario("retry-backoff")
@pytest.mark.parametrize("code", [ErrorCode.NOT_ENOUGH_REPLICAS, ErrorCode.NOT_LEADER_OR_FOLLOWER])
async def test_retry_backoff_grows_with_jitter(monkeypatch: pytest.MonkeyPatch, code: ErrorCode) -> None:
    loop = asyncio.get_running_loop()
    arrived: list[float] = []
    monkeypatch.setattr(random, "random", lambda: MOST)
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        patient(cluster, retry_backoff_ms=60, retry_backoff_max_ms=300) as producer,
    ):
        cluster.on(ApiKey.PRODUCE, times=None).run(lambda: arrived.append(loop.time()))
        cluster.on(ApiKey.PRODUCE, times=4).answer(code)
        assert (await stored(producer.send(TOPIC, b"1"))).offset == 0
        assert figure(producer, "record-retry-total") == 4

    waited = [later - earlier for earlier, later in pairwise(arrived)]
    assert len(waited) == 4
    # Doubled each time, with a jitter of plus a fifth, and never above the maximum. uvloop's clock
    # has milliseconds.
    for seconds, least in zip(waited, [0.069, 0.141, 0.285, 0.297], strict=True):
        assert seconds >= least
    assert values(cluster) == [b"1"]


@pytest.mark.scenario("leader-changed")
@pytest.mark.parametrize("version", [13, 9], ids=["named in the answer", "found in the metadata"])
async def test_new_leader_is_tried_at_once(version: int) -> None:
    """The backoff is a minute: the retry did not wait for it."""
    async with (
        FakeCluster(2, {TOPIC: 1}, max_versions={ApiKey.PRODUCE: version}) as cluster,
        patient(
            cluster, retry_backoff_ms=60_000, retry_backoff_max_ms=60_000, delivery_timeout_ms=600_000
        ) as producer,
    ):
        await stored(producer.send(TOPIC, b"0"))
        # Metadata is requested once per backoff at most. Allow the next request at once.
        insides(producer).metadata._plan.not_before = 0.0  # noqa: SLF001 - instead of a minute's wait
        refused = cluster.on(ApiKey.PRODUCE).run(lambda: cluster.move_leader(TOPIC, 0, to=2))
        assert (await stored(producer.send(TOPIC, b"1"))).offset == 1
        assert refused.hits == 1
        assert figure(producer, "record-retry-total") == 1
    assert values(cluster) == [b"0", b"1"]


@pytest.mark.scenario("leader-changed")
async def test_known_new_leader_needs_no_backoff() -> None:
    """Metadata already names the new leader when the old one refuses the batch."""
    versions = {ApiKey.PRODUCE: 9}
    async with (
        FakeCluster(2, {TOPIC: 2}, max_versions=versions) as cluster,
        patient(
            cluster, retry_backoff_ms=60_000, retry_backoff_max_ms=60_000, delivery_timeout_ms=600_000
        ) as producer,
    ):
        await stored(producer.send(TOPIC, b"0", partition=0))
        # Connect to the other broker too: the metadata request then goes there, because the
        # leader has a request in flight that is held.
        await stored(producer.send(TOPIC, b"elsewhere", partition=1))
        held = cluster.on(ApiKey.PRODUCE).hold()
        delivery = producer.send(TOPIC, b"1", partition=0)
        await asyncio.wait_for(held.hit(), SOON)
        cluster.move_leader(TOPIC, 0, to=2)
        engine = insides(producer)
        engine.metadata._plan.not_before = 0.0  # noqa: SLF001 - instead of a minute's wait
        engine.request_metadata()  # another cause may request it too
        await until(lambda: engine.metadata.topics[TOPIC].partitions[0].leader_id == 2, SOON)

        held.release()
        assert (await stored(delivery)).offset == 1
        assert figure(producer, "record-retry-total") == 1
    assert values(cluster) == [b"0", b"1", b"elsewhere"]


@pytest.mark.scenario("retries-exhausted")
@pytest.mark.parametrize("retries", [1, 3])
async def test_exhausted_retries_raise_broker_error(retries: int) -> None:
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        patient(cluster, retries=retries) as producer,
    ):
        await stored(producer.send(TOPIC, b"0"))
        fault = cluster.on(ApiKey.PRODUCE, times=None).answer(
            ErrorCode.NOT_ENOUGH_REPLICAS, "two are missing"
        )
        error = await failure(producer.send(TOPIC, b"1"))
        assert isinstance(error, BrokerError)
        assert (error.code, error.reason) == (ErrorCode.NOT_ENOUGH_REPLICAS, "two are missing")
        assert not error.may_be_written
        assert fault.hits == retries + 1

        cluster.heal()
        assert (await stored(producer.send(TOPIC, b"2"))).offset == 1
        await buffer_is_free(producer)
    assert values(cluster) == [b"0", b"2"]


@pytest.mark.scenario("too-few-replicas")
@pytest.mark.parametrize("after_append", [False, True], ids=["before", "after the append"])
@pytest.mark.parametrize("acks", [1, "all"])
async def test_too_few_replicas_are_retried(acks: int | str, *, after_append: bool) -> None:
    """Idempotence stores one copy. Without it every attempt leaves a copy, as with Java's producer."""
    code = ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND if after_append else ErrorCode.NOT_ENOUGH_REPLICAS
    is_idempotent = acks == "all"
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        patient(cluster, acks=acks, enable_idempotence=is_idempotent) as producer,
    ):
        fault = cluster.on(ApiKey.PRODUCE, times=5).answer(code, after_storing=after_append)
        metadata = await stored(producer.send(TOPIC, b"1"))
        assert fault.hits == 5
    copies = 6 if after_append and not is_idempotent else 1
    assert values(cluster) == [b"1"] * copies
    assert metadata.offset == copies - 1


@pytest.mark.scenario("too-few-replicas")
async def test_records_wait_for_replicas() -> None:
    async with (
        FakeCluster(3, {TOPIC: 1}, topic_config=TopicConfig(min_insync_replicas=3)) as cluster,
        quick(cluster) as producer,
    ):
        await stored(producer.send(TOPIC, b"0"))
        follower = next(id_ for id_ in (1, 2, 3) if id_ != cluster.leader_of(TOPIC, 0))
        await cluster.stop_node(follower)
        deliveries = [producer.send(TOPIC, b"%d" % number) for number in range(1, 6)]
        await until(lambda: figure(producer, "record-retry-total") >= 10, SOON)
        assert not any(delivery.done() for delivery in deliveries)
        assert values(cluster) == [b"0"]

        await cluster.start_node(follower)
        assert [each.offset for each in await all_stored(deliveries)] == list(range(1, 6))
    assert values(cluster) == [b"%d" % number for number in range(6)]


@pytest.mark.simulated
@pytest.mark.scenario("topic-deleted")
async def test_deleted_topic_fails_in_time() -> None:
    async with (
        FakeCluster(topics={TOPIC: 1, "audit": 1}, auto_create_topics=False) as cluster,
        quick(cluster, request_timeout_ms=500, delivery_timeout_ms=1_500, max_block_ms=2_000) as producer,
    ):
        deliveries = [producer.send(TOPIC, b"before")]
        await stored(deliveries[0])
        cluster.delete_topic(TOPIC)
        for number in range(20):
            deliveries.append(producer.send(TOPIC, b"%d" % number))
            await asyncio.sleep(0.02)

        errors = [await failure(delivery) for delivery in deliveries[1:]]
        assert {type(error) for error in errors} <= {DeliveryTimeoutError, UnknownTopicError}
        assert "UNKNOWN_TOPIC" in str(errors[0])
        assert (await stored(producer.send("audit", b"goes on"))).offset == 0
        await buffer_is_free(producer)


@pytest.mark.scenario("topic-deleted")
async def test_recreated_topic_gets_the_records() -> None:
    async with (
        FakeCluster(topics={TOPIC: 1}, auto_create_topics=False) as cluster,
        quick(cluster) as producer,
    ):
        for _ in range(3):
            await stored(producer.send(TOPIC, b"before"))
        cluster.delete_topic(TOPIC)
        deliveries = []
        for number in range(20):
            deliveries.append(producer.send(TOPIC, b"%d" % number))
            await asyncio.sleep(0.01)
        assert not any(delivery.done() for delivery in deliveries)

        cluster.create_topic(TOPIC)
        assert [each.offset for each in await all_stored(deliveries)] == list(range(20))
    assert values(cluster) == [b"%d" % number for number in range(20)]


@pytest.mark.simulated
async def test_expiry_error_names_the_cause() -> None:
    """A batch expires behind a retried batch: its error does not blame the connection."""
    async with (
        FakeCluster(topics={TOPIC: 1}) as cluster,
        quick(cluster, batch_size=1, request_timeout_ms=400, delivery_timeout_ms=400) as producer,
    ):
        cluster.on(ApiKey.PRODUCE, times=None).answer(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        deliveries = [producer.send(TOPIC, b"1"), producer.send(TOPIC, b"2")]
        tried, behind = [str(await failure(delivery)) for delivery in deliveries]
        assert "UNKNOWN_TOPIC" in tried
        assert "could not be sent to" not in behind
