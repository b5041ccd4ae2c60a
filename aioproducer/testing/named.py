"""Finds a member of an enum from the member itself, its name or its number.

>>> from aioproducer.protocol.api import ApiKey
>>> named(ApiKey, "InitProducerId", "API")
<ApiKey.INIT_PRODUCER_ID: 22>
>>> named(ApiKey, "PRODUCT", "API")
Traceback (most recent call last):
ValueError: there is no API 'PRODUCT'; did you mean PRODUCE?
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from aioproducer.config.nearest import nearest

E = TypeVar("E", bound=IntEnum)


def named(kind: type[E], value: E | str | int, noun: str) -> E:
    """Return the member; raises ValueError for an unknown one, TypeError for another type.

    Names are compared without case, `_` and `-`.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        members = {_folded(member.name): member for member in kind}
        folded = _folded(value)
        if folded in members:
            return members[folded]
        near = nearest(folded, members)
        hint = f"; did you mean {members[near].name}?" if near is not None else ""
        message = f"there is no {noun} {value!r}{hint}"
        raise ValueError(message)
    # Members of other enums are ints too: ErrorCode.NONE (0) must not become ApiKey.PRODUCE (0).
    if isinstance(value, bool | IntEnum) or not isinstance(value, int):
        message = f"the {noun} is a member of {kind.__name__}, its name or its number, not {value!r}"
        raise TypeError(message)
    try:
        return kind(value)
    except ValueError:
        message = f"there is no {noun} {value}"
        raise ValueError(message) from None


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
