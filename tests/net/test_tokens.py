"""The token of a client: its renewal, failing providers, and many authentications at once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from aioproducer.errors import AuthenticationError, ConfigurationError
from aioproducer.net import tokens
from aioproducer.net.oauth import TokenEndpoint
from aioproducer.net.providers import Providers
from aioproducer.net.tokens import TokenSource
from aioproducer.sasl.mechanism import failed
from aioproducer.sasl.oauthbearer import Token
from aioproducer.testing import FakeCluster
from tests.net.quick import quick
from tests.net.token_server import TokenServer, jwt, oauth_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aioproducer.config import ProducerConfig

SECRET = "s3cret-hunter2"  # noqa: S105 -- for tests


class Clock:
    """The wall clock of the module; `now` may be set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tokens, "time", clock)
    return clock


class Provider:
    """Gives token1, token2, … for `lifetime` seconds; raises `error` while it is set."""

    def __init__(self, clock: Clock, lifetime: float | None = 60.0) -> None:
        self.calls = 0
        self.error: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._clock = clock
        self._lifetime = lifetime

    async def __call__(self) -> Token:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        end = None if self._lifetime is None else self._clock.now + self._lifetime
        return Token(f"token{self.calls}", expires_at=end)


def config_of(provider: Callable[[], Any], **options: Any) -> ProducerConfig:  # noqa: ANN401
    limits = {"request_timeout_ms": 300, "delivery_timeout_ms": 5000}
    return oauth_config(None, **{"sasl_token_provider": provider, **limits, **options})


def source_of(provider: Callable[[], Any], *, random: float = 0.0, **options: Any) -> TokenSource:  # noqa: ANN401
    return TokenSource(provider, config_of(provider, **options), lambda: random, Providers())


async def hanging_source(provider: Provider, clock: Clock) -> TokenSource:
    """Return a source whose token is to be renewed while the provider hangs."""
    source = source_of(provider, request_timeout_ms=20_000, delivery_timeout_ms=30_000)
    await value_of(source)
    provider.gate.clear()
    clock.now += 50
    return source


def running_request() -> asyncio.Task[Any]:
    (request,) = [task for task in asyncio.all_tasks() if task.get_name() == "aioproducer-token"]
    return request


async def value_of(source: TokenSource) -> str:
    return (await asyncio.wait_for(source.token(), 20)).value


async def refusal(source: TokenSource) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as caught:
        await asyncio.wait_for(source.token(), 20)
    assert caught.value.mechanism == "OAUTHBEARER"
    assert str(caught.value).startswith(("OAUTHBEARER authentication failed: ", "the token endpoint "))
    assert SECRET not in str(caught.value)
    return caught.value


# Renewal.


async def test_token_is_kept(clock: Clock) -> None:
    provider = Provider(clock)
    source = source_of(provider)
    for after, value in [(0, "token1"), (47.9, "token1"), (0.2, "token2"), (47, "token2"), (100, "token3")]:
        clock.now += after
        assert await value_of(source) == value


@pytest.mark.parametrize(
    ("lifetime", "random", "options", "renewed_after"),
    [
        (60, 0.0, {}, 48),
        (60, 1.0, {}, 51),
        (3600, 0.0, {}, 2880),
        # Java's buffer of 300 s.
        (600, 0.0, {}, 300),
        (361, 0.0, {}, 61),
        # Too short for the buffer and the minimum period together.
        (360, 0.0, {}, 288),
        (3600, 0.0, {"sasl_login_refresh_buffer_seconds": 3000}, 600),
        (3600, 0.0, {"sasl_login_refresh_buffer_seconds": 0, "sasl_login_refresh_window_factor": 0.9}, 3240),
        (1000, 0.0, {"sasl_login_refresh_min_period_seconds": 600}, 600 + 100),
        (1000, 0.0, {"sasl_login_refresh_min_period_seconds": 699}, 700),
        (60, 1.0, {"sasl_login_refresh_window_factor": 1.0, "sasl_login_refresh_window_jitter": 0.25}, 60),
    ],
)
async def test_times_of_renewal(
    clock: Clock, lifetime: float, random: float, options: dict[str, Any], renewed_after: float
) -> None:
    """They are those of Java's ExpiringCredentialRefreshingLogin."""
    source = source_of(Provider(clock, lifetime), random=random, **options)
    assert await value_of(source) == "token1"
    clock.now += renewed_after - 0.5
    assert await value_of(source) == "token1"
    clock.now += 1
    assert await value_of(source) == "token2"


async def test_unknown_expiry_is_requested_each_time(clock: Clock) -> None:
    source = source_of(Provider(clock, lifetime=None))
    assert [await value_of(source) for _ in range(3)] == ["token1", "token2", "token3"]


async def test_expired_token_is_not_kept(clock: Clock) -> None:
    source = source_of(Provider(clock, lifetime=-5))
    assert [await value_of(source) for _ in range(2)] == ["token1", "token2"]


# Failures.


@pytest.mark.parametrize(
    "error", [OSError(SECRET), failed("OAUTHBEARER", "no"), TypeError(SECRET), ConfigurationError("no")]
)
async def test_failure_keeps_valid_token(
    clock: Clock, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Provider(clock)
    source = source_of(provider, sasl_login_retry_backoff_ms=1000, sasl_login_retry_backoff_max_ms=1000)
    await value_of(source)
    provider.error = error
    clock.now += 50
    assert await value_of(source) == "token1"
    assert "using the old token, 10 s more: " in caplog.text
    calls = provider.calls
    # During the backoff nothing waits for the provider.
    assert await value_of(source) == "token1"
    assert provider.calls == calls
    clock.now += 5
    assert await value_of(source) == "token1"
    assert provider.calls > calls
    clock.now += 6
    with pytest.raises((AuthenticationError, ConfigurationError)):
        await source.token()
    provider.error = None
    assert await value_of(source) == f"token{provider.calls}"
    assert SECRET not in caplog.text


async def test_backoff_ends_with_old_token(clock: Clock) -> None:
    provider = Provider(clock)
    source = source_of(provider, sasl_login_retry_backoff_ms=9000, sasl_login_retry_backoff_max_ms=9000)
    await value_of(source)
    provider.error = failed("OAUTHBEARER", "no")
    clock.now += 55
    assert await value_of(source) == "token1"
    provider.error = None
    clock.now += 6
    assert await value_of(source) == "token3"


async def test_failure_keeps_token_without_expiry(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing says that it has expired, so the broker decides."""
    provider = Provider(clock, lifetime=None)
    source = source_of(provider)
    await value_of(source)
    provider.error = AuthenticationError("no")
    assert await value_of(source) == "token1"
    assert "using the old token, as its expiry is unknown: no" in caplog.text


@pytest.mark.parametrize("lifetime", [60, None])
async def test_slow_renewal_does_not_delay(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, lifetime: float | None
) -> None:
    """The old token is used, and the request goes on for later authentications."""
    monkeypatch.setattr(tokens, "_PATIENCE", 0.01)
    provider = Provider(clock, lifetime)
    source = await hanging_source(provider, clock)
    assert [await value_of(source) for _ in range(3)] == ["token1"] * 3
    assert provider.calls == 2
    provider.gate.set()
    await asyncio.wait({running_request()}, timeout=20)
    assert await value_of(source) == f"token{2 if lifetime else 3}"


async def test_renewal_ends_with_client(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal that nothing waits for would run on for `request_timeout_ms` after the producer."""
    monkeypatch.setattr(tokens, "_PATIENCE", 0.01)
    provider = Provider(clock)
    source = await hanging_source(provider, clock)
    assert await value_of(source) == "token1"
    request = running_request()
    source.close()
    await asyncio.wait({request}, timeout=20)
    assert request.cancelled()


async def test_stop_closes_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[TokenSource] = []

    def close(source: TokenSource) -> None:
        closed.append(source)

    monkeypatch.setattr(TokenSource, "close", close)
    cluster = FakeCluster(
        topics={"orders": 1},
        security="SASL_PLAINTEXT",
        sasl_mechanisms=["OAUTHBEARER"],
        tokens={"a.b.c": "me"},
    )
    async with cluster, asyncio.timeout(60):
        options: dict[str, Any] = {**cluster.client_options, "sasl_token_provider": lambda: "a.b.c"}
        async with quick(options.pop("bootstrap_servers"), **options) as producer:
            await producer.send("orders", b"1")
            assert closed == []
    assert len(closed) == 1


async def test_token_that_expires_during_the_wait(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_PATIENCE", 0.05)
    provider = Provider(clock)
    source = await hanging_source(provider, clock)
    waiting = asyncio.create_task(source.token())
    await asyncio.sleep(0)
    clock.now += 11
    await asyncio.sleep(0.1)
    assert not waiting.done()
    provider.gate.set()
    assert (await asyncio.wait_for(waiting, 20)).value == "token2"


async def test_errors_are_retried(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: Iterator[str | Exception] = iter(
        [OSError(SECRET), ValueError(SECRET), KeyError(SECRET), "opaque"]
    )

    def provider() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    caplog.set_level(logging.INFO)
    assert (
        await value_of(source_of(provider, request_timeout_ms=20_000, delivery_timeout_ms=30_000)) == "opaque"
    )
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "no token from the token provider (attempt 1): OSError"),
        ("INFO", "no token from the token provider (attempt 2): ValueError"),
        ("INFO", "no token from the token provider (attempt 3): KeyError"),
    ]


async def test_errors_without_end_are_bounded() -> None:
    def provider() -> str:
        raise OSError(SECRET)

    error = await refusal(source_of(provider))
    assert "the token provider gave no token in " in str(error)
    assert str(error).endswith(" attempts within 0.3 s (request_timeout_ms): OSError")
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize("is_async", [False, True])
async def test_hanging_provider(*, is_async: bool) -> None:
    release = asyncio.Event()

    async def hang() -> str:
        await release.wait()
        return "late"

    def block() -> str:
        time.sleep(1)
        return "late"

    error = await refusal(source_of(hang if is_async else block))
    assert str(error).endswith("the token provider gave no token within 0.3 s (request_timeout_ms)")


@pytest.mark.parametrize("error", [TypeError(SECRET), NameError(SECRET), AttributeError(SECRET)])
async def test_mistakes_are_not_retried(error: Exception) -> None:
    calls = itertools.count()

    def provider() -> str:
        next(calls)
        raise error

    refused = await refusal(source_of(provider))
    assert str(refused).endswith(f"the token provider raised {type(error).__name__}")
    assert refused.__cause__ is error
    assert next(calls) == 1


async def test_own_errors_are_not_retried(clock: Clock) -> None:
    provider = Provider(clock)
    provider.error = ConfigurationError("install it", option="sasl_token_provider")
    with pytest.raises(ConfigurationError, match="install it"):
        await source_of(provider).token()
    provider.error = AuthenticationError(
        "OAUTHBEARER authentication failed: refused", mechanism="OAUTHBEARER"
    )
    assert "refused" in str(await refusal(source_of(provider)))
    assert provider.calls == 2


async def test_cancellation_of_provider_is_an_error(clock: Clock) -> None:
    provider = Provider(clock)
    provider.error = asyncio.CancelledError()
    assert str(await refusal(source_of(provider))).endswith("RuntimeError")


# What a provider may return.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "must return a string or a Token, it returned NoneType"),
        (5, "must return a string or a Token, it returned int"),
        (b"token", "must return a string or a Token, it returned bytes"),
        (("token", 5), "must return a string or a Token, it returned tuple"),
        ("", "an unusable token: the token is empty"),
        (f"Bearer {SECRET}", "begins with 'Bearer '"),
        (f"{SECRET}\n", "has spaces or line breaks around it"),
        (f"{SECRET}\x01auth=x", "has characters that no bearer token has"),
        (Token(SECRET, extensions={"auth": "x"}), "'auth' is reserved"),
        (Token(SECRET, extensions={"a": "\x01"}), "must be printable ASCII"),
        (Token(SECRET.encode()), "the token must be a string, it is bytes"),  # type: ignore[arg-type]
        (Token(None), "the token must be a string, it is NoneType"),  # type: ignore[arg-type]
        (Token(SECRET, extensions=None), "must be a mapping of strings, they are NoneType"),  # type: ignore[arg-type]
        (Token(SECRET, extensions=[("a", "b")]), "must be a mapping of strings, they are list"),  # type: ignore[arg-type]
        (Token(SECRET, expires_at=1.7e12), "must be in seconds since the epoch, not in milliseconds"),
        (Token(SECRET, expires_at=-1), "must be in seconds since the epoch"),
        (Token(SECRET, expires_at=float("nan")), "must be in seconds since the epoch"),
        (Token(SECRET, expires_at="soon"), "must be a number of seconds since the epoch, it is str"),  # type: ignore[arg-type]
        (Token(SECRET, expires_at=True), "must be a number of seconds since the epoch, it is bool"),
    ],
)
async def test_unusable_tokens(given: object, message: str) -> None:
    calls = itertools.count()

    def provider() -> object:
        next(calls)
        return given

    assert message in str(await refusal(source_of(provider)))
    assert next(calls) == 1


async def test_jwt_and_opaque_strings(clock: Clock) -> None:
    given = jwt(sub="alice", exp=clock.now + 60)
    token = await source_of(lambda: given).token()
    assert (token.value, token.principal, token.expires_at) == (given, "alice", clock.now + 60)
    token = await source_of(lambda: "opaque").token()
    assert (token.value, token.principal, token.expires_at) == ("opaque", None, None)


async def test_extensions_are_merged() -> None:
    """Those of the token come before those of the option."""
    extensions = {"logicalCluster": "lkc-1", "identityPoolId": "pool-1"}
    token = await source_of(lambda: "t", sasl_oauthbearer_extensions=extensions).token()
    assert token.extensions == extensions
    given = Token("t", extensions={"logicalCluster": "lkc-2", "other": "x"})
    token = await source_of(lambda: given, sasl_oauthbearer_extensions=extensions).token()
    assert token.extensions == {"logicalCluster": "lkc-2", "identityPoolId": "pool-1", "other": "x"}


# Many authentications at once.


async def test_one_request_serves_all(clock: Clock) -> None:
    provider = Provider(clock)
    provider.gate.clear()
    source = source_of(provider, request_timeout_ms=20_000, delivery_timeout_ms=30_000)
    waiting = [asyncio.create_task(source.token()) for _ in range(20)]
    await asyncio.sleep(0.01)
    provider.gate.set()
    values = {token.value for token in await asyncio.wait_for(asyncio.gather(*waiting), 20)}
    assert values == {"token1"}
    assert provider.calls == 1


async def test_one_failure_ends_all() -> None:
    """They do not wait for one another's limit, and each has an error of its own."""
    release = asyncio.Event()
    source = source_of(release.wait)
    waiting = [asyncio.create_task(source.token()) for _ in range(20)]
    errors = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert all(isinstance(error, AuthenticationError) for error in errors)
    assert len({id(error) for error in errors}) == 20
    first, second = errors[:2]
    assert isinstance(first, AuthenticationError)
    first.at("kafka-1:9093")
    assert "kafka-1" not in str(second)


async def test_cancelled_authentication_does_not_cancel_others(clock: Clock) -> None:
    provider = Provider(clock)
    provider.gate.clear()
    source = source_of(provider, request_timeout_ms=20_000, delivery_timeout_ms=30_000)
    first, second = [asyncio.create_task(source.token()) for _ in range(2)]
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    provider.gate.set()
    assert (await asyncio.wait_for(second, 20)).value == "token1"
    with pytest.raises(asyncio.CancelledError):
        await first
    assert provider.calls == 1


async def test_request_ends_with_last_authentication(clock: Clock) -> None:
    """A producer that stops leaves no task behind."""
    provider = Provider(clock)
    provider.gate.clear()
    source = source_of(provider, request_timeout_ms=20_000, delivery_timeout_ms=30_000)
    waiting = [asyncio.create_task(source.token()) for _ in range(2)]
    await asyncio.sleep(0.01)
    request = running_request()
    for task in waiting:
        task.cancel()
    # One that comes before the request has ended makes a request of its own.
    while not request.cancelling():  # noqa: ASYNC110 -- a state of asyncio
        await asyncio.sleep(0)
    provider.gate.set()
    assert not request.done()
    assert await value_of(source) == "token2"
    assert request.cancelled()


# With a token endpoint.


async def test_endpoint_is_retried() -> None:
    async with TokenServer() as server:
        for status in (503, 429, 500):
            server.answer(status)
        config = oauth_config(server.url)
        token = await TokenSource(TokenEndpoint(config), config, lambda: 0.0, Providers()).token()
        assert token.value == jwt(sub="alice", number=4)
        assert len(server.requests) == 4


async def test_refusal_of_endpoint_is_final() -> None:
    async with TokenServer() as server:
        server.answer(401, {"error": "invalid_client"})
        config = oauth_config(server.url)
        error = await refusal(TokenSource(TokenEndpoint(config), config, lambda: 0.0, Providers()))
    assert "answered 401 Unauthorized" in str(error)
    assert error.reason == '"invalid_client"'
    assert len(server.requests) == 1


async def test_endpoint_that_stays_down() -> None:
    async with TokenServer() as server:
        for _ in range(1000):
            server.answer(503, {"error": "temporarily_unavailable"})
        config = oauth_config(server.url, request_timeout_ms=300, delivery_timeout_ms=5000)
        error = await refusal(TokenSource(TokenEndpoint(config), config, lambda: 0.0, Providers()))
    assert f"the token endpoint {config.sasl_oauthbearer_token_endpoint_url} gave no token in " in str(error)
    assert '(request_timeout_ms): answered 503 Service Unavailable, "temporarily_unavailable"' in str(error)
    assert error.reason == '"temporarily_unavailable"'
