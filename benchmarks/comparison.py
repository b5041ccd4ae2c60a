"""Measurements of several clients side by side: who runs when, against what, and what comes of it.

    for each case:  sink ─ A B C │ A B C │ A B C ─ medians ─ table, JSON, plot
                           round 1  round 2  round 3

Each letter is one process (`worker.py`) that measures one client and ends; the clients take
turns within a round, so that whatever the machine does meanwhile meets them all. After each
the broker is asked how many records came: fewer than were acknowledged, or more than were
sent, and the run ends with an error.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import java

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    Outcome = dict[str, Any]

HERE: Final = Path(__file__).parent
REFERENCE: Final = "aioproducer"
DISTRIBUTIONS: Final = ("aioproducer", "aiokafka", "confluent-kafka", "uvloop")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: which number of an outcome, under which heading, with how many digits."""

    key: str
    heading: str
    digits: int = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One workload with its settings; the first column is the one that clients are compared by."""

    name: str
    title: str
    measure: str
    columns: tuple[Column, ...]
    peers: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    partitions: int = 12
    delay_ms: float = 0
    timeout: float = 180
    more_is_better: bool = False

    @property
    def topic(self) -> str:
        """Name the topic, whose name tells the sink its partitions."""
        return f"aioproducer-benchmark-p{self.partitions}"


class Target(Protocol):
    """What the clients produce to."""

    bootstrap: str
    kind: str

    def count(self, topic: str) -> int:
        """Tell how many records have come."""

    def cpu_seconds(self) -> float:
        """Tell the CPU it took so far, NaN if unknown."""

    def __enter__(self) -> Self:
        """Make it ready."""

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""


class SinkTarget:
    """A process of `sink.py`."""

    kind = "sink"

    def __init__(self, delay_ms: float) -> None:
        self.delay_ms = delay_ms

    def __enter__(self) -> Self:
        """Start the process."""
        command = [sys.executable, str(HERE / "sink.py"), "--delay-ms", str(self.delay_ms)]
        self.process = subprocess.Popen(  # noqa: S603 - our own script
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.bootstrap = f"127.0.0.1:{self.read()['port']}"
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.process.communicate(timeout=10)

    def read(self) -> dict[str, Any]:
        """Read one line that the sink wrote."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            message = "the sink is gone"
            raise RuntimeError(message)
        report: dict[str, Any] = json.loads(line)
        return report

    def report(self) -> dict[str, Any]:
        """Ask the sink what it counted."""
        if self.process.stdin:
            self.process.stdin.write("report\n")
            self.process.stdin.flush()
        return self.read()

    def count(self, topic: str) -> int:
        """See Target."""
        del topic
        return int(self.report()["records"])

    def cpu_seconds(self) -> float:
        """See Target."""
        return float(self.report()["cpu_seconds"])


class KafkaTarget:
    """A running cluster: the topics are made here and deleted at the end."""

    kind = "Kafka"

    def __init__(self, bootstrap: str, partition_counts: Iterable[int]) -> None:
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - needed with a real cluster only

        self.bootstrap = bootstrap
        self.partition_counts = sorted(set(partition_counts))
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.topics: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Create the topics, anew if they are there."""
        from confluent_kafka.admin import NewTopic  # noqa: PLC0415

        self.topics = {f"aioproducer-benchmark-p{count}": count for count in self.partition_counts}
        there = set(self.admin.list_topics(timeout=10).topics)
        self.delete(there & set(self.topics))
        wanted = [NewTopic(name, num_partitions=count) for name, count in self.topics.items()]
        for future in self.admin.create_topics(wanted).values():
            future.result()
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the topics."""
        self.delete(self.topics)

    def delete(self, names: Iterable[str]) -> None:
        """Delete topics and wait until they are gone."""
        doomed = list(names)
        if not doomed:
            return
        for future in self.admin.delete_topics(doomed).values():
            future.result()
        until = time.monotonic() + 30
        while time.monotonic() < until and set(self.admin.list_topics(timeout=10).topics) & set(doomed):
            time.sleep(0.2)

    def count(self, topic: str) -> int:
        """Add up the end offsets of the topic's partitions."""
        from confluent_kafka import TopicPartition  # noqa: PLC0415
        from confluent_kafka.admin import OffsetSpec  # noqa: PLC0415

        partitions = [TopicPartition(topic, index) for index in range(self.topics[topic])]
        futures = self.admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()))
        return sum(future.result().offset for future in futures.values())

    def cpu_seconds(self) -> float:
        """See Target."""
        return math.nan


def run_worker(interpreter: str, job: dict[str, Any], timeout: float) -> Outcome:
    """Run one measurement in a fresh process; an outcome with `error` if it did not come through."""
    command = [interpreter, str(HERE / "worker.py"), json.dumps(job)]
    try:
        done = subprocess.run(  # noqa: S603 - our own script
            command, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {timeout:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"error": reason[-1]}
    outcome: Outcome = json.loads(lines[-1])
    return outcome


@dataclass(slots=True)
class Comparison:
    """Runs cases and keeps what came of them."""

    rounds: int
    uvloop: bool = False
    interpreters: dict[str, str] = field(default_factory=dict)
    bootstrap: str | None = None
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
                with SinkTarget(case.delay_ms) as target:
                    self.run_case(case, target)

    def run_case(self, case: Case, target: Target) -> None:
        """Let the clients take turns, then print their medians."""
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
        """Measure one client once and check what arrived."""
        job = {
            "peer": peer,
            "measure": case.measure,
            "settings": {"bootstrap": target.bootstrap} | case.settings,
            "topic": case.topic,
            "uvloop": self.uvloop,
        } | case.job
        arrived, spent = target.count(case.topic), target.cpu_seconds()
        outcome = self.outcome(peer, job, case.timeout)
        if "error" in outcome or peer == "harness":
            return outcome
        arrived = target.count(case.topic) - arrived
        spent = target.cpu_seconds() - spent
        outcome |= {"arrived": arrived, "sink_us_per_record": spent / max(arrived, 1) * 1e6}
        if not outcome["sent"] - outcome["failed"] <= arrived <= outcome["sent"]:
            self.lost.append(f"{case.name}, {peer}: {outcome['sent']} sent, {arrived} arrived")
        return outcome

    def outcome(self, peer: str, job: dict[str, Any], timeout: float) -> Outcome:
        """Run one client in a process of its own."""
        if peer == "java":
            return java.measure(str(self.java_libs), job, timeout)
        return run_worker(self.interpreters.get(peer, sys.executable), job, timeout)

    def finish(self, arguments: argparse.Namespace) -> int:
        """Write the JSON and the plot that were asked for; give the exit status."""
        document = {"environment": environment(), "arguments": vars(arguments), "results": self.results}
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(document, indent=1), encoding="utf-8")
        if arguments.plot:
            plot(self.results, arguments.plot)
        for line in self.lost:
            print(f"NOT WHAT WAS SENT: {line}", file=sys.stderr)
        return 1 if self.lost else 0


def show_progress(text: str) -> None:
    """Say on a terminal what is being done, over what stood there."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def medians(outcomes: Sequence[Outcome]) -> Outcome:
    """Take the median of each number over the rounds that came through."""
    good = [outcome for outcome in outcomes if "error" not in outcome]
    if not good:
        return {"error": outcomes[0]["error"] if outcomes else "not run"}
    result: Outcome = {key: statistics.median(outcome[key] for outcome in good) for key in good[0]}
    if len(good) < len(outcomes):
        result["rounds_failed"] = len(outcomes) - len(good)
    return result


def table(case: Case, by_peer: dict[str, Outcome], where: str) -> str:
    """Lay the medians out as text."""
    first = case.columns[0].key
    reference = by_peer.get(REFERENCE, {}).get(first)
    widths = [max(len(column.heading), 10) for column in case.columns]
    heading = "  ".join(
        f"{column.heading:>{width}}" for column, width in zip(case.columns, widths, strict=True)
    )
    lines = [f"{case.name}  {case.title}  ({where})", f"  {'':<17}{heading}  {'ratio':>7}  failed"]
    for peer, outcome in by_peer.items():
        if "error" in outcome:
            lines.append(f"  {peer:<17}{outcome['error'][:90]}")
            continue
        numbers = "  ".join(
            f"{outcome.get(column.key, math.nan):>{width},.{column.digits}f}"
            for column, width in zip(case.columns, widths, strict=True)
        )
        ratio = f"{outcome[first] / reference:>7.2f}" if reference else f"{'-':>7}"
        lines.append(f"  {peer:<17}{numbers}  {ratio}  {outcome['failed']:>6,.0f}")
    return "\n".join([*lines, ""])


def environment() -> dict[str, Any]:
    """Say on what this was measured."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": versions,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def plot(results: Sequence[dict[str, Any]], path: str) -> None:
    """Draw a panel of bars for each case (its first column), the format after the file's name."""
    import matplotlib as mpl  # noqa: PLC0415 - only who plots needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    columns = min(3, len(results))
    rows = math.ceil(len(results) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 2.6 * rows), squeeze=False)
    for panel in axes.flat[len(results) :]:
        panel.set_visible(False)
    for panel, result in zip(axes.flat, results, strict=False):
        draw_bars(panel, result)
    figure.tight_layout()
    figure.savefig(path)


def draw_bars(panel: Any, result: dict[str, Any]) -> None:  # noqa: ANN401 - matplotlib's Axes
    """Draw one case: a bar a client, our own in another colour."""
    column = result["case"]["columns"][0]
    shown = {peer: of[column["key"]] for peer, of in result["median"].items() if "error" not in of}
    names = list(shown)[::-1]
    colours = ["#d1495b" if name.startswith(REFERENCE) else "#8d99ae" for name in names]
    bars = panel.barh(names, [shown[name] for name in names], color=colours)
    panel.bar_label(bars, labels=[f"{shown[name]:,.{column['digits']}f}" for name in names], padding=3)
    panel.set_title(f"{result['case']['name']}  {result['case']['title']}", fontsize=9, loc="left")
    better = "more is better" if result["case"]["more_is_better"] else "less is better"
    panel.set_xlabel(f"{column['heading']} ({better}; {result['target']})", fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.2)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all comparing scripts share."""
    parser.add_argument(
        "--bootstrap", metavar="HOST:PORT", help="a running Kafka; without it a sink is started"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each client (default 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, two rounds")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="only these (see peers.py)")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="only cases whose name starts so, e.g. W1")
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
    parser.add_argument("--list", action="store_true", help="name the cases and stop")


def belongs(name: str, wanted: str) -> bool:
    """Tell whether a case is meant by `wanted`: W1 means W1w and W1-256K too, not W10."""
    rest = name.removeprefix(wanted)
    return name.startswith(wanted) and not (wanted[-1:].isdigit() and rest[:1].isdigit())


def chosen(cases: Iterable[Case], arguments: argparse.Namespace) -> list[Case]:
    """Keep the cases and peers that the command line wants."""
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
    """Do what the command line says; give the exit status."""
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
        java_libs=arguments.java_libs,
    )
    comparison.run(wanted)
    return comparison.finish(arguments)
