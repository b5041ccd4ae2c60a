"""TLS listeners whose certificate or version is wrong, for the failures of a handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.properties import Properties

AUTHORITY = Authority("Odd CA")

ELSEWHERE = "ELSEWHERE"
EXPIRED = "EXPIRED"
FUTURE = "FUTURE"
NEW_TLS = "NEW_TLS"

_HERE = ["localhost", "127.0.0.1"]


def odd_listeners(folder: Path) -> dict[str, Properties]:
    """Return the listeners for `SecuredKafka`; their keys are in `folder`.

    The certificates are of `AUTHORITY`, except that of NEW_TLS: it has a good one, and TLS 1.3 alone.
    """
    issued = {
        ELSEWHERE: AUTHORITY.issue("elsewhere", ["elsewhere.example"]),
        EXPIRED: AUTHORITY.issue("expired", _HERE, days=(-20, -10)),
        FUTURE: AUTHORITY.issue("future", _HERE, days=(10, 20)),
    }
    listeners: dict[str, Properties] = {NEW_TLS: {"ssl.enabled.protocols": "TLSv1.3"}}
    for name, certificate in issued.items():
        listeners[name] = {"ssl.keystore.location": str(certificate.write(folder / f"{name}.pem"))}
    return listeners
