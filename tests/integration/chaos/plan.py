"""What will go wrong and when: a list made from a seed, so that a failure can be had again.

    seed ──▶ [Harm(at=2.1, KILL, node=3, seconds=1.7), Harm(at=4.0, MOVE, node=1, partition=5), …]

Every harm ends before the plan does: what comes after it is a whole cluster. Of the brokers mostly
one is away at a time, now and then two, so that nothing can be acknowledged; of the connections any
number may suffer from any number of faults.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Kind(enum.Enum):
    """What can be done to a broker, and to the connections that lead to it."""

    KILL = "SIGKILL, and started again"
    RESTART = "SIGTERM, and started again"
    PAUSE = "SIGSTOP, then SIGCONT"
    MOVE = "made the leader of a partition"

    DELAY = "each chunk late by so many seconds"
    NARROW = "so many bytes a second"
    CRUMBLE = "chunks of so many bytes"
    SILENCE = "nothing passes, then all that was held back"
    SWALLOW = "nothing passes, then the connections are reset"
    CUT = "connections reset, new ones as well"
    CUT_SHORT = "connections reset after so many bytes"
    HALF_CLOSE = "one end of each connection closed"


class Direction(enum.Enum):
    """Which half of a connection suffers."""

    REQUESTS = "requests"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Harm:
    """One thing that goes wrong, `at` so many seconds from the start, for so many `seconds`.

    `amount` is what the kind counts: seconds, bytes, bytes a second, or the partition to lead.
    """

    at: float
    kind: Kind
    node: int
    seconds: float = 0.0
    amount: float = 0.0
    direction: Direction | None = None

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.seconds

    def __str__(self) -> str:
        words = [f"{self.at:7.2f} s  node {self.node}  {self.kind.name:<10}"]
        words += [f"for {self.seconds:.2f} s"] if self.seconds else []
        words += [f"of the {self.direction.value}"] if self.direction else []
        counts = self.kind is Kind.MOVE or self.amount
        words += [f"({self.kind.value}: {self.amount:g})" if counts else f"({self.kind.value})"]
        return "  ".join(words)


FIRST = 1.5
"""Seconds before the first harm: the records flow by then."""

TAIL = 3.0
"""Seconds at a plan's end in which nothing begins."""

RECOVERY = 4.0
"""Seconds that a broker is left alone after it was away: as long as a new session takes."""

OVERLAP = 0.15
"""How often a broker goes away while another one is."""

BROKER_KINDS = {Kind.KILL: 3, Kind.PAUSE: 3, Kind.RESTART: 2}
BROKER_SECONDS = {Kind.KILL: (0.2, 5.0), Kind.PAUSE: (0.3, 6.0), Kind.RESTART: (0.5, 2.0)}

NETWORK_KINDS = {
    Kind.DELAY: 3,
    Kind.NARROW: 2,
    Kind.CRUMBLE: 1,
    Kind.SILENCE: 3,
    Kind.SWALLOW: 2,
    Kind.CUT: 3,
    Kind.CUT_SHORT: 3,
    Kind.HALF_CLOSE: 3,
}
AMOUNTS = {
    Kind.DELAY: (0.02, 0.6),
    Kind.NARROW: (4_000, 60_000),
    Kind.CRUMBLE: (1, 300),
    Kind.CUT_SHORT: (0, 20_000),
}


def broker_plan(seed: int, seconds: float, nodes: Sequence[int], partitions: int) -> list[Harm]:
    """Kill, restart and pause brokers, and move leaders, for so many seconds."""
    dice = random.Random(f"brokers {seed}")  # noqa: S311 - reproducible is what it has to be
    harms = _absences(dice, seconds, nodes)
    at = FIRST
    while at < seconds - TAIL:
        harms.append(Harm(at, Kind.MOVE, dice.choice(nodes), amount=dice.randrange(partitions)))
        at += dice.expovariate(0.7)
    return sorted(harms, key=lambda harm: harm.at)


def _absences(dice: random.Random, seconds: float, nodes: Sequence[int]) -> list[Harm]:
    whole_from = dict.fromkeys(nodes, 0.0)
    harms: list[Harm] = []
    at = FIRST
    while at < seconds - TAIL:
        node = dice.choice(nodes)
        if whole_from[node] > at:
            at += 0.1
            continue
        kind = _choose(dice, BROKER_KINDS)
        lasts = min(dice.uniform(*BROKER_SECONDS[kind]), seconds - 1 - at)
        harms.append(Harm(at, kind, node, lasts))
        whole_from[node] = at + lasts + RECOVERY
        at += dice.uniform(0, lasts) if dice.random() < OVERLAP else lasts + dice.uniform(0.5, 4)
    return harms


def network_plan(seed: int, seconds: float, nodes: Sequence[int]) -> list[Harm]:
    """Slow, narrow, cut, half-close and silence connections, for so many seconds."""
    dice = random.Random(f"network {seed}")  # noqa: S311 - reproducible is what it has to be
    harms: list[Harm] = []
    at = FIRST
    while at < seconds - TAIL:
        kind = _choose(dice, NETWORK_KINDS)
        lasts = min(dice.uniform(0.1, 1.0) ** 2 * 6, seconds - 1 - at)
        amount = dice.uniform(*AMOUNTS.get(kind, (0, 0)))
        direction = dice.choice(list(Direction))
        suffering = nodes if dice.random() < 0.15 else [dice.choice(nodes)]
        harms += [Harm(at, kind, node, lasts, amount, direction) for node in suffering]
        at += dice.expovariate(1.2)
    return harms


def _choose(dice: random.Random, weights: dict[Kind, int]) -> Kind:
    return dice.choices(list(weights), list(weights.values()))[0]
