"""The cluster of chaos with SASL_SSL: TLS, PLAIN, and sessions that end during the faults.

clients ──▶ DIRECT ───────────────────┐
clients ──▶ proxy ──▶ PROXIED ────────┴─ broker        the proxy forwards the encrypted bytes
harness ──▶ PLAINTEXT ────────────────┘
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aioproducer.testing import Certificates
from tests.integration.chaos.cluster import ChaosCluster
from tests.integration.kafka import NEWEST
from tests.integration.layout import free_ports
from tests.integration.wire import Address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.integration.chaos.cluster import Route

SESSION_MS = 5_000
_USER, _PASSWORD = "alice", "alice-secret"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


class SecuredChaosCluster(ChaosCluster):
    """Brokers whose clients use SASL_SSL."""

    def __init__(self, version: str = NEWEST) -> None:
        super().__init__(version, protocol="SASL_SSL")
        certificates = Certificates.make()
        self.client_options |= {
            "ssl_truststore_certificates": certificates.ca.certificate,
            "sasl_mechanism": "PLAIN",
            "sasl_username": _USER,
            "sasl_password": _PASSWORD,
        }
        ports = free_ports(len(self.node_ids))
        self._direct = {
            node: Address("127.0.0.1", port) for node, port in zip(self.node_ids, ports, strict=True)
        }
        self._stores = tempfile.TemporaryDirectory(prefix="kafka-stores-")
        self._keystore = Path(self._stores.name, "server.pem")
        self._keystore.write_text(certificates.server.pem + certificates.ca.certificate)

    def stop(self) -> None:
        super().stop()
        self._stores.cleanup()

    @property
    def direct_bootstrap(self) -> str:
        return ",".join(map(str, self._direct.values()))

    def _listeners(self, route: Route) -> Iterable[str]:
        # "listeners=…" and "advertised.listeners=…": the direct listener is the same in both.
        for line in super()._listeners(route):
            yield f"{line},DIRECT://{self._direct[route.node]}"
        for name in ("proxied", "direct"):
            prefix = f"listener.name.{name}"
            yield f"{prefix}.ssl.keystore.type=PEM"
            yield f"{prefix}.ssl.keystore.location={self._keystore}"
            yield f"{prefix}.sasl.enabled.mechanisms=PLAIN"
            yield f'{prefix}.plain.sasl.jaas.config={_PLAIN} required user_{_USER}="{_PASSWORD}";'
            yield f"{prefix}.plain.connections.max.reauth.ms={SESSION_MS}"
