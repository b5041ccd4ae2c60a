"""Calls from the parts of `net` to the engine, beside those of the core (`core/shell.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from aioproducer.protocol.produce import NodeEndpoint


class Owner(Protocol):
    """The engine, as its parts know it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of the producer, None before the start."""

    def clock(self) -> float:
        """Return the time of the event loop."""

    def crash(self, error: BaseException) -> None:
        """Fail the producer: this error has no other handler."""

    def leader_hinted(
        self,
        topic: str,
        partition: int,
        leader_id: int,
        leader_epoch: int,
        endpoints: tuple[NodeEndpoint, ...],
    ) -> None:
        """Use the leader that a Produce response names (KIP-951)."""
