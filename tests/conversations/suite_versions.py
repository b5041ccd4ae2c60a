"""Which versions a broker speaks, and what it does when it is spoken to in others."""

from __future__ import annotations

from functools import partial

from aioproducer.protocol.api import ApiKey
from aioproducer.protocol.api_versions import ApiVersionsRequest, ApiVersionsResponse
from tests.conversations.conversation import CLOSED, Conversation, Line, Turn, about_orders
from tests.conversations.lines import ask, changed, init_producer_id, metadata, produce, raw, raw_bytes
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

# Where the client's name stands in a frame behind its size, and where it ends.
NAME, NAME_END = 8, 13


def tagged_in_header(frame: bytes) -> bytes:
    return frame[:NAME_END] + TAGGED + frame[NAME_END + 1 :]


def called(name: bytes, frame: bytes) -> bytes:
    return frame[:NAME] + name + frame[NAME_END:]


def told(line: Line) -> Turn:
    """Ask for the versions in a way that every broker understands."""
    return Turn(line, NEWEST, OLDER, OLDEST)


def introduced_as(name: str, version: str) -> Line:
    return ask(ApiVersionsRequest(client_software_name=name, client_software_version=version), 3)


def unspeakable(version: int, body: bytes) -> Turn:
    """Ask for versions in a version that there is not; the answer has the form of version 0."""
    line = raw(ApiKey.API_VERSIONS, version, body, answer=ApiVersionsResponse)
    return Turn(line, UNSUPPORTED_NEWEST, UNSUPPORTED_OLDER)


CONVERSATIONS = [
    *[Conversation(f"ApiVersions v{version}", (told(ask(SOFTWARE, version)),)) for version in range(4)],
    Conversation("ApiVersions v4", (Turn(ask(SOFTWARE, 4), NEWEST, UNSUPPORTED_OLDER),)),
    Conversation(
        "ApiVersions in a version that is too high is told the versions in the form of v0",
        (
            unspeakable(99, bytes.fromhex("00 04 72617700 01 31 00")),
            unspeakable(-1, b""),
            # The header of a version that the broker takes for flexible ends with tagged fields.
            Turn(raw(ApiKey.API_VERSIONS, 99, b""), CLOSED),
            told(ask(SOFTWARE, 0)),
        ),
    ),
    *[
        Conversation(
            f"ApiVersions v3 with {name!r} {version!r} for the client's software",
            (Turn(introduced_as(name, version), "INVALID_REQUEST"), told(ask(SOFTWARE, 0))),
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
        (told(introduced_as("a.b-C", "1.0-rc.1")),),
    ),
    Conversation(
        "an API that nobody knows ends the connection",
        (Turn(raw(UNKNOWN_API, 0, b""), CLOSED), Turn(raw(-1, 0, b""), CLOSED)),
    ),
    Conversation(
        "a version that is too high or too low ends the connection",
        (
            Turn(raw(ApiKey.METADATA, 99, b"\0" * 10), CLOSED),
            Turn(raw(ApiKey.METADATA, -1, b"\0" * 10), CLOSED),
            Turn(raw(ApiKey.INIT_PRODUCER_ID, 99, b"\0" * 10), CLOSED),
            Turn(raw(ApiKey.PRODUCE, 99, b"\0" * 10), CLOSED),
            Turn(raw(ApiKey.PRODUCE, -1, b"\0" * 10), CLOSED),
        ),
    ),
    Conversation(
        "what is no request ends the connection",
        (
            Turn(raw_bytes(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"), CLOSED),
            Turn(raw_bytes(bytes.fromhex("16030100c8010000c40303")), CLOSED),
            Turn(raw_bytes((-1).to_bytes(4, "big", signed=True)), CLOSED),
            Turn(raw_bytes((2**31 - 1).to_bytes(4, "big")), CLOSED),
            Turn(raw_bytes((100 * 1024 * 1024 + 1).to_bytes(4, "big")), CLOSED),
            Turn(raw_bytes(bytes(4)), CLOSED),
            Turn(raw_bytes((3).to_bytes(4, "big") + b"abc"), CLOSED),
            Turn(raw_bytes((20).to_bytes(4, "big") + b"\xff" * 20), CLOSED),
        ),
    ),
    about_orders(
        "a request that ends too early ends the connection",
        Turn(changed(produce(make_batch(b"a"), acks=1), lambda frame: frame[:-1]), CLOSED),
        Turn(changed(produce(make_batch(b"a"), acks=1, version=8), lambda frame: frame[:-1]), CLOSED),
        Turn(changed(metadata("orders"), lambda frame: frame[:-1]), CLOSED),
        Turn(changed(init_producer_id(3), lambda frame: frame[:-1]), CLOSED),
        Turn(changed(ask(SOFTWARE, 3), lambda frame: frame[:-1]), CLOSED),
        Turn(produce(make_batch(b"a"), acks=1), "orders-0 NONE at 0, log from 0"),
    ),
    about_orders(
        "what follows the end of a request is not looked at",
        Turn(
            changed(produce(make_batch(b"a")), lambda frame: frame + b"more"),
            "orders-0 NONE at 0, log from 0",
        ),
        told(changed(ask(SOFTWARE, 0), lambda frame: frame + b"more")),
        Turn(changed(init_producer_id(0), lambda frame: frame + b"more"), "NONE, an id, epoch 0"),
    ),
    about_orders(
        "tagged fields that nobody knows are not looked at",
        Turn(
            changed(produce(make_batch(b"a")), lambda frame: frame[:-1] + TAGGED),
            "orders-0 NONE at 0, log from 0",
        ),
        Turn(changed(init_producer_id(2), lambda frame: frame[:-1] + TAGGED), "NONE, an id, epoch 0"),
        Turn(changed(init_producer_id(2), tagged_in_header), "NONE, an id, epoch 0"),
        Turn(
            changed(produce(make_batch(b"a")), lambda frame: frame[:-1] + TAGGED[:-1]),
            CLOSED,
        ),
    ),
    Conversation(
        "a client need not say what it is called",
        tuple(
            [
                Turn(changed(init_producer_id(version), partial(called, name)), "NONE, an id, epoch 0")
                for version, name in ((0, b"\xff\xff"), (2, b"\xff\xff"), (2, b"\0\0"))
            ]
        ),
    ),
    Conversation(
        "a client with a name that is no text",
        tuple(
            [
                Turn(changed(init_producer_id(2), partial(called, name)), "NONE, an id, epoch 0")
                for name in (b"\0\2\xff\xff", b"\xff\xfe")
            ]
        ),
    ),
    *[
        Conversation(
            f"InitProducerId v{version} gives an id",
            (Turn(init_producer_id(version), "NONE, an id, epoch 0", CLOSED if version > 4 else None),),
        )
        for version in range(6)
    ],
    *[
        Conversation(
            f"InitProducerId v{version} with an id or an epoch, and no transactional id",
            (
                Turn(init_producer_id(version, producer_id=5, producer_epoch=2), "NONE, an id, epoch 0"),
                Turn(init_producer_id(version, producer_id=5), "INVALID_REQUEST, id -1, epoch -1"),
                Turn(init_producer_id(version, producer_epoch=2), "INVALID_REQUEST, id -1, epoch -1"),
            ),
        )
        for version in (3, 4)
    ],
    Conversation(
        "InitProducerId with an empty transactional id",
        (Turn(init_producer_id(4, transactional_id=""), "INVALID_REQUEST, id -1, epoch -1"),),
    ),
]
