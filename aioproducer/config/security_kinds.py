"""The kinds of the options of TLS and SASL.

A secret is a string that never shows, or a callable that gives it: such a config holds no secret.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from aioproducer.config.kinds import LONG_MAX, HoldsSecretError, Kind, choice, whole
from aioproducer.config.nearest import nearest

Credential: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A user name or a password, or a sync or async callable that returns it."""

TokenProvider: TypeAlias = Callable[[], Any]
"""A sync or async callable that returns a token: a string, or a token with its expiry."""

MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM")

# Neither a certificate nor a key has a colon in its base64; an old encrypted key has headers before it:
# "DEK-Info: AES-256-CBC,…".
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)

_TOKEN_NAME = re.compile("[A-Za-z]+")


def _take_context(value: object) -> ssl.SSLContext | None:
    if value is None:
        return None
    if not isinstance(value, ssl.SSLContext):
        raise ValueError  # noqa: TRY004 - a kind refuses with ValueError
    if value.protocol == ssl.PROTOCOL_TLS_SERVER:
        reason = "it is a context for servers"
        raise ValueError(reason)
    return value


def _read_nothing(_text: str) -> object:
    raise ValueError


CONTEXT: Final = Kind("an ssl.SSLContext for clients, or None", _take_context, _read_nothing)


def _take_path(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise ValueError  # noqa: TRY004 - a kind refuses with ValueError
    path = os.fspath(value)
    if isinstance(path, bytes) or not path or "\0" in path:
        raise ValueError
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        reason = "the file system cannot have such a name"
        raise ValueError(reason) from None
    if "-----BEGIN" in path:
        reason = "that is the text of a PEM file"
        raise HoldsSecretError(reason)
    return path


PATH: Final = Kind("the path of a file, or None", _take_path)


def _pem(label: str) -> Callable[[object], str | None]:
    def take(value: object) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004 - a kind refuses with ValueError
        # Environment variables often have a backslash and an n for the end of a line.
        blocks = _PEM_BLOCK.findall(value.replace("\\n", "\n"))
        if not any(kind.endswith(label) for kind, _ in blocks):
            # A key in the place of certificates is a secret.
            reason = f"it has no block -----BEGIN {label}-----"
            raise HoldsSecretError(reason)
        if not all(body.isascii() for _, body in blocks):
            reason = "a block has characters that are not ASCII"
            raise HoldsSecretError(reason)
        return "".join(_pem_block(kind, body) for kind, body in blocks)

    return take


def _pem_block(kind: str, body: str) -> str:
    if ":" not in body:
        # Java accepts spaces for the ends of lines, OpenSSL does not.
        base64 = "".join(body.split())
        body = "\n".join(base64[start : start + 64] for start in range(0, len(base64), 64))
    return f"-----BEGIN {kind}-----\n{body.strip()}\n-----END {kind}-----\n"


CERTIFICATES: Final = Kind("certificates as PEM text, or None", _pem("CERTIFICATE"))
PRIVATE_KEY: Final = Kind("a private key as PEM text, or None", _pem("PRIVATE KEY"), is_secret=True)


def _take_algorithm(value: object) -> str:
    match value:
        # librdkafka's word for no check of the name is "none".
        case None | "":
            return ""
        case str() if value.lower() in ("https", "none"):
            return "https" if value.lower() == "https" else ""
        case _:
            raise ValueError


ENDPOINT_IDENTIFICATION: Final = Kind("'https', or '' (or 'none') for no check", _take_algorithm)


def _take_mechanism(value: object) -> str:
    match value:
        case str() if value.upper() in MECHANISMS:
            return value.upper()
        case str() if near := nearest(value.upper(), MECHANISMS):
            reason = f"did you mean {near!r}?"
            raise ValueError(reason)
        case _:
            raise ValueError


MECHANISM: Final = Kind(f"one of {', '.join(map(repr, MECHANISMS))}", _take_mechanism)
ALGORITHM: Final = choice("RS256", "ES256")


def _take_text(value: object) -> str | None:
    match value:
        case None:
            return None
        case str() if value and _is_text(value):
            return value
        case _:
            raise ValueError


def _is_text(value: str) -> bool:
    # A lone surrogate has no UTF-8, and the error of the encoder would show the secret.
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _take_credential(value: object) -> object:
    return value if callable(value) else _take_text(value)


TEXT: Final = Kind("a non-empty string, or None", _take_text)
SECRET: Final = Kind("a non-empty string, or None", _take_text, is_secret=True)
USERNAME: Final = Kind("a non-empty string, a callable that returns it, or None", _take_credential)
PASSWORD: Final = USERNAME._replace(is_secret=True)


def _take_provider(value: object) -> object:
    if value is None or callable(value):
        return value
    raise ValueError


PROVIDER: Final = Kind("a callable that returns a token, or None", _take_provider, _read_nothing, True)  # noqa: FBT003 - is_secret: it may hold a token


def _take_url(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError  # noqa: TRY004 - a kind refuses with ValueError
    try:
        parts = urlsplit(value)
        # Asking for the port checks it.
        _ = parts.port
    except ValueError:
        # Not its reason: "https://me:secret@[host" may hold credentials all the same.
        reason = "its host or its port is malformed"
        raise HoldsSecretError(reason) from None
    if "@" in parts.netloc:
        reason = "credentials do not belong in it"
        raise HoldsSecretError(reason)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError
    if not all(character.isprintable() and character != " " for character in value):
        reason = "it has spaces or characters that no URL has"
        raise ValueError(reason)
    return value


URL: Final = Kind("a URL that begins with https:// or http://, or None", _take_url)


def _take_extensions(value: object) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    pairs: object = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple):
        raise ValueError  # noqa: TRY004 - a kind refuses with ValueError
    taken = tuple(_extension(pair) for pair in pairs)
    if len(dict(taken)) != len(taken):
        reason = "a name is given twice"
        raise ValueError(reason)
    return taken


def _extension(pair: object) -> tuple[str, str]:
    match pair:
        case (str() as name, str() as text):
            pass
        case _:
            raise ValueError
    # RFC 7628: names are letters, values printable ASCII; "auth" is the token itself.
    if not _TOKEN_NAME.fullmatch(name) or name == "auth":
        reason = f"the name {name!r} must be letters, and not 'auth'"
        raise ValueError(reason)
    if not text or not all(" " <= character <= "~" or character in "\t\r\n" for character in text):
        reason = f"the value of {name!r} must be printable ASCII, and not empty"
        raise ValueError(reason)
    return name, text


def _read_extensions(text: str) -> object:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError
    return [(name.strip(), value.strip()) for name, _, value in pairs]


EXTENSIONS: Final = Kind(
    "a mapping of names to strings, or None; as text name=value,…", _take_extensions, _read_extensions
)


def share(low: float, high: float) -> Kind:
    """Return the kind of a number from `low` to `high`, with a fraction."""

    def take(value: object) -> float:
        match value:
            case bool():
                raise ValueError
            case int() | float() if low <= value <= high:
                return value
            case _:
                raise ValueError

    return Kind(f"a number from {low} to {high}", take, float)


def _take_limit(value: object) -> object:
    return None if value is None else whole(1, LONG_MAX).take(value)


LIMIT: Final = Kind(f"a whole number from 1 to {LONG_MAX}, or None", _take_limit, int)
