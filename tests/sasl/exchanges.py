"""What the tests of all mechanisms share: an attempt, and a conversation in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aioproducer.errors import AuthenticationError
from aioproducer.sasl.mechanism import Attempt, Exchange

if TYPE_CHECKING:
    from aioproducer.sasl.mechanism import Mechanism

NOW = 1_700_000_000.0
PASSWORD = "s3cret-hunter2"  # noqa: S105 -- for tests


def attempt(nonce: str = "fyko+d2lbbFgONRv9qkxdawL", host: str = "localhost", now: float = NOW) -> Attempt:
    return Attempt(host=host, now=now, nonce=nonce)


def talk(mechanism: Mechanism, *answers: bytes, at: Attempt | None = None) -> list[bytes | None]:
    """Return everything that the client sends when the broker gives `answers`."""
    exchange = Exchange(mechanism, at or attempt())
    sent: list[bytes | None] = [exchange.first()]
    sent += [exchange.next(answer) for answer in answers]
    assert exchange.done == (sent[-1] is None)
    return sent


def refusal(mechanism: Mechanism, *answers: bytes, at: Attempt | None = None) -> AuthenticationError:
    """Return the error to which the last of `answers` leads."""
    exchange = Exchange(mechanism, at or attempt())
    with pytest.raises(AuthenticationError) as caught:  # noqa: PT012 -- also the first step may fail
        exchange.first()
        for number, answer in enumerate(answers, 1):
            exchange.next(answer)
            assert number < len(answers), "accepted"
    assert not exchange.done
    assert caught.value.mechanism == mechanism.name
    assert str(caught.value).startswith(f"{mechanism.name} authentication failed: ")
    return caught.value
