"""Options under foreign names: Java's properties, librdkafka's aliases, the environment.

The entries become options under their own names, with values that are not checked yet. Entries
without an option are refused with the reason, never ignored.

    linger.ms=5                       ──┐
    queue.buffering.max.kbytes=1024   ──┼──▶ {"linger_ms": 5, "buffer_memory": 1048576, …}
    KAFKA_CLIENT_ID=web               ──┘
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aioproducer.config.kinds import INT_MAX, whole
from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aioproducer.config.kinds import Kind
    from aioproducer.config.option import Option

logger: Final = logging.getLogger("aioproducer.config")


class Alias(NamedTuple):
    """Another name of an option; if its unit differs, `convert` converts a value of `kind`."""

    option: str
    kind: Kind | None = None
    convert: Callable[[Any], object] = int
    unit: str = ""


LIBRDKAFKA = {
    "metadata_broker_list": Alias("bootstrap_servers"),
    "queue_buffering_max_ms": Alias("linger_ms"),
    "queue_buffering_max_kbytes": Alias("buffer_memory", whole(1), lambda kib: kib * 1024, " (in bytes)"),
    # librdkafka's 0 is infinite; INT_MAX is Kafka's maximum.
    "message_timeout_ms": Alias("delivery_timeout_ms", whole(), lambda ms: ms or INT_MAX),
    "request_required_acks": Alias("acks"),
    "compression_codec": Alias("compression_type"),
    "message_send_max_retries": Alias("retries"),
    "max_in_flight": Alias("max_in_flight_requests_per_connection"),
}

ALIASES = {"partitioner_class": Alias("partitioner"), **LIBRDKAFKA}

# Options that are not implemented yet, with their default as text: the default is accepted.
# Other names that begin with ssl_ or sasl_ are not implemented either.
_NOT_IMPLEMENTED = {
    "client_rack": "",
    "config_providers": "",
    "enable_metrics_push": "false",
    "interceptor_classes": "",
    "metadata_cluster_check_enable": "false",
    "metric_reporters": "",
    "partitioner_rack_aware": "false",
    "transaction_two_phase_commit_enable": "false",
    "ssl_protocol": "TLSv1.3",
    "ssl_enabled_protocols": "TLSv1.2,TLSv1.3",
    "ssl_endpoint_identification_algorithm": "https",
    "ssl_keystore_type": "JKS",
    "ssl_truststore_type": "JKS",
    "sasl_mechanism": "GSSAPI",
    "sasl_login_refresh_window_factor": "0.8",
    "sasl_login_refresh_window_jitter": "0.05",
    "sasl_login_refresh_min_period_seconds": "60",
    "sasl_login_refresh_buffer_seconds": "300",
    "sasl_login_retry_backoff_ms": "100",
    "sasl_login_retry_backoff_max_ms": "10000",
}

_JVM_ONLY = frozenset(
    {
        "auto_include_jmx_reporter",
        "buffer_memory_allocation_strategy",
        "sasl_client_callback_handler_class",
        "sasl_kerberos_kinit_cmd",
        "sasl_kerberos_min_time_before_relogin",
        "sasl_kerberos_ticket_renew_jitter",
        "sasl_kerberos_ticket_renew_window_factor",
        "sasl_login_callback_handler_class",
        "sasl_login_class",
        "sasl_oauthbearer_jwt_retriever_class",
        "sasl_oauthbearer_jwt_validator_class",
        "security_providers",
        "ssl_engine_factory_class",
        "ssl_keymanager_algorithm",
        "ssl_provider",
        "ssl_secure_random_implementation",
        "ssl_trustmanager_algorithm",
    }
)


def _is_known_elsewhere(name: str) -> bool:
    return name in _JVM_ONLY or name in _NOT_IMPLEMENTED or name.startswith(("ssl_", "sasl_"))


def refuse_foreign(name: str, value: object, options: Mapping[str, Option]) -> None:
    """Raise `ConfigurationError` for a name that is not in `options`, unless it has its default value.

    The value may be a secret, so the error never contains it.
    """
    # `linger.ms` and `linger_ms` are the same option.
    plain = name.replace(".", "_").lower()
    if not _is_known_elsewhere(plain):
        message = f"unknown option {name!r}: {_hint(name, plain, options)}"
    elif _as_text(value).lower() == _NOT_IMPLEMENTED.get(plain, "").lower():
        return
    elif plain in _JVM_ONLY:
        message = f"{name} has no meaning outside the JVM"
    else:
        message = f"{name} is not implemented yet"
    raise ConfigurationError(message, option=name)


def _hint(name: str, plain: str, options: Mapping[str, Option]) -> str:
    if plain in options:
        return f"as a keyword it is {plain}, in properties {options[plain].java_name}"
    if plain in ALIASES:
        return f"here it is {ALIASES[plain].option}{ALIASES[plain].unit}"
    if near := nearest(plain, options):
        return f"did you mean {(options[near].java_name if '.' in name else near)!r}?"
    return "the producer has no option with a similar name"


def nearest(name: str, names: Iterable[str], *, similarity: float = 0.6) -> str | None:
    """Return the most similar one of `names`, None if there is none."""
    import difflib  # noqa: PLC0415 - only for misspelled names

    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=similarity)), None)


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value).strip()


def own_options(properties: Mapping[str, object], options: Mapping[str, Option]) -> dict[str, object]:
    """Return the `options` in `properties` under their own names; strings are converted."""
    found: dict[str, object] = {}
    origin: dict[str, str] = {}
    for name, value in properties.items():
        plain = name.replace(".", "_")
        alias = ALIASES.get(plain, Alias(plain))
        if alias.option not in options:
            refuse_foreign(name, value, options)
            continue
        if alias.option in found:
            message = f"{alias.option} is given twice, as {origin[alias.option]!r} and as {name!r}"
            raise ConfigurationError(message, option=alias.option)
        origin[alias.option] = name
        found[alias.option] = _own_value(name, value, options[alias.option], alias)
    return found


def _own_value(name: str, value: object, option: Option, alias: Alias) -> object:
    spelled = option._replace(name=name, kind=alias.kind or option.kind)
    given = spelled.read(value) if isinstance(value, str) else value
    return given if alias.kind is None else alias.convert(spelled.take(given))


def from_librdkafka(properties: Mapping[str, object]) -> bool:
    """Return whether a name in `properties` exists only in librdkafka."""
    return any(name.replace(".", "_") in LIBRDKAFKA for name in properties)


def environment_properties(
    environ: Mapping[str, str], prefix: str, options: Mapping[str, Option]
) -> dict[str, str]:
    """Return the variables that are `prefix` and an option; log a warning for near misses.

    Empty variables count as not set: compose files and charts often leave them.
    """
    found: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(prefix) or not text:
            continue
        name = variable.removeprefix(prefix).lower()
        if name in options or name in ALIASES or _is_known_elsewhere(name):
            found[name] = text
        # Other programs have such variables too (KAFKA_HOME, KAFKA_OPTS): warn only of near misses.
        elif near := nearest(name, options, similarity=0.8):
            logger.warning(
                "Ignoring %s: it is not an option; did you mean %s%s?", variable, prefix, near.upper()
            )
    return found
