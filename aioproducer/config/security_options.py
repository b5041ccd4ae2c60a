"""The options of TLS and SASL, each declared once, as in `general_options`.

Names and defaults are Java's where Java has the option. `ssl_certificate_location`, `ssl_key_location`,
`enable_ssl_certificate_verification`, `https_ca_location`, `sasl_username`, `sasl_password`,
`sasl_kerberos_principal` and `sasl_kerberos_keytab` are librdkafka's; `ssl_context`,
`sasl_token_provider` and `sasl_scram_tokenauth` exist only here.
"""

import ssl
from dataclasses import dataclass
from typing import Annotated, ClassVar

from aioproducer.config.general_options import GeneralOptions, Seconds
from aioproducer.config.kinds import FLAG, LONG_MAX, SECURITY_PROTOCOLS, choice, whole
from aioproducer.config.security_kinds import (
    ALGORITHM,
    CERTIFICATES,
    CONTEXT,
    ENDPOINT_IDENTIFICATION,
    EXTENSIONS,
    LIMIT,
    MECHANISM,
    PASSWORD,
    PATH,
    PRIVATE_KEY,
    PROVIDER,
    SECRET,
    TEXT,
    URL,
    USERNAME,
    Credential,
    TokenProvider,
    share,
)

_LONG = whole(0, LONG_MAX)


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False)
class SecurityOptions(GeneralOptions):
    """The checked options."""

    security_protocol: Annotated[
        str, choice(*SECURITY_PROTOCOLS), "Whether connections use TLS (SSL) and SASL."
    ] = "PLAINTEXT"
    ssl_context: Annotated[
        ssl.SSLContext | None, CONTEXT, "The context for TLS, instead of the options below."
    ] = None
    ssl_truststore_location: Annotated[
        str | None, PATH, "CA certificates: PEM, PKCS#12, or a folder; None: the system's."
    ] = None
    ssl_truststore_certificates: Annotated[str | None, CERTIFICATES, "CA certificates."] = None
    ssl_truststore_password: Annotated[str | None, SECRET, "Password of a PKCS#12 truststore."] = None
    ssl_keystore_location: Annotated[
        str | None, PATH, "Client's key and certificate chain in one file: PEM or PKCS#12."
    ] = None
    ssl_keystore_password: Annotated[str | None, SECRET, "Password of a PKCS#12 keystore."] = None
    ssl_certificate_location: Annotated[
        str | None, PATH, "Client's certificate chain as a PEM file of its own."
    ] = None
    ssl_key_location: Annotated[str | None, PATH, "Client's key as a PEM file of its own."] = None
    ssl_keystore_certificate_chain: Annotated[str | None, CERTIFICATES, "Client's certificate chain."] = None
    ssl_keystore_key: Annotated[str | None, PRIVATE_KEY, "Client's key."] = None
    ssl_key_password: Annotated[str | None, SECRET, "Password of the client's key."] = None
    ssl_endpoint_identification_algorithm: Annotated[
        str, ENDPOINT_IDENTIFICATION, "Whether the certificate must be for the broker's host name."
    ] = "https"
    enable_ssl_certificate_verification: Annotated[
        bool, FLAG, "False accepts any certificate: for tests only."
    ] = True
    sasl_mechanism: Annotated[str, MECHANISM, "SASL mechanism; Java's default needs Kerberos."] = "GSSAPI"
    sasl_username: Annotated[Credential | None, USERNAME, "User name for PLAIN and SCRAM."] = None
    sasl_password: Annotated[Credential | None, PASSWORD, "Password for PLAIN and SCRAM."] = None
    sasl_scram_tokenauth: Annotated[bool, FLAG, "The user name is a delegation token's id (SCRAM)."] = False
    sasl_kerberos_service_name: Annotated[
        str | None, TEXT, "Service name in the brokers' principals, mostly `kafka`."
    ] = None
    sasl_kerberos_principal: Annotated[
        str | None, TEXT, "Client's principal; None: the default of the credentials."
    ] = None
    sasl_kerberos_keytab: Annotated[
        str | None, PATH, "Client's keytab; None: the credential cache of kinit."
    ] = None
    sasl_token_provider: Annotated[
        TokenProvider | None, PROVIDER, "Gives tokens for OAUTHBEARER; may be async."
    ] = None
    sasl_oauthbearer_token_endpoint_url: Annotated[
        str | None, URL, "Where to request tokens for OAUTHBEARER."
    ] = None
    sasl_oauthbearer_client_credentials_client_id: Annotated[
        str | None, TEXT, "Client id of the client credentials grant."
    ] = None
    sasl_oauthbearer_client_credentials_client_secret: Annotated[
        str | None, SECRET, "Client secret of the client credentials grant."
    ] = None
    sasl_oauthbearer_header_urlencode: Annotated[
        bool, FLAG, "Whether to URL-encode client id and secret, as RFC 6749 says."
    ] = False
    sasl_oauthbearer_scope: Annotated[str | None, TEXT, "Scope of the requested tokens."] = None
    sasl_oauthbearer_extensions: Annotated[
        tuple[tuple[str, str], ...] | None, EXTENSIONS, "SASL extensions, such as logicalCluster."
    ] = None
    sasl_oauthbearer_assertion_algorithm: Annotated[
        str, ALGORITHM, "Signature of assertions for the JWT bearer grant (KIP-1139)."
    ] = "RS256"
    sasl_oauthbearer_assertion_claim_aud: Annotated[str | None, TEXT, "Audience of assertions."] = None
    sasl_oauthbearer_assertion_claim_exp_seconds: Annotated[
        int, whole(0, 86_400), "Lifetime of an assertion."
    ] = 300
    sasl_oauthbearer_assertion_claim_iss: Annotated[str | None, TEXT, "Issuer of assertions."] = None
    sasl_oauthbearer_assertion_claim_jti_include: Annotated[
        bool, FLAG, "Whether each assertion has an id of its own."
    ] = False
    sasl_oauthbearer_assertion_claim_nbf_seconds: Annotated[
        int, whole(0, 3_600), "Time by which an assertion is valid before it is made."
    ] = 60
    sasl_oauthbearer_assertion_claim_sub: Annotated[str | None, TEXT, "Subject of assertions."] = None
    sasl_oauthbearer_assertion_file: Annotated[
        str | None, PATH, "File with an assertion that is already signed."
    ] = None
    sasl_oauthbearer_assertion_private_key_file: Annotated[
        str | None, PATH, "Key that signs assertions, as a PEM file."
    ] = None
    sasl_oauthbearer_assertion_private_key_passphrase: Annotated[
        str | None, SECRET, "Passphrase of this key."
    ] = None
    sasl_oauthbearer_assertion_template_file: Annotated[
        str | None, PATH, "JSON file with further headers and claims of assertions."
    ] = None
    https_ca_location: Annotated[
        str | None, PATH, "CA certificates of the token endpoint, as a PEM file; None: the system's."
    ] = None
    sasl_login_connect_timeout_ms: Annotated[
        int | None, LIMIT, "Time to connect to the token endpoint; None: that of brokers."
    ] = None
    sasl_login_read_timeout_ms: Annotated[
        int | None, LIMIT, "Time for the response of the token endpoint; None: request_timeout_ms."
    ] = None
    sasl_login_retry_backoff_ms: Annotated[int, _LONG, "First backoff of the token endpoint."] = 100
    sasl_login_retry_backoff_max_ms: Annotated[int, _LONG, "Its maximum; the backoff doubles each time."] = (
        10_000
    )
    sasl_login_refresh_window_factor: Annotated[
        float, share(0.5, 1.0), "Refresh a token after this share of its lifetime."
    ] = 0.8
    sasl_login_refresh_window_jitter: Annotated[
        float, share(0.0, 0.25), "Random share that is added to it."
    ] = 0.05
    sasl_login_refresh_min_period_seconds: Annotated[
        int, whole(0, 900), "Minimum time between refreshes of a token."
    ] = 60
    sasl_login_refresh_buffer_seconds: Annotated[
        int, whole(0, 3_600), "Time before its expiry by which a token is refreshed."
    ] = 300

    login_retry_backoff: ClassVar[Seconds] = Seconds(
        "sasl_login_retry_backoff_ms", at_most="sasl_login_retry_backoff_max_ms"
    )
    login_retry_backoff_max: ClassVar[Seconds] = Seconds("sasl_login_retry_backoff_max_ms")

    @property
    def login_connect_timeout(self) -> float:
        """Seconds to connect to the token endpoint."""
        limit = self.sasl_login_connect_timeout_ms
        return self.connection_setup_timeout if limit is None else limit / 1000

    @property
    def login_read_timeout(self) -> float:
        """Seconds to wait for the response of the token endpoint."""
        limit = self.sasl_login_read_timeout_ms
        return self.request_timeout if limit is None else limit / 1000

    @property
    def uses_tls(self) -> bool:
        """Whether connections use TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether connections authenticate with SASL."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")
