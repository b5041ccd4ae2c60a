"""The records that cannot be placed yet: first come, first served.

Some wait for room in the buffer, some for their topic (or a partition of it) to become
known; when it does, they join those who wait for room at the place that their arrival gives
them. All wait equally long at most, so both lines are sorted by deadline.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from aioproducer.core.producer_batch import NEVER
from aioproducer.delivery import BatchResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aioproducer.delivery import Delivery
    from aioproducer.errors import ProducerError


@dataclass(slots=True, eq=False)
class WaitingRecord:
    """A record in line; `partition` -1 is still to be chosen, `size` is its upper bound in bytes."""

    delivery: Delivery
    topic: str
    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    section: bytearray | None
    size: int
    deadline: float


class Line:
    """Both lines; `bytes` is what the records in them add up to."""

    def __init__(self) -> None:
        self.bytes = 0
        self._for_room: deque[WaitingRecord] = deque()
        self._for_topic: dict[str, deque[WaitingRecord]] = {}

    def __len__(self) -> int:
        return len(self._for_room) + sum(map(len, self._for_topic.values()))

    def wait_for_room(self, record: WaitingRecord) -> None:
        """Put a record at the end of the line for room."""
        self.bytes += record.size
        self._for_room.append(record)

    def wait_for_topic(self, record: WaitingRecord) -> None:
        """Put a record in its topic's line: at the end, but before those who came later than it."""
        self.bytes += record.size
        waiting = self._for_topic.setdefault(record.topic, deque())
        position = len(waiting)
        while position and waiting[position - 1].deadline > record.deadline:
            position -= 1
        waiting.insert(position, record)

    def first_for_room(self) -> WaitingRecord | None:
        """Return the record whose turn it is, None if nobody waits for room."""
        return self._for_room[0] if self._for_room else None

    def pop_for_room(self) -> WaitingRecord:
        """Take the record whose turn it is out of the line."""
        record = self._for_room.popleft()
        self.bytes -= record.size
        return record

    def topics(self) -> list[str]:
        """Return the topics that records wait for."""
        return list(self._for_topic)

    def admit(self, partitions: Mapping[str, int]) -> int:
        """Let the records of topics that have so many partitions wait for room; return how many."""
        admitted: list[WaitingRecord] = []
        for topic, count in partitions.items():
            waiting = self._for_topic.pop(topic, ())
            admitted += [record for record in waiting if record.partition < count]
            left = deque(record for record in waiting if record.partition >= count)
            if left:
                self._for_topic[topic] = left
        if admitted:
            self._for_room = deque(sorted(chain(self._for_room, admitted), key=_deadline))
        return len(admitted)

    def next_deadline(self) -> float:
        """Return when the next record has waited too long, NEVER if none waits."""
        deadline = self._for_room[0].deadline if self._for_room else NEVER
        for waiting in self._for_topic.values():
            deadline = min(deadline, waiting[0].deadline)
        return deadline

    def expire_for_room(self, now: float) -> list[WaitingRecord]:
        """Take out the records that have waited for room too long."""
        return self._expire(self._for_room, now)

    def expire_for_topics(self, now: float) -> list[WaitingRecord]:
        """Take out the records that have waited for their topic too long."""
        expired: list[WaitingRecord] = []
        for topic in list(self._for_topic):
            expired += self._expire(self._for_topic[topic], now)
            if not self._for_topic[topic]:
                del self._for_topic[topic]
        return expired

    def pop_topic(self, topic: str) -> list[WaitingRecord]:
        """Take out all records that wait for a topic, which turned out to be of no use."""
        waiting = self._for_topic.pop(topic, ())
        self.bytes -= sum(record.size for record in waiting)
        return list(waiting)

    def pop_all(self) -> tuple[list[WaitingRecord], int]:
        """Take out every record; return them, and how many of them waited for room."""
        waited_for_room = len(self._for_room)
        everyone = list(self.records())
        self._for_room.clear()
        self._for_topic.clear()
        self.bytes = 0
        return everyone, waited_for_room

    def records(self) -> Iterator[WaitingRecord]:
        """Iterate over all records in line."""
        yield from self._for_room
        for waiting in self._for_topic.values():
            yield from waiting

    def _expire(self, waiting: deque[WaitingRecord], now: float) -> list[WaitingRecord]:
        expired = []
        while waiting and waiting[0].deadline <= now:
            record = waiting.popleft()
            self.bytes -= record.size
            expired.append(record)
        return expired


def fail_together(records: list[WaitingRecord], error_of: Callable[[WaitingRecord], ProducerError]) -> None:
    """Fail records that were taken out of line; `error_of(record)` says why.

    Those of one topic and partition share a result, as the records of a batch do, so that
    ten thousand of them that nobody looks at are logged once.
    """
    groups: dict[tuple[str, int], list[WaitingRecord]] = {}
    for record in records:
        groups.setdefault((record.topic, record.partition), []).append(record)
    for (topic, partition), group in groups.items():
        shared = BatchResult(topic, partition, group[0].delivery.result_of_batch.loop)
        for index, record in enumerate(group):
            alone = record.delivery.result_of_batch
            record.delivery.result_of_batch = shared
            record.delivery.index = index
            alone.split([(-index, shared)])
        shared.fail(len(group), error_of(group[0]))


def _deadline(record: WaitingRecord) -> float:
    return record.deadline
