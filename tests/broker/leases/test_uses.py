"""Uses of a lease: counted in one step with their record, each once by its id, and never more than there may be."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import Record
from broker.errors import AlreadyUsed, BrokerError, Unavailable
from broker.leases import Leases, NewLease, NewUse
from broker.store import key, shard_of
from scopes import ulid
from scopes.clock import SystemClock
from tests.broker.leases.written import written
from tests.broker.recorded import kinds_recorded
from tests.broker.redis_server import RedisServer
from tests.broker.world import World, fake_backend

USES = [ulid.new(number) for number in range(5)]
UNKNOWN = "lse_01JE0000000000000000000007"
LATE = 2**52


def new_use(world: World, lease: str, use: str, *, most: int = 1, expires: int = LATE) -> NewUse:
    return NewUse(lease, use, most, expires, world.broker.audit.encode(Record(kind="token.used", lease=lease, use=use)))


async def consumed(world: World, lease: str, use: str, *, most: int = 1, expires: int = LATE) -> str:
    """Have a use counted, and tell what came of it."""
    try:
        await world.broker.leases.consume(new_use(world, lease, use, most=most, expires=expires))
    except BrokerError as error:
        return error.code
    return "used"


@pytest.fixture
async def lease(world: World) -> NewLease:
    return await written(world, await world.declare())


async def test_a_use_is_counted_once_and_told_the_same_again(world: World, lease: NewLease) -> None:
    """A service that times out asks again, and must not hear that somebody else was first (TRAPS 15a)."""
    assert [await consumed(world, lease.id, USES[0]) for _ in range(3)] == ["used"] * 3
    assert await consumed(world, lease.id, USES[1]) == "already_used"
    assert await consumed(world, lease.id, USES[0]) == "used"


async def test_as_many_uses_are_counted_as_there_may_be(world: World, lease: NewLease) -> None:
    outcomes = [await consumed(world, lease.id, use, most=3) for use in USES]
    assert outcomes == ["used"] * 3 + ["already_used"] * 2


async def test_a_use_and_its_record_are_written_together_and_once(world: World, lease: NewLease) -> None:
    for use in (USES[0], USES[0], USES[1]):
        await consumed(world, lease.id, use)
    assert (await kinds_recorded(world)).count("token.used") == 1


async def test_leases_are_counted_by_themselves(world: World, lease: NewLease) -> None:
    other = await written(world, await world.declare())
    assert [await consumed(world, id, USES[0]) for id in (lease.id, other.id)] == ["used", "used"]


async def test_a_hundred_uses_at_once_are_one(world: World, neighbour: World, lease: NewLease) -> None:
    """Counted without atomicity all of them would pass (TRAPS 15), here over two workers."""
    uses = [ulid.new(number) for number in range(100)]
    workers = [world, neighbour] * 50
    asked = (consumed(worker, lease.id, use) for worker, use in zip(workers, uses, strict=True))
    outcomes = await asyncio.gather(*asked)
    assert (outcomes.count("used"), outcomes.count("already_used")) == (1, 99)
    assert (await kinds_recorded(world)).count("token.used") == 1


@pytest.mark.parametrize("how", ["revoked", "undone"])
async def test_a_lease_that_ended_has_no_uses_left(world: World, lease: NewLease, how: str) -> None:
    await consumed(world, lease.id, USES[0], most=3)
    await world.broker.leases.end([lease.id], how)
    assert [await consumed(world, lease.id, use, most=3) for use in USES[:2]] == ["revoked", "revoked"]


async def test_a_lease_whose_time_is_over_by_the_stores_clock_has_no_uses_left(world: World, lease: NewLease) -> None:
    """Also those that were counted before: what is over is not done any more."""
    await consumed(world, lease.id, USES[0], most=3)
    world.advance(300_000)
    assert [await consumed(world, lease.id, use, most=3) for use in USES[:2]] == ["expired", "expired"]


async def test_a_lease_that_is_over_and_swept_or_ended_is_told_by_its_time(world: World, lease: NewLease) -> None:
    await world.broker.leases.end([lease.id], "revoked")
    world.advance(300_000)
    assert await consumed(world, lease.id, USES[0]) == "expired"


@pytest.mark.parametrize("id", [UNKNOWN, "x", "lse_01JE0000000000000000000099"])
async def test_a_lease_that_nobody_knows_has_no_uses(world: World, id: str) -> None:
    """It ended, or the store forgot it; either way it is not in force."""
    assert await consumed(world, id, USES[0]) == "revoked"


async def test_a_lease_that_was_forgotten_long_after_its_end_is_told_to_have_expired(world: World) -> None:
    assert await consumed(world, UNKNOWN, USES[0], expires=world.clock.now().wall - 1_000) == "expired"


async def test_uses_are_forgotten_by_a_broom_long_after_their_lease(world: World, lease: NewLease) -> None:
    """No decision rests on it: by then the lease says that it has expired."""
    await consumed(world, lease.id, USES[0])
    left = world.backend.client.pttl(key(shard_of("support-bot"), "uses", lease.id))
    assert 3_600_000 < left <= 7_200_000


async def test_uses_that_were_swept_away_too_early_do_not_revive_what_is_over(world: World, lease: NewLease) -> None:
    await consumed(world, lease.id, USES[0])
    world.backend.client.delete(key(shard_of("support-bot"), "uses", lease.id))
    world.advance(300_000)
    assert await consumed(world, lease.id, USES[1]) == "expired"


async def test_a_script_whose_answer_was_lost_may_be_asked_again(repeating_world: World) -> None:
    """TRAPS 21b: the client library asked one script three times."""
    lease = await written(repeating_world, await repeating_world.declare())
    assert [await consumed(repeating_world, lease.id, use) for use in USES[:2]] == ["used", "already_used"]
    assert (await kinds_recorded(repeating_world)).count("token.used") == 1


async def test_a_full_store_counts_nothing_and_lets_nobody_pass(own_world: World, redis_server: RedisServer) -> None:
    lease = await written(own_world, await own_world.declare())
    redis_server.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(Unavailable):
        await own_world.broker.leases.consume(new_use(own_world, lease.id, USES[0]))
    redis_server.call("CONFIG", "SET", "maxmemory", 0)
    assert [await consumed(own_world, lease.id, use) for use in (USES[1], USES[0])] == ["used", "already_used"]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.lists(st.lists(st.sampled_from(USES), max_size=6), max_size=5))
def test_whatever_order_uses_come_in_no_more_than_the_maximum_pass_and_each_hears_the_same_for_ever(
    most: int, rounds: list[list[str]]
) -> None:
    """Rounds of uses at once, over two workers: the model is a set that is closed when it is full."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check_played(Path(folder), most, rounds))


async def check_played(folder: Path, most: int, rounds: list[list[str]]) -> None:
    backend = fake_backend()
    leases = [Leases(backend.stores.shared) for _ in range(2)]
    id, now = Leases.new_id("bot", now=0), SystemClock().now().wall // 1000
    backend.client.hset(key(shard_of("bot"), "leases"), id, f"{now} 300 live whatever else stands here")
    passed: set[str] = set()
    refused: set[str] = set()
    for uses in rounds:
        asked = [leases[number % 2].consume(NewUse(id, use, most, LATE, b"{}")) for number, use in enumerate(uses)]
        for use, outcome in zip(uses, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            assert outcome is None or isinstance(outcome, AlreadyUsed), outcome
            (passed if outcome is None else refused).add(use)
    assert len(passed) == min(most, len(passed | refused))
    assert not passed & refused
    await backend.close()
