"""Every script may run twice, for an answer can be lost: twice is once, through the whole life of tasks and tokens."""

import pytest

from broker.callers import Caller
from broker.store import feed_key
from tests.broker.recorded import kinds_recorded
from tests.broker.world import BOT, World

pytestmark = pytest.mark.usefixtures("patient")

AGENT = Caller("Agent", "support-bot", BOT)


async def lived(world: World) -> dict[str, object]:
    """Live through everything that can happen to a token, and tell what is left of it."""
    root = await world.declare(max_duration=100)
    child = await world.declare("single-ticket", parent=root.id)
    issued = [await world.issue(task=task.id) for task in (root, child, child)]
    short = await world.issue(task=root.id, ttl=5)
    await world.revoke(lease=issued[2].lease_id)
    world.advance(5_000)
    await world.broker.scheduler.expire_leases()
    await world.broker.revocation.end_task(child.id, "completed", AGENT)
    await world.revoke(agent="support-bot")
    world.follow()
    await world.broker.settling.settle()
    world.advance(100_000)
    await world.broker.revocation.end_due_tasks()
    picture = world.broker.streams.picture
    leases = [await world.broker.leases.find(each.lease_id, picture) for each in (*issued, short)]
    return {
        "leases": [lease.status for lease in leases],
        "tasks": [(await world.broker.tasks.find(task.id)).status for task in (root, child)],
        "events": [(event.seq, event.kind) for event in picture.events()],
        "live": await world.broker.leases.count_live(picture.epoch),
        "log": world.backend.client.xlen(feed_key("log")),
        "given": [int(world.backend.client.hget(key, "leases")) for key in task_keys(world, root.id, child.id)],
        "recorded": [kind for kind in await kinds_recorded(world) if kind != "revocation"],
    }


def task_keys(world: World, *ids: str) -> list[bytes]:
    return [world.backend.client.keys(f"ab:*:task:{id}")[0] for id in ids]


EXPECTED = {
    "leases": ["revoked", "revoked", "revoked", "expired"],
    "tasks": ["timed_out", "completed"],
    "events": [(1, "lease"), (2, "task"), (3, "agent")],
    "live": 0,
    "log": 3,
    "given": [4, 2],
    "recorded": [
        "task.opened",
        "task.opened",
        "token.issued",
        "token.issued",
        "token.issued",
        "token.issued",
        "task.ended",
        "task.ended",
    ],
}


async def test_a_life_whose_every_step_runs_once(world: World) -> None:
    assert await lived(world) == EXPECTED


async def test_a_life_whose_every_step_runs_twice_is_the_same(repeating_world: World) -> None:
    """TRAPS 21b: the client library asked one script three times."""
    assert await lived(repeating_world) == EXPECTED


async def test_a_life_with_every_job_on_two_workers_is_the_same(world: World, neighbour: World, monkeypatch) -> None:
    """`DESIGN.md` I6: jobs may run twice, concurrently, or late, on any worker."""
    for room, job in (("settling", "settle"), ("revocation", "end_due_tasks"), ("scheduler", "expire_leases")):
        one, other = (getattr(getattr(worker.broker, room), job) for worker in (world, neighbour))

        async def both(one=one, other=other) -> None:
            neighbour.follow()
            await other()
            await one()
            await other()

        monkeypatch.setattr(getattr(world.broker, room), job, both)
    assert await lived(world) == EXPECTED
