"""The task group of a producer: any task may start it, add to it and stop it.

anyio's task group belongs to the task that opened it, but a producer may be started in one task
and stopped in another (a pytest fixture does). So one task of its own holds the group.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio

# anyio loads its asyncio backend at first use, which takes tens of milliseconds. Load it with all
# other imports, not while the event loop waits. If a later anyio moves it, it is loaded at first use.
with suppress(ImportError):
    import anyio._backends._asyncio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup

    Start = Callable[[], object]


class CrashListener(Protocol):
    """The owner of a task group."""

    def crash(self, error: BaseException) -> None:
        """Take the error that ended the group."""


class Tasks:
    """A task group that any task may add to and stop."""

    def __init__(self, name: str, listener: CrashListener) -> None:
        self._name = name
        self._listener = listener
        self._task: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._opened = asyncio.Event()
        self._is_stopped = False
        self._changed = asyncio.Event()
        self._unstarted: list[Start] = []

    async def start(self) -> None:
        """Open the group."""
        self._task = asyncio.get_running_loop().create_task(self._hold(), name=self._name)
        await self._opened.wait()

    def spawn(
        self, name: str, function: Callable[..., Coroutine[Any, Any, object]], *arguments: object
    ) -> None:
        """Run a coroutine function in the group, unless `stop` was called; from a callback too."""
        if self._group is None or self._is_stopped:
            return
        start = partial(self._group.start_soon, function, *arguments, name=f"{self._name}-{name}")
        if asyncio.current_task() is not None:
            start()
            return
        # A response may name a new leader, whose broker is started in the callback that reads it.
        # Where sniffio is installed, anyio finds no event loop outside a task.
        self._unstarted.append(start)
        self._changed.set()

    async def stop(self) -> None:
        """Cancel all tasks of the group and wait for their end; may be called many times."""
        self._is_stopped = True
        self._changed.set()
        if self._task is not None and not self._task.done():
            # Shielded: if this call is cancelled, the tasks still end in order.
            await asyncio.shield(self._task)

    async def _hold(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._opened.set()
                while not self._is_stopped:
                    self._changed.clear()
                    for start in self._unstarted:
                        start()
                    self._unstarted.clear()
                    await self._changed.wait()
                group.cancel_scope.cancel()
        except asyncio.CancelledError as error:
            # Some program cancels all tasks of the loop: the producer cannot work any more.
            self._listener.crash(error)
            raise
        except BaseExceptionGroup as errors:
            cause: BaseException = errors
            # anyio wraps errors of nested groups in groups: report the first error itself.
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            self._listener.crash(cause)
        finally:
            self._group = None
            self._opened.set()
