"""`/v1/leases`: what is out. Leases, never tokens."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from broker.api import pages
from broker.api.presented import presented
from broker.callers import Callers
from broker.errors import InvalidRequest
from broker.feed.follower import Follower
from broker.leases import Lease, Leases
from scopes.errors import InvalidScope
from scopes.scope import canonical_prefix, prefix_covers

_INDEXES = {"live": ("due",), "expired": ("ended",), "revoked": ("ended",)}


@get("/v1/leases")
async def list_leases(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    leases: NamedDependency[Leases],
    follower: NamedDependency[Follower],
    agent: FromQuery[str | None] = None,
    task: FromQuery[str | None] = None,
    resource: FromQuery[str | None] = None,
    instance: FromQuery[str | None] = None,
    status: FromQuery[str] = "live",
    cursor: FromQuery[str] = "",
) -> dict[str, Any]:
    """List leases by status; those that ended are kept for ten minutes, in the audit for good."""
    await callers.operator(presented(request), "watch")
    if status not in _INDEXES:
        raise InvalidRequest(f"status has to be one of {', '.join(_INDEXES)}")
    index, picture = _INDEXES[status], follower.standpoint().picture
    if resource is not None:
        _check_prefix(resource)

    async def read_shard(shard: int, ranks: tuple[int, int]) -> list[Lease]:
        return await leases.page(shard, index, ranks, picture)

    def wanted(lease: Lease) -> bool:
        below = resource is None or prefix_covers(resource, lease.scope.resource)
        held_there = instance in (None, lease.workload, lease.record.instance)
        return (
            held_there
            and below
            and agent in (None, lease.agent)
            and (task is None or task in lease.path)
            and lease.status == status
        )

    page = await pages.read(cursor, agent, read_shard, wanted)
    return {"leases": [shown(lease) for lease in page.items], "cursor": page.cursor}


@get("/v1/leases/{id:str}")
async def show(
    request: Request[Any, Any, Any],
    id: FromPath[str],
    callers: NamedDependency[Callers],
    leases: NamedDependency[Leases],
    follower: NamedDependency[Follower],
) -> dict[str, Any]:
    """Show one lease."""
    await callers.operator(presented(request), "watch")
    return shown(await leases.find(id, follower.standpoint().picture))


def shown(lease: Lease) -> dict[str, Any]:
    """Write a lease as its resource. Times are seconds."""
    return {
        "id": lease.id,
        "agent": lease.agent,
        "workload": lease.workload,
        "instance": lease.record.instance,
        "user": lease.user or None,
        "task": lease.record.task,
        "path": lease.path,
        "scope": lease.record.scope,
        "level": lease.decision_class.level,
        "status": lease.status,
        "issued": lease.times.issued,
        "expires": lease.times.expires,
        "epoch": lease.decision_class.epoch,
        "position": lease.record.position,
        "class": lease.record.decision_class,
    }


def _check_prefix(resource: str) -> None:
    try:
        canonical_prefix(resource)
    except InvalidScope as error:
        raise InvalidRequest(f"resource: {error}") from None
