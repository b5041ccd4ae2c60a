"""Checks for every message: it survives a round trip, agrees with kio, and fails cleanly."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.serial import entity_reader, entity_writer

from aioproducer.errors import ProtocolError
from aioproducer.protocol.fields import ZERO_UUID
from aioproducer.protocol.reader import Reader
from aioproducer.protocol.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from hypothesis.strategies import SearchStrategy

    from aioproducer.protocol.api import Message

M = TypeVar("M", bound="Message")

int16 = st.integers(-(2**15), 2**15 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
nullable_texts = st.none() | texts
topic_ids: SearchStrategy[UUID] = st.just(ZERO_UUID) | st.uuids()
# kio supports only these codes, reads times as whole seconds, and 35 changes the form of ApiVersions.
error_codes = st.sampled_from([int(code) for code in KioErrorCode if code != 35])
timestamps = st.just(-1) | st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1000)

few_examples = settings(max_examples=25, deadline=None)


def tuples_of(elements: SearchStrategy[Any]) -> SearchStrategy[tuple[Any, ...]]:
    return st.lists(elements, max_size=3).map(tuple)


def present(condition: bool, **fields: SearchStrategy[Any]) -> dict[str, SearchStrategy[Any]]:  # noqa: FBT001
    """Return `fields` if the version has them; other fields keep their defaults."""
    return fields if condition else {}


def versions_of(kind: type[Message]) -> Iterable[int]:
    return range(kind.versions.min, kind.versions.max + 1)


def encode(message: Message, version: int) -> bytes:
    writer = Writer(flexible=version >= message.flexible_from)
    message.write(writer, version)
    encoded = b"".join(writer.chunks())
    assert len(encoded) == writer.size
    return encoded


def decode(kind: type[M], data: bytes, version: int) -> M:
    reader = Reader(data, flexible=version >= kind.flexible_from)
    message = kind.read(reader, version)
    reader.expect_end()
    return message


def assert_encoded(message: Message, version: int, expected: str) -> None:
    """Compare with hand-written bytes, in both directions."""
    assert encode(message, version).hex() == expected.replace(" ", "")
    assert decode(type(message), bytes.fromhex(expected), version) == message


def assert_survives(message: Message, version: int) -> None:
    """Read the written bytes with our classes and with kio, and compare with the bytes of kio."""
    ours = encode(message, version)
    assert decode(type(message), ours, version) == message

    kind = _kio_class(message, version)
    theirs, size = entity_reader(kind)(ours, 0)
    assert size == len(ours)
    _assert_same(message, theirs)

    buffer = io.BytesIO()
    entity_writer(kind)(buffer, theirs)
    assert buffer.getvalue() == ours


def assert_fails_cleanly(message: Message, version: int) -> None:
    """Check that truncated bytes are a ProtocolError, and changed bytes one or another message."""
    data = encode(message, version)
    for end in range(len(data)):
        with pytest.raises(ProtocolError):
            decode(type(message), data[:end], version)
    with pytest.raises(ProtocolError):
        decode(type(message), data + b"\x00", version)
    for at in range(len(data)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF, data[at] ^ 0x01):
            mutated = data[:at] + bytes([value]) + data[at + 1 :]
            try:
                decode(type(message), mutated, version)
            except ProtocolError:
                continue


def _kio_class(message: Message, version: int) -> Any:  # noqa: ANN401 -- kio has a class a version
    name = type(message).__name__
    part = "request" if name.endswith("Request") else "response"
    api = message.api_key.name.lower()
    return getattr(import_module(f"kio.schema.{api}.v{version}.{part}"), name)


def _assert_same(ours: Any, theirs: Any) -> None:  # noqa: ANN401 -- kio has a class a version
    names = {field.name for field in dataclasses.fields(ours)}
    for field in dataclasses.fields(theirs):
        name = field.name if field.name in names else f"{field.name}_ms"
        mine, its = getattr(ours, name), getattr(theirs, field.name)
        if isinstance(mine, tuple) and mine and dataclasses.is_dataclass(mine[0]):
            assert len(mine) == len(its)
            for ours_too, theirs_too in zip(mine, its, strict=True):
                _assert_same(ours_too, theirs_too)
        elif dataclasses.is_dataclass(mine):
            _assert_same(mine, its)
        else:
            assert mine == _plain(its, mine), name


def _plain(value: object, like: object) -> object:
    match value:
        case None if like == ZERO_UUID:
            return ZERO_UUID
        case None if isinstance(like, int):
            return -1
        case dt.timedelta():
            return round(value / dt.timedelta(milliseconds=1))
        case dt.datetime():
            return round(value.timestamp() * 1000)
        case _:
            return value
