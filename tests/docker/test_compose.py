"""The compose files without Docker: valid, pinned, closed to other machines, and complete."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aioproducer.config import ProducerConfig
from aioproducer.net.tls import TlsContexts
from tests.docker.compose import FILES, FOLDER, Service, services

if TYPE_CHECKING:
    from pathlib import Path

SERVICES = [(path, service) for path in FILES for service in services(path).values()]
BROKERS = [(path, service) for path, service in SERVICES if service.is_kafka]

in_each_service = pytest.mark.parametrize(
    ("path", "service"), SERVICES, ids=[f"{path.stem}-{service.name}" for path, service in SERVICES]
)
in_each_broker = pytest.mark.parametrize(
    ("path", "service"), BROKERS, ids=[f"{path.stem}-{service.name}" for path, service in BROKERS]
)


def test_environments() -> None:
    assert [path.stem for path in FILES] == ["redpanda", "secure", "single", "three", "zookeeper"]


def test_files_match_specification() -> None:
    """The schema of the compose specification is a part of check-jsonschema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run(  # noqa: S603 - a fixed command
        [*command, *map(str, FILES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@in_each_service
def test_images_are_pinned(path: Path, service: Service) -> None:
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", service.version), path


@in_each_service
def test_ports_are_local(path: Path, service: Service) -> None:
    for inner, address in service.ports.items():
        assert re.fullmatch(r"127\.0\.0\.1:\d+", address), (path, inner)


@in_each_service
def test_mounted_files_exist(path: Path, service: Service) -> None:
    for source in service.mounts.values():
        # The script makes this one.
        assert source.exists() or source == FOLDER / "certificates", path


@in_each_broker
def test_advertised_ports_are_published(path: Path, service: Service) -> None:
    """Programs on the host use localhost, other containers the name of the service."""
    listeners = dict(entry.split("://:") for entry in service.properties["listeners"].split(","))
    advertised = service.properties["advertised.listeners"].split(",")
    assert advertised
    reachable = set()
    for entry in advertised:
        name, _, address = entry.partition("://")
        host, _, port = address.partition(":")
        inner = int(listeners[name])
        reachable.add(host)
        if host == "localhost":
            assert service.ports[inner] == f"127.0.0.1:{port}", path
        else:
            assert (host, int(port)) == (service.name, inner), path
    assert reachable == {"localhost", service.name}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_say_how_to_start(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"docker compose -f docker/{path.name} up -d --wait" in text
    assert f"docker compose -f docker/{path.name} up -d --wait" in readme
    assert all("healthcheck" in service.declared for service in services(path).values() if service.is_kafka)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_certificates_can_be_made(tmp_path: Path) -> None:
    """The script runs twice, because certificates expire."""
    folder = tmp_path / "certificates"
    for _ in range(2):
        subprocess.run([str(FOLDER / "certificates.sh"), str(folder)], check=True, capture_output=True)  # noqa: S603 - our script
    assert sorted(path.name for path in folder.iterdir()) == ["ca.key", "ca.pem", "client.pem", "kafka.pem"]
    for name in ("client.pem", "kafka.pem"):
        config = ProducerConfig(
            bootstrap_servers="a:1",
            security_protocol="SSL",
            ssl_truststore_location=folder / "ca.pem",
            ssl_keystore_location=folder / name,
        )
        assert TlsContexts(config).has_client_certificate
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "kafka.pem")


def test_client_properties_are_read() -> None:
    config = ProducerConfig.from_properties(
        FOLDER / "secure-client.properties", bootstrap_servers="localhost:9096"
    )
    assert (config.sasl_mechanism, config.sasl_username) == ("SCRAM-SHA-256", "alice")
