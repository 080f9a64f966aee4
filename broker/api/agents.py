"""`/v1/agents`: who is registered, where they stand, and what operators do about it."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from broker import standing as standings
from broker.api import bodies, pages
from broker.api.presented import presented
from broker.callers import Callers
from broker.feed import acts
from broker.feed.acts import Acts
from broker.feed.follower import Follower
from broker.leases import Leases
from broker.lifecycle import Asked, Lifecycle
from broker.registry.registry import Agent
from broker.standing import Standing

_VERBS = {"suspend": acts.SUSPENDED, "resume": acts.ACTIVE, "retire": acts.RETIRED}


class ChangeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why, and of which one instance where it is not the agent as a whole."""

    reason: str
    instance: str | None = None


@get("/v1/agents")
async def list_agents(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    lifecycle: NamedDependency[Lifecycle],
    standing: NamedDependency[Standing],
    follower: NamedDependency[Follower],
) -> dict[str, Any]:
    """List every agent of the registry, and those that left it and still are suspended or retired."""
    await callers.operator(presented(request), "watch")
    known = follower.standpoint().acts
    return {"agents": [_shown(agent, standing, known) for agent in lifecycle.agents(known)], "cursor": None}


@get("/v1/agents/{name:str}")
async def show(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    callers: NamedDependency[Callers],
    lifecycle: NamedDependency[Lifecycle],
    standing: NamedDependency[Standing],
    leases: NamedDependency[Leases],
    follower: NamedDependency[Follower],
) -> dict[str, Any]:
    """Show one agent, with how many leases it holds."""
    await callers.operator(presented(request), "watch")
    standpoint = follower.standpoint()
    agent = lifecycle.agent(name, standpoint.acts)
    live = await leases.count_live(standpoint.picture.epoch, name)
    return {**_shown(agent, standing, standpoint.acts), "live_leases": live}


@post("/v1/agents/{name:str}/{verb:str}", status_code=202)
async def change(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    verb: FromPath[str],
    callers: NamedDependency[Callers],
    lifecycle: NamedDependency[Lifecycle],
) -> dict[str, Any]:
    """Suspend, resume or retire; the answer comes when the event is committed and kept."""
    to = pages.chosen(verb, _VERBS)
    operator = await callers.operator(presented(request), f"agent:{verb}")
    wanted = await bodies.read(request, ChangeRequest)
    changed = await lifecycle.change(Asked(name, wanted.instance), to, wanted.reason, operator)
    committed = changed.committed
    return {"id": changed.id, "epoch": committed.epoch, "seq": committed.seq, "status": to, "was": changed.was}


def _shown(agent: Agent, standing: Standing, known: Acts) -> dict[str, Any]:
    record, act, today = agent.record, known.get(f"agent {agent.name}"), standing.today()
    return {
        "name": agent.name,
        "status": standings.status(agent, today, known),
        "reduced": acts.reduction(act) if act is not None else None,
        "suspended_instances": acts.suspended_instances(known, agent.name),
        "missing": record.missing,
        "owner": record.owner,
        "purpose": record.purpose,
        "environment": record.environment,
        "workloads": agent.workloads,
        "tasks": record.tasks,
        "ends": record.ends,
        "review_by": record.review_by,
        "review_overdue": standings.is_review_overdue(agent, today),
    }
