"""The one table from error to HTTP status, and the two ways an error is written."""

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_500_INTERNAL_SERVER_ERROR

from broker import errors
from broker.errors import BrokerError

_LOG = logging.getLogger(__name__)

_STATUS: dict[type[BrokerError], int] = {
    errors.InvalidClient: 401,
    errors.NotFound: 404,
    errors.AlreadyUsed: 409,
    errors.Retired: 409,
    errors.Conflict: 409,
    errors.Expired: 410,
    errors.Revoked: 410,
    errors.ConfigurationError: 422,
    errors.LimitReached: 429,
    errors.Unavailable: 503,
}
_REST_STATUS = _STATUS | {errors.AccessDenied: 403, errors.UnauthorizedClient: 403}
_BAD_REQUEST = 400
_OAUTH_PREFIX = "/oauth/"
_HEADERS = {"Cache-Control": "no-store"}


def on_broker_error(request: Request[Any, Any, Any], error: BrokerError) -> Response[bytes]:
    """Answer a refusal in the form of the endpoint that was asked."""
    oauth = request.url.path.startswith(_OAUTH_PREFIX)
    table = _STATUS if oauth else _REST_STATUS
    status = next((table[kind] for kind in type(error).__mro__ if kind in table), _BAD_REQUEST)
    return (_oauth if oauth else _problem)(error, status)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refused (no such path, method, or too large a body) like everything else."""
    code = "not_found" if error.status_code == 404 else "invalid_request"
    refusal = errors.InvalidRequest(_plain(error.detail))
    oauth = request.url.path.startswith(_OAUTH_PREFIX)
    response = _oauth(refusal, error.status_code) if oauth else _problem(refusal, error.status_code, code=code)
    # Which methods there are, where it was the method (RFC 9110 §15.5.6).
    response.headers.update(error.headers or {})
    return response


def on_any_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer what nobody foresaw: nothing of it leaves, the log has its kind and place."""
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    refusal = BrokerError("an internal error; nothing was granted, and the broker's log says more")
    form = _oauth if request.url.path.startswith(_OAUTH_PREFIX) else _problem
    return form(refusal, HTTP_500_INTERNAL_SERVER_ERROR)


def _oauth(error: BrokerError, status: int) -> Response[bytes]:
    body: dict[str, Any] = {"error": error.code, "error_description": _plain(str(error))}
    return _response({**body, **_details(error)}, status, "application/json", error)


def _problem(error: BrokerError, status: int, *, code: str = "") -> Response[bytes]:
    body: dict[str, Any] = {"type": "about:blank", "status": status, "code": code or error.code, "detail": str(error)}
    return _response({**body, **_details(error)}, status, "application/problem+json", error)


def _details(error: BrokerError) -> dict[str, Any]:
    details: dict[str, Any] = {"reason": error.reason} if error.reason != error.code else {}
    if isinstance(error, errors.AccessDenied):
        details["policies"] = error.policies
    if isinstance(error, errors.ConfigurationError):
        details["problems"] = error.problems
    if isinstance(error, errors.Stuck):
        details["id"] = error.id
    if error.reason == "approval_required":
        details["approval_required"] = True
    return details


def _response(body: dict[str, Any], status: int, media_type: str, error: BrokerError) -> Response[bytes]:
    headers = dict(_HEADERS)
    if isinstance(error, errors.LimitReached | errors.Unavailable):
        # Always there (`WIRE.md`), so that nobody comes back at once.
        headers["Retry-After"] = str(max(error.retry_after, 1))
    if isinstance(error, errors.InvalidClient):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(body), status_code=status, media_type=media_type, headers=headers)


def _plain(text: str) -> str:
    """Keep to the characters that error_description may have (RFC 6749 §5.2)."""
    return "".join(letter if " " <= letter <= "~" and letter not in '"\\' else "'" for letter in text)
