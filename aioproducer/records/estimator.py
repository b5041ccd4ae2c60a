"""How well records compress, guessed from the batches before.

Whether a record still fits into a batch must be known before the batch is compressed. The
guess is cautious: it jumps up as soon as a batch compressed worse than expected, and creeps
down while batches compress better, because a batch that turns out too large is refused by
the broker and has to be split, while one that turns out small only wastes a little.
"""

from __future__ import annotations

_WORSE_STEP = 0.05
_BETTER_STEP = 0.005


class CompressionRatio:
    """The compressed size of a batch divided by its plain size, as expected for one topic and codec.

    Moves as Kafka's `CompressionRatioEstimator` does.
    """

    __slots__ = ("estimate",)

    def __init__(self) -> None:
        self.estimate = 1.0

    def observe(self, ratio: float) -> None:
        """Learn from a closed batch's `ratio`."""
        if ratio > self.estimate:
            self.estimate = max(self.estimate + _WORSE_STEP, ratio)
        else:
            self.estimate = max(self.estimate - _BETTER_STEP, ratio)

    def reset_after_split(self, ratio: float) -> None:
        """Start again from no compression: a batch of this `ratio` was larger than the broker takes."""
        self.estimate = max(1.0, ratio)
