"""The options of the producer without those of security, each declared once.

Each option is a field of `GeneralOptions`: name, type, kind, documentation and Kafka's default. Names
and milliseconds are Kafka's; the attributes after the fields convert milliseconds to seconds for the
rest of the package.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self, overload

from aioproducer.config.kinds import (
    ACKS,
    FLAG,
    INT_MAX,
    LONG_MAX,
    NUMBER,
    PARTITIONER,
    SERIALIZER,
    SERVERS,
    Partitioner,
    PartitionerName,
    Serializer,
    choice,
    string,
    whole,
)

_INT = whole()
_LONG = whole(0, LONG_MAX)
_PERIOD = whole(1, LONG_MAX)
_SOCKET_BUFFER = whole(-1)


class Seconds:
    """An option in milliseconds as seconds, limited by the option `at_most`."""

    def __init__(self, option: str, at_most: str | None = None) -> None:
        self._option = option
        self._limit = at_most or option

    @overload
    def __get__(self, config: None, owner: type) -> Self: ...
    @overload
    def __get__(self, config: object, owner: type) -> float: ...
    def __get__(self, config: object | None, owner: type) -> Self | float:
        if config is None:
            return self
        milliseconds: float = min(getattr(config, self._option), getattr(config, self._limit))
        return milliseconds / 1000


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False)
class GeneralOptions:
    """The checked options, without those of security."""

    bootstrap_servers: Annotated[
        tuple[tuple[str, int], ...], SERVERS, "Brokers for the first connection to the cluster."
    ]
    key_serializer: Annotated[Serializer | None, SERIALIZER, "Converts keys to bytes."] = None
    value_serializer: Annotated[Serializer | None, SERIALIZER, "Converts values to bytes."] = None
    client_id: Annotated[str | None, string(), "Name in logs, quotas, metrics; None: producer-<n>."] = None
    acks: Annotated[
        int, ACKS, "Replicas that must store a record: all in sync (-1), the leader (1), none (0)."
    ] = -1
    enable_idempotence: Annotated[bool, FLAG, "Store each record once and in order, despite retries."] = True
    retries: Annotated[int, _INT, "Maximum retries of a batch, within delivery_timeout_ms."] = INT_MAX
    delivery_timeout_ms: Annotated[int, _INT, "Time from `send` to success or failure."] = 120_000
    linger_ms: Annotated[float, NUMBER, "Time that a batch waits for more records; may be a fraction."] = 5
    batch_size: Annotated[int, _INT, "Maximum size of a batch in bytes, before compression."] = 16_384
    buffer_memory: Annotated[int, _LONG, "Maximum size of all batches together, in bytes."] = 33_554_432
    max_block_ms: Annotated[int, _LONG, "Time to wait for metadata, free memory and start."] = 60_000
    max_request_size: Annotated[int, _INT, "Maximum size of a record and of a request, in bytes."] = 1_048_576
    max_in_flight_requests_per_connection: Annotated[
        int, whole(1), "Maximum requests without a response; at most 5 with idempotence."
    ] = 5
    request_timeout_ms: Annotated[int, _INT, "Time to wait for the response to a request."] = 30_000
    compression_type: Annotated[
        str, choice("none", "gzip", "snappy", "lz4", "zstd"), "Codec; snappy needs the extra `snappy`."
    ] = "none"
    compression_gzip_level: Annotated[
        int, whole(1, 9, also=-1), "Level of gzip; -1: the default of zlib."
    ] = -1
    compression_lz4_level: Annotated[int, whole(1, 17), "Level of lz4; 9 is Kafka's fast default."] = 9
    compression_zstd_level: Annotated[int, whole(-(2**17), 22), "Level of zstd."] = 3
    partitioner: Annotated[
        PartitionerName | Partitioner,
        PARTITIONER,
        "Partitioner of Java, round robin, of librdkafka, or a callable.",
    ] = "murmur2"
    partitioner_ignore_keys: Annotated[bool, FLAG, "Partition records with keys as those without."] = False
    partitioner_adaptive_partitioning_enable: Annotated[
        bool, FLAG, "Send more to faster brokers (KIP-794)."
    ] = True
    partitioner_availability_timeout_ms: Annotated[
        int, _LONG, "Avoid partitions that accept no batch for this time (KIP-794); 0: never."
    ] = 0
    client_dns_lookup: Annotated[
        str,
        choice("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
        "Whether to replace bootstrap names by their canonical names (KIP-235).",
    ] = "use_all_dns_ips"
    bootstrap_resolve_timeout_ms: Annotated[
        int, _LONG, "Time to retry resolving bootstrap names (KIP-909); 0: no retry."
    ] = 0
    reconnect_backoff_ms: Annotated[int, _LONG, "First backoff before a reconnect to a broker."] = 50
    reconnect_backoff_max_ms: Annotated[int, _LONG, "Its maximum; the backoff doubles each time."] = 1_000
    retry_backoff_ms: Annotated[int, _LONG, "First backoff before a retry of a request."] = 100
    retry_backoff_max_ms: Annotated[int, _LONG, "Its maximum; the backoff doubles each time."] = 1_000
    socket_connection_setup_timeout_ms: Annotated[
        int, whole(1, LONG_MAX), "Timeout of the first attempt to connect."
    ] = 10_000
    socket_connection_setup_timeout_max_ms: Annotated[
        int, whole(1, LONG_MAX), "Maximum of this timeout, which doubles with each failed attempt."
    ] = 30_000
    connections_max_idle_ms: Annotated[
        int, whole(-1, LONG_MAX), "Close connections that are unused for this time; -1 or 0: never."
    ] = 540_000
    send_buffer_bytes: Annotated[int, _SOCKET_BUFFER, "SO_SNDBUF; -1: the system's default."] = 131_072
    receive_buffer_bytes: Annotated[int, _SOCKET_BUFFER, "SO_RCVBUF; -1: the system's default."] = 32_768
    metadata_max_age_ms: Annotated[int, _LONG, "Refresh metadata after this time."] = 300_000
    metadata_max_idle_ms: Annotated[
        int, whole(5_000, LONG_MAX), "Forget topics that are unused for this time."
    ] = 300_000
    metadata_recovery_strategy: Annotated[
        str, choice("none", "rebootstrap"), "Whether to use bootstrap_servers again if no broker responds."
    ] = "rebootstrap"
    metadata_recovery_rebootstrap_trigger_ms: Annotated[
        int, _LONG, "Time without metadata after which to rebootstrap (KIP-1102)."
    ] = 300_000
    transactional_id: Annotated[
        str | None, string(may_be_empty=False), "Name of the transactional producer; not implemented yet."
    ] = None
    transaction_timeout_ms: Annotated[
        int, whole(1), "Time after which brokers abort a transaction; not implemented yet."
    ] = 60_000
    metrics_sample_window_ms: Annotated[int, _PERIOD, "Duration of one sample of a rate."] = 30_000
    metrics_num_samples: Annotated[int, whole(1), "Number of samples of a rate."] = 2
    metrics_recording_level: Annotated[
        str, choice("INFO", "DEBUG", "TRACE"), "Only INFO is implemented yet."
    ] = "INFO"

    linger: ClassVar[Seconds] = Seconds("linger_ms")
    delivery_timeout: ClassVar[Seconds] = Seconds("delivery_timeout_ms")
    request_timeout: ClassVar[Seconds] = Seconds("request_timeout_ms")
    max_block: ClassVar[Seconds] = Seconds("max_block_ms")
    retry_backoff: ClassVar[Seconds] = Seconds("retry_backoff_ms", at_most="retry_backoff_max_ms")
    retry_backoff_max: ClassVar[Seconds] = Seconds("retry_backoff_max_ms")
    reconnect_backoff: ClassVar[Seconds] = Seconds("reconnect_backoff_ms", at_most="reconnect_backoff_max_ms")
    reconnect_backoff_max: ClassVar[Seconds] = Seconds("reconnect_backoff_max_ms")
    connection_setup_timeout: ClassVar[Seconds] = Seconds(
        "socket_connection_setup_timeout_ms", at_most="socket_connection_setup_timeout_max_ms"
    )
    connection_setup_timeout_max: ClassVar[Seconds] = Seconds("socket_connection_setup_timeout_max_ms")
    metadata_max_age: ClassVar[Seconds] = Seconds("metadata_max_age_ms")
    metadata_max_idle: ClassVar[Seconds] = Seconds("metadata_max_idle_ms")
    rebootstrap_trigger: ClassVar[Seconds] = Seconds("metadata_recovery_rebootstrap_trigger_ms")
    availability_timeout: ClassVar[Seconds] = Seconds("partitioner_availability_timeout_ms")
    bootstrap_resolve_timeout: ClassVar[Seconds] = Seconds("bootstrap_resolve_timeout_ms")
    metrics_sample_window: ClassVar[Seconds] = Seconds("metrics_sample_window_ms")

    @property
    def connections_max_idle(self) -> float | None:
        """Seconds after which an unused connection is closed, None for never."""
        return self.connections_max_idle_ms / 1000 if self.connections_max_idle_ms > 0 else None

    @property
    def compression_level(self) -> int | None:
        """The level for `compression_type`, None for a codec without levels."""
        return {
            "gzip": self.compression_gzip_level,
            "lz4": self.compression_lz4_level,
            "zstd": self.compression_zstd_level,
        }.get(self.compression_type)
