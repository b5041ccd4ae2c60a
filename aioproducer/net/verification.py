"""The check that a new connection leads to the cluster that gave the producer id.

Setup ──▶ Cluster.verify ──▶ Verification.run ──Metadata request──▶ broker
│
SAME  in service ◀──────┤
EMPTY refused for a while: it may have just started
OTHER the response goes to the cluster, which starts anew
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from aioproducer.core.metadata_cache import ClusterCheck
from aioproducer.errors import BrokerConnectionError
from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

if TYPE_CHECKING:
    from aioproducer.core.metadata import Metadata
    from aioproducer.core.settlement import Settlement
    from aioproducer.net.client_context import ClientContext
    from aioproducer.net.setup import Setup

logger = logging.getLogger("aioproducer.cluster")

EMPTY_PATIENCE = 30.0
"""Seconds after which a broker without any topics counts as one of another cluster.

More than a failover of the controller takes (`zookeeper.session.timeout.ms` is 18 s by default)."""

TOPICS_TO_VERIFY = 100
"""The maximum number of topics in the verification of a new connection."""


class OtherCluster(NamedTuple):
    """The Metadata response of another cluster, to a request for the topics `asked`."""

    response: MetadataResponse
    asked: tuple[str, ...]
    has_reliable_epochs: bool


class Verification:
    """Verifies new connections, all through the life of a producer."""

    def __init__(self, client: ClientContext, metadata: Metadata, settlement: Settlement) -> None:
        self._client = client
        self._metadata = metadata
        self._settlement = settlement
        # Brokers that know no topics, with the time since when: see `_check_empty`.
        self._empty_since: dict[str, float] = {}

    async def run(self, setup: Setup) -> OtherCluster | None:
        """Verify one connection; return the response if it leads to another cluster.

        Another cluster may listen at the address by now. If one of its own producers has the same
        producer id, it takes batches for duplicates and drops them. A cluster restored from a
        backup may have the same cluster id, but other topic ids, or no topics yet.

        Raises BrokerConnectionError if the broker does not know enough yet.
        """
        if not self._settlement.is_bound:
            return None
        version = setup.versions.choose(ApiKey.METADATA, MetadataRequest.without_topic_creation)
        # Before Metadata 10 topics have only names: a topic that was created anew looks the same.
        asked = self._metadata.sample(TOPICS_TO_VERIFY) if version >= MetadataResponse.topic_ids_from else ()
        request = MetadataRequest(
            topics=tuple(MetadataRequestTopic(name=topic) for topic in asked), allow_auto_topic_creation=False
        )
        # On the new connection itself: any other one may lead to another broker.
        response = await setup.exchange(request, version)
        if not response.brokers:
            message = f"{setup.address} knows no brokers yet"
            raise BrokerConnectionError(message)
        # EMPTY for longer than the patience: the logs are gone, so sequences begin again at 0.
        check = self._metadata.verify(response)
        if check is ClusterCheck.EMPTY:
            self._check_empty(setup.address)
            logger.warning("%s has none of the topics that were produced to", setup.address)
            self._settlement.logs_replaced(frozenset(asked))
        self._empty_since.pop(setup.address, None)
        if check is ClusterCheck.OTHER:
            return OtherCluster(response, asked, version >= response.reliable_epochs_from)
        return None

    def _check_empty(self, address: str) -> None:
        """Refuse a broker that knows no topics, as long as it may have just started.

        A broker that has just started hears of the topics later than of the brokers (ZooKeeper mode:
        two UpdateMetadata requests of the controller). Batches 5-9 may be in its log; under a new
        producer id they would be stored twice. Without batches in doubt, nothing is at risk.
        """
        now = self._client.clock()
        since = self._empty_since.setdefault(address, now)
        if self._settlement.has_numbered and now - since < EMPTY_PATIENCE:
            message = f"{address} knows none of the topics that were produced to"
            raise BrokerConnectionError(message)
