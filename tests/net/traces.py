"""Checks that nothing is left behind, and cancellation at every moment.

    for cut in at_each_await():
        async with no_traces():
            await cut.run(producer.start())     # cancelled at its 1st, 2nd, 3rd, ... await

The coroutine is stepped by hand and its awaits are counted, until it ends before the cancellation.

    for cut in at_each_turn(again=1):
        await cut.run(whole_life())             # cancelled in the 1st, 2nd, 3rd, ... turn of the loop

Other tasks may do much during one await. So cancellation can also fall between any two turns of
the event loop, and a second time after it.
"""

from __future__ import annotations

import asyncio
import os
import stat
import types
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.net.quick import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator

MOST_FILES = 256


def open_sockets() -> int:
    """Count the open sockets of this process."""
    count = 0
    for number in range(MOST_FILES):
        try:
            count += stat.S_ISSOCK(os.fstat(number).st_mode)
        except OSError:
            continue
    return count


def timers() -> list[asyncio.TimerHandle]:
    """Return the pending timers of the package; uvloop does not list them."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return [each for each in scheduled if not each.cancelled() and _is_ours(each._callback)]  # noqa: SLF001 - no public way


def _is_ours(callback: object) -> bool:
    function = getattr(callback, "func", callback)
    return str(getattr(function, "__module__", "")).startswith("aioproducer")


@asynccontextmanager
async def no_traces() -> AsyncIterator[None]:
    """Fail if tasks, sockets, timers or unhandled errors are left behind."""
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
    tasks, sockets, scheduled = asyncio.all_tasks(), open_sockets(), timers()
    try:
        yield
        await until(lambda: open_sockets() <= sockets, 2)
        assert asyncio.all_tasks() == tasks
        assert not [timer for timer in timers() if timer not in scheduled]
        assert not unhandled, unhandled
    finally:
        loop.set_exception_handler(None)


class AwaitCancellation:
    """Cancellation at one await: the `at`-th, if the coroutine reaches it."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.happened = False
        self._waits = 0

    async def run(self, coroutine: Coroutine[Any, Any, object]) -> BaseException | None:
        """Run a coroutine in a task of its own; return the error that it raised."""
        task = asyncio.create_task(self._counted(coroutine), name="cut")
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done(), f"it hangs when it is cancelled at await {self.at}"
        return asyncio.CancelledError() if task.cancelled() else task.exception()

    async def _counted(self, coroutine: Coroutine[Any, Any, object]) -> None:
        await self._count(coroutine)

    @types.coroutine
    def _count(self, coroutine: Coroutine[Any, Any, object]) -> Generator[Any, Any, None]:
        resume: Callable[[Any], object] = coroutine.send
        argument: object = None
        while True:
            try:
                awaited = resume(argument)
            except StopIteration:
                return
            self._waits += 1
            if self._waits == self.at:
                self.happened = True
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                argument = yield awaited
                resume = coroutine.send
            except BaseException as error:  # noqa: BLE001 - passed on to the coroutine
                argument = error
                resume = coroutine.throw


def at_each_await(most: int = 500) -> Iterator[AwaitCancellation]:
    """Yield a cancellation for each await, until the coroutine ends before it."""
    for at in range(1, most):
        cut = AwaitCancellation(at)
        yield cut
        if not cut.happened:
            return
    pytest.fail(f"the coroutine waits more than {most} times")


class TurnCancellation:
    """Cancellation after `at` turns of the event loop, and again after so many more.

    With `insists` a cancel scope of anyio is cancelled: each later await in it is cancelled too,
    unless it is shielded.
    """

    def __init__(self, at: int, *, again: int | None = None, insists: bool = False) -> None:
        self.at = at
        self.happened = False
        self._again = again
        self._scope = anyio.CancelScope() if insists else None

    async def run(self, coroutine: Coroutine[Any, Any, object]) -> BaseException | None:
        """Run a coroutine in a task of its own; return the error that it raised."""
        task = asyncio.create_task(self._scoped(coroutine), name="cut")
        await self._turn(task, self.at)
        if not task.done():
            self.happened = True
            self._cancel(task)
            if self._again is not None:
                await self._turn(task, self._again)
                self._cancel(task)
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done(), f"it hangs when it is cancelled after turn {self.at}"
        return asyncio.CancelledError() if task.cancelled() else task.exception()

    async def _scoped(self, coroutine: Coroutine[Any, Any, object]) -> None:
        if self._scope is None:
            await coroutine
            return
        with self._scope:
            await coroutine
        if self._scope.cancelled_caught:
            raise asyncio.CancelledError

    def _cancel(self, task: asyncio.Task[None]) -> None:
        if self._scope is None:
            task.cancel()
        else:
            self._scope.cancel()

    @staticmethod
    async def _turn(task: asyncio.Task[None], count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)
            if task.done():
                return


def at_each_turn(
    most: int = 2_000, *, again: int | None = None, insists: bool = False
) -> Iterator[TurnCancellation]:
    """Yield a cancellation for each turn of the loop, until the coroutine ends before it."""
    for at in range(1, most):
        cut = TurnCancellation(at, again=again, insists=insists)
        yield cut
        if not cut.happened:
            return
    pytest.fail(f"the coroutine takes more than {most} turns")
