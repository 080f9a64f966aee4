"""What could not be committed: kept, seen, tried again, done once, and never called done before."""

import asyncio

import pytest

from broker.errors import NotFound, Stuck, Unavailable
from broker.feed.journal import Journal
from broker.outbox import Outbox
from broker.selector import ReductionSelector
from broker.stuck_work import LONGEST_PAUSE
from tests.broker.ended import is_ended, told
from tests.broker.recorded import kinds_recorded
from tests.broker.redis_server import RedisServer
from tests.broker.world import ADMIN, CRM, World


@pytest.fixture
def lost(world: World, monkeypatch):
    """A store whose answers to commits are lost: what is asked may have been done."""
    run = world.broker.log._store.run

    async def lose(script, *asked):
        if script.name == "append":
            await run(script, *asked)
            raise Unavailable("lost")
        return await run(script, *asked)

    monkeypatch.setattr(world.broker.log._store, "run", lose)
    return lambda: monkeypatch.setattr(world.broker.log._store, "run", run)


@pytest.fixture
def refused(world: World, monkeypatch):
    """A store that refuses to commit anything."""
    append = world.broker.log.append

    async def refuse(*_):
        raise Unavailable("down")

    monkeypatch.setattr(world.broker.log, "append", refuse)
    return lambda: monkeypatch.setattr(world.broker.log, "append", append)


async def stuck_revocation(world: World, **selector) -> Stuck:
    with pytest.raises(Stuck) as error:
        await world.revoke(**selector)
    return error.value


async def test_a_revocation_that_was_not_confirmed_is_listed_with_its_reason_and_next_try(world: World, refused) -> None:
    now = world.clock.now().wall
    error = await stuck_revocation(world, agent="support-bot")
    (order,) = world.broker.endings.stuck()
    assert (order.id, order.what, order.problem, order.tries) == (error.id, "revocation of agent:support-bot", "down", 1)
    assert now <= order.since <= order.next_try <= order.since + 1_500


async def test_what_is_stuck_is_done_when_the_store_confirms_and_recorded_then(world: World, refused) -> None:
    issued = await world.issue()
    await stuck_revocation(world, agent="support-bot")
    assert "revocation" not in await kinds_recorded(world)
    refused()
    world.advance(1_500)
    await world.broker.endings.try_again()
    assert is_ended(world, issued)
    assert (await kinds_recorded(world)).count("revocation") == 1
    assert world.broker.endings.stuck() == []


async def test_a_commit_whose_answer_was_lost_is_made_once(world: World, lost) -> None:
    error = await stuck_revocation(world, agent="support-bot")
    lost()
    world.advance(1_500)
    await world.broker.endings.try_again()
    assert [event.id for event in told(world, CRM)] == [error.id]
    assert world.broker.streams.picture.seq == 1


async def test_a_revocation_without_its_record_is_not_done(world: World, monkeypatch) -> None:
    write = world.broker.audit.append_encoded

    async def refuse(*_):
        raise Unavailable("down")

    monkeypatch.setattr(world.broker.audit, "append_encoded", refuse)
    await stuck_revocation(world, agent="support-bot")
    monkeypatch.setattr(world.broker.audit, "append_encoded", write)
    await world.broker.endings.try_again(even_early=True)
    assert (await kinds_recorded(world)).count("revocation") == 1
    assert world.broker.endings.stuck() == []


async def test_it_is_tried_less_and_less_often_and_never_given_up(world: World, refused) -> None:
    await stuck_revocation(world, agent="support-bot")
    pauses = []
    for _ in range(9):
        (order,) = world.broker.endings.stuck()
        pauses.append(round((order.next_try - world.clock.now().wall) / 1000))
        world.advance(LONGEST_PAUSE)
        await world.broker.endings.try_again()
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE / 1000
    (order,) = world.broker.endings.stuck()
    assert order.tries == 10


async def test_it_is_not_tried_before_its_time(world: World, refused) -> None:
    await stuck_revocation(world, agent="support-bot")
    refused()
    await world.broker.endings.try_again()
    assert len(world.broker.endings.stuck()) == 1


async def test_a_late_commit_ends_also_what_was_given_out_meanwhile(world: World, refused) -> None:
    await stuck_revocation(world, agent="support-bot")
    world.advance(7_200_000)
    issued = await world.issue()
    refused()
    await world.broker.endings.try_again()
    assert is_ended(world, issued)
    (event,) = told(world, CRM)
    assert event.until >= world.clock.now().wall + 3_600_000


async def test_what_was_wanted_earlier_comes_first(world: World, refused) -> None:
    """Or a pause that was stuck would come after its own restoration, and stand."""
    with pytest.raises(Stuck):
        await world.broker.reduction.reduce(ReductionSelector(agent="support-bot"), "paused", "a test", ADMIN)
    refused()
    await world.broker.reduction.reduce(ReductionSelector(agent="support-bot"), "none", "a test", ADMIN)
    world.follow()
    assert world.broker.reduction.in_force() == []
    assert world.broker.endings.stuck() == []


async def test_another_worker_of_the_replica_tries_it_too(world: World, neighbour: World, refused) -> None:
    await stuck_revocation(world, agent="support-bot")
    await neighbour.broker.endings.try_again(even_early=True)
    assert world.broker.endings.stuck() == []
    assert len(told(world, CRM)) == 1


async def test_workers_that_try_at_once_do_it_once(world: World, neighbour: World, refused) -> None:
    await stuck_revocation(world, agent="support-bot")
    refused()
    await asyncio.gather(*(worker.broker.endings.try_again(even_early=True) for worker in (world, neighbour) * 4))
    assert (await kinds_recorded(world)).count("revocation") == 1


async def test_it_outlives_the_worker(world: World, neighbour: World, refused) -> None:
    await stuck_revocation(world, agent="support-bot")
    restarted = World(world.folder, neighbour.backend, clock=world.clock)
    restarted.follow()
    await restarted.broker.endings.try_again(even_early=True)
    assert len(told(restarted, CRM)) == 1


async def test_what_can_be_neither_done_nor_kept_is_not_called_stuck(world: World, refused, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Outbox, "keep", full)
    with pytest.raises(Unavailable, match="nor can it be kept") as error:
        await world.revoke(agent="support-bot")
    assert not isinstance(error.value, Stuck)


@pytest.mark.parametrize("selector", [{"owner": "jane@example.com"}, {"lease": "lse_01JE0000000000000000000007"}])
async def test_a_worker_that_knows_nothing_fresh_keeps_what_it_is_told(world: World, monkeypatch, selector) -> None:
    def stale() -> None:
        raise Unavailable("stale")

    with monkeypatch.context() as patched:
        patched.setattr(world.broker.follower, "standpoint", stale)
        await stuck_revocation(world, **selector)
    await world.broker.endings.try_again(even_early=True)
    (event,) = told(world, CRM)
    assert (event.kind, event.value) == ("agent", "support-bot") if "owner" in selector else ("lease", selector["lease"])


async def test_an_owner_of_nothing_is_not_found_and_nothing_is_kept(world: World, refused) -> None:
    with pytest.raises(NotFound):
        await world.revoke(owner="nobody@example.com")
    assert world.broker.endings.stuck() == []


async def test_the_end_of_a_key_is_in_the_journal_before_it_is_called_done(world: World) -> None:
    await world.revoke(key="stolen")
    assert [act.target for act in Journal(world.folder / "keys" / "journal").read().acts] == ["key stolen"]


async def test_a_store_that_died_before_it_confirmed_is_told_again_when_it_is_back(
    own_world: World, redis_server: RedisServer
) -> None:
    redis_server.kill()
    await stuck_revocation(own_world, agent="support-bot")
    redis_server.start()
    own_world.follow()
    await own_world.broker.endings.try_again(even_early=True)
    await own_world.broker.endings.try_again(even_early=True)
    assert [event.value for event in told(own_world, CRM)] == ["support-bot"]
    assert own_world.broker.endings.stuck() == []
