"""What a producer must not leave behind, and cancellation at every await.

    for cut in cuts():
        async with no_traces():
            await cut.run(producer.start())     # cancelled at its 1st, 2nd, 3rd, ... await

The one idea: a task is cancelled while it waits for something; so the coroutine is stepped
by hand and what it waits for is counted, until it ends without having been cancelled.

    for blow in blows(again=1):
        await blow.run(life_of_a_producer())    # cancelled in the 1st, 2nd, 3rd, ... turn of the loop

In one await others get far; so there are also blows, which fall between any two turns of the
event loop, and may fall twice.
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
    """Count this process's open sockets."""
    count = 0
    for number in range(MOST_FILES):
        try:
            count += stat.S_ISSOCK(os.fstat(number).st_mode)
        except OSError:
            continue
    return count


def timers() -> list[asyncio.TimerHandle]:
    """Return what the event loop will do later for the package, as far as the loop tells."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return [each for each in scheduled if not each.cancelled() and _is_ours(each._callback)]  # noqa: SLF001 - nobody else tells


def _is_ours(callback: object) -> bool:
    function = getattr(callback, "func", callback)
    return str(getattr(function, "__module__", "")).startswith("aioproducer")


@asynccontextmanager
async def no_traces() -> AsyncIterator[None]:
    """Fail if tasks, sockets or timers are left behind, or an error that nobody heard of."""
    loop = asyncio.get_running_loop()
    unheard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unheard.append(context))
    tasks, sockets, scheduled = asyncio.all_tasks(), open_sockets(), timers()
    try:
        yield
        await until(lambda: open_sockets() <= sockets, 2)
        assert asyncio.all_tasks() == tasks
        assert not [timer for timer in timers() if timer not in scheduled]
        assert not unheard, unheard
    finally:
        loop.set_exception_handler(None)


class Cut:
    """Cancellation at one await: the `at`-th, if the coroutine comes so far."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.happened = False
        self._waits = 0

    async def run(self, coroutine: Coroutine[Any, Any, object]) -> BaseException | None:
        """Run a coroutine in a task of its own; return what it raised."""
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
            except BaseException as error:  # noqa: BLE001 - the coroutine's own matter
                argument = error
                resume = coroutine.throw


def cuts(most: int = 500) -> Iterator[Cut]:
    """Cut at the first await, the second, and so on, until a coroutine ends before its cut."""
    for at in range(1, most):
        cut = Cut(at)
        yield cut
        if not cut.happened:
            return
    pytest.fail(f"the coroutine waits more than {most} times")


class Blow:
    """Cancellation after `at` turns of the event loop, and again after so many more.

    With `insists` it is a scope of anyio's that is cancelled: whatever is awaited in it from then
    on is cancelled as well, unless it is shielded.
    """

    def __init__(self, at: int, *, again: int | None = None, insists: bool = False) -> None:
        self.at = at
        self.happened = False
        self._again = again
        self._scope = anyio.CancelScope() if insists else None

    async def run(self, coroutine: Coroutine[Any, Any, object]) -> BaseException | None:
        """Run a coroutine in a task of its own; return what it raised."""
        task = asyncio.create_task(self._scoped(coroutine), name="struck")
        await self._turn(task, self.at)
        if not task.done():
            self.happened = True
            self._strike(task)
            if self._again is not None:
                await self._turn(task, self._again)
                self._strike(task)
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

    def _strike(self, task: asyncio.Task[None]) -> None:
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


def blows(most: int = 2_000, *, again: int | None = None, insists: bool = False) -> Iterator[Blow]:
    """Strike in the first turn of the loop, the second, and so on, until a coroutine ends before."""
    for at in range(1, most):
        blow = Blow(at, again=again, insists=insists)
        yield blow
        if not blow.happened:
            return
    pytest.fail(f"the coroutine takes more than {most} turns")
