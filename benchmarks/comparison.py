"""Runs the measurements of several clients, and collects their results.

    for each case:  sink ─ A B C │ A B C │ A B C ─ medians ─ table, JSON, plot
                           round 1  round 2  round 3

Each letter is one process (`worker.py`) that measures one client and ends. The clients take turns
within a round, so that other load of the machine affects them all. After each process the broker
counts the received records: fewer than acknowledged, or more than sent, end the run with an error.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import java
from report import REFERENCE, environment, medians, plot, table
from targets import KafkaTarget, SinkTarget

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from case import Case
    from targets import Target

    Outcome = dict[str, Any]

HERE: Final = Path(__file__).parent


def run_worker(interpreter: str, job: dict[str, Any], timeout: float) -> Outcome:
    """Run one measurement in a new process; the outcome has `error` if it failed."""
    command = [interpreter, str(HERE / "worker.py"), json.dumps(job)]
    # An installed package has its bytecode. Without this a checkout would be compiled each time.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        done = subprocess.run(  # noqa: S603 - this project's script
            command, capture_output=True, text=True, timeout=timeout, env=environ, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {timeout:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"error": reason[-1]}
    outcome: Outcome = json.loads(lines[-1])
    if outcome["failed"] and done.stderr:
        outcome["first_failure"] = done.stderr.strip().splitlines()[0]
    return outcome


@dataclass(slots=True)
class Comparison:
    """Runs cases and keeps their outcomes."""

    rounds: int
    uvloop: bool = False
    interpreters: dict[str, str] = field(default_factory=dict)
    bootstrap: str | None = None
    tls: bool = False
    java_libs: str | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def run(self, cases: Sequence[Case]) -> None:
        """Run and print case after case."""
        near = [case for case in cases if self.bootstrap and not case.delay_ms]
        if self.bootstrap and near:
            with KafkaTarget(self.bootstrap, (case.partitions for case in near)) as target:
                for case in near:
                    self.run_case(case, target)
        for case in cases:
            if case not in near:
                with SinkTarget(case.delay_ms, tls=self.tls) as target:
                    self.run_case(case, target)

    def run_case(self, case: Case, target: Target) -> None:
        """Run the clients in turns, then print their medians."""
        outcomes: dict[str, list[Outcome]] = {peer: [] for peer in case.peers}
        for round_number in range(1, self.rounds + 1):
            for peer in case.peers:
                show_progress(f"{case.name}: round {round_number}, {peer}")
                outcomes[peer].append(self.measure(case, peer, target))
        show_progress("")
        result = {
            "case": asdict(case),
            "target": target.kind,
            "rounds": outcomes,
            "median": {peer: medians(of) for peer, of in outcomes.items()},
        }
        self.results.append(result)
        print(table(case, result["median"], f"{target.kind}, median of {self.rounds}"), flush=True)

    def measure(self, case: Case, peer: str, target: Target) -> Outcome:
        """Measure one client once and check the number of received records."""
        job = {
            "peer": peer,
            "measure": case.measure,
            "settings": {"bootstrap": target.bootstrap, "ca": target.ca} | case.settings,
            "topic": case.topic,
            "uvloop": self.uvloop,
        } | case.job
        arrived, spent = target.count(case.topic), target.cpu_seconds()
        outcome = self.outcome(peer, job, case.timeout)
        if "error" in outcome or peer == "harness":
            return outcome
        arrived = target.count(case.topic) - arrived
        spent = target.cpu_seconds() - spent
        outcome["arrived"] = arrived
        if not math.isnan(spent):
            outcome["sink_us_per_record"] = spent / max(arrived, 1) * 1e6
        if not outcome["sent"] - outcome["failed"] <= arrived <= outcome["sent"]:
            self.lost.append(f"{case.name}, {peer}: {outcome['sent']} sent, {arrived} arrived")
        return outcome

    def outcome(self, peer: str, job: dict[str, Any], timeout: float) -> Outcome:
        """Run one client in its own process."""
        if peer == "java":
            return java.measure(str(self.java_libs), job, timeout)
        return run_worker(self.interpreters.get(peer, sys.executable), job, timeout)

    def finish(self, arguments: argparse.Namespace) -> int:
        """Write the requested JSON and plot; return the exit status."""
        document = {"environment": environment(), "arguments": vars(arguments), "results": self.results}
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(document, indent=1), encoding="utf-8")
        if arguments.plot:
            plot(self.results, arguments.plot)
        for line in self.lost:
            print(f"NOT WHAT WAS SENT: {line}", file=sys.stderr)
        return 1 if self.lost else 0


def show_progress(text: str) -> None:
    """Show the progress on a terminal, in one line."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the common options of the comparing scripts."""
    parser.add_argument(
        "--bootstrap", metavar="HOST:PORT", help="a running Kafka; without it a sink is started"
    )
    parser.add_argument("--tls", action="store_true", help="connect to the sink with TLS")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each client (default 5)")
    parser.add_argument("--quick", action="store_true", help="fewer records, shorter, two rounds")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="only these (see peers.py)")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="only cases with this prefix, e.g. W1")
    parser.add_argument("--uvloop", action="store_true", help="run the asyncio clients on uvloop")
    parser.add_argument(
        "--pure-python",
        metavar="PATH",
        help="an interpreter that has aioproducer without compiled modules: adds aioproducer-pure",
    )
    parser.add_argument(
        "--java-libs", metavar="DIR", help="Kafka's jars: adds java, where its perf-test can do the workload"
    )
    parser.add_argument("--json", metavar="FILE", help="write every round's numbers")
    parser.add_argument("--plot", metavar="FILE", help="draw the medians, as .svg or .png")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")


def belongs(name: str, wanted: str) -> bool:
    """Return whether `wanted` selects a case: W1 selects W1w and W1-256K too, not W10."""
    rest = name.removeprefix(wanted)
    return name.startswith(wanted) and not (wanted[-1:].isdigit() and rest[:1].isdigit())


def chosen(cases: Iterable[Case], arguments: argparse.Namespace) -> list[Case]:
    """Keep the cases and peers that the command line selects."""
    kept = []
    for case in cases:
        if arguments.only and not any(belongs(case.name, name) for name in arguments.only):
            continue
        peers = [peer for peer in case.peers if not arguments.peers or peer in arguments.peers]
        if "java" in peers and not arguments.java_libs:
            peers.remove("java")
        if arguments.pure_python and REFERENCE in peers:
            peers.insert(peers.index(REFERENCE) + 1, "aioproducer-pure")
        if peers:
            kept.append(replace(case, peers=tuple(peers)))
    return kept


def compare(cases: Iterable[Case], arguments: argparse.Namespace) -> int:
    """Run the command line; return the exit status."""
    wanted = chosen(cases, arguments)
    if arguments.list:
        for case in wanted:
            print(f"{case.name:<16} {case.title}: {', '.join(case.peers)}")
        return 0
    comparison = Comparison(
        rounds=min(2, arguments.rounds) if arguments.quick else arguments.rounds,
        uvloop=arguments.uvloop,
        interpreters={"aioproducer-pure": arguments.pure_python} if arguments.pure_python else {},
        bootstrap=arguments.bootstrap,
        tls=arguments.tls,
        java_libs=arguments.java_libs,
    )
    comparison.run(wanted)
    return comparison.finish(arguments)
