"""Events: the core and the network code tell listeners what happened.

The callers:

    core/settlement, core/wait_times ──────────┐
    net/sender, net/broker, net/channel ──┼──▶ Listener ◀── metrics.ProducerMetrics
    net/engine ───────────────────────────┘

The producer's own metrics are the first listener and usually the only one. `combine_listeners` then
returns that listener itself, so an event costs one method call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Listener(Protocol):
    """Receives the events of one producer.

    Times are in seconds, `now` is the event loop's clock, sizes are in bytes. No event is per
    record, except for records that had to wait.

    A listener must return quickly and must not raise: it is called in the middle of a state
    change.
    """

    __slots__ = ()

    def batches_sent(
        self,
        batches: int,
        records: int,
        wire_bytes: int,
        raw_bytes: int,
        queue_time: float,
        queue_time_max: float,
        now: float,
    ) -> None:
        """One Produce request took these batches; all arguments are sums over them.

        `wire_bytes` are as sent, `raw_bytes` as before compression, `queue_time` is the time
        from a batch's creation until it was taken.
        """

    def batch_delivered(self, topic: str, records: int, wire_bytes: int, now: float) -> None:
        """The broker acknowledged a batch."""

    def batch_retried(self, topic: str, records: int, now: float) -> None:
        """A batch went back into its queue, to be sent again."""

    def batch_failed(self, topic: str, records: int, now: float) -> None:
        """A batch failed for good."""

    def batch_split(self, now: float) -> None:
        """A batch was too large for the broker and was split."""

    def buffer_exhausted(self, records: int, now: float) -> None:
        """Records found no memory within `max_block_ms` and failed."""

    def buffer_waited(self, seconds: float) -> None:
        """Records stopped waiting for memory; `seconds` is the sum of their waiting times."""

    def metadata_waited(self, seconds: float) -> None:
        """Records stopped waiting for their topic; `seconds` is the sum of their waiting times."""

    def request_sent(self, node_id: int, size: int, now: float) -> None:
        """A request of any API was written."""

    def response_received(self, node_id: int, size: int, latency: float, now: float) -> None:
        """A response arrived, `latency` after its request was written."""

    def throttled(self, node_id: int, seconds: float, now: float) -> None:
        """A broker asked the producer to pause. Responses without throttling send no event."""

    def connection_opened(self, node_id: int, now: float) -> None:
        """A connection became ready."""

    def connection_closed(self, node_id: int, now: float) -> None:
        """A connection was lost or closed, by either side."""

    def flushed(self, seconds: float) -> None:
        """A `flush` (or the one in `stop`) ended after `seconds`."""

    def topic_forgotten(self, topic: str) -> None:
        """The producer dropped a topic that was not used for `metadata_max_idle_ms`."""


class Events:
    """A Listener that passes each event to every one of `listeners`, in their order."""

    __slots__ = ("_listeners",)

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)


def _passed_on(event: str) -> Callable[..., None]:
    def pass_on(self: Events, *arguments: object) -> None:
        for listener in self._listeners:
            # Only with two or more listeners: the producer's own metrics alone are called directly.
            getattr(listener, event)(*arguments)

    return pass_on


# An event is declared once, in Listener.
for _event in vars(Listener):
    if not _event.startswith("_"):
        setattr(Events, _event, _passed_on(_event))


def combine_listeners(listeners: Sequence[Listener]) -> Listener:
    """Return a listener that passes events to all of `listeners`.

    A single listener is returned as it is, so that an event costs one call.
    """
    return listeners[0] if len(listeners) == 1 else cast("Listener", Events(listeners))


NO_LISTENERS: Final = combine_listeners(())
