"""Speaks HTTP to one broker, for agents with an event loop and for operators without; waits a little where it is busy."""

import asyncio
import ipaddress
import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import httpx2

from broker.client.errors import Misconfigured
from broker.client.holder import PROOF_HEADER
from broker.client.refusals import BUSY, answer_of, is_kept, refusal, retry_after, unreachable
from scopes.clock import Clock, SystemClock
from scopes.revocations import MAX_SNAPSHOT_BYTES

T = TypeVar("T")
Hear = Callable[[httpx2.Response], object]
"""Looks at every answer, those included that are not handed on."""

Make = Callable[[], httpx2.Request]
"""Makes a request; called for each attempt, for an operator's assertion is spent by one, and an agent's may be renewed."""

PATIENCE = 10.0
"""The seconds after which a busy broker is not asked again."""

TIMEOUT = httpx2.Timeout(10.0, connect=5.0)

# Those who were told the same second come back spread over a quarter of it.
_SPREAD = 0.25


def _ignore(_: httpx2.Response) -> None:
    """Hear nothing."""


class Connection:
    """One broker, for an event loop."""

    def __init__(
        self,
        url: str,
        *,
        patience: float = PATIENCE,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Prepare to speak; raise `Misconfigured` for a URL that an assertion must not be sent to."""
        self.address = Address(url)
        self.clock = clock or SystemClock()
        self._patience = patience
        self._sleep = sleep
        self._http = httpx2.AsyncClient(transport=transport, **self.address.options)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    def request(
        self, method: str, path: str, *, assertion: str | None = None, proof: str | None = None, **parts: Any
    ) -> httpx2.Request:
        """Make a request to the broker; `parts` are what httpx2 takes: params, json, data."""
        headers = _bearer(assertion) | ({PROOF_HEADER: proof} if proof is not None else {})
        return self._http.build_request(method, path, headers=headers, **parts)

    async def ask(self, make: Make, type: type[T], *, hear: Hear = _ignore) -> T:
        """Return the answer to a request, or raise a `ClientError`."""
        patience = _Patience(self._patience, self.clock)
        while True:
            try:
                response = await self._http.send(make())
            except httpx2.RequestError as error:
                raise unreachable(self.address.url, error) from None
            hear(response)
            wait = patience.wait_after(response)
            if wait is None:
                return answer_of(response, type)
            await self._sleep(wait)


class SyncConnection:
    """One broker, for a thread."""

    def __init__(
        self,
        url: str,
        *,
        patience: float = PATIENCE,
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Prepare to speak; raise `Misconfigured` for a URL that an assertion must not be sent to."""
        self.address = Address(url)
        self.clock = clock or SystemClock()
        self._patience = patience
        self._sleep = sleep or threading.Event().wait
        self._http = httpx2.Client(transport=transport, **self.address.options)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def request(self, method: str, path: str, *, assertion: str | None = None, **parts: Any) -> httpx2.Request:
        """Make a request to the broker; `parts` are what httpx2 takes: params, json, data."""
        return self._http.build_request(method, path, headers=_bearer(assertion), **parts)

    def ask(self, make: Make, type: type[T]) -> T:
        """Return the answer to a request, or raise a `ClientError`."""
        patience = _Patience(self._patience, self.clock)
        while True:
            try:
                response = self._http.send(make())
            except httpx2.RequestError as error:
                raise unreachable(self.address.url, error) from None
            wait = patience.wait_after(response)
            if wait is None:
                return answer_of(response, type)
            self._sleep(wait)

    def events(self, path: str, params: Mapping[str, str], *, assertion: str | None = None) -> Iterator[httpx2.ServerSentEvent]:
        """Yield server-sent events until the broker ends the stream; raise a `ClientError` if it breaks or is refused."""
        try:
            with self._http.sse(path, params=params, headers=_bearer(assertion), max_event_size=MAX_SNAPSHOT_BYTES) as stream:
                if not stream.response.is_success:
                    stream.response.read()
                    raise refusal(stream.response)
                yield from stream
        except httpx2.RequestError as error:
            raise unreachable(self.address.url, error) from None


class Address:
    """Where a broker is. Assertions go over https, or stay on this machine."""

    def __init__(self, url: str) -> None:
        """Check the URL; raise `Misconfigured` for one that an assertion must not be sent to."""
        self.url = url.rstrip("/")
        parts = _parsed(self.url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.host:
            raise Misconfigured(f"{url!a} is not the URL of a broker, like https://broker.example.com")
        self.is_local = _is_loopback(parts.host)
        if parts.scheme == "http" and not self.is_local:
            raise Misconfigured(f"{url}: an assertion is not sent in the clear; use https")

    @property
    def options(self) -> dict[str, Any]:
        """What an HTTP client for this broker is made with."""
        # A proxy of the environment has no business between two processes of one machine.
        return {"base_url": self.url, "timeout": TIMEOUT, "trust_env": not self.is_local, "follow_redirects": False}


class _Patience:
    def __init__(self, seconds: float, clock: Clock) -> None:
        self._milliseconds = seconds * 1000
        self._clock = clock
        self._began = clock.now()

    def wait_after(self, response: httpx2.Response) -> float | None:
        """Return the seconds to wait before asking again, or `None` where this answer has to do."""
        # What is kept is tried by the broker itself: to ask again would have it done twice.
        if response.status_code not in BUSY or is_kept(response):
            return None
        wait = retry_after(response) * random.uniform(1.0, 1.0 + _SPREAD)  # noqa: S311 - not a secret
        passed = self._clock.now().since(self._began)
        return wait if passed + wait * 1000 <= self._milliseconds else None


def _parsed(url: str) -> httpx2.URL | None:
    try:
        return httpx2.URL(url)
    except httpx2.InvalidURL:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bearer(assertion: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {assertion}"} if assertion is not None else {}
