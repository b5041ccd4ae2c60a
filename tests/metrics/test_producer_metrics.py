"""ProducerMetrics counts events exactly, in simulated time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aioproducer.metrics.producer_metrics import ProducerMetrics

if TYPE_CHECKING:
    from aioproducer.metrics.snapshot import Snapshot

pytestmark = pytest.mark.scenario("metrics")

START = 500.0


@pytest.fixture
def metrics() -> ProducerMetrics:
    return ProducerMetrics(START)


def producer(snapshot: Snapshot) -> dict[str, float]:
    return snapshot["producer-metrics"]


def topic(snapshot: Snapshot, name: str) -> dict[str, float]:
    return snapshot["producer-topic-metrics"][name]


def node(snapshot: Snapshot, node_id: int) -> dict[str, float]:
    return snapshot["producer-node-metrics"][f"node-{node_id}"]


def test_records_are_counted_by_topic(metrics: ProducerMetrics) -> None:
    metrics.batch_delivered("orders", 10, 1_000, START + 1)
    metrics.batch_delivered("orders", 5, 700, START + 2)
    metrics.batch_delivered("audit", 1, 80, START + 2)
    metrics.batch_retried("orders", 5, START + 2)
    metrics.batch_failed("audit", 3, START + 3)

    snapshot = metrics.snapshot(START + 10, {})

    assert topic(snapshot, "orders") == {
        "record-send-rate": 1.5,
        "record-send-total": 15,
        "record-retry-rate": 0.5,
        "record-retry-total": 5,
        "record-error-rate": 0.0,
        "record-error-total": 0,
        "byte-rate": 170.0,
        "byte-total": 1_700,
    }
    assert topic(snapshot, "audit")["record-error-total"] == 3
    assert producer(snapshot)["record-send-total"] == 16
    assert producer(snapshot)["record-send-rate"] == pytest.approx(1.6)
    assert producer(snapshot)["record-retry-total"] == 5
    assert producer(snapshot)["record-error-total"] == 3
    assert producer(snapshot)["batch-size-max"] == 1_000


def test_batch_averages_are_per_batch(metrics: ProducerMetrics) -> None:
    metrics.batches_sent(3, 30, 3_000, 6_000, 0.030, 0.020, START)
    metrics.batches_sent(1, 10, 1_000, 2_000, 0.050, 0.050, START)

    seen = producer(metrics.snapshot(START + 1, {}))

    assert seen["batch-size-avg"] == 1_000
    assert seen["compression-rate-avg"] == 0.5
    assert seen["records-per-request-avg"] == 20
    assert seen["record-size-avg"] == 200
    assert seen["record-queue-time-avg"] == pytest.approx(20)
    assert seen["record-queue-time-max"] == pytest.approx(50)


def test_requests_are_counted_by_node(metrics: ProducerMetrics) -> None:
    metrics.request_sent(1, 400, START)
    metrics.request_sent(1, 200, START)
    metrics.request_sent(2, 100, START)
    metrics.response_received(1, 60, 0.002, START + 1)
    metrics.response_received(1, 60, 0.004, START + 1)
    metrics.response_received(2, 30, 0.009, START + 1)

    snapshot = metrics.snapshot(START + 10, {})

    assert node(snapshot, 1) == pytest.approx(
        {
            "request-rate": 0.2,
            "request-total": 2,
            "response-rate": 0.2,
            "response-total": 2,
            "outgoing-byte-rate": 60.0,
            "outgoing-byte-total": 600,
            "incoming-byte-rate": 12.0,
            "incoming-byte-total": 120,
            "request-size-avg": 300,
            "request-size-max": 400,
            "request-latency-avg": 3.0,
            "request-latency-max": 4.0,
        }
    )
    assert producer(snapshot)["outgoing-byte-total"] == 700
    assert producer(snapshot)["request-latency-avg"] == pytest.approx(5.0)
    assert producer(snapshot)["request-latency-max"] == pytest.approx(9.0)
    assert producer(snapshot)["network-io-total"] == 6
    assert producer(snapshot)["network-io-rate"] == pytest.approx(0.6)


def test_unthrottled_responses_count_as_zero(metrics: ProducerMetrics) -> None:
    for _ in range(4):
        metrics.response_received(1, 10, 0.001, START)
    metrics.throttled(1, 0.200, START)

    seen = producer(metrics.snapshot(START + 1, {}))

    assert seen["produce-throttle-time-avg"] == pytest.approx(50)
    assert seen["produce-throttle-time-max"] == pytest.approx(200)


def test_rare_events_are_counted(metrics: ProducerMetrics) -> None:
    metrics.connection_opened(1, START)
    metrics.connection_opened(2, START)
    metrics.connection_closed(2, START)
    metrics.batch_split(START)
    metrics.buffer_exhausted(7, START)

    seen = producer(metrics.snapshot(START + 2, {}))

    assert (seen["connection-creation-total"], seen["connection-creation-rate"]) == (2, 1.0)
    assert (seen["connection-close-total"], seen["connection-close-rate"]) == (1, 0.5)
    assert (seen["batch-split-total"], seen["batch-split-rate"]) == (1, 0.5)
    assert (seen["buffer-exhausted-total"], seen["buffer-exhausted-rate"]) == (7, 3.5)


def test_wait_times_are_in_nanoseconds(metrics: ProducerMetrics) -> None:
    for _ in range(2):
        metrics.flushed(0.25)
        metrics.metadata_waited(0.5)
        metrics.buffer_waited(1.5)

    seen = producer(metrics.snapshot(START, {}))

    assert seen["flush-time-ns-total"] == 500_000_000
    assert seen["metadata-wait-time-ns-total"] == 1_000_000_000
    assert seen["bufferpool-wait-time-ns-total"] == 3_000_000_000


def test_gauges_are_included(metrics: ProducerMetrics) -> None:
    gauges = {"requests-in-flight": 3, "buffer-available-bytes": 1_024.0}

    assert gauges.items() <= producer(metrics.snapshot(START, gauges)).items()


def test_steady_stream_has_constant_rate(metrics: ProducerMetrics) -> None:
    rates = []
    for second in range(1, 301):
        metrics.batch_delivered("orders", 50, 5_000, START + second - 0.5)
        rates.append(producer(metrics.snapshot(START + second, {}))["record-send-rate"])

    assert rates == pytest.approx([50.0] * 300)


def test_old_windows_are_dropped(metrics: ProducerMetrics) -> None:
    metrics.batches_sent(1, 1, 100, 100, 5.0, 5.0, START + 1)
    metrics.response_received(1, 10, 3.0, START + 1)
    metrics.batches_sent(1, 1, 100, 100, 1.0, 1.0, START + 31)
    metrics.response_received(1, 10, 1.0, START + 31)

    while_recent = producer(metrics.snapshot(START + 59, {}))
    one_later = producer(metrics.snapshot(START + 61, {}))

    assert while_recent["record-queue-time-max"] == 5_000
    assert while_recent["request-latency-avg"] == 2_000
    assert one_later["record-queue-time-max"] == 1_000
    assert one_later["request-latency-avg"] == 1_000


def test_idle_producer_keeps_totals(metrics: ProducerMetrics) -> None:
    metrics.batch_delivered("orders", 50, 5_000, START)
    metrics.request_sent(1, 5_100, START)

    snapshot = metrics.snapshot(START + 3_600, {})

    assert topic(snapshot, "orders")["record-send-rate"] == 0.0
    assert topic(snapshot, "orders")["record-send-total"] == 50
    assert producer(snapshot)["batch-size-max"] == 0
    assert node(snapshot, 1)["request-size-avg"] == 0.0
    assert node(snapshot, 1)["request-total"] == 1


def test_every_count_has_its_window(metrics: ProducerMetrics) -> None:
    for now in (START, START + 90):
        metrics.batch_split(now)
        metrics.buffer_exhausted(1, now)
        metrics.batches_sent(1, 10, 100, 100, 0.5 if now == START else 0.1, 0.1, now)
        metrics.batch_delivered("orders", 10, 100, now)
        metrics.batch_retried("audit", 10, now)
        metrics.batch_failed("alerts", 10, now)
        metrics.request_sent(1, 100, now)
        metrics.response_received(2, 100, 0.5, now)
        metrics.connection_opened(3, now)
        metrics.connection_closed(4, now)
        metrics.throttled(5, 0.5, now)
        # Events below the maximum of their window.
        metrics.batches_sent(0, 0, 0, 0, 0.0, 0.0, now)
        metrics.request_sent(1, 0, now)

    seen = producer(metrics.snapshot(START + 100, {}))

    totals = {name: value for name, value in seen.items() if name.endswith("-total") and value}
    for name, total in totals.items():
        # One of the two times is recent, and the recent windows are 40 s old.
        assert seen[name.replace("-total", "-rate")] == pytest.approx(total / 2 / 40), name
    assert len(totals) == 12
    assert seen["record-queue-time-avg"] == pytest.approx(100)


def test_sample_options_are_used() -> None:
    metrics = ProducerMetrics(START, num_samples=3, sample_window=1.0)
    for second in range(10):
        metrics.batch_delivered("orders", 1, 10, START + second)

    assert producer(metrics.snapshot(START + 9.5, {}))["record-send-rate"] == pytest.approx(3 / 2.5)


def test_empty_snapshot_is_json(metrics: ProducerMetrics) -> None:
    snapshot = metrics.snapshot(START, {})

    assert set(producer(snapshot).values()) == {0.0}
    assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot


def test_forgotten_topic_stays_in_sums(metrics: ProducerMetrics) -> None:
    metrics.batch_delivered("orders", 10, 1_000, START + 1)
    metrics.batch_delivered("audit", 2, 200, START + 1)

    metrics.topic_forgotten("orders")
    metrics.topic_forgotten("never heard of")

    snapshot = metrics.snapshot(START + 10, {})
    assert list(snapshot["producer-topic-metrics"]) == ["audit"]
    assert producer(snapshot)["record-send-total"] == 12
    assert producer(snapshot)["record-send-rate"] == pytest.approx(1.2)
    assert producer(metrics.snapshot(START + 90, {}))["record-send-rate"] == 0.0


def test_snapshot_changes_nothing(metrics: ProducerMetrics) -> None:
    metrics.batch_delivered("orders", 10, 1_000, START + 1)
    metrics.topic_forgotten("orders")
    metrics.batch_delivered("orders", 1, 100, START + 1)

    assert metrics.snapshot(START + 45, {}) == metrics.snapshot(START + 45, {})
