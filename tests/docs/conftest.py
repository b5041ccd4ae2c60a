"""Fixtures of the documentation's tests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """Undo what the code of a page or an example sets: it would hold for all later tests."""
    loggers = [logging.getLogger(name) for name in (None, "aioproducer", "asyncio")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
