"""When to refresh the metadata: requests, age and backoff, and the refresh in flight."""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioproducer.core.backoff import Backoff

LEAST_BACKOFF = 0.05
"""Seconds between two refreshes without a change, even if retry_backoff_ms is 0."""


class Scope(Enum):
    """The topics that one refresh asks for."""

    NEW = auto()
    """Topics that no response has contained yet, asked for before the backoff is over."""
    DUE = auto()
    """New topics, topics in error and topics without a leader."""
    ALL = auto()
    """All topics of interest."""


class RefreshPlan:
    """The time of the next refresh, and the scope of the refresh in flight.

    Times are in seconds. `not_before` is the end of the backoff.
    """

    __slots__ = (
        "_asks_for",
        "_backoff",
        "_failures",
        "_fruitless",
        "_is_requested",
        "_is_routine",
        "_max_age",
        "_refreshed_at",
        "_scope",
        "not_before",
    )

    def __init__(self, max_age: float, backoff: Backoff) -> None:
        self._max_age = max_age
        self._backoff = backoff
        self._is_requested = True
        self._refreshed_at = -inf
        self.not_before = -inf
        self._failures = 0
        self._fruitless = 0
        # The refresh in flight: its scope, the number of its topics, and whether age is its only reason.
        self._scope = Scope.ALL
        self._asks_for = 0
        self._is_routine = False

    def age(self, now: float) -> float:
        """Return the seconds since all topics were last refreshed, 0.0 if they never were."""
        return now - self._refreshed_at if self._refreshed_at > -inf else 0.0

    def request(self) -> None:
        """Make a full refresh due."""
        self._is_requested = True

    def next(self, now: float, *, has_new: bool, has_due: bool) -> float:
        """Return when to refresh, `now` if it is time."""
        # A record waits for a new topic: ask at once. After a failure all brokers may be away: back off.
        if has_new and not self._failures:
            return now
        if self._is_requested or has_due:
            return max(now, self.not_before)
        return max(now, self.not_before, self._refreshed_at + self._max_age)

    def start(self, now: float, *, has_new: bool, has_due: bool) -> Scope:
        """Begin a refresh and return its scope; call `ask_for` with the number of its topics."""
        if has_new and now < self.not_before and not self._failures:
            # Only new topics are asked for early; topics that were not found wait for their backoff.
            self._is_routine = False
            self._scope = Scope.NEW
            return self._scope
        is_full = self._is_requested or now >= self._refreshed_at + self._max_age
        self._is_routine = not self._is_requested and not has_due
        self._is_requested = False
        self._scope = Scope.ALL if is_full else Scope.DUE
        return self._scope

    def ask_for(self, count: int) -> None:
        """Note how many topics the refresh in flight asks for."""
        self._asks_for = count

    def succeeded(self, now: float, *, asked: int, is_news: bool) -> None:
        """Note a response about `asked` topics, and whether it changed anything."""
        self._failures = 0
        if self._scope is not Scope.NEW:
            # An election takes a while: the first fruitless response is followed by the first backoff,
            # the second by twice that, and so on. A routine refresh is expected to change nothing.
            self._fruitless = 0 if self._is_routine or is_news else self._fruitless + 1
            self.not_before = now + self._backoff.delay(max(self._fruitless - 1, 0))
        if self._scope is Scope.ALL:
            # The response of a bootstrap server has no topics: then the full refresh stays due.
            if asked < self._asks_for:
                self._is_requested = True
            else:
                self._refreshed_at = now

    def failed(self, now: float) -> None:
        """Note that the refresh failed, and lengthen the backoff."""
        self.not_before = now + max(self._backoff.delay(self._failures), LEAST_BACKOFF)
        self._failures += 1
        # `start` took the request back: what it was for is not done yet.
        self._is_requested |= self._scope is Scope.ALL

    def end_backoff_growth(self) -> None:
        """Let the next backoff be the first one: a leader became known by another way."""
        self._fruitless = 0
