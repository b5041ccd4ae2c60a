"""Every listener and every mechanism of Kafka takes the producer's records."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aioproducer import Producer
from tests.integration.secured import GSSAPI, SecuredKafka
from tests.integration.security.clients import options
from tests.integration.security.matrix import CELLS, RECORDS, ROWS, Row, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TABLE = Path(__file__).with_name("MATRIX.md")
DONE = "yes"


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> Iterator[dict[tuple[Row, str], str]]:
    """Collect the cells of this run; --security-matrix writes them to a file."""
    results: dict[tuple[Row, str], str] = {}
    yield results
    path: Path | None = request.config.getoption("--security-matrix")
    if path is not None:
        path.write_text(table_of(results))


@pytest.mark.scenario("sasl", "tls")
@pytest.mark.parametrize(("row", "version"), CELLS, ids=[f"{row}-{version}" for row, version in CELLS])
async def test_records_arrive(
    request: pytest.FixtureRequest,
    secured_of: Callable[[str], SecuredKafka],
    results: dict[tuple[Row, str], str],
    topic_name: str,
    row: Row,
    version: str,
) -> None:
    if row.mechanism == GSSAPI:
        request.getfixturevalue("ticket")
    kafka = await asyncio.to_thread(secured_of, version)
    topic = await asyncio.to_thread(kafka.create_topic, topic_name)
    values = [b"%d" % number for number in range(RECORDS)]

    async with Producer(**options(kafka, row.listener, row.mechanism)) as producer:
        deliveries = [producer.send(topic, value) for value in values]
    offsets = [delivery.result().offset for delivery in deliveries]

    assert offsets == list(range(RECORDS))
    records = await asyncio.to_thread(kafka.consume, topic, RECORDS)
    assert [record.value for record in records] == values
    results[row, version] = DONE


def test_table_is_complete(request: pytest.FixtureRequest) -> None:
    """The committed table is one of a run in which every cell passed."""
    if request.config.getoption("--security-matrix") is not None:
        pytest.skip("this run writes the table")
    assert TABLE.read_text() == table_of(dict.fromkeys(CELLS, DONE)), (
        "out of date: pytest -q --security-matrix tests/integration/security/MATRIX.md "
        "tests/integration/security/test_matrix.py"
    )
    assert {row for row, _ in CELLS} == set(ROWS)
