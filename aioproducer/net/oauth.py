"""Tokens for OAUTHBEARER from a token endpoint, over httpx (KIP-768, KIP-1139).

    POST  grant_type=client_credentials&scope=…                 Authorization: Basic ID:SECRET
    POST  grant_type=urn:ietf:…:jwt-bearer&assertion=…&scope=…
    200   {"access_token": "…", "expires_in": 300}  ──▶  Token

Requests, limits and the choice of errors to retry are those of Java's `HttpJwtRetriever`. This module
makes one request; `tokens` retries and keeps the token.
"""

from __future__ import annotations

import json
import logging
import ssl
import time
from base64 import b64encode
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import anyio
import anyio.to_thread

from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.net.assertion import make_assertion
from aioproducer.sasl.mechanism import quote
from aioproducer.sasl.oauthbearer import OAuthBearer, Token, token_fault
from aioproducer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aioproducer.config import ProducerConfig

logger = logging.getLogger("aioproducer.sasl")

_URL = "sasl_oauthbearer_token_endpoint_url"
_CLIENT = "sasl_oauthbearer_client_credentials_client_"

MAX_RESPONSE = 1_000_000
"""The largest response that is read, in bytes; as in Java."""

_MAX_LIFETIME = 1e9
"""Some thirty years, in seconds."""

_SUCCESS = (200, 201)

# Every other status is retried, such as 408, 429 and 503.
_FINAL = frozenset({*range(300, 408), *range(409, 416), 501, 505})

# RFC 6749, section 5.2.
_CAUSES = {
    "invalid_client": f"check {_CLIENT}id and {_CLIENT}secret",
    "invalid_scope": "check sasl_oauthbearer_scope",
    "invalid_grant": "check the key and the claims of the assertion, and the clock of this machine",
    "unauthorized_client": "allow this grant for the client at the authorization server",
    "unsupported_grant_type": "the authorization server does not have this grant",
}


def token_provider(config: ProducerConfig) -> Callable[[], Any]:
    """Return the source of new tokens, by the options."""
    if config.sasl_token_provider is not None:
        return config.sasl_token_provider
    return TokenEndpoint(config)


@dataclass(frozen=True, slots=True, repr=False)
class _Request:
    form: Mapping[str, str]
    headers: Mapping[str, str]
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class _Response:
    status: int
    reason: str
    content_type: str
    location: str
    body: bytes | None
    """None if it is larger than `MAX_RESPONSE`."""


class TokenEndpoint:
    """A token provider that requests each token from the endpoint of the options.

    Raises ConfigurationError if httpx is missing.
    """

    def __init__(self, config: ProducerConfig) -> None:
        self._config = config
        self._httpx = _require_httpx()
        self._url = config.sasl_oauthbearer_token_endpoint_url or ""
        parts = urlsplit(self._url)
        # Without the query, which may contain a key.
        self._shown = parts._replace(query="", fragment="").geturl()
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            logger.warning("%s sends credentials without encryption: use https (%s)", self._shown, _URL)

    def __str__(self) -> str:
        return f"the token endpoint {self._shown}"

    async def __call__(self) -> Token:
        """Return a new token; raises AuthenticationError or ConfigurationError."""
        # Reading files and signing block.
        request = await anyio.to_thread.run_sync(_make_request, self._config, time.time())
        began = time.time()
        response = await self._send(request)
        if response.body is None:
            message = f"sent more than {MAX_RESPONSE} bytes: check {_URL}"
            raise self._error(message)
        fields = _fields(response.body)
        if response.status not in _SUCCESS:
            raise self._refusal(response, fields, request.secrets)
        if fields is None:
            message = f"did not send a JSON object, but {quote(response.content_type)}: check {_URL}"
            raise self._error(message)
        return self._token(fields, began)

    async def _send(self, request: _Request) -> _Response:
        config = self._config
        limit = config.login_connect_timeout + config.login_read_timeout
        context = await anyio.to_thread.run_sync(_make_context, config.https_ca_location)
        # Raised outside of `except`: the errors of httpx hold the request with its secrets.
        try:
            # httpx has a limit for each read: an endpoint that sends a byte now and then keeps it.
            with anyio.fail_after(limit):
                return await self._post(request, context)
        except (self._httpx.TimeoutException, TimeoutError) as error:
            failure = self._timeout(error)
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError, ValueError) as error:
            failure = self._unreachable(error, request.secrets)
        raise failure

    async def _post(self, request: _Request, context: ssl.SSLContext) -> _Response:
        config, httpx = self._config, self._httpx
        timeout = httpx.Timeout(config.login_read_timeout, connect=config.login_connect_timeout)
        body = bytearray()
        async with (
            # No redirects: they would send the secret to another address.
            httpx.AsyncClient(verify=context, timeout=timeout, follow_redirects=False) as client,
            client.stream("POST", self._url, data=request.form, headers=request.headers) as response,
        ):
            headers = response.headers
            answer = partial(
                _Response,
                response.status_code,
                response.reason_phrase,
                headers.get("content-type", ""),
                headers.get("location", ""),
            )
            # The bytes as they come: decompressed, a small response could have any size.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_RESPONSE:
                    return answer(None)
            return answer(bytes(body))

    def _timeout(self, error: Exception) -> AuthenticationError:
        if isinstance(error, self._httpx.ConnectTimeout):
            limit, option = self._config.login_connect_timeout, "sasl_login_connect_timeout_ms"
        else:
            limit, option = self._config.login_read_timeout, "sasl_login_read_timeout_ms"
        return self._error(f"did not respond within {limit:.1f} s ({option})", retriable=True)

    def _unreachable(self, error: Exception, secrets: tuple[str, ...]) -> AuthenticationError:
        refused = _certificate_error(error)
        if refused is not None:
            shown = quote(refused.verify_message)
            message = f"has a certificate that is not accepted, {shown}: check https_ca_location and {_URL}"
            return self._error(message)
        shown = quote(str(error) or type(error).__name__, secrets)
        return self._error(f"could not be used: {shown}", retriable=True)

    def _refusal(
        self, response: _Response, fields: Mapping[str, object] | None, secrets: tuple[str, ...]
    ) -> AuthenticationError:
        status = f"{response.status} {response.reason}".strip()
        texts = [] if fields is None else [fields.get(name) for name in ("error", "error_description")]
        quoted = ": ".join([quote(text, secrets) for text in texts if isinstance(text, str) and text])
        message = f"answered {quote(status, secrets)[1:-1]}"
        if quoted:
            message += f", {quoted}"
        cause = _CAUSES.get(str(texts[0])) if texts else None
        if cause is None and response.location and response.status < 400:  # noqa: PLR2004 -- a redirect
            address = urlsplit(response.location)._replace(query="", fragment="").geturl()
            cause = f"it moved to {quote(address, secrets)}, check {_URL}"
        elif cause is None and response.status in (404, 405):
            cause = f"check {_URL}"
        if cause:
            message += f"; {cause}"
        return self._error(message, reason=quoted or None, retriable=response.status not in _FINAL)

    def _token(self, fields: Mapping[str, object], began: float) -> Token:
        # Java takes an id token, too.
        value = fields.get("access_token") or fields.get("id_token")
        if not isinstance(value, str):
            message = "sent no access_token"
            raise self._error(message)
        if fault := token_fault(value):
            message = f"sent an access_token that cannot be used: {fault}"
            raise self._error(message)
        token = Token.from_jwt(value)
        if fields.get("expires_in") is None:
            return token
        lifetime = _seconds(fields["expires_in"])
        if lifetime is None:
            message = "sent an expires_in that is not a number of seconds above 0"
            raise self._error(message)
        # Rather than the time in the token, which is by another machine's clock. But that time has whole
        # seconds: a token for 300 s that is made at 12:00:00.9 ends at 12:05:00.
        lifetime -= min(1.0, lifetime / 2)
        return Token(value, expires_at=began + lifetime, principal=token.principal)

    def _error(
        self, message: str, *, reason: str | None = None, retriable: bool = False
    ) -> AuthenticationError:
        return AuthenticationError(
            f"{self} {message}", mechanism=OAuthBearer.name, reason=reason, retriable=retriable
        )


def _make_request(config: ProducerConfig, now: float) -> _Request:
    headers = {
        "Accept": "application/json",
        # No compression: the size of the response is limited.
        "Accept-Encoding": "identity",
        "Cache-Control": "no-cache",
        "User-Agent": f"aioproducer/{__version__}",
    }
    scope = {"scope": config.sasl_oauthbearer_scope} if config.sasl_oauthbearer_scope else {}
    client_id = config.sasl_oauthbearer_client_credentials_client_id
    secret = config.sasl_oauthbearer_client_credentials_client_secret
    if client_id is None or secret is None:
        assertion = make_assertion(config, now)
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return _Request({"grant_type": grant, "assertion": assertion, **scope}, headers, (assertion,))
    pair = [client_id, secret]
    if config.sasl_oauthbearer_header_urlencode:
        # RFC 6749, section 2.3.1; many servers do not decode it, so it is not Java's default.
        pair = [quote_plus(part) for part in pair]
    basic = b64encode(":".join(pair).encode()).decode()
    headers["Authorization"] = f"Basic {basic}"
    secrets = tuple(dict.fromkeys([secret, pair[1], basic]))
    return _Request({"grant_type": "client_credentials", **scope}, headers, secrets)


def _make_context(ca_location: str | None) -> ssl.SSLContext:
    # As for brokers: not `create_default_context`, which writes keys to the file in SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_location is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context
    try:
        context.load_verify_locations(cafile=ca_location)
    except OSError as error:
        # ssl.SSLError, for a file that is not PEM, is an OSError.
        message = f"https_ca_location {ca_location!r} cannot be read as CA certificates: {error}"
        raise ConfigurationError(message, option="https_ca_location", value=ca_location) from error
    return context


def _require_httpx() -> Any:  # noqa: ANN401 -- the package is optional
    try:
        return import_module("httpx")
    except ImportError as error:
        message = f"{_URL} needs an extra: pip install 'aioproducer[oauth]' ({error})"
        raise ConfigurationError(message, option=_URL) from error


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the TLS error that an error of httpx comes from."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _fields(body: bytes) -> Mapping[str, object] | None:
    try:
        answer = json.loads(body)
    # UnicodeDecodeError is a ValueError; many opening brackets end Python's recursion.
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _seconds(given: object) -> float | None:
    # Some servers send a string.
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:  # noqa: PLR2004
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < _MAX_LIFETIME:
        return None
    return float(given)
