"""ProducerConfig: defaults, seconds, copies and equality."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from aioproducer.config import OPTIONS, ProducerConfig
from aioproducer.errors import ConfigurationError

SERVERS = "localhost:9092"

# The options of Kafka 4.4's producer that are supported, with Kafka's defaults.
DEFAULTS: dict[str, object] = {
    "key_serializer": None,
    "value_serializer": None,
    "client_id": None,
    "acks": -1,
    "enable_idempotence": True,
    "retries": 2147483647,
    "delivery_timeout_ms": 120000,
    "linger_ms": 5,
    "batch_size": 16384,
    "buffer_memory": 33554432,
    "max_block_ms": 60000,
    "max_request_size": 1048576,
    "max_in_flight_requests_per_connection": 5,
    "request_timeout_ms": 30000,
    "compression_type": "none",
    "compression_gzip_level": -1,
    "compression_lz4_level": 9,
    "compression_zstd_level": 3,
    "partitioner": "murmur2",
    "partitioner_ignore_keys": False,
    "partitioner_adaptive_partitioning_enable": True,
    "partitioner_availability_timeout_ms": 0,
    "client_dns_lookup": "use_all_dns_ips",
    "bootstrap_resolve_timeout_ms": 0,
    "reconnect_backoff_ms": 50,
    "reconnect_backoff_max_ms": 1000,
    "retry_backoff_ms": 100,
    "retry_backoff_max_ms": 1000,
    "socket_connection_setup_timeout_ms": 10000,
    "socket_connection_setup_timeout_max_ms": 30000,
    "connections_max_idle_ms": 540000,
    "send_buffer_bytes": 131072,
    "receive_buffer_bytes": 32768,
    "metadata_max_age_ms": 300000,
    "metadata_max_idle_ms": 300000,
    "metadata_recovery_strategy": "rebootstrap",
    "metadata_recovery_rebootstrap_trigger_ms": 300000,
    "transactional_id": None,
    "transaction_timeout_ms": 60000,
    "metrics_sample_window_ms": 30000,
    "metrics_num_samples": 2,
    "metrics_recording_level": "INFO",
    "security_protocol": "PLAINTEXT",
    "ssl_context": None,
    "ssl_truststore_location": None,
    "ssl_truststore_certificates": None,
    "ssl_truststore_password": None,
    "ssl_keystore_location": None,
    "ssl_keystore_password": None,
    "ssl_certificate_location": None,
    "ssl_key_location": None,
    "ssl_keystore_certificate_chain": None,
    "ssl_keystore_key": None,
    "ssl_key_password": None,
    "ssl_endpoint_identification_algorithm": "https",
    "enable_ssl_certificate_verification": True,
    "sasl_mechanism": "GSSAPI",
    "sasl_username": None,
    "sasl_password": None,
    "sasl_scram_tokenauth": False,
    "sasl_kerberos_service_name": None,
    "sasl_kerberos_principal": None,
    "sasl_kerberos_keytab": None,
    "sasl_token_provider": None,
    "sasl_oauthbearer_token_endpoint_url": None,
    "sasl_oauthbearer_client_credentials_client_id": None,
    "sasl_oauthbearer_client_credentials_client_secret": None,
    "sasl_oauthbearer_header_urlencode": False,
    "sasl_oauthbearer_scope": None,
    "sasl_oauthbearer_extensions": None,
    "sasl_oauthbearer_assertion_algorithm": "RS256",
    "sasl_oauthbearer_assertion_claim_aud": None,
    "sasl_oauthbearer_assertion_claim_exp_seconds": 300,
    "sasl_oauthbearer_assertion_claim_iss": None,
    "sasl_oauthbearer_assertion_claim_jti_include": False,
    "sasl_oauthbearer_assertion_claim_nbf_seconds": 60,
    "sasl_oauthbearer_assertion_claim_sub": None,
    "sasl_oauthbearer_assertion_file": None,
    "sasl_oauthbearer_assertion_private_key_file": None,
    "sasl_oauthbearer_assertion_private_key_passphrase": None,
    "sasl_oauthbearer_assertion_template_file": None,
    "https_ca_location": None,
    "sasl_login_connect_timeout_ms": None,
    "sasl_login_read_timeout_ms": None,
    "sasl_login_retry_backoff_ms": 100,
    "sasl_login_retry_backoff_max_ms": 10000,
    "sasl_login_refresh_window_factor": 0.8,
    "sasl_login_refresh_window_jitter": 0.05,
    "sasl_login_refresh_min_period_seconds": 60,
    "sasl_login_refresh_buffer_seconds": 300,
}


def last_partition(_topic: str, _key: bytes | None, partitions: int) -> int:
    return partitions - 1


def test_defaults_are_kafkas() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS)
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS
    assert {name: option.default for name, option in OPTIONS.items()} == {
        "bootstrap_servers": None,
        **DEFAULTS,
    }


def test_fields_are_the_options() -> None:
    names = [field.name for field in dataclasses.fields(ProducerConfig)]
    assert names == [*OPTIONS, "_given"]


def test_config_is_frozen_and_slotted() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.acks = 1  # type: ignore[misc]  # the type checker agrees
    assert not hasattr(config, "__dict__")


def test_servers_are_required() -> None:
    nothing: dict[str, Any] = {}
    with pytest.raises(TypeError, match="bootstrap_servers"):
        ProducerConfig(**nothing)


@pytest.mark.parametrize(
    ("attribute", "seconds"),
    [
        ("linger", 0.005),
        ("delivery_timeout", 120.0),
        ("request_timeout", 30.0),
        ("max_block", 60.0),
        ("retry_backoff", 0.1),
        ("retry_backoff_max", 1.0),
        ("reconnect_backoff", 0.05),
        ("reconnect_backoff_max", 1.0),
        ("connection_setup_timeout", 10.0),
        ("connection_setup_timeout_max", 30.0),
        ("connections_max_idle", 540.0),
        ("metadata_max_age", 300.0),
        ("metadata_max_idle", 300.0),
        ("rebootstrap_trigger", 300.0),
        ("availability_timeout", 0.0),
        ("bootstrap_resolve_timeout", 0.0),
        ("metrics_sample_window", 30.0),
        ("login_retry_backoff", 0.1),
        ("login_retry_backoff_max", 10.0),
        ("login_connect_timeout", 10.0),
        ("login_read_timeout", 30.0),
    ],
)
def test_times_in_seconds(attribute: str, seconds: float) -> None:
    value = getattr(ProducerConfig(bootstrap_servers=SERVERS), attribute)
    assert value == seconds
    assert type(value) is float


def test_class_attribute_is_descriptor() -> None:
    assert type(ProducerConfig.linger).__name__ == "Seconds"


@pytest.mark.parametrize("never", [-1, 0])
def test_idle_time_may_be_unlimited(never: int) -> None:
    assert (
        ProducerConfig(bootstrap_servers=SERVERS, connections_max_idle_ms=never).connections_max_idle is None
    )


@pytest.mark.parametrize(
    ("codec", "level"), [("none", None), ("snappy", None), ("gzip", 2), ("lz4", 4), ("zstd", -6)]
)
def test_compression_level_depends_on_codec(codec: str, level: int | None) -> None:
    if codec == "snappy":
        pytest.importorskip("cramjam")
    config = ProducerConfig(
        bootstrap_servers=SERVERS,
        compression_type=codec,
        compression_gzip_level=2,
        compression_lz4_level=4,
        compression_zstd_level=-6,
    )
    assert config.compression_level == level


def test_serializers_and_partitioner_are_kept() -> None:
    config = ProducerConfig(
        bootstrap_servers=SERVERS,
        key_serializer=str.encode,
        value_serializer=bytes.fromhex,
        partitioner=last_partition,
    )
    assert config.key_serializer is str.encode
    assert config.value_serializer == bytes.fromhex
    assert config.partitioner is last_partition


def test_partitioner_class_is_an_alias() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS, partitioner_class="crc32")
    assert config.partitioner == "crc32"
    assert config.replace(partitioner_class="round_robin").partitioner == "round_robin"
    with pytest.raises(ConfigurationError, match="given twice"):
        ProducerConfig(bootstrap_servers=SERVERS, partitioner="crc32", partitioner_class="crc32")


def test_replace_starts_from_set_options() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS, acks=1, request_timeout_ms=200_000)
    assert (config.enable_idempotence, config.delivery_timeout_ms) == (False, 200_005)
    changed = config.replace(acks="all", request_timeout_ms=1_000)
    assert (changed.enable_idempotence, changed.delivery_timeout_ms) == (True, 120_000)
    assert changed.bootstrap_servers == config.bootstrap_servers
    assert config.acks == 1
    with pytest.raises(ConfigurationError, match="acks must be"):
        config.replace(acks=2)


def test_replace_resets_option_to_none() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS, client_id="web", key_serializer=str.encode)
    assert config.replace(client_id=None, key_serializer=None) == ProducerConfig(bootstrap_servers=SERVERS)


def test_server_list_is_copied() -> None:
    servers = ["a:9092"]
    config = ProducerConfig(bootstrap_servers=servers)
    servers.append("b:9092")
    assert config.replace(acks=1).bootstrap_servers == (("a", 9092),)


def test_copy_replace_is_supported() -> None:
    # copy.replace (Python 3.13) calls this.
    config = ProducerConfig(bootstrap_servers=SERVERS)
    assert config.__replace__(acks=1).enable_idempotence is False


def test_dataclasses_replace_is_refused() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS)
    with pytest.raises(TypeError, match=r"use ProducerConfig\.replace"):
        dataclasses.replace(config, acks=1)


def test_configs_compare_copy_and_pickle() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS, acks=1, key_serializer=str.encode)
    same = ProducerConfig(bootstrap_servers=[SERVERS], acks="1", key_serializer=str.encode)
    assert config == same
    assert hash(config) == hash(same)
    assert config != config.replace(acks=0)
    pickled = pickle.loads(pickle.dumps(config))  # noqa: S301 - pickled a line above
    for twin in (pickled, copy.copy(config), copy.deepcopy(config)):
        assert twin == config
        assert twin.replace(acks="all").enable_idempotence


def test_repr_shows_changed_options() -> None:
    config = ProducerConfig(bootstrap_servers="a:1,b:2", acks=1, linger_ms=5)
    assert repr(config) == (
        "ProducerConfig(bootstrap_servers=(('a', 1), ('b', 2)), acks=1, enable_idempotence=False)"
    )
