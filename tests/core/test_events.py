"""Events reach every listener, in order, with the same arguments."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import cast

import pytest

from aioproducer.core.events import Listener, combine_listeners
from aioproducer.metrics.producer_metrics import ProducerMetrics

EVENTS = [name for name in vars(Listener) if not name.startswith("_")]


def recorder(seen: list[tuple[str, tuple[object, ...]]]) -> Listener:
    """Return a listener that adds (event, arguments) to a list."""
    listener = SimpleNamespace()
    for event in EVENTS:
        setattr(listener, event, lambda *arguments, event=event: seen.append((event, arguments)))
    return cast("Listener", listener)


def test_single_listener_is_called_directly() -> None:
    listener = ProducerMetrics(0.0)
    assert combine_listeners((listener,)) is listener


@pytest.mark.parametrize("event", EVENTS)
def test_every_listener_gets_every_event(event: str) -> None:
    seen: list[tuple[str, tuple[object, ...]]] = []
    events = combine_listeners((recorder(seen), recorder(seen)))
    arguments = tuple(range(len(inspect.signature(getattr(Listener, event)).parameters) - 1))

    getattr(events, event)(*arguments)

    assert seen == [(event, arguments)] * 2


def test_events_without_listeners() -> None:
    combine_listeners(()).batch_split(1.0)
