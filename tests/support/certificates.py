"""Certificates for tests: a CA, and certificates of brokers and clients that it issues.

ca = Authority("Test CA")
broker = ca.issue("broker", names=["localhost", "127.0.0.1"])
expired = ca.issue("broker", names=["localhost"], days=(-20, -10))
broker.server_context(); broker.write(folder)
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

VALID = (-1, 365)
"""Days from now of the beginning and the end of a certificate's validity."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its key and the certificates of its issuers."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def chain_pem(self) -> str:
        return "".join(_pem(certificate) for certificate in (self.certificate, *self.issuers))

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def key_pem(self, password: str | None = None, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
        encryption = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
        return self.key.private_bytes(Encoding.PEM, form, encryption).decode()

    def pkcs12(self, password: str | None = None, trusted: Sequence[x509.Certificate] = ()) -> bytes:
        encryption = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
        return pkcs12.serialize_key_and_certificates(
            b"me", self.key, self.certificate, [*self.issuers, *trusted], encryption
        )

    def write(self, path: Path, password: str | None = None) -> Path:
        """Write key and chain into one file."""
        path.write_text(self.key_pem(password) + self.chain_pem)
        return path

    def server_context(self, clients: Authority | None = None) -> ssl.SSLContext:
        """Return the context of a broker; with `clients` it requires their certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(self.write(Path(folder) / "server.pem"))
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=clients.pem)
        return context


class Authority:
    """A CA."""

    def __init__(self, name: str, *, parent: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        self._parent = parent or self
        builder = _builder(self.name, self._parent.name, self.key, VALID)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self._parent.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return _pem(self.certificate)

    def issue(self, name: str, names: Sequence[str] = (), *, days: tuple[float, float] = VALID) -> Issued:
        """Issue a certificate for a host with these names and addresses, or for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self.name, key, days)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(one) for one in names]), critical=False
            )
        issuers = () if self._parent is self else (self.certificate,)
        return Issued(builder.sign(self.key, hashes.SHA256()), key, issuers)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[float, float]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begin, end = (now + timedelta(days=day) for day in days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
