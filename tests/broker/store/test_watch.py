"""What was right at the start is looked at every second, for it can change."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import Unavailable
from broker.store.watch import EVERY, UNKNOWN_AFTER, Watch
from tests.broker.redis_server import RedisServer, free_port
from tests.broker.world import ADMIN, World, redis_backend
from tests.scopes.clocks import MovableClock, eventually


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def watch(redis_server: RedisServer, clock: MovableClock) -> Iterator[Watch]:
    """A watch that has looked once, and found nothing wrong."""
    made = Watch(redis_server.url, clock=clock)
    assert made.step() == EVERY
    assert made.problem() == ""
    yield made
    made.close()


def problem(watch: Watch) -> str:
    watch.step()
    return watch.problem()


def test_a_server_that_begins_to_evict_is_a_problem_until_it_ends(watch: Watch, redis_server: RedisServer) -> None:
    """What may be forgotten without anybody noticing is no store (TRAPS 21b)."""
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert "noeviction" in problem(watch)
    with pytest.raises(Unavailable) as refused:
        watch.check()
    assert refused.value.retry_after == 1
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert problem(watch) == ""
    watch.check()


def test_a_server_that_became_a_replica_is_a_problem(watch: Watch, redis_server: RedisServer) -> None:
    redis_server.call("REPLICAOF", "127.0.0.1", free_port())
    assert "replica" in problem(watch)


def test_a_server_that_is_nearly_full_is_a_problem(watch: Watch, redis_server: RedisServer) -> None:
    """From 90 % of `maxmemory`: the rest is for what ends access."""
    used = int(redis_server.call("INFO", "memory")["used_memory"])
    redis_server.call("CONFIG", "SET", "maxmemory", used * 2)
    assert problem(watch) == ""
    redis_server.call("CONFIG", "SET", "maxmemory", int(used * 1.05))
    assert "% full" in problem(watch)


def test_too_few_replicas_are_a_problem(redis_server: RedisServer, tmp_path: Path, clock: MovableClock) -> None:
    watch = Watch(redis_server.url, clock=clock, replicas_required=1)
    assert "0 of the 1 replicas" in problem(watch)
    replica = RedisServer(tmp_path / "replica")
    replica.follow(redis_server)
    assert problem(watch) == ""
    replica.end()
    eventually(lambda: "0 of the 1 replicas" in problem(watch))
    watch.close()


def test_a_server_that_does_not_say_how_it_is_is_a_problem_after_seconds(
    watch: Watch, redis_server: RedisServer, clock: MovableClock
) -> None:
    redis_server.kill()
    clock.advance(UNKNOWN_AFTER)
    assert problem(watch) == ""
    clock.advance(1)
    assert "has not said" in problem(watch)
    redis_server.start()
    assert problem(watch) == ""


def test_before_the_first_look_nothing_is_known_and_that_is_a_problem(redis_server: RedisServer, clock: MovableClock) -> None:
    with pytest.raises(Unavailable):
        Watch(redis_server.url, clock=clock).check()


def test_of_an_embedded_store_there_is_nothing_to_say(clock: MovableClock) -> None:
    watch = Watch(None, clock=clock)
    watch.start()
    watch.check()
    clock.advance(UNKNOWN_AFTER * 2)
    assert watch.problem() == ""
    watch.close()


def test_it_looks_by_itself_until_it_is_closed(redis_server: RedisServer) -> None:
    watch = Watch(redis_server.url, clock=MovableClock())
    watch.start()
    eventually(lambda: watch.problem() == "")
    watch.close()


async def test_a_nearly_full_store_gives_no_token_and_no_task_and_goes_on_taking_away(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """`DESIGN.md` 5: issuing 503; revocation, beat and ending go on."""
    backend = redis_backend(redis_server.url)
    world = World(tmp_path / "world", backend, changes={"redis_url": redis_server.url})
    world.follow()
    world.broker.watch.step()
    issued = [await world.issue() for _ in range(2)]
    redis_server.call("CONFIG", "SET", "maxmemory", int(int(redis_server.call("INFO", "memory")["used_memory"]) * 1.05))
    world.broker.watch.step()
    for asked in (world.issue(), world.declare()):
        with pytest.raises(Unavailable, match="readyz"):
            await asked
    await world.revoke(lease=issued[0].lease_id)
    await world.broker.revocation.end_task(issued[1].task_id, "cancelled", ADMIN)
    world.follow()
    assert world.broker.streams.picture.seq == 2
    await asyncio.to_thread(world.broker.watch.close)
    await backend.close()
