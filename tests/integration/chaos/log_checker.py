"""Compares the log with the results that the producer gave.

acknowledged, in the log            right, if partition and offset are right, else misplaced
acknowledged, not in the log        missing
failed, in the log                  right if `may_be_written`, else denied
in the log twice                    duplicate
in the log after a later record     out of order
never sent with these bytes         foreign
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
    """Counts for one load; times in seconds. `found` counts failed records in the log."""

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
        """Return the broken guarantees, with the first cases of each.

        `stall` is the longest time in seconds that the event loop was blocked: no delivery could
        end then.
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
        """Count one violation."""
        setattr(self, what, getattr(self, what) + 1)
        cases = self.evidence.setdefault(what, [])
        if len(cases) < _EVIDENCE:
            cases.append(case)


def check_log(load: Load, log: Sequence[ConsumedRecord]) -> Figures:
    """Return the figures of a load. `log` has each partition's records in their order."""
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
            figures.count("out_of_order", f"{case} after record {last[record.partition]}")
        last[record.partition] = max(number, last.get(record.partition, -1))
        if number in load.failures:
            figures.found += 1
            may_be_written, error = load.failures[number]
            if not may_be_written:
                figures.count("denied", f"{case}, {error}")
        elif load.is_acknowledged(number) and not _is_at_its_place(load, number, record):
            figures.count(
                "misplaced", f"{case}, acknowledged for {load.partition[number]}, {load.offset[number]}"
            )
    return seen


def _is_at_its_place(load: Load, number: int, record: ConsumedRecord) -> bool:
    # A duplicate is acknowledged with offset -1 if the broker no longer remembers its first copy.
    return record.partition == load.partition[number] and load.offset[number] in {record.offset, -1}
