"""Checks of the arguments of `send`, with errors that say what to do."""

from __future__ import annotations

from aioproducer.errors import RecordTooLargeError

MAX_TIMESTAMP = 2**63 - 1

MAX_TOPIC = 2**15 - 1
"""The longest name of a topic, in bytes; brokers allow 249 of a few characters."""


def as_bytes(field: str, value: object) -> bytes:
    """Return a key or a value as bytes; raises TypeError."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        # Not bytes(value): of a subclass that would be whatever its __bytes__ gives.
        return memoryview(value).tobytes()
    msg = (
        f"the {field} must be bytes, bytearray, memoryview or None, not {type(value).__name__}: "
        f"encode it, or give the producer a {field}_serializer"
    )
    raise TypeError(msg)


def checked_topic(topic: object) -> str:
    """Return the name of a topic as it can be asked for; raises TypeError and ValueError."""
    if not isinstance(topic, str) or not topic:
        msg = f"the topic must be a non-empty str, not {topic!r}"
        raise TypeError(msg)
    try:
        size = len(topic.encode())
    except UnicodeEncodeError as error:
        msg = f"the topic {topic!r} cannot be encoded as UTF-8: {error.reason}"
        raise ValueError(msg) from None
    if size > MAX_TOPIC:
        msg = f"a topic's name of {size} bytes is longer than Kafka's protocol can say ({MAX_TOPIC})"
        raise ValueError(msg)
    # A subclass of str may compare or hash in its own way: topics are keys of dictionaries.
    return str.__str__(topic)


def checked_timestamp(timestamp_ms: object) -> int:
    """Return a timestamp in milliseconds; raises TypeError and ValueError."""
    # `True` is an int, and 1 ms after the epoch is hardly meant.
    if not isinstance(timestamp_ms, int) or isinstance(timestamp_ms, bool):
        msg = f"timestamp_ms must be an int (milliseconds since the epoch), not {timestamp_ms!r}"
        raise TypeError(msg)
    if timestamp_ms < 0 or timestamp_ms > MAX_TIMESTAMP:
        msg = f"timestamp_ms must be from 0 to {MAX_TIMESTAMP}, not {timestamp_ms}"
        raise ValueError(msg)
    return timestamp_ms


def checked_partition(partition: object) -> int:
    """Return the number of a partition; raises TypeError and ValueError."""
    if not isinstance(partition, int) or isinstance(partition, bool):
        msg = f"the partition must be an int or None, not {partition!r}"
        raise TypeError(msg)
    if partition < 0 or partition > 0x7FFFFFFF:  # noqa: PLR2004 - an int32
        msg = f"the partition must be from 0 to 2147483647, not {partition}"
        raise ValueError(msg)
    return partition


def too_large(topic: str, size: int, limit: int, option: str) -> RecordTooLargeError:
    """Make the error of a record of more bytes than an option allows."""
    msg = (
        f"a record of {size} bytes for topic {topic!r} is larger than the {limit} bytes that {option} allows"
    )
    return RecordTooLargeError(msg, topic=topic, size=size, limit=limit)
