"""The parts of an X.509 certificate that errors name: subject, issuer, validity, host names.

`ssl` decodes only certificates that it has verified, and an error is about one that it has not. So this
reads the few fields of the DER encoding itself (RFC 5280, section 4.1):

    Certificate ─▶ TBSCertificate ─▶ [0] version, serial, signature, issuer, validity, subject, key,
                                     [3] extensions
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEQUENCE = 0x30
_CONTEXT_0 = 0xA0
_CONTEXT_3 = 0xA3
_GENERALIZED_TIME = 0x18
_DNS_NAME = 0x82
_IP_ADDRESS = 0x87
_OCTET_STRING = 0x04
_BMP_STRING = 0x1E
_OBJECT_ID = 0x06

_ALTERNATIVE_NAMES = bytes.fromhex("551d11")

_ATTRIBUTES: Final = {
    "550403": "CN",
    "550406": "C",
    "550407": "L",
    "550408": "ST",
    "55040a": "O",
    "55040b": "OU",
    "2a864886f70d010901": "emailAddress",
    "0992268993f22c640119": "DC",
}

# A certificate with thousands of names is possible: an error lists the first ones.
_MOST_NAMES = 8
# The peer chooses how many there are; a common subject has six.
_MOST_ATTRIBUTES = 16


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as text: distinguished names as `CN=kafka,O=Example`, host names and addresses."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read the first certificate in `der`; raises ValueError for anything else."""
        try:
            return cls._parse(der)
        except (IndexError, OverflowError, UnicodeError) as error:
            message = f"not a certificate: {error}"
            raise ValueError(message) from error

    @classmethod
    def _parse(cls, der: bytes) -> Self:
        ((tag, certificate), *_) = _elements(der)
        ((inner, body), *_) = _elements(certificate)
        if (tag, inner) != (_SEQUENCE, _SEQUENCE):
            message = "not a certificate"
            raise ValueError(message)
        fields = [(tag, content) for tag, content in _elements(body) if tag != _CONTEXT_0]
        _serial, _signature, issuer, validity, subject, *rest = (content for _, content in fields)
        begin, end = _elements(validity)
        extensions = [content for tag, content in fields if tag == _CONTEXT_3] if rest else []
        return cls(
            subject=_distinguished_name(subject),
            issuer=_distinguished_name(issuer),
            not_before=_time(*begin),
            not_after=_time(*end),
            names=tuple(_names(extensions[0])) if extensions else (),
        )

    @property
    def listed_names(self) -> str:
        """The names for a message, the first few of many."""
        names = self.names or (self.subject,)
        shown = ", ".join(names[:_MOST_NAMES])
        return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown

    def __str__(self) -> str:
        if self.subject == self.issuer:
            return f"{self.subject} (signed by itself)"
        return f"{self.subject} (issued by {self.issuer})"


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each element in `data`."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            # 0x82 0x01 0x0a: the length is in the next two bytes, 266.
            count = length & 0x7F
            length = int.from_bytes(data[position : position + count])
            position += count
        content = data[position : position + length]
        if len(content) != length:
            message = "not a certificate: an element is truncated"
            raise ValueError(message)
        yield tag, content
        position += length


def _distinguished_name(data: bytes) -> str:
    parts = []
    for _, relative in _elements(data):
        for _, attribute in _elements(relative):
            (_, kind), (tag, value) = _elements(attribute)
            encoding = "utf-16-be" if tag == _BMP_STRING else "utf-8"
            text = value.decode(encoding, "replace")
            name = _ATTRIBUTES.get(kind.hex(), "?")
            # The text is the peer's: no line ends and controls in errors and logs.
            parts.append(f"{name}={_printable(text)}")
    # Most specific first, as Kafka's principals are written (RFC 2253).
    parts.reverse()
    if len(parts) > _MOST_ATTRIBUTES:
        parts[_MOST_ATTRIBUTES:] = [f"and {len(parts) - _MOST_ATTRIBUTES} more"]
    return ",".join(parts) or "(no subject)"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == _GENERALIZED_TIME:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    # RFC 5280: two digits from 50 are of the last century; Python's border is 69.
    century = "19" if int(text[:2]) >= 50 else "20"  # noqa: PLR2004 - see above
    return datetime.strptime(century + text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _names(extensions: bytes) -> Iterator[str]:
    ((_, listed), *_) = _elements(extensions)
    for _, extension in _elements(listed):
        (tag, kind), *_, (_, value) = _elements(extension)
        if tag != _OBJECT_ID or kind != _ALTERNATIVE_NAMES:
            continue
        ((_, names), *_) = _elements(value)
        for name_tag, name in _elements(names):
            if name_tag == _DNS_NAME:
                yield _printable(name.decode("ascii", "replace"))
            elif name_tag == _IP_ADDRESS:
                yield str(ip_address(name))
