"""The contexts for connections with TLS, from the options of the producer.

    options, files ──▶ TlsContexts ──current()──▶ ssl.SSLContext of the next connection
                           │
                           └─ a file changed: read all again; if that fails, keep the last context

So certificates can be renewed on disk while the producer runs: new connections use them, and open ones
stay as they are. A renewal in two steps (first the key, then the certificate) logs one WARNING between
them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from aioproducer.errors import ConfigurationError
from aioproducer.net.tls_files import Source, load_trusted, pem_identity, read_identity

if TYPE_CHECKING:
    from aioproducer.config import ProducerConfig
    from aioproducer.net.certificate import Certificate
    from aioproducer.net.tls_files import Identity

logger: Final = logging.getLogger("aioproducer.tls")

_Stamp = tuple[int, int, int, int] | None


class TlsContexts:
    """Gives the context for each new connection; raises ConfigurationError for unusable options.

    The constructor reads the files, so it blocks for some milliseconds.
    """

    def __init__(self, config: ProducerConfig) -> None:
        self._config = config
        self._paths = _watched_files(config)
        self._stamps = self._look()
        self._lock = asyncio.Lock()
        self._context = _make_context(config)
        _warn_of_checks(config)

    @property
    def has_client_certificate(self) -> bool:
        """Whether the client can show a certificate; unknown for an own context, which may have one."""
        config = self._config
        return (
            config.ssl_context is not None
            or config.ssl_keystore_location is not None
            or _is_set(config.ssl_certificate_location, config.ssl_keystore_certificate_chain)
        )

    async def current(self) -> ssl.SSLContext:
        """Return the context for a new connection; changed files are read first, in a thread."""
        # One stat call for each file: a few microseconds a connection.
        if self._look() != self._stamps:
            async with self._lock:
                await self._reload()
        return self._context

    async def _reload(self) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            # Another connection has read the files meanwhile.
            return
        changed = ", ".join(
            path for path, old, new in zip(self._paths, self._stamps, stamps, strict=True) if old != new
        )
        try:
            self._context = await anyio.to_thread.run_sync(_make_context, self._config)
        except ConfigurationError as error:
            logger.warning("Keeping the former certificates, although %s changed: %s", changed, error)
        else:
            logger.info("New connections use the certificates of %s", changed)
        # Of the time before the files were read: a file that is replaced meanwhile is read again. A
        # cancelled reload sets nothing.
        self._stamps = stamps

    def _look(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]


def server_name(host: str) -> str:
    """Return the name that a broker's certificate must have, for `server_hostname`.

    >>> server_name("kafka-1.example.com."), server_name("fe80::1%eth0")
    ('kafka-1.example.com', 'fe80::1')
    """
    # A full name may end with a dot, and an IPv6 address with its zone; certificates have neither.
    return host.partition("%")[0].removesuffix(".")


def _stamp(path: str) -> _Stamp:
    try:
        # Follows links: Kubernetes renews a secret by pointing a link to another folder.
        status = os.stat(path)  # noqa: PTH116 - for every connection, and a Path costs more
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _watched_files(config: ProducerConfig) -> list[str]:
    paths = (
        config.ssl_truststore_location,
        config.ssl_keystore_location,
        config.ssl_certificate_location,
        config.ssl_key_location,
    )
    return [path for path in paths if path is not None]


def _make_context(config: ProducerConfig) -> ssl.SSLContext:
    if config.ssl_context is not None:
        return config.ssl_context
    # Not `create_default_context`: its strictness differs between versions of Python, and it writes the
    # keys of connections to the file in SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # As Java's client: a peer may ask for a new handshake (TLS 1.2) at any time, again and again.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not config.enable_ssl_certificate_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif config.ssl_endpoint_identification_algorithm == "":
        context.check_hostname = False
    _load_authorities(config, context)
    identity = _identity(config)
    if identity is not None:
        identity.load_into(context)
        _warn_of_expiry(identity.certificate)
    return context


def _load_authorities(config: ProducerConfig, context: ssl.SSLContext) -> None:
    if _is_set(config.ssl_truststore_location, config.ssl_truststore_certificates):
        # As in Java, an intermediate or a broker's own certificate may be trusted without its root.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        load_trusted(
            context,
            _source(
                "ssl_truststore_location",
                config.ssl_truststore_location,
                "ssl_truststore_certificates",
                config.ssl_truststore_certificates,
            ),
            config.ssl_truststore_password,
        )
    elif config.enable_ssl_certificate_verification:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)


def _identity(config: ProducerConfig) -> Identity | None:
    if config.ssl_keystore_location is not None:
        store = Source("ssl_keystore_location", config.ssl_keystore_location)
        return read_identity(store, config.ssl_keystore_password, config.ssl_key_password)
    if not _is_set(config.ssl_certificate_location, config.ssl_keystore_certificate_chain):
        return None
    chain = _source(
        "ssl_certificate_location",
        config.ssl_certificate_location,
        "ssl_keystore_certificate_chain",
        config.ssl_keystore_certificate_chain,
    )
    key = _source("ssl_key_location", config.ssl_key_location, "ssl_keystore_key", config.ssl_keystore_key)
    return pem_identity(chain, chain.read(), key, key.read(), config.ssl_key_password)


def _source(path_option: str, path: str | None, text_option: str, text: str | None) -> Source:
    return Source(path_option, path=path) if path is not None else Source(text_option, text=text)


def _is_set(*values: object) -> bool:
    return any(value is not None for value in values)


def _warn_of_checks(config: ProducerConfig) -> None:
    if config.ssl_context is not None:
        return
    if not config.enable_ssl_certificate_verification:
        logger.warning(
            "Certificates of brokers are not verified (enable_ssl_certificate_verification=False): any host "
            "can pose as a broker and read the records"
        )
    elif config.ssl_endpoint_identification_algorithm == "":
        logger.warning(
            "Host names of brokers are not verified (ssl_endpoint_identification_algorithm=''): any host "
            "with a certificate of the same CA can pose as a broker"
        )


def _warn_of_expiry(certificate: Certificate | None) -> None:
    if certificate is None:
        return
    # Not an error: the broker decides, by its own clock.
    now = datetime.now(UTC)
    if certificate.not_after < now:
        logger.warning("The client's certificate %s expired on %s", certificate, certificate.not_after)
    elif now < certificate.not_before:
        logger.warning("The client's certificate %s is valid from %s on", certificate, certificate.not_before)
