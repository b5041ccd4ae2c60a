"""GSSAPI: the negotiation with a fake context, and with a real KDC where one is installed."""

from __future__ import annotations

import contextlib
import sys
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.sasl.gssapi import Gssapi, require_gssapi
from aioproducer.sasl.mechanism import Exchange
from tests.fuzz.mutations import mutate
from tests.sasl.exchanges import attempt, refusal, talk
from tests.sasl.kdc import PROGRAMS, REALM, Kdc, find

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_LAYER = b"\x01\x00\x00\x00"


class FakeGssError(Exception):
    """The base of the errors of the package."""


class FakeContext:
    """A context that completes after `rounds` answers; wrapped bytes begin with `wrapped:`."""

    rounds = 1
    mutual = True

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401
        self.arguments = arguments
        self.answers: list[bytes | None] = []
        self.initiator_name = "alice@LAB.TEST"

    @property
    def complete(self) -> bool:
        return len(self.answers) > self.rounds

    @property
    def actual_flags(self) -> set[str]:
        return {"mutual"} if self.mutual else set()

    def step(self, answer: bytes | None) -> bytes | None:
        if answer == b"bad":
            message = "Invalid token was supplied"
            raise FakeGssError(message)
        self.answers.append(answer)
        return None if self.complete else b"token%d" % len(self.answers)

    def unwrap(self, data: bytes) -> SimpleNamespace:
        if not data.startswith(b"wrapped:"):
            message = "A token had an invalid signature"
            raise FakeGssError(message)
        return SimpleNamespace(message=data.removeprefix(b"wrapped:"))

    def wrap(self, data: bytes, *, encrypt: bool) -> SimpleNamespace:
        assert not encrypt
        return SimpleNamespace(message=b"wrapped:" + data)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> type[FakeContext]:
    """Replace the package by a fake, whose contexts are of a class that tests change."""
    kind = type("Context", (FakeContext,), {})
    flags = SimpleNamespace(mutual_authentication="mutual", integrity="i", out_of_sequence_detection="s")
    package = SimpleNamespace(
        SecurityContext=kind,
        Name=lambda name, name_type: (name, name_type),
        NameType=SimpleNamespace(hostbased_service="service"),
        MechType=SimpleNamespace(kerberos="kerberos"),
        RequirementFlag=flags,
        exceptions=SimpleNamespace(GSSError=FakeGssError),
    )
    monkeypatch.setitem(sys.modules, "gssapi", package)
    return kind


@pytest.mark.usefixtures("context")
def test_negotiation() -> None:
    """The client sends its own principal, as Java does, and not the service."""
    sent = talk(Gssapi(), b"answer", b"wrapped:" + NO_LAYER, b"")
    assert sent == [b"token1", b"", b"wrapped:" + NO_LAYER + b"alice@LAB.TEST", None]


def test_service_and_flags(context: type[FakeContext], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(context, "__init__", lambda _, **arguments: made.append(arguments))
    monkeypatch.setattr(context, "step", lambda *_: b"token")
    Exchange(Gssapi("kfk"), attempt(host="kafka-1.example.com")).first()
    assert made == [
        {
            "name": ("kfk@kafka-1.example.com", "service"),
            "mech": "kerberos",
            "flags": ["mutual", "i", "s"],
            "usage": "initiate",
        }
    ]


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize("layers", [b"\x07\x00\xff\xff", b"\x01\x00\x00\x00", b"\x05\x00\x10\x00"])
def test_no_layer_is_chosen_from_any_list(layers: bytes) -> None:
    assert talk(Gssapi(), b"", b"wrapped:" + layers, b"anything")[2] == b"wrapped:\x01\0\0\0alice@LAB.TEST"


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b"bad"], '"Invalid token was supplied"; check that the broker\'s keytab has the current key'),
        ([b"", b"unwrapped"], '"A token had an invalid signature"; check that the broker'),
        ([b"", b"wrapped:"], "list of security layers is malformed"),
        ([b"", b"wrapped:\x01\x00\x00"], "list of security layers is malformed"),
        ([b"", b"wrapped:\x01\x00\x00\x00\x00"], "list of security layers is malformed"),
        ([b"", b"wrapped:\x06\x00\x00\x00"], "requires a Kerberos security layer"),
        ([b"", b"wrapped:\x00\x00\x00\x00"], "requires a Kerberos security layer"),
    ],
)
def test_hostile_answers(answers: list[bytes], message: str) -> None:
    error = refusal(Gssapi(), *answers)
    assert message in str(error)
    assert error.__context__ is None


def test_endless_context_is_bounded(context: type[FakeContext], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "rounds", 1000)
    error = refusal(Gssapi(), b"", b"", b"", b"")
    assert "more tokens than Kerberos has" in str(error)


def test_mutual_authentication_is_required(
    context: type[FakeContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "mutual", False)
    error = refusal(Gssapi(), b"", b"wrapped:" + NO_LAYER)
    assert "did not prove that it is the service" in str(error)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            "Minor: No Kerberos credentials available",
            "there is no ticket: run kinit, or set sasl_kerberos_keytab",
        ),
        ("Minor: Ticket expired", "the ticket has expired: run kinit"),
        ("Server kafka/x@X not found in Kerberos database", "the KDC does not know kafka/localhost: check"),
        ("Client 'bob@X' not found in Kerberos database", "the KDC does not know the user"),
        ("No credentials were supplied, Minor: Cannot contact any KDC", "the KDC cannot be reached"),
        ("Minor: Clock skew too great", "the clocks of this machine, the KDC and the broker must agree"),
        ("Cannot contact any KDC for realm 'X'", "the KDC cannot be reached"),
        ("Cannot find KDC for realm 'X'", "the realm has no KDC"),
        ("Minor: other", "the broker's keytab has the current key of kafka/localhost"),
    ],
)
def test_errors_name_causes(
    context: type[FakeContext], monkeypatch: pytest.MonkeyPatch, message: str, cause: str
) -> None:
    def step(*_: object) -> None:
        raise FakeGssError(message)

    monkeypatch.setattr(context, "step", step)
    text = str(refusal(Gssapi()))
    assert message in text
    assert cause in text


@pytest.mark.usefixtures("context")
def test_kerberos_without_keytabs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        message = "no credentials store"
        raise NotImplementedError(message)

    monkeypatch.setattr(sys.modules["gssapi"], "Credentials", refuse, raising=False)
    with pytest.raises(ConfigurationError, match="sasl_kerberos_keytab needs MIT Kerberos; set KRB5_CLIENT"):
        Exchange(Gssapi(keytab="/alice.keytab"), attempt()).first()


def test_missing_package_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gssapi", None)
    for use in (require_gssapi, Exchange(Gssapi(), attempt()).first):
        with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[gssapi\]'"):
            use()


# With a real KDC.


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    pytest.importorskip("gssapi", reason="the extra gssapi is not installed", exc_type=ImportError)
    if missing := [program for program in PROGRAMS if find(program) is None]:
        pytest.skip(f"no KDC: {', '.join(missing)} not found")
    with Kdc(tmp_path_factory.mktemp("kdc")).run() as kdc:
        yield kdc


@pytest.fixture
def kdc(realm: Kdc, monkeypatch: pytest.MonkeyPatch) -> Kdc:
    for name, value in realm.environment.items():
        monkeypatch.setenv(name, value)
    return realm


@pytest.fixture
def alice(kdc: Kdc, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> str:  # noqa: ANN401
    """Be alice, with a client keytab: the library fetches the ticket by itself."""
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(kdc.keytab("alice")))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cache'}")
    return f"alice@{REALM}"


class Acceptor:
    """The broker's side of RFC 4752, with the keytab of a service."""

    def __init__(self, kdc: Kdc, principal: str = "kafka/localhost") -> None:
        gssapi = require_gssapi()
        store = {b"keytab": f"FILE:{kdc.keytab(principal)}".encode()}
        self.context = gssapi.SecurityContext(
            creds=gssapi.Credentials(usage="accept", store=store), usage="accept"
        )

    def accept(self, token: bytes) -> bytes:
        return bytes(self.context.step(token) or b"")

    def layers(self, layers: bytes) -> bytes:
        return bytes(self.context.wrap(layers, False).message)  # noqa: FBT003 -- not encrypted

    def choice(self, wrapped: bytes) -> bytes:
        return bytes(self.context.unwrap(wrapped).message)


def test_real_ticket(kdc: Kdc, alice: str) -> None:
    acceptor = Acceptor(kdc)
    exchange = Exchange(Gssapi(), attempt())

    proof = acceptor.accept(exchange.first())
    assert acceptor.context.complete
    assert exchange.next(proof) == b""
    wrapped = exchange.next(acceptor.layers(b"\x01\x00\x00\x00"))

    assert wrapped is not None
    assert acceptor.choice(wrapped) == b"\x01\x00\x00\x00" + alice.encode()
    assert str(acceptor.context.initiator_name) == alice
    assert exchange.next(b"") is None
    assert exchange.done


@pytest.mark.usefixtures("alice")
def test_forged_proofs_are_refused(kdc: Kdc) -> None:
    """A broker without the service's key cannot prove itself: no change of its token is accepted."""
    proof = Acceptor(kdc).accept(Exchange(Gssapi(), attempt()).first())
    for answer in (b"", b"x", b"\x60\x82\xff\xff", proof, proof[:-1], bytes(60_000)):
        error = refusal(Gssapi(), answer)
        assert "GSSAPI authentication failed" in str(error)
        assert error.__context__ is None


@pytest.mark.usefixtures("alice")
def test_changed_proofs_end_or_fail(kdc: Kdc) -> None:
    """Nothing but AuthenticationError comes out of the library."""
    random = Random(9)  # noqa: S311 -- reproducible
    for _ in range(40):
        exchange = Exchange(Gssapi(), attempt())
        proof = Acceptor(kdc).accept(exchange.first())
        with contextlib.suppress(AuthenticationError):
            exchange.next(mutate(proof, random, [proof]))
            exchange.next(mutate(proof, random, [proof]))
        assert not exchange.done


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("forgery", ["empty", "not wrapped", "changed"])
def test_forged_layers_are_refused(kdc: Kdc, forgery: str) -> None:
    acceptor = Acceptor(kdc)
    exchange = Exchange(Gssapi(), attempt())
    exchange.next(acceptor.accept(exchange.first()))
    layers = acceptor.layers(NO_LAYER)
    changed = layers[:-1] + bytes([layers[-1] ^ 1])
    with pytest.raises(AuthenticationError, match="GSSAPI authentication failed"):
        exchange.next({"empty": b"", "not wrapped": NO_LAYER, "changed": changed}[forgery])


@pytest.mark.usefixtures("alice")
def test_refusal_names_keytab() -> None:
    """The error of the broker names its keytab: a client cannot know more."""
    exchange = Exchange(Gssapi(), attempt())
    exchange.first()
    assert "the broker's keytab has the current key of kafka/localhost" in str(exchange.refused(None))


@pytest.mark.usefixtures("alice")
def test_unknown_service() -> None:
    text = str(refusal(Gssapi("other"), at=attempt(host="localhost")))
    assert "the KDC does not know other/localhost" in text


@pytest.mark.parametrize("principal", [None, "alice", f"alice@{REALM}"])
def test_keytab_of_option(kdc: Kdc, principal: str | None) -> None:
    """The process has no ticket, and gets no cache either: another program may use it."""
    for _ in range(2):
        acceptor = Acceptor(kdc)
        acceptor.accept(
            Exchange(Gssapi(principal=principal, keytab=str(kdc.keytab("alice"))), attempt()).first()
        )
        assert str(acceptor.context.initiator_name) == f"alice@{REALM}"
    assert not (kdc.folder / "no-cache").exists()


def test_keytab_without_principal_of_option(kdc: Kdc) -> None:
    keytab = str(kdc.keytab("alice"))
    text = str(refusal(Gssapi(principal="bob", keytab=keytab)))
    assert f"check that sasl_kerberos_keytab {keytab!r} can be read and has a key of 'bob'" in text


@pytest.mark.usefixtures("kdc")
def test_unreadable_keytab(tmp_path: Any) -> None:  # noqa: ANN401
    missing = str(tmp_path / "missing")
    text = str(refusal(Gssapi(keytab=missing)))
    assert f"check that sasl_kerberos_keytab {missing!r} can be read and has the client's key" in text


def test_principal_without_keytab(kdc: Kdc, alice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    acceptor = Acceptor(kdc)
    acceptor.accept(Exchange(Gssapi(principal="alice"), attempt()).first())
    assert str(acceptor.context.initiator_name) == alice
    monkeypatch.delenv("KRB5_CLIENT_KTNAME")
    text = str(refusal(Gssapi(principal="bob")))
    assert "run kinit for 'bob', or set sasl_kerberos_keytab" in text


@pytest.mark.usefixtures("kdc")
def test_missing_ticket() -> None:
    assert "there is no ticket: run kinit" in str(refusal(Gssapi()))


@pytest.mark.usefixtures("alice")
def test_unreachable_kdc(kdc: Kdc, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:  # noqa: ANN401
    other = Kdc(tmp_path)
    monkeypatch.setenv("KRB5_CONFIG", str(other.folder / "krb5.conf"))
    assert "the KDC cannot be reached" in str(refusal(Gssapi()))
    assert kdc.port != other.port
