"""`/v1/tasks`: declare, look at, list and end tasks."""

from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from broker.active import Active
from broker.api import bodies, pages
from broker.api.presented import presented
from broker.callers import Callers
from broker.revocation import Revocation
from broker.tasks import Declaration, Task, Tasks

_OUTCOMES = {"complete": "completed", "fail": "failed", "cancel": "cancelled"}


@post("/v1/tasks", status_code=201)
async def declare(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    tasks: NamedDependency[Tasks],
    active: NamedDependency[Active],
) -> dict[str, Any]:
    """Open a task of one of the caller's types."""
    agent, workload = await callers.agent(presented(request))
    declaration = await bodies.read(request, Declaration)
    return shown(await tasks.open(agent, workload.id, declaration, active.rules.registry))


@get("/v1/tasks")
async def list_open(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    tasks: NamedDependency[Tasks],
    agent: FromQuery[str | None] = None,
    cursor: FromQuery[str] = "",
) -> dict[str, Any]:
    """List open tasks, of one agent or of all."""
    await callers.operator(presented(request), "watch")
    page = await pages.read(cursor, agent, tasks.page, lambda task: agent in (None, task.agent))
    return {"tasks": [shown(task) for task in page.items], "cursor": page.cursor}


@get("/v1/tasks/{id:str}")
async def show(
    request: Request[Any, Any, Any], id: FromPath[str], callers: NamedDependency[Callers], tasks: NamedDependency[Tasks]
) -> dict[str, Any]:
    """Show one task to its agent or to an operator."""
    caller = await callers.identify(presented(request))
    task = await tasks.find(id)
    callers.check_task(caller, "task:show", task)
    return shown(task)


@post("/v1/tasks/{id:str}/{verb:str}", status_code=200)
async def end(
    request: Request[Any, Any, Any],
    id: FromPath[str],
    verb: FromPath[str],
    callers: NamedDependency[Callers],
    tasks: NamedDependency[Tasks],
    revocation: NamedDependency[Revocation],
) -> dict[str, Any]:
    """End a task with everything below it; its tokens are revoked before the answer."""
    outcome = pages.chosen(verb, _OUTCOMES)
    caller = await callers.identify(presented(request))
    callers.check_task(caller, "task:end", await tasks.find(id))
    return shown(await revocation.end_task(id, outcome, caller))


def shown(task: Task) -> dict[str, Any]:
    """Write a task as its resource. Times are seconds."""
    return {
        "id": task.id,
        "agent": task.agent,
        "workload": task.workload,
        "type": task.type,
        "purpose": task.purpose,
        "status": task.status,
        "created": task.created // 1000,
        "ends": task.ends // 1000,
        "path": task.path,
        "resources": task.envelope[-1] if task.envelope else None,
    }
