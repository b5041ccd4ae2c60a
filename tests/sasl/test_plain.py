"""PLAIN: bytes, and credentials that it cannot carry."""

from __future__ import annotations

import pytest

from aioproducer.sasl.mechanism import Exchange
from aioproducer.sasl.plain import Plain
from tests.sasl.exchanges import attempt, refusal, talk


def test_message() -> None:
    """The example of RFC 4616, section 4."""
    assert talk(Plain("tim", "tanstaaftanstaaf"), b"") == [b"\0tim\0tanstaaftanstaaf", None]


def test_message_is_utf8() -> None:
    assert talk(Plain("zoë", "m²"), b"") == ["\0zoë\0m²".encode(), None]


def test_answer_is_ignored() -> None:
    assert talk(Plain("tim", "pw"), b"welcome")[-1] is None


@pytest.mark.parametrize(
    ("username", "password", "message"),
    [
        ("", "pw", "the user name is empty"),
        ("tim", "", "the password is empty"),
        ("t\0m", "pw", "the user name has a NUL character"),
        ("tim", "hunt\0er2", "the password has a NUL character"),
        ("t\udc80", "pw", "the user name has a lone surrogate"),
        ("tim", "hunt\udc80er2", "the password has a lone surrogate"),
    ],
)
def test_unusable_credentials(username: str, password: str, message: str) -> None:
    error = refusal(Plain(username, password))
    assert message in str(error)
    assert "hunt" not in str(error)
    assert error.__context__ is None


def test_refusal_names_user() -> None:
    exchange = Exchange(Plain("tim", "pw"), attempt())
    exchange.first()
    error = exchange.refused("Authentication failed: Invalid username or password")
    assert str(error) == (
        'PLAIN authentication failed: the broker answered "Authentication failed: Invalid username or '
        "password\"; check sasl_username ('tim') and sasl_password"
    )
