"""No connection shows a secret: in no log, error, traceback, repr or metric, whatever goes wrong.

Each case runs a producer with recognisable secrets against a fake cluster, and collects every text that
the package gives out. `test_secret_options.py` is about configurations.
"""

from __future__ import annotations

import asyncio
import base64
import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer import Producer, ProducerConfig, ProducerError, Token
from aioproducer.testing import AcceptedToken, ApiKey, Certificates, FakeCluster
from tests.support.leaks import (
    CA,
    CHAIN,
    PASSPHRASE,
    PASSWORD,
    TOKEN,
    WRONG,
    Texts,
    collected,
    password,
    raises_secret,
    related,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT = 30.0


@pytest.fixture
def texts() -> Iterator[Texts]:
    with collected() as texts:
        yield texts


def no_script(_cluster: FakeCluster) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """One run: the cluster, the options, the fault, and a part of the error's text (None: it works)."""

    cluster: dict[str, Any]
    options: dict[str, Any]
    error: str | None = None
    script: Callable[[FakeCluster], None] = field(default=no_script)


def sasl(mechanism: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any option
    return {"security": "SASL_SSL", "sasl_mechanisms": [mechanism], **more}


USERS = {"users": {"alice": PASSWORD}}
TOKENS = {"tokens": {TOKEN: AcceptedToken("alice")}}


async def raises_secret_later() -> str:
    try:
        raises_secret()
    except RuntimeError as error:
        message = f"still cannot use {TOKEN}"
        raise LookupError(message) from error
    return ""


def refuses_with(secret: str) -> Callable[[FakeCluster], None]:
    def script(cluster: FakeCluster) -> None:
        cluster.on(ApiKey.SASL_AUTHENTICATE, times=None).rewrite(
            lambda response: replace(response, error_code=58, error_message=f"no user has {secret}")
        )

    return script


def answers(data: bytes | Callable[[bytes], bytes]) -> Callable[[FakeCluster], None]:
    def script(cluster: FakeCluster) -> None:
        cluster.on(ApiKey.SASL_AUTHENTICATE, times=None).answer_auth_bytes(data)

    return script


def garbles(api: ApiKey, secret: str) -> Callable[[FakeCluster], None]:
    def script(cluster: FakeCluster) -> None:
        cluster.on(api, times=None).answer_bytes(secret.encode() * 9)

    return script


def echo(data: bytes) -> bytes:
    return data


SCRAM = "SCRAM-SHA-256"

CASES = {
    "plain": Case(sasl("PLAIN", **USERS), password("PLAIN")),
    "scram": Case(sasl("SCRAM-SHA-512", **USERS), password("SCRAM-SHA-512")),
    "oauthbearer": Case(sasl("OAUTHBEARER", **TOKENS), token(lambda: TOKEN)),
    "token with attributes": Case(
        sasl("OAUTHBEARER", **TOKENS), token(lambda: Token(TOKEN, principal="alice", extensions={"a": "b"}))
    ),
    "callable": Case(sasl("PLAIN", **USERS), password("PLAIN", lambda: PASSWORD)),
    "partial": Case(sasl("PLAIN", **USERS), password("PLAIN", functools.partial(str, PASSWORD))),
    "wrong password": Case(sasl("PLAIN", **USERS), password("PLAIN", WRONG), "check sasl_username ('alice')"),
    "wrong scram password": Case(
        sasl(SCRAM, **USERS), password(SCRAM, WRONG), "check sasl_username ('alice')"
    ),
    "wrong token": Case(sasl("OAUTHBEARER", **TOKENS), token(lambda: f"{TOKEN}.x"), "invalid_token"),
    "expired token": Case(
        sasl("OAUTHBEARER", **TOKENS), token(lambda: Token(f"{TOKEN}.x", expires_at=1.0)), "expired"
    ),
    "password in the refusal": Case(
        sasl("PLAIN", **USERS), password("PLAIN"), "[hidden]", refuses_with(PASSWORD)
    ),
    "scram password in the refusal": Case(
        sasl(SCRAM, **USERS), password(SCRAM), "[hidden]", refuses_with(PASSWORD)
    ),
    "token in the refusal": Case(
        sasl("OAUTHBEARER", **TOKENS), token(lambda: TOKEN), "[hidden]", refuses_with(TOKEN)
    ),
    "token in the answer": Case(
        sasl("OAUTHBEARER", **TOKENS),
        token(lambda: TOKEN),
        "[hidden]",
        answers(b'{"status": "no %s"}' % TOKEN.encode()),
    ),
    "token sent back": Case(sasl("OAUTHBEARER", **TOKENS), token(lambda: TOKEN), "[hidden]", answers(echo)),
    "scram message sent back": Case(sasl(SCRAM, **USERS), password(SCRAM), SCRAM, answers(echo)),
    "password in scram's error": Case(
        sasl(SCRAM, **USERS), password(SCRAM), "[hidden]", answers(b"e=" + PASSWORD.encode())
    ),
    "password as scram's answer": Case(
        sasl(SCRAM, **USERS), password(SCRAM), SCRAM, answers(PASSWORD.encode())
    ),
    "garbage for SaslHandshake": Case(
        sasl("PLAIN", **USERS), password("PLAIN"), "", garbles(ApiKey.SASL_HANDSHAKE, PASSWORD)
    ),
    "garbage for SaslAuthenticate": Case(
        sasl("PLAIN", **USERS), password("PLAIN"), "", garbles(ApiKey.SASL_AUTHENTICATE, PASSWORD)
    ),
    "no such mechanism": Case(sasl(SCRAM, **USERS), password("PLAIN"), "it has SCRAM-SHA-256"),
    "password callable raises": Case(
        sasl("PLAIN", **USERS), password("PLAIN", raises_secret), "sasl_password raised RuntimeError"
    ),
    "async password callable raises": Case(
        sasl("PLAIN", **USERS), password("PLAIN", raises_secret_later), "sasl_password raised LookupError"
    ),
    "token provider raises": Case(sasl("OAUTHBEARER", **TOKENS), token(raises_secret), "RuntimeError"),
    "async token provider raises": Case(
        sasl("OAUTHBEARER", **TOKENS), token(raises_secret_later), "LookupError"
    ),
    "password of a wrong type": Case(
        sasl("PLAIN", **USERS), password("PLAIN", PASSWORD.encode), "sasl_password must give"
    ),
    "token of a wrong type": Case(
        sasl("OAUTHBEARER", **TOKENS), token(lambda: {"access_token": TOKEN}), "returned dict"
    ),
    "unusable token": Case(sasl("OAUTHBEARER", **TOKENS), token(lambda: f"Bearer {TOKEN}"), "Bearer"),
    "wrong CA": Case(
        {"security": "SSL", "certificates": Certificates.make()},
        {"ssl_truststore_certificates": CHAIN, "ssl_context": None},
        "is not trusted",
    ),
    "TLS on a port without": Case(
        {"security": "SASL_PLAINTEXT", **USERS},
        {"security_protocol": "SASL_SSL", **password("PLAIN")},
        "does not speak TLS",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_connection_shows_no_secret(texts: Texts, case: Case) -> None:
    async with FakeCluster(topics={"orders": 1}, **case.cluster) as cluster, asyncio.timeout(TIMEOUT):
        case.script(cluster)
        options = {**cluster.client_options, "max_block_ms": 2000, **case.options}
        config = ProducerConfig(**{name: value for name, value in options.items() if value is not None})
        producer = Producer.from_config(config)
        error: ProducerError | None = None
        try:
            await producer.start()
            await producer.send("orders", b"tea")
        except ProducerError as raised:
            error = raised
            texts.add_error(error)
        texts.add_objects(producer)
        texts.add("metrics", producer.metrics())
        await producer.stop(0)
        texts.add_objects(producer)

    if case.error is None:
        assert error is None
    else:
        assert case.error in str(error)


async def test_running_producer_shows_no_secret(texts: Texts) -> None:
    """The password changes, the connection is lost, and the records fail in the background."""
    async with (
        FakeCluster(topics={"orders": 1}, **sasl("PLAIN", **USERS)) as cluster,
        asyncio.timeout(TIMEOUT),
    ):
        limits: dict[str, Any] = {"linger_ms": 0, "request_timeout_ms": 500, "delivery_timeout_ms": 1000}
        producer = Producer(**cluster.client_options, **limits)
        await producer.start()
        await producer.send("orders", b"tea")
        cluster.set_user("alice", WRONG)
        cluster.drop_connections()
        with pytest.raises(ProducerError) as failed:
            await producer.send("orders", b"tea")
        texts.add_error(failed.value)
        texts.add_objects(producer)
        await producer.stop(0)

    assert "check sasl_username" in "".join(map(str, related(failed.value)))


async def test_client_key_shows_no_secret(texts: Texts) -> None:
    """The key is encrypted, as PEM text, and the broker requires the certificate."""
    issued = CA.issue("client")
    certificates = Certificates.make()
    trusting = replace(certificates, ca=replace(certificates.ca, certificate=CA.pem))
    async with (
        FakeCluster(
            topics={"orders": 1}, security="SSL", client_auth="required", certificates=trusting
        ) as cluster,
        asyncio.timeout(TIMEOUT),
    ):
        producer = Producer(
            cluster.bootstrap,
            security_protocol="SSL",
            ssl_truststore_certificates=certificates.ca.certificate,
            ssl_keystore_certificate_chain=issued.chain_pem,
            ssl_keystore_key=issued.key_pem(PASSPHRASE),
            ssl_key_password=PASSPHRASE,
        )
        await producer.start()
        await producer.send("orders", b"tea")
        texts.add_objects(producer)
        await producer.stop()


def test_leak_is_found(texts: Texts) -> None:
    """The search itself works: it looks into causes, pickles and encoded forms."""
    found = Texts()
    try:
        raises_secret()
    except RuntimeError as error:
        found.add_error(ProducerError("failed"))
        assert not found.leaks()
        wrapped = ProducerError("failed")
        wrapped.__context__ = error
        found.add_error(wrapped)
    assert found.leaks()
    encoded = Texts()
    encoded.add("base64", base64.b64encode(PASSWORD.encode()).decode())
    assert encoded.leaks()
    assert "hunter2" not in texts
