"""Callables of users that give credentials, and other steps of an authentication that may block."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_THREADS = 4


class Providers:
    """Calls the providers of one client, each sync one in a thread.

    A provider that hangs keeps its thread, also when its caller is cancelled: further calls wait for one of
    the others. The threads are daemons. Those of an executor would keep the interpreter from exiting, and in
    anyio's or the loop's own pool none would be left for compression and host names.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_THREADS)

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

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread and return its result; raises what it raises."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            result: T | None = None
            failure: BaseException | None = None
            try:
                result = context.run(function)
            except BaseException as error:  # noqa: BLE001 -- it belongs to the caller
                failure = error
            try:
                loop.call_soon_threadsafe(self._ended, future, result, failure)
            except RuntimeError:
                # The event loop was closed meanwhile: nothing waits for the result.
                return

        try:
            threading.Thread(target=work, name="aioproducer-credentials", daemon=True).start()
        except BaseException:
            self._free.release()
            raise
        return await future

    def _ended(self, future: asyncio.Future[Any], result: object, failure: BaseException | None) -> None:
        self._free.release()
        # Its caller was cancelled.
        if future.done():
            return
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)

    async def _call(self, provider: Callable[[], Any]) -> Any:  # noqa: ANN401 -- the user's callable
        if inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(
            getattr(provider, "__call__", None)  # noqa: B004 -- for objects whose __call__ is async
        ):
            return await provider()
        result = await self.run(partial(_run, provider))
        # functools.partial of a coroutine function, a lambda around one.
        return await result if inspect.isawaitable(result) else result


def _run(provider: Callable[[], Any]) -> Any:  # noqa: ANN401 -- the user's callable
    try:
        return provider()
    except StopIteration as error:
        # A future cannot hold it: the caller would wait without end.
        message = "the provider raised StopIteration"
        raise RuntimeError(message) from error
