"""The producer id and its epoch, as InitProducerId gives them.

    needed ──adopt──▶ id 1000, epoch 0 ──bump──▶ epoch 1 … epoch 32767 ──bump──▶ needed
      ▲                     │
      └────────drop─────────┘   another cluster, or logs that were replaced

A bump follows a gap in the sequences of a partition (KIP-360): see `core/sequences.py`. A producer id
is valid only in the cluster that gave it. Another cluster, or the same one restored from a backup,
gives the same ids to other producers. It would take a batch for a duplicate of the other producer's:
acknowledge it and not store it. So `drop` forgets the id when the cluster or a topic was replaced.
"""

from __future__ import annotations

NO_PRODUCER_ID = -1
MAX_EPOCH = 32767


class ProducerId:
    """The producer id in use.

    While it `is_needed` no batch gets a sequence: InitProducerId was not answered yet, or all epochs
    are used up. `generation` counts the drops.
    """

    __slots__ = ("epoch", "generation", "is_needed", "value")

    def __init__(self) -> None:
        self.value = NO_PRODUCER_ID
        self.epoch = -1
        self.is_needed = True
        self.generation = 0

    @property
    def is_bound(self) -> bool:
        """Whether an id was ever in use, which binds the producer to the cluster that gave it."""
        return self.value != NO_PRODUCER_ID or self.generation > 0

    def adopt(self, value: int, epoch: int, generation: int | None = None) -> bool:
        """Use an id from InitProducerId; return False if it was requested in an earlier generation."""
        # The response is from the old cluster: the id was dropped after the request was sent.
        if generation is not None and generation != self.generation:
            return False
        self.value = value
        self.epoch = epoch
        self.is_needed = False
        return True

    def bump(self) -> None:
        """Begin the next epoch; after the last one a new id is needed."""
        # The epoch is an int16 in the batch header: after 32767 comes a new id with epoch 0.
        if self.epoch < MAX_EPOCH:
            self.epoch += 1
        else:
            # Batches in compression may still get sequences in the last epoch.
            self.is_needed = True

    def drop(self) -> None:
        """Forget the id: the cluster that gave it, or a log, was replaced."""
        # A response that is on its way belongs to the old generation: `adopt` refuses it.
        self.generation += 1
        self.value = NO_PRODUCER_ID
        self.epoch = -1
        self.is_needed = True

    def __repr__(self) -> str:
        return f"<ProducerId {self.value} epoch={self.epoch} is_needed={self.is_needed}>"
