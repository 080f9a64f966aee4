"""`POST /oauth/introspect`: what a token in force says, to the service that it was made for (RFC 7662)."""

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
from scopes.claims import Claims

_AUTHORIZATION = "authorization"
_HEADERS = {"Cache-Control": "no-store"}


@post("/oauth/introspect", status_code=200)
async def introspect(request: Request[Any, Any, Any], inquiry: NamedDependency[Inquiry]) -> Response[bytes]:
    """Answer `{"active": false}` for all that is not a token in force for the caller's own audience (RFC 7662 §2.2)."""
    parameters = await token.form(request)
    client = client_of(request, parameters)
    unverified_token = parameters.get("token")
    if unverified_token is None:
        raise InvalidRequest("token is missing")
    claims = await inquiry.introspect(client, unverified_token)
    return Response(msgspec.json.encode(_answer(claims)), media_type="application/json", headers=_HEADERS)


def client_of(request: Request[Any, Any, Any], parameters: Parameters) -> Presented:
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
