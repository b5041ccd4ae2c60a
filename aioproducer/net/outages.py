"""The present causes of an outage, for the errors of records.

A batch keeps the error of its last attempt. A long outage stops the attempts, so the cause is
kept here: a broker out of reach, no metadata, no producer id.
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
    """The known brokers, and the errors that stop the producer at present.

    `refusal` is why no broker accepts this client, until one gives metadata.
    """

    def __init__(self) -> None:
        self._brokers: dict[int, Broker] = {}
        self.refusal: ProducerError | None = None
        self._no_metadata: ProducerError | None = None
        self._no_producer_id: ProducerError | None = None

    def broker_added(self, broker: Broker) -> None:
        """Watch a broker."""
        self._brokers[broker.node_id] = broker

    def broker_removed(self, node_id: int) -> None:
        """Forget a broker."""
        self._brokers.pop(node_id, None)

    def metadata_failed(self, error: ProducerError) -> None:
        """Keep the error of a Metadata request."""
        self._no_metadata = error

    def metadata_received(self) -> None:
        """Forget the error of earlier Metadata requests."""
        self._no_metadata = self.refusal = None

    def refused(self, error: ProducerError) -> None:
        """Keep the error of a client that brokers do not accept."""
        self.refusal = error

    def producer_id_failed(self, error: ProducerError) -> None:
        """Keep the error of an InitProducerId request."""
        self._no_producer_id = error

    def producer_id_received(self) -> None:
        """Forget the error of earlier InitProducerId requests."""
        self._no_producer_id = None

    def of_node(self, node_id: int) -> ProducerError | None:
        """Return why a node cannot be reached, None if it can or no cause is known."""
        broker = self._brokers.get(node_id)
        return None if broker is None else broker.outage()

    def of_cluster(self) -> ProducerError | None:
        """Return why no broker can be reached, None if one can or no cause is known."""
        brokers = list(self._brokers.values())
        # An error names three brokers, not a hundred: the others are only asked whether one is ready.
        outages = [broker.outage() for broker in islice(brokers, MOST_NAMED)]
        named = [outage for outage in outages if outage is not None]
        # One of these brokers works, so the brokers are not the cause.
        if not named or len(named) < len(outages):
            return self._no_metadata
        if any(broker.is_ready for broker in brokers[MOST_NAMED:]):
            return self._no_metadata
        words = "; ".join(map(str, named))
        if len(brokers) > MOST_NAMED:
            words = f"{words}; and {len(brokers) - MOST_NAMED} more"
        error = BrokerConnectionError(words)
        # One cause is enough for a traceback; the message has all of them.
        error.__cause__ = named[0].__cause__
        return error

    def of_producer_id(self) -> ProducerError | None:
        """Return the error of the last InitProducerId request, None if it succeeded."""
        return self._no_producer_id
