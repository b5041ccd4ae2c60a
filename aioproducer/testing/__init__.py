"""Tests of services without Kafka.

`FakeCluster` is a strict Kafka in the same process, on loopback sockets, that can be told to
misbehave. `MockProducer` is a producer for unit tests, without sockets. The pytest plugin is
`aioproducer.testing.plugin`.

    FakeCluster ─▶ FakeConnection ─▶ FakeBroker ─▶ apis/*_answer ─▶ Topology, PartitionLog
                └─ Script of Faults ──┘
"""

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey
from aioproducer.testing.authorizer import Operation
from aioproducer.testing.certificates import Certificates
from aioproducer.testing.cluster import FakeCluster
from aioproducer.testing.faults import Fault, UnmatchedFaultWarning
from aioproducer.testing.mock_producer import MockProducer, SentRecord
from aioproducer.testing.oauth_token import AcceptedToken, unsecured_token
from aioproducer.testing.refusal import Refused
from aioproducer.testing.security import Authentication
from aioproducer.testing.stored_record import StoredRecord
from aioproducer.testing.topology import TopicConfig
from aioproducer.testing.versions import KAFKA_2_1, KAFKA_2_8, KAFKA_3_6, KAFKA_4, REDPANDA, BrokerVersion

__all__ = [
    "KAFKA_2_1",
    "KAFKA_2_8",
    "KAFKA_3_6",
    "KAFKA_4",
    "REDPANDA",
    "AcceptedToken",
    "ApiKey",
    "Authentication",
    "BrokerVersion",
    "Certificates",
    "ErrorCode",
    "FakeCluster",
    "Fault",
    "MockProducer",
    "Operation",
    "Refused",
    "SentRecord",
    "StoredRecord",
    "TopicConfig",
    "UnmatchedFaultWarning",
    "unsecured_token",
]
