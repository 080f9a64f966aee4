"""Limits are counted in the step that writes the lease, and free themselves without anybody's help."""

import asyncio

import pytest

from broker.errors import LimitReached
from broker.leases import TaskClosed
from tests.broker.leases.written import LONGEST, decision_class, new_lease, picture_of, written
from tests.broker.recorded import kinds_recorded
from tests.broker.world import World


async def outcomes(*attempts):
    """Run everything at once and count what came of it."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [result for result in results if isinstance(result, LimitReached | TaskClosed)]
    unexpected = [result for result in results if isinstance(result, BaseException) and result not in refused]
    assert not unexpected
    return len(results) - len(refused), refused


NAMES = (
    *("live_leases", "leases_per_agent", "leases_per_minute"),
    *("live_leases_of_task", "leases_per_task", "leases_per_minute_of_task"),
    *("live_leases_of_task_type", "leases_per_task_type", "leases_per_minute_of_task_type"),
)


@pytest.mark.parametrize("name", NAMES)
async def test_fifty_requests_at_once_pass_a_limit_of_one_once(world: World, name: str) -> None:
    """Volume limits counted without atomicity let all of them pass (TRAPS 15)."""
    limits = {name: 1}
    task = await world.declare()
    issued, refused = await outcomes(*(written(world, task, limits=limits) for _ in range(50)))
    assert issued == 1
    assert {error.reason for error in refused} == {name}
    assert (await kinds_recorded(world)).count("token.issued") == 1


async def test_two_workers_together_pass_a_limit_no_further_than_one(world: World, neighbour: World) -> None:
    """TRAPS 15, across workers."""
    task = await world.declare()
    workers = [world, neighbour] * 25
    issued, _ = await outcomes(*(written(worker, task, limits={"live_leases": 7}) for worker in workers))
    assert issued == 7


async def test_the_limit_of_live_leases_frees_itself_when_they_expire_without_any_sweeper(world: World) -> None:
    """Live counters that a slow sweeper decrements refuse agents for nothing (TRAPS 15)."""
    task = await world.declare()
    await written(world, task, limits={"live_leases": 1}, longest=5_000)
    with pytest.raises(LimitReached) as refused:
        await written(world, task, limits={"live_leases": 1})
    assert refused.value.retry_after == 1
    world.advance(5_000)
    await written(world, task, limits={"live_leases": 1})


async def test_the_limit_of_live_leases_frees_itself_when_one_is_ended(world: World) -> None:
    task = await world.declare()
    lease = await written(world, task, limits={"live_leases": 1})
    await world.broker.leases.end([lease.id], "revoked")
    assert await written(world, task, limits={"live_leases": 1})


async def test_the_limit_of_live_leases_is_of_one_agent(world: World) -> None:
    """One bad instance must not lock the whole fleet (TRAPS 25)."""
    await written(world, await world.declare(), limits={"live_leases": 1})
    theirs = await world.declare(workload="spiffe://development.test/agent/other-bot")
    assert await written(world, theirs, limits={"live_leases": 1})


async def test_leases_of_an_epoch_that_is_over_count_no_more(world: World) -> None:
    """Their tokens are void, so an agent need not wait for them to expire (TRAPS 15)."""
    task = await world.declare()
    await written(world, task, limits={"live_leases": 1}, decided=decision_class(world, epoch="01JD0000000000000000000000"))
    assert await written(world, task, limits={"live_leases": 1})


async def test_the_limit_per_minute_lets_a_burst_through_and_then_the_rate(world: World) -> None:
    task = await world.declare()
    limits = {"leases_per_minute": 10}
    issued, refused = await outcomes(*(written(world, task, limits=limits) for _ in range(20)))
    assert issued == 10
    assert {error.retry_after for error in refused} == {6}
    world.advance(6_000)
    assert (await outcomes(*(written(world, task, limits=limits) for _ in range(5))))[0] == 1
    # Whoever asks for nothing for longer than it takes has saved nothing up.
    world.advance(110_000)
    assert (await outcomes(*(written(world, task, limits=limits) for _ in range(20))))[0] == 10


async def test_the_limit_per_task_counts_its_whole_life(world: World) -> None:
    world.clock.hold()
    task = await world.declare()
    limits = {"leases_per_task": 2}
    for _ in range(2):
        lease = await written(world, task, limits=limits, longest=1_000)
        await world.broker.leases.end([lease.id], "revoked")
    world.advance(60_000)
    with pytest.raises(LimitReached) as refused:
        await written(world, task, limits=limits)
    assert refused.value.reason == "leases_per_task"


async def test_a_refused_lease_leaves_nothing_behind(world: World) -> None:
    task = await world.declare()
    await written(world, task, limits={"leases_per_task": 1})
    refused = new_lease(world, task, limits={"leases_per_task": 1, "live_leases": 5, "leases_per_minute": 5})
    with pytest.raises(LimitReached):
        await world.broker.leases.issue(refused)
    assert await world.broker.leases.known([refused.id], picture_of(world)) == []
    assert await world.broker.leases.count_live(refused.decision_class.epoch) == 1
    assert (await kinds_recorded(world)).count("token.issued") == 1


@pytest.mark.parametrize("name", ["live_leases_of_task", "live_leases_of_task_type"])
async def test_the_live_leases_of_a_task_free_themselves_when_they_expire_or_are_ended(world: World, name: str) -> None:
    task = await world.declare()
    lease = await written(world, task, limits={name: 2})
    await written(world, task, limits={name: 2}, longest=5_000)
    assert (await outcomes(written(world, task, limits={name: 2})))[0] == 0
    await world.broker.leases.end([lease.id], "revoked")
    world.advance(5_000)
    assert (await outcomes(*(written(world, task, limits={name: 2}) for _ in range(5))))[0] == 2


@pytest.mark.parametrize("name", ["live_leases_of_task", "leases_per_task", "leases_per_minute_of_task"])
async def test_what_is_below_a_task_counts_as_its_own(world: World, name: str) -> None:
    """An agent would otherwise open a sub-task for each lease that it may not have."""
    parent = await world.declare()
    child = await world.declare(parent=parent.id)
    await written(world, child, limits={name: 2})
    await written(world, parent, limits={name: 2})
    for task in (parent, child, await world.declare(parent=child.id)):
        with pytest.raises(LimitReached) as refused:
            await written(world, task, limits={name: 2})
        assert refused.value.reason == name


async def test_the_limits_of_a_type_are_of_all_tasks_of_it_and_of_no_other_type(world: World) -> None:
    limits = {"leases_per_task_type": 2}
    for _ in range(2):
        await written(world, await world.declare(), limits=limits)
    assert (await outcomes(written(world, await world.declare(), limits=limits)))[0] == 0
    assert (await outcomes(written(world, await world.declare("single-ticket"), limits=limits)))[0] == 1


async def test_what_counts_leases_goes_by_itself(world: World) -> None:
    """The indexes of an epoch are of no use to the next, and nobody comes back for them."""
    bounds = ("live_leases", "live_leases_of_task_type", "live_leases_of_task", "leases_per_minute_of_task_type")
    lease = await written(world, await world.declare(), limits=dict.fromkeys(bounds, 5))
    agents, types, tasks = lease.volumes
    for index in (agents.live, types.live, tasks.live):
        assert LONGEST < world.backend.client.pttl(index) <= 7_200_000
    assert 60_000 < world.backend.client.pttl(types.rate) <= 120_000
