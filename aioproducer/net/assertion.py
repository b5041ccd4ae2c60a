"""Assertions of the JWT bearer grant (RFC 7523, KIP-1139): read from a file, or signed here.

    template file ─▶ claims of the options ─▶ alg, typ, iat, exp, nbf, jti      later ones replace earlier

The files are read for each assertion, so they can be replaced while the producer runs.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aioproducer.errors import ConfigurationError
from aioproducer.sasl.oauthbearer import token_fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aioproducer.config import ProducerConfig

_PREFIX = "sasl_oauthbearer_assertion_"
_FILE = f"{_PREFIX}file"
_KEY = f"{_PREFIX}private_key_file"
_PASSPHRASE = f"{_PREFIX}private_key_passphrase"
_TEMPLATE = f"{_PREFIX}template_file"

_P256_SIZE = 32
"""Bytes of each of the two numbers of an ES256 signature."""


def make_assertion(config: ProducerConfig, now: float) -> str:
    """Return an assertion; reads files, so it may block. Raises ConfigurationError."""
    if config.sasl_oauthbearer_assertion_file is not None:
        return _read_assertion(config.sasl_oauthbearer_assertion_file)
    header, claims = _template(config.sasl_oauthbearer_assertion_template_file)
    algorithm = config.sasl_oauthbearer_assertion_algorithm
    issued_at = int(now)
    given = {
        "aud": config.sasl_oauthbearer_assertion_claim_aud,
        "iss": config.sasl_oauthbearer_assertion_claim_iss,
        "sub": config.sasl_oauthbearer_assertion_claim_sub,
    }
    claims |= {name: value for name, value in given.items() if value is not None}
    claims |= {
        "iat": issued_at,
        "exp": issued_at + config.sasl_oauthbearer_assertion_claim_exp_seconds,
        "nbf": issued_at - config.sasl_oauthbearer_assertion_claim_nbf_seconds,
    }
    if config.sasl_oauthbearer_assertion_claim_jti_include:
        claims["jti"] = secrets.token_urlsafe(16)
    header |= {"alg": algorithm, "typ": "JWT"}
    signed = f"{_encode(_json(header))}.{_encode(_json(claims))}"
    key = _private_key(
        config.sasl_oauthbearer_assertion_private_key_file or "",
        config.sasl_oauthbearer_assertion_private_key_passphrase,
    )
    return f"{signed}.{_encode(_sign(key, algorithm, signed.encode()))}"


def _read_assertion(path: str) -> str:
    text = _read(_FILE, path).strip()
    if fault := token_fault(text):
        # The faults of tokens are those of assertions.
        message = f"{_FILE} {path!r} has no assertion: {fault}"
        raise ConfigurationError(message, option=_FILE, value=path)
    return text


def _template(path: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    if path is None:
        return {}, {}
    try:
        template = json.loads(_read(_TEMPLATE, path))
    except (ValueError, RecursionError) as error:
        message = f"{_TEMPLATE} {path!r} is not JSON: {error}"
        raise ConfigurationError(message, option=_TEMPLATE, value=path) from error
    if isinstance(template, dict) and template and template.keys() <= {"header", "payload"}:
        header, payload = template.get("header", {}), template.get("payload", {})
        if isinstance(header, dict) and isinstance(payload, dict):
            return header, payload
    message = f'{_TEMPLATE} {path!r} must be a JSON object with the objects "header" and "payload"'
    raise ConfigurationError(message, option=_TEMPLATE, value=path)


def _private_key(path: str, passphrase: str | None) -> Any:  # noqa: ANN401 -- the package is optional
    serialization = _cryptography("hazmat.primitives.serialization")
    unsupported = _cryptography("exceptions").UnsupportedAlgorithm
    pem = _read(_KEY, path).encode()
    try:
        return serialization.load_pem_private_key(pem, passphrase.encode() if passphrase else None)
    # TypeError: an encrypted key without a passphrase, or the other way round.
    except (ValueError, TypeError, unsupported) as error:
        message = f"{_KEY} {path!r} is not a PEM private key, or {_PASSPHRASE} is not its passphrase: {error}"
    raise ConfigurationError(message, option=_KEY, value=path)


def _sign(key: Any, algorithm: str, data: bytes) -> bytes:  # noqa: ANN401 -- the package is optional
    sha256 = _cryptography("hazmat.primitives.hashes").SHA256()
    if algorithm == "RS256":
        rsa = _cryptography("hazmat.primitives.asymmetric.rsa")
        if isinstance(key, rsa.RSAPrivateKey):
            padding = _cryptography("hazmat.primitives.asymmetric.padding")
            return bytes(key.sign(data, padding.PKCS1v15(), sha256))
        kind = "an RSA key"
    else:
        ec = _cryptography("hazmat.primitives.asymmetric.ec")
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            utils = _cryptography("hazmat.primitives.asymmetric.utils")
            # The library gives DER, JWS has the two numbers alone (RFC 7518, section 3.4).
            numbers = utils.decode_dss_signature(key.sign(data, ec.ECDSA(sha256)))
            return b"".join([number.to_bytes(_P256_SIZE, "big") for number in numbers])
        kind = "a key of the curve P-256"
    message = f"{_PREFIX}algorithm {algorithm!r} needs {kind} in {_KEY}"
    raise ConfigurationError(message, option=f"{_PREFIX}algorithm", value=algorithm)


def _read(option: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # UnicodeDecodeError holds the bytes of the file, which may be a key.
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
    message = f"{option} {path!r} cannot be read: {reason}"
    raise ConfigurationError(message, option=option, value=path)


def _cryptography(module: str) -> Any:  # noqa: ANN401 -- the package is optional
    try:
        return import_module(f"cryptography.{module}")
    except ImportError as error:
        message = f"{_KEY} needs an extra: pip install 'aioproducer[oauth]' ({error})"
        raise ConfigurationError(message, option=_KEY) from error


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
