"""Options as Kafka writes them: `true`, not Python's `True`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Properties: TypeAlias = "Mapping[str, str | int | float | bool]"


def text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def pairs(properties: Properties | None) -> list[str]:
    """Each option as `name=value`."""
    return [f"{name}={text(value)}" for name, value in (properties or {}).items()]
