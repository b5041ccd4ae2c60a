"""A summary of failed records in a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from aioproducer.errors import plural


@dataclass(slots=True)
class _Kind:
    first: str
    count: int = 0

    def add(self, count: int) -> None:
        self.count += count


@dataclass(slots=True)
class Failures:
    """Failed records, counted by the class of their errors."""

    count: int = 0
    may_be_written: int = 0
    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def add(self, error: Exception, where: str = "", count: int = 1) -> None:
        """Count `count` records that failed with `error`; `where` is the place of the first."""
        self.count += count
        if getattr(error, "may_be_written", False):
            self.may_be_written += count
        name = type(error).__name__
        kind = self._kinds.setdefault(name, _Kind(f"{where}: {error}" if where else str(error)))
        kind.add(count)

    def summary(self, total: int) -> list[str]:
        """Return the lines to print, an empty list without failures."""
        if not self.count:
            return []
        lines = [f"{self.count} of {plural(total, 'record')} failed"]
        lines += [f"  {kind.count} x {name}, first {kind.first}" for name, kind in self._kinds.items()]
        if self.may_be_written:
            lines.append(f"  {self.may_be_written} of them may have been written to the log")
        return lines
