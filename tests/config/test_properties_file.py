"""The format of properties files: the same entries as in Java."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.config.properties_file import parse_properties
from aioproducer.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a = b\n  c : d\r\ne f\rg\th", {"a": "b", "c": "d", "e": "f", "g": "h"}),
        ("# a=b\n  ! c=d\n\n \t\f\ne=f", {"e": "f"}),
        ("a=b=c:d e", {"a": "b=c:d e"}),
        ("a   =:b", {"a": ":b"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=b", {"": "b"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=b  ", {"a": "b  "}),
        ("a=b#c", {"a": "b#c"}),
        ("a=1,\\\n    2,\\\r\n    3\nb=4", {"a": "1,2,3", "b": "4"}),
        ("a=1\\\n# 2", {"a": "1# 2"}),
        ("a=1\\\n\nb=2", {"a": "1", "b": "2"}),
        ("a=1\\", {"a": "1"}),
        ("\\", {"": ""}),
        ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        ("# a\\\nb=2", {"b": "2"}),
        (r"a\=b\:c\ d=e", {"a=b:c d": "e"}),
        (r"a=\t\n\r\f\\\z\"", {"a": '\t\n\r\f\\z"'}),
        (r"a=\u0041\u00e4", {"a": "Aä"}),
        (r"a=\uD83D\uDE00!", {"a": "😀!"}),
        (r"a=\\u0041", {"a": r"\u0041"}),
        (r"\u0061=b", {"a": "b"}),
    ],
)
def test_entries_match_java(text: str, entries: dict[str, str]) -> None:
    assert parse_properties(text) == entries


@pytest.mark.parametrize("text", [r"a=\u12", r"a=\uxyzw", r"\u=b"])
def test_truncated_escape_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="four hexadecimal digits"):
        parse_properties(text)


@given(st.text())
def test_any_text_is_handled(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert isinstance(parse_properties(text), dict)


@given(st.dictionaries(st.text("abc=: #!\\\t\f\n", min_size=1), st.text("abc=: #!\\\t\f\n")))
def test_escaped_entries_survive(entries: dict[str, str]) -> None:
    def escaped(text: str) -> str:
        return "".join(f"\\u{ord(character):04x}" for character in text)

    text = "\n".join(f"{escaped(key)}={escaped(value)}" for key, value in entries.items())
    assert parse_properties(text) == entries
