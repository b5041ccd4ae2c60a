"""SASL: the choice of a mechanism, its exchange, and requests out of place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aioproducer.protocol.api_versions import ApiVersionsRequest
from tests.conversations.conversation import CLOSED, Conversation, Exchange, Listener
from tests.conversations.requests import ask, metadata
from tests.conversations.sasl_requests import (
    NO_MORE,
    PLAIN,
    SCRAM,
    authenticate,
    bearer,
    bearer_bytes,
    handshake,
    scram_final,
)
from tests.conversations.suite_versions import all_versions

if TYPE_CHECKING:
    from tests.conversations.conversation import RequestMaker, Step

MECHANISMS = "OAUTHBEARER PLAIN SCRAM-SHA-256 SCRAM-SHA-512"
WELCOME = f"NONE, {MECHANISMS}"
ILLEGAL = "ILLEGAL_SASL_STATE, no mechanisms"
TOO_LATE = "ILLEGAL_SASL_STATE, SaslAuthenticate request received after successful authentication"
ALIVE = "1 broker, cluster id, controller"
REFUSAL = '{"status":"invalid_token"}'
BAD_TOKEN = f"NONE, {REFUSAL}"
REFUSED = f"SASL_AUTHENTICATION_FAILED, {REFUSAL}"
OPEN_FOR_LONG = "NONE, for 1000 s"
# Before 3.0 a session did not end with its token.
OPEN = "NONE"

VERSIONS = ask(ApiVersionsRequest(), 0)
BAD_VERSIONS = ask(ApiVersionsRequest(client_software_name="", client_software_version=""), 3)


def failed(reason: str) -> str:
    return f"SASL_AUTHENTICATION_FAILED, {reason}"


def hidden(mechanism: str, what: str = "authentication") -> str:
    return failed(
        f"Authentication failed during {what} due to invalid credentials with SASL mechanism {mechanism}"
    )


def chosen(mechanism: str) -> Exchange:
    return Exchange(handshake(mechanism), WELCOME)


def is_alive() -> Exchange:
    return Exchange(metadata(), ALIVE)


def with_sasl(name: str, *steps: Step) -> Conversation:
    return Conversation(name, steps, listener=Listener.SASL)


def with_plain(name: str, data: bytes, answer: str) -> Conversation:
    """Send `data` as PLAIN; after an error the connection is closed."""
    last = is_alive() if answer == OPEN else Exchange(metadata(), CLOSED)
    return with_sasl(name, chosen("PLAIN"), Exchange(authenticate(data), answer), last)


def with_scram(mechanism: str) -> list[Conversation]:
    challenge = Exchange(authenticate(SCRAM), "NONE, r=...,s=...,i=4096")
    refused = Exchange(metadata(), CLOSED)
    wrong = [
        ("n,,n=carol,r=abcdef", hidden(mechanism)),
        ("y,,n=alice,r=abcdef", hidden(mechanism)),
        ("p=tls-unique,,n=alice,r=abcdef", hidden(mechanism)),
        ("n,a=bob,n=alice,r=abcdef", failed(f"{NOT_OWN} is different from username")),
        ("n,,n=alice,r=abcdef,tokenauth=true", hidden(mechanism)),
        ("garbage", hidden(mechanism)),
        ("", hidden(mechanism)),
    ]
    return [
        with_sasl(
            f"{mechanism} with the right password",
            chosen(mechanism),
            challenge,
            Exchange(scram_final(mechanism), "NONE, v=..."),
            is_alive(),
        ),
        with_sasl(
            f"{mechanism} with a wrong password",
            chosen(mechanism),
            challenge,
            Exchange(scram_final(mechanism, "wrong"), hidden(mechanism)),
            refused,
        ),
        with_sasl(
            f"{mechanism} with a final message that is none",
            chosen(mechanism),
            challenge,
            Exchange(authenticate(b"garbage"), hidden(mechanism)),
            refused,
        ),
        *[
            with_sasl(
                f"{mechanism} begins with {first!r}",
                chosen(mechanism),
                Exchange(authenticate(first.encode()), answer),
                refused,
            )
            for first, answer in wrong
        ],
        with_sasl(
            f"{mechanism} with an unknown extension",
            chosen(mechanism),
            Exchange(authenticate(SCRAM + b",other=true"), "NONE, r=...,s=...,i=4096"),
        ),
    ]


def with_token(name: str, request: RequestMaker) -> Conversation:
    """Send a token that is refused: first with error 0, then with the real one."""
    return with_sasl(
        name,
        chosen("OAUTHBEARER"),
        Exchange(request, BAD_TOKEN),
        Exchange(authenticate(NO_MORE), REFUSED),
        Exchange(metadata(), CLOSED),
    )


NOT_OWN = "Authentication failed: Client requested an authorization id that"


def good_token(name: str, request: RequestMaker) -> Conversation:
    last = Exchange(request, OPEN_FOR_LONG, oldest=OPEN)
    return with_sasl(name, chosen("OAUTHBEARER"), last, is_alive())


CONVERSATIONS = [
    with_sasl(
        "authentication after ApiVersions",
        all_versions(VERSIONS),
        chosen("PLAIN"),
        Exchange(authenticate(PLAIN), OPEN),
        all_versions(VERSIONS),
        is_alive(),
    ),
    *[
        with_sasl(
            f"SaslAuthenticate v{version}",
            chosen("PLAIN"),
            Exchange(authenticate(PLAIN, version), OPEN),
            is_alive(),
        )
        for version in range(3)
    ],
    with_sasl("ApiVersions twice", all_versions(VERSIONS), Exchange(VERSIONS, CLOSED)),
    with_sasl(
        "refused ApiVersions, then a good one",
        Exchange(BAD_VERSIONS, "INVALID_REQUEST"),
        all_versions(VERSIONS),
        chosen("PLAIN"),
    ),
    with_sasl(
        "ApiVersions during an exchange",
        chosen("PLAIN"),
        Exchange(VERSIONS, "ILLEGAL_SASL_STATE"),
        Exchange(authenticate(PLAIN), CLOSED),
    ),
    with_sasl(
        "SaslHandshake during an exchange",
        chosen("PLAIN"),
        Exchange(handshake("PLAIN"), ILLEGAL),
        Exchange(authenticate(PLAIN), CLOSED),
    ),
    with_sasl("Metadata before authentication", Exchange(metadata(), CLOSED)),
    with_sasl("Metadata after ApiVersions", all_versions(VERSIONS), Exchange(metadata(), CLOSED)),
    with_sasl(
        "Metadata during an exchange",
        chosen("PLAIN"),
        Exchange(metadata("nothing"), "0 broker; nothing ILLEGAL_SASL_STATE"),
        Exchange(metadata(), CLOSED),
    ),
    with_sasl("SaslAuthenticate before SaslHandshake", Exchange(authenticate(PLAIN), CLOSED)),
    with_sasl(
        "a mechanism that is not enabled",
        Exchange(handshake("GSSAPI"), f"UNSUPPORTED_SASL_MECHANISM, {MECHANISMS}"),
        Exchange(handshake("PLAIN"), CLOSED),
    ),
    with_sasl(
        "a frame too large before authentication",
        chosen("PLAIN"),
        Exchange(authenticate(bytes(600_000)), CLOSED),
    ),
    with_plain("PLAIN with the right password", PLAIN, OPEN),
    with_plain("PLAIN with the own authorization id", b"alice" + PLAIN, OPEN),
    with_plain(
        "PLAIN with another authorization id", b"bob" + PLAIN, failed(f"{NOT_OWN} is different from username")
    ),
    *[
        with_plain(
            f"PLAIN with {data!r}", data, failed("Authentication failed: Invalid username or password")
        )
        for data in (b"\0alice\0wrong", b"\0carol\0secret")
    ],
    *[
        with_plain(
            f"PLAIN with {data!r}",
            data,
            failed(f"Invalid SASL/PLAIN response: expected 3 tokens, got {parts}"),
        )
        for data, parts in ((b"", 1), (b"alice\0alice-secret", 2), (b"a\0b\0c\0d", 4))
    ],
    with_plain(
        "PLAIN without a user", b"\0\0secret", failed("Authentication failed: username not specified")
    ),
    with_plain(
        "PLAIN without a password", b"\0alice\0", failed("Authentication failed: password not specified")
    ),
    *with_scram("SCRAM-SHA-256"),
    *with_scram("SCRAM-SHA-512"),
    good_token("OAUTHBEARER with a good token", bearer()),
    good_token("OAUTHBEARER with extensions", bearer(extensions="logicalCluster=lkc-1\x01")),
    good_token("OAUTHBEARER with the own authorization id", bearer(authorization_id="alice")),
    good_token("OAUTHBEARER without scope and time of issue", bearer(scope=None, iat=None)),
    with_token("OAUTHBEARER with an expired token", bearer(lifetime=-60)),
    with_token("OAUTHBEARER with a token without expiry", bearer(exp=None)),
    with_token("OAUTHBEARER with a token without subject", bearer(sub=None)),
    with_token("OAUTHBEARER with a token issued in the future", bearer(iat=2**32)),
    with_token("OAUTHBEARER with a token that is none", authenticate(bearer_bytes("nothing"))),
    with_sasl(
        "OAUTHBEARER with a good token after a bad one",
        chosen("OAUTHBEARER"),
        Exchange(authenticate(bearer_bytes("nothing")), BAD_TOKEN),
        Exchange(bearer(), OPEN_FOR_LONG, oldest=OPEN),
        is_alive(),
    ),
    with_sasl(
        "OAUTHBEARER goes on after an error",
        chosen("OAUTHBEARER"),
        Exchange(authenticate(bearer_bytes("nothing")), BAD_TOKEN),
        Exchange(metadata("nothing"), "0 broker; nothing ILLEGAL_SASL_STATE"),
        Exchange(metadata(), CLOSED),
    ),
    with_sasl(
        "OAUTHBEARER with another authorization id",
        chosen("OAUTHBEARER"),
        Exchange(
            bearer(authorization_id="bob"),
            failed(
                "Authentication failed: Client requested an authorization id (bob) that is different "
                "from the token's principal name (alice)"
            ),
        ),
        Exchange(metadata(), CLOSED),
    ),
    *[
        with_sasl(
            f"OAUTHBEARER begins with {data!r}",
            chosen("OAUTHBEARER"),
            Exchange(authenticate(data), hidden("OAUTHBEARER")),
            Exchange(metadata(), CLOSED),
        )
        for data in (b"garbage", NO_MORE)
    ],
    Conversation(
        "SASL on a listener without it",
        (
            Exchange(handshake("PLAIN"), ILLEGAL),
            Exchange(handshake("PLAIN", 0), ILLEGAL),
            Exchange(authenticate(PLAIN), TOO_LATE),
            is_alive(),
        ),
    ),
]
