"""What stands in for the compiler's decorators where modules run as plain Python.

A few properties of a compiled class can only be said by a decorator of the `cython` module,
which the compiler itself understands and which need not be installed to run the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aioproducer.delivery import RecordMetadata

    object: TypeAlias = Coroutine[Any, Any, RecordMetadata]  # noqa: A001, PYI042 - the compiler's name
else:
    object = object  # noqa: A001, PLW0127 - likewise

compiled = False

T = TypeVar("T")


def cclass(kind: T) -> T:
    """Compiled: the class is one of C structs, as its .pxd says."""
    return kind


def no_gc(kind: T) -> T:
    """Compiled: instances are no work for the garbage collector."""
    return kind


def freelist(size: int) -> Callable[[T], T]:
    """Compiled: up to `size` dead instances are kept for reuse."""
    del size
    return no_gc
