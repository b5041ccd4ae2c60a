"""The kinds of all options: valid and invalid values, and their text in properties files."""

from __future__ import annotations

import pytest

from aioproducer.config import OPTIONS, Option, ProducerConfig
from aioproducer.config.kinds import INT_MAX, LONG_MAX
from aioproducer.errors import ConfigurationError

SERVERS = "localhost:9092"


def take(name: str, value: object) -> object:
    return OPTIONS[name].take(value)


def refusal(name: str, value: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        take(name, value)
    assert caught.value.option == name
    assert caught.value.value is value
    return str(caught.value)


RANGES: dict[str, tuple[int, int]] = {
    "retries": (0, INT_MAX),
    "delivery_timeout_ms": (0, INT_MAX),
    "linger_ms": (0, LONG_MAX),
    "batch_size": (0, INT_MAX),
    "buffer_memory": (0, LONG_MAX),
    "max_block_ms": (0, LONG_MAX),
    "max_request_size": (0, INT_MAX),
    "max_in_flight_requests_per_connection": (1, INT_MAX),
    "request_timeout_ms": (0, INT_MAX),
    "compression_gzip_level": (1, 9),
    "compression_lz4_level": (1, 17),
    "compression_zstd_level": (-131072, 22),
    "partitioner_availability_timeout_ms": (0, LONG_MAX),
    "bootstrap_resolve_timeout_ms": (0, LONG_MAX),
    "reconnect_backoff_ms": (0, LONG_MAX),
    "reconnect_backoff_max_ms": (0, LONG_MAX),
    "retry_backoff_ms": (0, LONG_MAX),
    "retry_backoff_max_ms": (0, LONG_MAX),
    "socket_connection_setup_timeout_ms": (1, LONG_MAX),
    "socket_connection_setup_timeout_max_ms": (1, LONG_MAX),
    "connections_max_idle_ms": (-1, LONG_MAX),
    "send_buffer_bytes": (-1, INT_MAX),
    "receive_buffer_bytes": (-1, INT_MAX),
    "metadata_max_age_ms": (0, LONG_MAX),
    "metadata_max_idle_ms": (5000, LONG_MAX),
    "metadata_recovery_rebootstrap_trigger_ms": (0, LONG_MAX),
    "transaction_timeout_ms": (1, INT_MAX),
    "metrics_sample_window_ms": (1, LONG_MAX),
    "metrics_num_samples": (1, INT_MAX),
    "sasl_oauthbearer_assertion_claim_exp_seconds": (0, 86_400),
    "sasl_oauthbearer_assertion_claim_nbf_seconds": (0, 3_600),
    "sasl_login_retry_backoff_ms": (0, LONG_MAX),
    "sasl_login_retry_backoff_max_ms": (0, LONG_MAX),
    "sasl_login_refresh_min_period_seconds": (0, 900),
    "sasl_login_refresh_buffer_seconds": (0, 3_600),
}

# Tested in test_security_options.py: they accept None, or fractions.
OTHER_NUMBERS = {
    "sasl_login_connect_timeout_ms",
    "sasl_login_read_timeout_ms",
    "sasl_login_refresh_window_factor",
    "sasl_login_refresh_window_jitter",
}


@pytest.mark.scenario("configuration")
@pytest.mark.parametrize(("name", "span"), RANGES.items(), ids=RANGES)
def test_number_ranges(name: str, span: tuple[int, int]) -> None:
    low, high = span
    assert take(name, low) == low
    assert take(name, high) == high
    assert f"from {low} to {high}" in refusal(name, low - 1 if low != 1 or "gzip" not in name else 0)
    assert f"from {low} to {high}" in refusal(name, high + 1)
    for wrong in (True, False, "5", None, 5.5 if name != "linger_ms" else float("nan"), [5]):
        assert repr(wrong) in refusal(name, wrong)


def test_every_number_is_tested() -> None:
    assert {name for name, option in OPTIONS.items() if "number" in option.kind.expected} == (
        set(RANGES) | OTHER_NUMBERS
    )


def test_gzip_level_may_be_minus_one() -> None:
    assert take("compression_gzip_level", -1) == -1
    assert refusal("compression_gzip_level", -2) == (
        "compression_gzip_level must be a whole number from 1 to 9, or -1, not -2"
    )


@pytest.mark.scenario("configuration")
def test_linger_is_a_finite_fraction() -> None:
    assert take("linger_ms", 0.5) == 0.5
    for wrong in (float("inf"), float("nan"), -0.1):
        refusal("linger_ms", wrong)


FLAGS = [name for name, option in OPTIONS.items() if isinstance(option.default, bool)]


@pytest.mark.scenario("configuration")
@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_bools(name: str) -> None:
    for flag in (True, False):
        assert take(name, flag) is flag
    for wrong in (0, 1, "true", None):
        assert refusal(name, wrong) == f"{name} must be True or False, not {wrong!r}"


@pytest.mark.parametrize(
    ("given", "normal"),
    [("all", -1), ("ALL", -1), (-1, -1), ("-1", -1), (0, 0), ("0", 0), (1, 1), ("1", 1)],
)
def test_acks_normal_form(given: int | str, normal: int) -> None:
    taken = take("acks", given)
    assert taken == normal
    assert type(taken) is int


@pytest.mark.scenario("configuration")
@pytest.mark.parametrize("wrong", [2, -2, "2", "leader", "", True, False, 1.0, None])
def test_acks_refuses_other_values(wrong: object) -> None:
    assert refusal("acks", wrong) == f"acks must be 'all' (or -1), 1 or 0, not {wrong!r}"


CHOICES: dict[str, list[str]] = {
    "compression_type": ["none", "gzip", "snappy", "lz4", "zstd"],
    "security_protocol": ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
    "client_dns_lookup": ["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"],
    "metadata_recovery_strategy": ["none", "rebootstrap"],
    "metrics_recording_level": ["INFO", "DEBUG", "TRACE"],
    "sasl_mechanism": ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM"],
    "sasl_oauthbearer_assertion_algorithm": ["RS256", "ES256"],
}


@pytest.mark.scenario("configuration")
@pytest.mark.parametrize(("name", "words"), CHOICES.items(), ids=CHOICES)
def test_choices_ignore_case(name: str, words: list[str]) -> None:
    for word in words:
        assert take(name, word.upper()) == take(name, word.lower()) == word
    for wrong in ("", "other", None, 1, True):
        message = refusal(name, wrong)
        assert all(repr(word) in message for word in words)


def test_client_id_length() -> None:
    assert take("client_id", None) is None
    assert take("client_id", "") == ""
    assert take("client_id", "x" * 32767) == "x" * 32767
    for wrong in (1, b"web", "x" * 32768, "ä" * 16384, "\ud800"):
        assert "at most 32767 bytes" in refusal("client_id", wrong)


def test_transactional_id_is_not_empty() -> None:
    assert take("transactional_id", "orders") == "orders"
    assert take("transactional_id", None) is None
    assert "non-empty" in refusal("transactional_id", "")


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        ("localhost:9092", [("localhost", 9092)]),
        ("a:9092,b:9093", [("a", 9092), ("b", 9093)]),
        (" a:9092 , b:1 ,", [("a", 9092), ("b", 1)]),
        (["a:9092", "b:9093"], [("a", 9092), ("b", 9093)]),
        (("a:65535",), [("a", 65535)]),
        ("PLAINTEXT://a:9092,plaintext://b:9092", [("a", 9092), ("b", 9092)]),
        ("SASL_SSL://a:9092", [("a", 9092)]),
        ("[::1]:9092", [("::1", 9092)]),
        ("PLAINTEXT://[fe80::1%eth0]:9092", [("fe80::1%eth0", 9092)]),
        ("kafka-0.kafka_headless.svc:9092", [("kafka-0.kafka_headless.svc", 9092)]),
        ("a:9092,b:9092,a:9092,PLAINTEXT://a:9092", [("a", 9092), ("b", 9092)]),
    ],
)
def test_bootstrap_servers_become_unique_pairs(given: object, addresses: list[tuple[str, int]]) -> None:
    assert take("bootstrap_servers", given) == tuple(addresses)


@pytest.mark.scenario("configuration")
@pytest.mark.parametrize(
    ("given", "because"),
    [
        ("", "there is no address in it"),
        (" , ,", "there is no address in it"),
        ([], "there is no address in it"),
        ("good:9092,bad", "'bad' has no port"),
        ("bad:", "'bad:' has no port"),
        (["bad:port"], "'bad:port' has the port 'port', which is not a number from 1 to 65535"),
        ("bad:0", "'bad:0' has the port '0'"),
        ("bad:65536", "'bad:65536' has the port '65536'"),
        ("bad:-1", "'bad:-1' has the port '-1'"),
        ("bad:٣", "'bad:٣' has the port '٣'"),
        (":9092", "':9092' has no host"),
        ("::1:9092", "'::1:9092' has no host, or an IPv6 address without brackets"),
        ("[::1]", "'[::1]' has no port"),
        ("[::zz]:9092", "::zz"),
        ("[localhost]:9092", "localhost"),
        ("[::1:9092", "'[::1:9092' is not an address"),
        ("http://a:9092/path", "asks for http; a security protocol is one of PLAINTEXT"),
        ("a b:9092", "'a b:9092' is not an address"),
    ],
)
def test_bad_address_is_explained(given: object, because: str) -> None:
    message = refusal("bootstrap_servers", given)
    assert message.startswith("bootstrap_servers must be 'host:port'")
    assert because in message


@pytest.mark.parametrize("wrong", [None, 9092, b"a:9092", {"a": 9092}, [("a", 9092)], [None], iter("a")])
def test_bootstrap_servers_are_strings(wrong: object) -> None:
    refusal("bootstrap_servers", wrong)


def last_partition(_topic: str, _key: bytes | None, partitions: int) -> int:
    return partitions - 1


def test_partitioner_values() -> None:
    for known in ("murmur2", "round_robin", "crc32", last_partition):
        assert take("partitioner", known) is known
    for wrong in ("sticky", "", None, 3):
        assert "'murmur2', 'round_robin', 'crc32', or a callable" in refusal("partitioner", wrong)


@pytest.mark.parametrize("name", ["key_serializer", "value_serializer"])
def test_serializer_values(name: str) -> None:
    assert take(name, None) is None
    assert take(name, str.encode) is str.encode
    for wrong in ("json", b"", 1):
        assert "a callable" in refusal(name, wrong)


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("batch_size", "5", 5),
        ("batch_size", " 5 ", 5),
        ("send_buffer_bytes", "-1", -1),
        ("linger_ms", "20", 20),
        ("linger_ms", "0.5", 0.5),
        ("enable_idempotence", "true", True),
        ("enable_idempotence", "FALSE", False),
        ("acks", "all", "all"),
        ("compression_type", " LZ4", "LZ4"),
        ("partitioner", "org.apache.kafka.clients.producer.RoundRobinPartitioner", "round_robin"),
        ("partitioner", "consistent_random", "crc32"),
        ("partitioner", "murmur2_random", "murmur2"),
        ("partitioner", "murmur2", "murmur2"),
        ("key_serializer", "org.apache.kafka.common.serialization.ByteArraySerializer", None),
        ("value_serializer", "org.apache.kafka.common.serialization.StringSerializer", str.encode),
        ("value_serializer", "StringSerializer", str.encode),
    ],
)
def test_text_is_converted(name: str, text: str, meant: object) -> None:
    assert OPTIONS[name].read(text) == meant


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("batch_size", "many"),
        ("batch_size", ""),
        ("batch_size", "1.5"),
        ("linger_ms", "soon"),
        ("enable_idempotence", "yes"),
        ("key_serializer", "org.apache.kafka.common.serialization.LongSerializer"),
    ],
)
def test_invalid_text_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be .*, not {text!r}$"):
        OPTIONS[name].read(text)


def test_java_name_has_dots() -> None:
    assert OPTIONS["retry_backoff_max_ms"].java_name == "retry.backoff.max.ms"
    assert OPTIONS["partitioner"].java_name == "partitioner.class"


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_every_option_has_doc_and_valid_default(option: Option) -> None:
    assert option.doc.endswith(".")
    assert len(option.doc) <= 80
    assert "\n" not in option.doc + option.kind.expected
    if option.name != "bootstrap_servers":
        assert option.take(option.default) == option.default


def test_config_has_normal_forms() -> None:
    config = ProducerConfig(bootstrap_servers=SERVERS, acks="all", compression_type="LZ4")
    assert (config.bootstrap_servers, config.acks, config.compression_type) == (
        (("localhost", 9092),),
        -1,
        "lz4",
    )
