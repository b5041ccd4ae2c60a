# cython: annotation_typing=False
"""The buffer: how much of `buffer_memory` is in use, and the records and calls that wait for room.

    batch opened, record appended ──charge──▶ used ──release──▶ freed ─┬─▶ shell.room_freed
    record without room or topic ──▶ WaitingRecords ──expire, reject───┤
    drain() ──▶ room_waiters ◀──less than half in use──────────────────┘

Batches hold at most `memory` bytes, and waiting records as much again. While records or `drain` calls
wait for room, batches are sent without linger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aioproducer.core.wait_times import WaitTimes
from aioproducer.core.waiting_records import NO_LIMIT, WaitingRecords
from aioproducer.errors import BufferExhaustedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.core.events import Listener
    from aioproducer.core.schedule import Schedule
    from aioproducer.core.shell import Shell
    from aioproducer.core.waiting_records import Rejection, WaitingRecord


class RoomWaiter(Protocol):
    """A call that waits for room, such as a future."""

    def done(self) -> bool:
        """Return whether it waits no more."""

    def set_result(self, result: None, /) -> None:
        """Let the call go on."""


class RecordBuffer:
    """The memory of a producer. `waiting` counts the records that wait for room."""

    __slots__ = (
        "max_block",
        "max_wait",
        "memory",
        "records",
        "room_waiters",
        "schedule",
        "shell",
        "used",
        "waiting",
        "waits",
    )

    def __init__(
        self,
        shell: Shell,
        schedule: Schedule,
        *,
        memory: int,
        max_block: float,
        delivery_timeout: float,
        events: Listener,
    ) -> None:
        self.shell = shell
        self.schedule = schedule
        self.memory = memory
        self.max_block = max_block
        # max_block 60 s, delivery timeout 30 s: a record that waits fails after 30 s.
        self.max_wait = min(max_block, delivery_timeout)
        self.used = 0
        self.waiting = 0
        self.records = WaitingRecords()
        self.waits = WaitTimes(events, self.max_wait)
        self.room_waiters: list[RoomWaiter] = []

    def charge(self, size: int) -> None:
        """Count bytes that a batch takes."""
        self.used += size

    def release(self, size: int) -> None:
        """Give bytes back that a batch held."""
        self.used -= size
        self._freed()

    def has_room(self) -> bool:
        """Return whether no record waits for room and less than half of each limit is in use."""
        # An empty buffer has room, even if `memory` is 0.
        half = self.memory / 2
        in_batches, waiting = self.used, self.records.bytes
        return not self.waiting and (not in_batches or in_batches < half) and (not waiting or waiting < half)

    # Calls of `drain`.

    def add_room_waiter(self, waiter: RoomWaiter) -> None:
        """Let a call go on when `has_room` is true."""
        # A lingering batch holds the memory that `drain` waits for: send without linger.
        if not self.room_waiters:
            self.schedule.flush_started()
        self.room_waiters.append(waiter)

    def wake_room_waiters(self) -> None:
        """Let all calls go on, to look at the producer's state."""
        waiters, self.room_waiters = self.room_waiters, []
        if waiters:
            self.schedule.flush_ended()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def check_room_waiters(self) -> None:
        """Let calls go on if there is room for them."""
        if self.room_waiters and self.has_room():
            self.wake_room_waiters()

    # Waiting records.

    def check_limit(self, size: int) -> None:
        """Raise BufferExhaustedError if a record of `size` bytes may not wait."""
        if self.records.bytes + size > self.memory:
            msg = (
                f"the buffer is full: {self.used} of {self.memory} bytes (buffer_memory) are in batches and "
                f"{self.records.bytes} bytes in waiting records; await drain() between sends"
            )
            raise BufferExhaustedError(msg)

    def add_for_room(self, record: WaitingRecord) -> None:
        """Let a record wait for room."""
        self.records.add_for_room(record)
        self._count(1)

    def add_for_topic(self, record: WaitingRecord) -> None:
        """Let a record wait for its topic."""
        self.records.add_for_topic(record)

    def pop(self) -> WaitingRecord:
        """Remove the first record that waits for room."""
        record = self.records.pop_for_room()
        self._count(-1)
        return record

    def placed(self, now: float) -> None:
        """Remove the first record that waits for room: it was put into a batch."""
        self.waits.left_room((self.pop(),), now)

    def admit(self, partitions: Mapping[str, int]) -> None:
        """Let records wait for room whose topics have so many partitions."""
        # Before `_count`, which adds these records to `waiting`.
        self.waits.admitted(partitions, self.shell.clock(), is_room_empty=not self.waiting)
        self._count(self.records.admit(partitions))
        self._freed()

    def expire_for_room(self, now: float, limit: int = NO_LIMIT) -> list[WaitingRecord]:
        """Remove up to `limit` records that have waited for room too long."""
        expired = self.records.expire_for_room(now, limit)
        self._count(-len(expired))
        self.waits.left_room(expired, now)
        # The first record did not fit; the next one may.
        self._freed()
        return expired

    def expire_for_topics(self, now: float, limit: int = NO_LIMIT) -> list[WaitingRecord]:
        """Remove up to `limit` records that have waited for their topic too long."""
        expired = self.records.expire_for_topics(now, limit)
        self.waits.left_topic(expired, now)
        self._freed()
        return expired

    def reject(self, topic: str, rejection: Rejection) -> None:
        """Reject the records that wait for a topic."""
        self.records.reject(topic, rejection)

    def reject_all(self, rejection: Rejection) -> None:
        """Reject all waiting records."""
        self._count(-self.records.reject_all(rejection))

    def fail_rejected(self, limit: int = NO_LIMIT) -> bool:
        """Fail up to `limit` rejected records; return whether there are more."""
        more = self.records.fail_rejected(limit)
        self._freed()
        return more

    def _count(self, change: int) -> None:
        before = self.waiting
        self.waiting = before + change
        # Records wait for memory: send without linger.
        if before == 0 and self.waiting:
            self.schedule.flush_started()
        elif before and self.waiting == 0:
            self.schedule.flush_ended()

    def _freed(self) -> None:
        if self.waiting > 0:
            self.shell.room_freed()
        if self.room_waiters:
            self.check_room_waiters()
