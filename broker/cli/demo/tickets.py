"""The demo's protected service: a few hundred tickets with personal fields, behind the verifier it embeds.

All it knows of the broker is the verifier library. The archive beside it is another service with an audience of its own.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, get, put

from scopes import Grant, VerificationError, Verifier, challenge, presented

AUDIENCES = {"tickets": "https://tickets.demo.test", "archive": "https://archive.demo.test"}
TICKETS = 300

ISSUER_VARIABLE = "DEMO_ISSUER"
URL_VARIABLE = "DEMO_URL"
IDENTITIES_VARIABLE = "DEMO_IDENTITIES"

_SUBJECTS = ("Cannot sign in", "Invoice is wrong", "Where is my parcel?", "Please cancel my order", "The app crashes")


def ticket(number: int) -> dict[str, str]:
    """Return one of the tickets; the same each time."""
    return {
        "subject": _SUBJECTS[number % len(_SUBJECTS)],
        "description": f"Customer {number} writes: please help me with this as soon as you can.",
        "customer": f"Customer {number}",
        "email": f"customer{number}@demo.test",
        "card_number": f"4000 0000 0000 {number:04}",
    }


@get("/{service:str}/tickets/{number:int}")
async def read(service: str, number: int, request: Request[Any, Any, Any], verifiers: dict[str, Verifier]) -> dict[str, str]:
    """Return what of a ticket the token grants."""
    grant = _verified(request, verifiers[service], action="read", resource=f"{service}:ticket/{number}")
    return grant.project(ticket(number))


@put("/{service:str}/tickets/{number:int}")
async def write(service: str, number: int, request: Request[Any, Any, Any], verifiers: dict[str, Verifier]) -> dict[str, str]:
    """Accept a change of a ticket, if the token grants that."""
    _verified(request, verifiers[service], action="write", resource=f"{service}:ticket/{number}")
    return {"status": "written"}


@get("/readyz")
async def ready(verifiers: dict[str, Verifier]) -> Response[dict[str, bool]]:
    """Tell whether every verifier knows keys and revocations."""
    states = {name: verifier.is_ready for name, verifier in verifiers.items()}
    return Response(states, status_code=200 if all(states.values()) else 503)


def create() -> Litestar:
    """Make the service from the environment."""
    issuer, identities = os.environ[ISSUER_VARIABLE], Path(os.environ[IDENTITIES_VARIABLE])
    verifiers = {
        name: Verifier(issuer, audience, identity=(identities / f"{name}.svid").read_text)
        for name, audience in AUDIENCES.items()
    }

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        yield
        for verifier in verifiers.values():
            verifier.close()

    return Litestar(
        [read, write, ready],
        dependencies={"verifiers": lambda: verifiers},
        exception_handlers={VerificationError: _refused},
        lifespan=[running],
        openapi_config=None,
        logging_config=None,
    )


def _verified(request: Request[Any, Any, Any], verifier: Verifier, *, action: str, resource: str) -> Grant:
    token, proof = presented(request.headers.items())
    # As callers know it: what stands in `Host` is the caller's to choose.
    url = os.environ[URL_VARIABLE] + request.url.path
    return verifier.verify(token, action=action, resource=resource, proof=proof, method=request.method, url=url)


def _refused(_: Request[Any, Any, Any], refusal: VerificationError) -> Response[dict[str, str]]:
    body = {"error": refusal.code, "detail": str(refusal)}
    return Response(body, status_code=refusal.status, headers=challenge(refusal))
