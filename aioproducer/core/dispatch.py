"""The send loop of one node, as decisions.

The sender (`net/sender.py`) asks `decide` after each event that could let batches go: a batch is full,
a timer, a response, a connection. It carries the decision out, and asks again after `Send`:

    Send(batches) ──▶ compress ──▶ assign ──▶ write the request ──▶ decide again
    Connect       ──▶ open a connection; it leads to the next event
    Wait(until)   ──▶ a timer, unless `until` is NEVER: then an event comes first
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from aioproducer.core.batch import NEVER

if TYPE_CHECKING:
    from aioproducer.core.batch import ProducerBatch
    from aioproducer.core.queues import NodeQueue
    from aioproducer.core.schedule import Schedule
    from aioproducer.core.sequences import Ordering
    from aioproducer.core.settlement import Settlement
    from aioproducer.core.shell import Shell


# Decisions of each request are not frozen: frozen ones take twice as long to make.


@dataclass(slots=True)
class Send:
    """Send these batches in one request."""

    batches: list[ProducerBatch]


@dataclass(frozen=True, slots=True)
class Connect:
    """Open the connection: batches wait for it."""


@dataclass(slots=True)
class Wait:
    """Ask again at a time; after the next event if it is NEVER."""

    until: float


Decision: TypeAlias = Send | Connect | Wait

CONNECT = Connect()
WAIT_FOR_EVENT = Wait(NEVER)


class Dispatch:
    """Decides what the sender of one node does next.

    `node.armed` tells the schedule when the sender looks by itself, so that it is woken only for batches
    that are due sooner. `decide` blocks the node: no batch wakes the sender. It arms the node again only
    where a batch or its time is waited for; after a response, a connection or the end of a throttle the
    sender asks in any case.
    """

    def __init__(
        self,
        node: NodeQueue,
        schedule: Schedule,
        ordering: Ordering,
        settlement: Settlement,
        shell: Shell,
        *,
        max_in_flight: int,
        max_request_size: int,
    ) -> None:
        self._node = node
        self._schedule = schedule
        self._ordering = ordering
        self._settlement = settlement
        self._shell = shell
        self._max_in_flight = max_in_flight
        self._max_request_size = max_request_size
        self._in_flight = 0
        self._is_compressing = False
        self._is_closed = False

    def wake(self, now: float) -> float:
        """Return when to ask, after a wake-up."""
        node = self._node
        if node.due <= now or self._schedule.urgent:
            # The sender looks in this turn: further batches do not wake it again.
            node.block()
            return now
        node.arm(node.due)
        return node.due

    def decide(self, now: float, sendable_at: float | None) -> Decision:
        """Return what to do next.

        `sendable_at` is when the connection takes a request: `now` or earlier, the end of a throttle, NEVER
        while the broker reads no bytes, None without a connection.
        """
        node = self._node
        node.block()
        if node.is_empty():
            node.arm(NEVER)
            return WAIT_FOR_EVENT
        if not self._is_busy() and sendable_at is not None and sendable_at <= now:
            batches = self._schedule.drain(node, now, self._max_request_size, self._ordering.may_send)
            if batches:
                return Send(batches)
            # Batches are due, and none may go before InitProducerId has its response.
            if self._ordering.needs_producer_id:
                self._shell.producer_id_needed()
        return self._wait(now, sendable_at)

    def _wait(self, now: float, sendable_at: float | None) -> Decision:
        node = self._node
        if node.is_empty():
            node.arm(NEVER)
            return WAIT_FOR_EVENT
        node.starve(now)
        # A response, or the end of the compression, leads to the next look. `armed` stays BLOCKED.
        if self._is_busy():
            return WAIT_FOR_EVENT
        if sendable_at is None:
            return CONNECT
        if sendable_at > now:
            return Wait(sendable_at)
        node.arm(node.due)
        return Wait(node.due)

    def _is_busy(self) -> bool:
        # One request at a time is compressed: a later one must not overtake it.
        return self._is_compressing or self._in_flight >= self._max_in_flight

    # The steps of a request.

    def compression_started(self) -> None:
        """Send nothing until `compression_ended`."""
        self._is_compressing = True

    def compression_ended(self) -> None:
        """Note that the batches in compression are ready."""
        self._is_compressing = False

    def assign(self, batches: list[ProducerBatch], now: float) -> list[ProducerBatch]:
        """Assign the sequences; return the batches to write, after the others went back to their queues.

        During compression a batch may have expired, or the producer id may have been dropped.
        """
        to_write = []
        for batch in batches:
            if batch.result.done or not self._ordering.assign(batch):
                self._settlement.unsent(batch, None, now)
            else:
                to_write.append(batch)
        return to_write

    def give_back(self, batches: list[ProducerBatch], now: float) -> None:
        """Put batches back into their queues: the connection was lost during compression."""
        for batch in batches:
            self._settlement.unsent(batch, None, now)

    def request_sent(self) -> None:
        """Count a request in flight."""
        self._in_flight += 1

    def request_ended(self) -> None:
        """Note that a request got its response, or will get none; the sender asks `decide` next."""
        self._in_flight -= 1
        # After `close` the node's queue belongs to another sender.
        if not self._is_closed:
            self._node.block()

    def rests(self) -> bool:
        """Return whether no batch is left: the next one wakes the sender."""
        if self._is_closed or not self._node.is_empty():
            return False
        self._node.arm(NEVER)
        return True

    def close(self) -> None:
        """Leave the node to another sender; requests in flight still end here."""
        self._is_closed = True
