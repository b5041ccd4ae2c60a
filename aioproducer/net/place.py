"""The place of a call: the running event loop, or the thread where the loop costs too much to ask for.

`send` must be called in the running loop of the producer, and each call checks that. On CPython 3.11
`get_running_loop` makes a system call (getpid), which costs as much as the rest of `send`. There each
call compares the thread only, and the producer drops its place when the loop stops running, or when
the process is forked.
"""

from __future__ import annotations

import os
import sys
import weakref
from asyncio import _get_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Forget: TypeAlias = Callable[[object], None]

NOWHERE = object()
"""The place of a producer whose state has to be checked at the next call."""

_asks_for_loop = sys.version_info >= (3, 12) or sys.implementation.name != "cpython"

current_place: Callable[[], object] = _get_running_loop if _asks_for_loop else get_ident
"""Return the place of the caller."""

# A forked process has the thread of its parent, but not its running loop: there all places are dropped.
_taken: set[weakref.WeakMethod[Forget]] = set()


def take_place(loop: object, forget: Forget) -> tuple[object, weakref.ref[Any] | None]:
    """Return the place of calls in the running loop `loop`, and an object to keep as long as it is used.

    The bound method `forget` is called when the place is no longer valid. The place is NOWHERE if the
    end of the run cannot be observed: then every call checks the state.
    """
    if _asks_for_loop:
        return current_place(), None
    run = _end_of_run(loop, forget)
    _taken.add(weakref.WeakMethod(forget, _taken.discard))
    return (NOWHERE if run is None else current_place()), run


def _end_of_run(loop: object, ended: Forget) -> weakref.ref[Any] | None:
    """Call `ended` when the running loop `loop` stops running; return None if that is impossible.

    A running loop installs its hooks for asynchronous generators: bound methods with no other
    reference. They are created when the loop starts running and freed when it stops, so a weak
    reference to one tells the end. Other libraries may replace the hooks: then the result is None.
    """
    hook = sys.get_asyncgen_hooks().firstiter
    return weakref.ref(hook, ended) if getattr(hook, "__self__", None) is loop else None


def _after_fork() -> None:
    # Iterate over a copy: a producer that is freed meanwhile discards its entry.
    for method in list(_taken):
        forget = method()
        if forget is not None:
            forget(None)


if not _asks_for_loop and hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
