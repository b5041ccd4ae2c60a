"""The error tree: classes, flags, attributes and copies."""

from __future__ import annotations

import copy
import pickle

import pytest

import aioproducer
from aioproducer import errors
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
    plural,
)

# An error of each class, with all attributes.
ERRORS: list[ProducerError] = [
    ProducerError("words", may_be_written=True),
    ConfigurationError("words", option="linger_ms", value=-1),
    IllegalStateError("words"),
    ProducerNotStartedError("words"),
    ProducerClosedError("words", may_be_written=True),
    WrongLoopError("words"),
    SerializationError("words", topic="orders", field="key"),
    PartitionerError("words", topic="orders", partition="first"),
    RecordTooLargeError("words", topic="orders", size=200, limit=100),
    BufferExhaustedError("words"),
    DeliveryTimeoutError("words", topic="orders", partition=3, may_be_written=True),
    CallTimeoutError("words"),
    UnknownTopicError("words", topic="orders"),
    UnknownPartitionError("words", topic="orders", partition=9, partitions=3),
    BootstrapError("words", causes={"localhost:9092": OSError(111, "refused")}),
    BrokerConnectionError("words", may_be_written=True),
    RequestTimeoutError("words"),
    AuthenticationError("words", mechanism="PLAIN", address="kafka-1:9093", reason="Invalid username"),
    ProtocolError("words"),
    UnsupportedVersionError("words"),
    ProducerFailedError("words", may_be_written=True),
    BrokerError("words", code=ErrorCode.NOT_ENOUGH_REPLICAS, reason="why", may_be_written=True),
    AuthorizationError("words", code=ErrorCode.TOPIC_AUTHORIZATION_FAILED),
    InvalidTopicError("words", code=ErrorCode.INVALID_TOPIC_EXCEPTION, reason="why"),
    InvalidRecordError("words", code=ErrorCode.INVALID_RECORD),
    BatchRefusedError("words", code=ErrorCode.INVALID_RECORD),
]

# The builtin bases: code that does not know this package can catch the errors by them.
BASES: dict[type[Exception], set[type[ProducerError]]] = {
    ValueError: {
        ConfigurationError,
        SerializationError,
        PartitionerError,
        RecordTooLargeError,
        InvalidTopicError,
        InvalidRecordError,
    },
    RuntimeError: {IllegalStateError, ProducerNotStartedError, ProducerClosedError, WrongLoopError},
    TimeoutError: {
        BufferExhaustedError,
        DeliveryTimeoutError,
        CallTimeoutError,
        UnknownTopicError,
        UnknownPartitionError,
        BootstrapError,
        RequestTimeoutError,
    },
    ConnectionError: {BootstrapError, BrokerConnectionError, RequestTimeoutError},
    PermissionError: {AuthenticationError, AuthorizationError},
}

# The classes with a fixed flag; for a BrokerError, `retriable` depends on its code.
RETRIABLE: set[type[ProducerError]] = {
    BufferExhaustedError,
    DeliveryTimeoutError,
    CallTimeoutError,
    UnknownTopicError,
    UnknownPartitionError,
    BootstrapError,
    BrokerConnectionError,
    RequestTimeoutError,
    ProtocolError,
}
FATAL: set[type[ProducerError]] = {ProducerClosedError, UnsupportedVersionError, ProducerFailedError}

each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def tree(root: type[ProducerError]) -> set[type[ProducerError]]:
    return {root}.union(*map(tree, root.__subclasses__()))


def state(error: BaseException) -> dict[str, object]:
    """Return the attributes of an error as strings, since exceptions compare by identity."""
    return {name: repr(value) for name, value in vars(error).items()}


# The tree.


def test_every_error_class_is_tested() -> None:
    assert {type(error) for error in ERRORS} == {
        kind for kind in tree(ProducerError) if kind.__module__ == errors.__name__
    }


@each_error
def test_errors_are_public_and_documented(error: ProducerError) -> None:
    name = type(error).__name__

    assert getattr(aioproducer, name) is type(error)
    assert name in aioproducer.__all__
    assert name in (errors.__doc__ or "")


@each_error
def test_errors_have_builtin_bases(error: ProducerError) -> None:
    assert {base for base in BASES if isinstance(error, base)} == {
        base for base, kinds in BASES.items() if type(error) in kinds
    }


def test_error_hierarchy() -> None:
    assert issubclass(UnknownPartitionError, CallTimeoutError)
    assert issubclass(UnknownTopicError, CallTimeoutError)
    assert issubclass(BootstrapError, CallTimeoutError)
    assert issubclass(RequestTimeoutError, BrokerConnectionError)
    for kind in (ProducerNotStartedError, ProducerClosedError, WrongLoopError):
        assert issubclass(kind, IllegalStateError)
    for broker_kind in (AuthorizationError, InvalidTopicError, InvalidRecordError, BatchRefusedError):
        assert issubclass(broker_kind, BrokerError)


# Messages and flags.


@each_error
def test_str_is_the_message(error: ProducerError) -> None:
    assert str(error) == "words"


@each_error
def test_error_flags(error: ProducerError) -> None:
    if not isinstance(error, BrokerError):
        assert error.retriable == (type(error) in RETRIABLE)
    assert error.fatal == (type(error) in FATAL)
    assert not error.abortable


def test_may_be_written_is_per_instance() -> None:
    doubtful = BrokerConnectionError("lost", may_be_written=True)

    assert doubtful.may_be_written
    assert not BrokerConnectionError("not connected").may_be_written


def test_errors_carry_attributes() -> None:
    assert vars(SerializationError("words", topic="orders", field="key")) == {
        "topic": "orders",
        "field": "key",
    }
    assert vars(PartitionerError("words", topic="orders", partition=9)) == {"topic": "orders", "partition": 9}
    assert vars(RecordTooLargeError("words", topic="orders", size=2, limit=1)) == {
        "topic": "orders",
        "size": 2,
        "limit": 1,
    }
    assert vars(ConfigurationError("words", option="acks", value=7)) == {"option": "acks", "value": 7}
    assert vars(DeliveryTimeoutError("words", topic="orders", partition=3)) == {
        "topic": "orders",
        "partition": 3,
    }
    assert vars(UnknownTopicError("words", topic="orders")) == {"topic": "orders"}
    assert vars(UnknownPartitionError("words", topic="orders", partition=9, partitions=3)) == {
        "topic": "orders",
        "partition": 9,
        "partitions": 3,
    }


def test_authentication_is_retriable_on_request() -> None:
    assert not AuthenticationError("refused").retriable
    error = AuthenticationError("no response", retriable=True)
    assert error.retriable
    assert pickle.loads(pickle.dumps(error)).retriable  # noqa: S301 - own bytes


def test_authentication_error_names_broker() -> None:
    error = AuthenticationError("PLAIN failed", mechanism="PLAIN", reason="no")

    assert error.at("kafka-1:9093") is error
    assert str(error) == "kafka-1:9093: PLAIN failed"
    assert vars(error) == {"mechanism": "PLAIN", "address": "kafka-1:9093", "reason": "no"}


def test_bootstrap_error_copies_causes() -> None:
    causes: dict[str, Exception] = {"a:1": OSError("refused")}
    error = BootstrapError("words", causes=causes)

    causes.clear()

    assert list(error.causes) == ["a:1"]


# Copies.


@each_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_attributes(error: ProducerError, protocol: int) -> None:
    twin = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own

    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert state(twin) == state(error)
    assert twin.may_be_written == error.may_be_written
    assert twin.retriable == error.retriable


@each_error
def test_copy_equals_original(error: ProducerError) -> None:
    twin = copy.copy(error)

    assert twin is not error
    assert (type(twin), twin.args, state(twin)) == (type(error), error.args, state(error))


def test_pickle_keeps_fatal() -> None:
    error = BrokerError.of(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "InitProducerId").as_fatal()

    twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert twin.fatal
    assert not BrokerError.of(ErrorCode.CLUSTER_AUTHORIZATION_FAILED, "InitProducerId").fatal


# Errors of brokers.


@pytest.mark.parametrize("code", list(ErrorCode), ids=lambda code: str(code.name))
def test_error_class_depends_on_code(code: ErrorCode) -> None:
    expected: type[BrokerError] = BrokerError
    if code.name.endswith("_AUTHORIZATION_FAILED") and "DELEGATION_TOKEN" not in code.name:
        expected = AuthorizationError
    elif code is ErrorCode.INVALID_TOPIC_EXCEPTION:
        expected = InvalidTopicError
    elif code in {ErrorCode.INVALID_RECORD, ErrorCode.INVALID_TIMESTAMP}:
        expected = InvalidRecordError

    error = BrokerError.of(code, "3 records for orders-3")

    assert type(error) is expected
    assert error.code is code
    assert error.retriable == code.is_retriable
    message, _, missing = str(error).partition("; the principal needs ")
    assert message == f"3 records for orders-3: {code.name} ({int(code)})"
    assert bool(missing) == (expected is AuthorizationError)


@pytest.mark.scenario("broker-message")
def test_broker_reason_is_kept() -> None:
    error = BrokerError.of(
        ErrorCode.POLICY_VIOLATION, "topic 'orders'", reason="no such tier", may_be_written=True
    )

    assert str(error) == "topic 'orders': POLICY_VIOLATION (44): no such tier"
    assert error.reason == "no such tier"
    assert error.may_be_written
    assert BrokerError.of(ErrorCode.POLICY_VIOLATION, "topic 'orders'").reason is None


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (1, "record", "1 record"),
        (0, "record", "0 records"),
        (2, "batch", "2 batches"),
        (1, "batch", "1 batch"),
    ],
)
def test_nouns_follow_their_numbers(count: int, noun: str, words: str) -> None:
    assert plural(count, noun) == words
