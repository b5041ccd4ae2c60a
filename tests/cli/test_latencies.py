from aioproducer.cli.latencies import Latencies

BEGAN = 100.0


def test_closing_line_matches_kafka() -> None:
    latencies = Latencies(1000, BEGAN)
    # latencies of 1, 2, … 1000 ms
    latencies.add([101 - n / 1000 for n in range(1, 1001)], 2 * 1024 * 1024, 101.0)
    assert latencies.closing_line(102.0) == (
        "1000 records sent, 500.0 records/sec (1.00 MB/sec), 500.50 ms avg latency, "
        "1000.00 ms max latency, 501 ms 50th, 951 ms 95th, 991 ms 99th, 1000 ms 99.9th."
    )


def test_windows_of_five_seconds() -> None:
    latencies = Latencies(100, BEGAN)
    assert latencies.add([103.0, 103.9], 1024 * 1024, 104.0) is None
    assert latencies.add([104.0], 1024 * 1024, 105.0) == (
        "3 records sent, 0.6 records/sec (0.40 MB/sec), 700.0 ms avg latency, 1000.0 ms max latency."
    )
    assert latencies.add([105.0], 0, 110.0) == (
        "1 records sent, 0.2 records/sec (0.00 MB/sec), 5000.0 ms avg latency, 5000.0 ms max latency."
    )


def test_percentile_samples_are_even() -> None:
    latencies = Latencies(5_000_000, BEGAN)
    for _ in range(1000):
        latencies.add([100.5] * 9 + [100.0], 0, 101.0)
        latencies.add([100.5] * 7, 0, 101.0)
    assert len(latencies._samples) == 1700  # noqa: SLF001 - the bounded buffer
    assert "1000.00 ms max latency" in latencies.closing_line(BEGAN)


def test_no_records_is_no_error() -> None:
    assert Latencies(1, BEGAN).closing_line(BEGAN).startswith("0 records sent, 0.0 records/sec")
