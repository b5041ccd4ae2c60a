import asyncio
import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from aioproducer.testing import ApiKey, ErrorCode, FakeCluster, TopicConfig
from tests.cli.conftest import Run

Lines = Callable[[bytes], Path]

PRODUCED = re.compile(r"Produced to partition (\d+) at offset (\d+) with timestamp (\d+)")


async def test_every_line_is_reported_in_order(run: Run, lines: Lines) -> None:
    content = [b"%d" % n for n in range(5000)]
    async with FakeCluster(topics={"orders": 4}) as cluster:
        outcome = await run("produce", "orders", lines(b"\n".join(content) + b"\n"), "-b", cluster.bootstrap)
        assert (outcome.code, outcome.err) == (0, "")
        records = {(r.partition, r.offset): r for r in cluster.records("orders")}
    assert len(records) == 5000
    for value, line in zip(content, outcome.lines, strict=True):
        told = PRODUCED.fullmatch(line)
        assert told is not None
        partition, offset, timestamp_ms = map(int, told.groups())
        record = records[partition, offset]
        assert (record.value, record.timestamp_ms, record.key) == (value, timestamp_ms, None)


async def test_partitions_keep_line_order(run: Run, lines: Lines) -> None:
    content = b"".join(b"k%d\t%d\n" % (n % 7, n) for n in range(5000))
    async with FakeCluster(topics={"orders": 3}) as cluster:
        outcome = await run("produce", "orders", lines(content), "-b", cluster.bootstrap, "-K", r"\t")
        assert outcome.code == 0
        for partition in range(3):
            values = [int(r.value or b"") for r in cluster.records("orders", partition)]
            assert values == sorted(values)
        assert {r.key for r in cluster.records("orders")} == {b"k%d" % n for n in range(7)}


@pytest.mark.parametrize(
    ("content", "values"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"a\nb", [b"a", b"b"], id="no newline at the end"),
        pytest.param(b"\n\na\n", [b"", b"", b"a"], id="empty lines"),
        pytest.param(b"a\r\nb\r\n", [b"a\r", b"b\r"], id="carriage returns stay"),
        pytest.param(b"\xff\x00\xfe\n", [b"\xff\x00\xfe"], id="bytes that are no text"),
        pytest.param(b"x" * 700_000 + b"\ny\n", [b"x" * 700_000, b"y"], id="longer than a chunk"),
    ],
)
async def test_lines_are_bytes(run: Run, lines: Lines, content: bytes, values: list[bytes]) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run("produce", "orders", lines(content), "-b", cluster.bootstrap)
        assert outcome.code == 0
        assert [record.value for record in cluster.records("orders")] == values


async def test_stdin_lines_are_joined(run: Run, stdin: int) -> None:
    os.write(stdin, b"first\nsec")
    os.write(stdin, b"ond\nlast")
    os.close(stdin)
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run("produce", "orders", "-b", cluster.bootstrap)
        assert outcome.code == 0
        assert [record.value for record in cluster.records("orders")] == [b"first", b"second", b"last"]


async def test_key_partition_and_headers_options(run: Run, lines: Lines) -> None:
    async with FakeCluster(topics={"orders": 3}) as cluster:
        options = ("-k", "key", "-p", 2, "-H", "a=1", "-H", "a=2=3", "-H", "null", "-b", cluster.bootstrap)
        assert (await run("produce", "orders", lines(b"v\n"), *options)).code == 0
        [record] = cluster.records("orders")
    assert (record.partition, record.key, record.value) == (2, b"key", b"v")
    assert record.headers == (("a", b"1"), ("a", b"2=3"), ("null", None))


async def test_key_precedes_first_delimiter(run: Run, lines: Lines) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        content = b"a:b:c\n:empty key\nempty value:\n"
        assert (await run("produce", "orders", lines(content), "-K", ":", "-b", cluster.bootstrap)).code == 0
        pairs = [(record.key, record.value) for record in cluster.records("orders")]
    assert pairs == [(b"a", b"b:c"), (b"", b"empty key"), (b"empty value", b"")]


async def test_line_without_delimiter_has_no_key(run: Run, lines: Lines) -> None:
    """As in kcat: the whole line is the value."""
    content = b"".join(b"k:%d\n" % n for n in range(1500)) + b"plain\nk:last\nplain again\n"
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run("produce", "orders", lines(content), "-K", ":", "-b", cluster.bootstrap)
        records = cluster.records("orders")
    assert (outcome.code, len(outcome.lines)) == (0, 1503)
    assert [(record.key, record.value) for record in records[1500:]] == [
        (None, b"plain"),
        (b"k", b"last"),
        (None, b"plain again"),
    ]
    assert outcome.err == "2 lines without the key delimiter: no key, first in line 1501\n"


@pytest.mark.parametrize(
    ("content", "delimiter", "values"),
    [
        (b"a,b\n,,c", ",", [b"a", b"b\n", b"", b"c"]),
        (b"a||b|c||", "||", [b"a", b"b|c"]),
        (b"a\x00b", r"\0", [b"a", b"b"]),
        (b"a\xffb\x1fc", r"\xff", [b"a", b"b\x1fc"]),
        (b"a\\tb\tc", r"\\t", [b"a", b"b\tc"]),
    ],
)
async def test_lines_end_with_the_delimiter(
    run: Run, lines: Lines, content: bytes, delimiter: str, values: list[bytes]
) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run("produce", "orders", lines(content), "-D", delimiter, "-b", cluster.bootstrap)
        assert outcome.code == 0
        assert [record.value for record in cluster.records("orders")] == values


async def test_delimiter_is_found_across_chunks(
    run: Run, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioproducer.cli.lines.CHUNK_SIZE", 3)
    async with FakeCluster(topics={"orders": 1}) as cluster:
        content = b"one<->two<-<->three<->"
        outcome = await run("produce", "orders", lines(content), "-D", "<->", "-b", cluster.bootstrap)
        assert outcome.code == 0
        assert [record.value for record in cluster.records("orders")] == [b"one", b"two<-", b"three"]


async def test_empty_keys_and_values_are_null(run: Run, lines: Lines) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run(
            "produce", "orders", lines(b"a:\n:b\nc:d\n\n"), "-Z", "-K", ":", "-b", cluster.bootstrap
        )
        pairs = [(record.key, record.value) for record in cluster.records("orders")]
    assert outcome.code == 0
    assert pairs == [(b"a", None), (None, b"b"), (b"c", b"d"), (None, None)]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 100])
async def test_count_ends_the_command(run: Run, tmp_path: Path, count: int) -> None:
    (tmp_path / "one").write_bytes(b"1\n2\n3\n")
    (tmp_path / "two").write_bytes(b"4\n5\n6\n")
    async with FakeCluster(topics={"orders": 1}) as cluster:
        files = (tmp_path / "one", tmp_path / "two")
        outcome = await run("produce", "orders", "-c", count, "-b", cluster.bootstrap, *files)
        assert outcome.code == 0
        assert [int(record.value or b"") for record in cluster.records("orders")] == list(range(1, 7))[:count]


async def test_count_does_not_wait_for_more(run: Run, stdin: int) -> None:
    os.write(stdin, b"first\nsecond\n")
    async with FakeCluster(topics={"orders": 1}) as cluster:
        async with asyncio.timeout(20):
            outcome = await run("produce", "orders", "-c", 2, "-b", cluster.bootstrap)
        assert (outcome.code, len(outcome.lines)) == (0, 2)
    os.close(stdin)


@pytest.mark.parametrize(
    "order",
    [
        "produce TOPIC -b HOST FILE",
        "produce TOPIC FILE -b HOST",
        "produce -b HOST TOPIC FILE",
        "produce TOPIC -b HOST FILE -z gzip FILE --quiet FILE",
        "produce -z gzip TOPIC FILE -b HOST FILE",
        "produce TOPIC --quiet -b HOST FILE FILE",
    ],
)
async def test_arguments_stand_in_any_order(run: Run, lines: Lines, order: str) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        meant: dict[str, object] = {"TOPIC": "orders", "HOST": cluster.bootstrap, "FILE": lines(b"a\n")}
        outcome = await run(*[meant.get(word, word) for word in order.split()])
        assert (outcome.code, outcome.err) == (0, "")
        assert len(cluster.records("orders")) == order.count("FILE")


async def test_files_and_stdin_keep_their_order(run: Run, tmp_path: Path, stdin: int) -> None:
    (tmp_path / "one").write_bytes(b"1\n2")
    (tmp_path / "two").write_bytes(b"4\n" + b"x" * 2000 + b"\n")
    os.write(stdin, b"3\n")
    os.close(stdin)
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run(
            "produce", "orders", "--json", "-b", cluster.bootstrap, "-X", "max.request.size=1000",
            tmp_path / "one", "-", tmp_path / "two",
        )  # fmt: skip
        assert [record.value for record in cluster.records("orders")] == [b"1", b"2", b"3", b"4"]
    told = [json.loads(line) for line in outcome.lines]
    assert [(Path(each["file"]).name, each["line"]) for each in told] == [
        ("one", 1), ("one", 2), ("-", 1), ("two", 1), ("two", 2),
    ]  # fmt: skip
    assert outcome.code == 1
    assert f"first in line 2 of {tmp_path / 'two'}: " in outcome.err


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_codecs_and_properties_are_used(run: Run, lines: Lines, codec: str) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        options = ("-z", codec, "-X", "linger.ms=0", "-X", f"bootstrap.servers={cluster.bootstrap}")
        outcome = await run("produce", "orders", lines(b"v\n" * 100), *options)
        assert (outcome.code, outcome.err) == (0, "")
        [stored, *_] = cluster.topology.partition("orders", 0).log
    assert stored.batch.codec.name.lower() == codec


async def test_json_reports_every_line(run: Run, lines: Lines) -> None:
    async with FakeCluster() as cluster:
        cluster.create_topic("orders", 1, config=TopicConfig(max_message_bytes=1000))
        content = b"a\n" + os.urandom(2000).hex().encode() + b"\nb\n"
        outcome = await run(
            "produce", "orders", lines(content), "--json", "-b", cluster.bootstrap, "-X", "batch.size=1"
        )
    assert outcome.code == 1
    first, second, third = map(json.loads, outcome.lines)
    assert (first["line"], first["topic"], first["partition"], first["offset"]) == (1, "orders", 0, 0)
    assert (second["line"], second["may_be_written"]) == (2, False)
    assert "error" in second
    assert (third["line"], third["offset"]) == (3, 1)
    assert "1 of 3 records failed" in outcome.err
    assert "in line 2" in outcome.err


async def test_quiet_prints_errors_only(run: Run, lines: Lines) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run("produce", "orders", lines(b"a\n"), "--quiet", "-b", cluster.bootstrap)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
        cluster.on(ApiKey.PRODUCE).answer(ErrorCode.TOPIC_AUTHORIZATION_FAILED)
        outcome = await run("produce", "orders", lines(b"a\nb\n"), "--quiet", "-b", cluster.bootstrap)
        assert (outcome.code, outcome.out) == (1, "")
        assert "2 of 2 records failed" in outcome.err
        assert "AuthorizationError" in outcome.err


async def test_long_line_fails_alone(run: Run, lines: Lines) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        content = b"a\n" + b"x" * 2000 + b"\nb\n"
        options = ("-b", cluster.bootstrap, "-X", "max.request.size=1000")
        outcome = await run("produce", "orders", lines(content), *options)
        assert [record.value for record in cluster.records("orders")] == [b"a", b"b"]
    assert outcome.code == 1
    assert "1 x RecordTooLargeError, first in line 2" in outcome.err


async def test_embedded_broker_stores_the_lines(run: Run, lines: Lines) -> None:
    outcome = await run("produce", "orders", lines(b"a\nb\n"), "-p", 5, "--embedded")
    assert outcome.code == 0
    assert [line.rpartition(" ")[0] for line in outcome.lines] == [
        "Produced to partition 5 at offset 0 with timestamp",
        "Produced to partition 5 at offset 1 with timestamp",
    ]
    assert "embedded broker at 127.0.0.1:" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["-X", "liner.ms=5"], "linger.ms", id="unknown option"),
        pytest.param(["-X", "linger.ms=soon"], "linger", id="wrong value"),
        pytest.param(["-X", "linger.ms"], "name=value", id="no value"),
        pytest.param(["-z", "brotli"], "compression", id="unknown codec"),
        pytest.param(["-K", ":", "-k", "key"], "-K", id="two keys"),
        pytest.param(["-K", ""], "empty", id="empty delimiter"),
        pytest.param(["-D", ""], "-D is empty", id="empty delimiter of lines"),
        pytest.param(["-c", "0"], "-c is at least 1, not 0", id="no records"),
        pytest.param(["-p", "one"], "invalid int value", id="no number"),
        pytest.param(["--json", "--quiet"], "not allowed with", id="two outputs"),
    ],
)
async def test_contradictions_are_usage_errors(
    run: Run, lines: Lines, options: list[str], words: str
) -> None:
    outcome = await run("produce", "orders", lines(b"a\n"), "--embedded", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err


@pytest.mark.parametrize(
    ("name", "complaint"), [("nothing", "No such file or directory"), (".", "Is a directory")]
)
async def test_unreadable_file_stops_before_sending(
    run: Run, lines: Lines, tmp_path: Path, name: str, complaint: str
) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run("produce", "orders", lines(b"a\n"), "-b", cluster.bootstrap, tmp_path / name)
        assert cluster.records("orders") == []
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"aioproducer: {tmp_path / name}: {complaint}\n"


async def test_error_while_reading_names_the_file(
    run: Run, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int, _size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = lines(b"a\n")
    async with FakeCluster(topics={"orders": 1}) as cluster:
        monkeypatch.setattr("aioproducer.cli.lines.os.read", fail)
        outcome = await run("produce", "orders", path, "-b", cluster.bootstrap)
    assert outcome.code == 2
    assert outcome.err == f"aioproducer: {path}: {os.strerror(errno.EIO)}\n"


async def test_missing_cluster_is_named(run: Run, lines: Lines) -> None:
    async with FakeCluster() as cluster:
        gone = cluster.bootstrap
    outcome = await run("produce", "orders", lines(b"a\n"), "-b", gone, "-X", "max.block.ms=300")
    assert (outcome.code, outcome.out) == (1, "")
    assert gone in outcome.err
