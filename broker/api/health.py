"""`/healthz` and `/readyz`: whether the process lives, and whether it can issue."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from broker.feed.follower import Follower


@get("/healthz")
async def alive() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@get("/readyz")
async def ready(follower: NamedDependency[Follower]) -> Response[dict[str, Any]]:
    """Say whether this worker would issue: its picture of the feed has to be less than a second old."""
    if follower.is_current():
        return Response({"status": "ready"})
    headers = {"Retry-After": "1"}
    problem = "the store has not been heard from for a second"
    return Response({"status": "not ready", "problem": problem}, status_code=503, headers=headers)
