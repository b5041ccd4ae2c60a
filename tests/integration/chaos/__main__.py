"""Run chaos from the command line: `python -m tests.integration.chaos --seconds 600 --seed 7`.

Starts a cluster of three brokers, causes faults of brokers and connections under load, and prints a
table of figures. Ends with code 1 if a guarantee was broken, and prints the plan and the evidence.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

import uvloop

from aioproducer.cli.tables import table
from tests.integration.chaos.cluster import ChaosCluster
from tests.integration.chaos.run import HEADER, Chaos, run
from tests.integration.chaos.secured import SecuredChaosCluster

CLUSTERS = {"PLAINTEXT": ChaosCluster, "SASL_SSL": SecuredChaosCluster}
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def main() -> int:
    """Run the plans of the command line."""
    options = _options().parse_args()
    logging.basicConfig(level=logging.ERROR)
    rows: list[tuple[object, ...]] = []
    broken = False
    with CLUSTERS[options.security]() as cluster:
        for what in options.fault:
            for seed in options.seed:
                chaos = Chaos(what, seed, options.seconds, options.rate, options.security)
                with asyncio.Runner(loop_factory=LOOPS[options.loop]) as runner:
                    report = runner.run(run(cluster, chaos, f"{what}-{seed}"))
                rows += report.rows()
                if report.violations() or options.verbose:
                    print(report, end="\n\n", flush=True)  # noqa: T201 - the output of a command
                broken |= bool(report.violations())
    print(table(HEADER, rows))  # noqa: T201
    return int(broken)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.integration.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each run lasts (60)")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="one run for each (1)")
    parser.add_argument(
        "--fault", nargs="+", choices=("brokers", "network", "both"), default=["brokers", "network"]
    )
    parser.add_argument("--rate", type=float, default=1500.0, help="records a second and producer (1500)")
    parser.add_argument(
        "--security", choices=CLUSTERS, default="PLAINTEXT", help="the producers' listener (PLAINTEXT)"
    )
    parser.add_argument("--loop", choices=LOOPS, default="asyncio", help="the event loop (asyncio)")
    parser.add_argument("--verbose", action="store_true", help="print plans of successful runs too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
