"""AWS_MSK_IAM: credentials of AWS for Amazon MSK, as a signed request that is not sent to AWS.

    client ── {"version":"2020_10_22", "host":…, "x-amz-signature":…} ──▶ broker
    client ◀─ {"version":"2020_10_22", "request-id":…} ─────────────────── broker

The signature is AWS's version 4 of a presigned GET request to the broker's host name. MSK also takes
such a request as a token of OAUTHBEARER: `MskIamTokens` makes them with AWS's own package.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote as percent_encode

from aioproducer.errors import ConfigurationError
from aioproducer.sasl.mechanism import failed, quote, refuse_pickle
from aioproducer.sasl.oauthbearer import OAuthBearer, Token
from aioproducer.version import __version__

if TYPE_CHECKING:
    from typing import NoReturn

    from aioproducer.sasl.mechanism import Attempt, Steps

_VERSION = "2020_10_22"
_SERVICE = "kafka-cluster"
_ACTION = "kafka-cluster:Connect"
_ALGORITHM = "AWS4-HMAC-SHA256"
_EXPIRES_AFTER = "900"

# b-1.orders.abc123.c2.kafka.eu-west-1.amazonaws.com, boot-x.c1.kafka-serverless.cn-north-1.amazonaws.com.cn
_REGION = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """An access key of AWS; temporary ones have a session token too."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def __reduce__(self) -> NoReturn:
        refuse_pickle(self)

    @classmethod
    def load(cls, profile: str | None = None) -> AwsCredentials:
        """Return the credentials that AWS's own tools would use; may do I/O.

        They come from the environment, the files in `~/.aws`, or the role of the container or
        instance. Raises AuthenticationError if there are none.
        """
        frozen = _load_credentials(profile, AwsMskIam.name).get_frozen_credentials()
        return cls(frozen.access_key, frozen.secret_key, frozen.token)


@dataclass(frozen=True, slots=True)
class AwsMskIam:
    """AWS_MSK_IAM with credentials.

    The region is `region`, else that of the broker's host name, else `default_region`.
    """

    name: ClassVar[str] = "AWS_MSK_IAM"
    blocking: ClassVar[bool] = False

    credentials: AwsCredentials
    region: str | None = None
    default_region: str | None = None
    user_agent: str = f"aioproducer/{__version__}"

    def __reduce__(self) -> NoReturn:
        refuse_pickle(self)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret key and the session token."""
        token = self.credentials.session_token
        return (self.credentials.secret_access_key, *([token] if token else []))

    def steps(self, attempt: Attempt) -> Steps:
        """Send the signed request; the broker confirms its version."""
        region = self._region(attempt.host)
        if region is None:
            raise failed(self.name, f"the host name {attempt.host!r} has no AWS region: set AWS_REGION")
        if not self.credentials.access_key_id or not self.credentials.secret_access_key:
            raise failed(self.name, "the access key id or the secret access key is empty")
        payload = self._payload(attempt, region)
        challenge = yield json.dumps(payload, separators=(",", ":")).encode()
        # Java's client, too, takes an empty answer for a failure.
        if not _is_confirmation(challenge):
            text = challenge.decode(errors="replace")
            raise failed(self.name, f"the broker sent {quote(text, self.secrets)} instead of a confirmation")

    def likely_cause(self, attempt: Attempt) -> str:
        """Return what to check if the broker refuses the signature."""
        region = self._region(attempt.host)
        return (
            f"check that the IAM policy of {self.credentials.access_key_id!r} allows {_ACTION} on the "
            f"cluster, that the region is {region!r}, that temporary credentials have not expired, "
            "and the clock"
        )

    def _region(self, host: str) -> str | None:
        return self.region or region_of(host) or self.default_region

    def _payload(self, attempt: Attempt, region: str) -> dict[str, str]:
        timestamp = datetime.fromtimestamp(attempt.now, UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = "/".join([timestamp[:8], region, _SERVICE, "aws4_request"])
        signed = {
            "Action": _ACTION,
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.access_key_id}/{scope}",
            "X-Amz-Date": timestamp,
            "X-Amz-Expires": _EXPIRES_AFTER,
            "X-Amz-SignedHeaders": "host",
        }
        if self.credentials.session_token:
            signed["X-Amz-Security-Token"] = self.credentials.session_token
        signature = self._signature(signed, scope, attempt.host)
        return {
            "version": _VERSION,
            "host": attempt.host,
            "user-agent": self.user_agent,
            **{key.lower(): value for key, value in signed.items()},
            "x-amz-signature": signature,
        }

    def _signature(self, signed: dict[str, str], scope: str, host: str) -> str:
        query = "&".join([f"{key}={percent_encode(signed[key], safe='-._~')}" for key in sorted(signed)])
        nothing = hashlib.sha256(b"").hexdigest()
        request = "\n".join(["GET", "/", query, f"host:{host}", "", "host", nothing])
        to_sign = [_ALGORITHM, signed["X-Amz-Date"], scope, hashlib.sha256(request.encode()).hexdigest()]
        # The key is derived step by step: by date, region, service and the end of the scope.
        key = b"AWS4" + self.credentials.secret_access_key.encode(errors="surrogatepass")
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, "\n".join(to_sign).encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class MskIamTokens:
    """A token provider for Amazon MSK with OAUTHBEARER; each call may do I/O.

    The credentials are those of AWS's own tools, of `profile`, or of the assumed `role_arn`.
    """

    region: str
    profile: str | None = None
    role_arn: str | None = None

    def __call__(self) -> Token:
        """Return a new token, which lasts for 15 minutes."""
        signer = require_package("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")
        if self.role_arn:
            value, expires_at_ms = signer.generate_auth_token_from_role_arn(self.region, self.role_arn)
        else:
            # Without credentials the signer fails with an AttributeError.
            _load_credentials(self.profile, OAuthBearer.name)
            value, expires_at_ms = (
                signer.generate_auth_token_from_profile(self.region, self.profile)
                if self.profile
                else signer.generate_auth_token(self.region)
            )
        return Token(value, expires_at=expires_at_ms / 1000)


def region_of(host: str) -> str | None:
    """Return the AWS region in the host name of an MSK broker.

    >>> region_of("b-1.orders.abc123.c2.kafka.eu-west-1.amazonaws.com")
    'eu-west-1'
    """
    found = _REGION.search(host.lower())
    return found[1] if found else None


def require_package(name: str) -> Any:  # noqa: ANN401 -- the packages are optional
    """Return a module of AWS's packages; raise ConfigurationError that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        message = f"credentials of AWS need an extra: pip install 'aioproducer[aws-msk-iam]' ({error})"
        raise ConfigurationError(message, option="sasl_mechanism", value=AwsMskIam.name) from error


def _load_credentials(profile: str | None, mechanism: str) -> Any:  # noqa: ANN401 -- of botocore
    credentials = require_package("botocore.session").Session(profile=profile).get_credentials()
    if credentials is None:
        raise failed(mechanism, "there are no AWS credentials in the environment, the files or a role")
    return credentials


def _is_confirmation(challenge: bytes) -> bool:
    try:
        answer = json.loads(challenge)
    # UnicodeDecodeError is a ValueError; many opening brackets end Python's recursion.
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and "version" in answer
