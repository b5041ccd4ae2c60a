"""What is wrong at present: the errors of records name it.

A batch keeps the error of its last attempt. In a long outage no attempt is made, and what is
wrong now is known here: brokers that cannot be reached, metadata or a producer id that is not given.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from aioproducer.errors import BrokerConnectionError

if TYPE_CHECKING:
    from aioproducer.errors import ProducerError
    from aioproducer.net.broker import Broker

MOST_NAMED = 3
"""How many brokers an error names."""


class Outages:
    """The brokers that are known, and why they cannot be sent to."""

    def __init__(self) -> None:
        self._brokers: dict[int, Broker] = {}
        self._no_metadata: ProducerError | None = None
        self._no_producer_id: ProducerError | None = None

    def broker_added(self, broker: Broker) -> None:
        """Watch a broker."""
        self._brokers[broker.node_id] = broker

    def broker_removed(self, node_id: int) -> None:
        """Forget a broker."""
        self._brokers.pop(node_id, None)

    def metadata_failed(self, error: ProducerError) -> None:
        """Keep why no broker gives metadata."""
        self._no_metadata = error

    def metadata_received(self) -> None:
        """Forget why no broker gave metadata."""
        self._no_metadata = None

    def producer_id_failed(self, error: ProducerError) -> None:
        """Keep why there is no producer id."""
        self._no_producer_id = error

    def producer_id_received(self) -> None:
        """Forget why there was no producer id."""
        self._no_producer_id = None

    def of_node(self, node_id: int) -> ProducerError | None:
        """Return why a node cannot be sent to, None if it can or nothing is known."""
        broker = self._brokers.get(node_id)
        return None if broker is None else broker.outage()

    def of_cluster(self) -> ProducerError | None:
        """Return why no broker can be asked, None if one can or nothing is known."""
        brokers = list(self._brokers.values())
        outages = [broker.outage() for broker in islice(brokers, MOST_NAMED)]
        named = [outage for outage in outages if outage is not None]
        if not named or len(named) < len(outages):
            return self._no_metadata
        if any(broker.is_ready for broker in brokers[MOST_NAMED:]):
            return self._no_metadata
        words = "; ".join(map(str, named))
        if len(brokers) > MOST_NAMED:
            words = f"{words}; and {len(brokers) - MOST_NAMED} more"
        error = BrokerConnectionError(words)
        error.__cause__ = named[0].__cause__
        return error

    def of_producer_id(self) -> ProducerError | None:
        """Return why there is no producer id, None if nothing is known."""
        return self._no_producer_id
