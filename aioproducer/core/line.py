"""The records that cannot be placed yet: first come, first served.

Some wait for room in the buffer, some for their topic (or a partition of it) to become
known; when it does, they join those who wait for room at the place that their arrival gives
them. All wait equally long at most, so both lines are sorted by deadline. Whoever is sent away
steps aside at once and fails when he is seen off: that takes its time, and who comes later is
none of them.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from aioproducer.core.producer_batch import NEVER
from aioproducer.delivery import BatchResult, move_delivery, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aioproducer.delivery import Delivery
    from aioproducer.errors import ProducerError

EVERYBODY = sys.maxsize
"""No limit to how many records leave the line at once."""


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
    """Both lines, and who leaves them; `bytes` is what all their records add up to."""

    def __init__(self) -> None:
        self.bytes = 0
        self._for_room: deque[WaitingRecord] = deque()
        self._for_topic: dict[str, deque[WaitingRecord]] = {}
        # The lowest and the highest partition that are asked for in each topic's line.
        self._asked: dict[str, tuple[int, int]] = {}
        self._leaving: deque[tuple[deque[WaitingRecord], Dismissal]] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._queues()))

    def wait_for_room(self, record: WaitingRecord) -> None:
        """Put a record at the end of the line for room."""
        self.bytes += record.size
        self._for_room.append(record)

    def wait_for_topic(self, record: WaitingRecord) -> None:
        """Put a record in its topic's line: at the end, but before those who came later than it."""
        self.bytes += record.size
        topic = record.topic
        waiting = self._for_topic.setdefault(topic, deque())
        lowest, highest = self._asked.get(topic, (record.partition, record.partition))
        if not waiting or not lowest <= record.partition <= highest:
            self._asked[topic] = (min(lowest, record.partition), max(highest, record.partition))
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

    def busy_topics(self) -> set[str]:
        """Return the topics of all records in line."""
        return {*self._for_topic, *(record.topic for record in self._for_room), *self._sent_away()}

    def admit(self, partitions: Mapping[str, int]) -> int:
        """Let the records of topics that have so many partitions wait for room; return how many.

        A whole line that nobody stands before is moved as it is: hundreds of thousands may have
        been sent before their topic was found.
        """
        lines = [line for topic, count in partitions.items() if (line := self._take_line(topic, count))]
        admitted = sum(map(len, lines))
        if len(lines) == 1 and not self._for_room:
            self._for_room = lines[0]
        elif lines:
            self._for_room = deque(sorted(chain(self._for_room, *lines), key=_deadline))
        return admitted

    def next_deadline(self) -> float:
        """Return when the next record has waited too long, NEVER if none waits."""
        deadline = self._for_room[0].deadline if self._for_room else NEVER
        for waiting in self._for_topic.values():
            deadline = min(deadline, waiting[0].deadline)
        return deadline

    def expire_for_room(self, now: float, limit: int = EVERYBODY) -> list[WaitingRecord]:
        """Take out up to `limit` records that have waited for room too long."""
        return self._expire(self._for_room, now, limit)

    def expire_for_topics(self, now: float, limit: int = EVERYBODY) -> list[WaitingRecord]:
        """Take out up to `limit` records that have waited for their topic too long."""
        expired: list[WaitingRecord] = []
        for topic in list(self._for_topic):
            expired += self._expire(self._for_topic[topic], now, limit - len(expired))
            if not self._for_topic[topic]:
                del self._for_topic[topic], self._asked[topic]
            if len(expired) == limit:
                break
        return expired

    def send_away(self, topic: str, why: Dismissal) -> None:
        """Have those leave who wait for a topic, which turned out to be of no use."""
        waiting = self._for_topic.pop(topic, None)
        if waiting is not None:
            del self._asked[topic]
            self._leaving.append((waiting, why))

    def send_all_away(self, why: Dismissal) -> int:
        """Have everybody leave; return how many of them waited for room."""
        waited_for_room = len(self._for_room)
        self._leaving.append((self._for_room, why))
        self._leaving.extend((waiting, why) for waiting in self._for_topic.values())
        self._for_room = deque()
        self._for_topic.clear()
        self._asked.clear()
        return waited_for_room

    def see_off(self, limit: int = EVERYBODY) -> bool:
        """Fail up to `limit` of those who were sent away; return whether there are more."""
        while self._leaving and limit:
            waiting, why = self._leaving[0]
            gone = self._expire(waiting, NEVER, limit)
            limit -= len(gone)
            if not waiting:
                self._leaving.popleft()
            why.fail(gone)
        return bool(self._leaving)

    def records(self) -> Iterator[WaitingRecord]:
        """Iterate over all records in line."""
        return chain.from_iterable(self._queues())

    def _take_line(self, topic: str, count: int) -> deque[WaitingRecord]:
        lowest, highest = self._asked.get(topic, (count, count))
        if lowest >= count:
            return deque()
        waiting = self._for_topic.pop(topic)
        del self._asked[topic]
        if highest < count:
            return waiting
        left = deque(record for record in waiting if record.partition >= count)
        if left:
            self._for_topic[topic] = left
            self._asked[topic] = (min(record.partition for record in left), highest)
        return deque(record for record in waiting if record.partition < count)

    def _queues(self) -> Iterator[deque[WaitingRecord]]:
        yield self._for_room
        yield from self._for_topic.values()
        for waiting, _ in self._leaving:
            yield waiting

    def _sent_away(self) -> Iterator[str]:
        return (record.topic for waiting, _ in self._leaving for record in waiting)

    def _expire(self, waiting: deque[WaitingRecord], now: float, limit: int) -> list[WaitingRecord]:
        expired: list[WaitingRecord] = []
        while waiting and waiting[0].deadline <= now and len(expired) < limit:
            record = waiting.popleft()
            self.bytes -= record.size
            expired.append(record)
        return expired


class Dismissal:
    """Fails records that were taken out of line, in as many goes as there are slices of them.

    Those of one topic and partition share a result, as the records of a batch do, so that
    ten thousand of them that nobody looks at are logged once. `error_of(record)` says why.
    """

    def __init__(self, error_of: Callable[[WaitingRecord], ProducerError]) -> None:
        self._error_of = error_of
        self._shared: dict[tuple[str, int], BatchResult] = {}

    def fail(self, records: Iterable[WaitingRecord]) -> None:
        """Fail these records, and forget them."""
        groups: dict[tuple[str, int], WaitingRecord] = {}
        for record in records:
            place = (record.topic, record.partition)
            shared = self._shared.get(place)
            if shared is None:
                shared = self._shared[place] = BatchResult(*place, result_of(record.delivery).loop)
            groups.setdefault(place, record)
            index = shared.count
            shared.count = index + 1
            move_delivery(record.delivery, shared, index)
        for place, record in groups.items():
            shared = self._shared[place]
            shared.fail(shared.count, shared.error or self._error_of(record))


def _deadline(record: WaitingRecord) -> float:
    return record.deadline
