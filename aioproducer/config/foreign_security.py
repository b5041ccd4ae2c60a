"""Foreign names of the options of TLS and SASL, and foreign options that have none here."""

from __future__ import annotations

from typing import Any, Final

from aioproducer.config.alias import Alias
from aioproducer.config.kinds import FLAG
from aioproducer.config.security_kinds import PATH

_CLIENT = "sasl_oauthbearer_client_credentials_client_"


def _ca_location(path: Any) -> object:  # noqa: ANN401 - the kind has checked it
    # librdkafka looks for the system's certificates with "probe"; here that is the default.
    return None if path == "probe" else path


LIBRDKAFKA_SECURITY: Final = {
    "ssl_ca_location": Alias("ssl_truststore_location", PATH, _ca_location),
    "ssl_ca_pem": Alias("ssl_truststore_certificates"),
    "ssl_certificate_pem": Alias("ssl_keystore_certificate_chain"),
    "ssl_key_pem": Alias("ssl_keystore_key"),
    "sasl_mechanisms": Alias("sasl_mechanism"),
    "sasl_oauthbearer_client_id": Alias(f"{_CLIENT}id"),
    "sasl_oauthbearer_client_secret": Alias(f"{_CLIENT}secret"),
}

# kafka-python has these names too.
AIOKAFKA: Final = {
    "ssl_cafile": Alias("ssl_truststore_location"),
    "ssl_certfile": Alias("ssl_certificate_location"),
    "ssl_keyfile": Alias("ssl_key_location"),
    "ssl_password": Alias("ssl_key_password"),
    "ssl_check_hostname": Alias(
        "ssl_endpoint_identification_algorithm",
        FLAG,
        lambda checks: "https" if checks else "",
        " ('' for False)",
    ),
    "sasl_plain_username": Alias("sasl_username"),
    "sasl_plain_password": Alias("sasl_password"),
    "sasl_oauth_token_provider": Alias("sasl_token_provider"),
}

_STORE_TYPES = ("jks", "pem", "pkcs12")
_CONTEXT = "pass an ssl_context that has it"

# Foreign options with the values that change nothing here, in lower case: these are accepted.
HARMLESS_SECURITY: Final[dict[str, tuple[str, ...]]] = {
    "ssl_protocol": ("tls", "tlsv1.2", "tlsv1.3"),
    "ssl_enabled_protocols": ("tlsv1.2,tlsv1.3", "tlsv1.3,tlsv1.2"),
    # The content of a file tells its type.
    "ssl_keystore_type": _STORE_TYPES,
    "ssl_truststore_type": _STORE_TYPES,
    "sasl_oauthbearer_method": ("default", "oidc"),
    "sasl_oauthbearer_grant_type": ("client_credentials",),
    "sasl_oauthbearer_scope_claim_name": ("scope",),
    "sasl_oauthbearer_sub_claim_name": ("sub",),
    "sasl_oauthbearer_clock_skew_seconds": ("30",),
    "enable_sasl_oauthbearer_unsecure_jwt": ("false",),
    # Java needs these classes for what is built in here: AWS_MSK_IAM, and tokens from an endpoint.
    "sasl_client_callback_handler_class": ("software.amazon.msk.auth.iam.iamclientcallbackhandler",),
    "sasl_login_callback_handler_class": (
        "org.apache.kafka.common.security.oauthbearer.oauthbearerlogincallbackhandler",
        "org.apache.kafka.common.security.oauthbearer.secured.oauthbearerlogincallbackhandler",
    ),
}

# Foreign options without a counterpart, and what to do instead.
ADVICE_SECURITY: Final = {
    "sasl_jaas_config": "from_properties and from_env read it; keywords are sasl_username, sasl_password, …",
    "ssl_protocol": _CONTEXT,
    "ssl_enabled_protocols": _CONTEXT,
    "ssl_cipher_suites": _CONTEXT,
    "ssl_ciphers": _CONTEXT,
    "ssl_curves_list": _CONTEXT,
    "ssl_sigalgs_list": _CONTEXT,
    "ssl_crl_location": _CONTEXT,
    "ssl_crlfile": _CONTEXT,
    "ssl_keystore_type": "the content of the file tells its type: PEM or PKCS#12",
    "ssl_truststore_type": "the content of the file tells its type: PEM or PKCS#12",
    "ssl_ca_certificate_stores": "the system's certificates are the default",
    "ssl_providers": _CONTEXT,
    "https_ca_pem": "write it to a file and set https_ca_location",
    "sasl_kerberos_kinit_cmd": "run kinit beside the producer, or set sasl_kerberos_keytab",
    "sasl_kerberos_min_time_before_relogin": "credentials are read at each authentication",
    "sasl_kerberos_domain_name": "the host name of the broker is used",
    "sasl_login_callback_handler_class": "pass a sasl_token_provider that returns tokens",
    "sasl_oauthbearer_config": "pass a sasl_token_provider that returns unsecured tokens",
    "sasl_oauthbearer_method": "it is 'oidc' with sasl_oauthbearer_token_endpoint_url",
    "sasl_oauthbearer_grant_type": "the options that are set choose the grant",
}
