"""Redis stopped, killed, read-only, full: nothing is issued, nothing is called revoked, and it all goes on afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.errors import BrokerError, Unavailable
from broker.feed.follower import MAX_AGE
from broker.store import store
from broker.store.shards import SHARDS
from scopes.clock import SystemClock
from tests.broker.recorded import kinds_recorded
from tests.broker.redis_server import RedisServer, free_port
from tests.broker.world import ADMIN, World, redis_backend
from tests.scopes.clocks import eventually

SHORT = 0.3
"""How long these brokers wait for an answer, in seconds."""


@pytest_asyncio.fixture
async def following(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A broker whose follower runs in its thread, on a redis-server of this test alone."""
    monkeypatch.setattr(store, "TIMEOUT", SHORT)
    backend = redis_backend(redis_server.url)
    world = World(tmp_path, backend)
    world.broker.follower.start()
    eventually(world.broker.follower.is_current)
    yield world
    redis_server.go_on()
    world.broker.follower.close()
    await backend.close()


def epoch_of(world: World) -> str:
    return world.broker.streams.picture.epoch


async def refused(world: World) -> None:
    """Ask for tokens and revocations until the follower has noticed, and see each of them refused."""
    started = SystemClock().now()
    asked = 0
    while SystemClock().now().since(started) <= MAX_AGE + 200 or asked < 3:
        for attempt in (world.issue(), world.revoke(all=True)):
            with pytest.raises(Unavailable) as error:
                await attempt
            assert error.value.retry_after >= 1
        asked += 1
    assert not world.broker.follower.is_current()


async def recovered(world: World) -> None:
    """Wait until the broker issues and revokes again."""
    await asyncio.to_thread(eventually, world.broker.follower.is_current)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(Unavailable):
                issued = await world.issue()
                break
    await world.revoke(lease=issued.lease_id)
    await asyncio.to_thread(eventually, lambda: bool(world.broker.streams.picture.events()))


async def leases_without_a_token(world: World) -> int:
    """Count live leases; whoever asks has been handed no token."""
    await world.broker.issuer.finish_undoing()
    live = 0
    for shard in range(SHARDS):
        page = await world.broker.leases.page(shard, ("due",), (0, -1), world.broker.streams.picture)
        live += sum(lease.status == "live" for lease in page)
    return live


async def test_a_server_that_is_stopped_and_goes_on_keeps_its_epoch_and_leaves_no_lease_behind(
    following: World, redis_server: RedisServer
) -> None:
    """What it was asked before it stopped, it may do when it goes on: nobody holds a token of it (TRAPS 21b)."""
    await following.issue()
    epoch = epoch_of(following)
    redis_server.stop()
    await refused(following)
    redis_server.go_on()
    await recovered(following)
    assert epoch_of(following) == epoch
    # Not even the first one: the revocations that were refused meanwhile were kept, and are done by now.
    assert await leases_without_a_token(following) == 0


async def test_a_server_that_is_killed_comes_back_with_a_new_epoch(following: World, redis_server: RedisServer) -> None:
    epoch = epoch_of(following)
    redis_server.kill()
    await refused(following)
    redis_server.start()
    await recovered(following)
    assert epoch_of(following) > epoch


async def test_a_read_only_replica_gives_no_token_and_no_heartbeat(following: World, redis_server: RedisServer) -> None:
    """A heartbeat read from a replica vouches for nothing (TRAPS 21)."""
    epoch = epoch_of(following)
    redis_server.call("REPLICAOF", "127.0.0.1", free_port())
    await refused(following)
    redis_server.call("REPLICAOF", "NO", "ONE")
    await recovered(following)
    assert epoch_of(following) == epoch


async def test_a_server_that_became_a_replica_of_an_empty_one_and_was_promoted_begins_a_new_epoch(
    following: World, redis_server: RedisServer, tmp_path: Path
) -> None:
    """A promotion on one connection leaves the `run_id` as it was, and the log is another (`DESIGN.md` 3.7)."""
    epoch = epoch_of(following)
    await following.revoke(all=True)
    await asyncio.to_thread(eventually, lambda: following.broker.streams.picture.seq == 1)
    other = RedisServer(tmp_path / "other")
    other.call("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    try:
        redis_server.call("REPLICAOF", "127.0.0.1", other.port)
        await asyncio.to_thread(eventually, lambda: not redis_server.call("EXISTS", "ab:{feed}:epoch"))
        redis_server.call("REPLICAOF", "NO", "ONE")
        await recovered(following)
    finally:
        other.end()
    assert epoch_of(following) > epoch


async def test_a_full_server_gives_no_token_and_goes_on_when_there_is_room(following: World, redis_server: RedisServer) -> None:
    """It takes nothing more, rather than forget something (`maxmemory-policy` is `noeviction`)."""
    epoch = epoch_of(following)
    redis_server.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(Unavailable):
        await following.issue()
    redis_server.call("CONFIG", "SET", "maxmemory", 0)
    await recovered(following)
    assert epoch_of(following) == epoch
    assert await leases_without_a_token(following) == 0


async def test_a_full_server_still_takes_away(following: World, redis_server: RedisServer) -> None:
    """A full Redis refuses the revocation (TRAPS 21b): not ours, for what ends access may run when memory is full."""
    issued = [await following.issue() for _ in range(2)]
    redis_server.call("CONFIG", "SET", "maxmemory", 1)
    await following.revoke(lease=issued[0].lease_id)
    await following.broker.revocation.end_task(issued[1].task_id, "cancelled", ADMIN)
    await asyncio.to_thread(eventually, lambda: following.broker.streams.picture.seq == 2)
    assert following.broker.follower.is_current()
    redis_server.call("CONFIG", "SET", "maxmemory", 0)
    picture = following.broker.streams.picture
    leases = await following.broker.leases.known([one.lease_id for one in issued], picture)
    assert [lease.status for lease in leases] == ["revoked", "revoked"]
    assert {"revocation", "task.ended"} <= set(await kinds_recorded(following))


async def test_requests_during_a_fault_end_in_a_token_or_a_refusal_and_never_hang(
    following: World, redis_server: RedisServer
) -> None:
    asked = [asyncio.create_task(following.issue()) for _ in range(40)]
    await asyncio.sleep(0)
    redis_server.kill()
    results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)
    assert all(isinstance(result, BrokerError) or result.access_token for result in results)
