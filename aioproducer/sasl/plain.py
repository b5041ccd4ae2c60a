"""PLAIN (RFC 4616): the user name and the password in clear text; use it over TLS alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from aioproducer.sasl.mechanism import encode, failed, refuse_pickle

if TYPE_CHECKING:
    from typing import NoReturn

    from aioproducer.sasl.mechanism import Attempt, Steps


@dataclass(frozen=True, slots=True)
class Plain:
    """PLAIN with a user name and a password."""

    name: ClassVar[str] = "PLAIN"
    blocking: ClassVar[bool] = False

    username: str
    password: str = field(repr=False)

    def __reduce__(self) -> NoReturn:
        refuse_pickle(self)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password."""
        return (self.password,)

    def steps(self, attempt: Attempt) -> Steps:  # noqa: ARG002 -- PLAIN depends on nothing else
        """Send both at once; a broker that accepts them answers with no bytes of meaning."""
        for what, text in (("the user name", self.username), ("the password", self.password)):
            if not text:
                raise failed(self.name, f"{what} is empty")
            # The fields are separated by NUL: a password "a\0b" would be cut off at "a".
            if "\0" in text:
                raise failed(self.name, f"{what} has a NUL character")
        username = encode(self.username, self.name, "the user name")
        password = encode(self.password, self.name, "the password")
        # The authorization id is empty: the broker derives it from the user name, as for Java.
        yield b"\0" + username + b"\0" + password

    def likely_cause(self, attempt: Attempt) -> str:  # noqa: ARG002 -- PLAIN depends on nothing else
        """Return what to check if the broker refuses the credentials."""
        return f"check sasl_username ({self.username!r}) and sasl_password"
