"""`POST /v1/revocations`: end everything a selector hits."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency

from broker.api import bodies
from broker.callers import Callers
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
    operator = await callers.operator(request.headers.get("authorization"), "revoke")
    wanted = await bodies.read(request, RevocationRequest)
    revoked = await revocation.revoke(wanted.selector, wanted.reason, operator)
    return {"id": revoked.id, "epoch": revoked.epoch, "seq": revoked.seq, "matched": revoked.matched}
