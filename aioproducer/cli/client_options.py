"""The options of a command's client, under Kafka's names.

The first source that has an option counts:

    -b, -X, --producer-props  ▸  --config-file  ▸  KAFKA_* variables

Secrets belong into the last two: other users of the machine can read the arguments of a process, and
the shell keeps them.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from aioproducer.config import OPTIONS
from aioproducer.config.foreign import environment_properties, own_name
from aioproducer.config.jaas import PROPERTY as JAAS
from aioproducer.config.options import group_of
from aioproducer.config.properties_file import read_properties
from aioproducer.errors import ConfigurationError
from aioproducer.net.causes import cause_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

PREFIX: Final = "KAFKA_"

_SERVERS: Final = "bootstrap_servers"


def add_config_file_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a file of properties; the other names are those of Kafka's tools."""
    parser.add_argument(
        "-F",
        "--config-file",
        "--command-config",
        "--producer.config",
        dest="config_file",
        metavar="FILE",
        help=f"properties of the producer, secrets too; variables {PREFIX}* are read as well",
    )


def add_properties_option(parser: argparse.ArgumentParser) -> None:
    """Add `-X NAME=VALUE`."""
    parser.add_argument(
        "-X",
        dest="properties",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="option of the producer, under Kafka's name (linger.ms=20); secrets belong into a file",
    )


def given_properties(arguments: argparse.Namespace, first: Mapping[str, object] = {}) -> dict[str, object]:
    """Return the options `first`, those in the arguments and in their file; raises ConfigurationError.

    Warns of secrets in the arguments.
    """
    in_arguments = _parse_pairs(arguments.properties)
    _warn_of_secrets(in_arguments)
    in_file = {} if arguments.config_file is None else _read_file(arguments.config_file)
    return _layered(first, in_arguments, in_file)


def all_properties(given: Mapping[str, object], *, is_embedded: bool) -> dict[str, object]:
    """Return the `given` options and those of the environment, without servers.

    The embedded broker has neither TLS nor SASL, so options about them do not apply to it.
    """
    variables = environment_properties(os.environ, PREFIX, OPTIONS)
    properties = _layered(given, variables)
    if is_embedded:
        properties = {name: value for name, value in properties.items() if not _is_about_security(name)}
    return {name: value for name, value in properties.items() if own_name(name) != _SERVERS}


def named_in(properties: Mapping[str, object]) -> str | None:
    """Return the bootstrap servers among the properties."""
    return next(
        (str(value) for name, value in properties.items() if own_name(name) == _SERVERS and value), None
    )


def _parse_pairs(pairs: Iterable[str]) -> dict[str, object]:
    properties: dict[str, object] = {}
    for number, pair in enumerate(pairs, 1):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            # Not the text itself: `-X "sasl.password hunter2"` has a secret.
            message = f"a property has the form name=value; number {number} does not"
            raise ConfigurationError(message)
        properties[name.strip()] = value
    return properties


def _read_file(path: str) -> dict[str, str]:
    try:
        return read_properties(path)
    except OSError as error:
        message = f"{path}: {cause_of(error)}"
        raise ConfigurationError(message) from None


def _layered(*sources: Mapping[str, object]) -> dict[str, object]:
    """Return the properties of all sources; the first that has an option counts."""
    properties: dict[str, object] = {}
    taken: set[str] = set()
    for source in sources:
        # One source may have an option under two names: from_properties refuses that later.
        properties |= {name: value for name, value in source.items() if own_name(name) not in taken}
        taken |= {own_name(name) for name in source}
    return properties


def _warn_of_secrets(properties: Mapping[str, object]) -> None:
    names = [name for name in properties if _is_secret(own_name(name))]
    if names:
        print(
            f"aioproducer: {', '.join(names)} among the arguments: other users of this machine can read "
            f"them, and the shell keeps them; use --config-file or {PREFIX}{own_name(names[0]).upper()}",
            file=sys.stderr,
        )


def _is_secret(option: str) -> bool:
    return option == JAAS or (option in OPTIONS and OPTIONS[option].kind.is_secret)


def _is_about_security(name: str) -> bool:
    option = own_name(name)
    return option in (JAAS, "security_protocol") or group_of(option) in ("TLS", "SASL")
