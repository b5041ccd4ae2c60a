"""An event loop with simulated time: instead of waiting for a timer it advances its clock.

A test marked `simulated` runs on it. Its timeouts pass at once, and a slow machine changes no time
that it measures. Both ends of each connection must be in this loop, and nothing in a thread.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectors import SelectorKey

REAL_WAIT = 0.002
"""Real seconds for sockets and threads before the clock advances."""

MOST_TURNS = 100_000
"""Turns of the loop without a wait, after which a test fails: no test has so much to do at once."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop for sockets within this process; `now` is its time, from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self._turns += 1
        if self._turns > MOST_TURNS:
            message = f"the loop never waits: {MOST_TURNS} turns at {self._loop.now:.3f} s"
            raise RuntimeError(message)
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(REAL_WAIT)
        if not ready:
            self._loop.now += timeout
            self._turns = 0
        return ready
