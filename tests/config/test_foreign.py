"""Options under the names of Java and librdkafka, and from the environment."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.config import OPTIONS, ProducerConfig
from aioproducer.config.foreign import LIBRDKAFKA, environment_properties, own_options
from aioproducer.config.kinds import INT_MAX
from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def from_properties(**properties: object) -> ProducerConfig:
    dotted = {name.replace("_", "."): value for name, value in properties.items()}
    return ProducerConfig.from_properties({"bootstrap.servers": "localhost:9092", **dotted})


def keyword_refusal(**options: object) -> ConfigurationError:
    unchecked: dict[str, Any] = options
    with pytest.raises(ConfigurationError) as caught:
        ProducerConfig(bootstrap_servers="localhost:9092", **unchecked)
    return caught.value


def test_properties_file_becomes_config(tmp_path: Path) -> None:
    path = tmp_path / "producer.properties"
    path.write_text(
        "# the orders service\n"
        "bootstrap.servers=a:9092,\\\n"
        "                  b:9092\n"
        "linger.ms: 20\n"
        "enable.idempotence true\n"
        "client.id=caf\\u00e9 ü\n"
        "key.serializer=org.apache.kafka.common.serialization.StringSerializer\n"
        "value.serializer=org.apache.kafka.common.serialization.ByteArraySerializer\n"
        "partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner\n",
        encoding="utf-8",
    )
    for source in (path, str(path)):
        config = ProducerConfig.from_properties(source)
        assert config.bootstrap_servers == (("a", 9092), ("b", 9092))
        assert (config.linger, config.enable_idempotence, config.client_id) == (0.02, True, "café ü")
        assert (config.key_serializer, config.value_serializer) == (str.encode, None)
        assert config.partitioner == "round_robin"


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ProducerConfig.from_properties(tmp_path / "absent.properties")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_java_name_is_accepted(name: str) -> None:
    assert own_options({OPTIONS[name].java_name: OPTIONS[name].default}, OPTIONS) == {
        name: OPTIONS[name].default
    }


@pytest.mark.parametrize(
    ("alias", "text", "option", "value"),
    [
        ("metadata.broker.list", "b:9092", "bootstrap_servers", (("b", 9092),)),
        ("queue.buffering.max.ms", "0.5", "linger_ms", 0.5),
        ("queue.buffering.max.kbytes", "1024", "buffer_memory", 1048576),
        ("message.timeout.ms", "300000", "delivery_timeout_ms", 300000),
        ("message.timeout.ms", "0", "delivery_timeout_ms", INT_MAX),
        ("request.required.acks", "-1", "acks", -1),
        ("request.required.acks", 1, "acks", 1),
        ("compression.codec", "zstd", "compression_type", "zstd"),
        ("message.send.max.retries", "7", "retries", 7),
        ("max.in.flight", "3", "max_in_flight_requests_per_connection", 3),
    ],
)
def test_librdkafka_aliases(alias: str, text: object, option: str, value: object) -> None:
    servers = {} if option == "bootstrap_servers" else {"bootstrap.servers": "localhost:9092"}
    config = ProducerConfig.from_properties({**servers, alias: text}, partitioner="crc32")
    assert getattr(config, option) == value


def test_every_alias_names_an_option() -> None:
    assert {alias.option for alias in LIBRDKAFKA.values()} <= set(OPTIONS)
    assert not set(LIBRDKAFKA) & set(OPTIONS)


@pytest.mark.parametrize("wrong", ["0", "-1", "much", 0, True])
def test_alias_errors_have_its_unit(wrong: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r"queue\.buffering\.max\.kbytes must be a whole number from 1"
    ):
        from_properties(queue_buffering_max_kbytes=wrong)


def test_errors_have_the_given_name() -> None:
    with pytest.raises(ConfigurationError, match=r"batch\.size must be a whole number .* not 'many'"):
        from_properties(batch_size="many")


def test_option_under_two_names_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"linger_ms .* 'linger\.ms' and as 'queue\.buffering\.max\.ms'"
    ):
        from_properties(linger_ms="5", queue_buffering_max_ms="5")


@pytest.mark.parametrize("partitioner", ["consistent", "random", "fnv1a", "fnv1a_random", "com.example.Mine"])
def test_unsupported_partitioner_is_refused(partitioner: str) -> None:
    with pytest.raises(ConfigurationError, match="partitioner must be"):
        from_properties(partitioner=partitioner)
    with pytest.raises(ConfigurationError, match="partitioner must be"):
        from_properties(partitioner_class=partitioner)


def test_librdkafka_names_warn_without_partitioner(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from_properties(queue_buffering_max_ms="5")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("aioproducer.config", logging.WARNING)
    assert "partitioner='crc32'" in record.getMessage()


@pytest.mark.parametrize("partitioner", ["consistent_random", "murmur2_random"])
def test_librdkafka_names_with_partitioner_are_quiet(
    partitioner: str, caplog: pytest.LogCaptureFixture
) -> None:
    from_properties(queue_buffering_max_ms="5", partitioner=partitioner)
    from_properties(linger_ms="5")
    assert not caplog.records


def test_overrides_take_precedence() -> None:
    source = {"bootstrap.servers": "a:9092", "linger.ms": "5", "partitioner.class": "murmur2"}
    config = ProducerConfig.from_properties(source, linger_ms=7, partitioner_class="crc32")
    assert (config.linger_ms, config.partitioner) == (7, "crc32")
    bad: dict[str, Any] = {"linger_ms": "7"}
    with pytest.raises(ConfigurationError, match="linger_ms must be"):
        ProducerConfig.from_properties(source, **bad)


def test_missing_properties_are_not_explicit() -> None:
    assert from_properties(acks="1").enable_idempotence is False
    with pytest.raises(ConfigurationError, match="enable_idempotence=True needs"):
        from_properties(acks="1", enable_idempotence="true")


@pytest.mark.parametrize("source", [{}, {"linger.ms": "5"}])
def test_missing_servers_are_reported(source: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="bootstrap_servers is missing") as caught:
        ProducerConfig.from_properties(source)
    assert caught.value.option == "bootstrap_servers"
    assert ProducerConfig.from_properties(source, bootstrap_servers="a:1").bootstrap_servers == (("a", 1),)


@pytest.mark.scenario("configuration")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lingerms", "did you mean 'linger_ms'?"),
        ("max_batch_size", "did you mean 'batch_size'?"),
        ("compresion_type", "did you mean 'compression_type'?"),
        ("linger.millis", "did you mean 'linger.ms'?"),
        ("linger.ms", "as a keyword it is linger_ms, in properties linger.ms"),
        ("LINGER_MS", "as a keyword it is linger_ms"),
        ("partitioner.class", "here it is partitioner"),
        ("queue.buffering.max.ms", "here it is linger_ms"),
        ("queue_buffering_max_kbytes", "here it is buffer_memory (in bytes)"),
        ("zzz", "the producer has no option with a similar name"),
    ],
)
def test_unknown_keyword_has_hint(name: str, hint: str) -> None:
    error = keyword_refusal(**{name: "secret"})
    assert str(error).startswith(f"unknown option {name!r}: ")
    assert hint in str(error)
    assert error.option == name
    assert "secret" not in str(error)
    assert error.value is None


def test_unknown_property_has_hint() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown option 'lingr.ms': did you mean 'linger.ms'\?"):
        from_properties(lingr_ms=5)


NOT_IMPLEMENTED: dict[str, object] = {
    "transactional_id": "orders",
    "transaction_timeout_ms": 5_000,
    "metrics_recording_level": "DEBUG",
    "partitioner_rack_aware": True,
    "client_rack": "eu-1a",
    "interceptor_classes": ["a"],
    "enable_metrics_push": True,
    "metric_reporters": "org.apache.kafka.common.metrics.JmxReporter",
    "config_providers": "file",
    "transaction_two_phase_commit_enable": True,
    "metadata_cluster_check_enable": True,
}


@pytest.mark.parametrize(("name", "value"), NOT_IMPLEMENTED.items(), ids=NOT_IMPLEMENTED)
def test_unimplemented_option_is_refused(name: str, value: object) -> None:
    error = keyword_refusal(**{name: value})
    assert "is not implemented yet" in str(error)
    assert error.option == name
    with pytest.raises(ConfigurationError, match="is not implemented yet"):
        from_properties(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("security_protocol", "plaintext"),
        ("transactional_id", None),
        ("transaction_timeout_ms", 60_000),
        ("metrics_recording_level", "info"),
        ("partitioner_rack_aware", False),
        ("client_rack", ""),
        ("client_rack", None),
        ("interceptor_classes", []),
        ("enable_metrics_push", "false"),
        ("ssl_protocol", "TLSv1.3"),
        ("ssl_enabled_protocols", ["TLSv1.2", "TLSv1.3"]),
        ("ssl_truststore_location", None),
        ("ssl_truststore_type", "PEM"),
        ("sasl_mechanism", "GSSAPI"),
        ("sasl_oauthbearer_scope_claim_name", "scope"),
        ("ssl_provider", ""),
    ],
)
def test_unimplemented_option_accepts_default(name: str, value: object) -> None:
    options: dict[str, Any] = {name: value}
    plain = ProducerConfig(bootstrap_servers="localhost:9092")
    assert ProducerConfig(bootstrap_servers="localhost:9092", **options) == plain
    assert from_properties(**options) == plain


@pytest.mark.parametrize(
    "name", ["ssl.engine.factory.class", "security.providers", "sasl.login.class", "ssl_provider"]
)
def test_jvm_option_is_refused(name: str) -> None:
    assert str(keyword_refusal(**{name: "x"})) == f"{name} has no meaning outside the JVM"


@pytest.mark.parametrize("name", ["sasl.password", "sasl_jaas_config", "ssl.key.password", "sasl_pasword"])
def test_secrets_are_never_shown(name: str, caplog: pytest.LogCaptureFixture) -> None:
    error = keyword_refusal(**{name: "s3cret"})
    assert "s3cret" not in f"{error!r} {error} {error.__dict__}"
    with pytest.raises(ConfigurationError) as caught:
        from_properties(**{name: "s3cret"})
    assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    assert "s3cret" not in caplog.text


def test_environment_becomes_config() -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "a:9092,b:9092",
        "KAFKA_LINGER_MS": "20",
        "KAFKA_ENABLE_IDEMPOTENCE": "false",
        "KAFKA_MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION": "20",
        "KAFKA_PARTITIONER_CLASS": "org.apache.kafka.clients.producer.RoundRobinPartitioner",
        "KAFKA_QUEUE_BUFFERING_MAX_KBYTES": "2",
        "KAFKA_CLIENT_ID": "",
        "linger_ms": "99",
    }
    config = ProducerConfig.from_env(environ=environ, acks=1)
    assert config.bootstrap_servers == (("a", 9092), ("b", 9092))
    assert (config.linger_ms, config.enable_idempotence, config.acks) == (20, False, 1)
    assert (config.max_in_flight_requests_per_connection, config.partitioner) == (20, "round_robin")
    assert (config.buffer_memory, config.client_id) == (2048, None)


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_BOOTSTRAP_SERVERS", "orders:9092")
    monkeypatch.setenv("ORDERS_RETRIES", "3")
    config = ProducerConfig.from_env("ORDERS_")
    assert (config.bootstrap_servers, config.retries) == ((("orders", 9092),), 3)


def test_near_misses_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    environ = {
        "KAFKA_HOME": "/opt",
        "KAFKA_OPTS": "-Xmx1g",
        "KAFKA_BOOTSTRAP": "a:1",
        "KAFKA_HEAP_OPTS": "",
        "KAFKA_LOG_DIRS": "/tmp/x",  # noqa: S108 - only a string
        "KAFKA_ADVERTISED_LISTENERS": "x",
        "KAFKA_BOOTSTRAP_SERVER": "s3cret:1",
        "KAFKA_LINGER": "5",
    }
    assert environment_properties(environ, "KAFKA_", OPTIONS) == {}
    assert [record.getMessage() for record in caplog.records] == [
        "Ignoring KAFKA_BOOTSTRAP_SERVER: it is not an option; did you mean KAFKA_BOOTSTRAP_SERVERS?",
        "Ignoring KAFKA_LINGER: it is not an option; did you mean KAFKA_LINGER_MS?",
    ]
