"""SASL: sessions, authentication again on a live connection (KIP-368), and ACLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conversations.conversation import (
    CLOSED,
    Conversation,
    Denied,
    Exchange,
    Listener,
    Pause,
    TopicCreated,
)
from tests.conversations.requests import init_producer_id, metadata, produce
from tests.conversations.sasl_requests import (
    PLAIN,
    PLAIN_OF_BOB,
    SCRAM,
    SESSION_LIFETIME_MS,
    authenticate,
    bearer,
    handshake,
)
from tests.conversations.suite_sasl import (
    ALIVE,
    ILLEGAL,
    TOO_LATE,
    WELCOME,
    failed,
    hidden,
    is_alive,
    with_sasl,
)
from tests.testing.batches import make_batch

if TYPE_CHECKING:
    from tests.conversations.conversation import Step

OPEN_FOR_SHORT = f"NONE, for {SESSION_LIFETIME_MS / 1000:g} s"
VALID = make_batch(b"a")

# Longer than a session.
AFTER_THE_END = Pause(SESSION_LIFETIME_MS / 1000 + 0.3)
A_SECOND = Pause(1.05)


def logged_in(data: bytes = PLAIN) -> tuple[Exchange, Exchange]:
    return Exchange(handshake("PLAIN"), WELCOME), Exchange(authenticate(data), "NONE")


def again(data: bytes = PLAIN, answer: str = OPEN_FOR_SHORT) -> tuple[Exchange, Exchange]:
    return Exchange(handshake("PLAIN"), WELCOME), Exchange(authenticate(data), answer)


def with_sessions(name: str, *steps: Step) -> Conversation:
    """Return a conversation that begins with a session of two seconds."""
    return Conversation(name, (*again(), *steps), listener=Listener.SHORT_SESSIONS)


def with_acls(name: str, *steps: Step) -> Conversation:
    return Conversation(name, steps, listener=Listener.SASL)


CONVERSATIONS = [
    with_sessions("the session ends", is_alive(), AFTER_THE_END, Exchange(metadata(), CLOSED)),
    with_sessions("authentication again after the end", AFTER_THE_END, *again(), is_alive()),
    with_sessions("authentication again before the end", is_alive(), *again(), is_alive()),
    with_sessions(
        "authentication again twice within a second",
        *again(),
        Exchange(handshake("PLAIN"), ILLEGAL),
        Exchange(authenticate(PLAIN), TOO_LATE),
        is_alive(),
        A_SECOND,
        *again(),
        is_alive(),
    ),
    with_sessions(
        "authentication again with another mechanism",
        Exchange(handshake("SCRAM-SHA-256"), WELCOME),
        Exchange(authenticate(SCRAM), CLOSED),
    ),
    with_sessions(
        "authentication again with a mechanism that is not enabled", Exchange(handshake("GSSAPI"), CLOSED)
    ),
    with_sessions(
        "authentication again as another user",
        *again(
            PLAIN_OF_BOB,
            failed("Cannot change principals during re-authentication from User.alice: User.bob"),
        ),
        Exchange(metadata(), CLOSED),
    ),
    with_sessions(
        "authentication again with a wrong password",
        *again(b"\0alice\0wrong", failed("Authentication failed: Invalid username or password")),
        Exchange(metadata(), CLOSED),
    ),
    Conversation(
        "authentication again with a message that is none",
        (
            Exchange(handshake("OAUTHBEARER"), WELCOME),
            Exchange(bearer(), OPEN_FOR_SHORT),
            Exchange(handshake("OAUTHBEARER"), WELCOME),
            Exchange(authenticate(b"garbage"), hidden("OAUTHBEARER", "re-authentication")),
            Exchange(metadata(), CLOSED),
        ),
        listener=Listener.SHORT_SESSIONS,
    ),
    with_sessions(
        "Metadata while authenticating again",
        Exchange(handshake("PLAIN"), WELCOME),
        Exchange(metadata("nothing"), "0 broker; nothing ILLEGAL_SASL_STATE"),
        Exchange(metadata(), CLOSED),
    ),
    with_sessions("SaslAuthenticate alone", Exchange(authenticate(PLAIN), TOO_LATE), is_alive()),
    with_sasl(
        "authentication again without an end",
        *logged_in(),
        Exchange(handshake("PLAIN"), ILLEGAL),
        Exchange(authenticate(PLAIN), TOO_LATE),
        is_alive(),
    ),
    with_acls(
        "writing to a topic is denied",
        TopicCreated("orders"),
        Denied("topic", "orders", "write"),
        *logged_in(),
        Exchange(metadata("orders"), f"{ALIVE}; orders NONE, partition 0 led epoch 0 1/1/0"),
        Exchange(produce(VALID), "orders-0 TOPIC_AUTHORIZATION_FAILED"),
        Exchange(produce(VALID, topic="nothing"), "nothing-0 UNKNOWN_TOPIC_OR_PARTITION"),
    ),
    with_acls(
        "writing to a topic is denied to another user",
        TopicCreated("orders"),
        Denied("topic", "orders", "write"),
        *logged_in(PLAIN_OF_BOB),
        Exchange(produce(VALID), "orders-0 NONE at 0, log from 0"),
    ),
    with_acls(
        "seeing a topic is denied",
        TopicCreated("orders"),
        Denied("topic", "orders", "describe"),
        *logged_in(),
        Exchange(metadata("orders"), f"{ALIVE}; orders TOPIC_AUTHORIZATION_FAILED"),
        Exchange(metadata(of_all=True), ALIVE),
        Exchange(produce(VALID), "orders-0 NONE at 0, log from 0"),
    ),
    with_acls(
        "seeing a missing topic is denied",
        Denied("topic", "nothing", "describe"),
        *logged_in(),
        Exchange(metadata("nothing"), f"{ALIVE}; nothing TOPIC_AUTHORIZATION_FAILED"),
    ),
    with_acls(
        "writing to a missing topic is denied",
        Denied("topic", "nothing", "write"),
        *logged_in(),
        Exchange(produce(VALID, topic="nothing"), "nothing-0 TOPIC_AUTHORIZATION_FAILED"),
    ),
    with_acls(
        "topics by id are denied",
        TopicCreated("orders"),
        Denied("topic", "orders", "all"),
        *logged_in(),
        Exchange(
            metadata("orders", version=12, by_id=True),
            f"{ALIVE}; (no name) TOPIC_AUTHORIZATION_FAILED, an id",
            oldest=CLOSED,
        ),
    ),
    with_acls(
        "a transactional id is denied",
        Denied("transactional id", "payments-1", "write"),
        *logged_in(),
        Exchange(
            init_producer_id(4, transactional_id="payments-1"),
            "TRANSACTIONAL_ID_AUTHORIZATION_FAILED, id -1, epoch -1",
        ),
    ),
]
