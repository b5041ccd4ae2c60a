"""The name that a misspelled one probably means."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], *, similarity: float = 0.6) -> str | None:
    """Return the most similar one of `names`, None if there is none."""
    import difflib  # noqa: PLC0415 - only for misspelled names

    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=similarity)), None)
