"""A token endpoint for tests: a real HTTP or HTTPS server, which checks each request as RFC 6749 says.

async with TokenServer() as server:
    server.answer(503)                                 # the next response; by default a new token
    config = oauth_config(server.url, scope="kafka")
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from aioproducer.config import ProducerConfig

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from types import TracebackType

CLIENT = "alice"
SECRET = "s3cret-hunter2"  # noqa: S105 -- for tests

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def jwt(**claims: object) -> str:
    """Return a token with these claims, and a signature that nothing verifies."""
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)]
    return ".".join([urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts] + ["c2ln"])


def decode_jwt(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Return header, claims, the signed bytes and the signature."""
    header, claims, signature = [
        urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")
    ]
    return json.loads(header), json.loads(claims), token.rpartition(".")[0].encode(), signature


def oauth_config(url: str | None, **options: Any) -> ProducerConfig:  # noqa: ANN401
    """Return a configuration with the client credentials grant, if `options` have no other source."""
    given: dict[str, Any] = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": url,
        "sasl_login_retry_backoff_ms": 1,
        "sasl_login_retry_backoff_max_ms": 1,
    }
    if url is not None and not any("assertion" in name for name in options):
        given["sasl_oauthbearer_client_credentials_client_id"] = CLIENT
        given["sasl_oauthbearer_client_credentials_client_secret"] = SECRET
    return ProducerConfig(bootstrap_servers="localhost:9092", **{**given, **options})


class TokenServer:
    """Answers at `url`; `requests` are the headers and forms of the requests."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[dict[str, str], dict[str, str]]] = []
        self._answers: deque[tuple[int, bytes, dict[str, str]]] = deque()
        self._context = context
        self._pause = asyncio.Event()
        self._pause.set()
        self._arrived = asyncio.Event()
        application = web.Application()
        application.router.add_post("/token", self._token)
        self._server = TestServer(application, host="127.0.0.1")

    async def __aenter__(self) -> Self:
        await self._server.start_server(ssl=self._context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pause.set()
        await self._server.close()

    @property
    def url(self) -> str:
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://localhost:{self._server.port}/token"

    def answer(self, status: int = 200, body: object = b"", headers: dict[str, str] | None = None) -> None:
        """Give this response once, after those that wait already."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **(headers or {})}
        self._answers.append((status, body, headers or {}))

    def pause(self) -> None:
        """Hold all responses until `resume`."""
        self._pause.clear()

    def resume(self) -> None:
        self._pause.set()

    async def arrived(self) -> None:
        """Wait for a request."""
        await asyncio.wait_for(self._arrived.wait(), 20)

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append((dict(request.headers), form))
        self._arrived.set()
        await self._pause.wait()
        if self._answers:
            status, body, headers = self._answers.popleft()
            return web.Response(status=status, body=body, headers=headers)
        authorization = request.headers.get("Authorization")
        if form.get("grant_type") == JWT_BEARER:
            return self._grant(decode_jwt(form["assertion"])[1].get("sub"))
        if authorization != "Basic " + b64encode(f"{CLIENT}:{SECRET}".encode()).decode():
            shown = "" if authorization is None else b64decode(authorization.split()[1]).decode()
            # Some servers repeat the credentials.
            fields = {"error": "invalid_client", "error_description": f"{authorization} is wrong: {shown}"}
            return web.json_response(fields, status=401)
        return self._grant(CLIENT)

    def _grant(self, subject: object) -> web.Response:
        token = jwt(sub=subject, number=len(self.requests))
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 300})


@asynccontextmanager
async def raw_server(answer: bytes, *, drips: bytes = b"", closes: bool = True) -> AsyncIterator[str]:
    """Answer every request with these bytes, then with `drips` again and again; yield the URL."""
    handlers = set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            handlers.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while drips:
                await asyncio.sleep(0.01)
                writer.write(drips)
                await writer.drain()
            await writer.drain()
            if not closes:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()
