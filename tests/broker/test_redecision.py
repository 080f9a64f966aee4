"""After a change of registry or policies, what is live and would not be given now ends, class by class, and nothing else."""

from typing import Any

import msgspec
import pytest

from broker.policy.facts import UNNAMED
from tests.broker.deciding_again import (
    ARTICLE,
    DRAFT,
    FORBID_TICKETS,
    PERMIT_DRAFTS,
    TICKET,
    add_policy,
    class_events,
    decided_again,
    held,
    records,
    rewrite,
)
from tests.broker.ended import is_ended, told
from tests.broker.leases.written import decision_class, status_of, written
from tests.broker.world import CRM, KB, OTHER, World

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
