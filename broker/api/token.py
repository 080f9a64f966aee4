"""`POST /oauth/token`: the form becomes a request, the answer becomes JSON."""

import contextlib
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency

from broker.api import problems
from broker.api.presented import DPOP, certified, proof
from broker.api.subject import ACCESS_TOKEN, TOKEN_EXCHANGE, subject_in
from broker.errors import (
    BrokerError,
    InvalidAuthorizationDetails,
    InvalidClient,
    InvalidRequest,
    InvalidTarget,
    Unavailable,
    UnsupportedGrantType,
)
from broker.errors import InvalidScope as InvalidScopeAsked
from broker.exchange import Exchange, TokenRequest
from broker.identity import AssertionType, Presented
from broker.issuer import Issued
from broker.tasks import Declaration
from scopes import claims, strict_json
from scopes.claims import Detail
from scopes.errors import InvalidDocument, InvalidScope
from scopes.scope import Resource, Scope

FORM = "application/x-www-form-urlencoded"
JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GRANTS = (CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER_GRANT)
PATH = "/oauth/token"
MAX_BODY = 32 * 1024
MAX_KEY = 255
_MAX_PARAMETER = 16 * 1024
_ASSERTION_TYPES: dict[str, AssertionType] = {JWT_SPIFFE: "jwt-spiffe", JWT_BEARER: "jwt-bearer"}

Parameters = dict[str, str]


class _Asked(NamedTuple):
    scope: Scope
    location: str | None = None


@post(PATH, status_code=200)
async def token(request: Request[Any, Any, Any], exchange: NamedDependency[Exchange]) -> Response[bytes]:
    """Exchange an assertion and a task for a token (RFC 6749 §4.4, RFC 7523, RFC 9396), bound to a key by DPoP (RFC 9449 §5).

    With a subject token it is for a user, or below the task of another agent (RFC 8693).
    With an `Idempotency-Key`, the same request of the same workload gets the same lease again while it lives.
    """
    if DPOP not in request.headers:
        return await _answered(request, exchange)
    try:
        response = await _answered(request, exchange)
    except BrokerError as error:
        response = problems.on_broker_error(request, error)
    with contextlib.suppress(Unavailable):
        # Whatever the answer is, the next proof can then be made without asking twice (RFC 9449 §8.2).
        response.headers["DPoP-Nonce"] = await exchange.nonce()
    return response


async def _answered(request: Request[Any, Any, Any], exchange: Exchange) -> Response[bytes]:
    asked = parse(await form(request))._replace(idempotency_key=_idempotency_key(request))
    shown = certified(request, asked.presented)._replace(unverified_proof=proof(request))
    issued = await exchange(asked._replace(presented=shown))
    # What it is, for whoever exchanged one (RFC 8693 §2.2.1).
    exchanged = {"issued_token_type": ACCESS_TOKEN} if asked.subject is not None else {}
    body = msgspec.json.encode(_answer(issued) | exchanged)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


def parse(parameters: Parameters) -> TokenRequest:
    """Read the parameters; raise the error of the contract for whatever is missing, unknown in value or too much."""
    grant = parameters.get("grant_type")
    if grant is None:
        raise InvalidRequest("grant_type is missing")
    if grant not in GRANTS:
        raise UnsupportedGrantType(f"grant_type has to be one of {', '.join(GRANTS)}")
    if grant != JWT_BEARER_GRANT and "assertion" in parameters:
        raise InvalidRequest(f"assertion goes with grant_type {JWT_BEARER_GRANT}")
    asked, audience = _asked(parameters), parameters.get("resource")
    if asked.location is not None and audience not in (None, asked.location):
        raise InvalidTarget("resource and the location of authorization_details are not the same service")
    declaration = parameters.get("task_declaration")
    if declaration is not None and "task" in parameters:
        raise InvalidRequest("send task or task_declaration, not both")
    return TokenRequest(
        presented=_granted(parameters) if grant == JWT_BEARER_GRANT else presented_in(parameters),
        scope=asked.scope,
        subject=subject_in(parameters, is_exchange=grant == TOKEN_EXCHANGE),
        client_id=parameters.get("client_id"),
        task=parameters.get("task"),
        declaration=_declaration(declaration) if declaration is not None else None,
        audience=audience or asked.location,
        ttl=_seconds(parameters.get("requested_ttl")),
        by_details=asked.location is not None,
    )


def _idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    key: str | None = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= MAX_KEY:
        raise InvalidRequest(f"Idempotency-Key has 1 to {MAX_KEY} characters")
    return key


async def form(request: Request[Any, Any, Any]) -> Parameters:
    """Read the parameters of a form; raise `InvalidRequest` or `InvalidTarget` for what is none, or says a thing twice."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise InvalidRequest(f"the body has to be {FORM}")
    try:
        body = (await request.body()).decode("utf-8")
        pairs = parse_qsl(body, keep_blank_values=True, strict_parsing=True, max_num_fields=50, errors="strict")
    except ValueError:
        raise InvalidRequest("the body is not a form") from None
    return _once(pairs)


def _once(pairs: list[tuple[str, str]]) -> Parameters:
    parameters: Parameters = {}
    for name, value in pairs:
        if name in parameters:
            raise (InvalidTarget if name == "resource" else InvalidRequest)(f"{name!a} stands twice")
        parameters[name] = value
    # A parameter without a value counts as left out (RFC 6749 §3.2).
    return {name: value for name, value in parameters.items() if value}


def _granted(parameters: Parameters) -> Presented:
    """Read the assertion of RFC 7523 §2.1, which says who calls and what for at once."""
    if {"client_assertion", "client_assertion_type"} & parameters.keys():
        raise InvalidRequest("send assertion or client_assertion, not both: it would not be clear who calls")
    if "assertion" not in parameters:
        raise InvalidRequest("assertion is missing: send your platform's token for this workload")
    return Presented(parameters["assertion"], "grant")


def presented_in(parameters: Parameters) -> Presented:
    """Read how a client proves who it is (RFC 7521 §4.2); raise `InvalidClient` for an assertion of no known type."""
    # Without an assertion the certificate of the connection has to do (RFC 8705 §2).
    if not {"client_assertion", "client_assertion_type"} & parameters.keys():
        return Presented()
    type = _ASSERTION_TYPES.get(parameters.get("client_assertion_type", ""))
    if type is None:
        raise InvalidClient(f"client_assertion_type has to be {JWT_SPIFFE} or {JWT_BEARER}")
    assertion = parameters.get("client_assertion")
    if assertion is None:
        raise InvalidClient("client_assertion is missing: send your workload's identity")
    return Presented(assertion, type)


def _asked(parameters: Parameters) -> _Asked:
    text, details = parameters.get("scope"), parameters.get("authorization_details")
    if (text is None) == (details is None):
        raise InvalidRequest("send scope or authorization_details, and not both")
    if details is not None:
        return _asked_by_details(details)
    try:
        return _Asked(Scope.parse(text or ""))
    except InvalidScope as error:
        raise InvalidScopeAsked(f"{error}; a token is for one action on one resource") from None


def _asked_by_details(unverified_text: str) -> _Asked:
    try:
        (detail,) = strict_json.decode(unverified_text.encode(), type=tuple[Detail], max_bytes=_MAX_PARAMETER)
        fields = f"[{','.join(detail.datatypes)}]" if detail.datatypes is not None else ""
        scope = Scope.parse(f"{Resource.parse(detail.identifier)}#{detail.actions[0]}{fields}")
    except (InvalidDocument, InvalidScope) as error:
        raise InvalidAuthorizationDetails(f"one object, one action, one location: {error}") from None
    if detail.type != claims.DETAIL_TYPE:
        raise InvalidAuthorizationDetails(f"type has to be {claims.DETAIL_TYPE}")
    # An action or field that holds a bracket or a comma of the scope grammar would read as something else.
    if scope.action != detail.actions[0] or len(scope.fields or ()) != len(detail.datatypes or ()):
        raise InvalidAuthorizationDetails("actions and datatypes hold one name in each place")
    return _Asked(scope, detail.locations[0])


def _declaration(unverified_text: str) -> Declaration:
    try:
        return strict_json.decode(unverified_text.encode(), type=Declaration, max_bytes=_MAX_PARAMETER)
    except InvalidDocument as error:
        raise InvalidRequest(f"task_declaration: {error}") from None


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
        raise InvalidRequest("requested_ttl is a whole number of seconds above zero")
    return int(text)


def _answer(issued: Issued) -> dict[str, Any]:
    bound_to_key = issued.confirmation is not None and issued.confirmation.jkt is not None
    return {
        "access_token": issued.access_token,
        "token_type": "DPoP" if bound_to_key else "Bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
        "authorization_details": [claims.as_members(issued.detail)],
        "lease_id": issued.lease_id,
        "task_id": issued.task_id,
    }
