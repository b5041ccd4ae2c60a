"""The shell: everything that the core asks of the code around it.

The core decides, the shell does. The engine (`net/engine.py`) is the shell of a producer, and gives
itself to the core's constructors; tests give a harness. The core reaches sockets, timers and tasks only
through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aioproducer.core.queues import NodeQueue
    from aioproducer.errors import ProducerError


class Shell(Protocol):
    """The calls of the core. No method waits.

    None puts a record into a batch or ends a batch before it returns, with two exceptions: `fail` ends
    all batches, and `topic_wanted` may make the topic known at once (in `MockProducer` it does).
    """

    @property
    def loop(self) -> object:
        """The event loop of the producer's deliveries."""

    def clock(self) -> float:
        """Return the time of the event loop, in seconds."""

    def wall_clock_ns(self) -> int:
        """Return the nanoseconds since the epoch, for timestamps."""

    def random(self) -> float:
        """Return a random number from 0 up to 1."""

    def check(self) -> None:
        """Raise WrongLoopError if the caller runs in another event loop than the producer."""

    def wake(self, node: NodeQueue) -> None:
        """Let the node's sender look at its queue at `node.due`, which is sooner than planned."""

    def request_metadata(self) -> None:
        """Refresh the metadata as soon as the backoff allows: a leader is unknown or wrong."""

    def topic_wanted(self, topic: str) -> None:
        """Find a topic, or a partition of it, that records wait for."""

    def deadline_added(self) -> None:
        """Plan the next expiry: this deadline is the only one."""

    def room_freed(self) -> None:
        """Place waiting records soon (`Accumulator.serve`): some may fit into the buffer now."""

    def producer_id_needed(self) -> None:
        """Request a producer id: batches wait for it."""

    def fail(self, error: ProducerError) -> None:
        """Fail everything: nothing can be sent any more."""
