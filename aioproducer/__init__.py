"""The asyncio-native Apache Kafka producer.

from aioproducer import Producer

async with Producer("localhost:9092") as producer:
    metadata = await producer.send("orders", b"value", key=b"42")
"""

from __future__ import annotations

from aioproducer import delivery as _delivery
from aioproducer.batch_result import RecordMetadata
from aioproducer.config import ProducerConfig
from aioproducer.delivery import Delivery
from aioproducer.error_code import ErrorCode
from aioproducer.errors import (
    AuthenticationError,
    AuthorizationError,
    BatchRefusedError,
    BootstrapError,
    BrokerConnectionError,
    BrokerError,
    BufferExhaustedError,
    CallTimeoutError,
    ConfigurationError,
    DeliveryTimeoutError,
    IllegalStateError,
    InvalidRecordError,
    InvalidTopicError,
    PartitionerError,
    ProducerClosedError,
    ProducerError,
    ProducerFailedError,
    ProducerNotStartedError,
    ProtocolError,
    RecordTooLargeError,
    RequestTimeoutError,
    SerializationError,
    UnknownPartitionError,
    UnknownTopicError,
    UnsupportedVersionError,
    WrongLoopError,
)
from aioproducer.producer import Producer
from aioproducer.record import Header, Headers, Record, TopicPartition
from aioproducer.sasl.oauthbearer import Token
from aioproducer.version import __version__

__compiled__: bool = not (_delivery.__file__ or "").endswith(".py")
"""Whether the hot modules are compiled, or run as plain Python."""

__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "BatchRefusedError",
    "BootstrapError",
    "BrokerConnectionError",
    "BrokerError",
    "BufferExhaustedError",
    "CallTimeoutError",
    "ConfigurationError",
    "Delivery",
    "DeliveryTimeoutError",
    "ErrorCode",
    "Header",
    "Headers",
    "IllegalStateError",
    "InvalidRecordError",
    "InvalidTopicError",
    "PartitionerError",
    "Producer",
    "ProducerClosedError",
    "ProducerConfig",
    "ProducerError",
    "ProducerFailedError",
    "ProducerNotStartedError",
    "ProtocolError",
    "Record",
    "RecordMetadata",
    "RecordTooLargeError",
    "RequestTimeoutError",
    "SerializationError",
    "Token",
    "TopicPartition",
    "UnknownPartitionError",
    "UnknownTopicError",
    "UnsupportedVersionError",
    "WrongLoopError",
    "__compiled__",
    "__version__",
]
