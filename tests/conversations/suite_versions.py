"""The versions of a broker, and its answers to unknown versions and malformed requests."""

from __future__ import annotations

from functools import partial

from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse
from tests.conversations.conversation import CLOSED, Conversation, Exchange, RequestMaker, about_orders
from tests.conversations.requests import ask, changed, init_producer_id, metadata, produce, raw, raw_bytes
from tests.testing.batches import make_batch

NEWEST = "NONE, PRODUCE 0-13, METADATA 0-13, API_VERSIONS 0-4, INIT_PRODUCER_ID 0-5"
OLDER = "NONE, PRODUCE 0-9, METADATA 0-12, API_VERSIONS 0-3, INIT_PRODUCER_ID 0-4"
OLDEST = "NONE, PRODUCE 0-9, METADATA 0-11, API_VERSIONS 0-3, INIT_PRODUCER_ID 0-4"
UNSUPPORTED_NEWEST = "UNSUPPORTED_VERSION, API_VERSIONS 0-4"
UNSUPPORTED_OLDER = "UNSUPPORTED_VERSION, API_VERSIONS 0-3"

SOFTWARE = ApiVersionsRequest(client_software_name="raw", client_software_version="1.0")
UNKNOWN_API = 9999

# One tagged field: its tag, its size, its two bytes.
TAGGED = bytes.fromhex("01 63 02 abcd")

# Offsets of the client's name in a frame, without the size.
NAME, NAME_END = 8, 13


def tagged_in_header(frame: bytes) -> bytes:
    return frame[:NAME_END] + TAGGED + frame[NAME_END + 1 :]


def with_client_name(name: bytes, frame: bytes) -> bytes:
    return frame[:NAME] + name + frame[NAME_END:]


def all_versions(request: RequestMaker) -> Exchange:
    """Expect the full list of versions from every broker."""
    return Exchange(request, NEWEST, OLDER, OLDEST)


def with_software(name: str, version: str) -> RequestMaker:
    return ask(ApiVersionsRequest(client_software_name=name, client_software_version=version), 3)


def unknown_version(version: int, body: bytes) -> Exchange:
    """Request versions in an unknown version; the response has version 0."""
    request = raw(ApiKey.API_VERSIONS, version, body, answer=ApiVersionsResponse)
    return Exchange(request, UNSUPPORTED_NEWEST, UNSUPPORTED_OLDER)


CONVERSATIONS = [
    *[
        Conversation(f"ApiVersions v{version}", (all_versions(ask(SOFTWARE, version)),))
        for version in range(4)
    ],
    Conversation("ApiVersions v4", (Exchange(ask(SOFTWARE, 4), NEWEST, UNSUPPORTED_OLDER),)),
    Conversation(
        "ApiVersions in an unknown version is answered in version 0",
        (
            unknown_version(99, bytes.fromhex("00 04 72617700 01 31 00")),
            unknown_version(-1, b""),
            # The broker reads an unknown version as flexible: its header ends with tagged fields.
            Exchange(raw(ApiKey.API_VERSIONS, 99, b""), CLOSED),
            all_versions(ask(SOFTWARE, 0)),
        ),
    ),
    *[
        Conversation(
            f"ApiVersions v3 with {name!r} {version!r} for the client's software",
            (Exchange(with_software(name, version), "INVALID_REQUEST"), all_versions(ask(SOFTWARE, 0))),
        )
        for name, version in (
            ("", ""),
            ("raw", ""),
            ("no good", "1.0"),
            ("raw", "-1.0"),
            ("raw.", "1.0"),
            ("räw", "1.0"),
        )
    ],
    Conversation(
        "ApiVersions v3 with every kind of letter for the client's software",
        (all_versions(with_software("a.b-C", "1.0-rc.1")),),
    ),
    Conversation(
        "an unknown API closes the connection",
        (Exchange(raw(UNKNOWN_API, 0, b""), CLOSED), Exchange(raw(-1, 0, b""), CLOSED)),
    ),
    Conversation(
        "an unknown version closes the connection",
        (
            Exchange(raw(ApiKey.METADATA, 99, b"\0" * 10), CLOSED),
            Exchange(raw(ApiKey.METADATA, -1, b"\0" * 10), CLOSED),
            Exchange(raw(ApiKey.INIT_PRODUCER_ID, 99, b"\0" * 10), CLOSED),
            Exchange(raw(ApiKey.PRODUCE, 99, b"\0" * 10), CLOSED),
            Exchange(raw(ApiKey.PRODUCE, -1, b"\0" * 10), CLOSED),
        ),
    ),
    Conversation(
        "bytes that are no request close the connection",
        (
            Exchange(raw_bytes(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"), CLOSED),
            Exchange(raw_bytes(bytes.fromhex("16030100c8010000c40303")), CLOSED),
            Exchange(raw_bytes((-1).to_bytes(4, "big", signed=True)), CLOSED),
            Exchange(raw_bytes((2**31 - 1).to_bytes(4, "big")), CLOSED),
            Exchange(raw_bytes((100 * 1024 * 1024 + 1).to_bytes(4, "big")), CLOSED),
            Exchange(raw_bytes(bytes(4)), CLOSED),
            Exchange(raw_bytes((3).to_bytes(4, "big") + b"abc"), CLOSED),
            Exchange(raw_bytes((20).to_bytes(4, "big") + b"\xff" * 20), CLOSED),
        ),
    ),
    about_orders(
        "a truncated request closes the connection",
        Exchange(changed(produce(make_batch(b"a"), acks=1), lambda frame: frame[:-1]), CLOSED),
        Exchange(changed(produce(make_batch(b"a"), acks=1, version=8), lambda frame: frame[:-1]), CLOSED),
        Exchange(changed(metadata("orders"), lambda frame: frame[:-1]), CLOSED),
        Exchange(changed(init_producer_id(3), lambda frame: frame[:-1]), CLOSED),
        Exchange(changed(ask(SOFTWARE, 3), lambda frame: frame[:-1]), CLOSED),
        Exchange(produce(make_batch(b"a"), acks=1), "orders-0 NONE at 0, log from 0"),
    ),
    about_orders(
        "bytes after a request are ignored",
        Exchange(
            changed(produce(make_batch(b"a")), lambda frame: frame + b"more"),
            "orders-0 NONE at 0, log from 0",
        ),
        all_versions(changed(ask(SOFTWARE, 0), lambda frame: frame + b"more")),
        Exchange(changed(init_producer_id(0), lambda frame: frame + b"more"), "NONE, an id, epoch 0"),
    ),
    about_orders(
        "unknown tagged fields are ignored",
        Exchange(
            changed(produce(make_batch(b"a")), lambda frame: frame[:-1] + TAGGED),
            "orders-0 NONE at 0, log from 0",
        ),
        Exchange(changed(init_producer_id(2), lambda frame: frame[:-1] + TAGGED), "NONE, an id, epoch 0"),
        Exchange(changed(init_producer_id(2), tagged_in_header), "NONE, an id, epoch 0"),
        Exchange(
            changed(produce(make_batch(b"a")), lambda frame: frame[:-1] + TAGGED[:-1]),
            CLOSED,
        ),
    ),
    Conversation(
        "a client without a name",
        tuple(
            [
                Exchange(
                    changed(init_producer_id(version), partial(with_client_name, name)),
                    "NONE, an id, epoch 0",
                )
                for version, name in ((0, b"\xff\xff"), (2, b"\xff\xff"), (2, b"\0\0"))
            ]
        ),
    ),
    Conversation(
        "a client name without UTF-8",
        tuple(
            [
                Exchange(
                    changed(init_producer_id(2), partial(with_client_name, name)), "NONE, an id, epoch 0"
                )
                for name in (b"\0\2\xff\xff", b"\xff\xfe")
            ]
        ),
    ),
    *[
        Conversation(
            f"InitProducerId v{version} gives an id",
            (Exchange(init_producer_id(version), "NONE, an id, epoch 0", CLOSED if version > 4 else None),),
        )
        for version in range(6)
    ],
    *[
        Conversation(
            f"InitProducerId v{version} with an id or an epoch, and no transactional id",
            (
                Exchange(init_producer_id(version, producer_id=5, producer_epoch=2), "NONE, an id, epoch 0"),
                Exchange(init_producer_id(version, producer_id=5), "INVALID_REQUEST, id -1, epoch -1"),
                Exchange(init_producer_id(version, producer_epoch=2), "INVALID_REQUEST, id -1, epoch -1"),
            ),
        )
        for version in (3, 4)
    ],
    Conversation(
        "InitProducerId with an empty transactional id",
        (Exchange(init_producer_id(4, transactional_id=""), "INVALID_REQUEST, id -1, epoch -1"),),
    ),
]
