"""The errors that users see, as one tree.

    ProducerError
    ├── ConfigurationError (ValueError)          an option is unknown, of the wrong type or out of range
    ├── IllegalStateError (RuntimeError)         the call does not fit the producer's state
    │   ├── ProducerNotStartedError
    │   ├── ProducerClosedError
    │   └── WrongLoopError
    ├── SerializationError (ValueError)          a serializer raised, or gave something else than bytes
    ├── PartitionerError (ValueError)            a partitioner raised, or chose no partition of the topic
    ├── RecordTooLargeError (ValueError)         larger than an option or the topic allows
    ├── BufferExhaustedError (TimeoutError)      no room in buffer_memory within max_block_ms
    ├── DeliveryTimeoutError (TimeoutError)      not acknowledged within delivery_timeout_ms
    ├── CallTimeoutError (TimeoutError)          start, flush or partitions_for took longer than allowed
    │   ├── UnknownTopicError                    the topic is not in the metadata
    │   ├── UnknownPartitionError                the topic has no such partition
    │   └── BootstrapError (ConnectionError)     no bootstrap address answered; names each and why
    ├── BrokerConnectionError (ConnectionError)  a connection could not be made, or was lost
    │   └── RequestTimeoutError (TimeoutError)   the broker did not answer within request_timeout_ms
    ├── ProtocolError                            bytes that are no Kafka message
    ├── UnsupportedVersionError                  the broker speaks no version that this needs
    ├── ProducerFailedError                      the background died; the cause says why
    └── BrokerError                              the broker answered with an error code
        ├── AuthorizationError (PermissionError)
        ├── InvalidTopicError (ValueError)
        ├── InvalidRecordError (ValueError)      the broker refused this very record (KIP-467)
        └── BatchRefusedError                    another record of the same batch was refused, not this one

Each error says whether it is `retriable` (the producer has retried it for as long as it
was allowed to), `abortable` (abort the transaction and run it again) or `fatal` (make a
new producer), and whether the record `may_be_written`: stored although it failed here.
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
    """Anything that this package raises of its own."""

    retriable: bool = False
    abortable: bool = False
    fatal: bool = False
    may_be_written: bool = False

    def __init__(self, message: str, *, may_be_written: bool = False) -> None:
        super().__init__(message)
        if may_be_written:
            self.may_be_written = True

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[ProducerError], args: tuple[Any, ...], attributes: dict[str, Any]) -> ProducerError:
    error = kind.__new__(kind, *args)
    # OSError takes its arguments in __init__, which is not called here.
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(ProducerError, ValueError):
    """An option is unknown, of the wrong type, out of range, or at odds with another."""

    def __init__(self, message: str, *, option: str | None = None, value: object = None) -> None:
        super().__init__(message)
        self.option = option
        self.value = value


class IllegalStateError(ProducerError, RuntimeError):
    """The call does not fit the state the producer is in."""


class ProducerNotStartedError(IllegalStateError):
    """The producer was used before `start`."""


class ProducerClosedError(IllegalStateError):
    """The producer was used after `stop`, or stopped before the record was acknowledged."""

    fatal = True


class WrongLoopError(IllegalStateError):
    """The producer was called from another event loop, or another thread, than it was started in."""


class SerializationError(ProducerError, ValueError):
    """A serializer raised (see `__cause__`), or gave something else than bytes."""

    def __init__(self, message: str, *, topic: str, field: str) -> None:
        super().__init__(message)
        self.topic = topic
        self.field = field


class PartitionerError(ProducerError, ValueError):
    """The partitioner raised (see `__cause__`), or chose a partition that the topic has not."""

    def __init__(self, message: str, *, topic: str, partition: object = None) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition


class RecordTooLargeError(ProducerError, ValueError):
    """The record is larger than a limit: ours (`limit` in bytes) or the topic's (`limit` is None)."""

    def __init__(
        self, message: str, *, topic: str, size: int | None = None, limit: int | None = None
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.size = size
        self.limit = limit


class BufferExhaustedError(ProducerError, TimeoutError):
    """There was no room in `buffer_memory` for the record: produce slower, or `await drain()`."""

    retriable = True


class DeliveryTimeoutError(ProducerError, TimeoutError):
    """The record was not acknowledged within `delivery_timeout_ms`; `__cause__` is the last failure."""

    retriable = True

    def __init__(self, message: str, *, topic: str, partition: int, may_be_written: bool = False) -> None:
        super().__init__(message, may_be_written=may_be_written)
        self.topic = topic
        self.partition = partition


class CallTimeoutError(ProducerError, TimeoutError):
    """A call did not end within the time it was given."""

    retriable = True


class UnknownTopicError(CallTimeoutError):
    """The topic did not appear in the cluster's metadata within `max_block_ms`."""

    def __init__(self, message: str, *, topic: str) -> None:
        super().__init__(message)
        self.topic = topic


class UnknownPartitionError(CallTimeoutError):
    """The topic has no such partition, and got none within `max_block_ms`."""

    def __init__(self, message: str, *, topic: str, partition: int, partitions: int) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition
        self.partitions = partitions


class BootstrapError(CallTimeoutError, ConnectionError):
    """No bootstrap address could be used; `causes` maps each address tried to what went wrong."""

    def __init__(self, message: str, *, causes: Mapping[str, Exception]) -> None:
        super().__init__(message)
        self.causes: dict[str, Exception] = dict(causes)


class BrokerConnectionError(ProducerError, ConnectionError):
    """A connection to a broker could not be made, or was lost."""

    retriable = True


class RequestTimeoutError(BrokerConnectionError, TimeoutError):
    """The broker did not answer a request within `request_timeout_ms`."""


class ProtocolError(ProducerError):
    """Bytes that are no Kafka message: the peer is no broker, or the connection is corrupt."""

    retriable = True


class UnsupportedVersionError(ProducerError):
    """The broker and this client have no version of an API in common that does what is asked."""

    fatal = True


class ProducerFailedError(ProducerError):
    """The producer's background ended by an unexpected error, which is the `__cause__`."""

    fatal = True


class BrokerError(ProducerError):
    """The broker answered with an error `code`; `reason` is in the broker's own words."""

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
        """Make the error of the class that fits `code`; `subject` says what failed."""
        words = f"{subject}: {code.name} ({int(code)})"
        if reason:
            words = f"{words}: {reason}"
        kind = _BY_CODE.get(code, BrokerError)
        return kind(words, code=code, reason=reason, may_be_written=may_be_written)

    def as_fatal(self) -> Self:
        """Mark the error as one that only a new producer gets over, and return it."""
        self.fatal = True
        return self


class AuthorizationError(BrokerError, PermissionError):
    """The principal may not do this; an ACL is missing."""

    codes: ClassVar[frozenset[ErrorCode]] = frozenset(
        {
            ErrorCode.TOPIC_AUTHORIZATION_FAILED,
            ErrorCode.GROUP_AUTHORIZATION_FAILED,
            ErrorCode.CLUSTER_AUTHORIZATION_FAILED,
            ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        }
    )


class InvalidTopicError(BrokerError, ValueError):
    """The topic's name is not allowed, or the topic is one nobody may write to."""

    codes: ClassVar[frozenset[ErrorCode]] = frozenset({ErrorCode.INVALID_TOPIC_EXCEPTION})


class InvalidRecordError(BrokerError, ValueError):
    """The broker refused this very record."""

    codes: ClassVar[frozenset[ErrorCode]] = frozenset({ErrorCode.INVALID_RECORD, ErrorCode.INVALID_TIMESTAMP})


class BatchRefusedError(BrokerError):
    """The record is sound but was in a batch with one that was refused: it may be sent again."""


_BY_CODE: dict[ErrorCode, type[BrokerError]] = {
    code: kind for kind in (AuthorizationError, InvalidTopicError, InvalidRecordError) for code in kind.codes
}
