"""Which limits of the registry count a lease."""

from pathlib import Path

import pytest

from broker.errors import LimitReached
from broker.policy import Question
from broker.quotas import quotas_of
from broker.tasks import Task
from scopes.scope import Scope
from tests.broker.world import BOT, REGISTRY, Backend, World, proven

SCOPE = Scope.parse("crm:ticket/4711#read[subject]")
LIMITED = REGISTRY.replace(
    "limits       = { leases = 3 }", "limits = { leases = 3, live_leases = 2 }\nlimits_per_agent = { leases_per_minute = 4 }"
)


@pytest.fixture
def limited(tmp_path: Path, backend: Backend) -> World:
    made = World(tmp_path, backend, registry=LIMITED)
    made.follow()
    return made


def counted(world: World, task: Task) -> dict[str, tuple[int, int, int]]:
    """Return the limits that count a lease of a task, by the name of the last of the three."""
    registry = world.registry
    question = Question(world.agent(), proven(BOT), task, SCOPE, registry.entry(SCOPE), 300)
    quotas = quotas_of(question, "epoch", registry)
    return {quota.names[2]: (quota.per_minute, quota.live_leases, quota.leases) for quota in quotas}


async def test_the_agent_and_the_task_always_count(limited: World) -> None:
    """Also where there is no limit yet: one that comes later counts what was before."""
    task = await limited.declare()
    assert counted(limited, task) == {"leases_per_agent": (0, 0, 0), "leases_per_task": (0, 0, 0)}


async def test_the_limits_of_a_task_type_are_of_the_task_and_those_per_agent_of_all_its_tasks(limited: World) -> None:
    task = await limited.declare("single-ticket")
    assert counted(limited, task) == {
        "leases_per_agent": (0, 0, 0),
        "leases_per_task_type": (4, 0, 0),
        "leases_per_task": (0, 2, 3),
    }


async def test_every_task_of_the_path_counts_by_its_own_type(limited: World) -> None:
    root = await limited.declare("single-ticket")
    child = await limited.declare(parent=root.id)
    quotas = quotas_of(
        Question(limited.agent(), proven(BOT), child, SCOPE, limited.registry.entry(SCOPE), 300), "epoch", limited.registry
    )
    assert [(quota.live_leases, quota.leases) for quota in quotas[1:]] == [(2, 3), (0, 0)]


async def test_a_sub_task_is_not_a_way_around_a_limit(limited: World) -> None:
    root = await limited.declare("single-ticket")
    child = await limited.declare(parent=root.id)
    for _ in range(2):
        await limited.issue(task=child.id)
    with pytest.raises(LimitReached) as refused:
        await limited.issue(task=child.id)
    assert refused.value.reason == "live_leases_of_task"


async def test_tasks_of_one_type_share_what_is_per_agent(limited: World) -> None:
    tasks = [await limited.declare("single-ticket") for _ in range(3)]
    for task in (*tasks, tasks[0]):
        await limited.issue(task=task.id)
    with pytest.raises(LimitReached) as refused:
        await limited.issue(task=tasks[1].id)
    assert refused.value.reason == "leases_per_minute_of_task_type"


async def test_a_type_that_is_gone_has_no_limits(limited: World) -> None:
    """And no ceiling either, so there is nothing that it could give."""
    task = await limited.declare("single-ticket")
    path = limited.folder / "registry" / "all.toml"
    path.write_text(path.read_text().replace("[tasks.single-ticket]", "[tasks.other-ticket]").replace(', "single-ticket"', ""))
    await limited.look()
    assert counted(limited, task)["leases_per_task"] == (0, 0, 0)
