"""The upkeep of the buffer: timers that let records expire, and turns that place waiting records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aioproducer.core.batch import NEVER
from aioproducer.net.timer import WAKES, LateTimer

if TYPE_CHECKING:
    from aioproducer.core.accumulator import Accumulator
    from aioproducer.core.settlement import Settlement
    from aioproducer.net.owner import Owner

PLACED_A_SLICE = 256
"""How many waiting records are placed in one turn of the event loop."""

SOONEST = 0.005
"""Seconds between two expiries, at least."""

NEXT_LOOK = 0.1
"""Seconds to the next look, at least, where nothing expires before: `max_block_ms` may be 0."""


class Upkeep:
    """Does what the buffer needs, in turns of the event loop of its own."""

    def __init__(
        self,
        accumulator: Accumulator,
        settlement: Settlement,
        owner: Owner,
        *,
        delivery_timeout: float,
    ) -> None:
        self._accumulator = accumulator
        self._settlement = settlement
        self._delivery_timeout = delivery_timeout
        self._owner = owner
        self._timer: asyncio.Handle | LateTimer | None = None
        self._is_serving = False

    def stop(self) -> None:
        """Let nothing expire any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Expiry.

    def plan_expiry(self) -> None:
        """Set a timer for the next deadline."""
        due = self._accumulator.next_deadline(self._delivery_timeout)
        if due == NEVER:
            return
        # A record sent after this may expire sooner than `due`, but not before the shorter limit has passed.
        soonest = max(NEXT_LOOK, min(self._accumulator.buffer.max_block, self._delivery_timeout))
        delay = max(SOONEST, min(soonest, due - self._owner.clock()))
        # A response that has arrived in time settles its batch before this timer lets it expire.
        self._timer = LateTimer(delay, self._expire, clock=self._owner.clock, turns=WAKES)

    def _expire(self, now: float) -> None:
        self._timer = None
        try:
            if self._settlement.expire(now):
                self._timer = asyncio.get_running_loop().call_soon(self._expire, now)
            else:
                self.plan_expiry()
        except Exception as error:  # noqa: BLE001 - the background never dies silently
            self._owner.crash(error)

    # Waiting records.

    def serve_soon(self) -> None:
        """Place waiting records in the next turn."""
        loop = self._owner.loop
        if not self._is_serving and loop is not None:
            self._is_serving = True
            # Not at once: room is freed in the middle of a settlement, and placing a record changes
            # the queues.
            loop.call_soon(self._serve)

    def _serve(self) -> None:
        self._is_serving = False
        try:
            more = self._accumulator.serve(PLACED_A_SLICE)
        except Exception as error:  # noqa: BLE001 - the background never dies silently
            self._owner.crash(error)
            return
        except BaseException:
            # KeyboardInterrupt in a user's partitioner ends this turn; the next records go on.
            self.serve_soon()
            raise
        if more:
            self.serve_soon()
