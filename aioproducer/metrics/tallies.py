"""The counters of each scope: the producer, a topic, a node.

Each event is counted in one scope only, the smallest that it belongs to. Times are in seconds,
sizes in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from aioproducer.metrics.windows import Tally


@dataclass(slots=True, eq=False, repr=False)
class ProducerTally(Tally):
    """Counts of the whole producer. `requests` are Produce requests only."""

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
class TopicTally(Tally):
    """Counts of one topic, in records; `sent_bytes` are those of acknowledged batches."""

    sent: int = 0
    sent_bytes: int = 0
    batch_bytes_max: int = 0
    retried: int = 0
    failed: int = 0


@dataclass(slots=True, eq=False, repr=False)
class NodeTally(Tally):
    """Counts of one broker, over all of its connections and all APIs."""

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
