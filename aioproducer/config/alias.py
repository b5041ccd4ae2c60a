"""Another name of an option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioproducer.config.kinds import Kind


class Alias(NamedTuple):
    """Another name of an option; if its unit differs, `convert` converts a value of `kind`."""

    option: str
    kind: Kind | None = None
    convert: Callable[[Any], object] = int
    unit: str = ""
