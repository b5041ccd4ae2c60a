"""All options of the producer: the general ones, then those of security.

`general_options` and `security_options` declare each option once, as a field. `OPTIONS` is the same list
for documentation and for other sources of options.

To add an option, add its field there and its line in `keywords.py`; for a time its `Seconds` as well. If
`foreign` lists it as not implemented, remove it there.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Final, get_type_hints

from aioproducer.config.option import Option
from aioproducer.config.security_options import SecurityOptions as Options

__all__ = ["OPTIONS", "Options", "group_of", "options_doc"]


def _options() -> dict[str, Option]:
    hints = get_type_hints(Options, include_extras=True)
    options = {}
    for declared in fields(Options):
        kind, doc = hints[declared.name].__metadata__
        default = None if declared.default is MISSING else declared.default
        options[declared.name] = Option(declared.name, kind, default, doc)
    return options


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(_options())
"""Every option by name, in order; `bootstrap_servers`, which is required, has the default None."""


def group_of(name: str) -> str:
    """Return the group of an option in the documentation."""
    if name.startswith(("ssl_", "enable_ssl_")):
        return "TLS"
    # `https_ca_location` is of the token endpoint.
    return "SASL" if name.startswith(("sasl_", "https_")) else "General"


def options_doc() -> str:
    """Return a line for each option that has a default."""
    return "".join(
        f"{name}={option.default!r}: {option.doc}\n"
        for name, option in OPTIONS.items()
        if name != "bootstrap_servers"
    )
