"""Taking away: one event ends everything a selector hits, known or not, and nothing is called done that is not."""

import asyncio

import pytest

from broker.callers import Caller
from broker.errors import InvalidRequest, NotFound, Unavailable
from broker.feed.events import GRACE, LONGEST_LIFE
from broker.issuer import Issued
from broker.revocation import MAX_REASON, SCHEDULER, Selector
from broker.tasks.tasks import UNFINISHED_AFTER
from scopes import claims as token_claims
from scopes import jose, revocations
from scopes.claims import TOKEN_TYPE
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Event, revocable
from tests.broker.recorded import kinds_recorded, recorded
from tests.broker.redis_server import RedisServer
from tests.broker.world import ADMIN, BOT, CRM, ISSUER, KB, OTHER, World

KB_SCOPE = "kb:article/1#read"
AGENT = Caller("Agent", "support-bot", BOT)
UNKNOWN_LEASE = "lse_01JE0000000000000000000007"
UNKNOWN_TASK = "tsk_01JE0000000000000000000007"


def is_ended(world: World, issued: Issued) -> bool:
    """Tell whether a worker that has followed knows the token's end."""
    world.follow()
    claims, scope = token_claims.decode(jose.read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    picture = world.broker.streams.picture
    ended = picture.ended_by(revocable(claims, scope, world.broker.keys.token.kid)) is not None
    return ended or claims.lease.epoch < picture.epoch


def told(world: World, audience: str) -> list[Event]:
    """Return what a verifier of the audience is told."""
    world.follow()
    keys = KeySet.parse(world.broker.keys.feed_jwks, algorithms=TOKEN_ALGORITHMS)
    text = world.broker.streams.snapshot(audience)
    return list(revocations.read_snapshot(text, keys=keys, issuer=ISSUER, audience=audience).events)


async def status_of(world: World, issued: Issued) -> str:
    return (await world.broker.leases.find(issued.lease_id, world.broker.streams.picture)).status


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
    content = world.broker.registry.content
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


async def test_a_worker_that_knows_too_little_revokes_nothing_and_says_so(world: World) -> None:
    """It might write for an epoch that is over; another worker, or the next try, does it."""
    world.clock.advance(1_001)
    with pytest.raises(Unavailable):
        await world.revoke(all=True)


async def test_ending_a_task_ends_its_tokens_and_those_below_it_before_the_answer(world: World) -> None:
    """Ending a middle task reaches grandchildren that name only themselves and the root (TRAPS 23b)."""
    root = await world.declare()
    middle = await world.declare(parent=root.id)
    leaf = await world.declare(parent=middle.id)
    issued = [await world.issue(task=task.id) for task in (root, middle, leaf)]
    ended = await world.broker.revocation.end_task(middle.id, "completed", AGENT)
    assert ended.status == "completed"
    assert [is_ended(world, each) for each in issued] == [False, True, True]
    assert [await status_of(world, each) for each in issued] == ["live", "revoked", "revoked"]
    assert [(await world.broker.tasks.find(task.id)).status for task in (root, middle, leaf)] == [
        "open",
        "completed",
        "completed",
    ]


async def test_ending_a_task_tells_only_the_services_that_hold_its_tokens(world: World) -> None:
    issued = await world.issue(KB_SCOPE)
    await world.broker.revocation.end_task(issued.task_id, "completed", AGENT)
    assert [(event.kind, event.value) for event in told(world, KB)] == [("task", issued.task_id)]
    assert told(world, CRM) == []


async def test_ending_a_task_without_live_leases_says_nothing_to_anybody(world: World) -> None:
    """The feed carries what its readers need (`DESIGN.md` 8)."""
    task = await world.declare()
    issued = await world.issue(task=task.id, ttl=5)
    world.advance(5_000)
    await world.broker.revocation.end_task(task.id, "completed", AGENT)
    assert told(world, CRM) == []
    assert issued.task_id == task.id


async def test_ending_a_task_again_changes_nothing(world: World) -> None:
    issued = await world.issue()
    first = await world.broker.revocation.end_task(issued.task_id, "failed", AGENT)
    second = await world.broker.revocation.end_task(issued.task_id, "completed", AGENT)
    assert first == second
    assert first.status == "failed"
    assert len(told(world, CRM)) == 1
    assert (await kinds_recorded(world)).count("task.ended") == 1


@pytest.mark.usefixtures("patient")
async def test_a_task_ended_many_times_at_once_on_two_workers_ends_once(world: World, neighbour: World) -> None:
    issued = await world.issue()
    neighbour.follow()
    ended = await asyncio.gather(
        *(worker.broker.revocation.end_task(issued.task_id, "completed", AGENT) for worker in (world, neighbour) * 5)
    )
    assert {task.status for task in ended} == {"completed"}
    assert is_ended(world, issued)
    assert (await kinds_recorded(world)).count("task.ended") == 1


async def test_the_end_of_a_task_is_recorded_with_who_ended_it_and_how(world: World) -> None:
    tasks = [await world.declare() for _ in range(3)]
    for task, by in zip(tasks, (AGENT, ADMIN, SCHEDULER), strict=True):
        await world.broker.revocation.end_task(task.id, "cancelled", by)
    records = [entry.record for entry in await recorded(world) if entry.record.kind == "task.ended"]
    assert [(record.workload, record.operator, record.reason) for record in records] == [
        (BOT, None, "cancelled"),
        (None, "admin", "cancelled"),
        (None, None, "cancelled"),
    ]


async def test_an_unknown_task_cannot_be_ended(world: World) -> None:
    with pytest.raises(NotFound):
        await world.broker.revocation.end_task(UNKNOWN_TASK, "completed", AGENT)


@pytest.mark.usefixtures("patient")
async def test_tokens_issued_while_their_task_is_being_ended_end_with_it(world: World, neighbour: World) -> None:
    task = await world.declare()
    neighbour.follow()
    asked = [worker.issue(task=task.id) for worker in (world, neighbour) * 15]
    ending = neighbour.broker.revocation.end_task(task.id, "completed", AGENT)
    results = await asyncio.gather(*asked[:15], ending, *asked[15:], return_exceptions=True)
    issued = [result for result in results if isinstance(result, Issued)]
    assert all(is_ended(world, each) for each in issued)


async def test_a_worker_that_has_not_heard_of_a_new_epoch_does_not_end_a_task_without_its_tokens(
    world: World, neighbour: World
) -> None:
    """It would take the tokens of the new epoch for void, commit nothing, and answer that all is done (TRAPS 19)."""
    task = await world.declare()
    for name in world.backend.client.keys("ab:{feed}*"):
        world.backend.client.delete(name)
    neighbour.follow()
    issued = await neighbour.issue(task=task.id)
    with pytest.raises(Unavailable):
        await world.broker.revocation.end_task(task.id, "completed", AGENT)
    world.follow()
    await world.broker.revocation.end_task(task.id, "completed", AGENT)
    assert is_ended(neighbour, issued)


async def test_tasks_whose_time_is_over_are_ended_whatever_shard_they_are_in(world: World) -> None:
    mine, theirs = await world.declare(max_duration=10), await world.declare(workload=OTHER, max_duration=10)
    long = await world.declare()
    world.advance(10_000)
    await world.broker.revocation.end_due_tasks()
    assert [(await world.broker.tasks.find(task.id)).status for task in (mine, theirs, long)] == [
        "timed_out",
        "timed_out",
        "open",
    ]


async def test_an_ending_whose_caller_died_after_marking_is_finished(world: World) -> None:
    """`DESIGN.md` 3.20: its tokens end too, though nobody committed their end."""
    issued = await world.issue()
    await world.broker.tasks.begin_end(issued.task_id, "failed")
    await world.broker.revocation.end_due_tasks()
    assert not is_ended(world, issued)
    world.advance(UNFINISHED_AFTER)
    await world.broker.revocation.end_due_tasks()
    assert is_ended(world, issued)
    assert (await world.broker.tasks.find(issued.task_id)).status == "failed"


@pytest.mark.usefixtures("patient")
async def test_workers_that_end_due_tasks_at_once_do_what_one_would(world: World, neighbour: World) -> None:
    """`DESIGN.md` I6."""
    tasks = [await world.declare(max_duration=10) for _ in range(5)]
    world.advance(10_000)
    neighbour.follow()
    await asyncio.gather(*(worker.broker.revocation.end_due_tasks() for worker in (world, neighbour) * 2))
    assert {(await world.broker.tasks.find(task.id)).status for task in tasks} == {"timed_out"}
    assert (await kinds_recorded(world)).count("task.ended") == 5


async def test_leases_that_a_bulk_revocation_ended_are_marked_once_for_each_place_of_the_log(world: World, monkeypatch) -> None:
    issued = await world.issue()
    await world.revoke(agent="support-bot")
    world.follow()
    epoch = world.broker.streams.picture.epoch
    assert await world.broker.leases.count_live(epoch, "support-bot") == 1
    await world.broker.revocation.settle()
    assert await world.broker.leases.count_live(epoch, "support-bot") == 0
    assert await status_of(world, issued) == "revoked"
    monkeypatch.setattr(world.broker.leases, "settle", None)
    await world.broker.revocation.settle()


async def test_settling_that_broke_off_is_done_again(world: World, monkeypatch) -> None:
    await world.issue()
    await world.revoke(agent="support-bot")
    world.follow()

    async def fail(*_) -> None:
        raise Unavailable("lost")

    with monkeypatch.context() as away:
        away.setattr(world.broker.leases, "settle", fail)
        with pytest.raises(Unavailable):
            await world.broker.revocation.settle()
    await world.broker.revocation.settle()
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch, "support-bot") == 0


async def test_a_worker_whose_clock_jumped_forward_ends_nothing_of_its_own_accord(world: World) -> None:
    """The clock jumping forward revoking everything (TRAPS 24): leases and tasks end by the store's time."""
    issued = await world.issue()
    world.clock._offset += 7_200_000
    for job in (world.broker.scheduler.expire_leases, world.broker.revocation.settle):
        with pytest.raises(Unavailable):
            await job()
    await world.broker.revocation.end_due_tasks()
    assert (await world.broker.tasks.find(issued.task_id)).is_open
    world.clock._offset -= 7_200_000
    world.follow()
    assert await status_of(world, issued) == "live"
