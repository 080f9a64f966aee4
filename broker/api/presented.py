"""What a request presents to prove who calls, wherever it stands in the request."""

from typing import Any

from litestar import Request

from broker.errors import InvalidClient, InvalidDpopProof
from broker.identity import Presented

DPOP = "dpop"
"""The header that a proof comes in (RFC 9449 §4.1)."""

_BEARER = "bearer "


def presented(request: Request[Any, Any, Any]) -> Presented:
    """Read what a request to a REST endpoint presents; raise `InvalidClient` for a scheme other than Bearer."""
    return of_authorization(request.headers.get("authorization"))


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
