"""Text tables: columns as wide as their widest cell, numbers aligned to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return the lines of a table.

    >>> print(table(("node", "address"), [(1, "a:9092"), (12, "b:9092")]))
    node  address
       1  a:9092
      12  b:9092
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(str(cell)) for cell in column) for column in columns]
    lines = []
    for row in (header, *rows):
        cells = [
            str(cell).rjust(width) if isinstance(cell, int) else str(cell).ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
