"""When a session is renewed."""

from __future__ import annotations

from typing import Any, cast

import pytest

from aioproducer.net.authenticator import Authenticator


@pytest.mark.scenario("reauthentication")
@pytest.mark.parametrize(
    ("lifetime_ms", "chance", "renewed_after"),
    [
        (3_600_000, 0.0, 3060.0),
        (3_600_000, 1.0, 3420.0),
        # Half a second is left for the renewal.
        (6_000, 1.0, 5.5),
        (2_000, 0.0, 1.5),
        # A very short session is used for most of its time all the same.
        (500, 0.0, 0.3),
    ],
)
def test_renewal_leaves_time(lifetime_ms: int, chance: float, renewed_after: float) -> None:
    authenticator = Authenticator(cast("Any", None), lambda: 0.0, lambda: chance)
    session = authenticator._session(10.0, lifetime_ms)  # noqa: SLF001 - the decision alone
    assert session is not None
    assert session.renew_at == pytest.approx(10.0 + renewed_after)
    assert session.ends_at == 10.0 + lifetime_ms / 1000


def test_session_without_end() -> None:
    authenticator = Authenticator(cast("Any", None), lambda: 0.0, lambda: 0.5)
    assert authenticator._session(10.0, 0) is None  # noqa: SLF001 - the decision alone
