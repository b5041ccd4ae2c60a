"""Kafka's own Java producer, of old and new releases, produces to the embedded cluster."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from aioproducer.testing import FakeCluster
from tests.integration.conftest import OLDER
from tests.integration.kafka import NEWEST, Kafka
from tests.net.quick import until
from tests.testing.stand_alone import stand_alone

if TYPE_CHECKING:
    from tests.integration.properties import Properties

RECORDS = 300
KEYS = 7

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("version", [NEWEST, OLDER])]

CONFIGURATIONS: list[Properties] = [
    {"enable.idempotence": True},
    {"enable.idempotence": False, "acks": 1, "compression.type": "zstd"},
    {"enable.idempotence": False, "acks": 0},
]


def lines() -> list[tuple[str, str]]:
    return [(f"k{number % KEYS}", f"“{number}”") for number in range(RECORDS)]


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=["idempotent", "compressed", "without acks"])
async def test_console_records_are_stored_unchanged(version: str, config: Properties) -> None:
    async with FakeCluster(2, {"orders": 4}) as cluster:
        tool = Kafka(cluster.bootstrap, version)
        await asyncio.to_thread(tool.console_producer, "orders", lines(), config=config)
        # With acks=0 the tool may end before the broker has read everything.
        await until(lambda: not any(cluster.connections(node) for node in cluster.topology.nodes))

        sent, stored = defaultdict(list), defaultdict(list)
        for key, value in lines():
            sent[key].append(value)
        for record in cluster.records("orders"):
            assert record.key is not None
            assert record.value is not None
            stored[record.key.decode()].append(record.value.decode())
        assert stored == sent

        partitions = cluster.topology.topic("orders").partitions
        numbered = {producer for partition in partitions for producer in partition.log.producers}
        assert len(numbered) == (1 if config["enable.idempotence"] else 0)


def test_console_producer_reaches_broker(version: str) -> None:
    with stand_alone("--nodes", "3", "--topic", "orders:6") as broker:
        tool = Kafka(broker.bootstrap, version)
        tool.console_producer("orders", lines(), config={"enable.idempotence": True})
        tool.console_producer("created", lines()[:10])
        assert broker.end() == ["created: 10 records", f"orders: {RECORDS} records"]


def test_performance_tool_loads_broker(version: str) -> None:
    with stand_alone("--partitions", "3") as broker:
        said = Kafka(broker.bootstrap, version).producer_performance("load", 20_000, 100)
        assert said.startswith("20000 records sent")
        assert broker.end() == ["load: 20000 records"]
