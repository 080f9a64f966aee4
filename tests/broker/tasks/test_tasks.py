"""Tasks: opened inside their type and their parent, ended together with all below them, once."""

import asyncio

import pytest

from broker.audit import Record
from broker.errors import AccessDenied, InvalidGrant, InvalidRequest, NotFound, Unavailable
from broker.store import key, shard_of, shard_of_id
from broker.tasks import Task
from broker.tasks.tasks import KEPT_AFTER_END, MAX_REMEMBERED, UNFINISHED_AFTER
from tests.broker.leases.written import written
from tests.broker.recorded import kinds_recorded, recorded
from tests.broker.world import BOT, OTHER, World

UNKNOWN = "tsk_01JE0000000000000000000007"
SHARD = shard_of("support-bot")


async def found(world: World, task: Task) -> Task:
    return await world.broker.tasks.find(task.id)


async def close(world: World, task: Task) -> None:
    await world.broker.tasks.close(task.id, Record(kind="task.ended", agent=task.agent, task=task.id))


async def end(world: World, task: Task, outcome: str = "completed") -> list[str]:
    ending = await world.broker.tasks.begin_end(task.id, outcome)
    await close(world, task)
    return ending.leases


async def test_a_task_is_found_as_it_was_declared(world: World) -> None:
    task = await world.declare(purpose="to see why it failed", resources=("crm:ticket/4711",))
    kept = await found(world, task)
    assert (kept.agent, kept.workload, kept.subject, kept.type) == ("support-bot", BOT, BOT, "summarise-ticket")
    assert (kept.purpose, kept.envelope) == ("to see why it failed", (("crm:ticket/4711",),))
    assert (kept.path, kept.types, kept.status) == ((task.id,), ("summarise-ticket",), "open")
    assert kept.ends == task.ends
    assert kept.ends - kept.created == 900_000


async def test_a_task_is_in_its_agents_shard(world: World) -> None:
    assert shard_of_id((await world.declare()).id, "tsk_") == SHARD


async def test_the_times_of_a_task_are_the_stores(world: World) -> None:
    world.advance(1_200_000)
    kept = await found(world, await world.declare())
    seconds, microseconds = world.backend.client.time()
    assert abs(kept.created - (seconds * 1000 + microseconds // 1000) - 1_200_000) < 1_000


async def test_opening_a_task_is_recorded_with_what_the_agent_said(world: World) -> None:
    task = await world.declare(purpose="a purpose")
    (entry,) = await recorded(world)
    record = entry.record
    assert (record.kind, record.agent, record.workload, record.task) == ("task.opened", "support-bot", BOT, task.id)
    assert (record.reason, record.said) == ("summarise-ticket", "a purpose")


@pytest.mark.parametrize("purpose", ["a\nb", "\x00\x1b[2J", '{"kind":"token.issued"}', "é\u202e", "' \\ \""])
async def test_an_agents_text_is_kept_as_it_is_and_breaks_nothing(world: World, purpose: str) -> None:
    """Newlines and control characters from an agent's text must not break the log (TRAPS 26)."""
    task = await world.declare(purpose=purpose)
    (entry,) = await recorded(world)
    assert (await found(world, task)).purpose == purpose == entry.record.said
    assert entry.record.kind == "task.opened"


async def test_an_agent_can_ask_for_less_time_than_its_type_allows_and_not_for_more(world: World) -> None:
    short, long = await world.declare(max_duration=30), await world.declare(max_duration=90_000)
    assert [kept.ends - kept.created for kept in (await found(world, short), await found(world, long))] == [30_000, 900_000]


@pytest.mark.parametrize("type", ["single-ticket", "sumarise-ticket", ""])
async def test_an_agent_may_open_its_own_types_only(world: World, type: str) -> None:
    with pytest.raises(AccessDenied) as refused:
        await world.declare(type, workload=OTHER)
    assert refused.value.reason == "outside_task_types"


async def test_a_task_type_that_left_the_registry_cannot_be_opened(world: World) -> None:
    """Absent means no."""
    del world.registry.content.tasks["summarise-ticket"]
    with pytest.raises(AccessDenied):
        await world.declare()


async def test_what_no_task_can_be_is_refused_before_anything_is_written(world: World) -> None:
    with pytest.raises(InvalidRequest):
        await world.declare(resources=())
    assert not world.backend.client.keys("ab:{s*")


async def test_a_child_carries_the_path_types_and_envelope_of_those_above(world: World) -> None:
    root = await world.declare(resources=("crm",))
    child = await world.declare("single-ticket", parent=root.id, resources=("crm:ticket/4711",))
    kept = await found(world, child)
    assert kept.path == (root.id, child.id)
    assert kept.types == ("summarise-ticket", "single-ticket")
    assert kept.envelope == (("crm",), ("crm:ticket/4711",))
    assert kept.subject == root.workload


async def test_a_child_acts_for_the_workload_that_declared_the_root(world: World) -> None:
    pods = [f"spiffe://development.test/pod/other-bot/{number}" for number in (1, 2)]
    root = await world.declare(workload=pods[0])
    child = await world.declare(workload=pods[1], parent=root.id)
    assert ((await found(world, child)).subject, child.workload) == (pods[0], pods[1])


async def test_a_child_never_outlives_its_parent(world: World) -> None:
    """TRAPS 13."""
    root = await world.declare(max_duration=10)
    child = await world.declare(parent=root.id, max_duration=900)
    grandchild = await world.declare(parent=child.id)
    assert child.ends == grandchild.ends == root.ends


async def test_tasks_nest_four_deep_and_no_deeper(world: World) -> None:
    task = await world.declare()
    for _ in range(3):
        task = await world.declare(parent=task.id)
    assert len(task.path) == 4
    with pytest.raises(InvalidGrant):
        await world.declare(parent=task.id)


async def test_a_task_below_anothers_task_is_refused_like_one_below_none(world: World) -> None:
    """The answer does not tell whether somebody else's task exists (TRAPS 13, 27)."""
    theirs = await world.declare(workload=OTHER)
    refusals = []
    for parent in (theirs.id, UNKNOWN, "no id", ""):
        with pytest.raises(InvalidGrant) as refused:
            await world.declare(parent=parent)
        refusals.append(str(refused.value))
    assert len(set(refusals)) == 1


@pytest.mark.parametrize("closed", [True, False], ids=["over", "ending"])
@pytest.mark.parametrize("known", [True, False], ids=["remembered", "read anew"])
async def test_a_child_of_a_parent_that_is_ending_or_over_is_refused(
    world: World, neighbour: World, known: bool, closed: bool
) -> None:
    """TRAPS 13: the worker that opens the child may still remember the parent as open; the script looks again."""
    root = await world.declare()
    if known:
        await world.broker.tasks.find(root.id)
    await neighbour.broker.tasks.begin_end(root.id, "completed")
    if closed:
        await close(neighbour, root)
    with pytest.raises(InvalidGrant):
        await world.declare(parent=root.id)


async def test_a_child_of_a_parent_whose_time_is_over_is_refused_though_nobody_ended_it(world: World) -> None:
    root = await world.declare(max_duration=10)
    await found(world, root)
    world.advance(10_000)
    with pytest.raises(InvalidGrant):
        await world.declare(parent=root.id)


async def test_a_child_opened_while_its_parent_is_being_ended_ends_with_it_or_is_refused(world: World) -> None:
    """A child created while its parent is being ended must not be left over (TRAPS 13)."""
    root = await world.declare()
    children = [world.declare(parent=root.id) for _ in range(30)]
    results = await asyncio.gather(*children[:15], end(world, root), *children[15:], return_exceptions=True)
    opened = [result for result in results if isinstance(result, Task)]
    assert all(isinstance(result, Task | InvalidGrant | list) for result in results)
    await end(world, root)
    assert {(await found(world, child)).status for child in opened} <= {"completed"}
    assert await world.broker.tasks.page(SHARD, (0, 99)) == []


async def test_a_task_whose_every_step_runs_twice_is_opened_and_ended_once(repeating_world: World) -> None:
    """A script whose answer was lost may be asked again (TRAPS 21b)."""
    world = repeating_world
    root = await world.declare()
    child = await world.declare(parent=root.id, purpose="once")
    assert [task.id for task in await world.broker.tasks.page(SHARD, (0, 99))] == [root.id, child.id]
    assert (await found(world, child)).ends == child.ends
    lease = await written(world, child)
    assert await end(world, root) == [lease.id]
    assert (await found(world, child)).status == "completed"
    assert await kinds_recorded(world) == ["task.opened", "task.opened", "token.issued", "task.ended"]


async def test_an_unknown_task_is_not_found(world: World) -> None:
    for id in (UNKNOWN, "no id", "", "lse_01JE0000000000000000000007"):
        with pytest.raises(NotFound):
            await world.broker.tasks.find(id)
        with pytest.raises(NotFound):
            await world.broker.tasks.begin_end(id, "completed")
        assert await world.broker.tasks.count_live(id) == 0


async def test_an_agent_finds_its_own_open_tasks_only(world: World) -> None:
    agent = world.registry.agent("support-bot")
    mine, theirs, over = await world.declare(), await world.declare(workload=OTHER), await world.declare()
    await end(world, over)
    assert (await world.broker.tasks.find_own(agent, mine.id)).id == mine.id
    for id in (theirs.id, over.id, UNKNOWN):
        with pytest.raises(InvalidGrant):
            await world.broker.tasks.find_own(agent, id)


async def test_what_a_worker_remembers_of_tasks_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.tasks.tasks.MAX_REMEMBERED", 3)
    tasks = [await world.declare() for _ in range(6)]
    agent = world.registry.agent("support-bot")
    assert [(await world.broker.tasks.find_own(agent, task.id)).id for task in tasks * 2] == [task.id for task in tasks * 2]
    assert MAX_REMEMBERED >= 3


async def test_ending_marks_a_task_and_all_below_it_and_names_their_leases(world: World) -> None:
    """Grandchildren that name only themselves and the root are reached (TRAPS 23b)."""
    root = await world.declare()
    child = await world.declare(parent=root.id)
    grandchild = await world.declare(parent=child.id)
    beside = await world.declare(parent=root.id)
    leases = [await written(world, task) for task in (root, child, grandchild, beside)]
    ending = await world.broker.tasks.begin_end(child.id, "failed")
    assert ending.parts == [child.id]
    assert set(ending.leases) == {leases[1].id, leases[2].id}
    statuses = [(await found(world, task)).status for task in (root, child, grandchild, beside)]
    assert statuses == ["open", "ending", "ending", "open"]


async def test_leases_that_have_expired_are_not_named(world: World) -> None:
    task = await world.declare()
    await written(world, task, longest=5_000)
    world.advance(5_000)
    assert (await world.broker.tasks.begin_end(task.id, "completed")).leases == []


async def test_the_first_outcome_stays(world: World) -> None:
    task = await world.declare()
    await world.broker.tasks.begin_end(task.id, "failed")
    await world.broker.tasks.begin_end(task.id, "completed")
    await close(world, task)
    await world.broker.tasks.begin_end(task.id, "cancelled")
    await close(world, task)
    assert (await found(world, task)).status == "failed"


async def test_a_task_ended_many_times_at_once_ends_once(world: World) -> None:
    root = await world.declare()
    child = await world.declare(parent=root.id)
    await asyncio.gather(*(end(world, root, outcome) for outcome in ("completed", "failed", "cancelled") * 10))
    statuses = {(await found(world, task)).status for task in (root, child)}
    assert len(statuses) == 1
    assert (await kinds_recorded(world)).count("task.ended") == 1


async def test_a_task_that_is_closed_without_having_been_marked_stays_open(world: World) -> None:
    """Closing comes after the commit, so what nobody marked must not be closed."""
    task = await world.declare()
    await close(world, task)
    assert (await found(world, task)).status == "open"
    await written(world, task)
    assert "task.ended" not in await kinds_recorded(world)


async def test_a_task_that_is_over_is_due_and_an_open_one_is_not(world: World) -> None:
    short, long = await world.declare(max_duration=10), await world.declare()
    assert await world.broker.tasks.due(SHARD) == []
    world.advance(10_000)
    assert await world.broker.tasks.due(SHARD) == [short.id]
    await end(world, short, "timed_out")
    assert await world.broker.tasks.due(SHARD) == []
    assert (await found(world, long)).is_open


async def test_an_ending_that_was_left_unfinished_becomes_due(world: World) -> None:
    """Its caller died between marking and closing (`DESIGN.md` 3.20)."""
    task = await world.declare()
    await world.broker.tasks.begin_end(task.id, "completed")
    assert await world.broker.tasks.due(SHARD) == []
    world.advance(UNFINISHED_AFTER)
    assert await world.broker.tasks.due(SHARD) == [task.id]


async def test_tasks_that_are_due_are_named_a_bounded_number_at_a_time(world: World) -> None:
    """Overdue work after a pause must not come all at once (TRAPS 24)."""
    await asyncio.gather(*(world.declare(max_duration=10) for _ in range(130)))
    world.advance(10_000)
    assert len(await world.broker.tasks.due(SHARD)) == 100


async def test_tasks_closed_long_ago_are_forgotten_and_no_others(world: World) -> None:
    old = await world.declare()
    await end(world, old)
    world.advance(KEPT_AFTER_END)
    young, still_open = await world.declare(), await world.declare()
    await end(world, young)
    await asyncio.gather(*(world.broker.tasks.forget(SHARD) for _ in range(3)))
    with pytest.raises(NotFound):
        await found(world, old)
    assert ((await found(world, young)).status, (await found(world, still_open)).status) == ("completed", "open")


async def test_nothing_of_a_task_is_left_when_it_is_forgotten(world: World) -> None:
    """What is never pruned grows for ever (TRAPS 22)."""
    root = await world.declare()
    await world.declare(parent=root.id)
    await end(world, root)
    world.advance(KEPT_AFTER_END)
    await world.broker.tasks.forget(SHARD)
    assert {name.decode() for name in world.backend.client.keys("ab:{s*")} == {key(SHARD, "audit")}


async def test_open_tasks_are_listed_those_that_end_first_first(world: World) -> None:
    long, short = await world.declare(), await world.declare(max_duration=10)
    over = await world.declare()
    await end(world, over)
    assert [task.id for task in await world.broker.tasks.page(SHARD, (0, 99))] == [short.id, long.id]
    assert [task.id for task in await world.broker.tasks.page(SHARD, (1, 1))] == [long.id]


async def join(world: World, workload: str = BOT) -> Task:
    registry = world.registry
    return await world.broker.tasks.join_default(world.agent(workload), workload, registry)


async def test_a_default_task_is_opened_once_and_joined(world: World, neighbour: World) -> None:
    first = await join(world)
    assert first.type == "summarise-ticket"
    assert [(await join(worker)).id for worker in (world, neighbour, world)] == [first.id] * 3


async def test_an_agent_without_a_default_task_has_to_name_one(world: World) -> None:
    with pytest.raises(InvalidRequest):
        await join(world, OTHER)


async def test_another_default_task_is_opened_when_the_last_one_ended(world: World, neighbour: World) -> None:
    first = await join(world)
    await join(neighbour)
    await end(neighbour, first)
    second = await join(world)
    assert second.id != first.id
    assert second.is_open


async def test_a_default_task_is_joined_no_more_when_it_has_no_room_for_a_token(world: World) -> None:
    """In its last second it would refuse every token, to an agent that cannot declare another."""
    first = await join(world)
    place = key(SHARD, "default", "support-bot", BOT)
    assert world.backend.client.pexpiretime(place) == first.ends - 1_000


async def test_without_a_store_no_task_is_opened(own_world: World, redis_server) -> None:
    redis_server.kill()
    with pytest.raises(Unavailable):
        await own_world.declare()
