"""A use of a token is counted for its own service, once, and never in a store that is not the one the token belongs to."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.audit import Record
from broker.errors import AccessDenied, AlreadyUsed, Expired, InvalidRequest, NotFound, Revoked, Unavailable
from broker.registry.registry import Registry
from broker.store import feed_key
from scopes import jose
from scopes.claims import TOKEN_TYPE
from tests.broker.counted import KB_WORKLOAD, ONCE, REGISTRY, THRICE, UNCOUNTED, consume, counted_world, new_use
from tests.broker.front import STRANGER
from tests.broker.recorded import recorded
from tests.broker.redis_server import RedisServer
from tests.broker.test_inquiry import ENDS, HOSTILE, claims_of
from tests.broker.world import BOT, CRM_WORKLOAD, Backend, World, neighbour_of, redis_backend

ONE, OTHER = new_use(), new_use()


@pytest_asyncio.fixture
async def world(tmp_path: Path, backend: Backend) -> World:
    return await counted_world(tmp_path, backend)


@pytest_asyncio.fixture
async def own_world(tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[World]:
    """The same on a redis-server of this test alone."""
    backend = redis_backend(redis_server.url)
    yield await counted_world(tmp_path, backend)
    await backend.close()


async def records(world: World, kind: str) -> list[Record]:
    return [entry.record for entry in await recorded(world) if entry.record.kind == kind]


async def check_refused(world: World, kind: type[Exception], issued: Any, use: str = ONE, **options: Any) -> None:
    with pytest.raises(kind):
        await consume(world, issued, use, **options)


# Counting


async def test_a_token_says_how_often_it_may_be_used(world: World) -> None:
    said = [claims_of((await world.issue(scope)).access_token).lease for scope in (ONCE, THRICE, UNCOUNTED)]
    assert [(lease.single_use, lease.max_uses) for lease in said] == [(True, None), (False, 3), (False, None)]


async def test_the_first_use_is_counted_and_told_again_and_a_second_is_refused(world: World) -> None:
    issued = await world.issue(ONCE)
    assert [await consume(world, issued, ONE) for _ in range(2)] == [issued.lease_id] * 2
    await check_refused(world, AlreadyUsed, issued, OTHER)
    assert await consume(world, issued, ONE) == issued.lease_id


async def test_a_token_that_may_be_used_so_often_is_counted_so_far(world: World) -> None:
    issued, uses = await world.issue(THRICE), [new_use() for _ in range(4)]
    for use in uses[:3]:
        await consume(world, issued, use)
    await check_refused(world, AlreadyUsed, issued, uses[3])
    assert await consume(world, issued, uses[0]) == issued.lease_id


async def test_a_token_asked_for_again_by_its_idempotency_key_is_the_same_to_be_used_once(world: World) -> None:
    """It is the lease that is counted, and not the text of a token."""
    first, again = [await world.issue(ONCE, idempotency_key="payment 17") for _ in range(2)]
    await consume(world, first, ONE)
    await check_refused(world, AlreadyUsed, again, OTHER)


async def test_a_use_is_recorded_with_who_used_what_for_whom(world: World) -> None:
    """J1: once, however often it is asked for."""
    issued = await world.issue(ONCE)
    for _ in range(2):
        await consume(world, issued, ONE)
    (record,) = await records(world, "token.used")
    assert (record.agent, record.workload, record.lease, record.use) == ("support-bot", CRM_WORKLOAD, issued.lease_id, ONE)
    assert (record.scope, record.task, record.reason) == (issued.scope, issued.task_id, None)


async def test_a_use_that_is_refused_is_recorded_with_the_reason(world: World) -> None:
    issued = await world.issue(ONCE)
    await consume(world, issued, ONE)
    await check_refused(world, AlreadyUsed, issued, OTHER)
    await check_refused(world, NotFound, issued, OTHER, workload=KB_WORKLOAD)
    said = [(record.reason, record.workload, record.use) for record in await records(world, "token.use_refused")]
    assert said == [("already_used", CRM_WORKLOAD, OTHER), ("not_found", KB_WORKLOAD, OTHER)]


async def test_no_token_is_in_a_record_or_a_refusal(world: World) -> None:
    """I7."""
    issued = await world.issue(ONCE)
    await consume(world, issued, ONE)
    with pytest.raises(AlreadyUsed) as error:
        await consume(world, issued, OTHER)
    written = [str(entry) for entry in await recorded(world)] + [str(error.value)]
    assert not any(part in text for part in issued.access_token.split(".") for text in written)


# Whose it is


@pytest.mark.parametrize("workload", [BOT, STRANGER], ids=["the agent itself", "a stranger"])
async def test_whoever_is_no_service_consumes_nothing(world: World, workload: str) -> None:
    """A single-use token burnt by whoever saw it (TRAPS 15a)."""
    issued = await world.issue(ONCE)
    await check_refused(world, AccessDenied, issued, OTHER, workload=workload)
    assert await consume(world, issued, ONE) == issued.lease_id


async def test_another_services_token_is_as_unknown_as_one_that_never_was(world: World) -> None:
    issued = await world.issue(ONCE)
    with pytest.raises(NotFound) as foreign:
        await consume(world, issued, OTHER, workload=KB_WORKLOAD)
    with pytest.raises(NotFound) as invented:
        await consume(world, "x", OTHER, workload=KB_WORKLOAD)
    assert str(foreign.value) == str(invented.value)
    assert await consume(world, issued, ONE) == issued.lease_id


async def test_a_service_that_policy_does_not_let_consume_consumes_nothing(tmp_path: Path, backend: Backend) -> None:
    """Absent means no."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.cedar").write_text(
        '@id("no") forbid (principal, action == Action::"token:consume", resource);'
    )
    world = await counted_world(tmp_path, backend)
    await check_refused(world, AccessDenied, await world.issue(ONCE))


async def test_a_token_that_is_not_counted_is_told_to_need_no_consuming(world: World) -> None:
    await check_refused(world, InvalidRequest, await world.issue(UNCOUNTED))
    assert await records(world, "token.use_refused") == []


# What is over, and what is none


@pytest.mark.parametrize("how", ENDS)
async def test_a_token_that_is_over_is_not_used_any_more(world: World, how: str) -> None:
    """Also not again: whoever asks after its end under the id that was counted is told of the end."""
    issued = await world.issue(ONCE)
    await consume(world, issued, ONE)
    await ENDS[how](world, issued.access_token)
    world.follow()
    await check_refused(world, Expired if how == "it has expired" else Revoked, issued)


async def test_what_the_picture_has_ended_is_not_asked_of_the_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture first, the lease second (`DESIGN.md` 3.5)."""
    issued = await world.issue(ONCE)
    await world.revoke(agent="support-bot")
    world.follow()
    monkeypatch.setattr(world.broker.leases, "consume", None)
    await check_refused(world, Revoked, issued)


async def test_a_token_that_is_revoked_while_it_is_counted_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    issued, counted = await world.issue(ONCE), world.broker.leases.consume

    async def revoked_meanwhile(*asked: Any) -> None:
        await counted(*asked)
        await world.revoke(agent="support-bot")
        world.follow()

    monkeypatch.setattr(world.broker.leases, "consume", revoked_meanwhile)
    await check_refused(world, Revoked, issued)


@pytest.mark.parametrize("name", [name for name in HOSTILE if "never was" not in name and "no shape" not in name])
async def test_what_is_no_token_of_this_service_has_no_uses(world: World, name: str) -> None:
    """Neither of them is a use of the good token that it was made from."""
    issued = await world.issue(ONCE)
    await check_refused(world, NotFound, HOSTILE[name](world)(issued.access_token), OTHER)
    assert await consume(world, issued, ONE) == issued.lease_id


@pytest.mark.parametrize("name", ["a lease that never was", "a lease of no shape"])
async def test_a_token_without_a_lease_has_no_uses(world: World, name: str) -> None:
    issued = await world.issue(ONCE)
    await check_refused(world, Revoked, HOSTILE[name](world)(issued.access_token))


# When nobody can tell


async def test_a_worker_that_knows_nothing_fresh_counts_nothing(world: World, impatient: None) -> None:
    issued = await world.issue(ONCE)
    world.clock.advance(1_500)
    await check_refused(world, Unavailable, issued, OTHER)
    world.follow()
    assert await consume(world, issued, ONE) == issued.lease_id


async def test_a_token_of_an_epoch_to_come_is_not_judged(world: World) -> None:
    issued = await world.issue(ONCE)
    payload = json.loads(jose.read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    payload["lease"]["epoch"] = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
    later = jose.write(json.dumps(payload).encode(), type=TOKEN_TYPE, key=world.broker.keys.token)
    await check_refused(world, Unavailable, later)


async def test_a_store_with_a_problem_counts_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that may evict could forget a use before its token is over."""
    issued = await world.issue(ONCE)
    monkeypatch.setattr(world.broker.watch, "problem", lambda: "maxmemory-policy is allkeys-lru")
    await check_refused(world, Unavailable, issued)


async def test_a_store_that_is_down_counts_nothing(own_world: World, redis_server: RedisServer) -> None:
    """Redis down: fall back to memory, or *allow* (TRAPS 20)."""
    issued = await own_world.issue(ONCE)
    redis_server.kill()
    await check_refused(own_world, Unavailable, issued)


async def test_a_use_whose_answer_was_lost_is_counted_once_and_told_when_it_is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRAPS 15a: 503 at first, then 200 under the same id, and 409 under every other."""
    issued, store = await world.issue(ONCE), world.backend.stores.shared
    run: Callable[..., Any] = store.run

    async def lost(*asked: Any) -> Any:
        await run(*asked)
        raise Unavailable("the store did not confirm", retry_after=1)

    with monkeypatch.context() as losing:
        losing.setattr(store, "run", lost)
        await check_refused(world, Unavailable, issued)
    await check_refused(world, AlreadyUsed, issued, OTHER)
    assert await consume(world, issued, ONE) == issued.lease_id
    assert len(await records(world, "token.used")) == 1


# Another life of the store


async def test_a_worker_that_has_not_heard_of_a_new_epoch_lets_nobody_pass(world: World) -> None:
    """Another worker noticed that the store was rolled back; this one still decides by its picture."""
    issued = await world.issue(ONCE)
    await consume(world, issued, ONE)
    key = f"ab:{{s{issued.lease_id[-2:]}}}:uses:{issued.lease_id}"
    world.backend.client.delete(key)
    world.backend.client.hset(feed_key("epoch"), mapping={"id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "seq": 0})
    await check_refused(world, Unavailable, issued, OTHER)


async def test_a_log_that_went_back_lets_nobody_pass(world: World) -> None:
    """TRAPS 20: rolled back without a restart, to before a use. It is noticed by the place of the log."""
    issued = await world.issue(ONCE)
    before = world.backend.client.hgetall(feed_key("epoch"))
    await world.revoke(agent="other-bot")
    world.follow()
    world.backend.client.hset(feed_key("epoch"), mapping=before)
    await check_refused(world, Unavailable, issued)


@pytest.mark.parametrize("part", ["epoch", "run_id"])
async def test_a_store_without_an_epoch_or_with_another_life_lets_nobody_pass(world: World, part: str) -> None:
    issued = await world.issue(ONCE)
    if part == "epoch":
        world.backend.client.delete(feed_key("epoch"))
    else:
        world.backend.client.hset(feed_key("epoch"), "run_id", "another")
    await check_refused(world, Unavailable, issued)


async def test_a_store_that_restarted_from_a_snapshot_of_before_the_use_lets_nobody_pass(
    own_world: World, redis_server: RedisServer
) -> None:
    """TRAPS 20, 21a: the lease is there and its use is not. First nobody can tell; then the epoch is over."""
    issued = await own_world.issue(ONCE)
    redis_server.take_snapshot()
    await consume(own_world, issued, ONE)
    redis_server.kill()
    redis_server.start()
    for use in (OTHER, ONE):
        await check_refused(own_world, Unavailable, issued, use)
    own_world.follow()
    for use in (OTHER, ONE):
        await check_refused(own_world, Revoked, issued, use)


async def test_a_worker_on_a_new_connection_to_another_life_lets_nobody_pass(
    tmp_path: Path, own_world: World, redis_server: RedisServer
) -> None:
    """Its follower has not noticed yet: the life that its picture is of is compared with the one that was spoken to."""
    issued = await own_world.issue(ONCE)
    redis_server.take_snapshot()
    await consume(own_world, issued, ONE)
    other = World(tmp_path / "other", neighbour_of(own_world.backend), registry=REGISTRY)
    redis_server.kill()
    redis_server.start()
    other.follow()
    # The other worker began the next epoch. This one's connection breaks first, and then meets it.
    for _ in range(2):
        await check_refused(own_world, Unavailable, issued, OTHER)
    await other.backend.close()


# At once


async def test_a_hundred_presentations_at_once_over_two_workers_are_one_use(world: World, backend: Backend) -> None:
    """TRAPS 15."""
    other = World(world.folder, neighbour_of(backend), registry=REGISTRY, clock=world.clock)
    other.follow()
    issued = await world.issue(ONCE)
    asked = (consume([world, other][number % 2], issued, new_use()) for number in range(100))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert outcomes.count(issued.lease_id) == 1
    assert sum(isinstance(outcome, AlreadyUsed) for outcome in outcomes) == 99
    await other.backend.close()


async def test_the_registry_of_these_tests_counts_what_they_say(world: World) -> None:
    registry: Registry = world.registry
    actions = registry.content.services["crm"].resources["ticket"].actions
    counted = {name: (action.is_single_use, action.max_uses) for name, action in actions.items()}
    assert counted == {
        "read": (True, None),
        "peek": (False, 3),
        "look": (False, None),
        "draft": (False, None),
        "reply": (True, None),
    }
