"""Reads answers: into a type where the broker agreed, into an error of the one tree where it did not."""

from typing import Any, TypeVar

import httpx2
import msgspec

from broker.client.answers import Problem
from broker.client.errors import Busy, ClientError, NotAuthenticated, NotFound, Refused, UnexpectedAnswer, Unreachable

T = TypeVar("T")

BUSY = frozenset({429, 503})
"""The answers that ask to come back."""

STUCK = "stuck"
"""The reason for which something was not done that the broker itself will try again."""

_UNSAID_WAIT = 1.0
_CLASSES: dict[int, type[Refused]] = {401: NotAuthenticated, 404: NotFound}


def answer_of(response: httpx2.Response, type: type[T]) -> T:
    """Return what the broker answered; raise a `ClientError` where it refused, or did not answer like a broker."""
    if not response.is_success:
        raise refusal(response)
    try:
        return msgspec.json.decode(response.content, type=type)
    except msgspec.MsgspecError as error:
        where = response.request.url.copy_with(query=None)
        raise UnexpectedAnswer(f"{where} does not answer like a broker: {error}", status=response.status_code) from None


def refusal(response: httpx2.Response) -> ClientError:
    """Return the error that an answer stands for."""
    problem = _problem(response)
    status, code = response.status_code, problem.code or problem.error
    message = problem.detail or problem.error_description or f"the answer was {status} {response.reason_phrase}".strip()
    details: dict[str, Any] = {"code": code, "status": status, "reason": problem.reason, "policies": problem.policies}
    if status in BUSY:
        return Busy(message, **details, retry_after=retry_after(response))
    if not 400 <= status < 500 or not code:
        return UnexpectedAnswer(message, **details)
    return _CLASSES.get(status, Refused)(message, **details)


def is_kept(response: httpx2.Response) -> bool:
    """Tell whether the broker keeps what was asked for, and goes on trying it by itself."""
    return _problem(response).reason == STUCK


def unreachable(url: str, error: httpx2.RequestError) -> Unreachable:
    """Return the error for no answer at all."""
    return Unreachable(f"no answer from the broker at {url} ({str(error) or type(error).__name__})")


def retry_after(response: httpx2.Response) -> float:
    """Return the seconds after which the broker wants to be asked again."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() else _UNSAID_WAIT


def _problem(response: httpx2.Response) -> Problem:
    try:
        return msgspec.json.decode(response.content, type=Problem)
    except msgspec.MsgspecError:
        return Problem()
