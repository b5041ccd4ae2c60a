"""Certificates for tests: a CA of their own, a server's certificate and a client's.

Needs the package `cryptography`, which is imported when certificates are made.

    ca ──signs──▶ server   (names: localhost, 127.0.0.1, ::1)
       └─signs──▶ client   (the principal of mTLS: CN=client)
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")
"""The names of the server's certificate: a fake cluster listens on the loopback interface."""

_LIFETIME = timedelta(days=30)
# The clocks of the two ends may differ a little.
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its private key, as PEM text."""

    certificate: str
    key: str = field(repr=False)

    @property
    def pem(self) -> str:
        """Both in one text, as `ssl_keystore_location` and Kafka's PEM keystores have it."""
        return self.key + self.certificate


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates of a test cluster, all signed by one CA.

    `FakeCluster` makes its own; pass others to test a wrong name or an expired certificate:

        FakeCluster(security="SSL", certificates=Certificates.make(names=["elsewhere"]))
    """

    ca: Certificate
    server: Certificate
    client: Certificate

    @classmethod
    def make(
        cls, *, names: Sequence[str] = LOCAL_NAMES, client_name: str = "client", has_expired: bool = False
    ) -> Self:
        """Make a CA, a server's certificate for `names` and a client's for `CN=client_name`.

        With `has_expired` the server's certificate expired yesterday. Raises ConfigurationError
        without the package `cryptography`.
        """
        issuer = Issuer.make()
        age = timedelta(days=2) if has_expired else timedelta()
        return cls(
            ca=issuer.own,
            server=issuer.issue(names[0], names=names, age=age),
            client=issuer.issue(client_name),
        )

    def server_context(self) -> ssl.SSLContext:
        """Return the context of a server that asks for no client certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata=self.ca.certificate)
        _load(context, self.server)
        return context

    def client_context(self, *, shows_certificate: bool = False) -> ssl.SSLContext:
        """Return the context of a client that trusts the CA alone; for mTLS it shows its certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.ca.certificate)
        if shows_certificate:
            _load(context, self.client)
        return context


class Issuer:
    """A CA that signs certificates."""

    def __init__(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, own: Certificate) -> None:
        self._name = name
        self._key = key
        self.own = own

    @classmethod
    def make(cls, common_name: str = "aioproducer test CA") -> Self:
        """Make a new CA; raises ConfigurationError without the package `cryptography`."""
        try:
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - optional
        except ImportError:
            message = (
                "certificates for tests need the package cryptography: "
                'install it with pip install "aioproducer[testing-tls]"'
            )
            raise ConfigurationError(message) from None
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        certificate = _sign(_builder(name, name, key, timedelta(), is_ca=True), key)
        return cls(name, key, Certificate(certificate, _private_pem(key)))

    def issue(
        self, common_name: str, *, names: Sequence[str] = (), age: timedelta = timedelta()
    ) -> Certificate:
        """Sign a certificate with the alternative `names`; one with an `age` expired a day later."""
        from cryptography import x509  # noqa: PLC0415 - optional
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), self._name, key, age, is_ca=False)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
        return Certificate(_sign(builder, self._key), _private_pem(key))


def _name(common_name: str) -> x509.Name:
    from cryptography import x509  # noqa: PLC0415 - optional

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, age: timedelta, *, is_ca: bool
) -> x509.CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415 - optional

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - age - _CLOCK_SKEW)
        .not_valid_after(now - timedelta(days=1) if age else now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        # Python 3.13 verifies strictly: the CA needs a key usage, and each certificate a key id.
        .add_extension(_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415 - optional

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415 - optional

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography import x509  # noqa: PLC0415 - optional
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415

    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    signed = builder.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def _private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - optional

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    with _file(certificate.pem) as path:
        context.load_cert_chain(path)


@contextmanager
def _file(text: str) -> Iterator[str]:
    """Return the path of a file with the text: Python's ssl loads private keys from files alone."""
    handle, path = tempfile.mkstemp(suffix=".pem")
    try:
        with open(handle, "w") as file:  # noqa: PTH123 - a file descriptor
            file.write(text)
        yield path
    finally:
        os.unlink(path)  # noqa: PTH108
