"""What a request presents to prove who calls, wherever it stands in the request."""

from typing import Any

from litestar import Request

from broker.errors import InvalidClient
from broker.identity import Presented

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
