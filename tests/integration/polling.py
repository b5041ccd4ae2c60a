"""Waits for what a cluster comes to by itself: asks again and again, and never for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PAUSE = 0.02


def until(what: str, probe: Callable[[], T | None], timeout: float = 30.0) -> T:
    """Give what `probe` gives once it is true; a `probe` that cannot connect yet counts as not true.

    Raises TimeoutError, which names `what` and the last refusal, after `timeout` seconds.
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
