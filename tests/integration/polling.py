"""Waits, with a timeout, until a cluster reaches a state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PAUSE = 0.02


def until(what: str, probe: Callable[[], T | None], timeout: float = 30.0) -> T:
    """Return the first true result of `probe`; an OSError counts as false.

    Raises TimeoutError after `timeout` seconds, with `what` and the last OSError.
    """
    deadline = time.monotonic() + timeout
    refusal: OSError | None = None
    while True:
        try:
            answer = probe()
        except OSError as error:
            answer, refusal = None, error
        if answer:
            return answer
        if time.monotonic() >= deadline:
            message = f"not within {timeout:g} s: {what}"
            raise TimeoutError(message) from refusal
        time.sleep(_PAUSE)
