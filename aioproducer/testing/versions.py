"""Brokers of older releases and of other makers, as far as a producer can tell them apart.

    async with FakeCluster(versions=KAFKA_2_8) as cluster: ...
    async with FakeCluster(3, versions={1: KAFKA_3_6, 2: KAFKA_3_6, 3: KAFKA_4}) as cluster: ...

The one idea: a release is a value. What differs between brokers is a field of `BrokerVersion`,
and no code asks which Kafka it plays. Another broker is made with `dataclasses.replace`:

>>> from dataclasses import replace
>>> stubborn = replace(KAFKA_3_6, unknown_version=UnknownVersion.HANG_UP)
>>> stubborn.apis[ApiKey.PRODUCE]
VersionRange(min=0, max=9)

Older brokers list Produce 0 to 2 as well, which carry batches that no producer of today writes;
all brokers here hang up on them, as Kafka 4 does although it lists them too (KAFKA-18659).
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
    """What answers an ApiVersions request in a version that the broker has not.

    All but `HANG_UP` are the error UNSUPPORTED_VERSION in the form of version 0.
    """

    TELL_OWN = "the versions of ApiVersions itself"
    TELL_ALL = "the versions of every API"
    TELL_NOTHING = "no versions at all"
    HANG_UP = "the end of the connection"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerVersion:
    """What sets a release apart.

    - `apis`: the versions that it lists, of what it answers.
    - `fetch`, `find_coordinator`: listed, but not answered. librdkafka takes a broker without the
      one for too old for batches of magic 2, and one without the other for too old for lz4.
    - `unknown_version`: how it answers ApiVersions in a version it has not.
    - `while_creating`: what Metadata tells of a topic that this very request creates.
    - `takes_unknown_producers`: whether a producer id without state may go on at any sequence;
      else that is UNKNOWN_PRODUCER_ID (before KIP-360).
    - `takes_log_append_flag`: whether a batch may say, of a topic with CreateTime, that its time is
      the broker's; a strict cluster never takes that.
    - `limits_min_insync_replicas`: whether a topic never needs more replicas in sync than it has.
    - `topic_config`: of new topics, where nothing else is said.
    """

    name: str
    apis: Mapping[ApiKey, VersionRange]
    fetch: VersionRange
    find_coordinator: VersionRange
    unknown_version: UnknownVersion = UnknownVersion.TELL_OWN
    while_creating: ErrorCode = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    takes_unknown_producers: bool = True
    takes_log_append_flag: bool = True
    limits_min_insync_replicas: bool = True
    topic_config: TopicConfig = field(default_factory=TopicConfig)

    def capped(self, max_versions: Mapping[ApiKey, int | None]) -> BrokerVersion:
        """Return a broker that lists nothing above these versions; None is for no such API at all.

        >>> KAFKA_4.capped({ApiKey.PRODUCE: 7}).apis[ApiKey.PRODUCE]
        VersionRange(min=0, max=7)
        """
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
    *, produce: int, metadata: int, api_versions: int, init_producer_id: int
) -> dict[ApiKey, VersionRange]:
    return {
        ApiKey.PRODUCE: VersionRange(0, produce),
        ApiKey.METADATA: VersionRange(0, metadata),
        ApiKey.API_VERSIONS: VersionRange(0, api_versions),
        ApiKey.INIT_PRODUCER_ID: VersionRange(0, init_producer_id),
    }


KAFKA_4 = BrokerVersion(
    name="Kafka 4.3",
    apis=_apis(produce=13, metadata=13, api_versions=4, init_producer_id=5),
    fetch=VersionRange(4, 18),
    find_coordinator=VersionRange(0, 6),
)
"""The newest Kafka: topics by their ids (Produce 13), hints at the new leader (10)."""

KAFKA_3_6 = BrokerVersion(
    name="Kafka 3.6",
    apis=_apis(produce=9, metadata=12, api_versions=3, init_producer_id=4),
    fetch=VersionRange(0, 15),
    find_coordinator=VersionRange(0, 4),
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""The Kafka of the 3.x years: topic ids in Metadata, names in Produce, no hints."""

KAFKA_2_8 = BrokerVersion(
    name="Kafka 2.8",
    apis=_apis(produce=9, metadata=11, api_versions=3, init_producer_id=4),
    fetch=VersionRange(0, 12),
    find_coordinator=VersionRange(0, 3),
    while_creating=ErrorCode.LEADER_NOT_AVAILABLE,
    takes_log_append_flag=False,
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""The last Kafka that knew only ZooKeeper."""

KAFKA_2_1 = BrokerVersion(
    name="Kafka 2.1",
    apis=_apis(produce=7, metadata=7, api_versions=2, init_producer_id=1),
    fetch=VersionRange(0, 10),
    find_coordinator=VersionRange(0, 2),
    unknown_version=UnknownVersion.TELL_NOTHING,
    while_creating=ErrorCode.LEADER_NOT_AVAILABLE,
    takes_unknown_producers=False,
    takes_log_append_flag=False,
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""The oldest Kafka with zstd: no flexible versions, no reasons in Produce's answers."""

REDPANDA = BrokerVersion(
    name="Redpanda 24",
    apis=_apis(produce=7, metadata=8, api_versions=3, init_producer_id=3),
    fetch=VersionRange(4, 11),
    find_coordinator=VersionRange(0, 3),
    unknown_version=UnknownVersion.TELL_ALL,
    limits_min_insync_replicas=False,
    topic_config=TopicConfig(message_timestamp_after_max_ms=_ALWAYS),
)
"""Redpanda's versions: Produce ends at 7, which is before flexible versions."""
