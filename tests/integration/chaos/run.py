"""One run: a cluster, a plan, two producers under load, and what became of their records.

                      ┌─ patient: has time to outlast every harm, so that next to nothing may fail
    plan ──▶ cluster ─┤
                      └─ hasty: gives up after a few seconds, so that much fails, and says the truth of it

Both run in one event loop, which is watched; the log is read afterwards with librdkafka.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aioproducer import Producer
from aioproducer.cli.tables import table
from tests.integration.chaos.brokers import BrokerHarms
from tests.integration.chaos.judge import Figures, judge
from tests.integration.chaos.load import Load
from tests.integration.chaos.plan import broker_plan, network_plan
from tests.integration.chaos.proxy import NetworkHarms
from tests.integration.chaos.watch import LoopWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.chaos.cluster import ChaosCluster
    from tests.integration.chaos.plan import Harm
    from tests.integration.consumer import ConsumedRecord

PARTITIONS = 6
STALL = 0.050
"""Seconds of work in the event loop that are too long."""

RARE = 100
"""Of how many records that had time enough one may fail, in doubt."""

HEADER = (
    "harm", "seed", "s", "load", "sent", "acknowledged", "failed", "in doubt", "found", "retries", "missing",
    "twice", "disorder", "misplaced", "denied", "foreign", "unended", "longest s", "stall ms", "of work ms",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chaos:
    """What to run: `what` is harmed ("brokers", "network" or "both"), by which seed and how long."""

    what: str
    seed: int
    seconds: float
    rate: float = 1500.0

    def plans(self, cluster: ChaosCluster) -> tuple[list[Harm], list[Harm]]:
        """Give what happens to brokers, and what to connections."""
        nodes = cluster.node_ids
        brokers = [] if self.what == "network" else broker_plan(self.seed, self.seconds, nodes, PARTITIONS)
        network = [] if self.what == "brokers" else network_plan(self.seed, self.seconds, nodes)
        return brokers, network

    def __str__(self) -> str:
        options = f"--harm {self.what} --seed {self.seed} --seconds {self.seconds:g} --rate {self.rate:g}"
        return f"python -m tests.integration.chaos {options}"


@dataclass(frozen=True, slots=True)
class Report:
    """What one run gave."""

    chaos: Chaos
    plan: list[Harm]
    journal: list[str]
    figures: list[Figures]
    watch: LoopWatch

    def violations(self) -> list[str]:
        """Say what was promised and did not hold."""
        broken = [words for figures in self.figures for words in figures.violations(self.watch.wall)]
        for figures in self.figures:
            # A broker that was restarted remembers a producer's last batch alone. One further back, whose
            # answer was lost, it refuses as out of order, and whether it is in the log cannot be known.
            excused = min(figures.doubtful, figures.sent // RARE)
            if figures.load == "patient" and figures.failed > excused:
                broken.append(f"{figures.load}: {figures.failed} records failed that had time enough")
        if self.watch.cpu > STALL:
            broken.append(f"the event loop was held up for {self.watch.cpu * 1000:.0f} ms: {self.watch}")
        return broken

    def rows(self) -> list[tuple[object, ...]]:
        """Give the figures as rows under HEADER."""
        chaos, watch = self.chaos, self.watch
        return [
            (
                chaos.what, chaos.seed, f"{chaos.seconds:g}", f.load,
                f.sent, f.acknowledged, f.failed, f.doubtful, f.found, f.retries,
                f.missing, f.duplicates, f.out_of_order, f.misplaced, f.denied, f.foreign, f.unended,
                f"{f.longest:.2f}", f"{watch.wall * 1000:.1f}", f"{watch.cpu * 1000:.1f}",
            )
            for f in self.figures
        ]  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(
            [
                table(HEADER, self.rows()),
                str(self.watch),
                *(
                    f"{f.load}: {count} failed: {why}"
                    for f in self.figures
                    for why, count in f.reasons.most_common(5)
                ),
                *(f"BROKEN: {words}" for words in self.violations()),
                f"to have it again: {self.chaos}",
                "the plan:",
                *map(str, self.plan),
                "what came of it:",
                *self.journal,
            ]
        )


async def run(cluster: ChaosCluster, chaos: Chaos, topic: str) -> Report:
    """Let a plan happen to a cluster under load; `topic` is what the topics' names begin with."""
    brokers, network = chaos.plans(cluster)
    names = [f"{topic}-patient", f"{topic}-hasty"]
    for name in names:
        await asyncio.to_thread(cluster.create_topic, name, PARTITIONS, 3, {"min.insync.replicas": 2})
    proxies = NetworkHarms(cluster.routes, network)
    killers = BrokerHarms(cluster, names, brokers)
    watch = LoopWatch()
    with ExitStack() as stack:
        if network:
            stack.enter_context(proxies.standing())
        bootstrap = cluster.proxied_bootstrap if network else cluster.bootstrap
        loads = [
            Load("patient", patient(bootstrap), names[0], chaos.rate, chaos.seed),
            Load("hasty", hasty(bootstrap), names[1], chaos.rate, chaos.seed + 1),
        ]
        harms = [killers.carry_out, proxies.carry_out] if network else [killers.carry_out]
        with watch.beating():
            await _produce(cluster, loads, harms, chaos.seconds)
    figures = [judge(load, await asyncio.to_thread(_read, cluster, load)) for load in loads]
    plan = sorted(brokers + network, key=lambda harm: harm.at)
    return Report(chaos, plan, [*killers.journal, *proxies.journal], figures, watch)


async def _produce(
    cluster: ChaosCluster, loads: list[Load], harms: list[Callable[[], None]], seconds: float
) -> None:
    async with AsyncExitStack() as stack:
        for load in loads:
            await load.producer.start()
            # What has not ended by then never will: that is for the judge, and holds nobody up.
            stack.push_async_callback(load.producer.stop, timeout=1)
            await stack.enter_async_context(load.noted())
        async with asyncio.TaskGroup() as group:
            for load in loads:
                group.create_task(load.run(seconds))
            for harm in harms:
                group.create_task(asyncio.to_thread(harm))
        await asyncio.to_thread(cluster.heal)
        await asyncio.to_thread(cluster.wait_until_in_sync)
        await asyncio.gather(*(load.settle() for load in loads))


def _read(cluster: ChaosCluster, load: Load) -> list[ConsumedRecord]:
    acknowledged = sum(map(load.is_acknowledged, range(len(load.sent))))
    patience = 20 + len(load.sent) / 10_000
    try:
        return cluster.consume(load.topic, acknowledged, patience)
    except TimeoutError:
        # Fewer than were acknowledged: what there is shall be judged.
        return cluster.consume(load.topic, 0, patience)


def patient(bootstrap: str) -> Producer:
    """Make a producer that can wait for any broker to come back."""
    return Producer(
        bootstrap,
        linger_ms=5,
        compression_type="lz4",
        request_timeout_ms=4_000,
        delivery_timeout_ms=90_000,
        reconnect_backoff_max_ms=500,
    )


def hasty(bootstrap: str) -> Producer:
    """Make a producer that gives up requests early, and records soon after."""
    return Producer(
        bootstrap,
        linger_ms=2,
        batch_size=4_096,
        request_timeout_ms=900,
        delivery_timeout_ms=3_000,
        reconnect_backoff_max_ms=200,
        retry_backoff_max_ms=200,
    )
