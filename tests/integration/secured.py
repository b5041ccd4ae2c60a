"""Kafka with a listener for every kind of security, and certificates of a CA of its own.

    with SecuredKafka("4.3.1") as kafka:
        kafka.bootstrap_of(Listener.SASL_SSL)         # TLS, then PLAIN, SCRAM or OAUTHBEARER
        kafka.certificates.client_context()           # trusts the CA
        kafka.create_topic("orders")                  # tools and admins use the plaintext listener

The users of `USERS` exist for PLAIN and both SCRAMs. OAUTHBEARER takes unsecured tokens
(`aioproducer.testing.unsecured_token`), and GSSAPI the tickets of a `Kdc`, if one is given. Every user may
do everything, except for what `deny` denies.
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
from tests.sasl.kdc import REALM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.integration.maven import Libraries
    from tests.integration.properties import Properties
    from tests.sasl.kdc import Kdc


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
GSSAPI = "GSSAPI"
SHORT_SESSION_MS = 2000

# A client asks the KDC for the service at the address that it connects to.
_SERVICE = "kafka/127.0.0.1"

# Kafka 2.7 and 2.8 read PEM files only with an encrypted key.
_PLAIN_PEM = (3, 0)
_STANDARD_AUTHORIZER = (3, 3)
_ACL_AUTHORIZER = (2, 4)
_STORE_PASSWORD = "store-secret"  # noqa: S105 - of files that the tests delete

_MODULES = "org.apache.kafka.common.security"
_OAUTHBEARER = (
    f'{_MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="admin";'
)


class SecuredKafka(KafkaCluster, Access):
    """Brokers with all listeners of `Listener` beside the plaintext one; since Kafka 2.7.

    `config` is added to every broker's server.properties; names of listeners are in lower case
    there: `listener.name.sasl_ssl.plain.connections.max.reauth.ms`. `more_listeners` are further TLS
    listeners with their settings, which begin as those of `Listener.SSL`. Without `allows_all` a
    resource without ACLs is open to all users, and one with ACLs to those users alone.
    """

    def __init__(
        self,
        version: str = NEWEST,
        brokers: int = 1,
        *,
        config: Properties | None = None,
        certificates: Certificates | None = None,
        kdc: Kdc | None = None,
        allows_all: bool = True,
        more_listeners: Mapping[str, Properties] | None = None,
        jvm_options: Sequence[str] = jvm.QUICK_START,
    ) -> None:
        if kdc is not None:
            jvm_options = [*jvm_options, f"-Djava.security.krb5.conf={kdc.folder / 'krb5.conf'}"]
        super().__init__(version, brokers, config=config, jvm_options=jvm_options)
        self.certificates = certificates or Certificates.make()
        self.mechanisms = MECHANISMS if kdc is None else (*MECHANISMS, GSSAPI)
        self._kdc = kdc
        self._allows_all = allows_all
        self._more_listeners = dict(more_listeners or {})
        names = [*(listener.name for listener in Listener), *self._more_listeners]
        ports = iter(free_ports(brokers * len(names)))
        self._ports = {node: {name: next(ports) for name in names} for node in self.node_ids}
        self._stores = tempfile.TemporaryDirectory(prefix="kafka-stores-")

    def start(self) -> None:
        super().start()
        if self._allows_all:
            self.allow_all_users()
        for user, password in USERS.items():
            self.set_scram_user(user, password)

    def stop(self) -> None:
        super().stop()
        self._stores.cleanup()

    def bootstrap_of(self, listener: Listener | str) -> str:
        """Return the addresses of all brokers at a listener."""
        return ",".join(str(self.address_of(listener, node)) for node in self.node_ids)

    def address_of(self, listener: Listener | str, node: int = 1) -> Address:
        """Return one broker's address at a listener, or at one of `more_listeners`."""
        name = listener.name if isinstance(listener, Listener) else listener
        return Address("127.0.0.1", self._ports[node][name])

    def _properties(self, libraries: Libraries) -> dict[int, Properties]:
        return {
            node: {**self._with_listeners(node, properties), **self._config}
            if node in self._ports
            else properties
            for node, properties in super()._properties(libraries).items()
        }

    def _with_listeners(self, node: int, properties: Properties) -> Properties:
        added = ",".join(f"{name}://{self.address_of(name, node)}" for name in self._ports[node])
        protocols = ",".join(
            [
                *(f"{each.name}:{each.protocol}" for each in Listener),
                *(f"{name}:SSL" for name in self._more_listeners),
            ]
        )
        secured: dict[str, str | float] = {
            **properties,
            "listeners": f"{properties['listeners']},{added}",
            "advertised.listeners": f"{properties['advertised.listeners']},{added}",
            "listener.security.protocol.map": f"{properties['listener.security.protocol.map']},{protocols}",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            "authorizer.class.name": self._authorizer(),
            "super.users": "User:ANONYMOUS;User:admin",
            "allow.everyone.if.no.acl.found": not self._allows_all,
        }
        settings = {
            listener.name: {
                **(self._tls_settings(listener) if listener.has_tls else {}),
                **(self._sasl_settings() if listener.has_sasl else {}),
            }
            for listener in Listener
        }
        for listener_name, more in self._more_listeners.items():
            settings[listener_name] = {**self._tls_settings(Listener.SSL), **more}
        for listener_name, own in settings.items():
            prefix = f"listener.name.{listener_name.lower()}."
            secured.update({f"{prefix}{name}": value for name, value in own.items()})
        for mechanism in self.mechanisms:
            name = f"listener.name.sasl_short.{mechanism.lower()}.connections.max.reauth.ms"
            secured[name] = SHORT_SESSION_MS
        return secured

    def _authorizer(self) -> str:
        version = parse_version(self.version)
        if version >= _STANDARD_AUTHORIZER:
            return "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        if version >= _ACL_AUTHORIZER:
            return "kafka.security.authorizer.AclAuthorizer"
        return "kafka.security.auth.SimpleAclAuthorizer"

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

    def _sasl_settings(self) -> Properties:
        plain = " ".join(f'user_{user}="{password}"' for user, password in USERS.items())
        settings = {
            "sasl.enabled.mechanisms": ",".join(self.mechanisms),
            "plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required {plain};",
            "oauthbearer.sasl.jaas.config": _OAUTHBEARER,
        }
        for mechanism in SCRAM:
            name = f"{mechanism.lower()}.sasl.jaas.config"
            settings[name] = f"{_MODULES}.scram.ScramLoginModule required;"
        if self._kdc is not None:
            settings["sasl.kerberos.service.name"] = "kafka"
            settings["gssapi.sasl.jaas.config"] = (
                "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true "
                f'keyTab="{self._kdc.keytab(_SERVICE)}" principal="{_SERVICE}@{REALM}";'
            )
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
