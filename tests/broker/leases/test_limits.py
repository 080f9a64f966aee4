"""Limits are counted in the step that writes the lease, and free themselves without anybody's help."""

import asyncio

import pytest

from broker.errors import LimitReached
from broker.leases import Limits, TaskClosed
from tests.broker.leases.written import new_lease, picture_of, written
from tests.broker.recorded import kinds_recorded
from tests.broker.world import World


async def outcomes(*attempts):
    """Run everything at once and count what came of it."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [result for result in results if isinstance(result, LimitReached | TaskClosed)]
    unexpected = [result for result in results if isinstance(result, BaseException) and result not in refused]
    assert not unexpected
    return len(results) - len(refused), refused


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(live=1), "live_leases"),
        (Limits(per_task=1), "leases_per_task"),
        (Limits(per_minute=1), "leases_per_minute"),
    ],
)
async def test_fifty_requests_at_once_pass_a_limit_of_one_once(world: World, limits: Limits, name: str) -> None:
    """Volume limits counted without atomicity let all of them pass (TRAPS 15)."""
    task = await world.declare()
    issued, refused = await outcomes(*(written(world, task, limits=limits) for _ in range(50)))
    assert issued == 1
    assert {error.reason for error in refused} == {name}
    assert (await kinds_recorded(world)).count("token.issued") == 1


async def test_two_workers_together_pass_a_limit_no_further_than_one(world: World, neighbour: World) -> None:
    """TRAPS 15, across workers."""
    task = await world.declare()
    workers = [world, neighbour] * 25
    issued, _ = await outcomes(*(written(worker, task, limits=Limits(live=7)) for worker in workers))
    assert issued == 7


async def test_the_limit_of_live_leases_frees_itself_when_they_expire_without_any_sweeper(world: World) -> None:
    """Live counters that a slow sweeper decrements refuse agents for nothing (TRAPS 15)."""
    task = await world.declare()
    await written(world, task, limits=Limits(live=1), longest=5_000)
    with pytest.raises(LimitReached) as refused:
        await written(world, task, limits=Limits(live=1))
    assert refused.value.retry_after == 1
    world.advance(5_000)
    await written(world, task, limits=Limits(live=1))


async def test_the_limit_of_live_leases_frees_itself_when_one_is_ended(world: World) -> None:
    task = await world.declare()
    lease = await written(world, task, limits=Limits(live=1))
    await world.broker.leases.end([lease.id], "revoked")
    assert await written(world, task, limits=Limits(live=1))


async def test_the_limit_of_live_leases_is_of_one_agent(world: World) -> None:
    """One bad instance must not lock the whole fleet (TRAPS 25)."""
    await written(world, await world.declare(), limits=Limits(live=1))
    theirs = await world.declare(workload="spiffe://development.test/agent/other-bot")
    assert await written(world, theirs, limits=Limits(live=1))


async def test_leases_of_an_epoch_that_is_over_count_no_more(world: World) -> None:
    """Their tokens are void, so an agent need not wait for them to expire (TRAPS 15)."""
    task = await world.declare()
    await written(world, task, limits=Limits(live=1), epoch="01JD0000000000000000000000")
    assert await written(world, task, limits=Limits(live=1))


async def test_the_limit_per_minute_lets_a_burst_through_and_then_the_rate(world: World) -> None:
    task = await world.declare()
    limits = Limits(per_minute=10)
    issued, refused = await outcomes(*(written(world, task, limits=limits) for _ in range(20)))
    assert issued == 10
    assert {error.retry_after for error in refused} == {6}
    world.advance(6_000)
    assert (await outcomes(*(written(world, task, limits=limits) for _ in range(5))))[0] == 1
    world.advance(60_000)
    assert (await outcomes(*(written(world, task, limits=limits) for _ in range(20))))[0] == 10


async def test_the_limit_per_task_counts_its_whole_life(world: World) -> None:
    world.clock.hold()
    task = await world.declare()
    limits = Limits(per_task=2)
    for _ in range(2):
        lease = await written(world, task, limits=limits, longest=1_000)
        await world.broker.leases.end([lease.id], "revoked")
    world.advance(60_000)
    with pytest.raises(LimitReached) as refused:
        await written(world, task, limits=limits)
    assert refused.value.reason == "leases_per_task"


async def test_a_refused_lease_leaves_nothing_behind(world: World) -> None:
    task = await world.declare()
    await written(world, task, limits=Limits(per_task=1))
    refused = new_lease(world, task, limits=Limits(per_task=1, live=5, per_minute=5))
    with pytest.raises(LimitReached):
        await world.broker.leases.issue(refused)
    assert await world.broker.leases.known([refused.id], picture_of(world)) == []
    assert await world.broker.leases.count_live(refused.record.epoch) == 1
    assert (await kinds_recorded(world)).count("token.issued") == 1
