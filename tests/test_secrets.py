"""No secret shows: in no log, error, traceback, repr, metric or pickle, whatever goes wrong.

Each case runs a producer with recognisable secrets against a fake cluster, and collects every text that
the package gives out.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import logging
import pickle
import traceback
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

import aioproducer
from aioproducer import Producer, ProducerConfig, ProducerError
from aioproducer.sasl.oauthbearer import Token
from aioproducer.testing import AcceptedToken, ApiKey, Certificates, FakeCluster
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSWORD = "hunter2-the-password"  # noqa: S105 - made for these tests
WRONG = "hunter3-the-wrong-password"
TOKEN = "hunter4.the.token"  # noqa: S105
CLIENT_SECRET = "hunter5-the-client-secret"  # noqa: S105
PASSPHRASE = "hunter6-the-passphrase"  # noqa: S105

CA = Authority("Test CA")
KEY = CA.issue("client").key_pem(PASSPHRASE)
CHAIN = CA.issue("client").chain_pem

TIMEOUT = 30.0


def forms(secret: str) -> Iterator[str]:
    """Yield a secret as text may show it."""
    yield secret
    yield repr(secret)[1:-1]
    yield base64.b64encode(secret.encode()).decode()
    # Each line of a PEM text alone.
    yield from (line for line in secret.splitlines() if len(line) > 40)


SECRETS = {
    form for secret in (PASSWORD, WRONG, TOKEN, CLIENT_SECRET, PASSPHRASE, KEY) for form in forms(secret)
}


class Texts:
    """Every text that was given out, with its place."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, str]] = []

    def add(self, place: str, text: object) -> None:
        self._texts.append((place, str(text)))

    def add_error(self, error: BaseException) -> None:
        """Add an error with its causes, contexts, attributes, traceback and pickle."""
        self.add("traceback", "".join(traceback.format_exception(error)))
        for each in related(error):
            self.add("str", each)
            self.add("repr", repr(each))
            self.add("attributes", vars(each))
            self.add("notes", getattr(each, "__notes__", ()))
            if isinstance(each, ProducerError):
                self.add("pickle", pickle.dumps(each))

    def add_objects(self, root: object) -> None:
        """Add the reprs of all objects of the package that `root` leads to."""
        for each in reachable(root):
            self.add(f"repr of {type(each).__name__}", repr(each))

    def leaks(self) -> list[tuple[str, str]]:
        return [(place, text) for place, text in self._texts if any(secret in text for secret in SECRETS)]

    def __contains__(self, text: str) -> bool:
        return any(text in each for _, each in self._texts)


def related(error: BaseException) -> list[BaseException]:
    """Return an error with its causes and contexts, and those of each address."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or any(each is other for other in found):
            continue
        found.append(each)
        waiting += [each.__cause__, each.__context__, *getattr(each, "causes", {}).values()]
    return found


def reachable(root: object) -> list[object]:
    """Return the objects of the package that `root` leads to, through attributes and containers."""
    found: list[object] = []
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, dict):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += each
        if type(each).__module__.startswith("aioproducer"):
            found.append(each)
            waiting += attributes(each)
    return found


def attributes(each: object) -> list[object]:
    names = set(getattr(each, "__dict__", ()))
    for kind in type(each).__mro__:
        slots = getattr(kind, "__slots__", ())
        names.update((slots,) if isinstance(slots, str) else slots)
    return [getattr(each, name) for name in names if hasattr(each, name)]


@pytest.fixture
def texts() -> Iterator[Texts]:
    """Collect all logs, at every level."""
    texts = Texts()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s"))
    names = ["asyncio", *[name for name in logging.root.manager.loggerDict if name.startswith("aioproducer")]]
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    levels = [logger.level for logger in loggers]
    logging.getLogger().addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield texts
    logging.getLogger().removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    texts.add("logs", stream.getvalue())
    assert texts.leaks() == []


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


def password(mechanism: str, value: object = PASSWORD) -> dict[str, Any]:
    return {"sasl_mechanism": mechanism, "sasl_username": "alice", "sasl_password": value}


def token(provider: Callable[[], Any]) -> dict[str, Any]:
    return {"sasl_mechanism": "OAUTHBEARER", "sasl_token_provider": provider, "request_timeout_ms": 1000}


USERS = {"users": {"alice": PASSWORD}}
TOKENS = {"tokens": {TOKEN: AcceptedToken("alice")}}


def raises_secret() -> str:
    message = f"cannot use {PASSWORD} and {TOKEN}"
    raise RuntimeError(message)


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


CONFIGS: dict[str, dict[str, Any]] = {
    "password": {"security_protocol": "SASL_SSL", **password("PLAIN")},
    "partial": {"security_protocol": "SASL_SSL", **password("PLAIN", functools.partial(str, PASSWORD))},
    "bound method": {"security_protocol": "SASL_SSL", **password("PLAIN", PASSWORD.swapcase)},
    "partial for the user name": {
        "security_protocol": "SASL_SSL",
        **password("PLAIN"),
        "sasl_username": functools.partial(str, PASSWORD),
    },
    "token provider": {"security_protocol": "SASL_SSL", **token(functools.partial(str, TOKEN))},
    "client secret": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": "https://login.example.com/token",
        "sasl_oauthbearer_client_credentials_client_id": "me",
        "sasl_oauthbearer_client_credentials_client_secret": CLIENT_SECRET,
    },
    "assertion": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": "https://login.example.com/token",
        "sasl_oauthbearer_assertion_private_key_file": "key.pem",
        "sasl_oauthbearer_assertion_private_key_passphrase": PASSPHRASE,
    },
    "key": {
        "security_protocol": "SSL",
        "ssl_keystore_key": KEY,
        "ssl_keystore_certificate_chain": CHAIN,
        "ssl_key_password": PASSPHRASE,
    },
    "stores": {
        "security_protocol": "SSL",
        "ssl_keystore_location": "client.p12",
        "ssl_keystore_password": PASSPHRASE,
        "ssl_truststore_location": "ca.p12",
        "ssl_truststore_password": PASSPHRASE,
    },
}


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_config_shows_no_secret(texts: Texts, options: dict[str, Any]) -> None:
    config = ProducerConfig(bootstrap_servers="localhost:9092", **options)

    texts.add_objects(config)
    texts.add("format", f"{config} {config!s} {config:}")
    with pytest.raises(TypeError) as refused:
        pickle.dumps(config)
    texts.add_error(refused.value)

    assert "[hidden]" in repr(config)


MISTAKES: dict[str, dict[str, Any]] = {
    "password beside PLAINTEXT": password("PLAIN"),
    "password as bytes": {"security_protocol": "SASL_SSL", **password("PLAIN", PASSWORD.encode())},
    "password with a surrogate": {"security_protocol": "SASL_SSL", **password("PLAIN", f"{PASSWORD}\ud800")},
    "key in the place of certificates": {"security_protocol": "SSL", "ssl_truststore_certificates": KEY},
    "key in the place of a path": {"security_protocol": "SSL", "ssl_key_location": KEY},
    "key without its certificate": {"security_protocol": "SSL", "ssl_keystore_key": KEY},
    "passphrase of the key alone": {"security_protocol": "SSL", "ssl_key_password": PASSPHRASE},
    "key of a wrong type": {"security_protocol": "SSL", "ssl_keystore_key": KEY.encode()},
    "secret without its id": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": "https://login.example.com/token",
        "sasl_oauthbearer_client_credentials_client_secret": CLIENT_SECRET,
    },
    "secret in the URL": {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": f"https://me:{CLIENT_SECRET}@login.example.com/token",
    },
    "token in the place of its provider": {"security_protocol": "SASL_SSL", **token(TOKEN)},  # type: ignore[arg-type]
    "misspelt option": {"security_protocol": "SASL_SSL", "sasl_pasword": PASSWORD},
}


@pytest.mark.parametrize("options", MISTAKES.values(), ids=MISTAKES)
def test_mistake_shows_no_secret(texts: Texts, options: dict[str, Any]) -> None:
    properties = {name.replace("_", "."): value for name, value in options.items()}

    with pytest.raises(ProducerError) as refused:
        ProducerConfig(bootstrap_servers="localhost:9092", **options)
    texts.add_error(refused.value)
    with pytest.raises(ProducerError) as refused:
        ProducerConfig.from_properties(properties, bootstrap_servers="localhost:9092")
    texts.add_error(refused.value)


def _unreadable(**options: Any) -> dict[str, Any]:  # noqa: ANN401 - any option
    return {"security_protocol": "SSL", "ssl_keystore_certificate_chain": CHAIN, **options}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(_unreadable(ssl_keystore_key=KEY), id="no passphrase"),
        pytest.param(_unreadable(ssl_keystore_key=KEY, ssl_key_password=WRONG), id="wrong passphrase"),
        pytest.param(_unreadable(ssl_keystore_key=KEY, ssl_key_password=PASSPHRASE), id="other certificate"),
        pytest.param(
            _unreadable(
                ssl_keystore_key=KEY.replace(KEY.splitlines()[2], "AAAA"), ssl_key_password=PASSPHRASE
            ),
            id="damaged key",
        ),
    ],
)
async def test_unusable_key_shows_no_secret(texts: Texts, options: dict[str, Any]) -> None:
    """The key is read when the producer is made or started."""
    with pytest.raises(ProducerError) as refused:
        async with Producer("localhost:1", **options):
            pass
    texts.add_error(refused.value)


def test_undecodable_file_shows_no_secret(texts: Texts, tmp_path: Any) -> None:  # noqa: ANN401 - a Path
    path = tmp_path / "client.properties"
    path.write_bytes(f"sasl.password={PASSWORD}".encode() + b"\xff")

    with pytest.raises(ProducerError) as refused:
        ProducerConfig.from_properties(path)
    texts.add_error(refused.value)


def test_every_secret_option_is_tried() -> None:
    """A new secret needs its case in CONFIGS."""
    tried = {name for options in CONFIGS.values() for name in options}
    secrets = {name for name, option in aioproducer.config.OPTIONS.items() if option.kind.is_secret}

    assert secrets <= tried


def test_leak_is_found(texts: Texts) -> None:
    """The search itself works: it looks into causes, pickles and encoded forms."""
    found = Texts()
    try:
        raises_secret()
    except RuntimeError as error:
        found.add_error(aioproducer.ProducerError("failed"))
        assert not found.leaks()
        wrapped = aioproducer.ProducerError("failed")
        wrapped.__context__ = error
        found.add_error(wrapped)
    assert found.leaks()
    encoded = Texts()
    encoded.add("base64", base64.b64encode(PASSWORD.encode()).decode())
    assert encoded.leaks()
    assert "hunter2" not in texts
