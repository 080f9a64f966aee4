"""A token for a user: the agent acts, the user is the subject, and the two have to do with each other (C5, TRAPS 13)."""

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio

from broker.delegation import Subject
from broker.errors import AccessDenied, InvalidClient, InvalidGrant, InvalidRequest, UnauthorizedClient
from broker.exchange import TokenRequest
from broker.identity import Presented
from broker.issuer import Issued
from broker.tasks import Behalf, Declaration
from scopes.claims import Actor
from scopes.scope import Scope
from tests.broker.delegating import HELPER, USERS, check_refused, claims_of, delegating_world, of_user
from tests.broker.ended import is_ended, status_of
from tests.broker.recorded import recorded
from tests.broker.world import BOT, ISSUER, OTHER, Backend, World, neighbour_of

SUMMARY = Declaration(type="summarise-ticket", purpose="For Jane")


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    return delegating_world(tmp_path, backend)


@pytest_asyncio.fixture
async def neighbour(world: World, backend: Backend):
    connected = neighbour_of(backend)
    yield delegating_world(world.folder, connected, clock=world.clock)
    await connected.close()


async def test_the_user_is_the_subject_and_the_workload_acts(world: World) -> None:
    claims = claims_of(await world.issue(subject=of_user(world), declaration=SUMMARY))
    assert (claims.sub, claims.client_id, claims.act, claims.lease.user) == ("corp:jane", "support-bot", Actor(sub=BOT), True)
    assert claims.workload == BOT


async def test_the_task_carries_the_user_so_later_tokens_need_no_other_proof(world: World) -> None:
    first = await world.issue(subject=of_user(world), declaration=SUMMARY)
    task = await world.broker.tasks.find(first.task_id)
    assert (task.user, task.groups, task.subject, task.workload) == ("corp:jane", ("berlin", "support"), "corp:jane", BOT)
    later = claims_of(await world.issue(task=first.task_id))
    assert (later.sub, later.lease.user) == ("corp:jane", True)


async def test_below_a_users_task_everything_is_for_that_user(world: World) -> None:
    root = await world.issue(subject=of_user(world), declaration=SUMMARY)
    child = await world.declare(parent=root.task_id)
    assert (child.user, child.groups, child.subject) == ("corp:jane", ("berlin", "support"), "corp:jane")
    assert claims_of(await world.issue(task=child.id)).sub == "corp:jane"


async def test_a_task_below_is_for_no_other_user_than_that_above(world: World) -> None:
    """TRAPS 13: a child never has another user than its parent, nor one where that has none."""
    jane = await world.issue(subject=of_user(world), declaration=SUMMARY)
    nobody = await world.declare()
    for parent in (jane.task_id, nobody.id):
        declaration = Declaration(type="summarise-ticket", parent=parent)
        await check_refused(world, InvalidGrant, subject=of_user(world, sub="joe"), declaration=declaration)
    declaration = Declaration(type="summarise-ticket", parent=jane.task_id)
    assert claims_of(await world.issue(subject=of_user(world), declaration=declaration)).sub == "corp:jane"


async def test_a_task_that_is_there_is_used_for_its_own_user_only(world: World) -> None:
    jane = await world.issue(subject=of_user(world), declaration=SUMMARY)
    assert (await world.issue(subject=of_user(world), task=jane.task_id)).task_id == jane.task_id
    await check_refused(world, InvalidGrant, subject=of_user(world, sub="joe"), task=jane.task_id)
    await check_refused(world, InvalidGrant, subject=of_user(world), task=(await world.declare()).id)


async def test_who_lost_a_group_gets_nothing_by_a_task_of_before(world: World) -> None:
    """The task would still name the group; policies would believe it."""
    task = (await world.issue(subject=of_user(world), declaration=SUMMARY)).task_id
    await check_refused(world, InvalidGrant, subject=of_user(world, groups=["support"]), task=task)
    assert await world.issue(subject=of_user(world, groups=["support", "berlin", "new"]), task=task)


async def test_every_user_has_a_default_task_and_so_has_nobody(world: World, neighbour: World) -> None:
    """A default task that two users share would give one of them the other's tokens."""
    nobody = await world.issue()
    jane = await world.issue(subject=of_user(world))
    joe = await world.issue(subject=of_user(world, sub="joe"))
    assert len({nobody.task_id, jane.task_id, joe.task_id}) == 3
    assert [claims_of(each).sub for each in (nobody, jane, joe)] == [BOT, "corp:jane", "corp:joe"]
    assert claims_of(nobody).lease.user is False
    for again in (world, neighbour):
        assert (await again.issue()).task_id == nobody.task_id
        assert (await again.issue(subject=of_user(world))).task_id == jane.task_id
        assert (await again.issue(subject=of_user(world, sub="joe"))).task_id == joe.task_id


async def test_a_default_task_is_joined_in_the_same_groups_only(world: World) -> None:
    first = await world.issue(subject=of_user(world))
    second = await world.issue(subject=of_user(world, groups=["support"]))
    assert second.task_id != first.task_id
    assert (await world.broker.tasks.find(second.task_id)).groups == ("support",)
    assert (await world.issue(subject=of_user(world, groups=["support"]))).task_id == second.task_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("k8s:a", "corp:b"), ("k8s:a corp:b", "")),
        (("k8s:a", "corp:b c"), ("k8s:a corp:b", "corp:c")),
        (("k8s:a%20corp:b", ""), ("k8s:a", "corp:b")),
        (("k8s:a", "corp:b"), ("k8s:a", "corp:B")),
    ],
)
async def test_default_tasks_of_names_that_look_alike_are_two(world: World, one, other) -> None:
    """TRAPS 16: whoever could choose a name would share somebody else's task."""
    tasks = []
    for workload, user in (one, other):
        agent = world.agent()
        tasks.append(await world.broker.tasks.join_default(agent, workload, world.registry, behalf=Behalf(user)))
        assert (await world.broker.tasks.join_default(agent, workload, world.registry, behalf=Behalf(user))).id == tasks[-1].id
    assert tasks[0].id != tasks[1].id


async def test_another_default_task_of_a_user_is_opened_when_the_last_one_ended(world: World, neighbour: World) -> None:
    first = await world.issue(subject=of_user(world))
    ended = await neighbour.broker.callers.identify(Presented(neighbour.svid()))
    await neighbour.broker.revocation.end_task(first.task_id, "completed", ended)
    world.follow()
    assert (await world.issue(subject=of_user(world))).task_id != first.task_id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"azp": "other-portal"}, "was not issued to a client", id="issued to another client"),
        pytest.param({"azp": None}, "was not issued to a client", id="issued to nobody"),
        pytest.param({"may_act": {"sub": "other-bot"}}, "names another", id="for another agent to act"),
        pytest.param({"may_act": {"sub": OTHER}}, "names another", id="for another workload to act"),
        pytest.param({"may_act": {"sub": ""}}, "names another", id="for nobody to act"),
        pytest.param({"azp": None, "may_act": {"sub": "other-bot"}}, "names another", id="for another, by its word alone"),
    ],
)
async def test_a_pair_that_has_nothing_to_do_with_each_other_is_refused(world: World, changes: dict, said: str) -> None:
    """TRAPS 13, chain splicing: a genuine token of a user, and an agent that is none of theirs."""
    assert said in await check_refused(world, UnauthorizedClient, "not_delegated", subject=of_user(world, **changes))


@pytest.mark.parametrize("named", ["support-bot", BOT])
async def test_a_token_that_names_the_agent_need_not_be_issued_to_its_client(world: World, named: str) -> None:
    """RFC 8693 §4.4."""
    subject = of_user(world, azp="other-portal", may_act={"sub": named})
    assert claims_of(await world.issue(subject=subject)).sub == "corp:jane"


async def test_an_agent_without_users_acts_for_none_also_where_a_token_names_it(world: World) -> None:
    """Absent means no."""
    for changes in ({}, {"may_act": {"sub": "helper"}}):
        subject = of_user(world, **changes)
        said = await check_refused(world, UnauthorizedClient, "not_delegated", workload=HELPER, subject=subject)
        assert "acts for no users of corp" in said


async def test_a_users_token_is_no_agents_identity(world: World) -> None:
    """TRAPS 12: however it is shown."""
    token = of_user(world).unverified_token
    for_us = of_user(world, aud=ISSUER).unverified_token
    for text in (token, for_us):
        for type in ("jwt-spiffe", "jwt-bearer", "grant", None):
            with pytest.raises((InvalidClient, InvalidGrant)):
                await world.broker.exchange(TokenRequest(Presented(text, type), Scope.parse("crm:ticket/4711#read[subject]")))


async def test_what_a_workload_shows_is_no_users_token(world: World) -> None:
    """TRAPS 12, the other way round; and none of what the broker itself signs."""
    proof = await world.prove()
    shown = (
        world.svid(),
        world.svid(HELPER),
        world.operator_assertion(),
        proof,
        world.broker.streams.snapshot("https://crm.test"),
    )
    for text in shown:
        for type in ("jwt", "id_token", "access_token"):
            await check_refused(world, InvalidRequest, subject=Subject(text, type))


async def test_a_refusal_says_for_whom_it_was_and_never_holds_the_token(world: World) -> None:
    """J1: with for whom; I7."""
    subject = of_user(world, azp="other-portal")
    await check_refused(world, UnauthorizedClient, subject=subject)
    await check_refused(world, InvalidRequest, subject=of_user(world, aud="https://other.test"))
    task = (await world.issue(subject=of_user(world), declaration=SUMMARY)).task_id
    await check_refused(world, AccessDenied, scope="crm:ticket/4711#read[email]", task=task)
    records = [entry.record for entry in await recorded(world)]
    assert [(record.kind, record.user) for record in records] == [
        ("token.refused", "corp:jane"),
        ("token.refused", None),
        ("task.opened", "corp:jane"),
        ("token.issued", "corp:jane"),
        ("token.refused", "corp:jane"),
    ]
    parts = subject.unverified_token.split(".")
    assert not any(part in repr(record) for part in parts for record in records)
    assert not any(
        part.encode() in world.backend.client.dump(key) for key in world.backend.client.scan_iter() for part in parts
    )


async def test_the_end_of_a_task_names_its_user(world: World) -> None:
    issued = await world.issue(subject=of_user(world))
    by = await world.broker.callers.identify(Presented(world.svid()))
    await world.broker.revocation.end_task(issued.task_id, "completed", by)
    assert (await recorded(world))[-1].record.user == "corp:jane"


async def test_to_revoke_a_user_ends_what_is_done_for_them_and_shows_it(world: World) -> None:
    jane, joe = [await world.issue(subject=of_user(world, sub=name)) for name in ("jane", "joe")]
    nobody = await world.issue()
    below = await world.issue(task=(await world.declare(parent=jane.task_id)).id)
    await world.revoke(user="corp:jane")
    assert [is_ended(world, each) for each in (jane, below, joe, nobody)] == [True, True, False, False]
    assert [await status_of(world, each) for each in (jane, below, joe, nobody)] == ["revoked", "revoked", "live", "live"]
    await world.broker.settling.settle()
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch, "support-bot") == 2


async def test_a_provider_that_leaves_the_agents_record_takes_its_users_tasks_along(world: World) -> None:
    issued = await world.issue(subject=of_user(world), declaration=SUMMARY)
    (world.folder / "registry" / "all.toml").write_text((world.folder / "registry" / "all.toml").read_text().replace(USERS, ""))
    await world.look()
    assert not world.registry.content.agents["support-bot"].users
    said = await check_refused(world, UnauthorizedClient, "not_delegated", task=issued.task_id)
    assert "acts for no users of corp any more" in said


async def test_a_request_that_is_repeated_gets_the_same_lease_whichever_token_of_the_user_it_shows(world: World) -> None:
    asked = {"declaration": SUMMARY, "idempotency_key": "once"}
    first = await world.issue(subject=of_user(world), **asked)
    world.advance(2_000)
    again = await world.issue(subject=of_user(world), **asked)
    other = await world.issue(subject=of_user(world, sub="joe"), **asked)
    fewer = await world.issue(subject=of_user(world, groups=["support"]), **asked)
    nobody = await world.issue(**asked)
    assert (again.lease_id, again.task_id) == (first.lease_id, first.task_id)
    assert len({first.task_id, other.task_id, fewer.task_id, nobody.task_id}) == 4
    assert claims_of(other).sub == "corp:joe"


async def test_many_users_at_once_on_two_workers_never_share_a_task(world: World, neighbour: World) -> None:
    names = ("jane", "joe", "ann")
    asked = [(name, worker) for name in names for worker in (world, neighbour)] * 4
    issued = await asyncio.gather(*(worker.issue(subject=of_user(world, sub=name)) for name, worker in asked))
    assert all(isinstance(each, Issued) for each in issued)
    users = {each.task_id: {claims_of(other).sub for other in issued if other.task_id == each.task_id} for each in issued}
    assert all(len(found) == 1 for found in users.values())
