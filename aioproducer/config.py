"""What a producer can be told, checked before anything is opened.

Every option is one field of `ProducerConfig`: its type, what it may be, what it does and
Kafka's default stand in one place, and `OPTIONS` offers the same to documentation. Options
keep Kafka's names and milliseconds; the rest of the package works in seconds, which the
attributes below the fields give.

    keywords ───────────────────────────────┐
    properties, environment ──own_options───┴──▶ each option ──▶ options together ──▶ ProducerConfig
                                                 (its kind)      (the rules)

Some rules, and some of Java's defaults, depend on which options were set and not only on
their values, so a config remembers those, and `replace` starts again from them.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self, Unpack, get_type_hints, overload

from aioproducer.errors import ConfigurationError
from aioproducer.options import (
    ACKS,
    FLAG,
    INT_MAX,
    LONG_MAX,
    NUMBER,
    PARTITIONER,
    SERIALIZER,
    SERVERS,
    AllOptions,
    Option,
    Partitioner,
    PartitionerName,
    ProducerOptions,
    Serializer,
    choice,
    string,
    whole,
)
from aioproducer.properties import (
    environment_properties,
    from_librdkafka,
    own_options,
    parse_properties,
    refuse_foreign,
)
from aioproducer.rules import settle

__all__ = [
    "OPTIONS",
    "AllOptions",
    "Option",
    "Partitioner",
    "PartitionerName",
    "ProducerConfig",
    "ProducerOptions",
    "Serializer",
]

logger: Final = logging.getLogger("aioproducer.config")

_INT = whole()
_LONG = whole(0, LONG_MAX)
_PERIOD = whole(1, LONG_MAX)
_SOCKET_BUFFER = whole(-1)


class Seconds:
    """An option in milliseconds, read as seconds; never more than the option `at_most`."""

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
class ProducerConfig:
    """The options of a producer, checked; `ConfigurationError` tells what is wrong with them.

    Takes them as keywords, under Kafka's names with `_` for `.`; `from_properties` and
    `from_env` read them from elsewhere. Derive another config with `replace`:
    `dataclasses.replace` cannot tell which options were set and is refused.

    >>> config = ProducerConfig(bootstrap_servers="localhost:9092", linger_ms=20)
    >>> config.linger, config.acks
    (0.02, -1)
    """

    bootstrap_servers: Annotated[tuple[tuple[str, int], ...], SERVERS, "Brokers to learn the cluster from."]
    key_serializer: Annotated[Serializer | None, SERIALIZER, "Turns keys into bytes."] = None
    value_serializer: Annotated[Serializer | None, SERIALIZER, "Turns values into bytes."] = None
    client_id: Annotated[str | None, string(), "Name in logs, quotas, metrics; None: producer-<n>."] = None
    acks: Annotated[int, ACKS, "Who must have a record: all in sync (-1), the leader (1), nobody (0)."] = -1
    enable_idempotence: Annotated[bool, FLAG, "Each record once and in order, in spite of retries."] = True
    retries: Annotated[int, _INT, "Times a batch is sent again, within delivery_timeout_ms."] = INT_MAX
    delivery_timeout_ms: Annotated[int, _INT, "Time from `send` to success or failure."] = 120_000
    linger_ms: Annotated[float, NUMBER, "Time a batch waits for more records; may be a fraction."] = 5
    batch_size: Annotated[int, _INT, "Bytes at which a batch is full, before compression."] = 16_384
    buffer_memory: Annotated[int, _LONG, "Bytes that all batches may take together."] = 33_554_432
    max_block_ms: Annotated[int, _LONG, "Time to wait for metadata, room in the buffer, start."] = 60_000
    max_request_size: Annotated[int, _INT, "Bytes of the largest record, and of one request."] = 1_048_576
    max_in_flight_requests_per_connection: Annotated[
        int, whole(1), "Requests sent to a broker before its answers; idempotence allows 5."
    ] = 5
    request_timeout_ms: Annotated[int, _INT, "Time a broker has to answer a request."] = 30_000
    compression_type: Annotated[
        str, choice("none", "gzip", "snappy", "lz4", "zstd"), "Codec; snappy needs the extra of its name."
    ] = "none"
    compression_gzip_level: Annotated[int, whole(1, 9, also=-1), "Level of gzip; -1: zlib's own."] = -1
    compression_lz4_level: Annotated[int, whole(1, 17), "Level of lz4; 9 is Kafka's fast default."] = 9
    compression_zstd_level: Annotated[int, whole(-(2**17), 22), "Level of zstd."] = 3
    partitioner: Annotated[
        PartitionerName | Partitioner, PARTITIONER, "Chooses partitions: as Java, in turn, as librdkafka."
    ] = "murmur2"
    partitioner_ignore_keys: Annotated[bool, FLAG, "Spread records with keys like those without."] = False
    partitioner_adaptive_partitioning_enable: Annotated[bool, FLAG, "Fast brokers get more (KIP-794)."] = True
    partitioner_availability_timeout_ms: Annotated[
        int, _LONG, "Avoid partitions that took nothing for so long (KIP-794); 0: never."
    ] = 0
    security_protocol: Annotated[
        str, choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), "Only PLAINTEXT is implemented yet."
    ] = "PLAINTEXT"
    client_dns_lookup: Annotated[
        str,
        choice("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
        "Whether bootstrap names are replaced by their canonical ones (KIP-235).",
    ] = "use_all_dns_ips"
    bootstrap_resolve_timeout_ms: Annotated[
        int, _LONG, "Time to go on resolving bootstrap names (KIP-909); 0: one try."
    ] = 0
    reconnect_backoff_ms: Annotated[int, _LONG, "First pause before connecting to a broker again."] = 50
    reconnect_backoff_max_ms: Annotated[int, _LONG, "Longest such pause; each doubles the last."] = 1_000
    retry_backoff_ms: Annotated[int, _LONG, "First pause before a request is sent again."] = 100
    retry_backoff_max_ms: Annotated[int, _LONG, "Longest such pause; each doubles the last."] = 1_000
    socket_connection_setup_timeout_ms: Annotated[
        int, whole(1, LONG_MAX), "Time that the first attempt to connect may take."
    ] = 10_000
    socket_connection_setup_timeout_max_ms: Annotated[
        int, whole(1, LONG_MAX), "Longest such time; each attempt in a row doubles the last."
    ] = 30_000
    connections_max_idle_ms: Annotated[
        int, whole(-1, LONG_MAX), "Close a connection unused for so long; -1 or 0: never."
    ] = 540_000
    send_buffer_bytes: Annotated[int, _SOCKET_BUFFER, "SO_SNDBUF; -1: the system's default."] = 131_072
    receive_buffer_bytes: Annotated[int, _SOCKET_BUFFER, "SO_RCVBUF; -1: the system's default."] = 32_768
    metadata_max_age_ms: Annotated[int, _LONG, "Ask for metadata anew after so long."] = 300_000
    metadata_max_idle_ms: Annotated[int, whole(5_000, LONG_MAX), "Forget topics unused so long."] = 300_000
    metadata_recovery_strategy: Annotated[
        str, choice("none", "rebootstrap"), "Start over from bootstrap_servers when no broker answers."
    ] = "rebootstrap"
    metadata_recovery_rebootstrap_trigger_ms: Annotated[
        int, _LONG, "Time without metadata after which to start over (KIP-1102)."
    ] = 300_000
    transactional_id: Annotated[
        str | None, string(may_be_empty=False), "Name of the transactional producer; not implemented yet."
    ] = None
    transaction_timeout_ms: Annotated[
        int, whole(1), "Time after which brokers abort a transaction; not implemented yet."
    ] = 60_000
    metrics_sample_window_ms: Annotated[int, _PERIOD, "Time that one sample of a rate covers."] = 30_000
    metrics_num_samples: Annotated[int, whole(1), "Samples that a rate is made of."] = 2
    metrics_recording_level: Annotated[
        str, choice("INFO", "DEBUG", "TRACE"), "Only INFO is implemented yet."
    ] = "INFO"
    _given: dict[str, Any] = field(compare=False)

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

    def __init__(
        self,
        *,
        bootstrap_servers: str | Sequence[str],
        key_serializer: Serializer | None = None,
        value_serializer: Serializer | None = None,
        **options: Unpack[ProducerOptions],
    ) -> None:
        if "_given" in options:
            message = "use ProducerConfig.replace: dataclasses.replace cannot tell which options were set"
            raise TypeError(message)
        given = _canonical(
            {
                # A list could change before `replace` looks at it again.
                "bootstrap_servers": (
                    tuple(bootstrap_servers) if isinstance(bootstrap_servers, list) else bootstrap_servers
                ),
                "key_serializer": key_serializer,
                "value_serializer": value_serializer,
                **options,
            }
        )
        for name, value in {**_settled(given), "_given": given}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_properties(
        cls, source: Mapping[str, object] | str | os.PathLike[str], **overrides: Unpack[AllOptions]
    ) -> Self:
        """Read options from Java's properties: a mapping, or the path of a UTF-8 `.properties` file.

        Names are Java's (`linger.ms`) or librdkafka's (`queue.buffering.max.ms`, in its own
        unit); `_` may stand for `.`. Texts are converted ("5", "true"), Java's
        `ByteArraySerializer`, `StringSerializer` and `RoundRobinPartitioner` are understood.
        `overrides` are keywords as the class takes them, and win.
        """
        if not isinstance(source, Mapping):
            from pathlib import Path  # noqa: PLC0415 - most options come without a file

            source = parse_properties(Path(source).read_text(encoding="utf-8"))
        return cls._from_foreign(source, overrides)

    @classmethod
    def from_env(
        cls, prefix: str = "KAFKA_", environ: Mapping[str, str] | None = None, **overrides: Unpack[AllOptions]
    ) -> Self:
        """Read options from the environment: `KAFKA_LINGER_MS` is `linger.ms`, read like a property.

        Empty variables count as not set, and those that name no option are ignored, since
        others use the prefix too (`KAFKA_HOME`); one that nearly names an option is warned of.
        """
        variables = os.environ if environ is None else environ
        return cls._from_foreign(environment_properties(variables, prefix, OPTIONS), overrides)

    @classmethod
    def _from_foreign(cls, properties: Mapping[str, object], overrides: Mapping[str, Any]) -> Self:
        options: dict[str, Any] = {**own_options(properties, OPTIONS), **_canonical(overrides)}
        if "bootstrap_servers" not in options:
            message = f"bootstrap_servers is missing; it must be {OPTIONS['bootstrap_servers'].kind.expected}"
            raise ConfigurationError(message, option="bootstrap_servers")
        if from_librdkafka(properties) and "partitioner" not in options:
            logger.warning(
                "The properties use librdkafka's names and set no partitioner: keys go to the partitions "
                "that Java chooses (murmur2); partitioner='crc32' chooses as librdkafka does"
            )
        return cls(**options)

    def replace(self, **changes: Unpack[AllOptions]) -> Self:
        """Return a config of the same options with some of them changed, checked anew."""
        return type(self)(**{**self._given, **_canonical(changes)})

    __replace__ = replace

    @property
    def connections_max_idle(self) -> float | None:
        """Seconds after which an unused connection is closed, None for never."""
        return self.connections_max_idle_ms / 1000 if self.connections_max_idle_ms > 0 else None

    @property
    def compression_level(self) -> int | None:
        """The level for `compression_type`, None where that has none."""
        return {
            "gzip": self.compression_gzip_level,
            "lz4": self.compression_lz4_level,
            "zstd": self.compression_zstd_level,
        }.get(self.compression_type)

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in OPTIONS}
        changed = (f"{name}={value!r}" for name, value in values.items() if value != OPTIONS[name].default)
        return f"{type(self).__name__}({', '.join(changed)})"


def _options() -> dict[str, Option]:
    hints = get_type_hints(ProducerConfig, include_extras=True)
    options = {}
    for declared in fields(ProducerConfig):
        if declared.name != "_given":
            kind, doc = hints[declared.name].__metadata__
            default = None if declared.default is MISSING else declared.default
            options[declared.name] = Option(declared.name, kind, default, doc)
    return options


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(_options())
"""Every option by its name, in order; the default is None too for the one that has to be given."""

_NOT_IMPLEMENTED = (
    "security_protocol",
    "transactional_id",
    "transaction_timeout_ms",
    "metrics_recording_level",
)


def _canonical(options: Mapping[str, Any]) -> dict[str, Any]:
    own = dict(options)
    if "partitioner_class" in own:
        if "partitioner" in own:
            message = "partitioner is given twice, also as partitioner_class"
            raise ConfigurationError(message, option="partitioner")
        own["partitioner"] = own.pop("partitioner_class")
    return own


def _settled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every option, as what is `given` and Kafka's rules for options together have it."""
    values = {name: option.default for name, option in OPTIONS.items()}
    for name, value in given.items():
        if name in OPTIONS:
            values[name] = OPTIONS[name].take(value)
        else:
            refuse_foreign(name, value, OPTIONS)
    settle(values, given)
    for name in _NOT_IMPLEMENTED:
        if values[name] != OPTIONS[name].default:
            message = (
                f"{name}={values[name]!r} is not implemented yet: it must stay {OPTIONS[name].default!r}"
            )
            raise ConfigurationError(message, option=name, value=values[name])
    return values
