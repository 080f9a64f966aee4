"""After a revocation: leases are marked in the background, each by the way that is shortest, and nothing is left out."""

import asyncio

import pytest

from broker.errors import Unavailable
from broker.feed.event import new_event
from broker.leases import Settled
from broker.leases.leases import CLAIM
from broker.settling import LONGEST_REST, REST, Settling
from broker.store import feed_key, key, shard_of
from scopes.revocations import Picture
from tests.broker.ended import status_of
from tests.broker.world import ADMIN, BOT, OTHER, World

BOTS = shard_of("support-bot")
OTHERS = shard_of("other-bot")
KB_SCOPE = "kb:article/1#read"
pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(autouse=True)
def restless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody rest but in the test of just that."""
    if "rests" not in request.node.name:
        monkeypatch.setattr("broker.settling.REST", 0)


def picture_of(world: World) -> Picture:
    return world.broker.streams.picture


def settling(world: World, pause) -> Settling:
    """Another keeper in the same worker."""
    broker = world.broker
    return Settling(
        log=broker.log,
        follower=broker.follower,
        leases=broker.leases,
        tasks=broker.tasks,
        active=broker.active,
        stuck=broker.stuck_work,
        clock=world.clock,
        pause=pause,
    )


async def settled(world: World) -> None:
    world.follow()
    await world.broker.settling.settle()


def index_of(world: World) -> set[str]:
    return {id.decode() for id in world.backend.client.zrange(key(BOTS, "due"), 0, -1)}


@pytest.mark.parametrize("kind", ["lease", "task", "agent", "instance", "resource", "owner", "all"])
async def test_whatever_a_revocation_ended_is_marked_and_nothing_else(world: World, kind: str) -> None:
    await settled(world)
    hit = await world.issue()
    task = await world.declare(workload=OTHER)
    missed = await world.issue(KB_SCOPE, workload=OTHER, task=task.id)
    values = {"lease": hit.lease_id, "task": hit.task_id, "agent": "support-bot", "instance": BOT}
    values |= {"resource": "crm:ticket", "owner": "jane@example.com", "all": True}
    await world.revoke(**{kind: values[kind]})
    await settled(world)
    later = await world.issue()
    assert index_of(world) == {later.lease_id}
    assert await status_of(world, hit) == "revoked"
    assert await status_of(world, missed) == ("revoked" if kind == "all" else "live")
    assert await world.broker.leases.count_live(picture_of(world).epoch, "support-bot") == 1


async def test_the_leases_of_a_tasks_children_are_marked_with_it(world: World) -> None:
    """Ending a middle task (TRAPS 23b)."""
    await settled(world)
    root = await world.declare()
    child = await world.declare(parent=root.id)
    grandchild = await world.declare("single-ticket", parent=child.id)
    issued = [await world.issue(task=task.id) for task in (root, child, grandchild)]
    await world.revoke(task=child.id)
    await settled(world)
    assert index_of(world) == {issued[0].lease_id}


async def test_an_event_of_an_agent_looks_at_its_own_leases_only(world: World, monkeypatch) -> None:
    """Mass revocation that enumerates everything blocks everything (TRAPS 22)."""
    await settled(world)
    await world.issue()
    await world.revoke(agent="support-bot")
    world.follow()
    seen = []
    settle = world.broker.leases.settle

    async def watched(shard, index, *rest):
        seen.append((shard, index))
        return await settle(shard, index, *rest)

    monkeypatch.setattr(world.broker.leases, "settle", watched)
    await world.broker.settling.settle()
    assert seen == [(BOTS, ("agent", "support-bot", picture_of(world).epoch))]


async def test_nothing_is_looked_at_for_a_task_that_was_ended_in_the_usual_way(world: World, monkeypatch) -> None:
    await settled(world)
    issued = await world.issue()
    await world.broker.revocation.end_task(issued.task_id, "completed", ADMIN)
    world.follow()
    monkeypatch.setattr(world.broker.leases, "settle", None)
    await world.broker.settling.settle()
    assert index_of(world) == set()
    assert world.broker.stuck_work.pieces() == []


async def test_a_place_that_is_trimmed_from_the_log_means_to_look_at_all(world: World) -> None:
    await settled(world)
    await world.issue()
    for agent in ("support-bot", "other-bot", "other-bot"):
        await world.revoke(agent=agent)
    world.backend.client.xtrim(feed_key("log"), maxlen=1, approximate=False)
    await settled(world)
    assert index_of(world) == set()


async def test_what_an_earlier_epoch_left_is_marked(world: World) -> None:
    issued = await world.issue()
    await settled(world)
    world.backend.client.delete(feed_key("epoch"))
    world.follow()
    world.advance(5_000)
    await world.broker.settling.settle()
    assert index_of(world) == set()
    assert await status_of(world, issued) == "revoked"


async def test_it_rests_four_times_as_long_as_each_page_took(world: World) -> None:
    task = await world.declare()
    await asyncio.gather(*(world.issue(task=task.id) for _ in range(250)))
    await world.revoke(all=True)
    world.follow()
    loop = asyncio.get_running_loop()
    rests, left = [], [loop.time()]
    worked = []

    async def pause(seconds: float) -> None:
        worked.append(loop.time() - left[-1])
        rests.append(seconds)
        left.append(loop.time())

    await settling(world, pause).settle()
    assert index_of(world) == set()
    assert len(rests) >= 3
    assert all(rest <= min(REST * work + 0.001, LONGEST_REST) for rest, work in zip(rests, worked, strict=True))
    assert sum(rests) > 0.5 * sum(min(REST * work, LONGEST_REST) for work in worked)


async def test_one_worker_at_a_time_keeps_a_shard_and_another_goes_on_when_it_dies(world: World, neighbour: World) -> None:
    """A worker that dies loses nothing: what it had not noted is done again."""
    issued = await world.issue()
    await world.revoke(agent="support-bot")
    world.follow()
    neighbour.follow()

    async def die(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await settling(world, die).settle()
    assert await world.broker.leases.keep(BOTS, "somebody else") is None
    await neighbour.broker.settling.settle()
    assert world.backend.client.get(key(BOTS, "settled")) is None
    world.backend.client.delete(*(key(shard, "keeper") for shard in range(64)))
    await neighbour.broker.settling.settle()
    assert Settled.read(world.backend.client.get(key(BOTS, "settled")).decode()).seq == 1
    assert await status_of(neighbour, issued) == "revoked"
    assert index_of(world) == set()


async def test_a_claim_holds_for_seconds_only(world: World) -> None:
    assert await world.broker.leases.keep(BOTS, "one") == Settled()
    assert await world.broker.leases.keep(BOTS, "another") is None
    assert 0 < world.backend.client.pttl(key(BOTS, "keeper")) <= CLAIM


async def test_a_worker_whose_shard_was_taken_over_leaves_it(world: World) -> None:
    task = await world.declare()
    await asyncio.gather(*(world.issue(task=task.id) for _ in range(150)))
    await world.revoke(agent="support-bot")
    world.follow()

    async def lose(_: float) -> None:
        world.backend.client.set(key(BOTS, "keeper"), "somebody else")

    await settling(world, lose).settle()
    assert world.backend.client.get(key(BOTS, "settled")) is None
    assert world.broker.stuck_work.pieces() == []


async def test_workers_that_settle_at_once_do_what_one_would(world: World, neighbour: World) -> None:
    """`DESIGN.md` I6."""
    task = await world.declare()
    await asyncio.gather(*(world.issue(task=task.id) for _ in range(150)))
    await world.revoke(agent="support-bot")
    world.follow()
    neighbour.follow()
    await asyncio.gather(*(worker.broker.settling.settle() for worker in (world, neighbour) * 2))
    assert index_of(world) == set()


async def test_a_worker_that_is_behind_another_does_not_begin_anew(world: World, neighbour: World, monkeypatch) -> None:
    await settled(world)
    neighbour.follow()
    await world.revoke(agent="support-bot")
    await settled(world)
    world.backend.client.delete(*(key(shard, "keeper") for shard in range(64)))
    monkeypatch.setattr(neighbour.broker.leases, "settle", None)
    await neighbour.broker.settling.settle()
    assert neighbour.broker.stuck_work.pieces() == []


async def test_a_shard_that_fails_is_stuck_and_stops_no_other(world: World, monkeypatch) -> None:
    first, second = sorted((BOTS, OTHERS))
    world.clock.hold()
    await world.issue()
    await world.issue(KB_SCOPE, workload=OTHER, task=(await world.declare(workload=OTHER)).id)
    await world.revoke(all=True)
    world.follow()
    settle = world.broker.leases.settle
    # Longer than the slowest machine takes, so that the second time is too early for another try.
    monkeypatch.setattr("broker.stuck_work.pause_after", lambda tries: 60_000)

    async def fail_in_the_first(shard, *rest):
        if shard == first:
            raise ValueError("broken record")
        return await settle(shard, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(world.broker.leases, "settle", fail_in_the_first)
        for _ in range(2):
            await world.broker.settling.settle()
    (piece,) = world.broker.stuck_work.pieces()
    assert (piece.id, piece.problem, piece.tries) == (f"shard s{first:02}", "ValueError", 1)
    live = [int(world.backend.client.zcard(key(shard, "due"))) for shard in (first, second)]
    assert live == [1, 0]
    world.advance(60_000)
    await world.broker.settling.settle()
    assert world.broker.stuck_work.pieces() == []
    assert world.backend.client.zcard(key(first, "due")) == 0


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_knows_too_little_settles_nothing(world: World) -> None:
    await world.issue()
    world.clock.advance(1_001)
    with pytest.raises(Unavailable):
        await world.broker.settling.settle()


async def test_a_class_that_ended_has_the_leases_of_its_agent_looked_at_and_no_others(world: World, monkeypatch) -> None:
    """Mass revocation that enumerates everything blocks everything (TRAPS 22): the class says whose it is."""
    await settled(world)
    hit, missed = await world.issue(), await world.issue(KB_SCOPE)
    task = await world.declare(workload=OTHER)
    await world.issue(KB_SCOPE, workload=OTHER, task=task.id)
    forbid = '@id("no-tickets") forbid (principal is Agent, action == Action::"crm:ticket#read", resource is Record);'
    (world.folder / "policies" / "more.cedar").write_text(forbid)
    await world.look()
    await world.broker.redecision.decide_again()
    world.follow()
    seen = []
    settle = world.broker.leases.settle

    async def watched(shard, index, *rest):
        seen.append((shard, index))
        return await settle(shard, index, *rest)

    monkeypatch.setattr(world.broker.leases, "settle", watched)
    await world.broker.settling.settle()
    assert seen == [(BOTS, ("agent", "support-bot", picture_of(world).epoch))]
    assert [await status_of(world, issued) for issued in (hit, missed)] == ["revoked", "live"]


async def test_a_class_that_is_not_kept_any_more_leaves_nothing_to_mark(world: World, monkeypatch) -> None:
    await settled(world)
    event = new_event("class", "gone", now=world.clock.now().wall, audiences=())
    await world.broker.log.append(picture_of(world).epoch, [event])
    world.follow()
    monkeypatch.setattr(world.broker.leases, "settle", None)
    await world.broker.settling.settle()
    assert world.broker.stuck_work.pieces() == []
