"""Real brokers for tests, started for the first test that needs them and stopped after the last.

Without a broker a test is skipped, with the reason. AIOPRODUCER_REQUIRE_KAFKA=1 makes that an
error, so that a run against Kafka cannot pass without Kafka. After every test the brokers that it
paused, stopped or killed are started again.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.kafka import NEWEST, Kafka, KafkaCluster, KafkaMissingError
from tests.integration.secured import SecuredKafka
from tests.integration.sources import single_broker

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

OLDER = "3.6.1"
OLDEST = "2.8.2"

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.kafka)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    return (yield from _skipping_without_kafka())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _skipping_without_kafka())


def _skipping_without_kafka() -> Generator[None, object, object]:
    try:
        return (yield)
    except KafkaMissingError as missing:
        if os.environ.get("AIOPRODUCER_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def clusters() -> list[KafkaCluster]:
    """All running clusters; they are healed after each test."""
    return []


@pytest.fixture(autouse=True)
def healed(clusters: list[KafkaCluster]) -> Iterator[None]:
    yield
    for cluster in clusters:
        cluster.heal()


@pytest.fixture(scope="session")
def kafka(clusters: list[KafkaCluster]) -> Iterator[Kafka]:
    """One broker of the newest Kafka."""
    with single_broker(NEWEST) as broker:
        clusters += [broker] if isinstance(broker, KafkaCluster) else []
        yield broker


@pytest.fixture(scope="session")
def kafka_361(clusters: list[KafkaCluster]) -> Iterator[Kafka]:
    """One broker of Kafka 3.6.1, the oldest release in all broker tests."""
    with single_broker(OLDER) as broker:
        clusters += [broker] if isinstance(broker, KafkaCluster) else []
        yield broker


@pytest.fixture(scope="session")
def kafka_282(clusters: list[KafkaCluster]) -> Iterator[KafkaCluster]:
    """One broker of Kafka 2.8.2, with ZooKeeper."""
    with KafkaCluster(OLDEST) as broker:
        clusters.append(broker)
        yield broker


@pytest.fixture(scope="session")
def kafka_three(clusters: list[KafkaCluster]) -> Iterator[KafkaCluster]:
    """Three brokers of the newest Kafka, replication factor 3, for tests that kill them."""
    with KafkaCluster(NEWEST, brokers=3) as cluster:
        clusters.append(cluster)
        yield cluster


@pytest.fixture(scope="session")
def kafka_361_three(clusters: list[KafkaCluster]) -> Iterator[KafkaCluster]:
    """Three brokers of Kafka 3.6.1."""
    with KafkaCluster(OLDER, brokers=3) as cluster:
        clusters.append(cluster)
        yield cluster


@pytest.fixture(scope="session")
def secured_kafka(clusters: list[KafkaCluster]) -> Iterator[SecuredKafka]:
    """One broker of the newest Kafka with a listener for every kind of security."""
    with SecuredKafka(NEWEST) as broker:
        clusters.append(broker)
        yield broker


@pytest.fixture(scope="session")
def secured_kafka_361(clusters: list[KafkaCluster]) -> Iterator[SecuredKafka]:
    """One broker of Kafka 3.6.1 with all listeners."""
    with SecuredKafka(OLDER) as broker:
        clusters.append(broker)
        yield broker


@pytest.fixture(scope="session")
def secured_kafka_282(clusters: list[KafkaCluster]) -> Iterator[SecuredKafka]:
    """One broker of Kafka 2.8.2 with all listeners."""
    with SecuredKafka(OLDEST) as broker:
        clusters.append(broker)
        yield broker


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """Return a unique topic name, because brokers are shared; the topic is not created."""
    test = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name).strip("-")
    return f"{test[:100]}-{secrets.token_hex(4)}"
