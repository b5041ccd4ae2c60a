"""Kafka's own SASL servers accept the mechanisms, without a broker around them."""

from __future__ import annotations

import secrets
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aioproducer.errors import AuthenticationError
from aioproducer.sasl.gssapi import Gssapi
from aioproducer.sasl.mechanism import Attempt, Exchange
from aioproducer.sasl.oauthbearer import OAuthBearer, Token
from aioproducer.sasl.plain import Plain
from aioproducer.sasl.scram import Scram, ScramHash
from tests.integration import jvm
from tests.integration.conftest import OLDER
from tests.integration.maven import NEWEST, Libraries
from tests.sasl.kdc import PROGRAMS, REALM, Kdc, find

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aioproducer.sasl.mechanism import Mechanism

SOURCE = Path(__file__).with_name("SaslServers.java")

# Passwords as Kafka stores them: SASLprep would change the second one and prohibit the third.
PASSWORDS = ["alice-secret", "m²µ½ €", "\u200dtab\t"]


class RefusedError(Exception):
    """The server raised; a broker would answer SASL_AUTHENTICATION_FAILED."""


class SaslServers:
    """A Java process with Kafka's servers."""

    def __init__(self, libraries: Libraries, options: Sequence[str] = ()) -> None:
        self.process = jvm.start(
            jvm.command(libraries, str(SOURCE), [], [*jvm.QUICK_START, *options]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def add_user(self, name: str, password: str) -> None:
        assert self._ask(f"user {name.encode().hex()} {password.encode().hex()}") == "ok"

    def authenticate(self, mechanism: Mechanism) -> str:
        """Return what the server knows of the client at the end: its user and its extensions."""
        exchange = Exchange(mechanism, Attempt("localhost", time.time(), secrets.token_hex(16)))
        assert self._ask(f"new {exchange.mechanism}") == "ok"
        data: bytes | None = exchange.first()
        known = ""
        while data is not None:
            state, _, rest = self._ask(f"step {data.hex() or '-'}").partition(" ")
            if state == "error":
                raise RefusedError(rest) from exchange.refused(rest)
            answer, _, known = rest.partition(" ")
            data = exchange.next(b"" if answer == "-" else bytes.fromhex(answer))
            assert (data is None) == (state == "complete")
        assert exchange.done
        return known

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().rstrip("\n")
        assert answer, "the Java process ended"
        return answer


@pytest.fixture(scope="module", params=[NEWEST, OLDER])
def servers(request: pytest.FixtureRequest) -> Iterator[SaslServers]:
    servers = SaslServers(Libraries.fetch(request.param))
    try:
        yield servers
    finally:
        servers.close()


@pytest.mark.parametrize("password", PASSWORDS)
def test_plain(servers: SaslServers, password: str) -> None:
    servers.add_user("alice", password)
    assert servers.authenticate(Plain("alice", password)).split()[0] == "alice"
    with pytest.raises(RefusedError, match="Invalid username or password"):
        servers.authenticate(Plain("alice", password + "x"))


@pytest.mark.parametrize("kind", ScramHash)
@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", ["alice", "a,b=c", "=2C"])
def test_scram(servers: SaslServers, kind: ScramHash, name: str, password: str) -> None:
    servers.add_user(name, password)
    assert servers.authenticate(Scram(kind, name, password)).startswith(f"{name} ")
    with pytest.raises(RefusedError, match="Invalid client credentials"):
        servers.authenticate(Scram(kind, name, password + "x"))
    with pytest.raises(RefusedError, match="Invalid user"):
        servers.authenticate(Scram(kind, "mallory", password))


def test_saslprep_breaks_kafka(servers: SaslServers) -> None:
    """Kafka stores the password unprepared: a client that prepares it has another one."""
    servers.add_user("alice", "m²")
    with pytest.raises(RefusedError):
        servers.authenticate(Scram(ScramHash.SHA_256, "alice", "m²", prepare_password=True))


@pytest.mark.parametrize("kind", ScramHash)
def test_delegation_token(servers: SaslServers, kind: ScramHash) -> None:
    servers.add_user("token:token-id", "hmac==")
    mechanism = Scram(kind, "token-id", "hmac==", delegation_token=True)
    assert servers.authenticate(mechanism).split()[0] == "owner-of-token-id"


def test_oauthbearer(servers: SaslServers) -> None:
    assert servers.authenticate(OAuthBearer(Token("good.token.sig"))).split()[0] == (
        "principal-of-good.token.sig"
    )


def test_oauthbearer_extensions(servers: SaslServers) -> None:
    token = Token("good", extensions={"logicalCluster": "lkc-1", "identityPoolId": "a b\t~"})
    known = servers.authenticate(OAuthBearer(token))
    assert known == "principal-of-good {identityPoolId=a b\t~, logicalCluster=lkc-1}"


def test_oauthbearer_refusal(servers: SaslServers) -> None:
    """The server sends JSON first, and refuses after the client's last byte."""
    with pytest.raises(RefusedError) as caught:
        servers.authenticate(OAuthBearer(Token("bad.token")))
    assert isinstance(caught.value.__cause__, AuthenticationError)
    assert str(caught.value.__cause__).startswith(
        'OAUTHBEARER authentication failed: the broker answered "invalid_token (scope: kafka)"; "'
    )


# GSSAPI is of the JDK, as in the broker.


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    pytest.importorskip("gssapi", reason="the extra gssapi is not installed", exc_type=ImportError)
    if missing := [program for program in PROGRAMS if find(program) is None]:
        pytest.skip(f"no KDC: {', '.join(missing)} not found")
    with Kdc(tmp_path_factory.mktemp("kdc")).run() as kdc:
        yield kdc


def test_gssapi(kdc: Kdc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The authorization id is the user, as Java sends it."""
    for name, value in kdc.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(kdc.keytab("alice")))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cache'}")
    options = [
        f"-Djava.security.krb5.conf={kdc.folder / 'krb5.conf'}",
        f"-Dkeytab={kdc.keytab('kafka/localhost')}",
    ]
    servers = SaslServers(Libraries.fetch(NEWEST), options)
    try:
        known = servers.authenticate(Gssapi())
    finally:
        servers.close()
    assert known.split()[0] == f"alice@{REALM},alice@{REALM}"
