"""The interface of a mechanism, and the exchange that drives it.

A mechanism is a generator: it yields the bytes to send and is resumed with the answer. The number
of its steps is therefore fixed by its text, and no broker can make an exchange endless:

    def steps(self, attempt):
        challenge = yield b"first message"
        yield b"second message"          # the answer to it may be ignored
                                         # the end: authenticated
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, TypeAlias

from aioproducer.errors import AuthenticationError, plural

if TYPE_CHECKING:
    from typing import NoReturn

NAMES = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM")
"""The mechanisms that this package has, as `sasl_mechanism` names them."""

MAX_CHALLENGE = 64 * 1024
"""The largest answer of a broker that an exchange reads, in bytes; Kerberos needs the most, some KiB."""

_MAX_QUOTED = 300
_MIN_SECRET = 4
_HIDDEN = "[hidden]"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The circumstances of one authentication, which only the caller knows."""

    host: str
    """The host name of the broker, as connected to: Kerberos and AWS sign it."""
    now: float
    """The time in seconds since the epoch: `time.time()`."""
    nonce: str
    """A random string of printable ASCII without commas, new for each authentication."""


@dataclass(frozen=True, slots=True)
class Abort:
    """The broker refused: send `data`, and fail with `reason`, whatever the answer is."""

    data: bytes
    reason: str


Steps: TypeAlias = Generator[bytes | Abort, bytes, None]
"""Yields the bytes to send, is resumed with the answer, and returns when authenticated."""


class Mechanism(Protocol):
    """A SASL mechanism with the credentials of one authentication."""

    @property
    def name(self) -> str:
        """The name for SaslHandshake, such as `SCRAM-SHA-256`."""
        ...

    @property
    def blocking(self) -> bool:
        """Whether a step computes for long or does I/O: run it in a worker thread."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """The credentials that no message may contain, even if the broker sends them back."""
        ...

    def steps(self, attempt: Attempt) -> Steps:
        """Begin an authentication; failures are raised by `failed`."""
        ...

    def likely_cause(self, attempt: Attempt) -> str:
        """Return what to check if the broker refuses the credentials."""
        ...


class _State(Enum):
    """The life of an exchange."""

    NEW = auto()
    """`first` was not called yet."""
    WAITING = auto()
    """Bytes were sent; the answer goes to `next`."""
    ABORTING = auto()
    """The broker refused, and the last bytes were sent: the answer cannot change that."""
    DONE = auto()
    """Authenticated."""
    FAILED = auto()
    """An AuthenticationError was raised."""


class Exchange:
    """One authentication with a mechanism.

    Calls must not overlap, and may come from different threads.
    """

    __slots__ = ("_abort_reason", "_attempt", "_mechanism", "_state", "_steps")

    def __init__(self, mechanism: Mechanism, attempt: Attempt) -> None:
        self._mechanism = mechanism
        self._attempt = attempt
        self._steps = mechanism.steps(attempt)
        self._state = _State.NEW
        self._abort_reason: str | None = None

    def __repr__(self) -> str:
        return f"Exchange({self._mechanism.name}, {self._state.name})"

    def __reduce__(self) -> NoReturn:
        refuse_pickle(self)

    @property
    def mechanism(self) -> str:
        """The name of the mechanism."""
        return self._mechanism.name

    @property
    def blocking(self) -> bool:
        """Whether `first` and `next` have to be called in a worker thread."""
        return self._mechanism.blocking

    @property
    def done(self) -> bool:
        """Whether both sides are authenticated: `next` returned None."""
        return self._state is _State.DONE

    def first(self) -> bytes:
        """Return the bytes of the first request. Raises AuthenticationError for unusable credentials."""
        if self._state is not _State.NEW:
            raise self._failed(failed(self.mechanism, "the exchange has begun already"))
        data = self._resume(None)
        if data is None:
            # It would authenticate without the broker.
            message = f"the mechanism {self.mechanism} ends before its first bytes"
            raise TypeError(message)
        return data

    def next(self, challenge: bytes) -> bytes | None:
        """Return the bytes that answer `challenge`, or None: authenticated.

        Raises AuthenticationError if the challenge is malformed, or the broker is not authentic.
        """
        if self._state is _State.ABORTING:
            raise self.refused(None)
        if self._state is not _State.WAITING:
            message = f"the broker sent {plural(len(challenge), 'byte')}, but the exchange is over"
            raise self._failed(failed(self.mechanism, message))
        if len(challenge) > MAX_CHALLENGE:
            message = f"the broker sent {plural(len(challenge), 'byte')}, more than {MAX_CHALLENGE}"
            raise self._failed(failed(self.mechanism, message))
        return self._resume(challenge)

    def refused(self, reason: str | None) -> AuthenticationError:
        """End the exchange; return the error for a response with an error code and its message."""
        if self._abort_reason and reason and self._abort_reason in reason:
            reason = None  # {"status":"invalid_token"} again
        told = [text for text in (self._abort_reason, reason) if text]
        secrets = self._mechanism.secrets
        quoted = "; ".join([quote(text, secrets) for text in dict.fromkeys(told)])
        answer = f"the broker answered {quoted}" if quoted else "the broker refused it without a reason"
        error = failed(
            self.mechanism,
            f"{answer}; {self._mechanism.likely_cause(self._attempt)}",
            reason=quoted or None,
        )
        return self._failed(error)

    def _resume(self, challenge: bytes | None) -> bytes | None:
        try:
            step: bytes | Abort | AuthenticationError
            step = next(self._steps) if challenge is None else self._steps.send(challenge)
        except StopIteration:
            self._state = _State.DONE
            return None
        except AuthenticationError as error:
            # The frames of a mechanism have credentials in local variables, and tools that report
            # errors show those of every frame.
            step = error.with_traceback(None)
        except UnicodeEncodeError:
            # From the environment, for example. The error would hold the whole text.
            step = failed(self.mechanism, "a name or a credential has a lone surrogate: it is not UTF-8")
        except BaseException:
            self._state = _State.FAILED
            raise
        if isinstance(step, AuthenticationError):
            raise self._failed(step)
        if isinstance(step, Abort):
            self._abort_reason = step.reason
            self._steps.close()
            self._state = _State.ABORTING
            return step.data
        self._state = _State.WAITING
        return step

    def _failed(self, error: AuthenticationError) -> AuthenticationError:
        self._state = _State.FAILED
        self._steps.close()
        return error


def failed(mechanism: str, message: str, *, reason: str | None = None) -> AuthenticationError:
    """Return the error of a mechanism; `reason` is the broker's own message."""
    return AuthenticationError(
        f"{mechanism} authentication failed: {message}", mechanism=mechanism, reason=reason
    )


def not_enabled(mechanism: str, enabled: Sequence[str]) -> AuthenticationError:
    """Return the error for a broker without the mechanism; `enabled` is the list of its handshake."""
    quoted = quote(", ".join(enabled)) if enabled else "none"
    return failed(
        mechanism, f"the broker does not have it enabled, but {quoted}: check sasl_mechanism", reason=quoted
    )


def quote(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a broker's text for a message: one line, not long, and without `secrets`.

    >>> quote("no user has hunter2", ("hunter2",))
    '"no user has [hidden]"'
    """
    for secret in secrets:
        if secret and secret in text:
            # Hiding every "a" of the text would show that the password is "a": hide the whole text.
            text = text.replace(secret, _HIDDEN) if len(secret) >= _MIN_SECRET else _HIDDEN
    shown = text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."
    escaped = shown.encode("unicode_escape").decode() if not shown.isprintable() else shown
    return f'"{escaped}"'


def encode(text: str, mechanism: str, field: str) -> bytes:
    """Return credentials as UTF-8; raise AuthenticationError, without the text, if they are not text."""
    # A UnicodeEncodeError holds the whole text: it must not become the context of the error.
    encoded = None if any("\ud800" <= char <= "\udfff" for char in text) else text.encode()
    if encoded is None:
        raise failed(mechanism, f"{field} has a lone surrogate: it was not decoded as UTF-8")
    return encoded


def refuse_pickle(secretive: object) -> NoReturn:
    """Raise TypeError: a pickle would contain credentials."""
    message = f"{type(secretive).__name__} has credentials and cannot be pickled or copied"
    raise TypeError(message)
