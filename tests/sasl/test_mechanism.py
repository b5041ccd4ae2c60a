"""All mechanisms: only AuthenticationError comes out, an exchange ends, and no secret shows."""

from __future__ import annotations

import contextlib
import copy
import pickle
import traceback
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproducer.errors import AuthenticationError
from aioproducer.sasl.aws_msk_iam import AwsCredentials, AwsMskIam
from aioproducer.sasl.gssapi import Gssapi
from aioproducer.sasl.mechanism import MAX_CHALLENGE, NAMES, Abort, Exchange, not_enabled, quote
from aioproducer.sasl.oauthbearer import OAuthBearer, Token
from aioproducer.sasl.plain import Plain
from aioproducer.sasl.scram import Scram, ScramHash
from tests.protocol.agreement import few_examples
from tests.sasl.exchanges import PASSWORD, attempt, refusal, talk

if TYPE_CHECKING:
    from aioproducer.sasl.mechanism import Attempt, Mechanism, Steps

CREDENTIALS = AwsCredentials("AKIDEXAMPLE", PASSWORD, f"session-{PASSWORD}")
MECHANISMS: list[Mechanism] = [
    Plain("alice", PASSWORD),
    Scram(ScramHash.SHA_256, "alice", PASSWORD),
    Scram(ScramHash.SHA_512, "alice", PASSWORD, delegation_token=True, prepare_password=True),
    OAuthBearer(Token(PASSWORD, extensions={"logicalCluster": "lkc-1"})),
    AwsMskIam(CREDENTIALS, region="eu-west-1"),
]
each_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda mechanism: mechanism.name)

# Pieces that take a hostile broker past the first checks.
PIECES = [
    b"r=fyko+d2lbbFgONRv9qkxdawL", b"abc", b",s=", b"QSXCR+Q6sek8bf92", b",i=", b"4096", b"999999999",
    b"v=", b"e=invalid-proof", b"m=x,", b",", b"=", b"\x01", b"\xff", b"\0", PASSWORD.encode(),
    b'{"status":"invalid_token"}', b'{"version":"2020_10_22"}', b"[" * 5000, b"null", "é".encode(),
]  # fmt: skip


class Looping:
    """A mechanism that refuses after any number of steps."""

    name: ClassVar[str] = "LOOPING"
    blocking: ClassVar[bool] = False
    secrets: ClassVar[tuple[str, ...]] = ("hunter2",)

    def steps(self, attempt: Attempt) -> Steps:  # noqa: ARG002
        """Answer once, then abort."""
        challenge = yield b"one"
        yield Abort(b"bye", challenge.decode())

    def likely_cause(self, attempt: Attempt) -> str:  # noqa: ARG002
        """Return nothing of use."""
        return "check it"


@each_mechanism
@few_examples
@given(answers=st.lists(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20)).map(b"".join), max_size=6))
def test_any_answers_end_or_fail(mechanism: Mechanism, answers: list[bytes]) -> None:
    """Whatever the broker sends, the exchange ends within three answers, or with AuthenticationError."""
    exchange = Exchange(mechanism, attempt())
    exchange.first()
    for number, answer in enumerate(answers):
        data = _next_or_error(exchange, answer)
        if isinstance(data, AuthenticationError):
            assert PASSWORD not in _everything(data)
            break
        if data is None:
            break
        assert number < 3
    if exchange.done:
        with pytest.raises(AuthenticationError, match="the exchange is over"):
            exchange.next(b"")


@each_mechanism
def test_megabytes_are_refused(mechanism: Mechanism) -> None:
    error = refusal(mechanism, bytes(MAX_CHALLENGE + 1))
    assert f"the broker sent 65537 bytes, more than {MAX_CHALLENGE}" in str(error)


@each_mechanism
def test_largest_nonsense_gives_short_error(mechanism: Mechanism) -> None:
    exchange = Exchange(mechanism, attempt())
    exchange.first()
    with contextlib.suppress(AuthenticationError):
        exchange.next(b"\x07" * MAX_CHALLENGE)
    assert len(str(exchange.refused("\x07" * MAX_CHALLENGE))) < 4000


@each_mechanism
def test_secrets_never_show(mechanism: Mechanism) -> None:
    """Neither mechanism nor exchange shows credentials, also when the broker sends them back."""
    exchange = Exchange(mechanism, attempt())
    assert PASSWORD not in repr(mechanism)
    assert PASSWORD not in f"{mechanism}{exchange!r}"
    exchange.first()
    error = exchange.refused(f"the password {PASSWORD} is wrong")
    assert PASSWORD not in _everything(error)
    assert "[hidden]" in str(error)
    assert error.reason == '"the password [hidden] is wrong"'


@pytest.mark.parametrize(
    ("mechanism", "answers"),
    [
        (Plain("alice", f"{PASSWORD}\0"), []),
        (Plain("alice", f"{PASSWORD}\udc80"), []),
        (Scram(ScramHash.SHA_256, "alice", f"{PASSWORD}\udc80"), []),
        (Scram(ScramHash.SHA_256, "alice", f"{PASSWORD}\a", prepare_password=True), []),
        (Scram(ScramHash.SHA_256, "alice", PASSWORD), [b"nonsense"]),
        (
            Scram(ScramHash.SHA_256, "alice", PASSWORD),
            [b"r=fyko+d2lbbFgONRv9qkxdawLx,s=YQ==,i=4096", b"v=YQ=="],
        ),
        (OAuthBearer(Token(f"{PASSWORD} ")), []),
        (OAuthBearer(Token(PASSWORD)), [b"no", b""]),
        (AwsMskIam(CREDENTIALS, region="eu-west-1"), [b"no"]),
        (AwsMskIam(CREDENTIALS), []),
    ],
)
def test_local_variables_show_no_secret(mechanism: Mechanism, answers: list[bytes]) -> None:
    """Tools that report errors show the local variables of each frame."""
    error = refusal(mechanism, *answers)
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    shown = "".join(report.format())
    assert "self = Exchange(" in shown
    assert PASSWORD not in shown


@each_mechanism
def test_pickles_and_copies_are_refused(mechanism: Mechanism) -> None:
    exchange = Exchange(mechanism, attempt())
    for secretive in (mechanism, exchange, CREDENTIALS, Token(PASSWORD)):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="has credentials and cannot be pickled or copied"):
                pickle.dumps(secretive, protocol)
        with pytest.raises(TypeError):
            copy.copy(secretive)


def test_kerberos_mechanism_has_no_secret() -> None:
    assert Gssapi().secrets == ()
    assert repr(Gssapi()) == "Gssapi(service='kafka', principal=None, keytab=None)"


def test_exchange_lives_once() -> None:
    exchange = Exchange(Plain("alice", "pw"), attempt())
    assert not exchange.done
    assert repr(exchange) == "Exchange(PLAIN, NEW)"
    exchange.first()
    with pytest.raises(AuthenticationError, match="the exchange has begun already"):
        exchange.first()
    assert repr(exchange) == "Exchange(PLAIN, FAILED)"


def test_next_needs_first() -> None:
    exchange = Exchange(Plain("alice", "pw"), attempt())
    with pytest.raises(AuthenticationError, match="the broker sent 0 bytes, but the exchange is over"):
        exchange.next(b"")


def test_abort_fails_after_any_answer() -> None:
    """A broker that refused cannot accept later: not with error code 0, and not without a reason."""
    assert talk(Looping(), b"no") == [b"one", b"bye"]
    for answer in (b"", b"welcome"):
        error = refusal(Looping(), b"no", answer)
        assert str(error) == 'LOOPING authentication failed: the broker answered "no"; check it'
        assert error.reason == '"no"'


def test_abort_joins_both_reasons() -> None:
    exchange = Exchange(Looping(), attempt())
    exchange.first()
    exchange.next(b"no")
    assert 'the broker answered "no"; "Authentication failed"; check it' in str(
        exchange.refused("Authentication failed")
    )


def test_refusal_without_reason() -> None:
    exchange = Exchange(Looping(), attempt())
    exchange.first()
    error = exchange.refused(None)
    assert str(error) == "LOOPING authentication failed: the broker refused it without a reason; check it"
    assert error.reason is None


def test_mechanism_without_first_bytes_is_a_mistake() -> None:
    class Silent(Looping):
        def steps(self, attempt: Attempt) -> Steps:  # noqa: ARG002
            return
            yield b""

    with pytest.raises(TypeError, match="the mechanism LOOPING ends before its first bytes"):
        Exchange(Silent(), attempt()).first()


def test_handshake_lists_mechanisms_of_broker() -> None:
    error = not_enabled("PLAIN", ["SCRAM-SHA-256", "GSSAPI"])
    assert str(error) == (
        "PLAIN authentication failed: the broker does not have it enabled, "
        'but "SCRAM-SHA-256, GSSAPI": check sasl_mechanism'
    )
    assert (error.mechanism, error.reason) == ("PLAIN", '"SCRAM-SHA-256, GSSAPI"')
    assert "but none" in str(not_enabled("PLAIN", []))
    assert len(str(not_enabled("PLAIN", ["X" * 100] * 1000))) < 500


def test_names_are_those_of_the_mechanisms() -> None:
    kinds = [kind.mechanism for kind in ScramHash]
    others = [Plain.name, *kinds, OAuthBearer.name, Gssapi.name, AwsMskIam.name]
    assert tuple(others) == NAMES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", '"plain"'),
        ("two\nlines \x1b[31m", r'"two\nlines \x1b[31m"'),
        ("x" * 301, '"' + "x" * 300 + '..."'),
        ("hunter2 hunter2", '"[hidden] [hidden]"'),
        ("x" * 297 + "hunter2", '"' + "x" * 297 + '[hi..."'),
        ("a pw", '"[hidden]"'),
    ],
)
def test_quote(text: str, shown: str) -> None:
    assert quote(text, ("hunter2", "pw", "")) == shown


def _next_or_error(exchange: Exchange, answer: bytes) -> bytes | AuthenticationError | None:
    try:
        return exchange.next(answer)
    except AuthenticationError as error:
        return error


def _everything(error: BaseException) -> str:
    """Return all text of an error: message, attributes, pickle, traceback and context."""
    assert error.__context__ is None
    pickled = pickle.dumps(error).decode("latin-1")
    return "".join([*traceback.format_exception(error), repr(error), repr(vars(error)), pickled])
