"""The kinds of options: each checks a value and returns its normal form.

A kind has a description of the `expected` values (for errors and documentation), a function that
takes a value from Python, and a function that reads the text of a properties file or an environment
variable. The result of reading is then taken like a value from Python.

    "5"   ──read──▶ 5      ──take──▶ 5          "true" ──read──▶ True ──take──▶ True
                    "LZ4"  ──take──▶ "lz4"                       "true" ──take──▶ ConfigurationError
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

from aioproducer.record import Buffer

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1

Serializer: TypeAlias = Callable[[Any], Buffer | None]
"""Converts a key or a value to bytes, or to None for null."""

Partitioner: TypeAlias = Callable[[str, bytes | None, int], int]
"""Returns a partition, from 0, for (topic, key, number of partitions)."""

PartitionerName: TypeAlias = Literal["murmur2", "round_robin", "crc32"]


class HoldsSecretError(ValueError):
    """An invalid value that may hold a secret, although its option is none: the error hides it."""


class Kind(NamedTuple):
    """The allowed values of an option.

    `take` and `read` raise `ValueError` for an invalid value, with a reason if `expected` does not
    explain it. `expected` continues a sentence after "must be". A value that `is_secret` never shows.
    """

    expected: str
    take: Callable[[object], object]
    read: Callable[[str], object] = str
    is_secret: bool = False


def whole(low: int = 0, high: int = INT_MAX, *, also: int | None = None) -> Kind:
    """Return the kind of a whole number from `low` to `high`; `also` is one more allowed number."""

    def take(value: object) -> int:
        match value:
            # True is an int in Python, but linger_ms=True is a mistake.
            case bool():
                raise ValueError
            case int() if low <= value <= high or value == also:
                return value
            case _:
                raise ValueError

    span = f"a whole number from {low} to {high}"
    return Kind(span if also is None else f"{span}, or {also}", take, int)


def choice(*words: str) -> Kind:
    """Return the kind of a fixed set of words, in upper or lower case."""
    by_lower = {word.lower(): word for word in words}

    def take(value: object) -> str:
        match value:
            case str() if value.lower() in by_lower:
                return by_lower[value.lower()]
            case _:
                raise ValueError

    return Kind(f"one of {', '.join(map(repr, words))}", take)


def string(*, may_be_empty: bool = True) -> Kind:
    """Return the kind of a string, or None."""

    def take(value: object) -> str | None:
        match value:
            case None:
                return None
            # Kafka encodes the length of a string in 16 bits.
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
    # "5" stays a whole number, so that messages say 5 and not 5.0.
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
    # Templates often leave empty or repeated entries: ignore them.
    addresses = dict.fromkeys(_address(entry.strip()) for entry in entries if entry.strip())
    if not addresses:
        reason = "there is no address in it"
        raise ValueError(reason)
    return tuple(addresses)


def _address(entry: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(entry)
    listener, host, port = found.groups("") if found else ("", "", "")
    reason = ""
    if not found:
        reason = "is not an address"
    elif listener and listener.upper() not in SECURITY_PROTOCOLS:
        reason = f"asks for {listener}; a security protocol is one of {', '.join(SECURITY_PROTOCOLS)}"
    elif not host:
        reason = "has no host, or an IPv6 address without brackets"
    elif not port:
        reason = "has no port"
    elif not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 2**16 - 1:
        reason = f"has the port {port!r}, which is not a number from 1 to 65535"
    if reason:
        message = f"{entry!r} {reason}"
        raise ValueError(message)
    if host.startswith("["):
        host = host[1:-1]
        # Raises a ValueError with the host.
        from ipaddress import IPv6Address  # noqa: PLC0415 - rarely needed

        IPv6Address(host)
    return host, int(port)


def format_host(host: str) -> str:
    """Return a host as it is written before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def format_address(host: str, port: int) -> str:
    """Return host:port, as the option `bootstrap_servers` takes it."""
    return f"{format_host(host)}:{port}"


SERVERS = Kind("'host:port', several of them separated by commas, or a list of them", _take_servers)


def _take_partitioner(value: object) -> object:
    if callable(value) or value in ("murmur2", "round_robin", "crc32"):
        return value
    raise ValueError


def _read_partitioner(text: str) -> str:
    names = {
        "org.apache.kafka.clients.producer.RoundRobinPartitioner": "round_robin",
        # Partitioners of librdkafka. Its others send all records without a key to one partition,
        # or use hashes that other clients do not have.
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
            # Java's serializer writes UTF-8 too.
            return str.encode
        case _:
            raise ValueError


SERIALIZER = Kind(
    "a callable that returns bytes or None; or None, to send bytes as they are",
    _take_serializer,
    _read_serializer,
)
