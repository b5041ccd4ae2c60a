"""The keyword arguments for type checkers are the declared options."""

from __future__ import annotations

import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from aioproducer.config import AllOptions, Partitioner, PartitionerName, ProducerOptions
from aioproducer.config.options import OPTIONS, Options

# The keyword accepts more than the checked option has.
PATH = str | os.PathLike[str] | None
WIDER: dict[str, Any] = {
    "acks": int | str,
    "bootstrap_servers": str | Sequence[str],
    "sasl_oauthbearer_extensions": Mapping[str, str] | Sequence[tuple[str, str]] | None,
    **{name: PATH for name, option in OPTIONS.items() if "path" in option.kind.expected},
}

# Kafka's name of the option `partitioner`.
ALIASES: dict[str, Any] = {"partitioner_class": PartitionerName | Partitioner}

PARAMETERS = {"bootstrap_servers", "key_serializer", "value_serializer"}
"""The options that are parameters of `Producer`."""


def shown(kind: object) -> str:
    if kind in (PartitionerName, Partitioner):
        return "PartitionerName" if kind == PartitionerName else "Partitioner"
    if get_origin(kind) in (Union, types.UnionType):
        return " | ".join(shown(one) for one in get_args(kind))
    if isinstance(kind, type) and get_origin(kind) is None:
        return "None" if kind is type(None) else kind.__name__
    return str(kind)


def test_keywords_match_options() -> None:
    """A failure prints the missing lines of `aioproducer/config/keywords.py`."""
    declared = get_type_hints(Options)
    expected = {name: declared[name] for name in OPTIONS} | WIDER | ALIASES
    found = get_type_hints(AllOptions)

    missing = [
        f"    {name}: {shown(kind)}"
        for name, kind in expected.items()
        if shown(found.get(name)) != shown(kind)
    ]

    assert not missing, "in keywords.py write:\n" + "\n".join(missing)
    assert found.keys() == expected.keys()


def test_producer_options_lack_parameters() -> None:
    assert AllOptions.__annotations__.keys() - ProducerOptions.__annotations__.keys() == PARAMETERS
