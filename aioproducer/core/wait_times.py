"""How long records waited, for their topic and then for room, before they got into a batch.

A record's wait begins with `send`. When its topic becomes known, the record goes on to wait for
room, often for no time at all:

    send ──── waits for its topic ────▶ admitted ──── waits for room ────▶ placed, or expired
              metadata_waited                         buffer_waited

Rejected records (the topic cannot be used, the producer stops) are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aioproducer.core.events import Listener
    from aioproducer.core.waiting_records import WaitingRecord


class WaitTimes:
    """Tells `events` how long records waited, when their wait ends.

    `max_wait` is how long before its deadline each record was sent.
    """

    def __init__(self, events: Listener, max_wait: float) -> None:
        self._events = events
        self._max_wait = max_wait
        # One time for each topic: all of a topic's records are admitted together, and a hundred
        # thousand of them may be.
        self._admitted: dict[str, float] = {}

    def admitted(self, topics: Iterable[str], now: float, *, is_room_empty: bool) -> None:
        """Note that the records of these topics wait for room from now on.

        `is_room_empty` says that no other record waits for room: earlier times are not needed then.
        """
        if is_room_empty:
            self._admitted.clear()
        for topic in topics:
            self._admitted.setdefault(topic, now)

    def left_room(self, records: Iterable[WaitingRecord], now: float) -> None:
        """Count records that waited for room, and before that perhaps for their topic."""
        for_topic = for_room = 0.0
        for record in records:
            sent = record.deadline - self._max_wait
            # A record that was sent after its topic was admitted waited for room alone.
            begin = max(sent, self._admitted.get(record.topic, sent))
            for_topic += begin - sent
            for_room += now - begin
        self._tell(for_topic, for_room)

    def left_topic(self, records: Iterable[WaitingRecord], now: float) -> None:
        """Count records that waited for their topic in vain."""
        self._tell(sum(now - record.deadline + self._max_wait for record in records), 0.0)

    def _tell(self, for_topic: float, for_room: float) -> None:
        if for_topic > 0.0:
            self._events.metadata_waited(for_topic)
        if for_room > 0.0:
            self._events.buffer_waited(for_room)
