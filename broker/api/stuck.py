"""`GET /v1/stuck`: what was to end and is not known to have ended, and when it is tried again."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency

from broker.api.presented import presented
from broker.callers import Callers
from broker.endings import Endings
from broker.outbox import Order
from broker.stuck_work import Piece, StuckWork


@get("/v1/stuck")
async def list_stuck(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    endings: NamedDependency[Endings],
    stuck_work: NamedDependency[StuckWork],
) -> dict[str, Any]:
    """List what this replica could not carry out yet, the oldest first."""
    await callers.operator(presented(request), "watch")
    return {"stuck": [*map(_shown, endings.stuck()), *map(_shown, stuck_work.pieces())], "cursor": None}


def _shown(order: Order | Piece) -> dict[str, Any]:
    times = {"since": order.since, "next_try": order.next_try}
    return {"id": order.id, "what": order.what, "problem": order.problem, "tries": order.tries, **times}
