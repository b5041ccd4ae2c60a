"""Callables of users that give credentials: sync or async, slow or failing."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_THREADS = 4


class Providers:
    """Calls the providers of one client."""

    def __init__(self) -> None:
        # A sync provider that hangs keeps its thread, also when its caller is cancelled. Here further
        # calls wait for a thread then; in anyio's or the loop's own pool the threads would add up, or
        # leave none for compression and host names.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aioproducer-credentials")

    async def call(self, provider: Callable[[], Any]) -> Any:  # noqa: ANN401 -- the user's callable
        """Call a sync or async callable; a sync one in a worker thread, since it may block."""
        try:
            return await self._call(provider)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        # Nothing cancelled this task, so the provider cancelled something of its own. As CancelledError
        # it would end the task of a broker.
        message = "the provider raised CancelledError"
        raise RuntimeError(message)

    async def _call(self, provider: Callable[[], Any]) -> Any:  # noqa: ANN401 -- the user's callable
        if inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(
            getattr(provider, "__call__", None)  # noqa: B004 -- for objects whose __call__ is async
        ):
            return await provider()
        run = contextvars.copy_context().run
        result = await asyncio.get_running_loop().run_in_executor(self._threads, run, _run, provider)
        # functools.partial of a coroutine function, a lambda around one.
        return await result if inspect.isawaitable(result) else result


def _run(provider: Callable[[], Any]) -> Any:  # noqa: ANN401 -- the user's callable
    try:
        return provider()
    except StopIteration as error:
        # A future cannot hold it: the caller would wait without end.
        message = "the provider raised StopIteration"
        raise RuntimeError(message) from error
