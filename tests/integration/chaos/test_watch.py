"""The watch distinguishes work in the event loop from waiting."""

from __future__ import annotations

import asyncio
import time

from tests.integration.chaos.watch import LoopWatch

LONG = 0.2


async def test_work_in_loop_is_seen() -> None:
    watch = LoopWatch()

    with watch.beating():
        await asyncio.sleep(0.02)
        until = time.thread_time() + LONG
        while time.thread_time() < until:
            pass
        await asyncio.sleep(0.02)

    assert watch.wall >= watch.cpu >= LONG - 0.02
    assert f"({watch.cpu * 1000:.1f} ms of work)" in str(watch)


async def test_waiting_thread_did_no_work() -> None:
    watch = LoopWatch()

    with watch.beating():
        await asyncio.sleep(0.02)
        time.sleep(LONG)  # noqa: ASYNC251 - blocks the loop on purpose
        await asyncio.sleep(0.02)

    assert watch.wall >= LONG - 0.02
    assert watch.cpu < LONG / 2
