"""Brokers of older releases and other vendors, as far as a producer sees a difference.

    async with FakeCluster(versions=KAFKA_2_8) as cluster: ...
    async with FakeCluster(3, versions={1: KAFKA_3_6, 2: KAFKA_3_6, 3: KAFKA_4}) as cluster: ...

A release is a value: every difference between brokers is a field of `BrokerVersion`, and no code
checks for a certain release. `dataclasses.replace` makes another broker:

>>> from dataclasses import replace
>>> stubborn = replace(KAFKA_3_6, unknown_version=UnknownVersion.CLOSE_CONNECTION)
>>> stubborn.apis[ApiKey.PRODUCE]
VersionRange(min=0, max=9)

Older brokers also list Produce 0 to 2, for batch formats that no producer writes today. All brokers
here close the connection on them, as Kafka 4 does, although it lists them too (KAFKA-18659).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey, VersionRange
from aioproducer.testing.topology import TopicConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALWAYS = 2**63 - 1


class UnknownVersion(Enum):
    """The answer to an ApiVersions request in an unknown version.

    All but `CLOSE_CONNECTION` are an UNSUPPORTED_VERSION response in version 0.
    """

    LIST_OWN = "the versions of ApiVersions itself"
    LIST_ALL = "the versions of every API"
    LIST_NONE = "no versions"
    CLOSE_CONNECTION = "a closed connection"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerVersion:
    """A release.

    - `apis`: the listed versions of the implemented APIs.
    - `fetch`, `find_coordinator`: listed, but not implemented. Without them librdkafka treats the
      broker as too old for batches of magic 2 (Fetch) and for lz4 (FindCoordinator).
    - `unknown_version`: the answer to ApiVersions in an unknown version.
    - `while_creating`: the error of a topic in the Metadata response that creates it.
    - `takes_unknown_producers`: whether a producer id without state may start at any sequence;
      otherwise the answer is UNKNOWN_PRODUCER_ID (before KIP-360).
    - `takes_log_append_flag`: whether a batch may have the timestamp type LogAppendTime in a topic
      with CreateTime; a strict cluster always refuses that.
    - `limits_min_insync_replicas`: whether min.insync.replicas is limited to the number of replicas.
    - `token_ends_session`: whether a session of OAUTHBEARER ends with its token even if the cluster
      has no limit for sessions.
    - `takes_topic_writers`: whether a client that may write to any topic may be idempotent (KIP-679).
    - `topic_config`: the default for new topics.
    """

    name: str
    apis: Mapping[ApiKey, VersionRange]
    fetch: VersionRange
    find_coordinator: VersionRange
    unknown_version: UnknownVersion = UnknownVersion.LIST_OWN
    while_creating: ErrorCode = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    takes_unknown_producers: bool = True
    takes_log_append_flag: bool = True
    limits_min_insync_replicas: bool = True
    token_ends_session: bool = True
    takes_topic_writers: bool = True
    topic_config: TopicConfig = field(default_factory=TopicConfig)

    def capped(self, max_versions: Mapping[ApiKey, int | None]) -> BrokerVersion:
        """Return a release with these highest versions; None removes the API. Raises ValueError.

        >>> KAFKA_4.capped({ApiKey.PRODUCE: 7}).apis[ApiKey.PRODUCE]
        VersionRange(min=0, max=7)
        """
        # The cap must be a version that the release has: KAFKA_2_1 has Produce 0-7, so not 8.
        apis = dict(self.apis)
        for api, highest in max_versions.items():
            if highest is None:
                apis.pop(api, None)
            elif api in apis and highest in apis[api]:
                apis[api] = VersionRange(apis[api].min, highest)
            else:
                msg = f"max_versions: {self.name} has {api.name} {apis.get(api, 'not at all')}, not {highest}"
                raise ValueError(msg)
        return replace(self, apis=apis)


def _apis(
    *, produce: int, metadata: int, api_versions: int, init_producer_id: int, sasl_authenticate: int = 2
) -> dict[ApiKey, VersionRange]:
    return {
        ApiKey.PRODUCE: VersionRange(0, produce),
        ApiKey.METADATA: VersionRange(0, metadata),
        ApiKey.API_VERSIONS: VersionRange(0, api_versions),
        ApiKey.INIT_PRODUCER_ID: VersionRange(0, init_producer_id),
        ApiKey.SASL_HANDSHAKE: VersionRange(0, 1),
        ApiKey.SASL_AUTHENTICATE: VersionRange(0, sasl_authenticate),
    }


KAFKA_4 = BrokerVersion(
    name="Kafka 4.3",
    apis=_apis(produce=13, metadata=13, api_versions=4, init_producer_id=5),
    fetch=VersionRange(4, 18),
    find_coordinator=VersionRange(0, 6),
)
"""The newest Kafka: topic ids in Produce (version 13), leader hints (version 10)."""

KAFKA_3_6 = BrokerVersion(
    name="Kafka 3.6",
    apis=_apis(produce=9, metadata=12, api_versions=3, init_producer_id=4),
    fetch=VersionRange(0, 15),
    find_coordinator=VersionRange(0, 4),
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""Kafka 3.x: topic ids in Metadata, topic names in Produce, no leader hints."""

KAFKA_2_8 = BrokerVersion(
    name="Kafka 2.8",
    apis=_apis(produce=9, metadata=11, api_versions=3, init_producer_id=4),
    fetch=VersionRange(0, 12),
    find_coordinator=VersionRange(0, 3),
    while_creating=ErrorCode.LEADER_NOT_AVAILABLE,
    takes_log_append_flag=False,
    token_ends_session=False,
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""The last Kafka that always needs ZooKeeper."""

KAFKA_2_1 = BrokerVersion(
    name="Kafka 2.1",
    apis=_apis(produce=7, metadata=7, api_versions=2, init_producer_id=1, sasl_authenticate=0),
    fetch=VersionRange(0, 10),
    find_coordinator=VersionRange(0, 2),
    unknown_version=UnknownVersion.LIST_NONE,
    while_creating=ErrorCode.LEADER_NOT_AVAILABLE,
    takes_unknown_producers=False,
    token_ends_session=False,
    takes_topic_writers=False,
    takes_log_append_flag=False,
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""The oldest Kafka with zstd: no flexible versions, no error messages in Produce responses."""

REDPANDA = BrokerVersion(
    name="Redpanda 24",
    apis=_apis(produce=7, metadata=8, api_versions=3, init_producer_id=3),
    fetch=VersionRange(4, 11),
    find_coordinator=VersionRange(0, 3),
    unknown_version=UnknownVersion.LIST_ALL,
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""Redpanda: the highest Produce version is 7, so without flexible versions."""
