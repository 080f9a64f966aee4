"""`/v1/revocations`: end everything a selector hits, and show how far that has come."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from broker.api import bodies
from broker.api.feed import named
from broker.api.presented import presented
from broker.callers import Callers
from broker.enforcement import Affected, Enforcement
from broker.revocation import Revocation
from broker.selector import Selector


class RevocationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to end, and why."""

    selector: Selector
    reason: str


@post("/v1/revocations", status_code=202)
async def revoke(
    request: Request[Any, Any, Any], callers: NamedDependency[Callers], revocation: NamedDependency[Revocation]
) -> dict[str, Any]:
    """Revoke; the answer comes when the event is committed, whether or not anything known matched."""
    operator = await callers.operator(presented(request), "revoke")
    wanted = await bodies.read(request, RevocationRequest)
    revoked = await revocation.revoke(wanted.selector, wanted.reason, operator)
    return {"id": revoked.id, "epoch": revoked.epoch, "seq": revoked.seq, "matched": revoked.matched}


@get("/v1/revocations/{id:str}")
async def show(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    enforcement: NamedDependency[Enforcement],
    id: FromPath[str],
) -> dict[str, Any]:
    """Show which verifier processes of the affected services enforce a revocation, and which of the others are fenced."""
    await callers.operator(presented(request), "watch")
    logged, affected = await enforcement.of(id)
    return {
        "id": id,
        "epoch": logged.position.epoch,
        "seq": logged.seq,
        "kind": logged.event.kind,
        "value": logged.event.value,
        "committed": logged.committed,
        "verifiers": [_shown(one) for one in affected],
    }


def _shown(one: Affected) -> dict[str, Any]:
    return {
        "service": one.service,
        "audience": one.audience,
        **named(one.process),
        "state": one.state,
        "delay_ms": one.delay,
        "fenced_at": one.fenced_at,
    }
