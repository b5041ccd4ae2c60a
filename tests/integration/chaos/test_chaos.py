"""Brokers are killed, paused and restarted, connections fail in every way: the guarantees hold.

A seed determines the plan of faults. A broken guarantee prints the plan, and the command to repeat
it. AIOPRODUCER_CHAOS_SECONDS and AIOPRODUCER_CHAOS_SEED set the length and the seed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.chaos.cluster import ChaosCluster
from tests.integration.chaos.run import Chaos, run
from tests.integration.chaos.secured import SecuredChaosCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.chaos.run import Report
    from tests.integration.kafka import KafkaCluster

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SECONDS = float(os.environ.get("AIOPRODUCER_CHAOS_SECONDS", "30"))
SEED = int(os.environ.get("AIOPRODUCER_CHAOS_SEED", "1"))


@pytest.fixture(scope="module", params=[ChaosCluster, SecuredChaosCluster], ids=["PLAINTEXT", "SASL_SSL"])
def cluster(request: pytest.FixtureRequest, clusters: list[KafkaCluster]) -> Iterator[ChaosCluster]:
    with request.param() as cluster:
        clusters.append(cluster)
        yield cluster
        clusters.remove(cluster)


@pytest.mark.scenario("broker-restarts")
async def test_broker_faults(cluster: ChaosCluster, topic_name: str) -> None:
    report = await run(cluster, chaos("brokers", cluster), topic_name)

    check(report)


@pytest.mark.scenario("lossy-network")
async def test_network_faults(cluster: ChaosCluster, topic_name: str) -> None:
    report = await run(cluster, chaos("network", cluster), topic_name)

    check(report)


def chaos(what: str, cluster: ChaosCluster) -> Chaos:
    return Chaos(what, SEED, SECONDS, security=cluster.client_options["security_protocol"])


def check(report: Report) -> None:
    assert not report.violations(), str(report)
    for figures in report.figures:
        # Otherwise the faults tested nothing.
        assert figures.acknowledged > figures.sent / 10, str(report)
        assert figures.retries, str(report)
