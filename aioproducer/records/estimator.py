"""An estimate of the compression ratio, from earlier batches.

A record must be assigned to a batch before the batch is compressed. The estimate is cautious: it
rises at once when a batch compresses worse than expected, and falls slowly while batches compress
better. A batch that is too large must be split; a batch that is too small only wastes a little.
"""

from __future__ import annotations

_WORSE_STEP = 0.05
_BETTER_STEP = 0.005


class CompressionRatio:
    """The expected ratio of compressed to uncompressed size, for one topic and codec.

    Works like Kafka's `CompressionRatioEstimator`.
    """

    __slots__ = ("estimate",)

    def __init__(self) -> None:
        self.estimate = 1.0

    def observe(self, ratio: float) -> None:
        """Update the estimate with the `ratio` of a closed batch."""
        # From 0.50, a batch with 0.52 gives 0.55, and a batch with 0.30 gives 0.495.
        if ratio > self.estimate:
            self.estimate = max(self.estimate + _WORSE_STEP, ratio)
        else:
            self.estimate = max(self.estimate - _BETTER_STEP, ratio)

    def reset_after_split(self, ratio: float) -> None:
        """Reset the estimate: a batch with this `ratio` was too large for the broker."""
        self.estimate = max(1.0, ratio)
