"""The token endpoint, with a real HTTP server."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import sys
import time
import traceback
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.net.oauth import MAX_RESPONSE, TokenEndpoint, token_provider
from tests.net.token_server import CLIENT, SECRET, TokenServer, jwt, oauth_config, raw_server
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    async with TokenServer() as server:
        yield server


async def refusal(url: str, **options: Any) -> AuthenticationError:  # noqa: ANN401
    """Return the error of a request, after a look for secrets in all that it holds."""
    with pytest.raises(AuthenticationError) as caught:
        await asyncio.wait_for(TokenEndpoint(oauth_config(url, **options))(), 30)
    error = caught.value
    assert error.mechanism == "OAUTHBEARER"
    assert str(error).startswith("the token endpoint http")
    # httpx's errors hold the request, with its headers.
    assert error.__context__ is None
    assert error.__cause__ is None
    assert SECRET not in "".join(traceback.format_exception(error))
    return error


# Requests.


async def test_client_credentials(server: TokenServer) -> None:
    began = time.time()
    token = await TokenEndpoint(oauth_config(server.url, sasl_oauthbearer_scope="kafka write"))()
    assert (token.value, token.principal) == (jwt(sub=CLIENT, number=1), CLIENT)
    assert token.expires_at is not None
    assert began + 299 <= token.expires_at <= time.time() + 299
    headers, form = server.requests[0]
    assert form == {"grant_type": "client_credentials", "scope": "kafka write"}
    assert headers["Authorization"] == "Basic " + b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("aioproducer/")


async def test_no_scope_is_sent_by_default(server: TokenServer) -> None:
    await TokenEndpoint(oauth_config(server.url))()
    assert server.requests[0][1] == {"grant_type": "client_credentials"}


@pytest.mark.parametrize(
    ("encodes", "sent"), [(False, "a:b c%:s/e cré=t"), (True, "a%3Ab+c%25:s%2Fe+cr%C3%A9%3Dt")]
)
async def test_header_encoding(server: TokenServer, *, encodes: bool, sent: str) -> None:
    server.answer(200, {"access_token": "t"})
    config = oauth_config(
        server.url,
        sasl_oauthbearer_client_credentials_client_id="a:b c%",
        sasl_oauthbearer_client_credentials_client_secret="s/e cré=t",  # noqa: S106 -- for tests
        sasl_oauthbearer_header_urlencode=encodes,
    )
    await TokenEndpoint(config)()
    assert server.requests[0][0]["Authorization"] == "Basic " + b64encode(sent.encode()).decode()


async def test_provider_of_user_comes_first() -> None:
    def provider() -> str:
        return "token"

    assert token_provider(oauth_config(None, sasl_token_provider=provider)) is provider
    assert isinstance(token_provider(oauth_config("https://idp.example.com")), TokenEndpoint)


# Responses.


@pytest.mark.parametrize("lifetime", [60, 60.0, "60"])
async def test_lifetimes(server: TokenServer, lifetime: object) -> None:
    """The lifetime counts, not the time in the token: that is by the server's clock."""
    server.answer(201, {"access_token": jwt(exp=12_345), "expires_in": lifetime})
    token = await TokenEndpoint(oauth_config(server.url))()
    assert token.expires_at == pytest.approx(time.time() + 60, abs=20)


async def test_expiry_of_token_without_lifetime(server: TokenServer) -> None:
    server.answer(200, {"access_token": jwt(exp=12_345)})
    assert (await TokenEndpoint(oauth_config(server.url))()).expires_at == 12_345


async def test_opaque_token(server: TokenServer) -> None:
    server.answer(200, {"access_token": "opaque"})
    token = await TokenEndpoint(oauth_config(server.url))()
    assert (token.value, token.expires_at, token.principal) == ("opaque", None, None)


async def test_id_token_is_taken(server: TokenServer) -> None:
    server.answer(200, {"id_token": "id"})
    assert (await TokenEndpoint(oauth_config(server.url))()).value == "id"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "did not send a JSON object"),
        (b"<html>", "did not send a JSON object"),
        (b"\xff", "did not send a JSON object"),
        (b"[" * 100_000, "did not send a JSON object"),
        (b'["access_token"]', "did not send a JSON object"),
        ({}, "sent no access_token"),
        ({"access_token": 5}, "sent no access_token"),
        ({"access_token": ""}, "sent no access_token"),
        ({"access_token": "a b\x01c"}, "an access_token that cannot be used: the token has characters"),
    ],
)
async def test_unusable_responses(server: TokenServer, body: object, message: str) -> None:
    server.answer(200, body)
    error = await refusal(server.url)
    assert message in str(error)
    assert not error.retriable


@pytest.mark.parametrize(
    "wrong", [0, -1, True, "soon", "1e3", [1], 1e12, float("nan"), float("inf"), 10**400]
)
async def test_unusable_lifetimes(server: TokenServer, wrong: object) -> None:
    server.answer(200, {"access_token": "a", "expires_in": wrong})
    assert str(await refusal(server.url)).endswith("an expires_in that is not a number of seconds above 0")


async def test_wrong_secret(server: TokenServer) -> None:
    """The server repeats the credentials; the message does not."""
    wrong = "wrong-" + SECRET
    error = await refusal(server.url, sasl_oauthbearer_client_credentials_client_secret=wrong)
    text = str(error)
    assert text == (
        f"the token endpoint {server.url} answered 401 Unauthorized, "
        '"invalid_client": "Basic [hidden] is wrong: alice:[hidden]"; '
        "check sasl_oauthbearer_client_credentials_client_id and "
        "sasl_oauthbearer_client_credentials_client_secret"
    )
    assert error.reason == '"invalid_client": "Basic [hidden] is wrong: alice:[hidden]"'


@pytest.mark.parametrize(
    ("status", "retriable"),
    [
        *[(status, False) for status in (301, 307, 400, 401, 403, 404, 405, 415, 501, 505)],
        *[(status, True) for status in (202, 204, 408, 416, 429, 500, 502, 503, 504, 599)],
    ],
)
async def test_retriable_statuses(server: TokenServer, status: int, *, retriable: bool) -> None:
    """They are those of Java's HttpJwtRetriever."""
    server.answer(status)
    error = await refusal(server.url)
    assert f"answered {status}" in str(error)
    assert error.retriable is retriable


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("invalid_scope", "check sasl_oauthbearer_scope"),
        ("invalid_grant", "the claims of the assertion, and the clock"),
        ("unauthorized_client", "allow this grant for the client"),
        ("unsupported_grant_type", "does not have this grant"),
    ],
)
async def test_errors_name_causes(server: TokenServer, code: str, cause: str) -> None:
    server.answer(400, {"error": code})
    assert f'answered 400 Bad Request, "{code}"; ' in str(error := await refusal(server.url))
    assert cause in str(error)


async def test_malformed_errors(server: TokenServer) -> None:
    for body in (b"<html>", {"error": ["x"], "error_description": 5}, [1], {"error": "a\nb" * 1000}):
        server.answer(400, body)
        error = await refusal(server.url)
        assert "answered 400 Bad Request" in str(error)
        assert len(str(error)) < 500
        assert "\n" not in str(error)


async def test_redirects_are_not_followed(server: TokenServer) -> None:
    """The secret would go to another address."""
    server.answer(307, headers={"Location": "http://other.example.com/t?code=x"})
    text = str(await refusal(server.url))
    assert 'it moved to "http://other.example.com/t", check sasl_oauthbearer_token_endpoint_url' in text


async def test_query_of_url_is_not_shown(server: TokenServer) -> None:
    server.answer(404)
    error = await refusal(f"{server.url}?key=k3y-hunter2")
    assert "k3y-hunter2" not in str(error)
    assert str(error).endswith("answered 404 Not Found; check sasl_oauthbearer_token_endpoint_url")


async def test_secrets_are_not_logged(server: TokenServer, caplog: pytest.LogCaptureFixture) -> None:
    """Not by httpx either."""
    caplog.set_level(logging.DEBUG)
    token = await TokenEndpoint(oauth_config(server.url))()
    assert caplog.records
    basic = b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    for secret in (SECRET, basic, token.value):
        assert secret not in caplog.text


# Hostile, slow and absent servers.


async def test_large_response(server: TokenServer) -> None:
    server.answer(200, b"[" * (MAX_RESPONSE + 1))
    assert f"sent more than {MAX_RESPONSE} bytes" in str(await refusal(server.url))


async def test_endless_response() -> None:
    async with raw_server(b"HTTP/1.1 200 OK\r\n\r\n", drips=bytes(100_000)) as url:
        assert f"sent more than {MAX_RESPONSE} bytes" in str(await refusal(url))


async def test_compressed_response_is_not_expanded(server: TokenServer) -> None:
    server.answer(200, gzip.compress(bytes(100 * MAX_RESPONSE)), {"Content-Encoding": "gzip"})
    assert "did not send a JSON object" in str(await refusal(server.url))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
)
async def test_broken_responses_are_retriable(answer: bytes) -> None:
    async with raw_server(answer) as url:
        error = await refusal(url)
    assert "could not be used" in str(error)
    assert error.retriable


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"])
async def test_silent_server(answer: bytes) -> None:
    async with raw_server(answer, closes=False) as url:
        error = await refusal(url, sasl_login_read_timeout_ms=100)
    assert str(error).endswith("did not respond within 0.1 s (sasl_login_read_timeout_ms)")
    assert error.retriable


async def test_dripping_server() -> None:
    """Each byte comes within the read timeout; the whole response does not."""
    async with raw_server(b"HTTP/1.1 200 OK\r\n\r\n", drips=b"[") as url:
        error = await refusal(url, sasl_login_read_timeout_ms=500, sasl_login_connect_timeout_ms=500)
    assert "did not respond within" in str(error)
    assert error.retriable


async def test_refused_connection() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        error = await refusal(f"http://127.0.0.1:{closed.getsockname()[1]}/token")
    assert 'could not be used: "All connection attempts failed"' in str(error)
    assert error.retriable


async def test_unusable_proxy(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"gopher://user:{SECRET}@localhost")
    error = await refusal(server.url.replace("localhost", "idp.invalid"))
    assert "could not be used" in str(error)


# TLS.


async def test_https(tmp_path: Path) -> None:
    authority = Authority("Test CA")
    ca = tmp_path / "ca.pem"
    ca.write_text(authority.pem)
    issued = authority.issue("idp", names=["localhost"])
    async with TokenServer(issued.server_context()) as server:
        token = await TokenEndpoint(oauth_config(server.url, https_ca_location=ca))()
        assert token.principal == CLIENT
        # The system's CAs.
        error = await refusal(server.url)
        assert 'has a certificate that is not accepted, "' in str(error)
        assert "check https_ca_location" in str(error)
        assert not error.retriable
        wrong_name = server.url.replace("localhost", "127.0.0.1")
        error = await refusal(wrong_name, https_ca_location=ca)
        assert "IP address mismatch" in str(error)
        assert len(server.requests) == 1


async def test_unreadable_ca(server: TokenServer, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match=r"https_ca_location '.*' cannot be read") as caught:
            await TokenEndpoint(oauth_config(server.url, https_ca_location=path))()
        assert caught.value.option == "https_ca_location"


def test_plain_http_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    TokenEndpoint(oauth_config("http://localhost/token"))
    TokenEndpoint(oauth_config("https://idp.example.com/token"))
    assert not caplog.records
    TokenEndpoint(oauth_config("http://idp.example.com/token"))
    assert "sends credentials without encryption: use https" in caplog.text


# The extra.


def test_missing_package_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    config = oauth_config("https://idp.example.com/token")
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aioproducer\[oauth\]'"):
        TokenEndpoint(config)
