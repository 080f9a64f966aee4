"""`/v1/tasks`: declare, look at, list and end tasks."""

from typing import Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from broker.active import Active
from broker.api import bodies, pages, subject
from broker.api.presented import presented
from broker.callers import Callers
from broker.delegation import Delegations
from broker.feed.follower import Follower
from broker.revocation import Revocation
from broker.tasks import Declaration, Task, Tasks

_OUTCOMES = {"complete": "completed", "fail": "failed", "cancel": "cancelled"}


class _Declared(Declaration, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A declaration with the token that says for whom the task is done, or below what."""

    subject_token: str | None = None
    subject_token_type: str | None = None

    @property
    def alone(self) -> Declaration:
        """The declaration without the token, which goes no further than it has to."""
        return Declaration(self.type, self.purpose, self.resources, self.max_duration, self.parent)


@post("/v1/tasks", status_code=201)
async def declare(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    delegations: NamedDependency[Delegations],
    active: NamedDependency[Active],
    follower: NamedDependency[Follower],
) -> dict[str, Any]:
    """Open a task of one of the caller's types, for a user or below a task of another agent where a token says so."""
    agent, workload = await callers.agent(presented(request))
    declared = await bodies.read(request, _Declared)
    registry, picture = active.rules.registry, follower.standpoint().picture
    shown_subject = subject.shown(declared.subject_token, declared.subject_token_type)
    behalf = await delegations.behalf(agent, workload, shown_subject, registry=registry, picture=picture)
    return shown(await delegations.task(agent, workload.id, declared.alone, behalf=behalf, registry=registry))


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
        "user": task.user or None,
        "type": task.type,
        "purpose": task.purpose,
        "status": task.status,
        "created": task.created // 1000,
        "ends": task.ends // 1000,
        "path": task.path,
        "resources": task.envelope[-1] if task.envelope else None,
    }
