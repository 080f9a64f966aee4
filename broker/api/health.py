"""`/healthz` and `/readyz`: whether the process lives, and whether it can issue."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from broker.feed.follower import Follower
from broker.store.watch import Watch


@get("/healthz")
async def alive() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@get("/readyz")
async def ready(follower: NamedDependency[Follower], watch: NamedDependency[Watch]) -> Response[dict[str, Any]]:
    """Say whether this worker would issue: its picture is less than a second old, its epoch open, and its store fit for it."""
    problem = _problem(follower) or watch.problem()
    if not problem:
        return Response({"status": "ready"})
    return Response({"status": "not ready", "problem": problem}, status_code=503, headers={"Retry-After": "1"})


def _problem(follower: Follower) -> str:
    if not follower.is_current():
        return "the store has not been heard from for a second"
    if not follower.is_open():
        return "the store was lost or restarted, and its workers compare what they know"
    return ""
