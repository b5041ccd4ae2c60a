"""Targets: which brokers can answer a request, chosen anew for each attempt.

A request for a coordinator shows why it is not one node id for all attempts:

    attempt 1   nodes() ─▶ [2]    broker 2: NOT_COORDINATOR    failed() forgets node 2
    attempt 2   nodes() ─▶ [3]    broker 3: response           (nodes() looked it up again)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from aioproducer.errors import ProducerError


class Target(Protocol):
    """Chooses the nodes for each attempt of a request."""

    async def nodes(self) -> Collection[int] | None:
        """Return the ids of the nodes that can answer the next attempt, None for all.

        It may send requests of its own. A ProducerError from here is the error of the attempt.
        """

    def failed(self, error: ProducerError) -> None:
        """Note that an attempt failed, at these nodes or in the choice of them."""


class AnyBroker:
    """All brokers: the least loaded one is asked first."""

    async def nodes(self) -> None:
        """Return no limit."""

    def failed(self, error: ProducerError) -> None:
        """Do nothing: the next attempt looks at the load again."""


class OneNode:
    """One node, for all attempts."""

    def __init__(self, node_id: int) -> None:
        self._nodes = (node_id,)

    async def nodes(self) -> tuple[int]:
        """Return this node."""
        return self._nodes

    def failed(self, error: ProducerError) -> None:
        """Do nothing: no other node can answer."""


ANY: Target = AnyBroker()
"""Ask any broker."""
