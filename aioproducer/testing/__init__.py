"""What users test their services with: an embedded Kafka over loopback sockets."""

from aioproducer.error_code import ErrorCode
from aioproducer.protocol.api import ApiKey
from aioproducer.testing.cluster import FakeCluster
from aioproducer.testing.faults import Fault
from aioproducer.testing.stored_record import StoredRecord
from aioproducer.testing.topology import TopicConfig

__all__ = ["ApiKey", "ErrorCode", "FakeCluster", "Fault", "StoredRecord", "TopicConfig"]
