"""Replacements for the decorators of `cython`, for modules that run as plain Python.

Some properties of a compiled class need a decorator of the `cython` module. The compiler
understands these decorators; at run time `cython` need not be installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aioproducer.batch_result import RecordMetadata

    object: TypeAlias = Coroutine[Any, Any, RecordMetadata]  # noqa: A001, PYI042 - the compiler's name
else:
    object = object  # noqa: A001, PLW0127 - likewise

compiled = False

T = TypeVar("T")


def cclass(kind: T) -> T:
    """Compiled: make the class an extension type, as its .pxd declares."""
    return kind


def no_gc(kind: T) -> T:
    """Compiled: exclude instances from garbage collection."""
    return kind


def freelist(size: int) -> Callable[[T], T]:
    """Compiled: keep up to `size` freed instances for reuse."""
    del size
    return no_gc
