"""GSSAPI (RFC 4752): Kerberos, through the system's libraries and the package `gssapi`.

    client ── ticket for kafka/HOST ─────────────▶ broker
    client ◀─ proof that it is kafka/HOST ──────── broker     mutual authentication
    client ── nothing ───────────────────────────▶ broker
    client ◀─ wrapped: layers, size ────────────── broker     what protection it offers
    client ── wrapped: no layer, alice@REALM ────▶ broker

The first step may ask a KDC for the ticket, which is I/O inside of the library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from aioproducer.errors import ConfigurationError
from aioproducer.sasl.mechanism import failed, quote

if TYPE_CHECKING:
    from aioproducer.sasl.mechanism import Attempt, Steps

# Bits of the first byte of the security layers. Kafka protects by TLS or not at all.
_NO_LAYER = 1
_LAYERS_SIZE = 4
# The layer, and the largest wrapped message as three bytes: none without a layer.
_CHOICE = bytes([_NO_LAYER, 0, 0, 0])

# Kerberos needs two; the limit ends a context that never completes.
_MAX_TOKENS = 4

# Patterns in the libraries' messages, and what to do. The order matters: a KDC that cannot be
# reached and a ticket that has expired are reported as missing credentials too.
_CAUSES = (
    ("cannot contact any kdc", "the KDC cannot be reached: check KRB5_CONFIG and the network"),
    ("cannot find kdc", "the realm has no KDC in the configuration: check KRB5_CONFIG"),
    ("skew", "the clocks of this machine, the KDC and the broker must agree"),
    ("expired", "the ticket has expired: {ticket}"),
    (
        "server .*not found in kerberos database",
        "the KDC does not know {service}/{host}: check sasl_kerberos_service_name and the broker's host name",
    ),
    ("client .*not found in kerberos database", "the KDC does not know the user: check the keytab"),
    ("no (kerberos )?credentials", "there is no ticket: {ticket}"),
)


@dataclass(frozen=True, slots=True)
class Gssapi:
    """GSSAPI with a ticket: of the process (from kinit, or KRB5_CLIENT_KTNAME), or of a keytab."""

    name: ClassVar[str] = "GSSAPI"
    # The library reads files and asks the KDC.
    blocking: ClassVar[bool] = True
    secrets: ClassVar[tuple[str, ...]] = ()

    service: str = "kafka"
    """The first part of the broker's principal: `sasl_kerberos_service_name`."""
    principal: str | None = None
    """The client's own principal; None for the default of the credentials."""
    keytab: str | None = None
    """The file with the client's key; None for the ticket of the process."""

    def steps(self, attempt: Attempt) -> Steps:
        """Authenticate both sides, then choose no security layer."""
        gssapi = require_gssapi()
        try:
            context = self._context(gssapi, attempt.host)
            challenge: bytes | None = None
            for _ in range(_MAX_TOKENS):
                token = context.step(challenge)
                # Without a token of its own, the client sends nothing to hear of the layers.
                challenge = yield token or b""
                if context.complete:
                    break
            else:
                raise failed(self.name, "the broker asked for more tokens than Kerberos has")
            if gssapi.RequirementFlag.mutual_authentication not in context.actual_flags:
                raise failed(self.name, "the broker did not prove that it is the service of the ticket")
            layers = context.unwrap(challenge).message
            if len(layers) != _LAYERS_SIZE:
                raise failed(self.name, "the broker's list of security layers is malformed")
            if not layers[0] & _NO_LAYER:
                raise failed(self.name, "the broker requires a Kerberos security layer; use TLS instead")
            # The user's own principal, as Java sends it: the broker compares it with the ticket.
            user = str(context.initiator_name).encode()
            yield context.wrap(_CHOICE + user, encrypt=False).message
        except gssapi.exceptions.GSSError as error:
            message = str(error)
        else:
            return
        raise failed(self.name, self._explain(message, attempt))

    def likely_cause(self, attempt: Attempt) -> str:
        """Return what to check if the broker refuses the ticket."""
        return (
            f"check that the broker's keytab has the current key of {self.service}/{attempt.host}, "
            "and that the clocks agree"
        )

    def _context(self, gssapi: Any, host: str) -> Any:  # noqa: ANN401 -- the package is optional
        own = {} if self.principal is None and self.keytab is None else {"creds": self._credentials(gssapi)}
        return gssapi.SecurityContext(
            name=gssapi.Name(f"{self.service}@{host}", gssapi.NameType.hostbased_service),
            mech=gssapi.MechType.kerberos,
            flags=[
                gssapi.RequirementFlag.mutual_authentication,
                gssapi.RequirementFlag.integrity,
                gssapi.RequirementFlag.out_of_sequence_detection,
            ],
            usage="initiate",
            **own,
        )

    def _credentials(self, gssapi: Any) -> Any:  # noqa: ANN401 -- the package is optional
        name = None
        if self.principal is not None:
            name = gssapi.Name(self.principal, gssapi.NameType.kerberos_principal)
        options: dict[str, Any] = {"name": name, "usage": "initiate", "mechs": [gssapi.MechType.kerberos]}
        if self.keytab is not None:
            options["store"] = {
                "client_keytab": f"FILE:{self.keytab}",
                # Tickets of the keytab are kept in memory: the user's own cache may be of another principal.
                "ccache": f"MEMORY:aioproducer-{self.principal}-{self.keytab}",
            }
        try:
            return gssapi.Credentials(**options)
        except NotImplementedError as error:
            # Heimdal, as on macOS.
            message = f"sasl_kerberos_keytab needs MIT Kerberos; set KRB5_CLIENT_KTNAME instead ({error})"
            raise ConfigurationError(message, option="sasl_kerberos_keytab") from error

    def _explain(self, message: str, attempt: Attempt) -> str:
        for pattern, cause in _CAUSES:
            if re.search(pattern, message, re.IGNORECASE):
                shown = cause.format(service=self.service, host=attempt.host, ticket=self._ticket_advice())
                return f"{quote(message)}; {shown}"
        return f"{quote(message)}; {self.likely_cause(attempt)}"

    def _ticket_advice(self) -> str:
        if self.keytab is not None:
            # The library says only that it has no credentials, also for a file that does not exist.
            key = "the client's key" if self.principal is None else f"a key of {self.principal!r}"
            return f"check that sasl_kerberos_keytab {self.keytab!r} can be read and has {key}"
        user = "" if self.principal is None else f" for {self.principal!r}"
        return f"run kinit{user}, or set sasl_kerberos_keytab"


def require_gssapi() -> Any:  # noqa: ANN401 -- the package is optional
    """Return the package `gssapi`; raise ConfigurationError that says how to install it."""
    try:
        return import_module("gssapi")
    except ImportError as error:
        message = f"sasl_mechanism=GSSAPI needs an extra: pip install 'aioproducer[gssapi]' ({error})"
        raise ConfigurationError(message, option="sasl_mechanism", value="GSSAPI") from error
