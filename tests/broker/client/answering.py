"""Brokers that answer what a test tells them to, without a network."""

from collections.abc import Callable
from typing import Any

import httpx2

from scopes.clock import Instant

URL = "http://127.0.0.1:8750"


class Answering:
    """Takes requests and gives the answers of a list, the last one again and again."""

    def __init__(self, *answers: httpx2.Response | Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return answer(request)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self)


class Sleeper:
    """A clock that moves only while somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.milliseconds = 1_795_318_537_000

    def now(self) -> Instant:
        return Instant(self.milliseconds, self.milliseconds)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.milliseconds += int(seconds * 1000)

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


def busy(status: int = 503, *, retry_after: str | None = "2") -> httpx2.Response:
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    return problem(status, "temporarily_unavailable", headers=headers)


def problem(status: int, code: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
    body = {"type": "about:blank", "status": status, "code": code, "detail": "because", **more}
    return httpx2.Response(status, headers=headers, json=body)


def metadata(issuer: str = URL) -> httpx2.Response:
    return httpx2.Response(200, json={"issuer": issuer})


def nobody(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("Connection refused", request=request)
