"""SASLprep (RFC 4013): one spelling for each text, so that equal passwords give equal bytes.

For example, SASLprep turns U+00AA (ª) into "a" and removes a soft hyphen. It is a profile of
stringprep (RFC 3454), whose tables are in Python's standard library.
"""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

# RFC 3454 fixes Unicode 3.2: later characters are unassigned.
_PROHIBITED = (
    (stringprep.in_table_c12, "a space that is not ASCII"),
    (stringprep.in_table_c21_c22, "a control character"),
    (stringprep.in_table_c3, "a private use character"),
    (stringprep.in_table_c4, "a code point that is no character"),
    (stringprep.in_table_c5, "a surrogate"),
    (stringprep.in_table_c6, "a character unsuitable for plain text"),
    (stringprep.in_table_c7, "an ideographic description character"),
    (stringprep.in_table_c8, "a character that changes the display"),
    (stringprep.in_table_c9, "a tagging character"),
    (stringprep.in_table_a1, "a code point that Unicode 3.2 does not assign"),
)


def saslprep(text: str) -> str:
    """Return the prepared form of a stored string; raise ValueError, without the text, if it has none.

    >>> saslprep("m²")
    'm2'
    """
    mapped = "".join(
        [" " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)]
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    for char in prepared:
        for is_prohibited, kind in _PROHIBITED:
            if is_prohibited(char):
                message = f"it has {kind}"
                raise ValueError(message)
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    # Section 6 of RFC 3454: text with a right-to-left character has no left-to-right one, and
    # begins and ends right-to-left.
    if not any(map(stringprep.in_table_d1, text)):
        return
    if any(map(stringprep.in_table_d2, text)):
        message = "it mixes right-to-left and left-to-right characters"
        raise ValueError(message)
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        message = "it has right-to-left characters, but does not begin and end with one"
        raise ValueError(message)
