"""Measures how long the event loop was blocked, and how much of that was work of its own thread.

A timer fires in the loop every 5 ms; a late one shows a blocked loop. On a machine with few
processors the loop's thread also waits while Java processes start. So there are two figures: the
lateness on the wall clock (`wall`), and the processor time of the thread between two timers (`cpu`).
The limit is for `cpu`; code that blocks without work shows in `wall` only.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BEAT = 0.005
KEPT = 5


@dataclass(slots=True)
class LoopWatch:
    """The longest stalls in seconds; `worst` are the five that took most processor time."""

    wall: float = 0.0
    cpu: float = 0.0
    worst: list[tuple[float, float, float]] = field(default_factory=list)
    _began: float = 0.0
    _due: float = 0.0
    _used: float = 0.0
    _timer: asyncio.TimerHandle | None = None

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Watch the running loop while the block runs.

        Existing objects are frozen for the garbage collector: a collection of the test runner's
        objects would count as the producer's work.
        """
        gc.collect()
        gc.freeze()
        self._began = asyncio.get_running_loop().time()
        self._plan()
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            gc.unfreeze()

    def __str__(self) -> str:
        stalls = (
            f"{wall * 1000:.1f} ms ({cpu * 1000:.1f} ms of work) at {at:.2f} s"
            for cpu, wall, at in sorted(self.worst, reverse=True)
        )
        return "longest stalls: " + ", ".join(stalls)

    def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + BEAT
        self._used = time.thread_time()
        self._timer = loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        wall = now - self._due
        cpu = min(wall, time.thread_time() - self._used)
        self.wall = max(self.wall, wall)
        self.cpu = max(self.cpu, cpu)
        stall = (cpu, wall, now - self._began)
        if len(self.worst) < KEPT:
            heappush(self.worst, stall)
        elif stall > self.worst[0]:
            heappushpop(self.worst, stall)
        self._plan()
