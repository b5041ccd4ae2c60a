"""The keyword arguments of `Producer` and `ProducerConfig`, for type checkers and editors.

The options are declared in `aioproducer.config.options`. Type checkers cannot derive this list from
them, so it is written here; `tests/config/test_keywords.py` compares the two and prints the lines
that are missing.
"""

from collections.abc import Sequence
from typing import TypedDict

from aioproducer.config.kinds import Partitioner, PartitionerName, Serializer


class ProducerOptions(TypedDict, total=False):
    """The keyword options of `Producer`."""

    client_id: str | None
    acks: int | str
    enable_idempotence: bool
    retries: int
    delivery_timeout_ms: int
    linger_ms: float
    batch_size: int
    buffer_memory: int
    max_block_ms: int
    max_request_size: int
    max_in_flight_requests_per_connection: int
    request_timeout_ms: int
    compression_type: str
    compression_gzip_level: int
    compression_lz4_level: int
    compression_zstd_level: int
    partitioner: PartitionerName | Partitioner
    partitioner_class: PartitionerName | Partitioner
    partitioner_ignore_keys: bool
    partitioner_adaptive_partitioning_enable: bool
    partitioner_availability_timeout_ms: int
    security_protocol: str
    client_dns_lookup: str
    bootstrap_resolve_timeout_ms: int
    reconnect_backoff_ms: int
    reconnect_backoff_max_ms: int
    retry_backoff_ms: int
    retry_backoff_max_ms: int
    socket_connection_setup_timeout_ms: int
    socket_connection_setup_timeout_max_ms: int
    connections_max_idle_ms: int
    send_buffer_bytes: int
    receive_buffer_bytes: int
    metadata_max_age_ms: int
    metadata_max_idle_ms: int
    metadata_recovery_strategy: str
    metadata_recovery_rebootstrap_trigger_ms: int
    transactional_id: str | None
    transaction_timeout_ms: int
    metrics_sample_window_ms: int
    metrics_num_samples: int
    metrics_recording_level: str


class AllOptions(ProducerOptions, total=False):
    """All options: `ProducerOptions` and the parameters of `Producer`."""

    bootstrap_servers: str | Sequence[str]
    key_serializer: Serializer | None
    value_serializer: Serializer | None
