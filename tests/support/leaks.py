"""Recognisable secrets, and the search for them in every text that the package gives out.

with collected() as texts:          # logs, at every level
    texts.add_error(error)          # its causes, traceback with variables, attributes and pickle
    texts.add_objects(producer)     # the reprs of all objects that it leads to
"""

from __future__ import annotations

import base64
import io
import logging
import pickle
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aioproducer import ProducerError
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSWORD = "hunter2-the-password"  # noqa: S105 - made for these tests
WRONG = "hunter3-the-wrong-password"
TOKEN = "hunter4.the.token"  # noqa: S105
CLIENT_SECRET = "hunter5-the-client-secret"  # noqa: S105
PASSPHRASE = "hunter6-the-passphrase"  # noqa: S105

CA = Authority("Test CA")
KEY = CA.issue("client").key_pem(PASSPHRASE)
CHAIN = CA.issue("client").chain_pem


def forms(secret: str) -> Iterator[str]:
    """Yield a secret as text may show it."""
    yield secret
    yield repr(secret)[1:-1]
    yield base64.b64encode(secret.encode()).decode()
    # Each line of a PEM text alone.
    yield from (line for line in secret.splitlines() if len(line) > 40)


SECRETS = {
    form for secret in (PASSWORD, WRONG, TOKEN, CLIENT_SECRET, PASSPHRASE, KEY) for form in forms(secret)
}


CONNECTING = tuple(f"aioproducer.{layer}." for layer in ("net", "core", "sasl", "protocol"))
"""The packages whose frames are searched for secrets in their variables."""


class Texts:
    """Every text that was given out, with its place."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []

    def add(self, place: str, text: object) -> None:
        self._texts.append((place, str(text)))

    def add_error(self, error: BaseException) -> None:
        """Add an error with its causes, contexts, attributes, traceback and pickle."""
        self.add("traceback", "".join(traceback.format_exception(error)))
        for each in related(error):
            self.add("str", each)
            self.add("repr", repr(each))
            self.add("attributes", vars(each))
            self.add("notes", getattr(each, "__notes__", ()))
            for frame, _ in traceback.walk_tb(each.__traceback__):
                # Tools that report errors show the variables of each frame. The frames of a constructor
                # have the options, as the user's own frame has them.
                if frame.f_globals["__name__"].startswith(CONNECTING):
                    self.add(f"variables of {frame.f_code.co_name}", [*map(shown, frame.f_locals.values())])
            if isinstance(each, ProducerError):
                self.add("pickle", pickle.dumps(each))

    def add_objects(self, root: object) -> None:
        """Add the reprs of all objects of the package that `root` leads to."""
        for each in reachable(root):
            self.add(f"repr of {type(each).__name__}", repr(each))

    def leaks(self) -> list[tuple[str, str]]:
        return [(place, text) for place, text in self._texts if any(secret in text for secret in SECRETS)]

    def __contains__(self, text: str) -> bool:
        return any(text in each for _, each in self._texts)


def shown(value: object) -> str:
    """Return the repr, if there is one: not of an object whose constructor failed."""
    try:
        return repr(value)
    except AttributeError:
        return ""


def related(error: BaseException) -> list[BaseException]:
    """Return an error with its causes and contexts, and those of each address."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or any(each is other for other in found):
            continue
        found.append(each)
        waiting += [each.__cause__, each.__context__, *getattr(each, "causes", {}).values()]
    return found


def reachable(root: object) -> list[object]:
    """Return the objects of the package that `root` leads to, through attributes and containers."""
    found: list[object] = []
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += each
        if type(each).__module__.startswith("aioproducer"):
            found.append(each)
            waiting += attributes(each)
    return found


def attributes(each: object) -> list[object]:
    names = set(getattr(each, "__dict__", ()))
    for kind in type(each).__mro__:
        slots = getattr(kind, "__slots__", ())
        names.update((slots,) if isinstance(slots, str) else slots)
    return [getattr(each, name) for name in names if hasattr(each, name)]


def raises_secret() -> str:
    message = f"cannot use {PASSWORD} and {TOKEN}"
    raise RuntimeError(message)


def password(mechanism: str, value: object = PASSWORD) -> dict[str, Any]:
    return {"sasl_mechanism": mechanism, "sasl_username": "alice", "sasl_password": value}


def token(provider: Callable[[], Any]) -> dict[str, Any]:
    return {"sasl_mechanism": "OAUTHBEARER", "sasl_token_provider": provider, "request_timeout_ms": 1000}


@contextmanager
def collected() -> Iterator[Texts]:
    """Collect all logs, at every level; at the end no text may have a secret."""
    texts = Texts()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s"))
    names = ["asyncio", *[name for name in logging.root.manager.loggerDict if name.startswith("aioproducer")]]
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    levels = [logger.level for logger in loggers]
    logging.getLogger().addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield texts
    logging.getLogger().removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    texts.add("logs", stream.getvalue())
    assert texts.leaks() == []
