"""One run: a cluster, a plan of faults, two producers under load, and the check of their records.

                      ┌─ patient: long timeouts that outlast every fault; nearly no record may fail
    plan ──▶ cluster ─┤
                      └─ hasty: timeouts of seconds; many records fail, and their errors must be right

Both run in one event loop, whose stalls are measured. librdkafka reads the log afterwards.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aioproducer import Producer
from aioproducer.cli.tables import table
from tests.integration.chaos.brokers import BrokerFaults
from tests.integration.chaos.load import Load
from tests.integration.chaos.log_checker import Figures, check_log
from tests.integration.chaos.plan import broker_plan, network_plan
from tests.integration.chaos.proxy import NetworkFaults
from tests.integration.chaos.watch import LoopWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.integration.chaos.cluster import ChaosCluster
    from tests.integration.chaos.plan import ChaosFault
    from tests.integration.consumer import ConsumedRecord

PARTITIONS = 6
STALL = 0.050
"""The longest allowed work in the event loop, in seconds."""

RARE = 100
"""One record of so many may fail in doubt, even with long timeouts."""

HEADER = (
    "faults", "seed", "s", "load", "sent", "acknowledged", "failed", "in doubt", "found", "retries",
    "missing", "twice", "disorder", "misplaced", "denied", "foreign", "unended",
    "longest s", "stall ms", "of work ms",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chaos:
    """The parameters of a run: `what` has faults ("brokers", "network", "both"), seed, and length."""

    what: str
    seed: int
    seconds: float
    rate: float = 1500.0
    security: str = "PLAINTEXT"

    def plans(self, cluster: ChaosCluster) -> tuple[list[ChaosFault], list[ChaosFault]]:
        """Return the faults of brokers, and those of connections."""
        nodes = cluster.node_ids
        brokers = [] if self.what == "network" else broker_plan(self.seed, self.seconds, nodes, PARTITIONS)
        network = [] if self.what == "brokers" else network_plan(self.seed, self.seconds, nodes)
        return brokers, network

    def __str__(self) -> str:
        options = f"--fault {self.what} --seed {self.seed} --seconds {self.seconds:g} --rate {self.rate:g}"
        if self.security != "PLAINTEXT":
            options = f"{options} --security {self.security}"
        return f"python -m tests.integration.chaos {options}"


@dataclass(frozen=True, slots=True)
class Report:
    """The results of one run."""

    chaos: Chaos
    plan: list[ChaosFault]
    journal: list[str]
    figures: list[Figures]
    watch: LoopWatch

    def violations(self) -> list[str]:
        """Return the broken guarantees."""
        broken = [words for figures in self.figures for words in figures.violations(self.watch.wall)]
        for figures in self.figures:
            # A restarted broker remembers only a producer's last batch. It refuses an earlier batch
            # with a lost response as out of order, and the producer cannot know if it is in the log.
            excused = min(figures.doubtful, figures.sent // RARE)
            if figures.load == "patient" and figures.failed > excused:
                broken.append(f"{figures.load}: {figures.failed} records failed in spite of long timeouts")
        if self.watch.cpu > STALL:
            broken.append(f"the event loop was held up for {self.watch.cpu * 1000:.0f} ms: {self.watch}")
        return broken

    def rows(self) -> list[tuple[object, ...]]:
        """Return the figures as rows under HEADER."""
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
                f"to repeat it: {self.chaos}",
                "the plan:",
                *map(str, self.plan),
                "the journal:",
                *self.journal,
            ]
        )


async def run(cluster: ChaosCluster, chaos: Chaos, topic: str) -> Report:
    """Run a plan on a cluster under load; the topics' names begin with `topic`."""
    brokers, network = chaos.plans(cluster)
    names = [f"{topic}-patient", f"{topic}-hasty"]
    for name in names:
        await asyncio.to_thread(cluster.create_topic, name, PARTITIONS, 3, {"min.insync.replicas": 2})
    proxies = NetworkFaults(cluster.routes, network)
    broker_faults = BrokerFaults(cluster, names, brokers)
    watch = LoopWatch()
    with ExitStack() as stack:
        if network:
            stack.enter_context(proxies.running())
        bootstrap = cluster.proxied_bootstrap if network else cluster.direct_bootstrap
        options = {"bootstrap_servers": bootstrap, **cluster.client_options}
        loads = [
            Load("patient", patient(options), names[0], chaos.rate, chaos.seed),
            Load("hasty", hasty(options), names[1], chaos.rate, chaos.seed + 1),
        ]
        faults = [broker_faults.run, proxies.run] if network else [broker_faults.run]
        with watch.beating():
            await _produce(cluster, loads, faults, chaos.seconds)
    figures = [check_log(load, await asyncio.to_thread(_read, cluster, load)) for load in loads]
    plan = sorted(brokers + network, key=lambda fault: fault.at)
    return Report(chaos, plan, [*broker_faults.journal, *proxies.journal], figures, watch)


async def _produce(
    cluster: ChaosCluster, loads: list[Load], faults: list[Callable[[], None]], seconds: float
) -> None:
    async with AsyncExitStack() as stack:
        for load in loads:
            await load.producer.start()
            # Records that have not ended by then never will: the log check reports them.
            stack.push_async_callback(load.producer.stop, timeout=1)
            await stack.enter_async_context(load.noted())
        async with asyncio.TaskGroup() as group:
            for load in loads:
                group.create_task(load.run(seconds))
            for fault in faults:
                group.create_task(asyncio.to_thread(fault))
        await asyncio.to_thread(cluster.heal)
        await asyncio.to_thread(cluster.wait_until_in_sync)
        await asyncio.gather(*(load.settle() for load in loads))


def _read(cluster: ChaosCluster, load: Load) -> list[ConsumedRecord]:
    acknowledged = sum(map(load.is_acknowledged, range(len(load.sent))))
    patience = 20 + len(load.sent) / 10_000
    try:
        return cluster.consume(load.topic, acknowledged, patience)
    except TimeoutError:
        # The log has fewer records than were acknowledged: check those.
        return cluster.consume(load.topic, 0, patience)


def patient(options: Mapping[str, Any]) -> Producer:
    """Return a producer with timeouts that outlast every fault."""
    return Producer(
        **options,
        linger_ms=5,
        compression_type="lz4",
        request_timeout_ms=4_000,
        delivery_timeout_ms=90_000,
        reconnect_backoff_max_ms=500,
    )


def hasty(options: Mapping[str, Any]) -> Producer:
    """Return a producer whose requests time out early, and whose records expire soon after."""
    return Producer(
        **options,
        linger_ms=2,
        batch_size=4_096,
        request_timeout_ms=900,
        delivery_timeout_ms=3_000,
        reconnect_backoff_max_ms=200,
        retry_backoff_max_ms=200,
    )
