"""The log of retries: one WARNING for each partition and cause, one INFO when records are stored again.

A lost broker affects many partitions at once, so the batches of one response share a line.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from aioproducer.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import PartitionQueue
    from aioproducer.core.shell import Shell

    Cause: TypeAlias = object
    Place: TypeAlias = tuple[str, int]

logger = logging.getLogger("aioproducer.sender")

MOST_NAMED = 10
"""How many partitions a line of the log names."""


class _Trouble:
    """The retries of one partition since its last stored batch."""

    __slots__ = ("causes", "retries", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.retries = 0
        self.causes: set[Cause] = set()


class RetryLog:
    """The partitions with retried batches. `tell` logs what `retried` and `stored` have collected."""

    def __init__(self, shell: Shell) -> None:
        self.troubled: dict[Place, _Trouble] = {}
        self._shell = shell
        self._retried: dict[Cause, list[ProducerBatch]] = {}
        self._stored: dict[Place, _Trouble] = {}

    def retried(self, batch: ProducerBatch) -> None:
        """Note that a batch will be sent again, because of its `last_error`."""
        queue = batch.queue
        trouble = self.troubled.setdefault((queue.topic, queue.partition), _Trouble(self._shell.clock()))
        trouble.retries += 1
        cause = _kind(batch.last_error)
        # One WARNING for each cause: in an outage of minutes a partition is retried many times.
        if cause in trouble.causes:
            logger.debug("sending again: %s", batch.last_error)
            return
        trouble.causes.add(cause)
        self._retried.setdefault(cause, []).append(batch)

    def stored(self, queue: PartitionQueue) -> None:
        """Note that a batch of a partition was stored."""
        place = queue.topic, queue.partition
        # Each stored batch comes here; only those after a retry are news.
        trouble = self.troubled.pop(place, None)
        if trouble is not None:
            self._stored[place] = trouble

    def tell(self) -> None:
        """Log the retries and recoveries since the last call."""
        if self._retried:
            retried, self._retried = self._retried, {}
            for batches in retried.values():
                places = [(batch.queue.topic, batch.queue.partition) for batch in batches]
                count = sum(batch.count for batch in batches)
                first = batches[0]
                logger.warning(
                    "sending %d %s for %s again (attempt %d failed): %s",
                    count, "record" if count == 1 else "records", _names(places), first.attempts,
                    _text(first.last_error),
                )  # fmt: skip
        if self._stored:
            stored, self._stored = self._stored, {}
            # One line for 500 partitions of a broker that was away: the longest trouble stands for all.
            longest = self._shell.clock() - min(trouble.since for trouble in stored.values())
            retries = sum(trouble.retries for trouble in stored.values())
            logger.info(
                "records for %s are stored again after %.1f s and %d %s",
                _names(stored), longest, retries, "retry" if retries == 1 else "retries",
            )  # fmt: skip


def _kind(error: Exception | None) -> Cause:
    # Compare classes and codes, not texts: a text holds times and counts, which differ.
    return error.code if isinstance(error, BrokerError) else type(error)


def _text(error: Exception | None) -> str:
    if not isinstance(error, BrokerError):
        return str(error)
    reason = f": {error.reason}" if error.reason else ""
    return f"the broker answered {error.code.name} ({int(error.code)}){reason}"


def _names(places: Iterable[Place]) -> str:
    names = [f"{topic}-{partition}" for topic, partition in places]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"
