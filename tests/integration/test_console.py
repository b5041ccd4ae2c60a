"""A file of lines through the command line, read back by Kafka's console consumer."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.kafka import Kafka

if TYPE_CHECKING:
    from pathlib import Path

LINES = 100_000

PRODUCED = re.compile(r"Produced to partition (\d+) at offset (\d+) with timestamp \d+")
CONSUMED = re.compile(r"Partition:(\d+)\tOffset:(\d+)\t(.*)")


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return ["" if number % 1000 == 7 else f"{number} “{number * 'ö':.60}”\t" for number in range(LINES)]


@pytest.fixture(scope="module")
def file(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("console") / "lines.txt"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


async def produce(kafka: Kafka, topic: str, file: Path, *options: str) -> list[tuple[int, int]]:
    """Run the command and return the (partition, offset) that it prints for each line."""
    command = [sys.executable, "-m", "aioproducer.cli", "produce", topic, str(file), "-b", kafka.bootstrap]
    process = await asyncio.create_subprocess_exec(
        *command, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, stderr.decode()
    told = [PRODUCED.fullmatch(line) for line in stdout.decode().splitlines()]
    return [(int(match[1]), int(match[2])) for match in told if match]


async def test_one_partition_holds_the_file(
    broker: Kafka, topic_name: str, lines: list[str], file: Path
) -> None:
    topic = await asyncio.to_thread(broker.create_topic, topic_name)

    places = await produce(broker, topic, file)

    assert places == [(0, offset) for offset in range(LINES)]
    assert await asyncio.to_thread(broker.console_consumer, topic, max_messages=LINES) == lines


@pytest.mark.parametrize("cluster", ["kafka_three", pytest.param("kafka_361_three", marks=pytest.mark.slow)])
async def test_partitions_hold_the_file_in_order(
    cluster: str, request: pytest.FixtureRequest, topic_name: str, lines: list[str], file: Path
) -> None:
    kafka = request.getfixturevalue(cluster)
    topic = await asyncio.to_thread(kafka.create_topic, topic_name, 6)

    places = await produce(kafka, topic, file, "-z", "zstd", "-X", "linger.ms=1")

    properties = {"print.partition": True, "print.offset": True}
    printed = await asyncio.to_thread(
        kafka.console_consumer, topic, max_messages=LINES, properties=properties
    )
    matches = [CONSUMED.fullmatch(line) for line in printed]
    consumed = {(int(match[1]), int(match[2])): match[3] for match in matches if match}
    assert len(places) == len(consumed) == LINES
    assert [consumed[place] for place in places] == lines
    for partition in range(6):
        offsets = [offset for index, offset in places if index == partition]
        assert offsets == list(range(len(offsets)))
        assert offsets
