"""The format of `.properties` files, as in `java.util.Properties`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aioproducer.errors import ConfigurationError

_LINE_END = re.compile(r"\r\n|\r|\n")
_ENTRY = re.compile(r"\A((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)\Z", re.DOTALL)
_ESCAPE = re.compile(r"((?:\\u[0-9A-Fa-f]{4})+)|\\(.)", re.DOTALL)


def read_properties(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a `.properties` file in UTF-8; raises OSError and ConfigurationError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = None
    # Outside of the `except`: a UnicodeDecodeError holds the whole file, with its secrets.
    if text is None:
        message = f"{os.fspath(path)} is not a properties file in UTF-8"
        raise ConfigurationError(message)
    return parse_properties(text)


def parse_properties(text: str) -> dict[str, str]:
    """Parse a `.properties` file like `java.util.Properties.load`; the last of equal keys wins."""
    properties: dict[str, str] = {}
    for line in _logical_lines(text):
        [(key, value)] = _ENTRY.findall(line)
        properties[_unescape(key)] = _unescape(value)
    return properties


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    continues = False
    for natural in _LINE_END.split(text):
        line = natural.lstrip(" \t\f")
        if not continues and (not line or line[0] in "#!"):
            continue
        head = lines.pop() if continues else ""
        # Pairs of backslashes are escaped backslashes; a single one continues the line.
        continues = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        lines.append(head + (line[:-1] if continues else line))
    return lines


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(escape: re.Match[str]) -> str:
    units, character = escape.groups()
    if units:
        # Java's escapes are UTF-16: some characters take two escapes.
        return bytes.fromhex(units.replace("\\u", "")).decode("utf-16-be", "replace")
    if character == "u":
        message = "a properties file has \\u without four hexadecimal digits after it"
        raise ConfigurationError(message)
    return {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(character, character)
