"""What one partition's part of a produce answer means for its batch.

One table, over the closed set of Kafka's error codes: the type checker proves that none is
forgotten.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import assert_never

from aioproducer.error_code import ErrorCode


class Verdict(Enum):
    """What has to be done with a batch that was answered."""

    IN_LOG = auto()
    """It is stored; the answer says where."""
    IN_LOG_SOMEWHERE = auto()
    """It was stored before; the broker no longer knows where."""
    RETRY = auto()
    """It may be sent again: the cause passes."""
    RETRY_IN_ORDER = auto()
    """It may be sent again once what comes before it is in, or under a new epoch."""
    SPLIT = auto()
    """It is too large; its records may fit in smaller batches."""
    REFUSED = auto()
    """It never will be stored."""
    REFUSED_EPOCH = auto()
    """It was refused for its epoch: later batches need a new one."""
    FATAL = auto()
    """It was refused, and so will everything else from this producer."""


def verdict_of(code: ErrorCode, *, idempotent: bool) -> Verdict:  # noqa: PLR0911 - one a verdict
    """Return what an error code in a produce answer means."""
    match code:
        case ErrorCode.NONE:
            return Verdict.IN_LOG
        case ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
            return Verdict.IN_LOG_SOMEWHERE
        case (
            ErrorCode.CORRUPT_MESSAGE
            | ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode.LEADER_NOT_AVAILABLE
            | ErrorCode.NOT_LEADER_OR_FOLLOWER
            | ErrorCode.REQUEST_TIMED_OUT
            | ErrorCode.REPLICA_NOT_AVAILABLE
            | ErrorCode.NETWORK_EXCEPTION
            | ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
            | ErrorCode.COORDINATOR_NOT_AVAILABLE
            | ErrorCode.NOT_COORDINATOR
            | ErrorCode.NOT_ENOUGH_REPLICAS
            | ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | ErrorCode.NOT_CONTROLLER
            | ErrorCode.CONCURRENT_TRANSACTIONS
            | ErrorCode.KAFKA_STORAGE_ERROR
            | ErrorCode.FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode.INVALID_FETCH_SESSION_EPOCH
            | ErrorCode.LISTENER_NOT_FOUND
            | ErrorCode.FENCED_LEADER_EPOCH
            | ErrorCode.UNKNOWN_LEADER_EPOCH
            | ErrorCode.OFFSET_NOT_AVAILABLE
            | ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
            | ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
            | ErrorCode.ELECTION_NOT_NEEDED
            | ErrorCode.UNSTABLE_OFFSET_COMMIT
            | ErrorCode.THROTTLING_QUOTA_EXCEEDED
            | ErrorCode.UNKNOWN_TOPIC_ID
            | ErrorCode.INCONSISTENT_TOPIC_ID
            | ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR
            | ErrorCode.SHARE_SESSION_NOT_FOUND
            | ErrorCode.INVALID_SHARE_SESSION_EPOCH
            | ErrorCode.SHARE_SESSION_LIMIT_REACHED
        ):
            return Verdict.RETRY
        case ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode.UNKNOWN_PRODUCER_ID:
            return Verdict.RETRY_IN_ORDER if idempotent else Verdict.REFUSED
        case ErrorCode.MESSAGE_TOO_LARGE | ErrorCode.RECORD_LIST_TOO_LARGE:
            return Verdict.SPLIT
        case ErrorCode.INVALID_PRODUCER_EPOCH:
            return Verdict.REFUSED_EPOCH if idempotent else Verdict.REFUSED
        case (
            ErrorCode.CLUSTER_AUTHORIZATION_FAILED
            | ErrorCode.UNSUPPORTED_VERSION
            | ErrorCode.INVALID_PRODUCER_ID_MAPPING
            | ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | ErrorCode.PRODUCER_FENCED
        ):
            return Verdict.FATAL if idempotent else Verdict.REFUSED
        case (
            ErrorCode.UNKNOWN_SERVER_ERROR
            | ErrorCode.OFFSET_OUT_OF_RANGE
            | ErrorCode.INVALID_FETCH_SIZE
            | ErrorCode.BROKER_NOT_AVAILABLE
            | ErrorCode.STALE_CONTROLLER_EPOCH
            | ErrorCode.OFFSET_METADATA_TOO_LARGE
            | ErrorCode.INVALID_TOPIC_EXCEPTION
            | ErrorCode.INVALID_REQUIRED_ACKS
            | ErrorCode.ILLEGAL_GENERATION
            | ErrorCode.INCONSISTENT_GROUP_PROTOCOL
            | ErrorCode.INVALID_GROUP_ID
            | ErrorCode.UNKNOWN_MEMBER_ID
            | ErrorCode.INVALID_SESSION_TIMEOUT
            | ErrorCode.REBALANCE_IN_PROGRESS
            | ErrorCode.INVALID_COMMIT_OFFSET_SIZE
            | ErrorCode.TOPIC_AUTHORIZATION_FAILED
            | ErrorCode.GROUP_AUTHORIZATION_FAILED
            | ErrorCode.INVALID_TIMESTAMP
            | ErrorCode.UNSUPPORTED_SASL_MECHANISM
            | ErrorCode.ILLEGAL_SASL_STATE
            | ErrorCode.TOPIC_ALREADY_EXISTS
            | ErrorCode.INVALID_PARTITIONS
            | ErrorCode.INVALID_REPLICATION_FACTOR
            | ErrorCode.INVALID_REPLICA_ASSIGNMENT
            | ErrorCode.INVALID_CONFIG
            | ErrorCode.INVALID_REQUEST
            | ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT
            | ErrorCode.POLICY_VIOLATION
            | ErrorCode.INVALID_TXN_STATE
            | ErrorCode.INVALID_TRANSACTION_TIMEOUT
            | ErrorCode.TRANSACTION_COORDINATOR_FENCED
            | ErrorCode.SECURITY_DISABLED
            | ErrorCode.OPERATION_NOT_ATTEMPTED
            | ErrorCode.LOG_DIR_NOT_FOUND
            | ErrorCode.SASL_AUTHENTICATION_FAILED
            | ErrorCode.REASSIGNMENT_IN_PROGRESS
            | ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED
            | ErrorCode.DELEGATION_TOKEN_NOT_FOUND
            | ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH
            | ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
            | ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED
            | ErrorCode.DELEGATION_TOKEN_EXPIRED
            | ErrorCode.INVALID_PRINCIPAL_TYPE
            | ErrorCode.NON_EMPTY_GROUP
            | ErrorCode.GROUP_ID_NOT_FOUND
            | ErrorCode.TOPIC_DELETION_DISABLED
            | ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
            | ErrorCode.STALE_BROKER_EPOCH
            | ErrorCode.MEMBER_ID_REQUIRED
            | ErrorCode.GROUP_MAX_SIZE_REACHED
            | ErrorCode.FENCED_INSTANCE_ID
            | ErrorCode.NO_REASSIGNMENT_IN_PROGRESS
            | ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
            | ErrorCode.INVALID_RECORD
            | ErrorCode.RESOURCE_NOT_FOUND
            | ErrorCode.DUPLICATE_RESOURCE
            | ErrorCode.UNACCEPTABLE_CREDENTIAL
            | ErrorCode.INCONSISTENT_VOTER_SET
            | ErrorCode.INVALID_UPDATE_VERSION
            | ErrorCode.FEATURE_UPDATE_FAILED
            | ErrorCode.PRINCIPAL_DESERIALIZATION_FAILURE
            | ErrorCode.SNAPSHOT_NOT_FOUND
            | ErrorCode.POSITION_OUT_OF_RANGE
            | ErrorCode.DUPLICATE_BROKER_REGISTRATION
            | ErrorCode.BROKER_ID_NOT_REGISTERED
            | ErrorCode.INCONSISTENT_CLUSTER_ID
            | ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
            | ErrorCode.INELIGIBLE_REPLICA
            | ErrorCode.NEW_LEADER_ELECTED
            | ErrorCode.OFFSET_MOVED_TO_TIERED_STORAGE
            | ErrorCode.FENCED_MEMBER_EPOCH
            | ErrorCode.UNRELEASED_INSTANCE_ID
            | ErrorCode.UNSUPPORTED_ASSIGNOR
            | ErrorCode.STALE_MEMBER_EPOCH
            | ErrorCode.MISMATCHED_ENDPOINT_TYPE
            | ErrorCode.UNSUPPORTED_ENDPOINT_TYPE
            | ErrorCode.UNKNOWN_CONTROLLER_ID
            | ErrorCode.UNKNOWN_SUBSCRIPTION_ID
            | ErrorCode.TELEMETRY_TOO_LARGE
            | ErrorCode.INVALID_REGISTRATION
            | ErrorCode.TRANSACTION_ABORTABLE
            | ErrorCode.INVALID_RECORD_STATE
            | ErrorCode.FENCED_STATE_EPOCH
            | ErrorCode.INVALID_VOTER_KEY
            | ErrorCode.DUPLICATE_VOTER
            | ErrorCode.VOTER_NOT_FOUND
            | ErrorCode.INVALID_REGULAR_EXPRESSION
            | ErrorCode.REBOOTSTRAP_REQUIRED
            | ErrorCode.STREAMS_INVALID_TOPOLOGY
            | ErrorCode.STREAMS_INVALID_TOPOLOGY_EPOCH
            | ErrorCode.STREAMS_TOPOLOGY_FENCED
            | ErrorCode.GROUP_DELETION_FAILED
            | ErrorCode.STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED
            | ErrorCode.CONTROLLER_ID_NOT_REGISTERED
        ):
            return Verdict.REFUSED
        case _:
            assert_never(code)


IN_DOUBT = frozenset(
    {
        ErrorCode.UNKNOWN_SERVER_ERROR,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    }
).union(code for code in ErrorCode if code.is_stale_metadata)
"""The codes after which the batch may be in the log all the same.

A leader that has stored a batch waits for its followers; loses it the leadership, the partition
or the disk meanwhile, the answer is what it would have been without storing anything.
"""
