"""ProducerMetrics: counts the events of one producer.

Every event is counted once, in the smallest scope that it belongs to. The producer's own values
are sums over topics and nodes, computed by `snapshot`.

    batches_sent, batch_split, … ──────▶ producer ─────────────┐
    batch_delivered, batch_failed, … ──▶ topic ──┬─────────────┼──▶ snapshot(now)
    request_sent, throttled, … ────────▶ node ───┴── sums ─────┘
"""

# ruff: noqa: PLR1730 -- max() costs as much as the rest of the work for a request

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aioproducer.core.events import Listener
from aioproducer.metrics.snapshot import Counts, Snapshot, Waits, make_snapshot
from aioproducer.metrics.tallies import NodeTally, ProducerTally, TopicTally
from aioproducer.metrics.windows import Period, TallyT, Windows

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProducerMetrics(Listener):
    """The counters of one producer. All times are in seconds, all sizes in bytes.

    Rates, averages and maxima cover the last `num_samples` windows of `sample_window` seconds.
    """

    __slots__ = ("_forgotten", "_nodes", "_period", "_producer", "_topics", "_waits")

    def __init__(self, now: float, *, num_samples: int = 2, sample_window: float = 30.0) -> None:
        self._period = Period(now, sample_window, num_samples)
        self._producer = Windows(ProducerTally, self._period, now)
        self._topics: dict[str, Windows[TopicTally]] = {}
        self._nodes: dict[int, Windows[NodeTally]] = {}
        # Forgotten topics are not shown, but stay in the producer's sums.
        self._forgotten = Windows(TopicTally, self._period, now)
        self._waits = Waits()

    def begin(self, now: float) -> None:
        """Restart the windows at `now`, in the event loop's clock. Call it before any event."""
        self._period = replace(self._period, start=now)
        self._producer = Windows(ProducerTally, self._period, now)
        self._forgotten = Windows(TopicTally, self._period, now)

    def batches_sent(  # one call for each request: positional, without a dataclass
        self,
        batches: int,
        records: int,
        wire_bytes: int,
        raw_bytes: int,
        queue_time: float,
        queue_time_max: float,
        now: float,
    ) -> None:
        """Count the batches of one Produce request."""
        windows = self._producer
        if now >= windows.ends:
            windows.roll(now)
        tally = windows.current
        tally.requests += 1
        tally.batches += batches
        tally.records += records
        tally.wire_bytes += wire_bytes
        tally.raw_bytes += raw_bytes
        tally.queue_time += queue_time
        if queue_time_max > tally.queue_time_max:
            tally.queue_time_max = queue_time_max

    def batch_split(self, now: float) -> None:
        """Count a batch that was split."""
        self._of_producer(now).splits += 1

    def buffer_exhausted(self, records: int, now: float) -> None:
        """Count records that found no memory in time."""
        self._of_producer(now).exhausted += records

    def batch_delivered(self, topic: str, records: int, wire_bytes: int, now: float) -> None:
        """Count an acknowledged batch."""
        try:
            windows = self._topics[topic]
        except KeyError:
            windows = self._add_topic(topic, now)
        if now >= windows.ends:
            windows.roll(now)
        tally = windows.current
        tally.sent += records
        tally.sent_bytes += wire_bytes
        if wire_bytes > tally.batch_bytes_max:
            tally.batch_bytes_max = wire_bytes

    def batch_failed(self, topic: str, records: int, now: float) -> None:
        """Count a failed batch."""
        self._of_topic(topic, now).failed += records

    def batch_retried(self, topic: str, records: int, now: float) -> None:
        """Count a batch that is sent again."""
        self._of_topic(topic, now).retried += records

    def request_sent(self, node_id: int, size: int, now: float) -> None:
        """Count a request."""
        try:
            windows = self._nodes[node_id]
        except KeyError:
            windows = self._add_node(node_id, now)
        if now >= windows.ends:
            windows.roll(now)
        tally = windows.current
        tally.requests += 1
        tally.request_bytes += size
        if size > tally.request_bytes_max:
            tally.request_bytes_max = size

    def response_received(self, node_id: int, size: int, latency: float, now: float) -> None:
        """Count a response."""
        try:
            windows = self._nodes[node_id]
        except KeyError:
            windows = self._add_node(node_id, now)
        if now >= windows.ends:
            windows.roll(now)
        tally = windows.current
        tally.responses += 1
        tally.response_bytes += size
        tally.latency += latency
        if latency > tally.latency_max:
            tally.latency_max = latency

    def throttled(self, node_id: int, seconds: float, now: float) -> None:
        """Count a pause that a broker asked for."""
        tally = self._of_node(node_id, now)
        tally.throttle += seconds
        tally.throttle_max = max(tally.throttle_max, seconds)

    def connection_opened(self, node_id: int, now: float) -> None:
        """Count an opened connection."""
        self._of_node(node_id, now).opened += 1

    def connection_closed(self, node_id: int, now: float) -> None:
        """Count a closed connection."""
        self._of_node(node_id, now).closed += 1

    def flushed(self, seconds: float) -> None:
        """Add the time of a `flush`."""
        # The three waits are totals since the start, without windows, as in Java.
        self._waits.flush += seconds

    def metadata_waited(self, seconds: float) -> None:
        """Add the time that records waited for their topic."""
        self._waits.metadata += seconds

    def buffer_waited(self, seconds: float) -> None:
        """Add the time that records waited for memory."""
        self._waits.buffer += seconds

    def topic_forgotten(self, topic: str) -> None:
        """Stop showing a topic; its counts stay in the producer's values."""
        windows = self._topics.pop(topic, None)
        if windows is not None:
            self._forgotten.absorb(windows)

    def snapshot(self, now: float, gauges: Mapping[str, float]) -> Snapshot:
        """Return every metric. `gauges` are the producer's values that are states, not counts."""
        counts = Counts(
            seconds=self._period.seconds(now),
            producer=_counted(self._producer, now),
            topics={name: _counted(windows, now) for name, windows in self._topics.items()},
            nodes={node_id: _counted(windows, now) for node_id, windows in self._nodes.items()},
            forgotten=_counted(self._forgotten, now),
            waits=self._waits,
        )
        return make_snapshot(counts, gauges)

    def _of_producer(self, now: float) -> ProducerTally:
        return _current(self._producer, now)

    def _of_topic(self, topic: str, now: float) -> TopicTally:
        return _current(self._topics.get(topic) or self._add_topic(topic, now), now)

    def _of_node(self, node_id: int, now: float) -> NodeTally:
        return _current(self._nodes.get(node_id) or self._add_node(node_id, now), now)

    def _add_topic(self, topic: str, now: float) -> Windows[TopicTally]:
        windows = self._topics[topic] = Windows(TopicTally, self._period, now)
        return windows

    def _add_node(self, node_id: int, now: float) -> Windows[NodeTally]:
        windows = self._nodes[node_id] = Windows(NodeTally, self._period, now)
        return windows


def _current(windows: Windows[TallyT], now: float) -> TallyT:
    if now >= windows.ends:
        windows.roll(now)
    return windows.current


def _counted(windows: Windows[TallyT], now: float) -> tuple[TallyT, TallyT]:
    return windows.recent(now), windows.total()
