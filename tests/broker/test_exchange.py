"""The use case: identity and task in, a token of one scope out."""

import asyncio
from pathlib import Path

import pytest

from broker.callers import Caller
from broker.enforceable import REMEMBERED
from broker.errors import (
    AccessDenied,
    BrokerError,
    InvalidAuthorizationDetails,
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    LimitReached,
    UnauthorizedClient,
    Unavailable,
)
from broker.exchange import TokenRequest
from broker.identity import Presented
from broker.policy import PolicyRefusal
from broker.tasks import Declaration
from scopes import claims as token_claims
from scopes.claims import TOKEN_TYPE
from scopes.jose import read
from scopes.scope import Scope
from tests.broker.acknowledging import acknowledge
from tests.broker.recorded import kinds_recorded, recorded
from tests.broker.world import BOT, CRM, KB, OTHER, REGISTRY, Backend, World

SUBJECT = "crm:ticket/4711#read[subject]"


def lifetime(token: str) -> int:
    claims, _ = token_claims.decode(read(token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    return claims.exp - claims.iat


async def refusal(world: World, scope: str = SUBJECT, **asked) -> BrokerError:
    """Ask, and return why it was refused."""
    with pytest.raises(BrokerError) as refused:
        await world.issue(scope, **asked)
    return refused.value


async def test_an_agent_gets_a_token_for_exactly_what_it_asked(world: World) -> None:
    issued = await world.issue(SUBJECT)
    assert (issued.scope, issued.detail.locations) == (SUBJECT, (CRM,))
    assert issued.detail.identifier == "crm:ticket/4711"


async def test_a_scope_outside_the_task_type_is_refused_and_recorded(world: World) -> None:
    refused = await refusal(world, "crm:ticket/4711#read[email]")
    assert (type(refused), refused.reason) == (AccessDenied, "outside_fields")
    assert await kinds_recorded(world) == ["task.opened", "token.refused"]


async def test_a_refusal_is_recorded_with_who_asked_for_what_and_why_not(world: World) -> None:
    """J1: denied ones too."""
    task = await world.declare()
    await refusal(world, "crm:ticket/4711#draft[subject]", task=task.id)
    record = (await recorded(world))[-1].record
    assert (record.kind, record.agent, record.workload, record.task) == ("token.refused", "support-bot", BOT, task.id)
    assert (record.scope, record.reason) == ("crm:ticket/4711#draft[subject]", "not_permitted")
    assert record.policy_version == world.broker.active.rules.policy.version


@pytest.mark.parametrize(
    ("scope", "refused", "reason"),
    [
        ("crm:ticket/4711#read[email]", AccessDenied, "outside_fields"),
        ("crm:ticket/4711/note/1#read[subject]", AccessDenied, "outside_task_type"),
        ("crm:ticket/4711#draft[subject]", PolicyRefusal, "not_permitted"),
        ("crm:ticket/4711#reply[subject]", AccessDenied, "outside_task_type"),
        ("crm:ticket/4711#read[nonsense]", InvalidScope, "invalid_scope"),
        ("crm:ticket/4711#read", InvalidScope, "invalid_scope"),
        ("crm:ticket/4711#nonsense[subject]", InvalidScope, "invalid_scope"),
        ("crm:nonsense/4711#read[subject]", InvalidTarget, "invalid_target"),
        ("nonsense:ticket/4711#read[subject]", InvalidTarget, "invalid_target"),
    ],
)
async def test_whatever_is_not_granted_by_type_field_and_policy_is_refused(world: World, scope, refused, reason) -> None:
    """The registry is the ceiling and Cedar decides inside it: unknown and ungranted both mean no (`DESIGN.md` 3.2, I5)."""
    error = await refusal(world, scope)
    assert (type(error), error.reason) == (refused, reason)


async def test_a_scope_asked_for_by_details_is_refused_in_their_name(world: World) -> None:
    error = await refusal(world, "crm:ticket/4711#read[nonsense]", by_details=True)
    assert type(error) is InvalidAuthorizationDetails


async def test_the_resource_parameter_has_to_be_the_services_audience(world: World) -> None:
    assert await world.issue(audience=CRM)
    assert type(await refusal(world, audience=KB)) is InvalidTarget


async def test_the_client_id_has_to_be_the_callers_own(world: World) -> None:
    for client_id in ("support-bot", BOT):
        assert await world.issue(client_id=client_id)
    assert type(await refusal(world, client_id="other-bot")) is InvalidClient
    assert type(await refusal(world, client_id=OTHER)) is InvalidClient


async def test_who_is_not_registered_gets_nothing(world: World) -> None:
    error = await refusal(world, workload="spiffe://development.test/agent/nobody")
    assert type(error) is UnauthorizedClient


async def test_who_proves_nothing_gets_nothing(world: World) -> None:
    for assertion in ("", "nonsense", world.svid(audience="https://somebody.test")):
        with pytest.raises(InvalidClient):
            await world.broker.exchange(TokenRequest(Presented(assertion), Scope.parse(SUBJECT)))


async def test_an_agent_past_its_end_date_gets_nothing(tmp_path: Path, backend: Backend) -> None:
    world = World(tmp_path, backend, registry=REGISTRY.replace("2099-06-30", "2020-06-30", 1))
    world.follow()
    error = await refusal(world)
    assert (type(error), error.reason) == (UnauthorizedClient, "agent_ended")


async def test_a_token_lives_as_long_as_the_least_of_what_applies(world: World) -> None:
    task = await world.declare(max_duration=100)
    lives = [
        lifetime((await world.issue()).access_token),
        lifetime((await world.issue(ttl=20)).access_token),
        lifetime((await world.issue(ttl=9_000)).access_token),
        lifetime((await world.issue("kb:article/1#read")).access_token),
        lifetime((await world.issue(task=task.id)).access_token),
    ]
    assert lives[:4] == [300, 20, 300, 600]
    assert 98 <= lives[4] <= 100


async def test_the_configured_longest_life_bounds_every_token(tmp_path: Path, backend: Backend) -> None:
    world = World(tmp_path, backend, changes={"max_ttl": 7})
    world.follow()
    assert lifetime((await world.issue()).access_token) == 7


async def test_an_agent_uses_its_own_tasks_and_no_others(world: World) -> None:
    mine, theirs = await world.declare(), await world.declare(workload=OTHER)
    assert (await world.issue(task=mine.id)).task_id == mine.id
    for id in (theirs.id, "tsk_01JE0000000000000000000007", "nonsense"):
        assert type(await refusal(world, task=id)) is InvalidGrant


async def test_a_task_that_has_ended_gives_no_token(world: World) -> None:
    task = await world.declare()
    await world.broker.revocation.end_task(task.id, "completed", Caller("Agent", "support-bot", BOT))
    assert type(await refusal(world, task=task.id)) is InvalidGrant


async def test_a_task_can_be_declared_with_the_request(world: World) -> None:
    declaration = Declaration(type="summarise-ticket", resources=("crm:ticket/4711",))
    issued = await world.issue(declaration=declaration)
    task = await world.broker.tasks.find(issued.task_id)
    assert (task.type, task.envelope) == ("summarise-ticket", (("crm:ticket/4711",),))


async def test_a_task_gives_nothing_outside_what_it_declared(world: World) -> None:
    task = await world.declare(resources=("crm:ticket/4711",))
    error = await refusal(world, "crm:ticket/4712#read[subject]", task=task.id)
    assert (type(error), error.reason) == (AccessDenied, "outside_declaration")


async def test_a_child_gives_nothing_that_its_parent_would_not(world: World) -> None:
    """`DESIGN.md` I3: a child never more than its parent, whether by type or by what it declared."""
    narrow_type = await world.declare("single-ticket")
    by_type = await world.declare(parent=narrow_type.id)
    error = await refusal(world, "crm:ticket/4711#read[description]", task=by_type.id)
    assert (type(error), error.reason) == (AccessDenied, "outside_fields")
    narrow = await world.declare(resources=("crm:ticket/4711",))
    child = await world.declare(parent=narrow.id, resources=("crm",))
    assert (await refusal(world, "crm:ticket/4712#read[subject]", task=child.id)).reason == "outside_declaration"
    assert await world.issue(task=child.id)


async def test_without_a_task_the_default_one_is_opened_and_joined(world: World) -> None:
    first, second = await world.issue(), await world.issue()
    assert first.task_id == second.task_id
    assert type(await refusal(world, workload=OTHER)) is InvalidRequest


@pytest.mark.usefixtures("patient")
async def test_requests_at_once_never_pass_the_limit_of_their_task(world: World) -> None:
    """TRAPS 15, through the whole path: a single-ticket task may be given three leases."""
    task = await world.declare("single-ticket")
    results = await asyncio.gather(*(world.issue(task=task.id) for _ in range(20)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, LimitReached)]
    assert len(results) - len(refused) == 3
    assert {error.reason for error in refused} == {"leases_per_task"}


@pytest.mark.usefixtures("patient")
async def test_requests_at_once_never_pass_the_limits_of_their_agent(world: World) -> None:
    task = await world.declare(workload=OTHER)
    asked = (world.issue("kb:article/1#read", workload=OTHER, task=task.id) for _ in range(20))
    results = await asyncio.gather(*asked, return_exceptions=True)
    refused = [result for result in results if isinstance(result, LimitReached)]
    assert len(results) - len(refused) == 5
    assert all(error.retry_after >= 1 for error in refused)


async def test_what_nobody_is_known_to_enforce_is_not_issued(tmp_path: Path, backend: Backend) -> None:
    """D7: a constraint that would silently not control. What `reply` triggers is done once."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.cedar").write_text(
        '@id("may-reply") permit (principal, action == Action::"crm:ticket#reply", resource);'
    )
    registry = REGISTRY.replace('"crm:ticket/*#draft[subject]"', '"crm:ticket/*#reply[subject]"')
    # Whether a person has to say yes is another question.
    world = World(tmp_path, backend, registry=registry.replace("reversible = false, ", ""))
    world.follow()
    reply = "crm:ticket/4711#reply[subject]"
    assert (await refusal(world, reply)).reason == "not_enforceable"
    assert (await recorded(world))[-1].record.reason == "not_enforceable"
    await acknowledge(world, enforces=["fields", "proof", "single_use"])
    world.advance(REMEMBERED)
    claims, _ = token_claims.decode(
        read((await world.issue(reply)).access_token, types=frozenset({TOKEN_TYPE})).unverified_payload
    )
    assert (claims.lease.single_use, claims.lease.max_uses) == (True, None)


async def test_a_revocation_between_the_look_at_the_picture_and_the_decision_leaves_no_token(world: World, monkeypatch) -> None:
    """Position is read before deciding (`DESIGN.md` 3.6): read after, the token would be younger than what ended it."""
    task, find_own = await world.declare(), world.broker.tasks.find_own

    async def revoked_meanwhile(*asked):
        await world.revoke(agent="support-bot")
        world.follow()
        return await find_own(*asked)

    monkeypatch.setattr(world.broker.tasks, "find_own", revoked_meanwhile)
    assert type(await refusal(world, task=task.id)) is Unavailable


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_knows_too_little_refuses_before_it_asks_anything(world: World) -> None:
    assertion = world.svid()
    world.clock.advance(1_001)
    with pytest.raises(Unavailable):
        await world.broker.exchange(TokenRequest(Presented(assertion), Scope.parse(SUBJECT)))


async def test_a_workload_that_is_nobodys_agent_is_refused_and_recorded(world: World) -> None:
    """Every decision is recorded, denied ones too (J1)."""
    stranger = "spiffe://development.test/agent/stranger"
    with pytest.raises(UnauthorizedClient):
        await world.broker.exchange(TokenRequest(Presented(world.svid(stranger)), Scope.parse("crm:ticket/4711#read[subject]")))
    (entry,) = await recorded(world)
    assert (entry.record.kind, entry.record.agent, entry.record.workload) == ("token.refused", None, stranger)


async def test_a_task_that_is_no_id_stays_out_of_the_record(world: World) -> None:
    """What an agent wrote never stands where the record names a thing (TRAPS 26)."""
    asked = TokenRequest(Presented(world.svid()), Scope.parse("crm:ticket/4711#read[subject]"), task="tsk_1\nforged: line")
    with pytest.raises(InvalidGrant):
        await world.broker.exchange(asked)
    assert [entry.record.task for entry in await recorded(world)] == [None]
