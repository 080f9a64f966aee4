"""Ending tasks, by whoever may and by time: their tokens end first, with those of all tasks below, once."""

import asyncio

import pytest

from broker.callers import Caller
from broker.errors import NotFound, Unavailable
from broker.issuer import Issued
from broker.revocation import SCHEDULER
from broker.tasks.tasks import UNFINISHED_AFTER
from tests.broker.ended import is_ended, status_of, told
from tests.broker.recorded import kinds_recorded, recorded
from tests.broker.world import ADMIN, BOT, CRM, KB, OTHER, World

KB_SCOPE = "kb:article/1#read"
AGENT = Caller("Agent", "support-bot", BOT)
UNKNOWN_TASK = "tsk_01JE0000000000000000000007"


async def test_ending_a_task_ends_its_tokens_and_those_below_it_before_the_answer(world: World) -> None:
    """Ending a middle task reaches grandchildren that name only themselves and the root (TRAPS 23b)."""
    root = await world.declare()
    middle = await world.declare(parent=root.id)
    leaf = await world.declare(parent=middle.id)
    issued = [await world.issue(task=task.id) for task in (root, middle, leaf)]
    ended = await world.broker.revocation.end_task(middle.id, "completed", AGENT)
    assert ended.status == "completed"
    assert [is_ended(world, each) for each in issued] == [False, True, True]
    assert [await status_of(world, each) for each in issued] == ["live", "revoked", "revoked"]
    assert [(await world.broker.tasks.find(task.id)).status for task in (root, middle, leaf)] == [
        "open",
        "completed",
        "completed",
    ]


async def test_ending_a_task_tells_only_the_services_that_hold_its_tokens(world: World) -> None:
    issued = await world.issue(KB_SCOPE)
    await world.broker.revocation.end_task(issued.task_id, "completed", AGENT)
    assert [(event.kind, event.value) for event in told(world, KB)] == [("task", issued.task_id)]
    assert told(world, CRM) == []


async def test_ending_a_task_without_live_leases_says_nothing_to_anybody(world: World) -> None:
    """The feed carries what its readers need (`DESIGN.md` 8)."""
    task = await world.declare()
    issued = await world.issue(task=task.id, ttl=5)
    world.advance(5_000)
    await world.broker.revocation.end_task(task.id, "completed", AGENT)
    assert told(world, CRM) == []
    assert issued.task_id == task.id


async def test_ending_a_task_again_changes_nothing(world: World) -> None:
    issued = await world.issue()
    first = await world.broker.revocation.end_task(issued.task_id, "failed", AGENT)
    second = await world.broker.revocation.end_task(issued.task_id, "completed", AGENT)
    assert first == second
    assert first.status == "failed"
    assert len(told(world, CRM)) == 1
    assert (await kinds_recorded(world)).count("task.ended") == 1


@pytest.mark.usefixtures("patient")
async def test_a_task_ended_many_times_at_once_on_two_workers_ends_once(world: World, neighbour: World) -> None:
    issued = await world.issue()
    neighbour.follow()
    ended = await asyncio.gather(
        *(worker.broker.revocation.end_task(issued.task_id, "completed", AGENT) for worker in (world, neighbour) * 5)
    )
    assert {task.status for task in ended} == {"completed"}
    assert is_ended(world, issued)
    assert (await kinds_recorded(world)).count("task.ended") == 1


async def test_the_end_of_a_task_is_recorded_with_who_ended_it_and_how(world: World) -> None:
    tasks = [await world.declare() for _ in range(3)]
    for task, by in zip(tasks, (AGENT, ADMIN, SCHEDULER), strict=True):
        await world.broker.revocation.end_task(task.id, "cancelled", by)
    records = [entry.record for entry in await recorded(world) if entry.record.kind == "task.ended"]
    assert [(record.workload, record.operator, record.reason) for record in records] == [
        (BOT, None, "cancelled"),
        (None, "admin", "cancelled"),
        (None, None, "cancelled"),
    ]


async def test_an_unknown_task_cannot_be_ended(world: World) -> None:
    with pytest.raises(NotFound):
        await world.broker.revocation.end_task(UNKNOWN_TASK, "completed", AGENT)


@pytest.mark.usefixtures("patient")
async def test_tokens_issued_while_their_task_is_being_ended_end_with_it(world: World, neighbour: World) -> None:
    task = await world.declare()
    neighbour.follow()
    asked = [worker.issue(task=task.id) for worker in (world, neighbour) * 15]
    ending = neighbour.broker.revocation.end_task(task.id, "completed", AGENT)
    results = await asyncio.gather(*asked[:15], ending, *asked[15:], return_exceptions=True)
    issued = [result for result in results if isinstance(result, Issued)]
    assert all(is_ended(world, each) for each in issued)


async def test_a_worker_that_has_not_heard_of_a_new_epoch_does_not_end_a_task_without_its_tokens(
    world: World, neighbour: World
) -> None:
    """It would take the tokens of the new epoch for void, commit nothing, and answer that all is done (TRAPS 19)."""
    task = await world.declare()
    for name in world.backend.client.keys("ab:{feed}*"):
        world.backend.client.delete(name)
    neighbour.follow()
    issued = await neighbour.issue(task=task.id)
    with pytest.raises(Unavailable):
        await world.broker.revocation.end_task(task.id, "completed", AGENT)
    world.follow()
    await world.broker.revocation.end_task(task.id, "completed", AGENT)
    assert is_ended(neighbour, issued)


async def test_tasks_whose_time_is_over_are_ended_whatever_shard_they_are_in(world: World) -> None:
    mine, theirs = await world.declare(max_duration=10), await world.declare(workload=OTHER, max_duration=10)
    long = await world.declare()
    world.advance(10_000)
    await world.broker.revocation.end_due_tasks()
    assert [(await world.broker.tasks.find(task.id)).status for task in (mine, theirs, long)] == [
        "timed_out",
        "timed_out",
        "open",
    ]


async def test_an_ending_whose_caller_died_after_marking_is_finished(world: World) -> None:
    """`DESIGN.md` 3.20: its tokens end too, though nobody committed their end."""
    issued = await world.issue()
    await world.broker.tasks.begin_end(issued.task_id, "failed")
    await world.broker.revocation.end_due_tasks()
    assert not is_ended(world, issued)
    world.advance(UNFINISHED_AFTER)
    await world.broker.revocation.end_due_tasks()
    assert is_ended(world, issued)
    assert (await world.broker.tasks.find(issued.task_id)).status == "failed"


@pytest.mark.usefixtures("patient")
async def test_workers_that_end_due_tasks_at_once_do_what_one_would(world: World, neighbour: World) -> None:
    """`DESIGN.md` I6."""
    tasks = [await world.declare(max_duration=10) for _ in range(5)]
    world.advance(10_000)
    neighbour.follow()
    await asyncio.gather(*(worker.broker.revocation.end_due_tasks() for worker in (world, neighbour) * 2))
    assert {(await world.broker.tasks.find(task.id)).status for task in tasks} == {"timed_out"}
    assert (await kinds_recorded(world)).count("task.ended") == 5
