"""The errors of this package, as one tree.

    ProducerError
    ├── ConfigurationError (ValueError)          an option is unknown, of the wrong type or out of range
    ├── IllegalStateError (RuntimeError)         the call does not fit the producer's state
    │   ├── ProducerNotStartedError
    │   ├── ProducerClosedError
    │   └── WrongLoopError
    ├── SerializationError (ValueError)          a serializer raised or did not return bytes
    ├── PartitionerError (ValueError)            a partitioner raised or returned an invalid partition
    ├── RecordTooLargeError (ValueError)         larger than an option or the topic allows
    ├── BufferExhaustedError (TimeoutError)      no free buffer memory within max_block_ms
    ├── DeliveryTimeoutError (TimeoutError)      not acknowledged within delivery_timeout_ms
    ├── CallTimeoutError (TimeoutError)          start, flush or partitions_for took longer than allowed
    │   ├── UnknownTopicError                    the topic is not in the metadata
    │   ├── UnknownPartitionError                the topic does not have the partition
    │   └── BootstrapError (ConnectionError)     no bootstrap address could be used; has the cause of each
    ├── BrokerConnectionError (ConnectionError)  a connection failed or was lost
    │   └── RequestTimeoutError (TimeoutError)   no response within request_timeout_ms
    ├── AuthenticationError (PermissionError)    a broker and this client did not authenticate each other
    ├── ProtocolError                            received bytes are not a valid Kafka message
    ├── UnsupportedVersionError                  the broker does not support a required version
    ├── ProducerFailedError                      a background task failed; see the cause
    └── BrokerError                              the broker responded with an error code
        ├── AuthorizationError (PermissionError)
        ├── InvalidTopicError (ValueError)
        ├── InvalidRecordError (ValueError)      the broker refused this record (KIP-467)
        └── BatchRefusedError                    the broker refused another record of the batch

Each error has flags: `retriable` (the producer retried it until its limits), `abortable` (abort
the transaction and run it again), `fatal` (create a new producer), and `may_be_written` (the record
may be in the log although it failed here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from aioproducer.error_code import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping


def plural(count: int, noun: str) -> str:
    """Return a number with its noun, as messages need it.

    >>> plural(1, "record"), plural(2000, "record"), plural(0, "batch")
    ('1 record', '2000 records', '0 batches')
    """
    if count == 1:
        return f"{count} {noun}"
    return f"{count} {noun}es" if noun.endswith("ch") else f"{count} {noun}s"


class ProducerError(Exception):
    """The base of all errors of this package."""

    retriable: bool = False
    abortable: bool = False
    fatal: bool = False
    may_be_written: bool = False

    def __init__(self, message: str, *, may_be_written: bool = False) -> None:
        super().__init__(message)
        # Set only when true: the class has the default, and a pickle carries less.
        if may_be_written:
            self.may_be_written = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[ProducerError], args: tuple[Any, ...], attributes: dict[str, Any]) -> ProducerError:
    error = kind.__new__(kind, *args)
    # OSError sets its arguments in __init__, which is not called here.
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(ProducerError, ValueError):
    """An option is unknown, of the wrong type, out of range, or in conflict with another."""

    def __init__(self, message: str, *, option: str | None = None, value: object = None) -> None:
        super().__init__(message)
        self.option = option
        self.value = value


class IllegalStateError(ProducerError, RuntimeError):
    """The call is not allowed in the current state of the producer."""


class ProducerNotStartedError(IllegalStateError):
    """The producer was used before `start`."""


class ProducerClosedError(IllegalStateError):
    """The producer was used after `stop`, or was stopped before the record was acknowledged."""

    fatal = True


class WrongLoopError(IllegalStateError):
    """The producer was called from another event loop or thread than the one of `start`."""


class SerializationError(ProducerError, ValueError):
    """A serializer raised (see `__cause__`) or did not return bytes or None."""

    def __init__(self, message: str, *, topic: str, field: str) -> None:
        super().__init__(message)
        self.topic = topic
        self.field = field


class PartitionerError(ProducerError, ValueError):
    """The partitioner raised (see `__cause__`) or returned an invalid partition."""

    def __init__(self, message: str, *, topic: str, partition: object = None) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition


class RecordTooLargeError(ProducerError, ValueError):
    """The record exceeds a limit of the producer (`limit` in bytes) or of the topic (`limit` is None)."""

    def __init__(
        self, message: str, *, topic: str, size: int | None = None, limit: int | None = None
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.size = size
        self.limit = limit


class BufferExhaustedError(ProducerError, TimeoutError):
    """`buffer_memory` was full: send slower, or `await drain()`."""

    retriable = True


class DeliveryTimeoutError(ProducerError, TimeoutError):
    """The record was not acknowledged within `delivery_timeout_ms`; `__cause__` is the last failure."""

    retriable = True

    def __init__(self, message: str, *, topic: str, partition: int, may_be_written: bool = False) -> None:
        super().__init__(message, may_be_written=may_be_written)
        self.topic = topic
        self.partition = partition


class CallTimeoutError(ProducerError, TimeoutError):
    """A call did not complete within its timeout."""

    retriable = True


class UnknownTopicError(CallTimeoutError):
    """The topic was not in the metadata of the cluster within `max_block_ms`."""

    def __init__(self, message: str, *, topic: str) -> None:
        super().__init__(message)
        self.topic = topic


class UnknownPartitionError(CallTimeoutError):
    """The topic did not have the partition within `max_block_ms`."""

    def __init__(self, message: str, *, topic: str, partition: int, partitions: int) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition
        self.partitions = partitions


class BootstrapError(CallTimeoutError, ConnectionError):
    """No bootstrap address could be used; `causes` has the error of each address."""

    def __init__(self, message: str, *, causes: Mapping[str, Exception]) -> None:
        super().__init__(message)
        self.causes: dict[str, Exception] = dict(causes)


class BrokerConnectionError(ProducerError, ConnectionError):
    """A connection to a broker failed or was lost."""

    retriable = True


class RequestTimeoutError(BrokerConnectionError, TimeoutError):
    """The broker did not respond to a request within `request_timeout_ms`."""


class AuthenticationError(ProducerError, PermissionError):
    """A broker refused the credentials, or did not prove that it knows them.

    `mechanism` is the SASL mechanism, `address` the broker, `reason` the broker's own message. It is
    `retriable` only if no credentials were refused: a token endpoint does not respond.
    """

    def __init__(
        self,
        message: str,
        *,
        mechanism: str | None = None,
        address: str | None = None,
        reason: str | None = None,
        retriable: bool = False,
    ) -> None:
        super().__init__(message)
        if retriable:
            self.retriable = True
        self.mechanism = mechanism
        self.address = address
        self.reason = reason

    def at(self, address: str) -> Self:
        """Add the address of the broker, also to the message, and return the error."""
        self.address = address
        # It replaces the arguments, and with them the text.
        super().__init__(f"{address}: {self}")
        return self


class ProtocolError(ProducerError):
    """Received bytes are not a valid Kafka message: the peer is not a broker, or the data is corrupt."""

    retriable = True


class UnsupportedVersionError(ProducerError):
    """The broker and this client have no common version of an API for this request."""

    fatal = True


class ProducerFailedError(ProducerError):
    """A background task of the producer failed with an unexpected error, the `__cause__`."""

    fatal = True


class BrokerError(ProducerError):
    """The broker responded with an error `code`; `reason` is its error message."""

    codes: ClassVar[frozenset[ErrorCode]] = frozenset()

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode,
        reason: str | None = None,
        may_be_written: bool = False,
    ) -> None:
        super().__init__(message, may_be_written=may_be_written)
        self.code = code
        self.reason = reason
        self.retriable: bool = code.is_retriable

    @classmethod
    def of(
        cls,
        code: ErrorCode,
        subject: str,
        *,
        reason: str | None = None,
        may_be_written: bool = False,
    ) -> BrokerError:
        """Return an error of the class for `code`; `subject` is what failed."""
        message = f"{subject}: {code.name} ({int(code)})"
        if reason:
            message = f"{message}: {reason}"
        if code in _MISSING:
            message = f"{message}; the principal needs {_MISSING[code]}"
        # TOPIC_AUTHORIZATION_FAILED gives an AuthorizationError, which is a PermissionError too.
        kind = _BY_CODE.get(code, BrokerError)
        return kind(message, code=code, reason=reason, may_be_written=may_be_written)

    def as_fatal(self) -> Self:
        """Mark the error as fatal and return it."""
        self.fatal = True
        return self


class AuthorizationError(BrokerError, PermissionError):
    """The principal is not authorized; an ACL is missing."""

    codes: ClassVar[frozenset[ErrorCode]] = frozenset(
        {
            ErrorCode.TOPIC_AUTHORIZATION_FAILED,
            ErrorCode.GROUP_AUTHORIZATION_FAILED,
            ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
            ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        }
    )


class InvalidTopicError(BrokerError, ValueError):
    """The topic name is invalid, or clients must not write to the topic."""

    codes: ClassVar[frozenset[ErrorCode]] = frozenset({ErrorCode.INVALID_TOPIC_EXCEPTION})


class InvalidRecordError(BrokerError, ValueError):
    """The broker refused this record."""

    codes: ClassVar[frozenset[ErrorCode]] = frozenset({ErrorCode.INVALID_RECORD, ErrorCode.INVALID_TIMESTAMP})


class BatchRefusedError(BrokerError):
    """The broker refused another record of the batch: this record is valid and can be sent again."""


_MISSING = {
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "the operation Write on the topic",
    ErrorCode.GROUP_AUTHORIZATION_FAILED: "the operation Read on the group",
    # Since Kafka 2.8 Write on any topic is enough for an idempotent producer (KIP-679).
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: (
        "the operation IdempotentWrite on the cluster, or enable_idempotence=False"
    ),
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the operation Write on the transactional id",
}
"""The ACLs that a producer needs, by the error of a broker without one."""

_BY_CODE: dict[ErrorCode, type[BrokerError]] = {
    code: kind for kind in (AuthorizationError, InvalidTopicError, InvalidRecordError) for code in kind.codes
}
