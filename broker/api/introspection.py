"""`POST /oauth/introspect` and `/oauth/revoke`: a token is shown to the broker again (RFC 7662, RFC 7009)."""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency

from broker.api import token
from broker.api.presented import certified, presented
from broker.api.token import Parameters
from broker.errors import InvalidRequest
from broker.identity import Presented
from broker.inquiry import Inquiry
from broker.returning import Returning
from scopes.claims import Claims

INTROSPECT, REVOKE = "/oauth/introspect", "/oauth/revoke"
_AUTHORIZATION = "authorization"
_HEADERS = {"Cache-Control": "no-store"}


@post(INTROSPECT, status_code=200)
async def introspect(request: Request[Any, Any, Any], inquiry: NamedDependency[Inquiry]) -> Response[bytes]:
    """Answer `{"active": false}` for all that is not a token in force for the caller's own audience (RFC 7662 §2.2)."""
    claims = await inquiry.introspect(*await _shown(request))
    return Response(msgspec.json.encode(_answer(claims)), media_type="application/json", headers=_HEADERS)


@post(REVOKE, status_code=200)
async def revoke(request: Request[Any, Any, Any], returning: NamedDependency[Returning]) -> Response[bytes]:
    """End a token that its agent gives back; what is not known is no error (RFC 7009 §2.2)."""
    await returning(*await _shown(request))
    return Response(b"", media_type="text/plain", headers=_HEADERS)


async def _shown(request: Request[Any, Any, Any]) -> tuple[Presented, str]:
    """Read who asks, and about which token; `token_type_hint` is a hint that nobody needs here."""
    parameters = await token.form(request)
    client = _client_of(request, parameters)
    unverified_token = parameters.get("token")
    if unverified_token is None:
        raise InvalidRequest("token is missing")
    return client, unverified_token


def _client_of(request: Request[Any, Any, Any], parameters: Parameters) -> Presented:
    """Read how the caller proves who it is: in the form as at the token endpoint, or as a bearer; not both (RFC 6749 §2.3)."""
    if _AUTHORIZATION not in request.headers:
        return certified(request, token.presented_in(parameters))
    if "client_assertion" in parameters:
        raise InvalidRequest("prove who you are in the form or in the Authorization header, not in both")
    return presented(request)


def _answer(claims: Claims | None) -> dict[str, Any]:
    if claims is None:
        return {"active": False}
    bound_to_key = claims.cnf is not None and claims.cnf.jkt is not None
    return {"active": True, "token_type": "DPoP" if bound_to_key else "Bearer", **msgspec.to_builtins(claims)}
