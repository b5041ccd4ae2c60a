"""Compares what lies in the log with what the producer said of it.

acknowledged, in the log            as it should be, at the place that was told
acknowledged, not in the log        missing
failed, in the log                  as it should be if it may be written, denied if not
in the log twice                    duplicate
in the log behind a later record    out of order
never sent, or not so               foreign
neither acknowledged nor failed     unended
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.chaos.load import Load
    from tests.integration.consumer import ConsumedRecord

SPARE = 1.0
"""Seconds that a delivery may take longer than `delivery_timeout_ms`."""

_EVIDENCE = 8
_NUMBER = re.compile(r"[0-9]+")


@dataclass(slots=True)
class Figures:
    """What became of one load; times in seconds. `found` are those that failed but are in the log."""

    load: str
    sent: int
    acknowledged: int
    failed: int
    doubtful: int
    limit: float
    retries: int
    missing: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    misplaced: int = 0
    denied: int = 0
    foreign: int = 0
    unended: int = 0
    found: int = 0
    longest: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    evidence: dict[str, list[str]] = field(default_factory=dict)

    def violations(self, stall: float = 0.0) -> list[str]:
        """Say which promises were broken, with the first cases of each.

        While the event loop was held up for `stall` seconds, no delivery could end.
        """
        names = ("missing", "duplicates", "out_of_order", "misplaced", "denied", "foreign", "unended")
        broken = [
            f"{self.load}: {count} {name.replace('_', ' ')}: {'; '.join(self.evidence[name])}"
            for name in names
            if (count := getattr(self, name))
        ]
        if self.longest > self.limit + SPARE + stall:
            broken.append(f"{self.load}: a delivery took {self.longest:.2f} s, {self.limit:g} s are allowed")
        return broken

    def count(self, what: str, case: str) -> None:
        """Count one case of what must not be."""
        setattr(self, what, getattr(self, what) + 1)
        cases = self.evidence.setdefault(what, [])
        if len(cases) < _EVIDENCE:
            cases.append(case)


def judge(load: Load, log: Sequence[ConsumedRecord]) -> Figures:
    """Give the figures of a load whose topic holds `log`, each partition's records in its order."""
    figures = Figures(
        load.name,
        sent=len(load.sent),
        acknowledged=sum(map(load.is_acknowledged, range(len(load.sent)))),
        failed=len(load.failures),
        doubtful=sum(may_be_written for may_be_written, _ in load.failures.values()),
        limit=load.limit,
        reasons=Counter(_NUMBER.sub("#", error) for _, error in load.failures.values()),
        retries=load.retries,
    )
    seen = _read(load, log, figures)
    for number, ended in enumerate(load.ended):
        if not ended:
            figures.count("unended", f"record {number}")
            continue
        figures.longest = max(figures.longest, ended - load.sent[number])
        if not seen[number] and number not in load.failures:
            place = f"{load.partition[number]} at offset {load.offset[number]}"
            figures.count("missing", f"record {number}, acknowledged for partition {place}")
    return figures


def _read(load: Load, log: Sequence[ConsumedRecord], figures: Figures) -> bytearray:
    seen = bytearray(len(load.sent))
    last: dict[int, int] = {}
    for record in log:
        place = f"partition {record.partition} at offset {record.offset}"
        number = load.number_of(record.key, record.value)
        if number is None:
            figures.count("foreign", f"{record.key!r} in {place}")
            continue
        case = f"record {number} in {place}"
        if seen[number]:
            figures.count("duplicates", case)
            continue
        seen[number] = True
        if number < last.get(record.partition, -1):
            figures.count("out_of_order", f"{case} behind record {last[record.partition]}")
        last[record.partition] = max(number, last.get(record.partition, -1))
        if number in load.failures:
            figures.found += 1
            may_be_written, error = load.failures[number]
            if not may_be_written:
                figures.count("denied", f"{case}, {error}")
        elif load.is_acknowledged(number) and not _is_where_told(load, number, record):
            figures.count("misplaced", f"{case}, told {load.partition[number]}, {load.offset[number]}")
    return seen


def _is_where_told(load: Load, number: int, record: ConsumedRecord) -> bool:
    # A duplicate whose first copy the broker no longer remembers is acknowledged without an offset.
    return record.partition == load.partition[number] and load.offset[number] in {record.offset, -1}
