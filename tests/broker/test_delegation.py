"""A token below another agent's: never more, never longer, never for others than that one (MISSION C4, TRAPS 13)."""

import asyncio
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import AccessDenied, BrokerError, InvalidGrant, InvalidRequest, UnauthorizedClient, Unavailable
from broker.store import shard_of, shard_of_id
from broker.tasks import Declaration
from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE, Actor
from scopes.scope import Scope
from tests.broker.delegating import (
    DELEGATES,
    HELPER,
    LAST,
    PART,
    TWIN,
    WHOLE,
    check_refused,
    claims_of,
    delegated,
    delegating_world,
    of_agent,
    of_user,
)
from tests.broker.recorded import recorded
from tests.broker.world import BOT, OTHER, Backend, World, fake_backend, neighbour_of

SUMMARY = Declaration(type="summarise-ticket")


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    return delegating_world(tmp_path, backend)


@pytest_asyncio.fixture
async def neighbour(world: World, backend: Backend):
    connected = neighbour_of(backend)
    yield delegating_world(world.folder, connected, clock=world.clock)
    await connected.close()


def test_the_agents_of_these_tests_are_kept_in_two_shards() -> None:
    assert shard_of("support-bot") == shard_of("twin-21") != shard_of("helper") != shard_of("last")


@pytest.mark.parametrize("workload", [HELPER, TWIN])
async def test_a_delegated_token_is_the_other_agents_below_the_task_of_the_first(world: World, workload: str) -> None:
    parent = await world.issue(WHOLE)
    claims = claims_of(await delegated(world, parent, workload=workload, declaration=SUMMARY))
    assert (claims.sub, claims.act, claims.client_id) == (BOT, Actor(sub=workload), workload.rpartition("/")[2])
    assert claims.lease.path[:1] == (parent.task_id,)
    assert (claims.txn, len(claims.lease.path), claims.scope) == (parent.task_id, 2, PART)
    task = await world.broker.tasks.find(claims.lease.path[1])
    assert (task.agent, task.workload, task.types) == (claims.client_id, workload, ("summarise-ticket", "summarise-ticket"))
    assert shard_of_id(task.id, "tsk_") == shard_of(task.agent)


async def test_actors_nest_from_who_acts_now_to_who_acted_first(world: World) -> None:
    """RFC 8693 §4.1: for people to read; nothing is decided by those inside."""
    first = await world.issue(WHOLE, subject=of_user(world))
    second = await delegated(world, first)
    third = claims_of(await delegated(world, second, workload=LAST))
    assert (third.sub, third.lease.user) == ("corp:jane", True)
    assert third.act == Actor(sub=LAST, act=Actor(sub=HELPER, act=Actor(sub=BOT)))
    assert third.workload == LAST


async def test_a_delegated_task_is_for_the_user_of_the_task_above(world: World) -> None:
    parent = await world.issue(WHOLE, subject=of_user(world))
    issued = await delegated(world, parent)
    task = await world.broker.tasks.find(issued.task_id)
    assert (task.user, task.groups, task.subject) == ("corp:jane", ("berlin", "support"), "corp:jane")


@pytest.mark.parametrize("workload", [OTHER, LAST])
async def test_an_agent_to_which_nothing_is_delegated_gets_nothing_by_a_token_it_found(world: World, workload: str) -> None:
    """TRAPS 13: a genuine token, and an agent that has nothing to do with it."""
    parent = await world.issue(WHOLE)
    for declaration in (SUMMARY, None):
        asked = {"subject": of_agent(parent), "declaration": declaration, "workload": workload}
        await check_refused(world, UnauthorizedClient, "not_delegated", scope=PART, **asked)


async def test_an_agent_may_exchange_its_own_tokens(world: World) -> None:
    parent = await world.issue(WHOLE)
    claims = claims_of(await delegated(world, parent, workload=BOT, declaration=SUMMARY))
    assert (claims.scope, claims.lease.path[0], claims.act) == (PART, parent.task_id, None)


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("crm:ticket/4711#read[description,subject]", "outside_delegation"),
        ("crm:ticket/4711#read[description]", "outside_delegation"),
        ("crm:ticket/4712#read[subject]", "outside_delegation"),
        ("crm:ticket/4711/note#read[subject]", "outside_delegation"),
        ("crm:ticket/4711#draft[subject]", "outside_delegation"),
        ("kb:article/1#read", "outside_delegation"),
    ],
)
async def test_a_delegated_task_gives_nothing_that_the_token_above_does_not_say(world: World, scope: str, reason: str) -> None:
    """I3, also where the task above could have had it."""
    parent = await world.issue(PART)
    issued = await delegated(world, parent)
    below = await world.declare(parent=issued.task_id, workload=HELPER)
    for asked in ({"subject": of_agent(parent)}, {"task": issued.task_id}, {"task": below.id}):
        await check_refused(world, AccessDenied, reason, scope=scope, workload=HELPER, **asked)


async def test_the_types_and_resources_of_every_task_above_stay_ceilings(world: World) -> None:
    narrow = await world.declare("single-ticket", resources=("crm:ticket/4711",))
    parent = await world.issue(PART, task=narrow.id)
    task = await world.broker.tasks.find((await delegated(world, parent)).task_id)
    assert (task.types, task.envelope) == (("single-ticket", "summarise-ticket"), (("crm:ticket/4711",),))


async def test_the_other_agents_own_types_are_a_ceiling_too(world: World) -> None:
    parent = await world.issue("kb:article/1#read")
    declaration = Declaration(type="single-ticket")
    asked = {"subject": of_agent(parent), "declaration": declaration, "workload": HELPER, "scope": "kb:article/1#read"}
    await check_refused(world, AccessDenied, "outside_task_type", **asked)


async def test_nothing_below_outlives_the_token_above(world: World) -> None:
    """TRAPS 13: a child that outlives its parent."""
    parent = await world.issue(WHOLE, ttl=100)
    expires = claims_of(parent).exp
    world.advance(40_000)
    issued = await delegated(world, parent)
    assert claims_of(issued).exp <= expires
    task = await world.broker.tasks.find(issued.task_id)
    below = await world.declare(parent=task.id, workload=HELPER)
    assert task.ends == below.ends == expires * 1000
    world.advance(30_000)
    assert claims_of(await world.issue(PART, task=below.id, workload=HELPER)).exp <= expires
    world.advance(30_000)
    await check_refused(world, InvalidGrant, scope=PART, task=issued.task_id, workload=HELPER)
    await check_refused(world, InvalidRequest, scope=PART, subject=of_agent(parent), workload=HELPER)


async def test_tasks_nest_four_deep_whoever_they_are_of(world: World) -> None:
    issued = await world.issue(WHOLE)
    for workload in (HELPER, BOT, HELPER):
        issued = await delegated(world, issued, WHOLE, workload=workload)
    assert len(claims_of(issued).lease.path) == 4
    await check_refused(world, InvalidGrant, scope=PART, subject=of_agent(issued), workload=LAST)


async def test_a_token_that_is_not_in_force_delegates_nothing(world: World) -> None:
    returned, revoked, ended, expired = [await world.issue(WHOLE, declaration=SUMMARY) for _ in range(4)]
    await world.revoke(lease=revoked.lease_id)
    await world.revoke(task=ended.task_id)
    await world.broker.leases.end([returned.lease_id], "revoked")
    world.follow()
    for each in (returned, revoked, ended):
        await check_refused(world, InvalidRequest, scope=PART, subject=of_agent(each), workload=HELPER)
    world.advance(300_000)
    await check_refused(world, InvalidRequest, scope=PART, subject=of_agent(expired), workload=HELPER)


async def test_a_token_signed_with_a_key_that_was_revoked_delegates_nothing(world: World) -> None:
    """TRAPS 6: its lease lives on, for that names no key."""
    parent = await world.issue(WHOLE)
    await world.revoke(key=world.broker.keys.token.kid)
    world.follow()
    await check_refused(world, InvalidRequest, scope=PART, subject=of_agent(parent), workload=HELPER)


async def test_a_token_of_an_earlier_epoch_delegates_nothing(world: World) -> None:
    """`DESIGN.md` 3.7: it is void, though its lease and its task are still kept."""
    parent = await world.issue(WHOLE)
    issued = await delegated(world, parent)
    for name in world.backend.client.keys("ab:{feed}*"):
        world.backend.client.delete(name)
    world.follow()
    await check_refused(world, InvalidRequest, scope=PART, subject=of_agent(parent), workload=HELPER)
    await check_refused(world, InvalidGrant, scope=PART, task=issued.task_id, workload=HELPER)


async def test_a_worker_that_has_not_heard_of_a_tokens_epoch_cannot_tell(world: World, neighbour: World) -> None:
    for name in world.backend.client.keys("ab:{feed}*"):
        world.backend.client.delete(name)
    neighbour.follow()
    parent = await neighbour.issue(WHOLE)
    await check_refused(world, Unavailable, scope=PART, subject=of_agent(parent), workload=HELPER)


@pytest.mark.parametrize("changes", [{"client_id": "helper"}, {"scope": WHOLE}, {"jti": "lse_01JE0000000000000000000007"}])
async def test_a_forged_token_says_no_more_than_the_lease_that_is_kept(world: World, changes: dict) -> None:
    """TRAPS 6: whoever stole a key signs what he likes, but for what stands in the store."""
    parent = await world.issue(PART)
    claims = claims_of(parent)
    forged = msgspec.structs.replace(claims, **changes)
    if "scope" in changes:
        forged = msgspec.structs.replace(
            forged, authorization_details=(token_claims.detail_of(Scope.parse(WHOLE), claims.aud),)
        )
    text = jose.write(token_claims.encode(forged), type=TOKEN_TYPE, key=world.broker.keys.token)
    subject = of_agent(parent)._replace(unverified_token=text)
    await check_refused(world, InvalidRequest, scope=PART, subject=subject, workload=HELPER)


async def test_a_token_of_counted_use_is_not_passed_on(world: World) -> None:
    """TRAPS 15a: each below it could be used once more."""
    parent = await world.issue(PART)
    claims = claims_of(parent)
    for counted in ({"single_use": True}, {"max_uses": 3}):
        lease = msgspec.structs.replace(claims.lease, **counted)
        payload = token_claims.encode(msgspec.structs.replace(claims, lease=lease))
        text = jose.write(payload, type=TOKEN_TYPE, key=world.broker.keys.token)
        subject = of_agent(parent)._replace(unverified_token=text)
        assert "counted" in await check_refused(world, InvalidRequest, scope=PART, subject=subject, workload=HELPER)


async def test_a_token_of_this_broker_is_no_id_token(world: World) -> None:
    parent = await world.issue(WHOLE)
    subject = of_agent(parent, type="id_token")
    assert "no id_token" in await check_refused(world, InvalidRequest, scope=PART, subject=subject, workload=HELPER)
    assert await world.issue(PART, subject=of_agent(parent, type="jwt"), workload=HELPER)


async def test_below_a_bound_token_all_are_bound(world: World) -> None:
    """TRAPS 17: to pass a bound token on as a bearer token would take its protection away."""
    parent = await world.issue(WHOLE, bound=True)
    await check_refused(world, AccessDenied, "proof_required", scope=PART, subject=of_agent(parent), workload=HELPER)
    issued = await delegated(world, parent, bound=True)
    await check_refused(world, AccessDenied, "proof_required", scope=PART, task=issued.task_id, workload=HELPER)
    claims = claims_of(await world.issue(PART, task=issued.task_id, workload=HELPER, bound=True))
    assert claims.cnf is not None


async def test_each_token_above_has_a_default_task_of_its_own(world: World) -> None:
    one, other = [await world.issue(WHOLE) for _ in range(2)]
    tasks = [(await delegated(world, parent)).task_id for parent in (one, other, one, other)]
    assert tasks[:2] == tasks[2:]
    assert tasks[0] != tasks[1]
    assert (await world.issue(PART, workload=HELPER)).task_id not in tasks


async def test_a_task_that_is_there_goes_with_the_token_that_delegated_it(world: World) -> None:
    one, other = [await world.issue(WHOLE) for _ in range(2)]
    task = (await delegated(world, one)).task_id
    assert (await delegated(world, one, task=task)).task_id == task
    await check_refused(world, InvalidGrant, scope=PART, subject=of_agent(other), task=task, workload=HELPER)
    own = (await world.declare(workload=HELPER)).id
    await check_refused(world, InvalidGrant, scope=PART, subject=of_agent(one), task=own, workload=HELPER)


async def test_a_token_above_and_a_parent_are_one_too_many(world: World) -> None:
    parent = await world.issue(WHOLE)
    own = await world.declare(workload=HELPER)
    declaration = Declaration(type="summarise-ticket", parent=own.id)
    asked = {"subject": of_agent(parent), "declaration": declaration, "workload": HELPER}
    assert "leave out parent" in await check_refused(world, InvalidRequest, scope=PART, **asked)


async def test_a_request_that_is_repeated_gets_the_same_task_and_lease(world: World) -> None:
    one, other = [await world.issue(WHOLE) for _ in range(2)]
    asked = {"declaration": SUMMARY, "idempotency_key": "once"}
    first, again, third = [await delegated(world, parent, **asked) for parent in (one, one, other)]
    assert (again.lease_id, again.task_id) == (first.lease_id, first.task_id)
    assert third.task_id != first.task_id


async def test_a_registry_that_delegates_no_more_ends_what_could_still_be_asked_for(world: World) -> None:
    parent = await world.issue(WHOLE)
    issued = await delegated(world, parent)
    last = await delegated(world, issued, workload=LAST)
    file = world.folder / "registry" / "all.toml"
    file.write_text(file.read_text().replace(DELEGATES, 'delegates_to = ["twin-21"]\n'))
    await world.look()
    for task, workload in ((issued.task_id, HELPER), (last.task_id, LAST)):
        await check_refused(world, UnauthorizedClient, "not_delegated", scope=PART, task=task, workload=workload)


async def test_the_record_names_the_lease_by_which_a_task_was_delegated(world: World) -> None:
    parent = await world.issue(WHOLE, subject=of_user(world))
    issued = await delegated(world, parent)
    opened = [entry.record for entry in await recorded(world) if entry.record.kind == "task.opened"]
    assert [(record.agent, record.task, record.user, record.lease) for record in opened] == [
        ("support-bot", parent.task_id, "corp:jane", None),
        ("helper", issued.task_id, "corp:jane", parent.lease_id),
    ]
    await check_refused(world, UnauthorizedClient, scope=PART, subject=of_agent(parent), workload=OTHER)
    assert (await recorded(world))[-1].record.user == "corp:jane"


FIELDS = st.sets(st.sampled_from(["subject", "description", "email"]), min_size=1)
RECORDS = st.sampled_from(["4711", "4711/note", "4712"])
STEPS = st.lists(st.tuples(st.sampled_from([BOT, HELPER, LAST, TWIN, OTHER]), RECORDS, FIELDS, st.integers(1, 400)), max_size=5)


@given(STEPS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_delegated_token_never_says_more_than_the_one_above_it(tmp_path: Path, steps) -> None:
    """I3, whoever passes on what to whom: scope, end, user, types and resources only narrow, or nothing is issued."""

    async def pass_on() -> None:
        backend = fake_backend()
        world = delegating_world(tmp_path, backend)
        above = await world.issue(WHOLE, subject=of_user(world), ttl=200)
        for workload, record, fields, ttl in steps:
            scope = f"crm:ticket/{record}#read[{','.join(sorted(fields))}]"
            try:
                below = await delegated(world, above, scope, workload=workload, ttl=ttl)
            except BrokerError:
                continue
            one, other = claims_of(above), claims_of(below)
            assert Scope.parse(one.scope).covers(Scope.parse(other.scope))
            assert other.exp <= one.exp
            assert (other.sub, other.txn, other.lease.user) == (one.sub, one.txn, True)
            assert other.lease.path[: len(one.lease.path)] == one.lease.path
            assert {f"lease {one.jti}", f"agent {one.client_id}", f"instance {one.workload}"} <= set(other.lease.ends_with)
            assert set(one.lease.ends_with) <= set(other.lease.ends_with)
            above = below
        await backend.close()

    asyncio.run(pass_on())
