import json
import socket
from collections.abc import Iterator

import pytest

from aioproducer.testing import ApiKey, ErrorCode, FakeCluster
from tests.cli.conftest import Run


@pytest.fixture
def dead_address() -> Iterator[str]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


async def test_table_has_brokers_topics_and_leaders(run: Run) -> None:
    async with FakeCluster(2, {"orders": 2, "audit": 1}) as cluster:
        cluster.move_leader("orders", 1, -1)
        outcome = await run("metadata", "-b", cluster.bootstrap)
        addresses = cluster.bootstrap.split(",")
    assert (outcome.code, outcome.err) == (0, "")
    cells = [line.split() for line in outcome.lines]
    assert ["1", addresses[0], "controller"] in cells
    assert ["2", addresses[1]] in cells
    assert ["audit", "0", "1", "1,2", "1,2"] in cells
    assert ["orders", "1", "-1", "2,1", "1,2", "LEADER_NOT_AVAILABLE"] in cells or [
        "orders", "1", "-1", "2,1", "2,1", "LEADER_NOT_AVAILABLE",
    ] in cells  # fmt: skip


async def test_json_has_all_fields(run: Run) -> None:
    async with FakeCluster(topics={"orders": 2}, cluster_id="mine") as cluster:
        outcome = await run("metadata", "--json", "-b", cluster.bootstrap)
        topic_id = str(cluster.topology.topic("orders").topic_id)
    told = json.loads(outcome.out)
    assert (told["cluster_id"], told["controller_id"], len(told["brokers"])) == ("mine", 1, 1)
    [topic] = told["topics"]
    assert (topic["name"], topic["topic_id"], topic["error"]) == ("orders", topic_id, None)
    assert topic["partitions"][1] == {
        "partition": 1,
        "leader": 1,
        "leader_epoch": 0,
        "replicas": [1],
        "in_sync": [1],
        "offline": [],
        "error": None,
    }


async def test_named_topics_are_not_created(run: Run) -> None:
    async with FakeCluster(topics={"orders": 1, "audit": 1}) as cluster:
        outcome = await run("metadata", "orders", "nothing", "-b", cluster.bootstrap)
        assert "nothing" not in cluster.topology.topics
    assert outcome.code == 1
    assert "UNKNOWN_TOPIC_OR_PARTITION" in outcome.out
    assert "audit" not in outcome.out


@pytest.mark.parametrize("highest", [4, 7, 9, 12, 13])
async def test_older_brokers_get_older_versions(run: Run, highest: int) -> None:
    async with FakeCluster(topics={"orders": 1}, max_versions={ApiKey.METADATA: highest}) as cluster:
        outcome = await run("metadata", "-b", cluster.bootstrap)
    assert outcome.code == 0
    assert "orders" in outcome.out


async def test_first_response_is_enough(run: Run, dead_address: str) -> None:
    async with FakeCluster(topics={"orders": 1}) as cluster:
        outcome = await run("metadata", "-b", f"{dead_address},{cluster.bootstrap}")
    assert outcome.code == 0


async def test_every_failed_server_is_named(run: Run, dead_address: str) -> None:
    """Each server without a response is named with its cause."""
    async with FakeCluster() as cluster:
        cluster.on(ApiKey.API_VERSIONS).answer(ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
        outcome = await run("metadata", "-b", f"{dead_address},{cluster.bootstrap}")
        assert outcome.code == 1
        assert f"{dead_address}: " in outcome.err
        assert f"{cluster.bootstrap}: ApiVersions: CLUSTER_AUTHORIZATION_FAILED" in outcome.err
        cluster.on(ApiKey.METADATA).disconnect()
        outcome = await run("metadata", "-b", cluster.bootstrap)
        assert (outcome.code, "was lost: the broker closed it" in outcome.err) == (1, True)
        cluster.on(ApiKey.API_VERSIONS).answer_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        outcome = await run("metadata", "-b", cluster.bootstrap)
        assert (outcome.code, "HTTP" in outcome.err) == (1, True)


async def test_silent_server_times_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioproducer.cli.metadata.EXCHANGE_TIMEOUT", 0.1)
    async with FakeCluster() as cluster:
        cluster.on(ApiKey.METADATA).fall_silent()
        outcome = await run("metadata", "-b", cluster.bootstrap)
    assert outcome.code == 1
    assert "within 0.1 s" in outcome.err
    assert "no answer in time" in outcome.err


async def test_topics_stand_anywhere(run: Run) -> None:
    async with FakeCluster(topics={"orders": 1, "audit": 1, "other": 1}) as cluster:
        outcome = await run("metadata", "orders", "-b", cluster.bootstrap, "audit")
    assert outcome.code == 0
    assert "orders" in outcome.out
    assert "audit" in outcome.out
    assert "other" not in outcome.out


async def test_embedded_broker_is_announced(run: Run) -> None:
    outcome = await run("metadata", "--embedded")
    assert outcome.code == 0
    assert "embedded broker" in outcome.err
