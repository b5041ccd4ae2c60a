"""SCRAM (RFC 5802, RFC 7677): both sides prove that they know the password, and neither sends it.

    client ── n,,n=user,r=NONCE ─────────────────▶ broker
    client ◀─ r=NONCE+MORE,s=SALT,i=ITERATIONS ─── broker
    client ── c=biws,r=NONCE+MORE,p=PROOF ───────▶ broker     the client knows the password
    client ◀─ v=SIGNATURE ──────────────────────── broker     the broker knows it too

Passwords are sent through PBKDF2 as UTF-8 bytes, as Kafka's own tools and clients do. RFC 5802 asks
for SASLprep first, which Kafka omits on both sides (`ScramFormatter.normalize`): preparing a password
such as "m²" here would give other bytes than the broker stored, and a right password would be
refused. `prepare_password=True` is for brokers that follow the RFC; for ASCII both forms are equal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from aioproducer.sasl.mechanism import encode, failed, quote, refuse_pickle
from aioproducer.sasl.saslprep import saslprep

if TYPE_CHECKING:
    from typing import NoReturn

    from aioproducer.sasl.mechanism import Attempt, Steps

MIN_ITERATIONS = 4096
"""The least number of iterations that the client accepts, as Java's client (RFC 7677)."""

MAX_ITERATIONS = 600_000
"""The largest number of iterations: some tenths of a second. Kafka's tools create 16,384 at most."""

# Without channel binding, and without an authorization id.
_GS2_HEADER = "n,,"
_CHANNEL_BINDING = base64.b64encode(_GS2_HEADER.encode()).decode()

_PRINTABLE = r"[\x21-\x2b\x2d-\x7e]+"
_NONCE = re.compile(_PRINTABLE)
_SERVER_FIRST = re.compile(
    rf"r=(?P<nonce>{_PRINTABLE}),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<iterations>[0-9]{{1,10}})"
    r"(?:,[A-Za-z]=[^,\0]+)*"
)
_SERVER_FINAL = re.compile(r"(?:v=(?P<signature>[A-Za-z0-9+/=]+)|e=(?P<error>[^,\0]+))(?:,[A-Za-z]=[^,\0]+)*")


class ScramHash(Enum):
    """The hash function of a SCRAM mechanism; the value is the name in `hashlib`."""

    SHA_256 = "sha256"
    SHA_512 = "sha512"

    @property
    def mechanism(self) -> str:
        """The name of the mechanism: `SCRAM-SHA-256` or `SCRAM-SHA-512`."""
        return f"SCRAM-{self.name.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class Scram:
    """SCRAM with a user name and a password, or with the id and HMAC of a delegation token."""

    # PBKDF2 takes a millisecond for 4096 iterations, and more for a broker with more.
    blocking: ClassVar[bool] = True

    hash: ScramHash
    username: str
    password: str = field(repr=False)
    delegation_token: bool = False
    """Whether user name and password are the id and HMAC of a delegation token (KIP-48)."""
    prepare_password: bool = False
    """Whether to prepare the password as RFC 5802 says; Kafka does not."""

    def __reduce__(self) -> NoReturn:
        refuse_pickle(self)

    @property
    def name(self) -> str:
        """The name of the mechanism with this hash."""
        return self.hash.mechanism

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password."""
        return (self.password,)

    def steps(self, attempt: Attempt) -> Steps:
        """Prove the password, and verify the broker's proof."""
        if not _NONCE.fullmatch(attempt.nonce):
            message = "the nonce must be printable ASCII without commas"
            raise ValueError(message)
        password = self._password()
        extension = ",tokenauth=true" if self.delegation_token else ""
        first = f"n={self._saslname()},r={attempt.nonce}{extension}"
        server_first = self._text((yield (_GS2_HEADER + first).encode()))

        nonce, salt, iterations = self._parse_first(server_first, attempt)
        salted = hashlib.pbkdf2_hmac(self.hash.value, password, salt, iterations)
        final = f"c={_CHANNEL_BINDING},r={nonce}"
        signed = f"{first},{server_first},{final}".encode()
        client_key = self._hmac(salted, b"Client Key")
        signature = self._hmac(hashlib.new(self.hash.value, client_key).digest(), signed)
        proof = bytes([a ^ b for a, b in zip(client_key, signature, strict=True)])
        server_final = self._text((yield f"{final},p={base64.b64encode(proof).decode()}".encode()))

        expected = self._hmac(self._hmac(salted, b"Server Key"), signed)
        if not hmac.compare_digest(self._parse_final(server_final, attempt), expected):
            raise failed(
                self.name,
                "the broker's signature is wrong: it does not know the password, so it may be an impostor",
            )

    def likely_cause(self, attempt: Attempt) -> str:  # noqa: ARG002 -- depends on the credentials alone
        """Return what to check if the broker refuses the credentials."""
        if self.delegation_token:
            return f"check that the delegation token {self.username!r} exists and has not expired"
        return (
            f"check sasl_username ({self.username!r}) and sasl_password, "
            f"and that the user has a credential for {self.name}: each SCRAM mechanism has its own"
        )

    def _password(self) -> bytes:
        if not self.password:
            raise failed(self.name, "the password is empty")
        password, reason = self.password, ""
        if self.prepare_password:
            try:
                password = saslprep(password)
            except ValueError as error:
                reason = str(error)
        # Outside of `except`: the error must not refer to others.
        if reason:
            raise failed(self.name, f"SASLprep prohibits the password: {reason}")
        return encode(password, self.name, "the password")

    def _saslname(self) -> str:
        if not self.username:
            raise failed(self.name, "the user name is empty")
        encode(self.username, self.name, "the user name")
        if "\0" in self.username:
            raise failed(self.name, "the user name has a NUL character")
        # "=" first: it also begins the escape of ",".
        return self.username.replace("=", "=3D").replace(",", "=2C")

    def _text(self, challenge: bytes) -> str:
        try:
            return challenge.decode()
        except UnicodeDecodeError:
            pass
        raise failed(self.name, "the broker's message is not UTF-8")

    def _parse_first(self, message: str, attempt: Attempt) -> tuple[str, bytes, int]:
        if message.startswith("e="):
            reason = quote(message[2:], self.secrets)
            cause = self.likely_cause(attempt)
            raise failed(self.name, f"the broker answered {reason}; {cause}", reason=reason)
        # RFC 5802: "m=" announces an extension that the client must understand. It knows none.
        keys = [part[:2] for part in message.split(",")]
        if "m=" in keys:
            raise failed(self.name, "the broker requires an extension that this client does not have")
        if {"r=", "s=", "i="} & {*keys[3:]}:
            raise failed(self.name, "the broker's message repeats an attribute")
        found = _SERVER_FIRST.fullmatch(message)
        salt = _base64(found["salt"]) if found else None
        if found is None or salt is None:
            expected = "r=NONCE,s=SALT,i=ITERATIONS"
            raise failed(self.name, f"the broker sent {quote(message, self.secrets)} instead of {expected}")
        if not found["nonce"].startswith(attempt.nonce) or found["nonce"] == attempt.nonce:
            raise failed(
                self.name, "the broker's nonce does not extend the client's: the message may be a replay"
            )
        iterations = int(found["iterations"])
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise failed(
                self.name,
                f"the broker asks for {iterations} iterations, "
                f"but {MIN_ITERATIONS} to {MAX_ITERATIONS} are accepted",
            )
        return found["nonce"], salt, iterations

    def _parse_final(self, message: str, attempt: Attempt) -> bytes:
        found = _SERVER_FINAL.fullmatch(message)
        if found and found["error"]:
            reason = quote(found["error"], self.secrets)
            raise failed(
                self.name, f"the broker answered {reason}; {self.likely_cause(attempt)}", reason=reason
            )
        signature = _base64(found["signature"]) if found else None
        if signature is None:
            raise failed(self.name, f"the broker sent {quote(message, self.secrets)} instead of v=SIGNATURE")
        return signature

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self.hash.value)


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None
