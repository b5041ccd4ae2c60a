"""Outcomes: the meaning of an error code in a Produce response for the batch of the partition.

The kind of each code is in `aioproducer.error_code`; this module has the exceptions that Produce and
idempotence need.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import assert_never

from aioproducer.error_code import ErrorCode, ErrorKind


class Verdict(Enum):
    """What to do with a batch after its response."""

    DUPLICATE = auto()
    """An earlier attempt stored it, at an unknown offset."""
    RETRY = auto()
    """Send it again: the cause is temporary."""
    RETRY_IN_ORDER = auto()
    """Send it again after the batches before it are stored, or under a new epoch."""
    SPLIT = auto()
    """It is too large: split it into smaller batches."""
    REFUSED = auto()
    """Fail it."""
    REFUSED_EPOCH = auto()
    """Fail it for its epoch: later batches need a new epoch."""
    FATAL = auto()
    """Fail it and all other batches of this producer."""


_EXCEPTIONS = {
    # Kafka answers a duplicate with the first offset and no error. Older brokers have this code.
    ErrorCode.DUPLICATE_SEQUENCE_NUMBER: Verdict.DUPLICATE,
    ErrorCode.MESSAGE_TOO_LARGE: Verdict.SPLIT,
    # The batch is larger than segment.bytes. Java fails it, but smaller batches fit.
    ErrorCode.RECORD_LIST_TOO_LARGE: Verdict.SPLIT,
}

# Without idempotence these codes are refusals, as their kind says.
_IDEMPOTENT_EXCEPTIONS = {
    **_EXCEPTIONS,
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER: Verdict.RETRY_IN_ORDER,
    # Retention or DeleteRecords removed the producer's batches, and its state with them: a new epoch
    # begins at 0.
    ErrorCode.UNKNOWN_PRODUCER_ID: Verdict.RETRY_IN_ORDER,
    # The broker knows a later epoch of this producer id: it can never store the batch.
    ErrorCode.INVALID_PRODUCER_EPOCH: Verdict.REFUSED_EPOCH,
}


def verdict_of(code: ErrorCode, *, idempotent: bool) -> Verdict:
    """Return what to do with a batch after an error code in a Produce response.

    Raises ValueError for NONE: `Settlement.settle` resolves a stored batch without a verdict.
    """
    exception = (_IDEMPOTENT_EXCEPTIONS if idempotent else _EXCEPTIONS).get(code)
    if exception is not None:
        return exception
    match code.kind:
        case ErrorKind.NONE:
            message = "NONE is no error: the batch is stored"
            raise ValueError(message)
        case ErrorKind.RETRIABLE | ErrorKind.STALE_METADATA:
            return Verdict.RETRY
        case ErrorKind.REFUSED:
            return Verdict.REFUSED
        case ErrorKind.FATAL:
            # As in Java: an error such as CLUSTER_AUTHORIZATION_FAILED ends only idempotent
            # producers.
            return Verdict.FATAL if idempotent else Verdict.REFUSED
        case _:
            assert_never(code.kind)


IN_DOUBT = frozenset(
    {
        ErrorCode.UNKNOWN_SERVER_ERROR,
        # The leader has stored the batch, and waited for its followers in vain.
        ErrorCode.REQUEST_TIMED_OUT,
        # The leader has stored the batch, then replicas left the in-sync set.
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    }
).union(code for code in ErrorCode if code.is_stale_metadata)
"""The codes after which the batch may still be in the log.

A leader stores a batch and then waits for its followers. If it loses the leadership, the partition
or the disk meanwhile, it responds as if it had stored nothing.
"""
