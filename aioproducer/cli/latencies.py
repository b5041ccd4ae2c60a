"""Latency reports in the format of kafka-producer-perf-test: windows of 5 s, and a closing line."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW_SECONDS = 5.0
MAX_SAMPLES = 500_000
"""Samples for the percentiles, as many as Kafka's tool keeps; averages and maxima count all records."""

_PERCENTILES = (0.50, 0.95, 0.99, 0.999)
_MEGABYTE = 1024 * 1024


class _Window:
    """Sums since `began`; times in seconds, sizes in bytes."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0
        self.size = 0
        self.seconds = 0.0
        self.longest = 0.0

    def add(self, count: int, size: int, seconds: float, longest: float) -> None:
        self.count += count
        self.size += size
        self.seconds += seconds
        self.longest = max(self.longest, longest)

    def rates(self, now: float) -> str:
        elapsed = max(now - self.began, 1e-9)
        return (
            f"{self.count} records sent, {self.count / elapsed:.1f} records/sec "
            f"({self.size / elapsed / _MEGABYTE:.2f} MB/sec)"
        )

    @property
    def average_ms(self) -> float:
        return 1000 * self.seconds / self.count if self.count else 0.0


class Latencies:
    """The latencies of `expected` records, from `send` to the acknowledgement; the run `began` then."""

    def __init__(self, expected: int, began: float) -> None:
        self._step = max(1, -(-expected // MAX_SAMPLES))
        self._samples = array("d")
        self._skip = 0
        self._total = _Window(began)
        self._window = _Window(began)

    def add(self, starts: Sequence[float], size: int, now: float) -> str | None:
        """Count records acknowledged `now`; return the report of a finished window.

        `starts` are the times of the sends, and `size` is the bytes of all values.
        """
        count = len(starts)
        # The sum of all latencies: (now - start) for each record, without a list of them.
        seconds = count * now - sum(starts)
        longest = now - min(starts)
        self._total.add(count, size, seconds, longest)
        self._window.add(count, size, seconds, longest)
        self._samples.extend([now - start for start in starts[self._skip :: self._step]])
        # Take every n-th record across batches: with step 10 and batches of 7, the records 0, 10, 20.
        self._skip = (self._skip - count) % self._step
        if now - self._window.began < WINDOW_SECONDS:
            return None
        report = (
            f"{self._window.rates(now)}, {self._window.average_ms:.1f} ms avg latency, "
            f"{1000 * self._window.longest:.1f} ms max latency."
        )
        self._window = _Window(now)
        return report

    def closing_line(self, now: float) -> str:
        """Return the last line of kafka-producer-perf-test, for a run that ends `now`."""
        samples = sorted(self._samples) or [0.0]
        at = [round(1000 * samples[int(share * len(samples))]) for share in _PERCENTILES]
        return (
            f"{self._total.rates(now)}, {self._total.average_ms:.2f} ms avg latency, "
            f"{1000 * self._total.longest:.2f} ms max latency, "
            f"{at[0]} ms 50th, {at[1]} ms 95th, {at[2]} ms 99th, {at[3]} ms 99.9th."
        )
