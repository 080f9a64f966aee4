"""The log: one order, each event once, in one epoch, and never longer than it has to be."""

import asyncio

import pytest

from broker.errors import Unavailable
from broker.feed.event import GRACE, NewEvent, new_event
from broker.store import feed_key
from tests.broker.redis_server import RedisServer
from tests.broker.world import World

HOUR = 3_600_000


def event(world: World, value: str = "support-bot", *, expires: int = HOUR) -> NewEvent:
    now = world.clock.now().wall
    return new_event("agent", value, now=now, expires=now + expires)


def epoch_of(world: World) -> str:
    return world.broker.streams.picture.epoch


def told(world: World) -> list[tuple[int, str]]:
    """Return number and id of every event the worker's picture holds."""
    world.follow()
    return [(event.seq, event.id) for event in world.broker.streams.picture.events()]


async def test_events_are_numbered_in_the_order_of_their_commit(world: World) -> None:
    made = [event(world, f"agent-{number}") for number in range(3)]
    seqs = [(await world.broker.log.append(epoch_of(world), [each])).seq for each in made]
    assert seqs == [1, 2, 3]
    assert told(world) == [(seq, each.id) for seq, each in zip(seqs, made, strict=True)]


async def test_several_events_are_committed_as_one(world: World) -> None:
    made = [event(world, f"agent-{number}") for number in range(5)]
    committed = await world.broker.log.append(epoch_of(world), made)
    assert committed == (epoch_of(world), 5)
    assert told(world) == list(enumerate((each.id for each in made), 1))


async def test_an_event_committed_again_keeps_its_number(world: World) -> None:
    """The caller whose answer was lost asks again, and nothing is ended twice (TRAPS 21b)."""
    first, second = event(world, "a"), event(world, "b")
    await world.broker.log.append(epoch_of(world), [first])
    await world.broker.log.append(epoch_of(world), [second])
    assert (await world.broker.log.append(epoch_of(world), [first])).seq == 1
    assert (await world.broker.log.append(epoch_of(world), [first, second])).seq == 2
    assert told(world) == [(1, first.id), (2, second.id)]


async def test_an_event_committed_many_times_at_once_stands_once(world: World) -> None:
    one = event(world)
    committed = await asyncio.gather(*(world.broker.log.append(epoch_of(world), [one]) for _ in range(50)))
    assert {each.seq for each in committed} == {1}
    assert told(world) == [(1, one.id)]


async def test_events_committed_at_once_by_two_workers_have_one_order(world: World, neighbour: World) -> None:
    workers = [world, neighbour] * 25
    made = [event(world, f"agent-{number}") for number in range(50)]
    committed = await asyncio.gather(
        *(worker.broker.log.append(epoch_of(world), [each]) for worker, each in zip(workers, made, strict=True))
    )
    assert sorted(each.seq for each in committed) == list(range(1, 51))
    assert told(world) == told(neighbour)


@pytest.mark.parametrize("epoch", ["", "01JE0000000000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"])
async def test_nothing_is_committed_for_an_epoch_that_is_not_the_stores(world: World, epoch: str) -> None:
    """Number 1024 means one event before a failover and another after it (TRAPS 21a)."""
    with pytest.raises(Unavailable):
        await world.broker.log.append(epoch, [event(world)])
    assert told(world) == []


async def test_nothing_is_committed_to_a_store_that_has_no_epoch(world: World) -> None:
    epoch = epoch_of(world)
    world.backend.client.delete(feed_key("epoch"))
    with pytest.raises(Unavailable):
        await world.broker.log.append(epoch, [event(world)])
    assert not world.backend.client.exists(feed_key("log"))


async def test_an_event_leaves_the_live_set_when_it_can_hit_no_token_any_more(world: World) -> None:
    """A revocation index that is never pruned (TRAPS 22)."""
    over = event(world, "over", expires=1_000)
    await world.broker.log.append(epoch_of(world), [over])
    world.advance(1_000 + GRACE + 1)
    kept = event(world, "kept")
    await world.broker.log.append(epoch_of(world), [kept])
    client = world.backend.client
    assert [id.decode() for id in client.hkeys(feed_key("live"))] == [kept.id]
    assert [id.decode() for id in client.zrange(feed_key("ends"), 0, -1)] == [kept.id]


async def test_an_event_stays_in_the_live_set_until_then(world: World) -> None:
    """Nothing un-revokes (`DESIGN.md` I4)."""
    ending = event(world, expires=1_000)
    await world.broker.log.append(epoch_of(world), [ending])
    world.advance(1_000 + GRACE - 1_000)
    await world.broker.log.append(epoch_of(world), [event(world, "another")])
    assert ending.id.encode() in world.backend.client.hkeys(feed_key("live"))


async def test_the_log_does_not_grow_for_ever(world: World) -> None:
    client = world.backend.client.pipeline(transaction=False)
    for seq in range(1, 10_001):
        client.xadd(feed_key("log"), {"id": f"evt_{seq}", "event": "{}"}, id=f"{seq}-0")
    client.hset(feed_key("epoch"), mapping={"seq": 10_000, "head": "evt_10000"})
    client.execute()
    assert (await world.broker.log.append(epoch_of(world), [event(world, "a"), event(world, "b")])).seq == 10_002
    assert world.backend.client.xlen(feed_key("log")) == 10_000


async def test_a_commit_that_the_store_does_not_confirm_is_never_reported_as_done(
    own_world: World, redis_server: RedisServer
) -> None:
    """`revoked` reported as success when it failed (TRAPS 19)."""
    epoch = epoch_of(own_world)
    redis_server.kill()
    with pytest.raises(Unavailable):
        await own_world.broker.log.append(epoch, [event(own_world)])
