"""The task that holds all others: started anywhere, stopped anywhere.

A task group belongs to the task that opened it, but a producer may be started in one task
and stopped in another (a pytest fixture does). So one task of its own holds the group.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

# anyio loads what it needs of asyncio when it is first used, which takes tens of milliseconds:
# better with all other imports than while the event loop waits. Where it has another place for
# it, it is loaded later.
with suppress(ImportError):
    import anyio._backends._asyncio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup


class Lifecycle:
    """A task group that any task may add to and stop; `crashed(error)` hears why it broke."""

    def __init__(self, name: str, crashed: Callable[[BaseException], object]) -> None:
        self._name = name
        self._crashed = crashed
        self._task: asyncio.Task[None] | None = None
        self._group: TaskGroup | None = None
        self._opened = asyncio.Event()
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """Open the group."""
        self._task = asyncio.get_running_loop().create_task(self._hold(), name=self._name)
        await self._opened.wait()

    def spawn(
        self, name: str, function: Callable[..., Coroutine[Any, Any, object]], *arguments: object
    ) -> None:
        """Run a coroutine function in the group; after `stop` nothing is run any more."""
        if self._group is not None and not self._stop.is_set():
            self._group.start_soon(function, *arguments, name=f"{self._name}-{name}")

    async def stop(self) -> None:
        """Cancel everything in the group and wait until it is gone; may be called many times."""
        self._stop.set()
        if self._task is not None and not self._task.done():
            # Shielded: whoever gives up waiting must not tear the group apart half-way.
            await asyncio.shield(self._task)

    async def _hold(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._opened.set()
                await self._stop.wait()
                group.cancel_scope.cancel()
        except asyncio.CancelledError as error:
            # By somebody who cancels every task there is: nobody can be served any more.
            self._crashed(error)
            raise
        except BaseExceptionGroup as errors:
            cause: BaseException = errors
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            self._crashed(cause)
        finally:
            self._group = None
            self._opened.set()
