"""Backoff: how long to wait before the next attempt (KIP-580).

Each failure doubles the wait, up to a maximum. A random part spreads clients that failed at the same
time, so that they do not all try again at the same time.

    attempts   0     1     2     3     4     5        with initial 0.1 s, maximum 1 s
    wait      0.1   0.2   0.4   0.8   1.0   1.0       each times 0.8 to 1.2, but never above 1 s
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Backoff:
    """Exponential waits with jitter, in seconds; Java's `ExponentialBackoff`.

    `random` gives floats from 0 up to 1. An `initial` of the maximum or more gives the
    maximum each time, without jitter; an `initial` of 0 never waits. One object holds no
    count of its own and serves any number of connections or batches.

        >>> backoff = Backoff(0.1, 1.0, random=lambda: 0.5)
        >>> [backoff.delay(attempts) for attempts in range(6)]
        [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    """

    __slots__ = ("_growing", "_initial", "_is_constant", "_jitter", "_maximum", "_multiplier", "_random")

    def __init__(
        self,
        initial: float,
        maximum: float,
        random: Callable[[], float],
        multiplier: float = 2,
        jitter: float = 0.2,
    ) -> None:
        self._initial = min(initial, maximum)
        self._maximum = maximum
        self._random = random
        self._multiplier = multiplier
        self._jitter = jitter
        # The wait grows for so many attempts. Higher powers are not computed: after a week of
        # attempts they would overflow.
        self._growing = 0.0
        self._is_constant = not 0 < initial < maximum
        if not self._is_constant:
            self._growing = (math.log(maximum) - math.log(initial)) / math.log(multiplier)

    def delay(self, attempts: int) -> float:
        """Return the seconds to wait after `attempts` earlier failures in a row (0 for the first wait)."""
        if self._is_constant:
            return self._initial
        # Limit before the jitter, so that the longest waits are spread, too.
        wait = self._maximum if attempts >= self._growing else self._initial * self._multiplier**attempts
        # Jitter 0.2: a factor from 0.8 to 1.2.
        spread = 1 + self._jitter * (2 * self._random() - 1)
        return float(min(self._maximum, wait * spread))
