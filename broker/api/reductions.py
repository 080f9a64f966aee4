"""`/v1/reductions`: reduce access without ending it, restore it, and see what is reduced."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency

from broker.api import bodies
from broker.api.presented import presented
from broker.callers import Callers
from broker.reduction import NONE, Reduction
from broker.selector import ReductionSelector


class ReductionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whose access to reduce, to what, and why."""

    selector: ReductionSelector
    to: str
    reason: str


@post("/v1/reductions", status_code=202)
async def reduce(
    request: Request[Any, Any, Any], callers: NamedDependency[Callers], reduction: NamedDependency[Reduction]
) -> dict[str, Any]:
    """Reduce or restore; the answer comes when the event is committed and kept."""
    operator = await callers.identify(presented(request))
    wanted = await bodies.read(request, ReductionRequest)
    callers.check_operator(operator, "restore" if wanted.to == NONE else "reduce")
    done = await reduction.reduce(wanted.selector, wanted.to, wanted.reason, operator)
    return {"id": done.id, "epoch": done.committed.epoch, "seq": done.committed.seq}


@get("/v1/reductions")
async def list_reductions(
    request: Request[Any, Any, Any], callers: NamedDependency[Callers], reduction: NamedDependency[Reduction]
) -> dict[str, Any]:
    """List every reduction in force."""
    await callers.operator(presented(request), "watch")
    return {"reductions": [each._asdict() for each in reduction.in_force()], "cursor": None}
