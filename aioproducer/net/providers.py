"""Callables of users that give credentials: sync or async, slow or failing."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable


async def call(provider: Callable[[], Any]) -> Any:  # noqa: ANN401 -- the user's callable
    """Call a sync or async callable; a sync one in a worker thread, since it may block."""
    if inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(
        getattr(provider, "__call__", None)  # noqa: B004 -- for objects whose __call__ is async
    ):
        return await provider()
    result = await anyio.to_thread.run_sync(provider, abandon_on_cancel=True)
    # functools.partial of a coroutine function, a lambda around one.
    return await result if inspect.isawaitable(result) else result
