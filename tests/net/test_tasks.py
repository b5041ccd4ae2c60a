"""The task group of a producer."""

import asyncio

import pytest

from aioproducer.net.tasks import Tasks
from tests.net.quick import turns, until
from tests.net.traces import at_each_await, no_traces


class _NeverCrashes:
    def crash(self, error: BaseException) -> None:
        pytest.fail(f"crashed: {error!r}")


class _Reports:
    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def crash(self, error: BaseException) -> None:
        self.errors.append(error)


async def _forever(entered: list[str], name: str) -> None:
    entered.append(name)
    try:
        await asyncio.Event().wait()
    finally:
        entered.remove(name)


async def test_different_tasks_start_and_stop() -> None:
    tasks = Tasks("aioproducer-x", _NeverCrashes())
    async with no_traces():
        running: list[str] = []
        await asyncio.create_task(tasks.start())
        tasks.spawn("sender", _forever, running, "a")
        tasks.spawn("sender", _forever, running, "b")
        await until(lambda: running == ["a", "b"])
        await asyncio.create_task(tasks.stop())
        assert running == []


async def test_callback_starts_task() -> None:
    """Where sniffio is installed, the task group of anyio needs a running task, which a callback lacks."""
    tasks = Tasks("x", _NeverCrashes())
    await tasks.start()
    running: list[str] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(tasks.spawn, "broker-1", _forever, running, "a")
    loop.call_soon(tasks.spawn, "broker-2", _forever, running, "b")
    await until(lambda: running == ["a", "b"])
    await tasks.stop()
    assert running == []


async def test_tasks_are_named() -> None:
    tasks = Tasks("aioproducer-x", _NeverCrashes())
    await tasks.start()
    tasks.spawn("broker-2", _forever, [], "a")
    assert {"aioproducer-x", "aioproducer-x-broker-2"} <= {task.get_name() for task in asyncio.all_tasks()}
    await tasks.stop()


async def test_stop_is_repeatable() -> None:
    tasks = Tasks("x", _NeverCrashes())
    await tasks.stop()
    tasks = Tasks("x", _NeverCrashes())
    await tasks.start()
    await asyncio.gather(tasks.stop(), tasks.stop())
    await tasks.stop()


async def test_stopped_group_starts_no_task() -> None:
    tasks = Tasks("x", _NeverCrashes())
    await tasks.start()
    await tasks.stop()
    running: list[str] = []
    tasks.spawn("late", _forever, running, "late")
    await turns()
    assert running == []


async def test_error_ends_all_tasks() -> None:
    reports = _Reports()
    tasks = Tasks("x", reports)
    await tasks.start()
    running: list[str] = []
    tasks.spawn("correct", _forever, running, "correct")
    cause = ValueError("a bug")

    async def raises() -> None:
        raise cause

    tasks.spawn("faulty", raises)
    await until(lambda: reports.errors)
    assert reports.errors == [cause]
    await tasks.stop()
    assert running == []


async def test_foreign_cancellation_is_reported() -> None:
    reports = _Reports()
    tasks = Tasks("x", reports)
    before = asyncio.all_tasks()
    await tasks.start()
    for task in asyncio.all_tasks() - before:
        task.cancel()
    await until(lambda: reports.errors)
    assert isinstance(reports.errors[0], asyncio.CancelledError)


async def test_cancelled_calls_leave_nothing() -> None:
    for cut in at_each_await():
        async with no_traces():
            tasks = Tasks("x", _NeverCrashes())
            await cut.run(tasks.start())
            await tasks.stop()
    for cut in at_each_await():
        async with no_traces():
            tasks = Tasks("x", _NeverCrashes())
            await tasks.start()
            tasks.spawn("a", _forever, [], "a")
            await cut.run(tasks.stop())
            await tasks.stop()
