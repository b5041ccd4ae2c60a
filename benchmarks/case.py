"""The cases of a comparison, each with the columns of its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the key of its number, its heading, and its digits."""

    key: str
    heading: str
    digits: int = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One workload with its settings; the clients are compared by the first column."""

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
        """Return the topic; the sink reads the number of partitions from its name."""
        return f"aioproducer-benchmark-p{self.partitions}"
