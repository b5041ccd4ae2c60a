"""What a producer must not leave behind, and cancellation at every await.

    for cut in cuts():
        async with no_traces():
            await cut.run(producer.start())     # cancelled at its 1st, 2nd, 3rd, ... await

The one idea: a task is cancelled while it waits for something; so the coroutine is stepped
by hand and what it waits for is counted, until it ends without having been cancelled.
"""

from __future__ import annotations

import asyncio
import os
import stat
import types
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

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
    """Return what the event loop will do later."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return [handle for handle in scheduled if not handle.cancelled()]


@asynccontextmanager
async def no_traces() -> AsyncIterator[None]:
    """Fail if tasks, sockets or timers are left behind, or an error that nobody heard of."""
    loop = asyncio.get_running_loop()
    unheard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unheard.append(context))
    tasks, sockets, scheduled = asyncio.all_tasks(), open_sockets(), len(timers())
    try:
        yield
        await until(lambda: open_sockets() <= sockets, 2)
        assert asyncio.all_tasks() == tasks
        # The timer of `until` itself is past, but may not have been swept out yet.
        assert len([each for each in timers() if "aioproducer" in repr(each)]) <= scheduled
        assert not unheard
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
