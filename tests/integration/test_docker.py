"""The environments in `docker/` as real brokers: their own properties, on Kafka from Maven."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from aioproducer import Producer
from aioproducer.config import ProducerConfig
from aioproducer.net.handshake import explain
from aioproducer.net.tls import TlsContexts
from tests.docker.compose import FOLDER
from tests.integration.compose import Environment
from tests.integration.maven import Libraries

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.kafka import Kafka

pytestmark = pytest.mark.slow

LIMIT = 30.0
RECORDS = 100


def produced_and_read(kafka: Kafka, topic: str, replicas: int, min_insync: int) -> None:
    async def produce() -> None:
        async with Producer(kafka.bootstrap) as producer:
            for number in range(RECORDS):
                producer.send(topic, str(number).encode())
            await producer.flush()

    kafka.create_topic(topic)
    assert {len(partition.replicas) for partition in kafka.partitions(topic).values()} == {replicas}
    kafka.alter_config(topic, {"min.insync.replicas": min_insync})
    asyncio.run(produce())
    values = sorted(int(record.value or b"") for record in kafka.consume(topic, RECORDS))
    assert values == list(range(RECORDS))


@pytest.mark.parametrize(
    ("name", "replicas", "min_insync"), [("single", 1, 1), ("three", 3, 2), ("zookeeper", 1, 1)]
)
def test_records_are_stored(name: str, replicas: int, min_insync: int) -> None:
    with Environment(FOLDER / f"{name}.yaml", {}).running() as kafka:
        produced_and_read(kafka, "orders", replicas, min_insync)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([str(FOLDER / "certificates.sh"), str(folder)], check=True, capture_output=True)  # noqa: S603 - our script
    return folder


def start_script(environment: Environment, folder: Path) -> None:
    """Run the script of the container, with Kafka's command as a class, and no broker to start."""
    libraries = Libraries.fetch(environment.version)
    command = folder / "kafka-configs.sh"
    command.write_text(
        f'#!/bin/sh\nexec {libraries.java} -cp "{libraries.class_path}" kafka.admin.ConfigCommand "$@"\n'
    )
    command.chmod(0o755)
    subprocess.run(  # noqa: S603 - our script
        ["bash", str(FOLDER / "secure-start.sh")],  # noqa: S607 - from PATH
        env={
            **os.environ,
            "KAFKA_BIN": str(folder),
            "KAFKA_RUN": "true",
            "BROKER": environment.address("INTERNAL"),
        },
        check=True,
        capture_output=True,
        timeout=2 * LIMIT,
    )


def confluent_sends(options: dict[str, str]) -> None:
    """Send one record with another client: the environment must serve any."""
    failures: list[object] = []
    producer = confluent_kafka.Producer({**options, "message.timeout.ms": "20000"})
    producer.produce("orders", json.dumps(options), on_delivery=lambda error, _record: failures.append(error))
    assert producer.flush(LIMIT) == 0
    assert failures == [None]


async def handshake(environment: Environment, listener: str, contexts: TlsContexts) -> bytes:
    host, _, port = environment.address(listener).partition(":")
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection(
            host, int(port), ssl=await contexts.current(), server_hostname="localhost"
        )
        # ApiVersions version 0, without a client id.
        writer.write(bytes.fromhex("0000000a 0012 0000 00000007 ffff"))
        try:
            return (await reader.readexactly(8))[4:]
        finally:
            writer.transport.abort()


def contexts(folder: Path, **options: str | Path) -> TlsContexts:
    config = ProducerConfig(
        bootstrap_servers="localhost:9093",
        security_protocol="SSL",
        ssl_truststore_location=folder / "ca.pem",
        **options,  # type: ignore[arg-type]  # mixed options
    )
    return TlsContexts(config)


def test_secure_listeners(certificates: Path, tmp_path: Path) -> None:
    environment = Environment(FOLDER / "secure.yaml", {"/etc/kafka/certificates": certificates})
    with environment.running() as kafka:
        start_script(environment, tmp_path)
        produced_and_read(kafka, "orders", 1, 1)
        tls = {"ssl.ca.location": str(certificates / "ca.pem")}
        client = {
            "ssl.certificate.location": str(certificates / "client.pem"),
            "ssl.key.location": str(certificates / "client.pem"),
        }
        alice = {"sasl.username": "alice", "sasl.password": "alice-secret"}
        sent = 0
        for listener, options in (
            ("TLS", {"security.protocol": "SSL", **tls}),
            ("MTLS", {"security.protocol": "SSL", **tls, **client}),
            *(
                (listener, {"security.protocol": protocol, "sasl.mechanism": mechanism, **tls, **alice})
                for listener, protocol in (("SASLTLS", "SASL_SSL"), ("SASL", "SASL_PLAINTEXT"))
                for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
            ),
        ):
            confluent_sends({"bootstrap.servers": environment.address(listener), **options})
            sent += 1
        assert len(kafka.consume("orders", RECORDS + sent)) == RECORDS + sent
        asyncio.run(check_contexts(environment, certificates))


async def check_contexts(environment: Environment, folder: Path) -> None:
    """Connect with contexts from options to Java's TLS, and explain its refusals."""
    correlation_id = bytes.fromhex("00000007")
    assert await handshake(environment, "TLS", contexts(folder)) == correlation_id
    client = contexts(folder, ssl_keystore_location=folder / "client.pem")
    assert await handshake(environment, "MTLS", client) == correlation_id

    with pytest.raises((OSError, EOFError)) as refused:
        await handshake(environment, "MTLS", contexts(folder))
    assert explain(refused.value, "localhost").sentence == (
        "the broker requires a client certificate: set ssl_keystore_location"
    )
    with pytest.raises((OSError, EOFError)) as closed:
        await handshake(environment, "EXTERNAL", contexts(folder))
    assert "the listener may be one without TLS" in explain(closed.value, "localhost").sentence
