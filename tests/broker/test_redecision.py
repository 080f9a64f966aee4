"""After a change of registry or policies, what is live and would not be given now ends, class by class, and nothing else."""

import asyncio
from typing import Any

import msgspec
import pytest

from broker import redecision
from broker.errors import AccessDenied, Unavailable
from broker.leases import NewLease
from broker.policy import Facts, Permit, Question
from broker.policy.facts import UNNAMED
from broker.quotas import quotas_of
from broker.store import key, shard_of
from broker.store.shards import SHARDS
from scopes.scope import Scope
from tests.broker.ended import is_ended, told
from tests.broker.leases.written import decision_class, status_of, written
from tests.broker.recorded import recorded
from tests.broker.test_issuer import after
from tests.broker.world import BOT, CRM, KB, OTHER, World, proven

TICKET = "crm:ticket/4711#read[subject]"
ARTICLE = "kb:article/1#read"
DRAFT = "crm:ticket/4711#draft[subject]"
PERMIT_DRAFTS = '@id("drafts") permit (principal is Agent, action in [Action::"draft"], resource is Record);'
FORBID_TICKETS = '@id("no-tickets") forbid (principal is Agent, action == Action::"crm:ticket#read", resource is Record);'


def rewrite(world: World, *changes: tuple[str, str]) -> None:
    """Change the registry's file."""
    path = world.folder / "registry" / "all.toml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def add_policy(world: World, text: str, name: str = "more") -> None:
    (world.folder / "policies" / f"{name}.cedar").write_text(text)


async def decided_again(world: World) -> None:
    """Put the files into force and decide by them what is live."""
    await world.look()
    await world.broker.redecision.decide_again()
    world.follow()


def class_events(world: World) -> list[str]:
    """Return the classes that events have ended, of all services."""
    return [event.value for audience in (CRM, KB) for event in told(world, audience) if event.kind == "class"]


async def records(world: World) -> list[tuple[str | None, str | None, tuple[str, ...]]]:
    """Return the records of classes that ended, by what, why, and by which policies."""
    found = [entry.record for entry in await recorded(world) if entry.record.kind == "class.ended"]
    return [(record.scope, record.reason, record.policies) for record in found]


async def held(world: World, **facts: Any) -> NewLease:
    """Write a lease that was decided on facts of the test's own, as the ceiling allows it now."""
    task = await world.declare()
    known = {"agent": "support-bot", "trust_domain": "development.test", "identity_source": "jwt-svid", "ttl": 300}
    known |= {"task_type": "summarise-ticket", "action": "crm:ticket#read", "record": "crm:ticket", "fields": ("subject",)}
    text = msgspec.json.encode(Facts(**(known | facts)))
    patterns = (("crm:ticket/*#read[description,subject]", "crm:ticket/*#draft[subject]"),)
    level = str((known | facts)["action"]).partition("#")[2]
    decided = decision_class(world, facts=msgspec.Raw(text), patterns=patterns, level=level, max_staleness=10)
    return await written(world, task, decided=decided)


# What ends


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([("[agents.support-bot]", "[agents.another-bot]")], id="the agent is gone"),
        pytest.param(
            [
                ('["summarise-ticket", "single-ticket"]', '["single-ticket"]'),
                ('default_task = "summarise-ticket"', 'default_task = "single-ticket"'),
            ],
            id="the task type is the agent's no more",
        ),
        pytest.param([("[subject,description]", "[description]")], id="a field is not in the pattern any more"),
        pytest.param([('"crm:ticket/*#read[subject,description]", ', "")], id="the pattern is gone"),
        pytest.param(
            [("crm:ticket/*#read[subject,description]", "crm:ticket/1#read[subject,description]")], id="a narrower path"
        ),
        pytest.param([('{ level = "read",    max_ttl = 300 }', '{ level = "draft", max_ttl = 300 }')], id="another level"),
        pytest.param([('{ level = "read",    max_ttl = 300 }', '{ level = "read", max_ttl = 30 }')], id="a shorter life"),
        pytest.param(
            [('{ level = "read",    max_ttl = 300 }', '{ level = "read", max_ttl = 300, single_use = true }')], id="for one use"
        ),
        pytest.param(
            [('{ level = "read",    max_ttl = 300 }', '{ level = "read", max_ttl = 300, max_staleness = 5 }')],
            id="news have to be younger",
        ),
        pytest.param(
            [('{ level = "read",    max_ttl = 300 }', '{ level = "read", max_ttl = 300, max_uses = 3 }')], id="for three uses"
        ),
        pytest.param(
            [
                ("[services.crm.resources.ticket.actions]\nread ", "[services.crm.resources.ticket.actions]\nshow "),
                ("crm:ticket/*#read", "crm:ticket/*#show"),
            ],
            id="the action is gone",
        ),
        pytest.param([("https://crm.test", "https://crm2.test")], id="another audience"),
        pytest.param([("subject", "title")], id="the field is gone"),
        pytest.param(
            [("[services.crm.resources.ticket]", "[services.crm.resources.ticket]\nuntrusted = true")], id="untrusted now"
        ),
        pytest.param([("subject = []", 'subject = ["health"]')], id="a class of data it did not have"),
        pytest.param(
            [
                (
                    'default_task = "summarise-ticket"\nends         = 2099-06-30',
                    'default_task = "summarise-ticket"\nends = 2020-01-01',
                )
            ],
            id="the agent's last day is over",
        ),
        pytest.param([('purpose      = "First-line support drafting"\n', "")], id="the agent is only declared"),
        pytest.param(
            [('drafting"\nenvironment  = "prod"', 'drafting"\nenvironment  = "test"')], id="the agent is of another environment"
        ),
    ],
)
async def test_what_the_registry_would_not_give_any_more_ends(world: World, changes: list[tuple[str, str]]) -> None:
    issued, other = await world.issue(TICKET), await world.issue(ARTICLE, workload=OTHER, task=(await other_task(world)).id)
    rewrite(world, *changes)
    await decided_again(world)
    assert is_ended(world, issued)
    assert not is_ended(world, other)


async def other_task(world: World) -> Any:
    return await world.declare(workload=OTHER)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([("[subject,description]", "[subject,description,email]")], id="more fields"),
        pytest.param([('"kb:article/**#read"', '"kb:article/**#read", "crm:ticket/**#read[email]"')], id="more patterns"),
        pytest.param([('{ level = "read",    max_ttl = 300 }', '{ level = "read", max_ttl = 600 }')], id="a longer life"),
        pytest.param([("limits       = { leases = 3 }", "limits = { leases = 2 }")], id="another limit"),
        pytest.param([('owner        = "jane@example.com"', 'owner = "june@example.com"')], id="another owner"),
        pytest.param([("card_number = ", "notes = [], card_number = ")], id="one field more in the catalogue"),
    ],
)
async def test_what_is_still_given_stays(world: World, changes: list[tuple[str, str]]) -> None:
    issued = await world.issue(TICKET)
    rewrite(world, *changes)
    await decided_again(world)
    assert not is_ended(world, issued)
    assert class_events(world) == await records(world) == []


async def test_what_is_not_written_by_outsiders_any_more_stays(world: World) -> None:
    issued = await world.issue("crm:message/1#read[text]")
    rewrite(world, ("untrusted    = true", "untrusted    = false"))
    await decided_again(world)
    assert not is_ended(world, issued)


async def test_a_policy_ends_each_class_that_fails_by_one_event_and_one_record(world: World) -> None:
    tickets = [await world.issue(TICKET) for _ in range(3)]
    longer, article = await world.issue("crm:ticket/1#read[description]"), await world.issue(ARTICLE)
    theirs = await world.issue(TICKET, workload=OTHER, task=(await other_task(world)).id)
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert all(is_ended(world, issued) for issued in (*tickets, longer, theirs))
    assert not is_ended(world, article)
    # Of three tokens decided alike there is one class, and one more each for other fields and another agent.
    assert len(class_events(world)) == 3
    assert await records(world) == [("crm:ticket#read", "forbidden", ("no-tickets",))] * 3


async def test_events_of_a_class_are_told_to_its_own_service_only(world: World) -> None:
    await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert [event.kind for event in told(world, CRM)] == ["class"]
    assert told(world, KB) == []


async def test_what_another_version_wrote_and_nobody_can_read_ends(world: World) -> None:
    """Unknown means no; and it keeps nobody from deciding all the rest (TRAPS 24)."""
    task = await world.declare()
    unreadable = await written(world, task, decided=decision_class(world, audience=CRM, facts=msgspec.Raw(b'{"who":"?"}')))
    await world.issue(ARTICLE)
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert class_events(world) == [unreadable.decision_class.id]
    await world.broker.settling.settle()
    assert await status_of(world, unreadable) == "revoked"


async def test_what_was_decided_again_is_not_decided_twice(world: World, monkeypatch) -> None:
    await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    monkeypatch.setattr(world.broker.leases, "live_classes", None)
    await world.broker.redecision.decide_again()
    assert len(class_events(world)) == 1


async def test_what_is_given_after_the_change_is_not_ended_by_it(world: World) -> None:
    """By position: the class may be the same, and what was decided by the new rules stands behind the event."""
    first = await world.issue(ARTICLE)
    add_policy(world, FORBID_TICKETS)
    await world.look()
    second = await world.issue(ARTICLE)
    await world.broker.redecision.decide_again()
    assert not is_ended(world, first)
    assert not is_ended(world, second)


async def test_the_change_of_a_change_is_decided_too(world: World) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, "// nothing")
    await decided_again(world)
    assert not is_ended(world, issued)
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert is_ended(world, issued)


# What a class does not say


async def test_a_policy_that_names_a_record_ends_all_that_could_be_it(world: World) -> None:
    """Where no policy named a record, a class does not know its own: in doubt no (`DESIGN.md` I5)."""
    issued, article = await world.issue("crm:ticket/1#read[subject]"), await world.issue(ARTICLE)
    named = FORBID_TICKETS.replace("resource is Record", 'resource == Record::"crm:ticket/4711"')
    add_policy(world, named)
    await decided_again(world)
    assert is_ended(world, issued)
    assert not is_ended(world, article)
    # From now on it is known which record it is.
    again = await world.issue("crm:ticket/1#read[subject]")
    add_policy(world, named.replace("4711", "4712"))
    await decided_again(world)
    assert not is_ended(world, again)


async def test_a_record_of_another_type_is_not_one_that_it_could_be(world: World) -> None:
    """TRAPS 16: a prefix without a boundary."""
    issued = await world.issue(TICKET)
    add_policy(world, '@id("x") forbid (principal is Agent, action, resource == Record::"crm:ticketing/4711");')
    await decided_again(world)
    assert not is_ended(world, issued)


@pytest.mark.parametrize(("user", "expected"), [(UNNAMED, "revoked"), ("", "live"), ("corp:jane", "live")])
async def test_a_policy_that_names_a_user_ends_what_does_not_say_whose_it_is(world: World, user: str, expected: str) -> None:
    lease = await held(world, user=user)
    text = FORBID_TICKETS.replace(";", ' when { context has user && context.user.id == "corp:eve" };')
    add_policy(world, text)
    await decided_again(world)
    assert await status_of(world, lease) == expected


async def test_what_a_person_approved_stays_approved(world: World) -> None:
    add_policy(world, PERMIT_DRAFTS)
    await world.look()
    drafts = {"action": "crm:ticket#draft", "proof": "dpop"}
    approved, other = await held(world, approved=True, **drafts), await held(world, **drafts)
    forbid = '@id("ask") forbid (principal is Agent, action in [Action::"draft"], resource is Record)'
    add_policy(world, f"{forbid} unless {{ context.approved }};", "ask")
    await decided_again(world)
    assert [await status_of(world, lease) for lease in (approved, other)] == ["live", "revoked"]


async def test_a_policy_that_begins_to_look_at_taint_ends_what_does_not_say_that_it_ends_on_it(world: World) -> None:
    """The event of the taint would not reach it, or came before: both times it would outlive what the policy now says."""
    add_policy(world, PERMIT_DRAFTS)
    await world.look()
    draft, read = await world.issue(DRAFT), await world.issue(TICKET)
    forbid = (
        '@id("x") forbid (principal is Agent, action in Action::"draft", resource is Record) when { context.task.tainted };'
    )
    add_policy(world, forbid, "tainted")
    await decided_again(world)
    assert is_ended(world, draft)
    assert not is_ended(world, read)
    again = await world.issue(DRAFT)
    add_policy(world, "// nothing", "nothing")
    await decided_again(world)
    assert not is_ended(world, again)


async def test_a_policy_that_begins_to_look_at_a_class_of_data_ends_what_does_not_say_that_it_ends_on_it(world: World) -> None:
    add_policy(world, PERMIT_DRAFTS)
    await world.look()
    draft, read = await world.issue(DRAFT), await world.issue(TICKET)
    forbid = '@id("x") forbid (principal is Agent, action in Action::"draft", resource is Record) when { CONDITION };'
    add_policy(world, forbid.replace("CONDITION", 'context.task.labels.contains("pii")'), "labels")
    await decided_again(world)
    assert is_ended(world, draft)
    assert not is_ended(world, read)
    # Whoever says more than is asked for now ends early at worst.
    again = await world.issue(DRAFT)
    add_policy(world, "// nothing", "labels")
    await decided_again(world)
    assert not is_ended(world, again)


async def test_where_no_policy_names_a_user_it_is_no_matter_whose_it_is(world: World) -> None:
    lease = await held(world, user=UNNAMED)
    add_policy(world, FORBID_TICKETS.replace(";", ' when { context has user && context.user.groups.contains("evil") };'))
    await decided_again(world)
    assert await status_of(world, lease) == "live"


async def test_what_a_policy_errs_about_ends(world: World) -> None:
    """Policy error means no (`DESIGN.md` I5), also for what was given before."""
    issued, article = await world.issue(TICKET), await world.issue(ARTICLE)
    add_policy(world, FORBID_TICKETS.replace(";", " when { context.ttl + 9223372036854775807 > 0 };"))
    await decided_again(world)
    assert is_ended(world, issued)
    assert not is_ended(world, article)
    ((scope, reason, _),) = await records(world)
    assert (scope, reason) == ("crm:ticket#read", "policy_error")


# Who decides


async def test_all_classes_are_decided_however_many_there_are(world: World, monkeypatch) -> None:
    """On every page and in every step, the last of each included."""
    monkeypatch.setattr(redecision, "PAGE", 3)
    monkeypatch.setattr(redecision, "STEP", 2)
    for ttl in (15, 30, 60, 120, 300):
        await held(world, ttl=ttl)
        await held(world, ttl=ttl, fields=("description",))
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert len(set(class_events(world))) == len(class_events(world)) == len(await records(world)) == 10


async def test_what_another_decided_since_it_was_looked_is_not_recorded_again(
    world: World, neighbour: World, monkeypatch
) -> None:
    await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await world.look()
    neighbour.follow()
    monkeypatch.setattr(redecision, "SHARDS_AT_ONCE", SHARDS)
    after(world.broker.redecision, "_undecided", monkeypatch, neighbour.broker.redecision.decide_again)
    await world.broker.redecision.decide_again()
    assert len(class_events(world)) == len(await records(world)) == 1


async def test_a_claim_is_over_by_itself(world: World, monkeypatch) -> None:
    """So that a worker that dies keeps nobody from deciding (TRAPS 24)."""
    raise_floor, lives = world.broker.leases.raise_floor, list[int]()
    add_policy(world, FORBID_TICKETS)
    await world.look()

    async def raised(shard: int, *place: Any) -> None:
        lives.append(world.backend.client.pttl(key(shard, "deciding")))
        await raise_floor(shard, *place)

    monkeypatch.setattr(world.broker.leases, "raise_floor", raised)
    await world.broker.redecision.decide_again()
    assert len(lives) == SHARDS
    assert all(0 < life <= redecision.CLAIM for life in lives)
    assert not any(world.backend.client.exists(key(shard, "deciding")) for shard in range(SHARDS))


async def test_two_workers_share_the_shards_and_end_each_class_once(world: World, neighbour: World) -> None:
    for workload in (BOT, OTHER):
        task = await world.declare(workload=workload)
        for scope in (TICKET, "crm:ticket/1#read[description]"):
            await world.issue(scope, workload=workload, task=task.id)
    add_policy(world, FORBID_TICKETS)
    await world.look()
    neighbour.follow()
    await asyncio.gather(*(worker.broker.redecision.decide_again() for worker in (world, neighbour)))
    assert len(class_events(world)) == len(await records(world)) == 4


async def test_a_shard_that_another_worker_decides_is_left_to_it_until_its_claim_is_over(world: World) -> None:
    issued = await world.issue(TICKET)
    claim = key(shard_of("support-bot"), "deciding")
    world.backend.client.set(claim, "a worker that died")
    add_policy(world, FORBID_TICKETS)
    await decided_again(world)
    assert not is_ended(world, issued)
    # As its expiry would.
    world.backend.client.delete(claim)
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


async def test_a_worker_that_dies_half_way_is_taken_over_and_the_event_is_there_once(
    world: World, neighbour: World, monkeypatch
) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await world.look()
    neighbour.follow()

    async def die(*_: Any) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(world.broker.audit, "append_end", die)
    with pytest.raises(Unavailable):
        await world.broker.redecision.decide_again()
    world.backend.client.delete(key(shard_of("support-bot"), "deciding"))
    await neighbour.broker.redecision.decide_again()
    assert is_ended(world, issued)
    assert len(class_events(world)) == 1
    assert len(await records(neighbour)) == 1


async def test_a_worker_that_adopts_other_rules_on_the_way_leaves_the_rest_to_them(world: World, monkeypatch) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, "// nothing")
    await world.look()
    live_classes = world.broker.leases.live_classes

    async def overtaken(*asked: Any, **named: Any) -> Any:
        monkeypatch.setattr(world.broker.leases, "live_classes", live_classes)
        add_policy(world, FORBID_TICKETS)
        await world.look()
        return await live_classes(*asked, **named)

    monkeypatch.setattr(world.broker.leases, "live_classes", overtaken)
    await world.broker.redecision.decide_again()
    assert not is_ended(world, issued)
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


async def test_what_is_given_by_rules_that_came_on_the_way_is_not_ended_by_those_before(world: World, monkeypatch) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await world.look()

    async def permit_again() -> None:
        add_policy(world, "// nothing")
        await world.look()

    after(world.broker.leases, "live_classes", monkeypatch, permit_again)
    for _ in range(2):
        await world.broker.redecision.decide_again()
        assert not is_ended(world, issued)
    assert class_events(world) == []


async def test_a_worker_that_hears_of_something_else_between_two_looks_decides_nothing(world: World, monkeypatch) -> None:
    issued, known = await world.issue(TICKET), world.broker.follower.standpoint
    add_policy(world, FORBID_TICKETS)
    await world.look()
    with monkeypatch.context() as later:
        later.setattr(
            world.broker.follower, "standpoint", lambda: msgspec.structs.replace(known(), configuration="evt_of_a_later_one")
        )
        await world.broker.redecision.decide_again()
    assert not is_ended(world, issued)
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


async def test_a_worker_that_has_not_adopted_what_is_in_force_decides_nothing(world: World, neighbour: World) -> None:
    issued = await world.issue(TICKET)
    add_policy(world, FORBID_TICKETS)
    await neighbour.look()
    # Heard of, and not built yet.
    with pytest.MonkeyPatch.context() as slow:
        slow.setattr(world.broker.adoption, "adopt", lambda: None)
        world.broker.follower.catch_up()
        await world.broker.redecision.decide_again()
    assert not is_ended(world, issued)
    world.follow()
    await world.broker.redecision.decide_again()
    assert is_ended(world, issued)


# What was decided before the change


async def permitted(world: World) -> Permit:
    """Take a decision, as it stands before every issue."""
    rules, task, scope = world.broker.active.rules, await world.declare(), Scope.parse(TICKET)
    agent = rules.registry.agent_of(proven(BOT))
    question = Question(agent, proven(BOT), task, scope, rules.registry.entry(scope), 300)
    quotas = quotas_of(question, world.broker.streams.picture.epoch, rules.registry)
    return Permit(question, rules.policy.decide(question), (("crm:ticket/*#read[description,subject]",),), quotas)


async def test_a_worker_that_lags_issues_nothing_by_the_old_policy_after_the_sweep_of_the_new_one(
    world: World, neighbour: World, monkeypatch
) -> None:
    """TRAPS 15c, also where whoever activated came to its end before it had raised the floors."""
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()

    async def die(*_: Any) -> None:
        raise Unavailable("gone")

    monkeypatch.setattr(neighbour.broker.leases, "raise_floors", die)
    add_policy(neighbour, FORBID_TICKETS)
    with pytest.raises(Unavailable):
        await neighbour.look()
    neighbour.follow()
    await neighbour.broker.redecision.decide_again()
    with pytest.raises(Unavailable) as refused:
        await world.broker.issuer.issue(permit, standpoint)
    assert refused.value.reason == "configuration_pending"


async def test_nothing_that_was_decided_before_is_written_once_the_classes_are_being_read(
    world: World, neighbour: World, monkeypatch
) -> None:
    """First the floor, then the classes (TRAPS 15c): what comes between would be in no page that was read, and live on."""
    permit, standpoint = await permitted(world), world.broker.follower.standpoint()
    refused: list[str] = []

    async def fail(*_: Any) -> None:
        raise Unavailable("gone")

    async def issue_behind() -> None:
        with pytest.raises(Unavailable) as error:
            await world.broker.issuer.issue(permit, standpoint)
        refused.append(error.value.reason)

    with monkeypatch.context() as died:
        died.setattr(neighbour.broker.leases, "raise_floors", fail)
        add_policy(neighbour, FORBID_TICKETS)
        with pytest.raises(Unavailable):
            await neighbour.look()
    neighbour.follow()
    live_classes = neighbour.broker.leases.live_classes

    async def read_and_issue(shard: int, **named: Any) -> Any:
        found = await live_classes(shard, **named)
        if shard == shard_of("support-bot"):
            await issue_behind()
        return found

    monkeypatch.setattr(neighbour.broker.leases, "live_classes", read_and_issue)
    await neighbour.broker.redecision.decide_again()
    assert refused == ["configuration_pending"]


async def test_a_running_task_whose_type_was_taken_from_the_agent_gets_nothing_more(world: World) -> None:
    task = await world.declare()
    rewrite(
        world,
        ('["summarise-ticket", "single-ticket"]', '["single-ticket"]'),
        ('default_task = "summarise-ticket"', 'default_task = "single-ticket"'),
    )
    await world.look()
    with pytest.raises(AccessDenied) as refused:
        await world.issue(TICKET, task=task.id)
    assert refused.value.reason == "outside_task_types"
