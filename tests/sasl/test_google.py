"""Tokens for Google's service, from google-auth with a token server on this machine."""

from __future__ import annotations

import json
import sys
import threading
import time
from base64 import urlsafe_b64decode
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.sasl.google import GoogleTokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACCESS_TOKEN = "ya29.s3cret_hunter2"  # noqa: S105 -- for tests
ACCOUNT = "orders@project.iam.gserviceaccount.com"


class TokenEndpoint(BaseHTTPRequestHandler):
    """Grants every request."""

    requests: list[dict[str, list[str]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append(parse_qs(body.decode()))
        answer = json.dumps({"access_token": ACCESS_TOKEN, "expires_in": 3599, "token_type": "Bearer"})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("google.auth.transport.requests", reason="the extra google is not installed")
    monkeypatch.setattr(TokenEndpoint, "requests", [], raising=False)
    with HTTPServer(("127.0.0.1", 0), TokenEndpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token"
        finally:
            server.shutdown()
            thread.join()


def use(monkeypatch: pytest.MonkeyPatch, folder: Path, credentials: dict[str, str]) -> None:
    path = folder / "credentials.json"
    path.write_text(json.dumps(credentials))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


def decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_service_account(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    fields = {"type": "service_account", "client_email": ACCOUNT, "private_key": pem, "token_uri": endpoint}
    use(monkeypatch, tmp_path, {**fields, "project_id": "project"})

    token = GoogleTokens()()

    header, claims, access_token = [decode(part) for part in token.value.split(".")]
    assert json.loads(header) == {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
    assert token.expires_at == pytest.approx(time.time() + 3599, abs=60)
    given = json.loads(claims)
    assert given.pop("iat") == pytest.approx(time.time(), abs=60)
    assert given == {"exp": int(token.expires_at or 0), "iss": "Google", "scope": "kafka", "sub": ACCOUNT}
    assert access_token.decode() == ACCESS_TOKEN
    assert token.principal == ACCOUNT
    assert token.value not in repr(token)
    assert TokenEndpoint.requests[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


def test_user(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = {"client_secret": "c", "refresh_token": "r"}
    use(
        monkeypatch,
        tmp_path,
        {"type": "authorized_user", "client_id": "i", "token_uri": endpoint, **secrets},
    )
    # The library reads the endpoint from its own constant in some versions.
    monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", endpoint)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
    assert GoogleTokens("alice@example.com")().principal == "alice@example.com"
    with pytest.raises(AuthenticationError, match="have no service account: pass its address as principal"):
        GoogleTokens()()


def test_missing_package_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[google\]'"):
        GoogleTokens()()
