"""The one table from error to status, and the two ways an error is written."""

import inspect

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Request
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from broker import errors
from broker.api import problems
from broker.errors import AccessDenied, BrokerError, ConfigurationError, LimitReached, Unavailable

TREE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, BrokerError) and kind not in (BrokerError, ConfigurationError)
]
OAUTH, REST = "/oauth/token", "/v1/tasks"


def request(path: str) -> Request:  # type: ignore[type-arg]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [],
        "server": ("127.0.0.1", 1),
        "scheme": "http",
        "root_path": "",
    }
    return Request(scope)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [OAUTH, REST])
@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_has_its_status_and_its_code(kind: type[BrokerError], path: str) -> None:
    response = problems.on_broker_error(request(path), kind("why"))
    body = msgspec.json.decode(response.content)
    assert 400 <= (response.status_code or 0) < 600
    assert response.status_code != 500
    assert body["error" if path == OAUTH else "code"] == kind.code
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "oauth", "rest"),
    [
        (errors.InvalidRequest("x"), 400, 400),
        (errors.UnsupportedGrantType("x"), 400, 400),
        (errors.InvalidClient("x"), 401, 401),
        (errors.InvalidGrant("x"), 400, 400),
        (errors.UnauthorizedClient("x"), 400, 403),
        (errors.InvalidScope("x"), 400, 400),
        (errors.InvalidAuthorizationDetails("x"), 400, 400),
        (errors.InvalidTarget("x"), 400, 400),
        (errors.AccessDenied("x"), 400, 403),
        (errors.LimitReached("x"), 429, 429),
        (errors.Unavailable("x"), 503, 503),
        (errors.NotFound("x"), 404, 404),
        (errors.AlreadyUsed("x"), 409, 409),
        (errors.Expired("x"), 410, 410),
        (errors.Revoked("x"), 410, 410),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BrokerError) else str(value),
)
def test_the_table_is_the_contracts(error: BrokerError, oauth: int, rest: int) -> None:
    """`WIRE.md`, "POST /oauth/token"."""
    answers = [problems.on_broker_error(request(path), error).status_code for path in (OAUTH, REST)]
    assert answers == [oauth, rest]


@pytest.mark.parametrize(("wait", "header"), [(0, "1"), (1, "1"), (17, "17")])
@pytest.mark.parametrize("kind", [LimitReached, Unavailable])
def test_who_is_told_to_come_back_is_always_told_when(kind: type[BrokerError], wait: int, header: str) -> None:
    response = problems.on_broker_error(request(OAUTH), kind("x", retry_after=wait))
    assert response.headers["Retry-After"] == header


def test_nobody_else_is_told_to_come_back() -> None:
    assert "Retry-After" not in problems.on_broker_error(request(OAUTH), AccessDenied("x")).headers


def test_a_denial_names_its_reason_and_the_policies_that_decided() -> None:
    error = AccessDenied("x", reason="forbidden", policies=("a", "b"))
    for path in (OAUTH, REST):
        body = msgspec.json.decode(problems.on_broker_error(request(path), error).content)
        assert (body["reason"], body["policies"]) == ("forbidden", ["a", "b"])


@given(st.text())
def test_a_description_keeps_to_the_characters_it_may_have(text: str) -> None:
    """RFC 6749 §5.2, TRAPS 27: %x20-21 / %x23-5B / %x5D-7E."""
    response = problems.on_broker_error(request(OAUTH), errors.InvalidRequest(text))
    description = msgspec.json.decode(response.content)["error_description"]
    assert len(description) == len(text)
    assert all(letter == " " or "!" <= letter <= "~" for letter in description)
    assert not set(description) & {'"', "\\"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFoundException(), 404, "not_found"),
        (MethodNotAllowedException(headers={"Allow": "GET"}), 405, "invalid_request"),
        (HTTPException(status_code=413, detail="too large"), 413, "invalid_request"),
        (HTTPException(status_code=400, detail="bad"), 400, "invalid_request"),
    ],
    ids=["no such path", "no such method", "too large", "anything else"],
)
def test_what_the_framework_refuses_is_answered_like_everything_else(error: HTTPException, status: int, code: str) -> None:
    problem = problems.on_http_exception(request(REST), error)
    body = msgspec.json.decode(problem.content)
    assert (problem.status_code, body["code"], body["status"]) == (status, code, status)
    assert problem.media_type == "application/problem+json"
    oauth = problems.on_http_exception(request(OAUTH), error)
    assert msgspec.json.decode(oauth.content)["error"] == "invalid_request"
    assert oauth.headers.get("Allow") == problem.headers.get("Allow") == (error.headers or {}).get("Allow")


@pytest.mark.parametrize("path", [OAUTH, REST])
def test_what_nobody_foresaw_says_nothing_of_itself(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """I7: nothing leaves; the log has kind and place."""
    response = problems.on_any_error(request(path), RuntimeError("s3cret"))
    assert response.status_code == 500
    assert b"s3cret" not in response.content
    assert b"RuntimeError" not in response.content
    assert f"POST {path} failed" in caplog.text
