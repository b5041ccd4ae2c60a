"""The rules between options, as in Kafka's ProducerConfig: defaults change, set options conflict."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import pytest

from aioproducer.config import ProducerConfig, rules
from aioproducer.config.kinds import INT_MAX
from aioproducer.errors import ConfigurationError

pytestmark = pytest.mark.scenario("configuration")


def config(**options: object) -> ProducerConfig:
    unchecked: dict[str, Any] = options
    return ProducerConfig(bootstrap_servers="localhost:9092", **unchecked)


def refusal(**options: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        config(**options)
    return caught.value


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="aioproducer")
    return caplog


def entries(log: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    return [(record.name, record.levelno) for record in log.records]


def test_defaults_do_not_conflict(log: pytest.LogCaptureFixture) -> None:
    assert config().enable_idempotence
    assert not log.records


@pytest.mark.parametrize("options", [{"acks": 1}, {"acks": "0"}, {"retries": 0}, {"acks": 1, "retries": 0}])
def test_default_idempotence_is_disabled(options: dict[str, Any], log: pytest.LogCaptureFixture) -> None:
    assert config(**options).enable_idempotence is False
    assert entries(log) == [("aioproducer.config", logging.INFO)]
    assert "Idempotence is disabled" in log.text


@pytest.mark.parametrize(
    ("options", "culprit"), [({"acks": 1}, "acks"), ({"acks": 0}, "acks"), ({"retries": 0}, "retries")]
)
def test_explicit_idempotence_conflicts(options: dict[str, Any], culprit: str) -> None:
    error = refusal(enable_idempotence=True, **options)
    assert error.option == culprit
    assert str(error) == (
        f"enable_idempotence=True needs acks='all' and retries above 0, not {culprit}={options[culprit]}"
    )


def test_disabled_idempotence_allows_any_acks(log: pytest.LogCaptureFixture) -> None:
    assert config(enable_idempotence=False, acks=1, retries=0).acks == 1
    assert not log.records


@pytest.mark.parametrize("options", [{}, {"enable_idempotence": True}, {"acks": 1}, {"retries": 0}])
def test_six_in_flight_conflict_with_idempotence(options: dict[str, Any]) -> None:
    error = refusal(max_in_flight_requests_per_connection=6, **options)
    assert error.option == "max_in_flight_requests_per_connection"
    assert "only enable_idempotence=False" in str(error)


def test_five_in_flight_are_allowed() -> None:
    assert config(max_in_flight_requests_per_connection=5).enable_idempotence
    assert config(max_in_flight_requests_per_connection=6, enable_idempotence=False).acks == -1


@pytest.mark.parametrize("options", [{"enable_idempotence": False}, {"acks": 1}, {"retries": 0}])
def test_transactions_need_idempotence(options: dict[str, Any]) -> None:
    error = refusal(transactional_id="orders", **options)
    assert error.option == "transactional_id"
    assert "needs idempotence" in str(error)


def test_two_phase_commit_is_refused() -> None:
    assert "not implemented yet" in str(refusal(transaction_two_phase_commit_enable=True))
    assert refusal(transaction_two_phase_commit_enable=True, transaction_timeout_ms=1000).option == (
        "transaction_two_phase_commit_enable"
    )


def test_explicit_delivery_timeout_has_minimum() -> None:
    assert config(delivery_timeout_ms=30_005).delivery_timeout_ms == 30_005
    error = refusal(delivery_timeout_ms=30_004)
    assert error.option == "delivery_timeout_ms"
    assert (
        str(error) == "delivery_timeout_ms=30004 must be at least linger_ms + request_timeout_ms (5 + 30000)"
    )
    assert "(0.5 + 10)" in str(refusal(delivery_timeout_ms=10, linger_ms=0.5, request_timeout_ms=10))


@pytest.mark.parametrize(
    ("options", "raised"),
    [
        ({"request_timeout_ms": 120_000}, 120_005),
        ({"linger_ms": 100_000}, 130_000),
        ({"linger_ms": 100_000.5}, 130_001),
        ({"request_timeout_ms": INT_MAX}, INT_MAX),
        ({"linger_ms": 2**62}, INT_MAX),
    ],
)
def test_default_delivery_timeout_is_raised(
    options: dict[str, Any], raised: int, log: pytest.LogCaptureFixture
) -> None:
    assert config(**options).delivery_timeout_ms == raised
    assert entries(log) == [("aioproducer.config", logging.WARNING)]


def test_lone_reconnect_backoff_is_constant(log: pytest.LogCaptureFixture) -> None:
    lone = config(reconnect_backoff_ms=2_000)
    assert lone.reconnect_backoff_max_ms == 2_000
    assert lone.reconnect_backoff == lone.reconnect_backoff_max == 2.0
    assert entries(log) == [("aioproducer.config", logging.WARNING)]


def test_small_reconnect_backoff_is_constant(log: pytest.LogCaptureFixture) -> None:
    assert config(reconnect_backoff_ms=10).reconnect_backoff_max_ms == 10
    assert len(log.records) == 1


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("reconnect_backoff", "reconnect_backoff"),
        ("retry_backoff", "retry_backoff"),
        ("socket_connection_setup_timeout", "connection_setup_timeout"),
    ],
)
def test_maximum_limits_first_backoff(name: str, seconds: str, log: pytest.LogCaptureFixture) -> None:
    backwards = config(**{f"{name}_ms": 3_000, f"{name}_max_ms": 500})
    assert getattr(backwards, seconds) == getattr(backwards, f"{seconds}_max") == 0.5
    assert getattr(backwards, f"{name}_ms") == 3_000
    assert entries(log) == [("aioproducer.config", logging.WARNING)]


def test_lone_retry_backoff_keeps_maximum(log: pytest.LogCaptureFixture) -> None:
    assert config(retry_backoff_ms=10).retry_backoff_max_ms == 1_000
    assert not log.records


def test_serializers_default_to_none() -> None:
    assert config().key_serializer is config().value_serializer is None


def test_missing_snappy_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "find_spec", lambda _name: None)
    error = refusal(compression_type="snappy")
    assert error.option == "compression_type"
    assert "pip install 'aioproducer[snappy]'" in str(error)
    assert config(compression_type="zstd").compression_type == "zstd"


@pytest.mark.skipif(importlib.util.find_spec("cramjam") is None, reason="the extra snappy is not installed")
def test_installed_snappy_is_accepted() -> None:
    assert config(compression_type="snappy").compression_type == "snappy"
