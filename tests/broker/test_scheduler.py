"""House-keeping: jobs that may run twice, at once, late, or fail, and always come again."""

import asyncio
import logging
import threading
from collections.abc import Callable

from broker import scheduler
from broker.errors import Unavailable
from broker.leases.leases import KEPT_AFTER_END, SWEEP
from broker.revocation import SCHEDULER
from broker.store import key, shard_of
from broker.tasks.tasks import KEPT_AFTER_END as TASKS_KEPT
from tests.broker.recorded import kinds_recorded
from tests.broker.world import OTHER, World
from tests.scopes.clocks import eventually


async def happens(condition: Callable[[], bool]) -> None:
    """Wait until what runs by itself has made the condition true."""
    await asyncio.to_thread(eventually, condition)


def live(world: World, agent: str = "support-bot") -> int:
    """Count what the index of live leases holds, expired or not."""
    return int(world.backend.client.zcard(key(shard_of(agent), "due")))


async def test_leases_of_every_shard_are_marked_when_their_time_is_over(world: World) -> None:
    theirs = await world.declare(workload=OTHER)
    await world.issue(ttl=5)
    await world.issue("kb:article/1#read", workload=OTHER, task=theirs.id, ttl=5)
    await world.issue()
    world.advance(5_000)
    for _ in range(2):
        await world.broker.scheduler.expire_leases()
    assert (live(world), live(world, "other-bot")) == (1, 0)


async def test_what_ended_long_ago_is_forgotten_and_the_audit_remembers(world: World) -> None:
    issued = await world.issue()
    await world.broker.revocation.end_task(issued.task_id, "completed", SCHEDULER)
    world.advance(max(KEPT_AFTER_END, TASKS_KEPT))
    for _ in range(2):
        await world.broker.scheduler.forget()
    left = {name.decode().partition("}:")[2] for name in world.backend.client.keys("ab:{s*")}
    assert left <= {"audit", "rate:support-bot", "totals"}
    assert await kinds_recorded(world) == ["task.opened", "token.issued", "task.ended"]


async def test_a_worker_that_knows_too_little_sweeps_what_is_over_all_the_same(world: World) -> None:
    """When a lease is over, the store's clock says, and no picture."""
    await world.issue(ttl=5)
    world.clock.advance(5_000)
    await world.broker.scheduler.expire_leases()
    assert live(world) == 0


async def test_more_than_one_step_takes_is_swept_in_several(world: World, monkeypatch) -> None:
    task = await world.declare()
    await asyncio.gather(*(world.issue(task=task.id, ttl=5) for _ in range(SWEEP + 1)))
    world.advance(5_000)
    await world.broker.scheduler.expire_leases()
    assert live(world) == 0


async def test_once_started_the_jobs_run_by_themselves(world: World) -> None:
    task = await world.declare(max_duration=10)
    await world.issue(task=task.id)
    world.clock.advance(10_000)
    world.broker.follower.start()
    world.broker.scheduler.start()
    try:
        place = key(shard_of("support-bot"), "task", task.id)
        await happens(lambda: world.backend.client.hget(place, "status") == b"timed_out" and live(world) == 0)
    finally:
        world.broker.scheduler.close()
        world.broker.follower.close()
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch) == 0


async def test_a_job_that_raised_runs_again_the_next_time(world: World, monkeypatch, caplog) -> None:
    """A scheduler job that raises once and never runs again (TRAPS 24)."""
    monkeypatch.setattr(scheduler, "_OFTEN", 0.02)
    runs: list[int] = []

    async def settle() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError("once")
        if len(runs) == 2:
            raise Unavailable("the store is away")

    monkeypatch.setattr(world.broker.settling, "settle", settle)
    world.broker.follower.start()
    with caplog.at_level(logging.DEBUG, logger="broker.scheduler"):
        world.broker.scheduler.start()
        try:
            await happens(lambda: len(runs) > 3)
        finally:
            world.broker.scheduler.close()
            world.broker.follower.close()
    messages = [record.message for record in caplog.records if record.name == "broker.scheduler"]
    assert any("failed and will run again" in message for message in messages)
    assert any("waits for the store" in message for message in messages)


async def test_a_job_that_is_late_runs_once_and_not_as_often_as_it_was_missed(world: World, monkeypatch) -> None:
    """Overdue work after a pause handled all at once (TRAPS 24); two runs of one job never overlap."""
    monkeypatch.setattr(scheduler, "_OFTEN", 0.02)
    overlapping, running, runs = [], [], []

    async def settle() -> None:
        overlapping.append(bool(running))
        running.append(1)
        await asyncio.to_thread(threading.Event().wait, 0.1)
        running.pop()
        runs.append(1)

    monkeypatch.setattr(world.broker.settling, "settle", settle)
    world.broker.scheduler.start()
    try:
        await happens(lambda: len(runs) >= 3)
    finally:
        world.broker.scheduler.close()
    assert not any(overlapping)


async def test_what_is_live_is_decided_again_as_soon_as_it_is_asked_for(world: World, monkeypatch) -> None:
    """Asked for from whatever thread. All turns that were left out counted one by one stopped a worker for good (TRAPS 24)."""
    monkeypatch.setattr(scheduler, "_OFTEN", 3_600)
    world.broker.follower.start()
    world.broker.scheduler.start()
    try:
        await asyncio.to_thread(world.broker.scheduler.decide_again_now)
        await happens(lambda: world.backend.client.get(key(0, "decided")) is not None)
    finally:
        world.broker.scheduler.close()
        world.broker.follower.close()
