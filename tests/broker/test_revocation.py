"""Taking away: one event ends everything a selector hits, known or not, and nothing is called done that is not."""

import pytest

from broker.endings import MAX_REASON
from broker.errors import InvalidRequest, NotFound, Unavailable
from broker.feed.event import GRACE, LONGEST_LIFE
from broker.selector import Selector
from tests.broker.ended import is_ended, status_of, told
from tests.broker.recorded import recorded
from tests.broker.redis_server import RedisServer
from tests.broker.world import ADMIN, BOT, CRM, KB, OTHER, World

KB_SCOPE = "kb:article/1#read"
UNKNOWN_LEASE = "lse_01JE0000000000000000000007"
UNKNOWN_TASK = "tsk_01JE0000000000000000000007"


@pytest.mark.parametrize(
    "selector",
    [
        {"agent": "support-bot"},
        {"instance": BOT},
        {"owner": "jane@example.com"},
        {"resource": "crm"},
        {"resource": "crm:ticket"},
        {"resource": "crm:ticket/4711"},
        {"all": True},
    ],
)
async def test_a_revocation_ends_what_was_issued_before_it_and_nothing_after(world: World, selector: dict) -> None:
    """Order by position (TRAPS 23a): what is asked for afterwards is another decision."""
    before = await world.issue()
    await world.revoke(**selector)
    assert is_ended(world, before)
    assert not is_ended(world, await world.issue())


@pytest.mark.parametrize("kind", ["lease", "task", "key"])
async def test_a_revocation_by_something_of_the_token_itself_ends_it(world: World, kind: str) -> None:
    issued, beside = (
        await world.issue(),
        await world.issue(KB_SCOPE, workload=OTHER, task=(await world.declare(workload=OTHER)).id),
    )
    value = {"lease": issued.lease_id, "task": issued.task_id, "key": world.broker.keys.token.kid}[kind]
    await world.revoke(**{kind: value})
    assert is_ended(world, issued)
    assert is_ended(world, beside) == (kind == "key")


@pytest.mark.parametrize(
    "selector",
    [
        {"agent": "other-bot"},
        {"instance": OTHER},
        {"owner": "joe@example.com"},
        {"resource": "crm:ticket/47"},
        {"resource": "kb"},
        {"user": "corp:jane"},
        {"lease": UNKNOWN_LEASE},
        {"task": UNKNOWN_TASK},
    ],
)
async def test_a_revocation_of_something_else_ends_nothing_here(world: World, selector: dict) -> None:
    """One bad instance must not lock the whole fleet (TRAPS 25); a prefix ends at a segment (TRAPS 16)."""
    issued = await world.issue()
    await world.revoke(**selector)
    assert not is_ended(world, issued)


async def test_one_bad_instance_is_stopped_and_its_fleet_goes_on(world: World) -> None:
    """TRAPS 25."""
    pods = [f"spiffe://development.test/pod/other-bot/{number}" for number in (1, 2)]
    issued = [await world.issue(KB_SCOPE, workload=pod, task=(await world.declare(workload=pod)).id) for pod in pods]
    await world.revoke(instance=pods[0])
    assert [is_ended(world, each) for each in issued] == [True, False]


async def test_what_one_worker_issued_is_revoked_through_another(world: World, neighbour: World) -> None:
    issued = await world.issue()
    neighbour.follow()
    await neighbour.revoke(lease=issued.lease_id)
    assert is_ended(world, issued)
    assert await status_of(world, issued) == await status_of(neighbour, issued) == "revoked"


async def test_a_revocation_that_comes_before_the_token_holds_when_the_token_arrives(world: World, neighbour: World) -> None:
    """Unseen tokens (TRAPS 23): this worker lags, so what it issues now was dead before it left."""
    await neighbour.revoke(agent="support-bot")
    issued = await world.issue()
    assert is_ended(neighbour, issued)


async def test_the_end_of_an_unknown_lease_is_committed_for_everybody_and_says_that_nothing_matched(world: World) -> None:
    revoked = await world.revoke(lease=UNKNOWN_LEASE)
    assert revoked.matched == 0
    for audience in (CRM, KB):
        assert [(event.kind, event.value) for event in told(world, audience)] == [("lease", UNKNOWN_LEASE)]


async def test_the_end_of_a_known_lease_is_told_to_its_service_only_and_for_as_long_as_it_matters(world: World) -> None:
    issued = await world.issue()
    revoked = await world.revoke(lease=issued.lease_id)
    (event,) = told(world, CRM)
    lease = await world.broker.leases.find(issued.lease_id, world.broker.streams.picture)
    assert (event.id, event.seq) == (revoked.id, revoked.seq)
    assert event.until == lease.times.expires * 1000 + GRACE
    assert told(world, KB) == []


async def test_the_end_of_a_resource_is_told_to_its_service_only_and_for_as_long_as_any_token_can_live(world: World) -> None:
    before = world.clock.now().wall
    await world.revoke(resource="crm:ticket/4711")
    (event,) = told(world, CRM)
    assert before + LONGEST_LIFE + GRACE <= event.until <= world.clock.now().wall + LONGEST_LIFE + GRACE
    assert told(world, KB) == []


async def test_the_end_of_a_resource_that_is_in_no_catalogue_is_told_to_all(world: World) -> None:
    """A service that left the catalogue may still hold tokens."""
    await world.revoke(resource="gone:thing/1")
    assert len(told(world, CRM)) == len(told(world, KB)) == 1


async def test_a_revocation_counts_what_it_ends_where_that_needs_no_look_at_each(world: World) -> None:
    issued = [await world.issue() for _ in range(3)]
    other = await world.declare(workload=OTHER)
    await world.issue(KB_SCOPE, workload=OTHER, task=other.id)
    matched = {
        "lease": (await world.revoke(lease=issued[0].lease_id)).matched,
        "task": (await world.revoke(task=issued[0].task_id)).matched,
        "agent": (await world.revoke(agent="other-bot")).matched,
        "owner": (await world.revoke(owner="joe@example.com")).matched,
        "resource": (await world.revoke(resource="crm")).matched,
        "all": (await world.revoke(all=True)).matched,
    }
    assert matched == {"lease": 1, "task": 2, "agent": 1, "owner": 1, "resource": None, "all": 3}


@pytest.mark.usefixtures("patient")
async def test_a_revocation_is_one_write_however_many_leases_it_ends(world: World) -> None:
    """Mass revocation that enumerates leases blocks everything (TRAPS 22)."""
    for _ in range(20):
        await world.issue()
    committed = await world.revoke(all=True)
    assert (committed.seq, committed.epoch) == (1, world.broker.streams.picture.epoch)
    assert len(told(world, CRM)) == 1


async def test_an_owner_of_several_agents_loses_the_tokens_of_each(world: World) -> None:
    issued = await world.issue()
    content = world.registry.content
    content.agents["other-bot"] = content.agents["support-bot"]
    await world.revoke(owner="jane@example.com")
    assert {event.value for event in told(world, CRM)} == {"support-bot", "other-bot"}
    assert is_ended(world, issued)


async def test_an_owner_nobody_knows_is_not_found(world: World) -> None:
    """A revocation that ends nothing because of a slip of the pen must not look like one that did (TRAPS 19)."""
    with pytest.raises(NotFound):
        await world.revoke(owner="jame@example.com")


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"lease": "a", "agent": "b"},
        {"all": False},
        {"all": True, "agent": "b"},
        {"agent": ""},
        {"resource": "crm:ticket/*"},
        {"resource": "CRM"},
        {"resource": "crm:ticket/../4711"},
    ],
)
async def test_a_selector_names_exactly_one_thing(world: World, selector: dict) -> None:
    with pytest.raises(InvalidRequest):
        await world.revoke(**selector)
    assert told(world, CRM) == []


@pytest.mark.parametrize("reason", ["", "x" * (MAX_REASON + 1)])
async def test_a_revocation_says_why_in_bounds(world: World, reason: str) -> None:
    with pytest.raises(InvalidRequest):
        await world.broker.revocation.revoke(Selector(all=True), reason, ADMIN)


async def test_a_revocation_is_recorded_with_who_and_why(world: World) -> None:
    await world.revoke("it was\nleaked", agent="support-bot")
    record = (await recorded(world))[-1].record
    assert (record.kind, record.operator, record.selector, record.said) == (
        "revocation",
        "admin",
        "agent:support-bot",
        "it was\nleaked",
    )


async def test_a_revocation_that_cannot_be_committed_is_never_answered_as_done(
    own_world: World, redis_server: RedisServer
) -> None:
    """`revoked` reported as success when it failed (TRAPS 19)."""
    redis_server.kill()
    with pytest.raises(Unavailable):
        await own_world.revoke(all=True)


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_knows_too_little_revokes_nothing_and_says_so(world: World) -> None:
    """It might write for an epoch that is over; another worker, or the next try, does it."""
    world.clock.advance(1_001)
    with pytest.raises(Unavailable):
        await world.revoke(all=True)


async def test_leases_that_a_bulk_revocation_ended_are_marked_once_for_each_place_of_the_log(world: World, monkeypatch) -> None:
    issued = await world.issue()
    await world.revoke(agent="support-bot")
    world.follow()
    epoch = world.broker.streams.picture.epoch
    assert await world.broker.leases.count_live(epoch, "support-bot") == 1
    await world.broker.settling.settle()
    assert await world.broker.leases.count_live(epoch, "support-bot") == 0
    assert await status_of(world, issued) == "revoked"
    monkeypatch.setattr(world.broker.leases, "settle", None)
    await world.broker.settling.settle()


async def test_settling_that_broke_off_is_done_again(world: World, monkeypatch) -> None:
    await world.issue()
    await world.revoke(agent="support-bot")
    world.follow()

    async def fail(*_) -> None:
        raise Unavailable("lost")

    with monkeypatch.context() as away:
        away.setattr(world.broker.leases, "settle", fail)
        with pytest.raises(Unavailable):
            await world.broker.settling.settle()
    await world.broker.settling.settle()
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch, "support-bot") == 0


async def test_a_worker_whose_clock_jumped_forward_ends_nothing_of_its_own_accord(world: World) -> None:
    """The clock jumping forward revoking everything (TRAPS 24): leases and tasks end by the store's time."""
    issued = await world.issue()
    world.clock._offset += 7_200_000
    with pytest.raises(Unavailable):
        await world.broker.settling.settle()
    await world.broker.scheduler.expire_leases()
    await world.broker.revocation.end_due_tasks()
    assert (await world.broker.tasks.find(issued.task_id)).is_open
    world.clock._offset -= 7_200_000
    world.follow()
    assert await status_of(world, issued) == "live"
