"""A FakeCluster in a thread with its own event loop: it works while a test blocks its loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aioproducer.testing import FakeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def elsewhere(**options: Any) -> Iterator[FakeCluster]:  # noqa: ANN401 - the arguments of FakeCluster
    """Run a cluster in a thread; script its faults before requests come."""
    cluster = FakeCluster(**options)
    loop = asyncio.new_event_loop()
    listens, ended = threading.Event(), asyncio.Event()

    async def run() -> None:
        async with cluster:
            listens.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="cluster")
    thread.start()
    try:
        assert listens.wait(10)
        yield cluster
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
