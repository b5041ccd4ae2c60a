import asyncio

import pytest

from aioproducer.net.lifecycle import Lifecycle
from tests.net.quick import turns, until
from tests.net.traces import cuts, no_traces


def _never_crashes(error: BaseException) -> None:
    pytest.fail(f"crashed: {error!r}")


async def _forever(entered: list[str], name: str) -> None:
    entered.append(name)
    try:
        await asyncio.Event().wait()
    finally:
        entered.remove(name)


async def test_it_is_started_in_one_task_and_stopped_in_another() -> None:
    lifecycle = Lifecycle("aioproducer-x", _never_crashes)
    async with no_traces():
        running: list[str] = []
        await asyncio.create_task(lifecycle.start())
        lifecycle.spawn("sender", _forever, running, "a")
        lifecycle.spawn("sender", _forever, running, "b")
        await until(lambda: running == ["a", "b"])
        await asyncio.create_task(lifecycle.stop())
        assert running == []


async def test_callback_may_spawn() -> None:
    """A response that names a new leader starts its broker in the callback that reads it.

    Where sniffio is installed (the test extra installs it), anyio starts no task outside of one.
    """
    lifecycle = Lifecycle("aioproducer-x", _never_crashes)
    await lifecycle.start()
    running: list[str] = []
    asyncio.get_running_loop().call_soon(lifecycle.spawn, "broker-2", _forever, running, "a")
    await until(lambda: running == ["a"])
    await lifecycle.stop()
    assert running == []


async def test_tasks_bear_its_name() -> None:
    lifecycle = Lifecycle("aioproducer-x", _never_crashes)
    await lifecycle.start()
    lifecycle.spawn("broker-2", _forever, [], "a")
    assert {"aioproducer-x", "aioproducer-x-broker-2"} <= {task.get_name() for task in asyncio.all_tasks()}
    await lifecycle.stop()


async def test_stop_may_be_called_often_and_before_start() -> None:
    lifecycle = Lifecycle("x", _never_crashes)
    await lifecycle.stop()
    lifecycle = Lifecycle("x", _never_crashes)
    await lifecycle.start()
    await asyncio.gather(lifecycle.stop(), lifecycle.stop())
    await lifecycle.stop()


async def test_nothing_is_run_after_stop() -> None:
    lifecycle = Lifecycle("x", _never_crashes)
    await lifecycle.start()
    await lifecycle.stop()
    running: list[str] = []
    lifecycle.spawn("late", _forever, running, "late")
    await turns()
    assert running == []


async def test_an_error_in_one_task_ends_all_and_is_told() -> None:
    told: list[BaseException] = []
    lifecycle = Lifecycle("x", told.append)
    await lifecycle.start()
    running: list[str] = []
    lifecycle.spawn("sound", _forever, running, "sound")
    cause = ValueError("a bug")

    async def raises() -> None:
        raise cause

    lifecycle.spawn("unsound", raises)
    await until(lambda: told)
    assert told == [cause]
    await lifecycle.stop()
    assert running == []


async def test_being_cancelled_by_somebody_who_cancels_everything_is_told() -> None:
    told: list[BaseException] = []
    lifecycle = Lifecycle("x", told.append)
    before = asyncio.all_tasks()
    await lifecycle.start()
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await until(lambda: told)
    assert isinstance(told[0], asyncio.CancelledError)


async def test_start_and_stop_leave_nothing_behind_when_they_are_cancelled() -> None:
    for cut in cuts():
        async with no_traces():
            lifecycle = Lifecycle("x", _never_crashes)
            await cut.run(lifecycle.start())
            await lifecycle.stop()
    for cut in cuts():
        async with no_traces():
            lifecycle = Lifecycle("x", _never_crashes)
            await lifecycle.start()
            lifecycle.spawn("a", _forever, [], "a")
            await cut.run(lifecycle.stop())
            await lifecycle.stop()
