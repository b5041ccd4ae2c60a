"""The parts of the pages that the code tells: a hook of MkDocs.

A page names a part in a comment, which the hook replaces:

    <!-- generated: options -->             every option, its default and its values
    <!-- generated: errors -->              the tree of errors
    <!-- generated: help produce -->        what a command prints with --help
    <!-- generated: testing help -->        what `python -m aioproducer.testing --help` prints
    <!-- generated: failure wrong-password -->   the message of one of the failures in `failures.py`
    <!-- generated: api of errors -->       directives of mkdocstrings for the errors
    <!-- generated: api of tests -->        likewise for the smaller classes of `aioproducer.testing`
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aioproducer import ProducerError, cli, testing
from aioproducer.config import OPTIONS
from aioproducer.config.options import group_of
from aioproducer.testing import __main__ as testing_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PART = re.compile(r"<!-- generated: (.+?) -->")
_LARGE = {str(2**31 - 1): "2³¹-1", str(2**63 - 1): "2⁶³-1"}
_WIDTH = "96"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the generated parts of a page; MkDocs calls this."""
    return _PART.sub(lambda found: _part(found[1]), markdown)


def options() -> str:
    """Return the tables of options, one for each group."""
    return "\n".join(f"### {group}\n\n{_options_of(group)}" for group in ("General", "TLS", "SASL"))


def _options_of(group: str) -> str:
    rows = [
        (f"`{name}`", _default(name), _short(option.kind.expected), option.doc)
        for name, option in OPTIONS.items()
        if group_of(name) == group
    ]
    return _table(("option", "default", "must be", "meaning"), rows)


def errors() -> str:
    """Return the table of errors, each below its base class."""
    return _table(
        ("error", "is also a", "class", "meaning"),
        [_error_row(*place) for place in _error_tree(ProducerError, 0)],
    )


def command_help(*command: str) -> str:
    """Return what `aioproducer COMMAND --help` prints."""
    return _help(cli.main, [*command, "--help"])


def testing_help() -> str:
    """Return what `python -m aioproducer.testing --help` prints."""
    return _help(testing_command.main, ["--help"])


def api_of_errors() -> str:
    """Return the directives that describe every error, base classes first."""
    return "\n".join(f"::: aioproducer.{kind.__name__}\n" for kind, _ in _error_tree(ProducerError, 0))


def api_of_tests() -> str:
    """Return the directives for what the page itself does not name."""
    named = {"ApiKey", "ErrorCode", "FakeCluster", "MockProducer"}
    classes = [name for name in testing.__all__ if isinstance(getattr(testing, name), type)]
    return "\n".join(f"::: aioproducer.testing.{name}\n" for name in classes if name not in named)


def failure(name: str) -> str:
    """Return the message of a failure, which happens on a fake cluster here and now."""
    # MkDocs loads a hook by its path, so modules beside it are not found by name.
    spec = importlib.util.spec_from_file_location("failures", Path(__file__).with_name("failures.py"))
    assert spec is not None  # noqa: S101 - the file exists
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # Without their warnings: the failure is on purpose.
    logging.disable(logging.WARNING)
    try:
        message = asyncio.run(module.message_of(name))
    finally:
        logging.disable(logging.NOTSET)
    return f"```text\n{message}\n```\n"


def _part(name: str) -> str:
    fixed = {
        "options": options,
        "errors": errors,
        "testing help": testing_help,
        "api of errors": api_of_errors,
        "api of tests": api_of_tests,
    }
    if name in fixed:
        return fixed[name]()
    match name.split():
        case ["help", *command]:
            return command_help(*command)
        case ["failure", which]:
            return failure(which)
        case _:
            message = f"there is no generated part {name!r}"
            raise ValueError(message)


def _default(name: str) -> str:
    if name == "bootstrap_servers":
        return "required"
    default = repr(OPTIONS[name].default)
    return _LARGE.get(default, f"`{default}`")


def _short(text: str) -> str:
    for number, name in _LARGE.items():
        text = text.replace(number, name)
    return text


def _error_tree(kind: type[ProducerError], depth: int) -> Iterator[tuple[type[ProducerError], int]]:
    yield kind, depth
    for derived in kind.__subclasses__():
        yield from _error_tree(derived, depth + 1)


def _error_row(kind: type[ProducerError], depth: int) -> tuple[str, ...]:
    bases = (
        [] if kind is ProducerError else [base for base in kind.__bases__ if base.__module__ == "builtins"]
    )
    traits = [trait for trait in ("retriable", "abortable", "fatal") if getattr(kind, trait)]
    if kind.__name__ == "BrokerError":
        traits = ["from its `code`"]
    meaning = (kind.__doc__ or "").splitlines()[0]
    names = ", ".join(f"`{base.__name__}`" for base in bases)
    return "· " * depth + f"`{kind.__name__}`", names, ", ".join(traits), meaning


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("<", "&lt;")


def _help(main: Callable[[list[str]], int], arguments: list[str]) -> str:
    printed = io.StringIO()
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS=_WIDTH, NO_COLOR="1")
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main(arguments)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return f"```text\n{printed.getvalue().rstrip()}\n```\n"
