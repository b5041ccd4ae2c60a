"""Client and listener that disagree: `start` says so, long before `max_block_ms`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aioproducer import AuthenticationError
from aioproducer.testing import Certificates, FakeCluster
from tests.net.quick import PATIENCE, quick

CA = Certificates.make().ca.certificate
USERS = {"alice": "secret"}
TLS = {"ssl_truststore_certificates": CA}
PLAIN = {"sasl_mechanism": "PLAIN", "sasl_username": "alice", "sasl_password": "secret"}


@pytest.mark.parametrize(
    ("listener", "protocol", "options", "message"),
    [
        ("SASL_PLAINTEXT", "PLAINTEXT", {}, r"the listener wants SASL \(.*PLAIN.*\): set security_protocol"),
        ("SSL", "PLAINTEXT", {}, "the listener speaks TLS .*: set security_protocol"),
        ("PLAINTEXT", "SSL", TLS, "the listener does not speak TLS: set security_protocol"),
        ("PLAINTEXT", "SASL_PLAINTEXT", PLAIN, "the listener does not use SASL: set security_protocol"),
    ],
)
async def test_disagreement_is_told(
    listener: str, protocol: str, options: dict[str, Any], message: str
) -> None:
    users = USERS if listener.startswith("SASL") else None
    async with (
        FakeCluster(topics={"orders": 1}, security=listener, users=users) as cluster,
        asyncio.timeout(PATIENCE),
    ):
        producer = quick(cluster, security_protocol=protocol, max_block_ms=1_000_000, **options)
        with pytest.raises(AuthenticationError, match=message):
            await producer.start()
