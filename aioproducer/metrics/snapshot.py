"""Counts into metrics under the names of Java's producer (`producer-metrics` and so on).

An average or a maximum of nothing is 0.0, where Java says NaN, so that a snapshot is valid JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from aioproducer.metrics.tallies import NodeTally, ProducerTally, TopicTally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aioproducer.metrics.windows import TallyT

Snapshot = TypedDict(
    "Snapshot",
    {
        "producer-metrics": dict[str, float],
        "producer-topic-metrics": dict[str, dict[str, float]],
        "producer-node-metrics": dict[str, dict[str, float]],
    },
)
"""Names and values; those of topics by name ("orders"), those of brokers by node ("node-1")."""


@dataclass(slots=True)
class Waits:
    """Seconds since the start that `flush` took, and that records waited for a topic or for memory."""

    flush: float = 0.0
    metadata: float = 0.0
    buffer: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """All counts at one moment, each as (recent, total); `seconds` is the divisor of rates."""

    seconds: float
    producer: tuple[ProducerTally, ProducerTally]
    topics: Mapping[str, tuple[TopicTally, TopicTally]]
    nodes: Mapping[int, tuple[NodeTally, NodeTally]]
    forgotten: tuple[TopicTally, TopicTally]
    waits: Waits


def make_snapshot(counts: Counts, gauges: Mapping[str, float]) -> Snapshot:
    """Compute every metric; add `gauges` to the producer's.

    Times are in milliseconds as in Java, in nanoseconds where the name says `-ns-`.
    """
    seconds = counts.seconds
    # The producer's record metrics are the sums over its topics, with those that it has forgotten.
    topics = _sum(TopicTally(), TopicTally(), (*counts.topics.values(), counts.forgotten))
    nodes = _sum(NodeTally(), NodeTally(), counts.nodes.values())
    recent, total = counts.producer
    return {
        "producer-metrics": {
            **gauges,
            **_records(topics, seconds),
            **_batches(recent),
            "batch-size-max": topics[0].batch_bytes_max,
            **_flow("batch-split", recent.splits, total.splits, seconds),
            **_flow("buffer-exhausted", recent.exhausted, total.exhausted, seconds),
            "bufferpool-wait-time-ns-total": int(counts.waits.buffer * 1e9),
            "flush-time-ns-total": int(counts.waits.flush * 1e9),
            "metadata-wait-time-ns-total": int(counts.waits.metadata * 1e9),
            **_requests(nodes, seconds),
            **_connections(nodes, seconds),
        },
        "producer-topic-metrics": {
            name: {
                **_records(topic, seconds),
                **_flow("byte", topic[0].sent_bytes, topic[1].sent_bytes, seconds),
            }
            for name, topic in counts.topics.items()
        },
        "producer-node-metrics": {
            f"node-{node_id}": _requests(node, seconds) for node_id, node in counts.nodes.items()
        },
    }


def _records(topic: tuple[TopicTally, TopicTally], seconds: float) -> dict[str, float]:
    recent, total = topic
    return {
        **_flow("record-send", recent.sent, total.sent, seconds),
        **_flow("record-retry", recent.retried, total.retried, seconds),
        **_flow("record-error", recent.failed, total.failed, seconds),
    }


def _batches(recent: ProducerTally) -> dict[str, float]:
    return {
        "batch-size-avg": _mean(recent.wire_bytes, recent.batches),
        "compression-rate-avg": _mean(recent.wire_bytes, recent.raw_bytes),
        "record-queue-time-avg": _mean(recent.queue_time, recent.batches) * 1e3,
        "record-queue-time-max": recent.queue_time_max * 1e3,
        "record-size-avg": _mean(recent.raw_bytes, recent.records),
        "records-per-request-avg": _mean(recent.records, recent.requests),
    }


def _requests(node: tuple[NodeTally, NodeTally], seconds: float) -> dict[str, float]:
    recent, total = node
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


def _connections(node: tuple[NodeTally, NodeTally], seconds: float) -> dict[str, float]:
    recent, total = node
    # Java counts requests and responses together as network-io.
    exchanged = recent.requests + recent.responses, total.requests + total.responses
    return {
        **_flow("network-io", *exchanged, seconds),
        **_flow("connection-creation", recent.opened, total.opened, seconds),
        **_flow("connection-close", recent.closed, total.closed, seconds),
        # As in Java, a response without throttling counts as one of 0 ms.
        "produce-throttle-time-avg": _mean(recent.throttle, recent.responses) * 1e3,
        "produce-throttle-time-max": recent.throttle_max * 1e3,
    }


def _flow(name: str, recent: float, total: float, seconds: float) -> dict[str, float]:
    return {f"{name}-rate": recent / seconds, f"{name}-total": total}


def _mean(amount: float, count: float) -> float:
    return amount / count if count else 0.0


def _sum(recent: TallyT, total: TallyT, parts: Iterable[tuple[TallyT, TallyT]]) -> tuple[TallyT, TallyT]:
    for part_recent, part_total in parts:
        recent.add(part_recent)
        total.add(part_total)
    return recent, total
