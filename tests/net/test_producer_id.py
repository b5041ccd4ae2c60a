"""The producer id: records wait for it, but not longer than `delivery_timeout_ms`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from aioproducer import AuthorizationError, DeliveryTimeoutError, UnsupportedVersionError
from aioproducer.core.producer_id import MAX_EPOCH
from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.net.quick import insides, quick, turns

SOON = 30


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        yield cluster


async def test_producer_id_is_requested_once(cluster: FakeCluster) -> None:
    asked = cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).throttle(0)
    async with quick(cluster) as producer:
        for number in range(5):
            assert (await producer.send("orders", b"1")).offset == number
    assert asked.hits == 1


async def test_records_wait_for_producer_id(cluster: FakeCluster) -> None:
    held = cluster.on(ApiKey.INIT_PRODUCER_ID).hold()
    async with quick(cluster) as producer:
        delivery = producer.send("orders", b"1")
        await held.hit()
        await turns()
        assert not delivery.done()
        held.release()
        assert (await asyncio.wait_for(delivery, SOON)).offset == 0


@pytest.mark.parametrize(
    "code", [ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_COORDINATOR, ErrorCode.REQUEST_TIMED_OUT]
)
async def test_retriable_error_is_retried(cluster: FakeCluster, code: ErrorCode) -> None:
    fault = cluster.on(ApiKey.INIT_PRODUCER_ID, times=3).answer(code)
    async with quick(cluster) as producer:
        assert (await asyncio.wait_for(producer.send("orders", b"1"), SOON)).offset == 0
    assert fault.hits == 3


@pytest.mark.simulated
async def test_useless_responses_are_retried(cluster: FakeCluster) -> None:
    """Lost, missing, malformed, and with a negative id."""
    cluster.on(ApiKey.INIT_PRODUCER_ID).disconnect()
    cluster.on(ApiKey.INIT_PRODUCER_ID, skip=1).fall_silent()
    cluster.on(ApiKey.INIT_PRODUCER_ID, skip=2).answer_bytes(b"\x00\x00\x00\x01\x00")
    cluster.on(ApiKey.INIT_PRODUCER_ID, skip=3).rewrite(lambda answer: replace(answer, producer_id=-1))
    async with quick(cluster, request_timeout_ms=100) as producer:
        assert (await asyncio.wait_for(producer.send("orders", b"1"), SOON)).offset == 0


@pytest.mark.simulated
@pytest.mark.scenario("producer-id-denied")
async def test_refused_producer_id_fails_records(cluster: FakeCluster) -> None:
    """Each later record costs at most one request."""
    asked = cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).answer(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    async with quick(cluster) as producer:
        for number in range(1, 4):
            with pytest.raises(AuthorizationError, match="enable_idempotence") as raised:
                await asyncio.wait_for(producer.send("orders", b"1"), SOON)
            assert not raised.value.may_be_written
            assert asked.hits <= number + 1
        hits = asked.hits
        await asyncio.sleep(0.1)
        assert asked.hits == hits
        cluster.heal()
        assert (await asyncio.wait_for(producer.send("orders", b"1"), SOON)).offset == 0


async def test_old_cluster_error_names_option() -> None:
    versions = {ApiKey.INIT_PRODUCER_ID: None}
    async with FakeCluster(topics={"orders": 1}, max_versions=versions) as cluster:
        async with quick(cluster) as producer:
            with pytest.raises(UnsupportedVersionError, match="enable_idempotence=False"):
                await asyncio.wait_for(producer.send("orders", b"1"), SOON)
        async with quick(cluster, enable_idempotence=False) as producer:
            assert (await producer.send("orders", b"1")).offset == 0


@pytest.mark.simulated
async def test_records_expire_without_producer_id(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).fall_silent()
    async with quick(cluster, request_timeout_ms=50, delivery_timeout_ms=300) as producer:
        with pytest.raises(DeliveryTimeoutError) as raised:
            await asyncio.wait_for(producer.send("orders", b"1"), SOON)
        assert not raised.value.may_be_written
    assert "no producer id (attempt 2)" in caplog.text


@pytest.mark.scenario("sequence-wrap")
async def test_last_epoch_needs_new_id(cluster: FakeCluster) -> None:
    asked = cluster.on(ApiKey.INIT_PRODUCER_ID, times=None).throttle(0)
    async with quick(cluster) as producer:
        await producer.send("orders", b"0")
        sequences = insides(producer)._sequences  # noqa: SLF001 - 32767 bumps take long
        queue = insides(producer).accumulator.topics["orders"].partitions[0]
        assert sequences is not None
        sequences.producer_id.epoch = queue.sequences.epoch = MAX_EPOCH
        queue.sequences.has_gap = True
        assert (await asyncio.wait_for(producer.send("orders", b"1"), SOON)).offset == 1
    assert asked.hits == 2
