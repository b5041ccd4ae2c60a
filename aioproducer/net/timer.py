"""Timeouts that read the sockets before they decide.

If a callback blocks the event loop, the loop runs late timers before it reads the sockets:

    poll ─▶ slow callback, while a response arrives ─▶ timer: "no response in time" (wrong)

So a timer that is due lets the loop poll its sockets once more:

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

In its first turn asyncio's loop runs the callbacks before it handles what it reads; uvloop polls
after its first turn."""

WAKES = 20
"""Turns of the loop after which tasks have handled the data that was read."""


class LateTimer:
    """Calls `function(now)` after `delay` seconds and some more turns of the loop, unless cancelled.

    In these turns the loop reads its sockets. `now` is the time before them. A deadline before
    `now` is past; one between `now` and the call is not, as its sockets may be unread.
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
        # A deadline that passes during the next turns is for a later timer: its data may be unread.
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
    """Raise TimeoutError after `seconds`, but only when tasks have handled all data that came in time."""
    with anyio.CancelScope() as scope:
        clock = asyncio.get_running_loop().time
        # Tasks have to handle the data, too: a response wakes a task some turns after it was read.
        timer = LateTimer(seconds, lambda _: scope.cancel(), clock=clock, turns=WAKES)
        try:
            yield
        finally:
            timer.cancel()
    if scope.cancelled_caught:
        raise TimeoutError
