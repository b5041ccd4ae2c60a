"""The faults of a run and their times: a list made from a seed, so that a failure can be repeated.

    seed ──▶ [ChaosFault(at=2.1, KILL, node=3, seconds=1.7), ChaosFault(at=4.0, MOVE, node=1, partition=5), …]

Every fault ends before the plan does, so the run ends with a healthy cluster. Mostly one broker is
away at a time, sometimes two: then no record can be acknowledged. Any number of network faults may
overlap.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Kind(enum.Enum):
    """Faults of a broker, and of the connections to it."""

    KILL = "SIGKILL, then a start"
    RESTART = "SIGTERM, then a start"
    PAUSE = "SIGSTOP, then SIGCONT"
    MOVE = "made the leader of a partition"

    DELAY = "seconds of delay for each chunk"
    NARROW = "bytes a second"
    FRAGMENT = "bytes in each chunk"
    SILENCE = "bytes are held back, then delivered"
    SWALLOW = "bytes are dropped, then connections are reset"
    CUT = "connections are reset, new ones too"
    CUT_SHORT = "connections are reset after a number of bytes"
    HALF_CLOSE = "one end of each connection is closed"


class Direction(enum.Enum):
    """The half of a connection with the fault."""

    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class ChaosFault:
    """One fault; it begins `at` seconds after the start and lasts `seconds`.

    The kind gives the unit of `amount`: seconds, bytes, bytes a second, or the partition to lead.
    """

    at: float
    kind: Kind
    node: int
    seconds: float = 0.0
    amount: float = 0.0
    direction: Direction | None = None

    @property
    def until(self) -> float:
        """The time of its end, in seconds after the start."""
        return self.at + self.seconds

    def __str__(self) -> str:
        words = [f"{self.at:7.2f} s  node {self.node}  {self.kind.name:<10}"]
        words += [f"for {self.seconds:.2f} s"] if self.seconds else []
        words += [f"of the {self.direction.value}"] if self.direction else []
        counts = self.kind is Kind.MOVE or self.amount
        words += [f"({self.kind.value}: {self.amount:g})" if counts else f"({self.kind.value})"]
        return "  ".join(words)


FIRST = 1.5
"""Seconds before the first fault; records are in flight by then."""

TAIL = 3.0
"""Seconds at the end of a plan in which no fault begins."""

RECOVERY = 4.0
"""Seconds without faults for a broker after it was away: as long as a new session takes."""

OVERLAP = 0.15
"""How often a broker goes away while another one is away."""

BROKER_KINDS = {Kind.KILL: 3, Kind.PAUSE: 3, Kind.RESTART: 2}
BROKER_SECONDS = {Kind.KILL: (0.2, 5.0), Kind.PAUSE: (0.3, 6.0), Kind.RESTART: (0.5, 2.0)}

NETWORK_KINDS = {
    Kind.DELAY: 3,
    Kind.NARROW: 2,
    Kind.FRAGMENT: 1,
    Kind.SILENCE: 3,
    Kind.SWALLOW: 2,
    Kind.CUT: 3,
    Kind.CUT_SHORT: 3,
    Kind.HALF_CLOSE: 3,
}
AMOUNTS = {
    Kind.DELAY: (0.02, 0.6),
    Kind.NARROW: (4_000, 60_000),
    Kind.FRAGMENT: (1, 300),
    Kind.CUT_SHORT: (0, 20_000),
}


def broker_plan(seed: int, seconds: float, nodes: Sequence[int], partitions: int) -> list[ChaosFault]:
    """Return a plan that kills, restarts and pauses brokers, and moves leaders."""
    rng = random.Random(f"brokers {seed}")  # noqa: S311 - the plan must be reproducible
    faults = _absences(rng, seconds, nodes)
    at = FIRST
    while at < seconds - TAIL:
        faults.append(ChaosFault(at, Kind.MOVE, rng.choice(nodes), amount=rng.randrange(partitions)))
        at += rng.expovariate(0.7)
    return sorted(faults, key=lambda fault: fault.at)


def _absences(rng: random.Random, seconds: float, nodes: Sequence[int]) -> list[ChaosFault]:
    whole_from = dict.fromkeys(nodes, 0.0)
    faults: list[ChaosFault] = []
    at = FIRST
    while at < seconds - TAIL:
        node = rng.choice(nodes)
        if whole_from[node] > at:
            at += 0.1
            continue
        kind = _choose(rng, BROKER_KINDS)
        lasts = min(rng.uniform(*BROKER_SECONDS[kind]), seconds - 1 - at)
        faults.append(ChaosFault(at, kind, node, lasts))
        whole_from[node] = at + lasts + RECOVERY
        at += rng.uniform(0, lasts) if rng.random() < OVERLAP else lasts + rng.uniform(0.5, 4)
    return faults


def network_plan(seed: int, seconds: float, nodes: Sequence[int]) -> list[ChaosFault]:
    """Return a plan that slows, narrows, cuts, half-closes and silences connections."""
    rng = random.Random(f"network {seed}")  # noqa: S311 - the plan must be reproducible
    faults: list[ChaosFault] = []
    at = FIRST
    while at < seconds - TAIL:
        kind = _choose(rng, NETWORK_KINDS)
        lasts = min(rng.uniform(0.1, 1.0) ** 2 * 6, seconds - 1 - at)
        amount = rng.uniform(*AMOUNTS.get(kind, (0, 0)))
        direction = rng.choice(list(Direction))
        nodes_hit = nodes if rng.random() < 0.15 else [rng.choice(nodes)]
        faults += [ChaosFault(at, kind, node, lasts, amount, direction) for node in nodes_hit]
        at += rng.expovariate(1.2)
    return faults


def _choose(rng: random.Random, weights: dict[Kind, int]) -> Kind:
    return rng.choices(list(weights), list(weights.values()))[0]
