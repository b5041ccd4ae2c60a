"""Options under foreign names: Java's properties, librdkafka's aliases, the environment.

The entries become options under their own names, with values that are not checked yet. Entries
without an option are refused with the reason, never ignored.

    linger.ms=5                       ──┐
    queue.buffering.max.kbytes=1024   ──┼──▶ {"linger_ms": 5, "buffer_memory": 1048576, …}
    KAFKA_CLIENT_ID=web               ──┘
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from aioproducer.config.alias import Alias
from aioproducer.config.foreign_security import (
    ADVICE_SECURITY,
    AIOKAFKA,
    HARMLESS_SECURITY,
    LIBRDKAFKA_SECURITY,
)
from aioproducer.config.jaas import PROPERTY as JAAS
from aioproducer.config.jaas import parse_jaas
from aioproducer.config.kinds import INT_MAX, whole
from aioproducer.config.nearest import nearest
from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.config.jaas import JaasLogin
    from aioproducer.config.option import Option

logger: Final = logging.getLogger("aioproducer.config")


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
    **LIBRDKAFKA_SECURITY,
}

ALIASES = {"partitioner_class": Alias("partitioner"), **LIBRDKAFKA, **AIOKAFKA}

# Options that are not implemented yet, with their default as text: the default is accepted.
_NOT_IMPLEMENTED = {
    "client_rack": "",
    "config_providers": "",
    "enable_metrics_push": "false",
    "interceptor_classes": "",
    "metadata_cluster_check_enable": "false",
    "metric_reporters": "",
    "partitioner_rack_aware": "false",
    "transaction_two_phase_commit_enable": "false",
}

_JVM_ONLY = frozenset(
    {
        "auto_include_jmx_reporter",
        "buffer_memory_allocation_strategy",
        "sasl_client_callback_handler_class",
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
    return (
        name in _JVM_ONLY or name in _NOT_IMPLEMENTED or name in HARMLESS_SECURITY or name in ADVICE_SECURITY
    )


def refuse_foreign(name: str, value: object, options: Mapping[str, Option]) -> None:
    """Raise `ConfigurationError` for a name that is not in `options`, unless it has its default value.

    The value may be a secret, so the error never contains it.
    """
    # `linger.ms` and `linger_ms` are the same option.
    plain = name.replace(".", "_").lower()
    if not _is_known_elsewhere(plain):
        message = f"unknown option {name!r}: {_hint(name, plain, options)}"
    elif _is_harmless(plain, value):
        return
    elif plain in ADVICE_SECURITY:
        message = f"{name} is not an option here: {ADVICE_SECURITY[plain]}"
    elif plain in _JVM_ONLY:
        message = f"{name} has no meaning outside the JVM"
    else:
        message = f"{name} is not implemented yet"
    raise ConfigurationError(message, option=name)


def _is_harmless(plain: str, value: object) -> bool:
    text = _as_text(value).lower()
    return not text or text == _NOT_IMPLEMENTED.get(plain) or text in HARMLESS_SECURITY.get(plain, ())


def _hint(name: str, plain: str, options: Mapping[str, Option]) -> str:
    if plain in options:
        return f"as a keyword it is {plain}, in properties {options[plain].java_name}"
    if plain in ALIASES:
        return f"here it is {ALIASES[plain].option}{ALIASES[plain].unit}"
    if near := nearest(plain, options):
        return f"did you mean {(options[near].java_name if '.' in name else near)!r}?"
    return "the producer has no option with a similar name"


def _as_text(value: object) -> str:
    match value:
        case None:
            return ""
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value).strip()


def own_name(name: str) -> str:
    """Return our name of an option, which an unknown one keeps.

    >>> own_name("queue.buffering.max.ms"), own_name("sasl.password")
    ('linger_ms', 'sasl_password')
    """
    plain = name.replace(".", "_")
    return ALIASES[plain].option if plain in ALIASES else plain


def own_options(
    properties: Mapping[str, object], options: Mapping[str, Option], overrides: Mapping[str, object] = {}
) -> dict[str, object]:
    """Return the `options` in `properties` under their own names; strings are converted.

    `overrides` are further options, under their own names, which take precedence.
    """
    found: dict[str, object] = {}
    origin: dict[str, str] = {}
    login: JaasLogin | None = None

    def add(option: str, name: str, value: object) -> None:
        if option in found:
            message = f"{option} is given twice, as {origin[option]!r} and as {name!r}"
            raise ConfigurationError(message, option=option)
        origin[option], found[option] = name, value

    for name, value in properties.items():
        plain = name.replace(".", "_")
        alias = ALIASES.get(plain, Alias(plain))
        if plain == JAAS and isinstance(value, str):
            login = parse_jaas(name, value)
            for option, text in login.options.items():
                add(option, name, _login_value(text, options[option]))
        elif alias.option not in options:
            refuse_foreign(name, value, options)
        else:
            add(alias.option, name, _own_value(name, value, options[alias.option], alias))
    found |= overrides
    if login is not None:
        _check_login(login, found)
    return found


def _login_value(value: object, option: Option) -> object:
    # Spaces inside the quotes belong to a password.
    return option.read(value) if isinstance(value, str) and option.kind.read is not str else value


def _check_login(login: JaasLogin, found: Mapping[str, object]) -> None:
    mechanism = str(found.get("sasl_mechanism", "GSSAPI")).upper()
    if mechanism in login.mechanisms:
        return
    default = "" if "sasl_mechanism" in found else ", the default"
    message = (
        f"sasl.jaas.config has {login.module}, which is for sasl.mechanism={' or '.join(login.mechanisms)}, "
        f"but sasl.mechanism is {mechanism}{default}"
    )
    raise ConfigurationError(message, option="sasl_mechanism")


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
