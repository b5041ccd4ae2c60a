"""The states of a producer. Start and stop with a cluster are in `test_producer.py`."""

import asyncio
from typing import Any

import pytest

from aioproducer import IllegalStateError, Producer, ProducerClosedError, ProducerNotStartedError
from aioproducer.net.lifecycle import Lifecycle, ProducerState
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import insides, quick


def _state(producer: Producer[Any, Any]) -> ProducerState:
    return producer._lifecycle.state  # noqa: SLF001 - tests of the insides


async def test_states_of_producer() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        producer = quick(cluster)
        assert "not started" in repr(producer)
        held = cluster.on(ApiKey.METADATA).hold()
        starting = asyncio.create_task(producer.start())
        await held.hit()
        assert "starting" in repr(producer)
        with pytest.raises(IllegalStateError):
            await producer.start()
        held.release()
        await starting
        assert _state(producer) is ProducerState.RUNNING
        stopping = asyncio.create_task(producer.stop())
        await asyncio.sleep(0)
        assert _state(producer) is ProducerState.STOPPED
        await stopping
        with pytest.raises(ProducerClosedError):
            await producer.start()


async def test_failed_producer_is_stopped() -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        producer = quick(cluster)
        await producer.start()
        insides(producer).crash(ValueError("a bug"))
        assert _state(producer) is ProducerState.FAILED
        await producer.stop()
        assert _state(producer) is ProducerState.STOPPED


async def test_unstarted_producer_is_stopped() -> None:
    lifecycle = Lifecycle(insides(quick("localhost:1")))
    assert isinstance(lifecycle.refusal(), ProducerNotStartedError)
    await lifecycle.stop(None)
    assert isinstance(lifecycle.refusal(), ProducerClosedError)


def test_unlisted_transition_raises() -> None:
    lifecycle = Lifecycle(insides(quick("localhost:1")))
    with pytest.raises(RuntimeError, match="from NEW to RUNNING"):
        lifecycle._enter(ProducerState.RUNNING)  # noqa: SLF001 - a bug would do this
    lifecycle.failed()
    assert lifecycle.state is ProducerState.NEW
