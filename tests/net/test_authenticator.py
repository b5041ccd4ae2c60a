"""When a session is renewed, and the limits of an authentication."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from aioproducer import BrokerConnectionError
from aioproducer.net.authenticator import Authenticator
from aioproducer.net.providers import Providers
from aioproducer.testing import ApiKey, FakeCluster
from tests.net.quick import quick

SOON = 60.0


@pytest.mark.scenario("reauthentication")
@pytest.mark.parametrize(
    ("lifetime_ms", "chance", "renewed_after"),
    [
        (3_600_000, 0.0, 3060.0),
        (3_600_000, 1.0, 3420.0),
        # Half a second is left for the renewal.
        (6_000, 1.0, 5.5),
        (2_000, 0.0, 1.5),
        # Brokers refuse a second authentication within a second.
        (1_200, 0.0, 1.05),
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


class Slow:
    """An exchange, a set-up and credentials in one, whose steps hang."""

    address = "kafka:9093"
    mechanism = "GSSAPI"
    blocking = True

    def __init__(self) -> None:
        self.providers = Providers()
        self.released = threading.Event()

    def remaining(self) -> float:
        return 0.05

    def step(self) -> bytes:
        self.released.wait(SOON)
        return b""


async def test_hanging_step_ends_with_set_up() -> None:
    """Without the limit a KDC that hangs would keep the broker's task for ever."""
    slow: Any = Slow()
    authenticator = Authenticator(slow, lambda: 0.0, lambda: 0.5)
    try:
        with pytest.raises(BrokerConnectionError, match=r"kafka:9093: GSSAPI was not ready .* the KDC"):
            async with asyncio.timeout(SOON):
                await authenticator._compute(slow, slow, slow.step)  # noqa: SLF001 - the step alone
    finally:
        slow.released.set()


@pytest.mark.simulated
async def test_slow_credentials_do_not_use_up_the_set_up() -> None:
    """The limit of the set-up is 10 s, and the password takes 15."""

    async def password() -> str:
        await asyncio.sleep(15)
        return "alice-secret"

    cluster = FakeCluster(
        topics={"orders": 1},
        security="SASL_PLAINTEXT",
        users={"alice": "alice-secret"},
        sasl_mechanisms=["PLAIN"],
    )
    async with cluster:
        cluster.on(ApiKey.SASL_HANDSHAKE, times=None).delay(1)
        options: dict[str, Any] = {**cluster.client_options, "sasl_password": password}
        async with quick(
            options.pop("bootstrap_servers"),
            **options,
            request_timeout_ms=30_000,
            delivery_timeout_ms=120_000,
            max_block_ms=60_000,
        ) as producer:
            assert (await producer.send("orders", b"1")).offset == 0
