"""Timeouts that read the sockets before they decide.

An event loop that is held runs a late timer before it reads what has arrived meanwhile:

    poll ─▶ callback that holds the loop, while a response arrives ─▶ timer: "no response in time"

So a timer that is due first lets the loop poll its sockets once more:

    timer ─▶ turn ─▶ poll, read the response ─▶ turn ─▶ decide
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READS = 2
"""Turns of the loop after which it has polled and read its sockets.

asyncio's loop runs the callbacks of the first turn before what it reads in that turn, uvloop's
polls after the first turn."""

WAKES = 20
"""Turns of the loop after which tasks have handled what was read as well."""


class LateTimer:
    """Calls `function(now)` after `delay` seconds and some more turns of the loop, unless cancelled.

    In these turns the loop reads its sockets. `now` is the time before them: what was due by
    then had its chance, what became due in these turns has not.
    """

    __slots__ = ("_clock", "_function", "_handle", "_loop", "_now", "_turns")

    def __init__(
        self,
        delay: float,
        function: Callable[[float], object],
        *,
        clock: Callable[[], float],
        turns: int = READS,
    ) -> None:
        self._function = function
        self._clock = clock
        self._turns = turns
        self._now = 0.0
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle = self._loop.call_later(max(0.0, delay), self._begin)

    def cancel(self) -> None:
        """Do not call the function any more."""
        self._handle.cancel()

    def _begin(self) -> None:
        self._now = self._clock()
        self._turn()

    def _turn(self) -> None:
        if self._turns == 0:
            self._function(self._now)
            return
        self._turns -= 1
        self._handle = self._loop.call_soon(self._turn)


@contextmanager
def late_timeout(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after `seconds`, once tasks have handled what has arrived in time."""
    with anyio.CancelScope() as scope:
        clock = asyncio.get_running_loop().time
        timer = LateTimer(seconds, lambda _: scope.cancel(), clock=clock, turns=WAKES)
        try:
            yield
        finally:
            timer.cancel()
    if scope.cancelled_caught:
        raise TimeoutError
