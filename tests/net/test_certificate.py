"""The fields of certificates, compared with those that `cryptography` wrote."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.net.certificate import Certificate
from tests.support.certificates import Authority, Issued

CA = Authority("Test CA")
BROKER = CA.issue("broker", ["kafka-1.example", "*.example", "10.0.0.1", "2001:db8::1"])


def signed(subject: x509.Name, end: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(1960, 1, 2, 3, 4, 5, tzinfo=UTC))
        .not_valid_after(end)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_fields_of_a_broker() -> None:
    certificate = Certificate.parse(BROKER.der)
    assert certificate.subject == "CN=broker"
    assert certificate.issuer == "CN=Test CA,O=Tests"
    assert certificate.names == ("kafka-1.example", "*.example", "10.0.0.1", "2001:db8::1")
    assert certificate.not_before == BROKER.certificate.not_valid_before_utc
    assert certificate.not_after == BROKER.certificate.not_valid_after_utc
    assert str(certificate) == "CN=broker (issued by CN=Test CA,O=Tests)"


def test_certificate_without_names() -> None:
    certificate = Certificate.parse(CA.issue("client").der)
    assert (certificate.names, certificate.listed_names) == ((), "CN=client")


def test_many_names_are_cut() -> None:
    many = CA.issue("broker", [f"host-{number}" for number in range(50)])
    assert Certificate.parse(many.der).listed_names.endswith("host-7 and 42 more")


def test_large_subject_is_cut() -> None:
    """A hostile certificate of 100 KB makes no error of 100 KB."""
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "u" * 60)] * 900
    name = x509.Name([*units, x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    certificate = Certificate.parse(signed(name, datetime.now(UTC)))
    assert certificate.subject.startswith("CN=x,OU=u")
    assert certificate.subject.endswith("and 885 more")
    assert len(str(certificate)) < 4_000


def test_dates_of_other_centuries() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    end = datetime(2960, 6, 7, 8, 9, 10, tzinfo=UTC)
    certificate = Certificate.parse(signed(name, end))
    assert (certificate.not_before.year, certificate.not_after) == (1960, end)
    assert str(certificate) == "CN=x (signed by itself)"


def test_controls_of_a_name_are_removed() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "a\n\x1b[31mb"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "7"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "é"),
        ]
    )
    certificate = Certificate.parse(signed(name, datetime.now(UTC) + timedelta(days=1)))
    assert certificate.subject == "O=é,?=7,CN=a??[31mb"


@pytest.mark.parametrize("damage", [b"", b"\x30", b"\x30\x82\xff\xff", b"\x02\x01\x00", b"x" * 50])
def test_other_bytes_are_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match=r"certificate|unpack"):
        Certificate.parse(damage)


@given(st.integers(0, len(BROKER.der) - 1), st.binary(max_size=3))
def test_damage_is_no_crash(place: int, bytes_there: bytes) -> None:
    damaged = BROKER.der[:place] + bytes_there + BROKER.der[place + len(bytes_there) :]
    with contextlib.suppress(ValueError):
        assert isinstance(Certificate.parse(damaged).subject, str)
    with contextlib.suppress(ValueError):
        Certificate.parse(BROKER.der[:place])


def test_issuers_of_a_chain() -> None:
    issued: Issued = Authority("Intermediate", parent=CA).issue("broker")
    assert Certificate.parse(issued.der).issuer == "CN=Intermediate,O=Tests"
    assert len(issued.issuers) == 1
