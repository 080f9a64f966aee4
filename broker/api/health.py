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
    """Say whether this worker would issue: its picture of the feed is less than a second old, and its epoch is open."""
    if follower.is_current() and follower.is_open():
        return Response({"status": "ready"})
    headers = {"Retry-After": "1"}
    problem = "the store has not been heard from for a second"
    if follower.is_current():
        problem = "the store was lost or restarted, and its workers compare what they know"
    return Response({"status": "not ready", "problem": problem}, status_code=503, headers=headers)
