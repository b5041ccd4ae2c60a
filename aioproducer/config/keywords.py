"""The keyword arguments of `Producer` and `ProducerConfig`, for type checkers and editors.

The options are declared in `general_options` and `security_options`. Type checkers cannot derive this
list from them, so it is written here; `tests/config/test_keywords.py` compares the two and prints the
lines that are missing.
"""

import os
import ssl
from collections.abc import Mapping, Sequence
from typing import TypedDict

from aioproducer.config.kinds import Partitioner, PartitionerName, Serializer
from aioproducer.config.security_kinds import Credential, TokenProvider


class ProducerOptions(TypedDict, total=False):
    """The keyword options of `Producer`."""

    client_id: str | None
    acks: int | str
    enable_idempotence: bool
    retries: int
    delivery_timeout_ms: int
    linger_ms: float
    batch_size: int
    buffer_memory: int
    max_block_ms: int
    max_request_size: int
    max_in_flight_requests_per_connection: int
    request_timeout_ms: int
    compression_type: str
    compression_gzip_level: int
    compression_lz4_level: int
    compression_zstd_level: int
    partitioner: PartitionerName | Partitioner
    partitioner_class: PartitionerName | Partitioner
    partitioner_ignore_keys: bool
    partitioner_adaptive_partitioning_enable: bool
    partitioner_availability_timeout_ms: int
    client_dns_lookup: str
    bootstrap_resolve_timeout_ms: int
    reconnect_backoff_ms: int
    reconnect_backoff_max_ms: int
    retry_backoff_ms: int
    retry_backoff_max_ms: int
    socket_connection_setup_timeout_ms: int
    socket_connection_setup_timeout_max_ms: int
    connections_max_idle_ms: int
    send_buffer_bytes: int
    receive_buffer_bytes: int
    metadata_max_age_ms: int
    metadata_max_idle_ms: int
    metadata_recovery_strategy: str
    metadata_recovery_rebootstrap_trigger_ms: int
    transactional_id: str | None
    transaction_timeout_ms: int
    metrics_sample_window_ms: int
    metrics_num_samples: int
    metrics_recording_level: str
    security_protocol: str
    ssl_context: ssl.SSLContext | None
    ssl_truststore_location: str | os.PathLike[str] | None
    ssl_truststore_certificates: str | None
    ssl_truststore_password: str | None
    ssl_keystore_location: str | os.PathLike[str] | None
    ssl_keystore_password: str | None
    ssl_certificate_location: str | os.PathLike[str] | None
    ssl_key_location: str | os.PathLike[str] | None
    ssl_keystore_certificate_chain: str | None
    ssl_keystore_key: str | None
    ssl_key_password: str | None
    ssl_endpoint_identification_algorithm: str
    enable_ssl_certificate_verification: bool
    sasl_mechanism: str
    sasl_username: Credential | None
    sasl_password: Credential | None
    sasl_scram_tokenauth: bool
    sasl_kerberos_service_name: str | None
    sasl_kerberos_principal: str | None
    sasl_kerberos_keytab: str | os.PathLike[str] | None
    sasl_token_provider: TokenProvider | None
    sasl_oauthbearer_token_endpoint_url: str | None
    sasl_oauthbearer_client_credentials_client_id: str | None
    sasl_oauthbearer_client_credentials_client_secret: str | None
    sasl_oauthbearer_header_urlencode: bool
    sasl_oauthbearer_scope: str | None
    sasl_oauthbearer_extensions: Mapping[str, str] | Sequence[tuple[str, str]] | None
    sasl_oauthbearer_assertion_algorithm: str
    sasl_oauthbearer_assertion_claim_aud: str | None
    sasl_oauthbearer_assertion_claim_exp_seconds: int
    sasl_oauthbearer_assertion_claim_iss: str | None
    sasl_oauthbearer_assertion_claim_jti_include: bool
    sasl_oauthbearer_assertion_claim_nbf_seconds: int
    sasl_oauthbearer_assertion_claim_sub: str | None
    sasl_oauthbearer_assertion_file: str | os.PathLike[str] | None
    sasl_oauthbearer_assertion_private_key_file: str | os.PathLike[str] | None
    sasl_oauthbearer_assertion_private_key_passphrase: str | None
    sasl_oauthbearer_assertion_template_file: str | os.PathLike[str] | None
    https_ca_location: str | os.PathLike[str] | None
    sasl_login_connect_timeout_ms: int | None
    sasl_login_read_timeout_ms: int | None
    sasl_login_retry_backoff_ms: int
    sasl_login_retry_backoff_max_ms: int
    sasl_login_refresh_window_factor: float
    sasl_login_refresh_window_jitter: float
    sasl_login_refresh_min_period_seconds: int
    sasl_login_refresh_buffer_seconds: int


class AllOptions(ProducerOptions, total=False):
    """All options: `ProducerOptions` and the parameters of `Producer`."""

    bootstrap_servers: str | Sequence[str]
    key_serializer: Serializer | None
    value_serializer: Serializer | None
