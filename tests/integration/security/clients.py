"""The options of clients for the listeners of a SecuredKafka.

Producer(**options(kafka, Listener.SASL_SSL, "PLAIN"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioproducer.testing import unsecured_token
from tests.integration.secured import GSSAPI, USERS, Listener

if TYPE_CHECKING:
    from tests.integration.secured import SecuredKafka

USER, PASSWORD = next(iter(USERS.items()))


def options(
    kafka: SecuredKafka, listener: Listener | None, mechanism: str | None = None, /, **changes: object
) -> dict[str, Any]:
    """Return the options for a listener, None for the plaintext one; `changes` replace some of them.

    A change to None removes the option.
    """
    chosen: dict[str, Any] = {"bootstrap_servers": kafka.bootstrap}
    if listener is not None:
        chosen["bootstrap_servers"] = kafka.bootstrap_of(listener)
        chosen["security_protocol"] = listener.protocol
        if listener.has_tls:
            chosen["ssl_truststore_certificates"] = kafka.certificates.ca.certificate
        if listener is Listener.MTLS:
            chosen["ssl_keystore_certificate_chain"] = kafka.certificates.client.certificate
            chosen["ssl_keystore_key"] = kafka.certificates.client.key
    if mechanism is not None:
        chosen |= {"sasl_mechanism": mechanism, **credentials(mechanism)}
    chosen |= changes
    return {name: value for name, value in chosen.items() if value is not None}


def credentials(mechanism: str, user: str = USER) -> dict[str, Any]:
    """Return the options with the credentials of a user."""
    if mechanism == GSSAPI:
        return {"sasl_kerberos_service_name": "kafka"}
    if mechanism == "OAUTHBEARER":
        return {"sasl_token_provider": lambda: unsecured_token(user)}
    return {"sasl_username": user, "sasl_password": USERS[user]}
