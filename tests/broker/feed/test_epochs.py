"""An epoch is one unbroken life of the store: whatever breaks it begins another, and all earlier tokens are void."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from broker.errors import Unavailable
from broker.feed.epoch_file import EpochFile
from broker.feed.event import new_event
from broker.feed.log import KEYS
from broker.store import feed_key
from scopes.claims import TOKEN_TYPE, decode
from scopes.jose import read
from tests.broker.redis_server import RedisServer
from tests.broker.world import World, redis_backend
from tests.scopes.clocks import eventually

HEAD, LOG, LIVE = (feed_key(part) for part in ("epoch", "log", "live"))
DAY = 86_400_000


def epoch_of(world: World) -> str:
    return world.broker.streams.picture.epoch


def empty(world: World) -> None:
    """Empty the store of all that the broker keeps."""
    for name in world.backend.client.keys("ab:*"):
        world.backend.client.delete(name)


def copied(world: World) -> dict[bytes, bytes]:
    return {name: world.backend.client.dump(name) for name in world.backend.client.keys("ab:*")}


def put_back(world: World, copy: dict[bytes, bytes]) -> None:
    """Put the store back to what it was when it was copied."""
    empty(world)
    for name, value in copy.items():
        world.backend.client.restore(name, 0, value)


async def commit(world: World, value: str = "support-bot") -> str:
    event = new_event("agent", value, now=world.clock.now().wall)
    await world.broker.log.append(epoch_of(world), [event])
    return event.id


def known(world: World) -> list[str]:
    return [event.value for event in world.broker.streams.picture.events()]


async def epoch_of_token(world: World) -> str:
    issued = await world.issue()
    claims, _ = decode(read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    return claims.lease.epoch


async def test_the_first_worker_on_an_empty_store_begins_an_epoch_and_the_next_adopts_it(
    world: World, neighbour: World
) -> None:
    assert len(epoch_of(world)) == 26
    assert epoch_of(neighbour) == epoch_of(world)


async def test_following_on_keeps_the_epoch(world: World) -> None:
    epoch = epoch_of(world)
    for _ in range(3):
        await commit(world)
        world.advance(1_000)
    assert epoch_of(world) == epoch


async def test_a_store_that_was_emptied_begins_a_new_epoch_above_the_old_one(world: World) -> None:
    old = epoch_of(world)
    await commit(world)
    world.follow()
    empty(world)
    world.follow()
    assert epoch_of(world) > old
    assert (world.broker.streams.picture.seq, known(world)) == (0, [])


async def test_a_store_of_another_life_begins_a_new_epoch_though_its_keys_are_all_there(world: World) -> None:
    """Redis restarts from a two-minute-old snapshot with its epoch key unchanged: compare the `run_id` (TRAPS 21a)."""
    old = epoch_of(world)
    world.backend.client.hset(HEAD, "run_id", "the run_id of a server that is gone")
    world.follow()
    assert epoch_of(world) > old


async def test_a_store_rolled_back_to_an_old_copy_begins_a_new_epoch(world: World) -> None:
    """Failover and failback on one connection left the `run_id` unchanged and the head lower (`DESIGN.md` 3.7)."""
    await commit(world, "before")
    copy = copied(world)
    await commit(world, "lost")
    world.follow()
    old = epoch_of(world)
    put_back(world, copy)
    world.follow()
    assert epoch_of(world) > old


async def test_what_a_worker_committed_and_has_not_read_yet_is_missed_as_well(world: World) -> None:
    """The caller was told that it holds; found by the histories of `test_lifecycle_histories.py`."""
    copy, old = copied(world), epoch_of(world)
    await commit(world, "lost before it was read")
    put_back(world, copy)
    world.follow()
    assert epoch_of(world) > old


async def test_another_event_in_the_place_of_what_a_worker_committed_is_noticed(world: World, neighbour) -> None:
    copy, old = copied(world), epoch_of(world)
    await commit(world, "lost before it was read")
    put_back(world, copy)
    await neighbour.broker.log.append(old, [new_event("agent", "another", now=world.clock.now().wall)])
    world.follow()
    assert epoch_of(world) > old


async def test_a_rollback_is_noticed_also_where_the_log_has_grown_past_the_workers_place_again(world: World, neighbour) -> None:
    """Same number, other event: the worker compares the id at its place, not the number alone (TRAPS 21a)."""
    copy = copied(world)
    await commit(world, "lost")
    world.follow()
    old = epoch_of(world)
    put_back(world, copy)
    for value in ("another", "and another"):
        await commit(world, value)
    world.follow()
    assert epoch_of(world) > old
    neighbour.follow()
    assert epoch_of(neighbour) == epoch_of(world)


async def test_a_rollback_while_the_worker_was_away_is_noticed_when_it_comes_back(world: World) -> None:
    await commit(world, "before")
    copy = copied(world)
    await commit(world, "lost")
    world.follow()
    old = epoch_of(world)
    put_back(world, copy)
    world.broker.follower._run_id = ""
    world.follow()
    assert epoch_of(world) > old


@pytest.mark.parametrize("stood_at_the_end", [True, False])
async def test_a_log_that_lost_its_end_begins_a_new_epoch(world: World, stood_at_the_end: bool) -> None:
    """What was lost may be what this worker has not read yet, so it does not help that its own place is still there."""
    await commit(world, "read")
    world.follow()
    await commit(world, "lost")
    if stood_at_the_end:
        world.follow()
    old = epoch_of(world)
    world.backend.client.xdel(LOG, "2-0")
    world.follow()
    assert epoch_of(world) > old


async def test_a_log_that_was_lost_whole_begins_a_new_epoch(world: World) -> None:
    await commit(world)
    world.follow()
    old = epoch_of(world)
    world.backend.client.delete(LOG)
    world.follow()
    assert epoch_of(world) > old


async def test_a_head_that_was_lowered_begins_a_new_epoch(world: World) -> None:
    first = await commit(world, "first")
    await commit(world, "second")
    world.follow()
    old = epoch_of(world)
    world.backend.client.xdel(LOG, "2-0")
    world.backend.client.hset(HEAD, mapping={"seq": 1, "head": first})
    world.follow()
    assert epoch_of(world) > old


async def test_a_worker_that_starts_anew_on_a_log_without_its_end_begins_a_new_epoch(world: World, neighbour: World) -> None:
    await commit(world)
    await commit(world)
    old = epoch_of(world)
    world.backend.client.xdel(LOG, "2-0")
    for _ in range(2):
        neighbour.follow()
    assert epoch_of(neighbour) > old


async def test_two_workers_that_notice_at_once_agree_on_one_epoch(world: World, neighbour: World) -> None:
    """Two replicas that each start a new epoch (TRAPS 21a)."""
    for _ in range(10):
        old = epoch_of(world)
        empty(world)
        await asyncio.gather(*(asyncio.to_thread(worker.follow) for worker in (world, neighbour)))
        for worker in (world, neighbour):
            worker.follow()
        assert epoch_of(world) == epoch_of(neighbour) > old


async def test_many_that_begin_an_epoch_at_once_begin_one(world: World) -> None:
    """Compare and set: whoever is late adopts what is there, and what was committed to it stays."""
    empty(world)
    store = world.backend.stores.shared
    begin = store.script("broker.feed", "begin")
    proposed = [f"01JE00000000000000000000{number}" for number in range(10, 60)]
    told = await asyncio.gather(*(store.run(begin, KEYS, ["", epoch, "life", 0, "", ""]) for epoch in proposed))
    assert len(set(told)) == 1


async def test_an_epoch_begun_twice_is_begun_once(world: World) -> None:
    """An answer that was lost must not cost the events committed since (TRAPS 21b)."""
    store, old = world.backend.stores.shared, epoch_of(world)
    begin = store.script("broker.feed", "begin")
    asked = (KEYS, [old, "7ZZZZZZZZZZZZZZZZZZZZZZZZY", world.backend.stores.follower.run_id, 0, "", ""])
    await store.run(begin, *asked)
    world.follow()
    await commit(world)
    await store.run(begin, *asked)
    world.follow()
    assert (epoch_of(world), known(world)) == ("7ZZZZZZZZZZZZZZZZZZZZZZZZY", ["support-bot"])


async def test_a_new_epoch_is_above_the_old_one_though_the_clock_went_back(world: World, tmp_path: Path) -> None:
    """An epoch that sorts below would make void tokens good again."""
    old = epoch_of(world)
    world.clock.advance(-DAY)
    empty(world)
    world.follow()
    assert epoch_of(world) > old


async def test_a_broker_that_starts_anew_is_above_the_old_epoch_though_store_and_clock_know_nothing(
    world: World, neighbour: World
) -> None:
    """The epoch file outlives the store: here the next process finds an empty store and a clock of yesterday."""
    old = epoch_of(world)
    world.clock.advance(-DAY)
    empty(world)
    restarted = World(world.folder, neighbour.backend, clock=world.clock)
    restarted.follow()
    assert epoch_of(restarted) > old
    assert EpochFile(world.folder / "keys" / "epoch").read() == epoch_of(restarted)


async def test_a_store_that_came_back_with_an_earlier_epoch_begins_one_above_both(world: World, neighbour: World) -> None:
    """A copy of last week's store, put in place while no worker ran, is of an epoch that the file knows to be over."""
    copy, first = copied(world), epoch_of(world)
    empty(world)
    world.follow()
    second = epoch_of(world)
    put_back(world, copy)
    restarted = World(world.folder, neighbour.backend, clock=world.clock)
    restarted.follow()
    assert epoch_of(restarted) > second > first


async def test_a_token_says_the_epoch_it_was_decided_in_and_the_next_epoch_voids_it(world: World) -> None:
    issued = await world.issue()
    old = epoch_of(world)
    copy = copied(world)
    empty(world)
    world.follow()
    assert await epoch_of_token(world) == epoch_of(world) > old
    for name, value in copy.items():
        if b"{feed}" not in name:
            world.backend.client.restore(name, 0, value, replace=True)
    lease = await world.broker.leases.find(issued.lease_id, world.broker.streams.picture)
    assert lease.status == "revoked"


async def test_nothing_is_revoked_in_an_epoch_that_is_over(world: World) -> None:
    """The caller hears that it was not carried out, and looks again (TRAPS 19)."""
    empty(world)
    with pytest.raises(Unavailable):
        await world.revoke(all=True)
    world.follow()
    assert (await world.revoke(all=True)).epoch == epoch_of(world)


# On a real server, killed and started again, with followers in their threads.


@pytest.fixture
def following(own_world: World):
    own_world.broker.follower.start()
    eventually(own_world.broker.follower.is_current)
    yield own_world
    own_world.broker.follower.close()


async def after_a_restart(world: World, old: str) -> str:
    """Return the epoch the worker comes to; what its other connection was asked last may have been lost with the server."""
    eventually(lambda: epoch_of(world) != old and world.broker.follower.is_current())
    with contextlib.suppress(Unavailable):
        await world.backend.stores.shared.call("PING")
    return epoch_of(world)


async def test_a_server_killed_and_started_empty_begins_a_new_epoch(following: World, redis_server: RedisServer) -> None:
    old = epoch_of(following)
    await commit(following)
    redis_server.kill()
    redis_server.start()
    assert await after_a_restart(following, old) > old
    assert await epoch_of_token(following) == epoch_of(following)


async def test_a_server_restarted_from_an_old_snapshot_begins_a_new_epoch(following: World, redis_server: RedisServer) -> None:
    """TRAPS 20 and 21a: the snapshot holds the same epoch, a lower head, and leases that were revoked since."""
    issued = await following.issue()
    redis_server.take_snapshot()
    await following.revoke(lease=issued.lease_id)
    old = epoch_of(following)
    redis_server.kill()
    redis_server.start()
    assert await after_a_restart(following, old) > old
    lease = await following.broker.leases.find(issued.lease_id, following.broker.streams.picture)
    assert lease.status == "revoked"


async def test_a_server_restarted_from_a_snapshot_that_lacks_nothing_begins_a_new_epoch_too(
    following: World, redis_server: RedisServer
) -> None:
    """That nothing was lost cannot be known."""
    old = epoch_of(following)
    redis_server.take_snapshot()
    redis_server.kill()
    redis_server.start()
    assert await after_a_restart(following, old) > old


async def test_two_workers_agree_after_a_restart(following: World, redis_server: RedisServer, tmp_path: Path) -> None:
    backend = redis_backend(redis_server.url)
    other = World(tmp_path, backend)
    other.broker.follower.start()
    eventually(other.broker.follower.is_current)
    old = epoch_of(following)
    redis_server.kill()
    redis_server.start()
    assert await after_a_restart(following, old) == await after_a_restart(other, old) > old
    other.broker.follower.close()
    await backend.close()


def test_a_broker_that_waits_for_its_store_begins_as_soon_as_it_is_there(own_world: World, redis_server: RedisServer) -> None:
    old = epoch_of(own_world)
    redis_server.kill()
    assert own_world.broker.follower.step() > 0
    redis_server.start()
    assert own_world.broker.follower.step() == 0
    assert epoch_of(own_world) > old
