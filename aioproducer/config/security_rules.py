"""The rules between the options of TLS and SASL.

An option that would have no effect is refused: a password beside PLAINTEXT is a mistake, and the
connection would be open. Each message names the option and says what to do; secrets never show.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

from aioproducer.config.kinds import SECURITY_PROTOCOLS
from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_TLS = ("SSL", "SASL_SSL")
_SASL = ("SASL_PLAINTEXT", "SASL_SSL")

_USER: Final = frozenset({"sasl_username", "sasl_password"})
_SCRAM: Final = frozenset({*_USER, "sasl_scram_tokenauth"})

_CLIENT_ID = "sasl_oauthbearer_client_credentials_client_id"
_CLIENT_SECRET = "sasl_oauthbearer_client_credentials_client_secret"  # noqa: S105 - a name
_ENDPOINT = "sasl_oauthbearer_token_endpoint_url"
_ASSERTION = "sasl_oauthbearer_assertion_"
_ASSERTION_FILE = f"{_ASSERTION}file"
_ASSERTION_KEY = f"{_ASSERTION}private_key_file"
_HTTPS_CA = "https_ca_location"

# The beginnings of the names of the options that only the token endpoint uses.
_OF_ENDPOINT = (
    _ASSERTION,
    "sasl_oauthbearer_client_",
    "sasl_oauthbearer_header_",
    "sasl_oauthbearer_scope",
    _HTTPS_CA,
)


def _prefixes_of(mechanism: str) -> tuple[str, ...]:
    """Return the names, or their beginnings, of the options that a mechanism uses."""
    match mechanism:
        case "PLAIN":
            return tuple(_USER)
        case "SCRAM-SHA-256" | "SCRAM-SHA-512":
            return tuple(_SCRAM)
        case "OAUTHBEARER":
            return "sasl_token_provider", "sasl_oauthbearer_", "sasl_login_", _HTTPS_CA
        case "GSSAPI":
            return ("sasl_kerberos_",)
        case _:
            return ()


class SecurityRules:
    """The rules for one set of options: `values` of every option, `changed` are not the defaults."""

    def __init__(
        self, values: Mapping[str, Any], given: Collection[str], defaults: Mapping[str, Any]
    ) -> None:
        self._values = values
        self._changed = [name for name in values if name in given and values[name] != defaults[name]]
        self._protocol: str = values["security_protocol"]
        self._mechanism_is_default = "sasl_mechanism" not in given

    def check(self, servers: object) -> None:
        """Raise ConfigurationError for options that conflict; `servers` are as the user gave them."""
        self._check_servers(servers)
        if self._protocol in _TLS:
            self._check_tls()
        else:
            self._refuse_idle(("ssl_", "enable_ssl_"), _TLS, "TLS")
        if self._protocol in _SASL:
            self._check_mechanism()
        else:
            self._refuse_idle(("sasl_", _HTTPS_CA), _SASL, "SASL")

    def _has(self, name: str) -> bool:
        return self._values[name] is not None

    def _check_servers(self, servers: object) -> None:
        entries = servers.split(",") if isinstance(servers, str) else servers
        if not isinstance(entries, list | tuple):
            return
        for entry in entries:
            listener, scheme, _ = str(entry).strip().partition("://")
            if scheme and listener.upper() != self._protocol and listener.upper() in SECURITY_PROTOCOLS:
                message = (
                    f"{str(entry).strip()!r} asks for {listener.upper()}, but security_protocol is "
                    f"{self._protocol!r}: set security_protocol={listener.upper()!r}, or leave "
                    f"{listener}:// out"
                )
                raise ConfigurationError(message, option="security_protocol", value=self._protocol)

    def _refuse_idle(self, prefixes: tuple[str, ...], protocols: Iterable[str], layer: str) -> None:
        for name in self._changed:
            if name.startswith(prefixes):
                choices = " or ".join(repr(protocol) for protocol in protocols)
                raise self._refusal(
                    name,
                    f"has no effect with security_protocol={self._protocol!r}: set security_protocol="
                    f"{choices} to use {layer}, or leave {name} out",
                )

    def _check_tls(self) -> None:
        if self._has("ssl_context"):
            for name in self._changed:
                if name.startswith(("ssl_", "enable_ssl_")) and name != "ssl_context":
                    raise self._refusal(
                        name,
                        "is given beside ssl_context, which replaces it: make it a part of the context, or "
                        "leave ssl_context out",
                    )
        if not self._values["enable_ssl_certificate_verification"]:
            # Without a check of the certificate, its name and its CA mean nothing.
            for name in ("ssl_truststore_location", "ssl_truststore_certificates"):
                if self._has(name):
                    raise self._refusal(
                        name, "has no effect with enable_ssl_certificate_verification=False: choose one"
                    )
        self._refuse_both("ssl_truststore_location", "ssl_truststore_certificates")
        self._needs("ssl_truststore_password", "ssl_truststore_location")
        self._check_client_certificate()

    def _check_client_certificate(self) -> None:
        certificates = ("ssl_certificate_location", "ssl_keystore_certificate_chain")
        keys = ("ssl_key_location", "ssl_keystore_key")
        for name in (*certificates, *keys):
            self._refuse_both("ssl_keystore_location", name)
        self._refuse_both(*certificates)
        self._refuse_both(*keys)
        for one, other, missing in ((certificates, keys, "key"), (keys, certificates, "certificate")):
            for name in one:
                if self._has(name) and not any(map(self._has, other)):
                    raise self._refusal(
                        name,
                        f"is given without its {missing}: set {' or '.join(other)} too, or "
                        "ssl_keystore_location with both in one file",
                    )
        self._needs("ssl_keystore_password", "ssl_keystore_location")
        self._needs("ssl_key_password", "ssl_keystore_location", *keys)

    def _check_mechanism(self) -> None:
        mechanism = self._values["sasl_mechanism"]
        own = ("sasl_mechanism", *_prefixes_of(mechanism))
        for name in self._changed:
            if name.startswith(("sasl_", _HTTPS_CA)) and not name.startswith(own):
                if self._mechanism_is_default:
                    raise self._refusal(
                        name, "needs sasl_mechanism, which is missing (GSSAPI is the default, as in Java)"
                    )
                raise self._refusal(name, f"has no effect with sasl_mechanism={mechanism!r}: leave it out")
        if mechanism == "OAUTHBEARER":
            self._check_oauthbearer()
        elif mechanism == "GSSAPI":
            self._check_gssapi()
        elif mechanism != "AWS_MSK_IAM":
            for name in ("sasl_username", "sasl_password"):
                self._require(name, f"sasl_mechanism={mechanism!r} needs {name}: a string or a callable")

    def _check_gssapi(self) -> None:
        default = " (the default, as in Java)" if self._mechanism_is_default else ""
        self._require(
            "sasl_kerberos_service_name",
            f"sasl_mechanism='GSSAPI'{default} needs sasl_kerberos_service_name, mostly 'kafka'; for a user "
            "name and a password set sasl_mechanism to 'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'",
        )

    def _check_oauthbearer(self) -> None:
        self._refuse_both("sasl_token_provider", _ENDPOINT)
        if self._has("sasl_token_provider"):
            for name in self._changed:
                if name.startswith(_OF_ENDPOINT):
                    raise self._refusal(name, "has no effect with sasl_token_provider: leave one out")
            return
        self._require(
            _ENDPOINT,
            f"sasl_mechanism='OAUTHBEARER' needs sasl_token_provider or {_ENDPOINT}",
        )
        if importlib.util.find_spec("httpx") is None:
            message = f"{_ENDPOINT} needs an extra: pip install 'aioproducer[oauth]'"
            raise ConfigurationError(message, option=_ENDPOINT)
        self._check_grant()

    def _check_grant(self) -> None:
        self._needs(_CLIENT_SECRET, _CLIENT_ID)
        self._needs(_CLIENT_ID, _CLIENT_SECRET)
        self._needs("sasl_oauthbearer_header_urlencode", _CLIENT_ID)
        self._refuse_both(_ASSERTION_FILE, _ASSERTION_KEY)
        self._needs(f"{_ASSERTION}private_key_passphrase", _ASSERTION_KEY)
        signs = [name for name in self._changed if name.startswith(_ASSERTION) and name != _ASSERTION_FILE]
        for name in signs:
            self._needs(name, _ASSERTION_KEY)
        if not any(map(self._has, (_CLIENT_ID, _ASSERTION_FILE, _ASSERTION_KEY))):
            message = (
                f"{_ENDPOINT} needs credentials: {_CLIENT_ID} and {_CLIENT_SECRET}, or {_ASSERTION_KEY} or "
                f"{_ASSERTION_FILE}"
            )
            raise ConfigurationError(message, option=_ENDPOINT)
        for name in (_ASSERTION_FILE, _ASSERTION_KEY):
            self._refuse_both(_CLIENT_ID, name)

    def _refuse_both(self, one: str, other: str) -> None:
        if self._has(one) and self._has(other):
            raise self._refusal(other, f"is given beside {one}: leave one of them out")

    def _needs(self, name: str, *others: str) -> None:
        if name in self._changed and not any(map(self._has, others)):
            raise self._refusal(name, f"needs {' or '.join(others)}: set it too, or leave {name} out")

    def _require(self, name: str, message: str) -> None:
        if not self._has(name):
            raise ConfigurationError(message, option=name)

    def _refusal(self, name: str, fault: str) -> ConfigurationError:
        return ConfigurationError(f"{name} {fault}", option=name)
