"""SASLprep: the examples of RFC 4013, and each prohibited table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.sasl.saslprep import saslprep


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),  # the soft hyphen is mapped to nothing
        ("user", "user"),
        ("USER", "USER"),  # case is kept
        ("\u00aa", "a"),  # compatibility form
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),  # other spaces
        ("a\u2003b", "a b"),
        ("e\u0301", "\u00e9"),
        ("m²", "m2"),
        ("", ""),
        ("\u00ad", ""),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
    ],
)
def test_prepared_forms(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\u0007", "a control character"),
        ("a\x7fb", "a control character"),
        ("a\u0085b", "a control character"),
        ("\ue000", "a private use character"),
        ("\ufdd0", "a code point that is no character"),
        ("\ud800", "a surrogate"),
        ("\ufffd", "a character unsuitable for plain text"),
        ("\u2ff0", "an ideographic description character"),
        ("\u202e", "a character that changes the display"),
        ("\U000e0041", "a tagging character"),
        ("\u0221", "a code point that Unicode 3.2 does not assign"),
        ("\U0001f600", "a code point that Unicode 3.2 does not assign"),
        ("\u0627\u0031", "right-to-left characters, but does not begin and end"),
        ("\u0031\u0627", "right-to-left characters, but does not begin and end"),
        ("\u0627a\u0628", "mixes right-to-left and left-to-right"),
    ],
)
def test_prohibited_texts(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        saslprep(text)


@given(st.text())
def test_any_text_is_prepared_or_refused(text: str) -> None:
    try:
        prepared = saslprep(text)
    except ValueError:
        return
    assert saslprep(prepared) == prepared


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_ascii_is_unchanged(text: str) -> None:
    assert saslprep(text) == text
