"""What one option may be: each kind checks a value and gives it back in its one normal form.

A kind knows three things: what is `expected` in words (errors and documentation say it
alike), how to `take` a value from Python, and how to `read` the text of a properties file
or an environment variable, which is then taken like any other value.

    "5"   ──read──▶ 5      ──take──▶ 5          "true" ──read──▶ True ──take──▶ True
                    "LZ4"  ──take──▶ "lz4"                       "true" ──take──▶ ConfigurationError
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict

from aioproducer.errors import ConfigurationError
from aioproducer.record import Buffer

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1

Serializer: TypeAlias = Callable[[Any], Buffer | None]
"""Turns a key or a value into bytes, or into None for Kafka's null."""

Partitioner: TypeAlias = Callable[[str, bytes | None, int], int]
"""Chooses from (topic, key, number of partitions) a partition, counted from 0."""

PartitionerName: TypeAlias = Literal["murmur2", "round_robin", "crc32"]


class ProducerOptions(TypedDict, total=False):
    """The types of the keyword options, as type checkers and editors see them."""

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
    """The keyword options together with those that `Producer` names itself."""

    bootstrap_servers: str | Sequence[str]
    key_serializer: Serializer | None
    value_serializer: Serializer | None


class Kind(NamedTuple):
    """What an option may be.

    `take` and `read` raise `ValueError` for what is not allowed, with a reason where there
    is more to say than what was `expected`, which is worded to follow "must be".
    """

    expected: str
    take: Callable[[object], object]
    read: Callable[[str], object] = str


class Option(NamedTuple):
    """One option: what it is called, what it may be, what it is by default, and what it does."""

    name: str
    kind: Kind
    default: Any
    doc: str

    @property
    def java_name(self) -> str:
        """Kafka's own name of the option, as properties files have it."""
        return "partitioner.class" if self.name == "partitioner" else self.name.replace("_", ".")

    def take(self, value: object) -> object:
        """Return `value` in its normal form, or raise `ConfigurationError`."""
        try:
            return self.kind.take(value)
        except ValueError as reason:
            raise self._refusal(value, str(reason)) from None

    def read(self, text: str) -> object:
        """Return what the text of a properties file stands for, or raise `ConfigurationError`."""
        try:
            return self.kind.read(text.strip())
        except ValueError:
            raise self._refusal(text) from None

    def _refusal(self, value: object, reason: str = "") -> ConfigurationError:
        words = f"{self.name} must be {self.kind.expected}, not {value!r}"
        return ConfigurationError(f"{words}: {reason}" if reason else words, option=self.name, value=value)


def whole(low: int = 0, high: int = INT_MAX, *, also: int | None = None) -> Kind:
    """Make the kind of a whole number from `low` to `high`; `also` is allowed outside of them."""

    def take(value: object) -> int:
        match value:
            case bool():
                raise ValueError
            case int() if low <= value <= high or value == also:
                return value
            case _:
                raise ValueError

    span = f"a whole number from {low} to {high}"
    return Kind(span if also is None else f"{span}, or {also}", take, int)


def choice(*words: str) -> Kind:
    """Make the kind of one of a few words, in upper or lower case."""
    by_lower = {word.lower(): word for word in words}

    def take(value: object) -> str:
        match value:
            case str() if value.lower() in by_lower:
                return by_lower[value.lower()]
            case _:
                raise ValueError

    return Kind(f"one of {', '.join(map(repr, words))}", take)


def string(*, may_be_empty: bool = True) -> Kind:
    """Make the kind of a string, or None for none."""

    def take(value: object) -> str | None:
        match value:
            case None:
                return None
            # Kafka counts the bytes of a string in 16 bits.
            case str() if (value or may_be_empty) and len(value.encode()) <= 2**15 - 1:
                return value
            case _:
                raise ValueError

    return Kind(f"{'a' if may_be_empty else 'a non-empty'} string of at most 32767 bytes, or None", take)


def _take_number(value: object) -> float:
    match value:
        case bool():
            raise ValueError
        case int() | float() if 0 <= value <= LONG_MAX:
            return value
        case _:
            raise ValueError


def _read_number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


NUMBER = Kind(f"a number from 0 to {LONG_MAX}", _take_number, _read_number)


def _take_flag(value: object) -> bool:
    match value:
        case bool():
            return value
        case _:
            raise ValueError


def _read_flag(text: str) -> bool:
    match text.lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError


FLAG = Kind("True or False", _take_flag, _read_flag)


def _take_acks(value: object) -> int:
    match value:
        case bool():
            raise ValueError
        case int() if -1 <= value <= 1:
            return value
        case str() if value.lower() in ("all", "-1"):
            return -1
        case "0":
            return 0
        case "1":
            return 1
        case _:
            raise ValueError


ACKS = Kind("'all' (or -1), 1 or 0", _take_acks)

_ADDRESS = re.compile(r"(?:(\w+)://)?(\[[^\[\]]*\]|[^\s:/@\[\],]*)(?::(.*))?", re.ASCII)


def _take_servers(value: object) -> tuple[tuple[str, int], ...]:
    entries: object = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError
    # What templates leave behind, empty and repeated entries, does no harm.
    addresses = dict.fromkeys(_address(entry.strip()) for entry in entries if entry.strip())
    if not addresses:
        reason = "it names no broker"
        raise ValueError(reason)
    return tuple(addresses)


def _address(entry: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(entry)
    listener, host, port = found.groups("") if found else ("", "", "")
    reason = ""
    if not found:
        reason = "is no address"
    elif listener.upper() not in ("", "PLAINTEXT"):
        reason = f"asks for {listener}, which is not implemented yet, only PLAINTEXT is"
    elif not host:
        reason = "has no host, or an IPv6 address that is not in brackets"
    elif not port:
        reason = "has no port"
    elif not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 2**16 - 1:
        reason = f"has the port {port!r}, which is no number from 1 to 65535"
    if reason:
        message = f"{entry!r} {reason}"
        raise ValueError(message)
    if host.startswith("["):
        host = host[1:-1]
        # Raises a ValueError that names the host.
        from ipaddress import IPv6Address  # noqa: PLC0415 - hardly ever needed

        IPv6Address(host)
    return host, int(port)


def format_host(host: str) -> str:
    """Return a host as it is written before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def format_address(host: str, port: int) -> str:
    """Return host:port, as the option `bootstrap_servers` takes it."""
    return f"{format_host(host)}:{port}"


SERVERS = Kind("'host:port', several of them with commas between, or a list of them", _take_servers)


def _take_partitioner(value: object) -> object:
    if callable(value) or value in ("murmur2", "round_robin", "crc32"):
        return value
    raise ValueError


def _read_partitioner(text: str) -> str:
    names = {
        "org.apache.kafka.clients.producer.RoundRobinPartitioner": "round_robin",
        # librdkafka's; its others give records without a key one fixed partition, or
        # use hashes that no other client has.
        "consistent_random": "crc32",
        "murmur2_random": "murmur2",
    }
    return names.get(text, text)


PARTITIONER = Kind(
    "'murmur2', 'round_robin', 'crc32', or a callable (topic, key, partitions) -> partition",
    _take_partitioner,
    _read_partitioner,
)


def _take_serializer(value: object) -> object:
    if value is None or callable(value):
        return value
    raise ValueError


def _read_serializer(text: str) -> object:
    match text.removeprefix("org.apache.kafka.common.serialization."):
        case "ByteArraySerializer":
            return None
        case "StringSerializer":
            # Java's writes UTF-8 too.
            return str.encode
        case _:
            raise ValueError


SERIALIZER = Kind(
    "a callable that gives bytes or None; or None, to pass bytes through", _take_serializer, _read_serializer
)
