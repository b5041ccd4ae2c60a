"""Contexts from options and files: what is loaded, renewed, and refused with a reason."""

from __future__ import annotations

import asyncio
import builtins
import logging
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from aioproducer.config import ProducerConfig
from aioproducer.errors import ConfigurationError
from aioproducer.net import tls_files
from aioproducer.net.tls import TlsContexts, server_name
from tests.net.test_handshake import HOST, connect, listener
from tests.support.certificates import Authority

CA = Authority("Test CA")
BROKER = CA.issue("broker", [HOST])
CLIENT = CA.issue("client")

PASSWORD = "hunter2"  # noqa: S105 - looked for in errors


def contexts(**options: Any) -> TlsContexts:  # noqa: ANN401 - any options
    return TlsContexts(ProducerConfig(bootstrap_servers="a:1", security_protocol="SSL", **options))


def refusal(**options: Any) -> str:  # noqa: ANN401 - any options
    with pytest.raises(ConfigurationError) as caught:
        contexts(**options)
    assert caught.value.option in options
    assert PASSWORD not in f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    return str(caught.value)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - the tests' own commands


async def is_accepted(context: ssl.SSLContext) -> bool:
    """Whether a broker that requires client certificates accepts the client, and the client the broker."""
    async with listener(BROKER.server_context(clients=CA)) as port:
        return await connect(port, context) == b"x"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text(CA.pem)
    CLIENT.write(tmp_path / "client.pem")
    (tmp_path / "chain.pem").write_text(CLIENT.chain_pem)
    (tmp_path / "key.pem").write_text(CLIENT.key_pem())
    (tmp_path / "encrypted.pem").write_text(CLIENT.key_pem(PASSWORD))
    (tmp_path / "old.pem").write_text(CLIENT.key_pem(PASSWORD, PrivateFormat.TraditionalOpenSSL))
    CLIENT.write(tmp_path / "encrypted-client.pem", PASSWORD)
    (tmp_path / "client.p12").write_bytes(CLIENT.pkcs12(PASSWORD))
    (tmp_path / "open.p12").write_bytes(CLIENT.pkcs12())
    return tmp_path


def at(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Give relative paths a folder."""
    return {
        name: str(folder / value) if name.endswith("_location") else value for name, value in options.items()
    }


def test_defaults_are_strict() -> None:
    context = contexts()._context  # noqa: SLF001 - the context is the result
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not contexts().has_client_certificate


async def test_own_context_is_used() -> None:
    own = ssl.create_default_context(cadata=CA.pem)
    assert await contexts(ssl_context=own).current() is own


@pytest.mark.parametrize(
    "options",
    [
        {"ssl_keystore_location": "client.pem"},
        {"ssl_keystore_location": "encrypted-client.pem", "ssl_key_password": PASSWORD},
        {"ssl_keystore_location": "client.p12", "ssl_keystore_password": PASSWORD},
        {"ssl_keystore_location": "client.p12", "ssl_key_password": PASSWORD},
        {"ssl_keystore_location": "open.p12"},
        {"ssl_certificate_location": "chain.pem", "ssl_key_location": "key.pem"},
        {
            "ssl_certificate_location": "chain.pem",
            "ssl_key_location": "encrypted.pem",
            "ssl_key_password": PASSWORD,
        },
        {
            "ssl_certificate_location": "chain.pem",
            "ssl_key_location": "old.pem",
            "ssl_key_password": PASSWORD,
        },
        {"ssl_keystore_certificate_chain": CLIENT.chain_pem, "ssl_keystore_key": CLIENT.key_pem()},
        {
            "ssl_keystore_certificate_chain": CLIENT.chain_pem.replace("\n", " "),
            "ssl_keystore_key": CLIENT.key_pem(PASSWORD).replace("\n", "\\n"),
            "ssl_key_password": PASSWORD,
        },
    ],
    ids=lambda options: "-".join(str(value)[:20] for value in options.values()),
)
async def test_client_certificates(folder: Path, options: dict[str, Any]) -> None:
    made = contexts(ssl_truststore_location=folder / "ca.pem", **at(folder, options))
    assert made.has_client_certificate
    assert await is_accepted(await made.current())


async def test_intermediate_is_sent_along() -> None:
    client = Authority("Intermediate", parent=CA).issue("client")
    made = contexts(
        ssl_truststore_certificates=CA.pem,
        ssl_keystore_certificate_chain=client.chain_pem,
        ssl_keystore_key=client.key_pem(),
    )
    assert await is_accepted(await made.current())


async def test_trust_in_every_form(folder: Path) -> None:
    (folder / "ca.der").write_bytes(CA.certificate.public_bytes(Encoding.DER))
    (folder / "trust.p12").write_bytes(CA.issue("x").pkcs12(PASSWORD, [CA.certificate]))
    (folder / "text.pem").write_text(f"# comment\n{Authority('Other').pem}\n{CA.pem}")
    forms: list[dict[str, Any]] = [
        {"ssl_truststore_location": "ca.der"},
        {"ssl_truststore_location": "trust.p12", "ssl_truststore_password": PASSWORD},
        {"ssl_truststore_location": "text.pem"},
        {"ssl_truststore_certificates": CA.pem},
    ]
    for form in forms:
        made = contexts(ssl_keystore_location=folder / "client.pem", **at(folder, form))
        assert await is_accepted(await made.current())


async def test_trusted_folder(tmp_path: Path, folder: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    shutil.copy(folder / "ca.pem", trusted / "ca.pem")
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to give the files their names")
    run("openssl", "rehash", str(trusted))
    made = contexts(ssl_truststore_location=trusted, ssl_keystore_location=folder / "client.pem")
    assert await is_accepted(await made.current())


async def test_brokers_own_certificate_may_be_trusted(folder: Path) -> None:
    """As in Java, a trusted certificate need not be a root."""
    made = contexts(ssl_truststore_certificates=BROKER.chain_pem, ssl_keystore_location=folder / "client.pem")
    assert await is_accepted(await made.current())


@pytest.mark.skipif(shutil.which("keytool") is None, reason="there is no keytool")
async def test_stores_of_keytool(folder: Path) -> None:
    trust = ("-importcert", "-noprompt", "-alias", "ca", "-file", str(folder / "ca.pem"))
    run("keytool", *trust, "-keystore", str(folder / "t.p12"), "-storetype", "PKCS12", "-storepass", PASSWORD)
    run("keytool", *trust, "-keystore", str(folder / "t.jks"), "-storetype", "JKS", "-storepass", PASSWORD)
    made = contexts(
        ssl_truststore_location=folder / "t.p12",
        ssl_truststore_password=PASSWORD,
        ssl_keystore_location=folder / "client.pem",
    )
    assert await is_accepted(await made.current())
    message = refusal(ssl_truststore_location=folder / "t.jks", ssl_truststore_password=PASSWORD)
    assert f"keytool -importkeystore -srckeystore {folder / 't.jks'} -destkeystore t.p12" in message
    message = refusal(ssl_keystore_location=folder / "t.p12", ssl_keystore_password=PASSWORD)
    assert "there is no private key in it" in message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"ssl_truststore_location": "absent.pem"}, "there is no such file"),
        ({"ssl_truststore_location": "empty"}, "the file is empty"),
        ({"ssl_truststore_location": "text"}, "it is neither PEM nor PKCS#12"),
        ({"ssl_truststore_location": "key.pem"}, "there is no certificate in it"),
        ({"ssl_truststore_location": "damaged.pem"}, "a certificate is damaged"),
        ({"ssl_truststore_location": "bytes.pem"}, "a certificate is damaged"),
        ({"ssl_truststore_location": "x" * 5000}, "File name too long"),
        ({"ssl_truststore_location": "client.p12"}, "it may need a password"),
        ({"ssl_keystore_location": "."}, "it is a folder"),
        ({"ssl_keystore_location": "chain.pem"}, "there is no private key in it"),
        ({"ssl_keystore_location": "key.pem"}, "there is no certificate in it"),
        ({"ssl_keystore_location": "encrypted-client.pem"}, "the key is encrypted; set ssl_key_password"),
        ({"ssl_keystore_location": "encrypted-client.pem", "ssl_key_password": "x"}, "the password is wrong"),
        (
            {"ssl_keystore_location": "encrypted-client.pem", "ssl_key_password": PASSWORD * 500},
            "the password is too long",
        ),
        ({"ssl_keystore_location": "client.p12"}, "it may need a password"),
        ({"ssl_keystore_location": "client.p12", "ssl_keystore_password": "x"}, "the password may be wrong"),
        ({"ssl_keystore_location": "damaged.p12"}, "it is not readable as PKCS#12"),
        ({"ssl_keystore_location": "store.jks"}, "keytool -importkeystore"),
        (
            {"ssl_certificate_location": "chain.pem", "ssl_key_location": "other.pem"},
            "the key does not belong to the certificate",
        ),
        (
            {"ssl_certificate_location": "chain.pem", "ssl_key_location": "broken.pem"},
            "the key or a certificate is damaged",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_unusable_file_has_reason(folder: Path, options: dict[str, Any], reason: str) -> None:
    (folder / "empty").touch()
    (folder / "text").write_text("hello")
    (folder / "damaged.pem").write_text(CA.pem.replace("MII", "AAA"))
    (folder / "bytes.pem").write_bytes(CA.pem.encode().replace(b"MII", b"\xff\xfe"))
    (folder / "damaged.p12").write_bytes(CLIENT.pkcs12()[:100])
    (folder / "store.jks").write_bytes(b"\xfe\xed\xfe\xed\0\0\0\2")
    (folder / "other.pem").write_text(CA.issue("other").key_pem())
    (folder / "broken.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    message = refusal(**at(folder, options))
    assert reason in message
    assert any(str(path) in message for path in at(folder, options).values())


def test_endless_file_is_refused() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("there is no /dev/zero")
    assert "too large" in refusal(ssl_truststore_location="/dev/zero")


def test_damaged_text_names_option() -> None:
    message = refusal(ssl_truststore_certificates=CA.pem.replace("MII", "AAA"))
    assert message.startswith("ssl_truststore_certificates cannot be used: a certificate is damaged")


def test_pkcs12_needs_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> object:  # noqa: ANN401 - those of import
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    message = refusal(ssl_keystore_location=folder / "client.p12", ssl_keystore_password=PASSWORD)
    assert "pip install 'aioproducer[pkcs12]'" in message
    contexts(ssl_keystore_location=folder / "client.pem")


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_key_stays_out_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_memory_files: bool
) -> None:
    """Without memory files the key is in a private file, for the time of the call."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[tuple[int, int]] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(context: ssl.SSLContext, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - those of ssl
        seen.extend((path.stat().st_mode & 0o777, path.stat().st_size) for path in tmp_path.iterdir())
        load(context, *arguments, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    if not has_memory_files:
        monkeypatch.setattr(tls_files, "_memory_file", lambda: None)
    contexts(ssl_keystore_certificate_chain=CLIENT.chain_pem, ssl_keystore_key=CLIENT.key_pem())
    if not has_memory_files or not hasattr(os, "memfd_create"):
        assert [mode for mode, _ in seen] == [0o600]
    else:
        assert not seen
    assert not list(tmp_path.iterdir())


async def test_renewed_files_are_used(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="aioproducer")
    old = Authority("Old CA").issue("client")
    path = folder / "me.pem"
    old.write(path)
    made = contexts(ssl_truststore_location=folder / "ca.pem", ssl_keystore_location=path)
    first = await made.current()
    assert await made.current() is first
    CLIENT.write(folder / "new.pem").replace(path)
    second = await made.current()
    assert second is not first
    assert await is_accepted(second)
    assert await made.current() is second
    assert [record.getMessage() for record in caplog.records] == [
        f"New connections use the certificates of {path}"
    ]


async def test_rotation_in_two_steps(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Between the new key and the new certificate the old context stays, with one warning."""
    made = contexts(
        ssl_truststore_location=folder / "ca.pem",
        ssl_certificate_location=folder / "chain.pem",
        ssl_key_location=folder / "key.pem",
    )
    first = await made.current()
    renewed = CA.issue("client")
    (folder / "key.pem").write_text(renewed.key_pem())
    for _ in range(3):
        assert await made.current() is first
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "the key does not belong to the certificate" in record.getMessage()
    (folder / "chain.pem").write_text(renewed.chain_pem + "\n")
    assert await is_accepted(await made.current())
    assert await made.current() is not first


async def test_removed_file_keeps_context(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = contexts(ssl_truststore_location=folder / "ca.pem")
    first = await made.current()
    (folder / "ca.pem").unlink()
    assert await made.current() is first
    assert "there is no such file" in caplog.text


async def test_many_connections_reload_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = contexts(ssl_truststore_location=folder / "ca.pem")
    first = await made.current()
    count = 0
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, **named: Any) -> None:  # noqa: ANN401 - those of ssl
        nonlocal count
        count += 1
        load(context, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    (folder / "ca.pem").write_text(CA.pem + "\n")
    found = await asyncio.gather(*(made.current() for _ in range(20)))
    assert count == 1
    assert set(found) == {await made.current()}
    assert found[0] is not first


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({"ssl_endpoint_identification_algorithm": ""}, "Host names of brokers are not verified"),
        ({"enable_ssl_certificate_verification": False}, "Certificates of brokers are not verified"),
    ],
)
async def test_weaker_checks_warn_once(
    options: dict[str, Any], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = contexts(**options)
    for _ in range(3):
        await made.current()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(warning)


async def test_no_verification_accepts_anything() -> None:
    made = contexts(enable_ssl_certificate_verification=False)
    async with listener(Authority("Other").issue("broker", ["elsewhere"]).server_context()) as port:
        assert await connect(port, await made.current()) == b"x"


def test_expired_client_certificate_warns(caplog: pytest.LogCaptureFixture) -> None:
    for days, expected in (((-20, -10), "expired on"), ((10, 20), "is valid from")):
        client = CA.issue("client", days=days)
        contexts(ssl_keystore_certificate_chain=client.chain_pem, ssl_keystore_key=client.key_pem())
        assert expected in caplog.messages[-1]
        assert "CN=client (issued by CN=Test CA,O=Tests)" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("kafka", "kafka"),
        ("kafka.example.", "kafka.example"),
        ("fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_server_names(host: str, name: str) -> None:
    assert server_name(host) == name
