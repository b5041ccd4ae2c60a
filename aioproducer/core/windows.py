"""Windows: rates, averages and peaks of the recent past, at the price of an addition.

The one idea: an event is counted once, into the tally of the current window. Only when
`now` has passed that window's end is the tally folded into the total and set aside for
as long as it counts as recent; sums are taken when somebody asks.

        total ◀── fold ──┐
                         │
    ───┬─────────────┬───┴─────────┬─────────────┬──▶ time
       │   closed    │   closed    │   current   │
       └─────────────┴─────────────┴──────┬──────┴ ends
                     ╰────── recent ──────╯
                                         now

Counting is the caller's, for speed; three lines, the first of which is the whole upkeep:

    if now >= windows.ends:
        windows.roll(now)
    windows.current.records += 5
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


class Tally:
    """What was counted in one stretch of time.

    A subclass is a dataclass with slots and numbers that start at 0. A number whose name
    ends in `_max` is the greatest seen; every other is a sum.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()

    def add(self, other: Self) -> None:
        """Take in what `other` has counted."""
        for name in self.__slots__:
            mine, others = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, others) if name.endswith("_max") else mine + others)


TallyT = TypeVar("TallyT", bound=Tally)


@dataclass(frozen=True, slots=True)
class Period:
    """What "recent" means: the current window and the `windows` - 1 before it, from `start` on.

    All windows that share a period begin and end at the same times.
    """

    start: float
    length: float = 30.0
    windows: int = 2

    def index(self, now: float) -> int:
        """Return the number of the window that `now` falls into."""
        return int((now - self.start) / self.length)

    def end(self, index: int) -> float:
        """Return the time at which a window is over."""
        return self.start + (index + 1) * self.length

    def oldest(self, now: float) -> int:
        """Return the number of the first window that is recent."""
        return self.index(now) - self.windows + 1

    def seconds(self, now: float) -> float:
        """Return how many seconds the recent windows cover: the divisor of rates.

        In its first minute a producer is measured over its age, but at least over a
        second. (Java divides by a full window from the first record on and reads too low.)
        """
        begin = max(self.start, self.start + self.oldest(now) * self.length)
        return max(now - begin, 1.0)


class Windows(Generic[TallyT]):
    """The tallies of one scope: a topic, a node, the producer.

    `current` is where to count, until `now` reaches `ends`.
    """

    __slots__ = ("_closed", "_index", "_kind", "_period", "_total", "current", "ends")

    def __init__(self, kind: Callable[[], TallyT], period: Period, now: float) -> None:
        self._kind = kind
        self._period = period
        self._index = period.index(now)
        self._closed: dict[int, TallyT] = {}
        self._total = kind()
        self.current = kind()
        self.ends = period.end(self._index)

    def roll(self, now: float) -> None:
        """Set the current window aside, drop those that are no longer recent, begin the one of `now`."""
        self._total.add(self.current)
        self._set_aside(self._index, self.current)
        # Rounding may put `now` still into the window that has just ended.
        self._index = max(self._period.index(now), self._index + 1)
        self._drop_before(self._index - self._period.windows + 1)
        self.current = self._kind()
        self.ends = self._period.end(self._index)

    def absorb(self, other: Windows[TallyT]) -> None:
        """Count as ours what another scope counted, now that it goes away."""
        self._total.add(other.total())
        for index, tally in (*other._closed.items(), (other._index, other.current)):
            self._set_aside(index, tally)
        self._drop_before(max(self._closed) - self._period.windows + 1)

    def recent(self, now: float) -> TallyT:
        """Return what the recent windows hold together."""
        oldest = self._period.oldest(now)
        recent = self._kind()
        for index, tally in (*self._closed.items(), (self._index, self.current)):
            if index >= oldest:
                recent.add(tally)
        return recent

    def total(self) -> TallyT:
        """Return what was counted since the beginning."""
        total = self._kind()
        total.add(self._total)
        total.add(self.current)
        return total

    def _set_aside(self, index: int, tally: TallyT) -> None:
        self._closed.setdefault(index, self._kind()).add(tally)

    def _drop_before(self, oldest: int) -> None:
        self._closed = {index: tally for index, tally in self._closed.items() if index >= oldest}
