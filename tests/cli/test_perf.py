import re
from pathlib import Path

from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.cli.conftest import Run

CLOSING = re.compile(
    r"(\d+) records sent, \d+\.\d records/sec \(\d+\.\d\d MB/sec\), \d+\.\d\d ms avg latency, "
    r"\d+\.\d\d ms max latency, \d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99\.9th\."
)


def sent(line: str) -> int:
    found = CLOSING.fullmatch(line)
    assert found is not None, line
    return int(found.group(1))


async def test_sends_records_and_prints_summary(run: Run) -> None:
    async with FakeCluster(topics={"load": 3}) as cluster:
        outcome = await run(
            "perf", "--topic", "load", "--num-records", 5000, "--record-size", 37,
            "--producer-props", f"bootstrap.servers={cluster.bootstrap}", "linger.ms=1",
        )  # fmt: skip
        records = cluster.records("load")
    assert (outcome.code, outcome.err) == (0, "")
    assert sent(outcome.lines[-1]) == 5000
    assert len(records) == 5000
    assert {len(record.value or b"") for record in records} == {37}
    assert len({record.value for record in records}) > 4000


async def test_embedded_broker_by_default(run: Run) -> None:
    outcome = await run("perf", "--num-records", 1000)
    assert (outcome.code, sent(outcome.out.strip())) == (0, 1000)
    assert "embedded broker" in outcome.err


async def test_last_batches_are_counted(run: Run) -> None:
    """The callbacks of the last batches run after `flush` has returned."""
    async with FakeCluster(topics={"perf": 6}) as cluster:
        outcome = await run(
            "perf", "-b", cluster.bootstrap, "--num-records", 600,
            "--producer-props", "linger.ms=60000", "partitioner=round_robin",
        )  # fmt: skip
    assert (outcome.code, sent(outcome.out.strip())) == (0, 600)


async def test_throughput_is_limited(run: Run) -> None:
    outcome = await run("perf", "--num-records", 100, "--throughput", 500)
    rate = float(outcome.out.split(", ")[1].split()[0])
    assert 200 < rate <= 505


async def test_payloads_come_from_file(run: Run, tmp_path: Path) -> None:
    payloads = tmp_path / "payloads"
    payloads.write_bytes(b"one\n\ntwo\n")
    async with FakeCluster(topics={"perf": 1}) as cluster:
        outcome = await run("perf", "-b", cluster.bootstrap, "--payload-file", payloads, "--num-records", 200)
        assert outcome.code == 0
        assert {record.value for record in cluster.records("perf")} == {b"one", b"two"}
    payloads.write_bytes(b"\n")
    outcome = await run("perf", "--payload-file", payloads)
    assert (outcome.code, "only empty lines" in outcome.err) == (2, True)


async def test_metrics_are_printed_by_group(run: Run) -> None:
    outcome = await run("perf", "--num-records", 100, "--print-metrics")
    assert outcome.code == 0
    assert "Metric Name" in outcome.out
    assert re.search(r"^producer-metrics:record-send-total +: 100", outcome.out, re.MULTILINE)


async def test_failed_records_are_counted_apart(run: Run) -> None:
    async with FakeCluster(topics={"perf": 1}) as cluster:
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        outcome = await run("perf", "-b", cluster.bootstrap, "--num-records", 3000)
        stored = len(cluster.records("perf"))
    assert outcome.code == 1
    assert sent(outcome.lines[-1]) == stored
    assert f"{3000 - stored} of 3000 records failed" in outcome.err
    assert "AuthorizationError" in outcome.err


async def test_numbers_out_of_range_are_refused(run: Run) -> None:
    assert (await run("perf", "--num-records", 0)).code == 2
    assert (await run("perf", "--record-size", -1)).code == 2
