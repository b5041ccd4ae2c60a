"""Metrics: what `producer.metrics()` shows, under the names that Java's producer gives them.

The one idea: everything is counted once, in the smallest scope that it belongs to (a
batch in its topic, a request in its node, a drain in the producer), and never per
record. The producer's own figures are sums over topics and nodes, made when asked for.

    sender ──▶ batches_drained ──▶ producer ─────────────┐
           ──▶ batch_sent, … ────▶ topic ──┬─────────────┼──▶ snapshot(now)
           ──▶ request_sent, … ──▶ node ───┴── sums ─────┘

Rates, averages and maxima are those of the last one to two windows (30 s each), totals
those since the start. An average or a maximum of nothing is 0.0, where Java says NaN:
a health page that shows these figures as JSON has to stay JSON.
"""

# ruff: noqa: PLR1730 -- a call of max() costs as much as all the rest that is done for a request

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from aioproducer.core.windows import Period, Tally, TallyT, Windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Snapshot = TypedDict(
    "Snapshot",
    {
        "producer-metrics": dict[str, float],
        "producer-topic-metrics": dict[str, dict[str, float]],
        "producer-node-metrics": dict[str, dict[str, float]],
    },
)
"""Names and values, the last two by topic ("orders") and by node ("node-1")."""


@dataclass(slots=True, eq=False, repr=False)
class _ProducerTally(Tally):
    requests: int = 0
    batches: int = 0
    records: int = 0
    wire_bytes: int = 0
    raw_bytes: int = 0
    queue_time: float = 0.0
    queue_time_max: float = 0.0
    splits: int = 0
    exhausted: int = 0


@dataclass(slots=True, eq=False, repr=False)
class _TopicTally(Tally):
    sent: int = 0
    sent_bytes: int = 0
    batch_bytes_max: int = 0
    retried: int = 0
    failed: int = 0


@dataclass(slots=True, eq=False, repr=False)
class _NodeTally(Tally):
    requests: int = 0
    request_bytes: int = 0
    request_bytes_max: int = 0
    responses: int = 0
    response_bytes: int = 0
    latency: float = 0.0
    latency_max: float = 0.0
    throttle: float = 0.0
    throttle_max: float = 0.0
    opened: int = 0
    closed: int = 0


class ProducerMetrics:
    """The counters of one producer. All times are in seconds, all sizes in bytes."""

    __slots__ = (
        "_buffer_wait",
        "_flush_time",
        "_forgotten",
        "_metadata_wait",
        "_nodes",
        "_period",
        "_producer",
        "_topics",
    )

    def __init__(self, now: float, *, num_samples: int = 2, sample_window: float = 30.0) -> None:
        self._period = Period(now, sample_window, num_samples)
        self._producer = Windows(_ProducerTally, self._period, now)
        self._topics: dict[str, Windows[_TopicTally]] = {}
        self._nodes: dict[int, Windows[_NodeTally]] = {}
        self._forgotten = Windows(_TopicTally, self._period, now)
        self._flush_time = 0.0
        self._metadata_wait = 0.0
        self._buffer_wait = 0.0

    def begin(self, now: float) -> None:
        """Measure from `now` on, on the event loop's clock; call it before anything is counted."""
        self._period = replace(self._period, start=now)
        self._producer = Windows(_ProducerTally, self._period, now)
        self._forgotten = Windows(_TopicTally, self._period, now)

    def batches_drained(  # one call a request, in the order of the sums
        self,
        batches: int,
        records: int,
        wire_bytes: int,
        raw_bytes: int,
        queue_time: float,
        queue_time_max: float,
        now: float,
    ) -> None:
        """Count the batches of one Produce request, as sums over them.

        `wire_bytes` are as sent, `raw_bytes` as before compression, `queue_time` is from a
        batch's creation to its drain.
        """
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
        """Count a batch that was too large for the broker and was cut in pieces."""
        self._of_producer(now).splits += 1

    def buffer_exhausted(self, records: int, now: float) -> None:
        """Count records that found no room in the buffer in time."""
        self._of_producer(now).exhausted += records

    def batch_sent(self, topic: str, records: int, bytes: int, now: float) -> None:  # noqa: A002  # its word
        """Count a batch that the broker acknowledged; `bytes` as sent."""
        try:
            windows = self._topics[topic]
        except KeyError:
            windows = self._add_topic(topic, now)
        if now >= windows.ends:
            windows.roll(now)
        tally = windows.current
        tally.sent += records
        tally.sent_bytes += bytes
        if bytes > tally.batch_bytes_max:
            tally.batch_bytes_max = bytes

    def batch_failed(self, topic: str, records: int, now: float) -> None:
        """Count a batch that failed for good."""
        self._of_topic(topic, now).failed += records

    def batch_retried(self, topic: str, records: int, now: float) -> None:
        """Count a batch that is sent again."""
        self._of_topic(topic, now).retried += records

    def request_sent(self, node_id: int, size: int, now: float) -> None:
        """Count a request of `size` bytes, of whatever API."""
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
        """Count a response of `size` bytes, `latency` after its request."""
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
        """Count the time a broker asked for silence; a response without such a wish need not be told."""
        tally = self._of_node(node_id, now)
        tally.throttle += seconds
        tally.throttle_max = max(tally.throttle_max, seconds)

    def connection_opened(self, node_id: int, now: float) -> None:
        """Count a connection that was made."""
        self._of_node(node_id, now).opened += 1

    def connection_closed(self, node_id: int, now: float) -> None:
        """Count a connection that ended, by whomever."""
        self._of_node(node_id, now).closed += 1

    def flushed(self, seconds: float) -> None:
        """Count the time a `flush` took."""
        self._flush_time += seconds

    def metadata_waited(self, seconds: float) -> None:
        """Count the time a record waited for its topic's metadata."""
        self._metadata_wait += seconds

    def buffer_waited(self, seconds: float) -> None:
        """Count the time a record waited for room in the buffer."""
        self._buffer_wait += seconds

    def forget_topic(self, topic: str) -> None:
        """Show a topic no longer; what it counted stays in the producer's figures."""
        windows = self._topics.pop(topic, None)
        if windows is not None:
            self._forgotten.absorb(windows)

    def snapshot(self, now: float, gauges: Mapping[str, float]) -> Snapshot:
        """Compute every metric. `gauges` are the producer's figures that are states, not counts.

        Times are in milliseconds where Java's are, in nanoseconds where the name says so.
        """
        seconds = self._period.seconds(now)
        topics = {name: (windows.recent(now), windows.total()) for name, windows in self._topics.items()}
        nodes = {node: (windows.recent(now), windows.total()) for node, windows in self._nodes.items()}

        recent_topics, all_topics = self._forgotten.recent(now), self._forgotten.total()
        _sum(topics.values(), recent_topics, all_topics)
        recent_nodes, all_nodes = _NodeTally(), _NodeTally()
        _sum(nodes.values(), recent_nodes, all_nodes)

        drained, all_drained = self._producer.recent(now), self._producer.total()
        return {
            "producer-metrics": {
                **gauges,
                **_records(recent_topics, all_topics, seconds),
                **_batches(drained),
                "batch-size-max": recent_topics.batch_bytes_max,
                **_flow("batch-split", drained.splits, all_drained.splits, seconds),
                **_flow("buffer-exhausted", drained.exhausted, all_drained.exhausted, seconds),
                "bufferpool-wait-time-ns-total": int(self._buffer_wait * 1e9),
                "flush-time-ns-total": int(self._flush_time * 1e9),
                "metadata-wait-time-ns-total": int(self._metadata_wait * 1e9),
                **_requests(recent_nodes, all_nodes, seconds),
                **_connections(recent_nodes, all_nodes, seconds),
            },
            "producer-topic-metrics": {
                topic: {
                    **_records(recent, total, seconds),
                    **_flow("byte", recent.sent_bytes, total.sent_bytes, seconds),
                }
                for topic, (recent, total) in topics.items()
            },
            "producer-node-metrics": {
                f"node-{node_id}": _requests(recent, total, seconds)
                for node_id, (recent, total) in nodes.items()
            },
        }

    def _of_producer(self, now: float) -> _ProducerTally:
        windows = self._producer
        if now >= windows.ends:
            windows.roll(now)
        return windows.current

    def _of_topic(self, topic: str, now: float) -> _TopicTally:
        windows = self._topics.get(topic) or self._add_topic(topic, now)
        if now >= windows.ends:
            windows.roll(now)
        return windows.current

    def _of_node(self, node_id: int, now: float) -> _NodeTally:
        windows = self._nodes.get(node_id) or self._add_node(node_id, now)
        if now >= windows.ends:
            windows.roll(now)
        return windows.current

    def _add_topic(self, topic: str, now: float) -> Windows[_TopicTally]:
        windows = self._topics[topic] = Windows(_TopicTally, self._period, now)
        return windows

    def _add_node(self, node_id: int, now: float) -> Windows[_NodeTally]:
        windows = self._nodes[node_id] = Windows(_NodeTally, self._period, now)
        return windows


def _records(recent: _TopicTally, total: _TopicTally, seconds: float) -> dict[str, float]:
    return {
        **_flow("record-send", recent.sent, total.sent, seconds),
        **_flow("record-retry", recent.retried, total.retried, seconds),
        **_flow("record-error", recent.failed, total.failed, seconds),
    }


def _batches(recent: _ProducerTally) -> dict[str, float]:
    return {
        "batch-size-avg": _mean(recent.wire_bytes, recent.batches),
        "compression-rate-avg": _mean(recent.wire_bytes, recent.raw_bytes),
        "record-queue-time-avg": _mean(recent.queue_time, recent.batches) * 1e3,
        "record-queue-time-max": recent.queue_time_max * 1e3,
        "record-size-avg": _mean(recent.raw_bytes, recent.records),
        "records-per-request-avg": _mean(recent.records, recent.requests),
    }


def _requests(recent: _NodeTally, total: _NodeTally, seconds: float) -> dict[str, float]:
    return {
        **_flow("request", recent.requests, total.requests, seconds),
        **_flow("response", recent.responses, total.responses, seconds),
        **_flow("outgoing-byte", recent.request_bytes, total.request_bytes, seconds),
        **_flow("incoming-byte", recent.response_bytes, total.response_bytes, seconds),
        "request-size-avg": _mean(recent.request_bytes, recent.requests),
        "request-size-max": recent.request_bytes_max,
        "request-latency-avg": _mean(recent.latency, recent.responses) * 1e3,
        "request-latency-max": recent.latency_max * 1e3,
    }


def _connections(recent: _NodeTally, total: _NodeTally, seconds: float) -> dict[str, float]:
    return {
        **_flow(
            "network-io",
            recent.requests + recent.responses,
            total.requests + total.responses,
            seconds,
        ),
        **_flow("connection-creation", recent.opened, total.opened, seconds),
        **_flow("connection-close", recent.closed, total.closed, seconds),
        # As in Java a response without throttling counts as one of 0 ms.
        "produce-throttle-time-avg": _mean(recent.throttle, recent.responses) * 1e3,
        "produce-throttle-time-max": recent.throttle_max * 1e3,
    }


def _flow(name: str, recent: float, total: float, seconds: float) -> dict[str, float]:
    return {f"{name}-rate": recent / seconds, f"{name}-total": total}


def _mean(amount: float, count: float) -> float:
    return amount / count if count else 0.0


def _sum(pairs: Iterable[tuple[TallyT, TallyT]], recent: TallyT, total: TallyT) -> None:
    for part_recent, part_total in pairs:
        recent.add(part_recent)
        total.add(part_total)
