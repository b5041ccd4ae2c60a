"""An extension of griffe: doctests in docstrings are shown as code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import griffe

if TYPE_CHECKING:
    from griffe import Object

# From the first prompt to the next empty line: prompts, continued lines and their output.
_DOCTEST = re.compile(r"(?m)^>>> .*(?:\n(?!$).*)*")


class FencedDoctests(griffe.Extension):
    """Puts doctests between fences; Markdown would take them for quotations and links."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Change the docstring of a class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
