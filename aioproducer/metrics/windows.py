"""Windows: rates, averages and maxima of the recent past, for the cost of an addition.

An event is added to the tally of the current window only. When `now` passes the end of that
window, `roll` adds the tally to the total and keeps it for as long as it counts as recent. Sums
are computed on request.

        total ◀── add ───┐
                         │
    ───┬─────────────┬───┴─────────┬─────────────┬──▶ time
       │   closed    │   closed    │   current   │
       └─────────────┴─────────────┴──────┬──────┴ ends
                     ╰────── recent ──────╯
                                         now

The caller counts, for speed:

    if now >= windows.ends:
        windows.roll(now)
    windows.current.records += 5
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar


class Tally:
    """The counts of one window.

    A subclass is a dataclass with slots whose fields are numbers that start at 0. A field whose
    name ends in `_max` is a maximum; every other is a sum.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()

    def add(self, other: Self) -> None:
        """Add the counts of `other`."""
        for name in self.__slots__:
            mine, others = getattr(self, name), getattr(other, name)
            setattr(self, name, max(mine, others) if name.endswith("_max") else mine + others)


TallyT = TypeVar("TallyT", bound=Tally)


@dataclass(frozen=True, slots=True)
class Period:
    """The recent past: the current window and the `windows` - 1 before it, counted from `start`.

    All windows of one period begin and end at the same times. `length` is in seconds.
    """

    start: float
    length: float = 30.0
    windows: int = 2

    def index(self, now: float) -> int:
        """Return the number of the window at `now`."""
        return int((now - self.start) / self.length)

    def end(self, index: int) -> float:
        """Return the time at which a window ends."""
        return self.start + (index + 1) * self.length

    def oldest(self, now: float) -> int:
        """Return the number of the first recent window."""
        return self.index(now) - self.windows + 1

    def seconds(self, now: float) -> float:
        """Return how many seconds the recent windows cover: the divisor of rates.

        In its first minute a producer is measured over its age, but at least over one second.
        Java divides by a full window from the first record on, which gives too low a rate.
        """
        # Two windows of 30 s, 70 s after the start: the recent past begins at 30 s and covers 40 s.
        begin = max(self.start, self.start + self.oldest(now) * self.length)
        return max(now - begin, 1.0)


class Windows(Generic[TallyT]):
    """The tallies of one scope: a topic, a node, the producer.

    Count in `current` until `now` reaches `ends`.
    """

    __slots__ = ("_closed", "_index", "_kind", "_period", "_total", "current", "ends")

    def __init__(self, kind: type[TallyT], period: Period, now: float) -> None:
        self._kind = kind
        self._period = period
        self._index = period.index(now)
        self._closed: dict[int, TallyT] = {}
        self._total = kind()
        self.current = kind()
        self.ends = period.end(self._index)

    def roll(self, now: float) -> None:
        """Close the current window, drop the old ones and begin the window of `now`."""
        self._total.add(self.current)
        self._close(self._index, self.current)
        # Rounding may still place `now` in the window that has just ended.
        self._index = max(self._period.index(now), self._index + 1)
        self._drop_before(self._index - self._period.windows + 1)
        self.current = self._kind()
        self.ends = self._period.end(self._index)

    def absorb(self, other: Windows[TallyT]) -> None:
        """Take over the counts of a scope that is removed."""
        self._total.add(other.total())
        for index, tally in (*other._closed.items(), (other._index, other.current)):
            self._close(index, tally)
        self._drop_before(max(self._closed) - self._period.windows + 1)

    def recent(self, now: float) -> TallyT:
        """Return the sum of the recent windows."""
        oldest = self._period.oldest(now)
        recent = self._kind()
        for index, tally in (*self._closed.items(), (self._index, self.current)):
            if index >= oldest:
                recent.add(tally)
        return recent

    def total(self) -> TallyT:
        """Return the counts since the start."""
        total = self._kind()
        total.add(self._total)
        total.add(self.current)
        return total

    def _close(self, index: int, tally: TallyT) -> None:
        # `absorb` may close a window that is closed here already: add to it.
        self._closed.setdefault(index, self._kind()).add(tally)

    def _drop_before(self, oldest: int) -> None:
        self._closed = {index: tally for index, tally in self._closed.items() if index >= oldest}
