"""The parts of the README that the code itself tells, so that they cannot go out of date.

python -m tests.readme        writes them anew
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from aioproducer import ProducerError
from aioproducer.config import OPTIONS
from aioproducer.config.kinds import INT_MAX, LONG_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

README = Path(__file__).parent.parent / "README.md"

_PART = re.compile(r"(?s)(<!-- generated: (\w+) -->\n).*?(<!-- end -->)")
_LARGE = {INT_MAX: "2³¹-1", LONG_MAX: "2⁶³-1"}


def options() -> str:
    """Give the table of options."""
    rows = [
        (f"`{name}`", _default(name), _named(option.kind.expected), option.doc)
        for name, option in OPTIONS.items()
    ]
    return _table(("option", "default", "must be", "what it does"), rows)


def errors() -> str:
    """Give the table of errors, each below the one that it is a kind of."""
    return _table(("error", "is also", "kind", "what happened"), list(_error_rows(ProducerError, 0)))


def written_anew(readme: str) -> str:
    """Return the text of a README with the parts as they have to be."""
    parts = {"options": options, "errors": errors}
    return _PART.sub(lambda part: f"{part[1]}{parts[part[2]]()}{part[3]}", readme)


def _default(name: str) -> str:
    default = OPTIONS[name].default
    if name == "bootstrap_servers":
        return "to be given"
    return _LARGE.get(default, f"`{default!r}`")


def _named(text: str) -> str:
    for number, name in _LARGE.items():
        text = text.replace(str(number), name)
    return text


def _error_rows(kind: type[ProducerError], depth: int) -> Iterator[tuple[str, ...]]:
    also = (
        []
        if kind is ProducerError
        else [base.__name__ for base in kind.__bases__ if base.__module__ == "builtins"]
    )
    traits = [trait for trait in ("retriable", "abortable", "fatal") if getattr(kind, trait)]
    if kind.__name__ == "BrokerError":
        traits = ["as `code` is"]
    what = (kind.__doc__ or "").splitlines()[0]
    yield "· " * depth + f"`{kind.__name__}`", ", ".join(also), ", ".join(traits), what
    for special in kind.__subclasses__():
        yield from _error_rows(special, depth + 1)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("<", "&lt;")


if __name__ == "__main__":
    README.write_text(written_anew(README.read_text(encoding="utf-8")), encoding="utf-8")
