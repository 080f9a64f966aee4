"""`/v1/agents`: who is registered, and where they stand."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from broker import standing as lifecycle
from broker.active import Active
from broker.api.presented import presented
from broker.callers import Callers
from broker.feed import acts
from broker.feed.acts import Acts
from broker.feed.follower import Follower
from broker.leases import Leases
from broker.registry.registry import Agent
from broker.standing import Standing


@get("/v1/agents")
async def list_agents(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    active: NamedDependency[Active],
    standing: NamedDependency[Standing],
    follower: NamedDependency[Follower],
) -> dict[str, Any]:
    """List every agent of the registry."""
    await callers.operator(presented(request), "watch")
    known = follower.standpoint().acts
    registry = active.rules.registry
    agents = [registry.agent(name) for name in sorted(registry.content.agents)]
    return {"agents": [_shown(agent, standing, known) for agent in agents], "cursor": None}


@get("/v1/agents/{name:str}")
async def show(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    callers: NamedDependency[Callers],
    active: NamedDependency[Active],
    standing: NamedDependency[Standing],
    leases: NamedDependency[Leases],
    follower: NamedDependency[Follower],
) -> dict[str, Any]:
    """Show one agent, with how many leases it holds."""
    await callers.operator(presented(request), "watch")
    agent = active.rules.registry.agent(name)
    standpoint = follower.standpoint()
    live = await leases.count_live(standpoint.picture.epoch, name)
    return {**_shown(agent, standing, standpoint.acts), "live_leases": live}


def _shown(agent: Agent, standing: Standing, known: Acts) -> dict[str, Any]:
    record, act = agent.record, known.get(f"agent {agent.name}")
    return {
        "name": agent.name,
        "status": lifecycle.status(agent, standing.today()),
        "reduced": acts.reduction(act) if act is not None else None,
        "missing": record.missing,
        "owner": record.owner,
        "purpose": record.purpose,
        "environment": record.environment,
        "workloads": [selector.spiffe for selector in record.workloads],
        "tasks": record.tasks,
        "ends": record.ends,
        "review_by": record.review_by,
    }
