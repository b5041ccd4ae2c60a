"""Kafka with a listener for every kind of security, and certificates of a CA of its own.

    with SecuredKafka("4.3.1") as kafka:
        kafka.bootstrap_of(Listener.SASL_SSL)         # TLS, then PLAIN, SCRAM or OAUTHBEARER
        kafka.certificates.client_context()           # trusts the CA
        kafka.create_topic("orders")                  # tools and admins use the plaintext listener

The users of `USERS` exist for PLAIN and both SCRAMs. OAUTHBEARER takes unsecured tokens
(`aioproducer.testing.unsecured_token`). Every user may do everything, except for what `deny` denies.
"""

from __future__ import annotations

import enum
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from aioproducer.testing.certificates import Certificates
from tests.integration import jvm
from tests.integration.access import SCRAM, Access
from tests.integration.kafka import NEWEST, KafkaCluster
from tests.integration.layout import free_ports
from tests.integration.maven import parse_version
from tests.integration.wire import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.maven import Libraries
    from tests.integration.properties import Properties


class Listener(enum.Enum):
    """The listeners for clients, and Kafka's protocol of each."""

    SSL = "SSL"
    MTLS = "SSL, with client certificates"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"
    SASL_SHORT = "SASL_PLAINTEXT, with sessions of SHORT_SESSION_MS"

    @property
    def protocol(self) -> str:
        return self.value.split(",")[0]

    @property
    def has_tls(self) -> bool:
        return self.protocol.endswith("SSL")

    @property
    def has_sasl(self) -> bool:
        return self.protocol.startswith("SASL")


USERS = {"alice": "alice-secret", "bob": "bob-secret"}
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
SHORT_SESSION_MS = 2000

# Kafka 2.7 and 2.8 read PEM files only with an encrypted key.
_PLAIN_PEM = (3, 0)
_STANDARD_AUTHORIZER = (3, 3)
_STORE_PASSWORD = "store-secret"  # noqa: S105 - of files that the tests delete

_MODULES = "org.apache.kafka.common.security"
_OAUTHBEARER = (
    f'{_MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="admin";'
)


class SecuredKafka(KafkaCluster, Access):
    """Brokers with all listeners of `Listener` beside the plaintext one; since Kafka 2.7.

    `config` is added to every broker's server.properties; names of listeners are in lower case
    there: `listener.name.sasl_ssl.plain.connections.max.reauth.ms`.
    """

    def __init__(
        self,
        version: str = NEWEST,
        brokers: int = 1,
        *,
        config: Properties | None = None,
        certificates: Certificates | None = None,
        jvm_options: Sequence[str] = jvm.QUICK_START,
    ) -> None:
        super().__init__(version, brokers, config=config, jvm_options=jvm_options)
        self.certificates = certificates or Certificates.make()
        ports = iter(free_ports(brokers * len(Listener)))
        self._ports = {node: {listener: next(ports) for listener in Listener} for node in self.node_ids}
        self._stores = tempfile.TemporaryDirectory(prefix="kafka-stores-")

    def start(self) -> None:
        super().start()
        self.allow_all_users()
        for user, password in USERS.items():
            self.set_scram_user(user, password)

    def stop(self) -> None:
        super().stop()
        self._stores.cleanup()

    def bootstrap_of(self, listener: Listener) -> str:
        """Return the addresses of all brokers at a listener."""
        return ",".join(str(self.address_of(listener, node)) for node in self.node_ids)

    def address_of(self, listener: Listener, node: int = 1) -> Address:
        """Return one broker's address at a listener."""
        return Address("127.0.0.1", self._ports[node][listener])

    def _properties(self, libraries: Libraries) -> dict[int, Properties]:
        return {
            node: {**self._with_listeners(node, properties), **self._config}
            if node in self._ports
            else properties
            for node, properties in super()._properties(libraries).items()
        }

    def _with_listeners(self, node: int, properties: Properties) -> Properties:
        added = ",".join(f"{each.name}://{self.address_of(each, node)}" for each in Listener)
        protocols = ",".join(f"{each.name}:{each.protocol}" for each in Listener)
        secured: dict[str, str | float] = {
            **properties,
            "listeners": f"{properties['listeners']},{added}",
            "advertised.listeners": f"{properties['advertised.listeners']},{added}",
            "listener.security.protocol.map": f"{properties['listener.security.protocol.map']},{protocols}",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            "authorizer.class.name": self._authorizer(),
            "super.users": "User:ANONYMOUS;User:admin",
        }
        for listener in Listener:
            prefix = f"listener.name.{listener.name.lower()}."
            for settings in (
                self._tls_settings(listener) if listener.has_tls else {},
                _sasl_settings() if listener.has_sasl else {},
            ):
                secured.update({f"{prefix}{name}": value for name, value in settings.items()})
        for mechanism in MECHANISMS:
            name = f"listener.name.sasl_short.{mechanism.lower()}.connections.max.reauth.ms"
            secured[name] = SHORT_SESSION_MS
        return secured

    def _authorizer(self) -> str:
        if parse_version(self.version) >= _STANDARD_AUTHORIZER:
            return "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        return "kafka.security.authorizer.AclAuthorizer"

    def _tls_settings(self, listener: Listener) -> Properties:
        stores = Path(self._stores.name)
        required = {"ssl.client.auth": "required" if listener is Listener.MTLS else "none"}
        if parse_version(self.version) >= _PLAIN_PEM:
            keystore, truststore = stores / "server.pem", stores / "ca.pem"
            keystore.write_text(self.certificates.server.pem + self.certificates.ca.certificate)
            truststore.write_text(self.certificates.ca.certificate)
            kind, passwords = "PEM", {}
        else:
            keystore, truststore = stores / "server.p12", stores / "ca.p12"
            _write_pkcs12(self.certificates, keystore, truststore)
            kind = "PKCS12"
            passwords = {
                f"ssl.{name}.password": _STORE_PASSWORD for name in ("keystore", "key", "truststore")
            }
        return {
            **required,
            **passwords,
            "ssl.keystore.type": kind,
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.type": kind,
            "ssl.truststore.location": str(truststore),
        }


def _sasl_settings() -> Properties:
    plain = " ".join(f'user_{user}="{password}"' for user, password in USERS.items())
    settings = {
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required {plain};",
        "oauthbearer.sasl.jaas.config": _OAUTHBEARER,
    }
    for mechanism in SCRAM:
        name = f"{mechanism.lower()}.sasl.jaas.config"
        settings[name] = f"{_MODULES}.scram.ScramLoginModule required;"
    return settings


def _write_pkcs12(certificates: Certificates, keystore: Path, truststore: Path) -> None:
    password = _STORE_PASSWORD.encode()
    encryption = serialization.BestAvailableEncryption(password)
    key = serialization.load_pem_private_key(certificates.server.key.encode(), None)
    own = x509.load_pem_x509_certificate(certificates.server.certificate.encode())
    ca = x509.load_pem_x509_certificate(certificates.ca.certificate.encode())
    keystore.write_bytes(
        pkcs12.serialize_key_and_certificates(b"server", key, own, [ca], encryption)  # type: ignore[arg-type] # an EC key
    )
    truststore.write_bytes(
        pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(ca, b"ca")], encryption)
    )
