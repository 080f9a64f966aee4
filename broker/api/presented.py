"""What a request presents to prove who calls, wherever it stands in the request."""

from typing import Any

from litestar import Request

from broker.errors import InvalidClient, InvalidDpopProof
from broker.identity import Presented
from scopes import client_certificate
from scopes.errors import InvalidDocument

DPOP = "dpop"
"""The header that a proof comes in (RFC 9449 §4.1)."""

_BEARER = "bearer "


def presented(request: Request[Any, Any, Any]) -> Presented:
    """Read what a request to a REST endpoint presents; raise `InvalidClient` for a scheme other than Bearer."""
    return certified(request, of_authorization(request.headers.get("authorization")))


def certified(request: Request[Any, Any, Any], presented: Presented) -> Presented:
    """Add the certificate of the request, if there is one; raise `InvalidClient` where it is not clear which it is."""
    try:
        shown = client_certificate.shown(request.scope, request.app.state.proxies)
    except InvalidDocument as error:
        raise InvalidClient(f"the client's certificate cannot be read: {error}") from None
    return presented._replace(unverified_chain=shown.unverified_chain, untrusted=shown.untrusted)


def of_authorization(unverified_authorization: str | None) -> Presented:
    """Read an `Authorization` header (RFC 6750 §2.1); nothing is presented where there is none."""
    if unverified_authorization is None:
        return Presented()
    if not unverified_authorization.lower().startswith(_BEARER):
        raise InvalidClient("send your assertion as Authorization: Bearer …")
    return Presented(unverified_authorization[len(_BEARER) :].strip())


def proof(request: Request[Any, Any, Any]) -> str | None:
    """Read the DPoP proof of a request; raise `InvalidDpopProof` where there are two (RFC 9449 §4.3)."""
    proofs: list[str] = request.headers.getall(DPOP, [])
    if len(proofs) > 1:
        raise InvalidDpopProof("send one DPoP header")
    return proofs[0] if proofs else None
