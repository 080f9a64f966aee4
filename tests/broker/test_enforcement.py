"""How far a revocation has come: enforced is acknowledged, fenced is proved by time, and everything else is open."""

from pathlib import Path

import pytest

from broker import enforcement
from broker.enforcement import Affected
from broker.errors import NotFound, Unavailable
from broker.feed.acknowledgements import ANONYMOUS
from broker.revocation import Revoked
from scopes.revocations import MAX_AHEAD
from tests.broker.acknowledging import FIRST, SECOND, acknowledge
from tests.broker.world import CRM, KB, OFFSET, REGISTRY, Backend, World

BOUND = 30_000
"""The longest staleness bound of both services, in milliseconds."""


async def revoke(world: World, **selector: str) -> Revoked:
    revoked = await world.revoke(**(selector or {"resource": "crm:ticket"}))
    world.follow()
    return revoked


async def affected(world: World, revoked: Revoked) -> list[Affected]:
    return (await world.broker.enforcement.of(revoked.id)).affected


async def states(world: World, revoked: Revoked) -> dict[str, str]:
    found = await affected(world, revoked)
    return {one.process.id if one.process else f"unknown of {one.service}": one.state for one in found}


async def test_who_has_acknowledged_the_event_enforces_it_and_the_others_are_open(world: World) -> None:
    await acknowledge(world, FIRST)
    await acknowledge(world, SECOND)
    revoked = await revoke(world)
    assert await states(world, revoked) == {FIRST: "open", SECOND: "open"}
    await acknowledge(world, FIRST)
    assert await states(world, revoked) == {FIRST: "enforced", SECOND: "open"}


async def test_a_later_place_covers_every_event_before_it(world: World) -> None:
    revoked = await revoke(world)
    await revoke(world)
    await acknowledge(world)
    assert await states(world, revoked) == {FIRST: "enforced"}


async def test_the_delay_is_from_commit_to_the_first_acknowledgement_that_covers_the_event(world: World) -> None:
    await acknowledge(world)
    revoked = await revoke(world)
    world.advance(250)
    await acknowledge(world)
    world.advance(60_000)
    await revoke(world)
    await acknowledge(world)
    (one,) = await affected(world, revoked)
    assert one.delay is not None
    assert 250 <= one.delay < 10_250


async def test_a_process_that_began_later_was_never_late(world: World) -> None:
    revoked = await revoke(world)
    world.advance(1_000)
    await acknowledge(world)
    (one,) = await affected(world, revoked)
    assert (one.state, one.delay) == ("enforced", None)


async def test_a_delay_that_is_not_kept_any_more_is_not_invented(world: World) -> None:
    await acknowledge(world)
    revoked = await revoke(world)
    for _ in range(33):
        await revoke(world)
        await acknowledge(world)
    (one,) = await affected(world, revoked)
    assert (one.state, one.delay) == ("enforced", None)


async def test_who_has_not_acknowledged_is_fenced_when_no_picture_without_the_event_can_be_fresh(world: World) -> None:
    """A picture vouched for after the commit holds the event. However fresh a process was last heard to be, its bound has
    to pass since the commit: it may have heard a heartbeat after that without acknowledging it."""
    await acknowledge(world)
    world.advance(60_000)
    revoked = await revoke(world)
    (one,) = await affected(world, revoked)
    committed = (await world.broker.enforcement.of(revoked.id)).logged.committed
    assert (one.state, one.fenced_at) == ("open", committed + BOUND + MAX_AHEAD)
    world.clock.advance(BOUND)
    assert await states(world, revoked) == {FIRST: "open"}
    world.clock.advance(MAX_AHEAD + 1)
    assert await states(world, revoked) == {FIRST: "fenced"}


async def test_the_end_of_a_key_fences_nobody(world: World) -> None:
    """Whoever stole it signs tokens that bear any staleness."""
    await acknowledge(world)
    revoked = await revoke(world, key="stolen")
    world.advance(200_000)
    assert [(one.state, one.fenced_at) for one in await affected(world, revoked)] == [("open", None)] * 2
    await acknowledge(world)
    assert (await states(world, revoked))[FIRST] == "enforced"


async def test_the_longest_bound_of_the_service_decides(tmp_path: Path, backend: Backend) -> None:
    short = REGISTRY.replace('level = "read",    max_ttl', 'level = "read", max_staleness = 4, max_ttl')
    world = World(tmp_path, backend, registry=short.replace('level = "draft",', 'level = "draft", max_staleness = 5,'))
    world.follow()
    await acknowledge(world)
    revoked = await revoke(world)
    logged = (await world.broker.enforcement.of(revoked.id)).logged
    assert [one.fenced_at - logged.committed for one in await affected(world, revoked)] == [5_000 + MAX_AHEAD]


async def test_a_service_without_actions_has_the_longest_default(tmp_path: Path, backend: Backend) -> None:
    empty = '[services.log]\naudience = "https://log.test"\nenvironment = "prod"\nowner = "o@example.com"\n'
    world = World(tmp_path, backend, registry=REGISTRY + empty)
    world.follow()
    revoked = await revoke(world, resource="log")
    logged = (await world.broker.enforcement.of(revoked.id)).logged
    assert [one.fenced_at - logged.committed for one in await affected(world, revoked)] == [BOUND + MAX_AHEAD]


async def test_nobody_is_said_to_be_fenced_by_a_clock_of_the_store_that_is_ahead(world: World) -> None:
    await acknowledge(world)
    revoked = await revoke(world)
    world.backend.client.set(OFFSET, 3_600_000)
    with pytest.raises(Unavailable, match="ahead"):
        await world.broker.enforcement.of(revoked.id)


async def test_a_fenced_process_that_comes_back_enforces(world: World) -> None:
    await acknowledge(world)
    revoked = await revoke(world)
    world.advance(BOUND + MAX_AHEAD + 1)
    await acknowledge(world)
    assert await states(world, revoked) == {FIRST: "enforced"}


async def test_a_service_of_which_nobody_is_known_is_open_and_then_fenced(world: World) -> None:
    """Nothing is said to be enforced where nobody was listening (TRAPS 19)."""
    revoked = await revoke(world)
    assert await states(world, revoked) == {"unknown of crm": "open"}
    world.clock.advance(BOUND + MAX_AHEAD + 1)
    assert await states(world, revoked) == {"unknown of crm": "fenced"}


async def test_a_service_of_which_not_everybody_can_be_known_has_a_line_for_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enforcement, "MOST_PROCESSES", 2)
    revoked = await revoke(world)
    await acknowledge(world, FIRST)
    await acknowledge(world, SECOND)
    assert await states(world, revoked) == {FIRST: "enforced", SECOND: "enforced", "unknown of crm": "open"}


async def test_only_the_services_that_an_event_concerns_are_affected(world: World) -> None:
    await acknowledge(world)
    await acknowledge(world, SECOND, aud=KB)
    assert await states(world, await revoke(world)) == {FIRST: "open"}
    assert await states(world, await revoke(world, resource="kb")) == {SECOND: "open"}
    assert await states(world, await revoke(world, agent="support-bot")) == {FIRST: "open", SECOND: "open"}


async def test_a_process_that_left_is_not_waited_for(world: World) -> None:
    await acknowledge(world, FIRST)
    await acknowledge(world, SECOND)
    revoked = await revoke(world)
    await acknowledge(world, FIRST, leaving=True)
    assert await states(world, revoked) == {SECOND: "open"}


async def test_a_process_that_is_only_heard_enforces_nothing(world: World) -> None:
    """Whoever lies about the future does not enforce what comes then."""
    await acknowledge(world, seq=1, id="evt_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    await acknowledge(world, SECOND, epoch="7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
    revoked = await revoke(world)
    assert await states(world, revoked) == {FIRST: "open", SECOND: "open"}


async def test_an_event_of_an_earlier_epoch_is_not_followed_any_more(world: World) -> None:
    revoked = await revoke(world)
    for name in world.backend.client.keys("ab:{feed}:[el]*"):
        world.backend.client.delete(name)
    world.follow()
    with pytest.raises(NotFound, match="a new epoch began"):
        await world.broker.enforcement.of(revoked.id)


async def test_anonymous_processes_count_only_where_anyone_may_follow(tmp_path: Path, backend: Backend) -> None:
    """Whoever was believed before the setting was changed is not believed after."""
    open_world = World(tmp_path, backend, changes={"feed_access": "anyone"})
    open_world.follow()
    await acknowledge(open_world, workload=ANONYMOUS)
    closed = World(tmp_path, backend, changes={"feed_access": "workloads"}, clock=open_world.clock)
    closed.follow()
    revoked = await revoke(closed)
    assert await states(open_world, revoked) == {FIRST: "open"}
    assert await states(closed, revoked) == {"unknown of crm": "open"}
    assert (await closed.broker.enforcement.verifiers())[1] == []


async def test_every_process_of_every_service_is_known(world: World) -> None:
    await acknowledge(world, SECOND, aud=KB)
    await acknowledge(world)
    position, known = await world.broker.enforcement.verifiers()
    assert (position.epoch, position.seq) == (world.broker.streams.picture.epoch, 0)
    assert [(one.service, one.audience, one.process.id) for one in known] == [("crm", CRM, FIRST), ("kb", KB, SECOND)]
