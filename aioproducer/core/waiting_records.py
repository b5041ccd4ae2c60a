"""Waiting records: records that cannot be put into a batch yet, first in, first out.

    append ──no room──────▶ for room ──────────────────room──▶ batch
       └─────no topic─────▶ for topic ──admit──▶ (for room)
                     either ──reject──▶ rejected ──fail_rejected──▶ deliveries raise
                     either ──expire─────────────────────────────▶ deliveries raise

Records wait for room in `buffer_memory`, or for their topic, or a partition of it, to become known.
When it does, they join the records that wait for room, in the order of `send`. All records may wait
equally long, so each queue is sorted by deadline. Rejected records leave the queue at once; their
deliveries fail later, in slices.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from aioproducer.batch_result import BatchResult
from aioproducer.core.batch import NEVER
from aioproducer.delivery import move_delivery, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aioproducer.delivery import Delivery
    from aioproducer.errors import ProducerError

NO_LIMIT = sys.maxsize
"""The limit of calls that take all records at once."""


@dataclass(slots=True, eq=False)
class WaitingRecord:
    """A record without a batch.

    `partition` -1 is still to be chosen, `section` has the encoded headers, `size` is an upper bound in
    bytes.
    """

    delivery: Delivery
    topic: str
    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    section: bytearray | None
    size: int
    deadline: float


class WaitingRecords:
    """The queues of waiting records; `bytes` is the sum of their sizes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._for_room: deque[WaitingRecord] = deque()
        self._for_topic: dict[str, deque[WaitingRecord]] = {}
        # The lowest and the highest partition that records of each topic wait for.
        self._partitions: dict[str, tuple[int, int]] = {}
        self._rejected: deque[tuple[deque[WaitingRecord], Rejection]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._queues()))

    def add_for_room(self, record: WaitingRecord) -> None:
        """Add a record that waits for room."""
        self.bytes += record.size
        self._for_room.append(record)

    def add_for_topic(self, record: WaitingRecord) -> None:
        """Add a record that waits for its topic, in the order of deadlines."""
        self.bytes += record.size
        topic = record.topic
        waiting = self._for_topic.setdefault(topic, deque())
        # -1, a partition that is still to be chosen, is below all numbers: such a record can go as
        # soon as the topic is known.
        lowest, highest = self._partitions.get(topic, (record.partition, record.partition))
        if not waiting or not lowest <= record.partition <= highest:
            self._partitions[topic] = (min(lowest, record.partition), max(highest, record.partition))
        # It is last, unless it waited for room before and its partition was lost meanwhile.
        position = len(waiting)
        while position and waiting[position - 1].deadline > record.deadline:
            position -= 1
        waiting.insert(position, record)

    def first_for_room(self) -> WaitingRecord | None:
        """Return the record that is to be placed first, None if none waits for room."""
        return self._for_room[0] if self._for_room else None

    def pop_for_room(self) -> WaitingRecord:
        """Remove the record that is to be placed first."""
        record = self._for_room.popleft()
        self.bytes -= record.size
        return record

    def topics(self) -> list[str]:
        """Return the topics that records wait for."""
        return list(self._for_topic)

    def busy_topics(self) -> set[str]:
        """Return the topics of all waiting records."""
        rejected = (record.topic for waiting, _ in self._rejected for record in waiting)
        return {*self._for_topic, *(record.topic for record in self._for_room), *rejected}

    def admit(self, partitions: Mapping[str, int]) -> int:
        """Let records wait for room whose topics have so many partitions; return their number.

        One queue is moved as a whole if no other record waits for room: it may hold hundreds of
        thousands of records that were sent before their topic was found.
        """
        queues = [queue for topic, count in partitions.items() if (queue := self._take_topic(topic, count))]
        admitted = sum(map(len, queues))
        if len(queues) == 1 and not self._for_room:
            self._for_room = queues[0]
        elif queues:
            # Each part is sorted already, and `sorted` merges sorted runs quickly.
            self._for_room = deque(sorted(chain(self._for_room, *queues), key=_deadline))
        return admitted

    def next_deadline(self) -> float:
        """Return when the next record expires, NEVER if none waits."""
        deadline = self._for_room[0].deadline if self._for_room else NEVER
        for waiting in self._for_topic.values():
            deadline = min(deadline, waiting[0].deadline)
        return deadline

    def expire_for_room(self, now: float, limit: int = NO_LIMIT) -> list[WaitingRecord]:
        """Remove up to `limit` records that have waited for room too long."""
        return self._expire(self._for_room, now, limit)

    def expire_for_topics(self, now: float, limit: int = NO_LIMIT) -> list[WaitingRecord]:
        """Remove up to `limit` records that have waited for their topic too long."""
        expired: list[WaitingRecord] = []
        for topic in list(self._for_topic):
            expired += self._expire(self._for_topic[topic], now, limit - len(expired))
            if not self._for_topic[topic]:
                del self._for_topic[topic], self._partitions[topic]
            if len(expired) == limit:
                break
        return expired

    def reject(self, topic: str, rejection: Rejection) -> None:
        """Reject the records that wait for a topic."""
        waiting = self._for_topic.pop(topic, None)
        if waiting is not None:
            del self._partitions[topic]
            self._rejected.append((waiting, rejection))

    def reject_all(self, rejection: Rejection) -> int:
        """Reject all records; return how many of them waited for room."""
        waited_for_room = len(self._for_room)
        self._rejected.append((self._for_room, rejection))
        self._rejected.extend((waiting, rejection) for waiting in self._for_topic.values())
        self._for_room = deque()
        self._for_topic.clear()
        self._partitions.clear()
        return waited_for_room

    def fail_rejected(self, limit: int = NO_LIMIT) -> bool:
        """Fail up to `limit` rejected records; return whether there are more."""
        while self._rejected and limit:
            waiting, rejection = self._rejected[0]
            # NEVER is after all deadlines: take the first `limit` records.
            failed = self._expire(waiting, NEVER, limit)
            limit -= len(failed)
            if not waiting:
                self._rejected.popleft()
            rejection.fail(failed)
        return bool(self._rejected)

    def records(self) -> Iterator[WaitingRecord]:
        """Iterate over all waiting records."""
        return chain.from_iterable(self._queues())

    def _take_topic(self, topic: str, count: int) -> deque[WaitingRecord]:
        lowest, highest = self._partitions.get(topic, (count, count))
        # The queue is missing, or all its records wait for later partitions: do not walk over them at
        # each response.
        if lowest >= count:
            return deque()
        waiting = self._for_topic.pop(topic)
        del self._partitions[topic]
        if highest < count:
            return waiting
        # The topic has 3 partitions: records for partition 5 go on waiting for it.
        left = deque(record for record in waiting if record.partition >= count)
        if left:
            self._for_topic[topic] = left
            self._partitions[topic] = (min(record.partition for record in left), highest)
        return deque(record for record in waiting if record.partition < count)

    def _queues(self) -> Iterator[deque[WaitingRecord]]:
        yield self._for_room
        yield from self._for_topic.values()
        for waiting, _ in self._rejected:
            yield waiting

    def _expire(self, waiting: deque[WaitingRecord], now: float, limit: int) -> list[WaitingRecord]:
        expired: list[WaitingRecord] = []
        while waiting and waiting[0].deadline <= now and len(expired) < limit:
            record = waiting.popleft()
            self.bytes -= record.size
            expired.append(record)
        return expired


class Rejection:
    """Fails waiting records, in any number of slices; `error_of(record)` makes the error.

    The records of one partition share a result, as those of a batch do: if the deliveries of ten
    thousand records are dropped, they are logged once.
    """

    def __init__(self, error_of: Callable[[WaitingRecord], ProducerError]) -> None:
        self._error_of = error_of
        self._shared: dict[tuple[str, int], BatchResult] = {}

    def fail(self, records: Iterable[WaitingRecord]) -> None:
        """Fail these records."""
        first: dict[tuple[str, int], WaitingRecord] = {}
        for record in records:
            place = (record.topic, record.partition)
            shared = self._shared.get(place)
            if shared is None:
                shared = self._shared[place] = BatchResult(*place, result_of(record.delivery).loop)
            first.setdefault(place, record)
            move_delivery(record.delivery, shared, shared.reserve())
        for place, record in first.items():
            shared = self._shared[place]
            # The first slice makes the error of a partition; later slices use the same one.
            shared.fail(shared.count, shared.error or self._error_of(record))


def _deadline(record: WaitingRecord) -> float:
    return record.deadline
