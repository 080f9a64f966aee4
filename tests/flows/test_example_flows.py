"""The worked examples as brokers: real tokens, and what the services' verifiers make of them afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from broker.callers import Caller
from broker.errors import AccessDenied, BrokerError, InvalidGrant, LimitReached
from broker.policy.cases import Case
from broker.registry import ceiling
from broker.selector import ReductionSelector
from scopes import InvalidScope
from scopes.scope import Scope
from tests.broker.recorded import recorded
from tests.broker.world import ADMIN, Backend
from tests.flows.example_cases import NAMES, Example
from tests.flows.example_world import DAYS, ExampleWorld

Open = Callable[[str], ExampleWorld]

AGREEMENT = "dms:document/m-2027-014/share-purchase-agreement"
SEAL = f"""
@id("sealed-today")
forbid (principal is Agent, action, resource == Record::"{AGREEMENT}");
"""


class Daily(NamedTuple):
    """What an example does every day: an agent reads one record for a task; `other` is a record, `stranger` an agent."""

    agent: str
    type: str
    scope: str
    other: str
    stranger: str


DAILY = {
    "finance": Daily(
        "payables-bot", "pay-invoice", "invoices:invoice/17#read[amount]", "invoices:invoice/18#read[amount]", "analyst-bot"
    ),
    "health": Daily(
        "ward-bot",
        "check-medication",
        "records:patient/8f3k#read[medication]",
        "records:patient/9a1z#read[medication]",
        "desk-bot",
    ),
    "legal": Daily(
        "intake-bot",
        "translate-filing",
        "dms:filing/m-2027-014/statement#read",
        "dms:filing/m-2027-014/statement-2#read",
        "review-bot",
    ),
    "operations": Daily(
        "ops-bot", "roll-out", "metrics:series/shop/latency#read", "metrics:series/bank/latency#read", "staging-bot"
    ),
    "people": Daily(
        "people-bot", "answer-employee", "hr:employee/e-118#read[name]", "hr:employee/e-119#read[name]", "recruiting-bot"
    ),
    "sales": Daily(
        "sales-bot",
        "advance-opportunity",
        "crm:opportunity/o-31#read[account]",
        "crm:opportunity/o-32#read[account]",
        "pipeline-bot",
    ),
    "support": Daily(
        "support-bot",
        "read-ticket",
        "helpdesk:ticket/4711#read[subject]",
        "helpdesk:ticket/47110#read[subject]",
        "billing-bot",
    ),
}
EACH = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def opened(tmp_path: Path, backend: Backend) -> Open:
    """Open a broker on an example, on a Monday at noon."""
    return lambda name: ExampleWorld(tmp_path, backend, name=name)


def is_plain(case: Case) -> bool:
    """Tell whether a case can be lived through in one request: nothing was read before it, and no person is part of it."""
    return not (case.tainted or case.labels or case.approved or case.reductions or case.recent_refusals)


async def lived(world: ExampleWorld, case: Case) -> tuple[bool, str, tuple[str, ...]]:
    """Live through a case; return whether it was allowed, else the reason, and the policies that decided."""
    await world.live_until(DAYS[case.at.weekday()], case.at.hour)
    type = case.task or world.registry.agent(case.agent).record.default_task or ""
    try:
        task = await world.begin(case.agent, *case.within, type, user=case.user, groups=case.groups)
        issued = await world.ask(task, case.scope, bound=case.proof == "dpop")
    except BrokerError as refusal:
        return False, refusal.reason, refusal.policies
    assert world.honours(issued)
    return True, "", (await recorded(world))[-1].record.policies


async def refused(world: ExampleWorld, task: object, scope: str, **asked: object) -> tuple[str, tuple[str, ...]]:
    """Ask for what is refused; return the reason and the policies."""
    with pytest.raises(AccessDenied) as caught:
        await world.ask(task, scope, **asked)
    return caught.value.reason, caught.value.policies


@EACH
async def test_the_broker_answers_as_the_cases_say(opened: Open, name: str) -> None:
    world, example = opened(name), Example.named(name)
    plain = [case for case in example.cases if is_plain(case)]
    assert {case.expect for case in plain} == {"allowed", "refused"}
    for case in plain:
        answer = example.answer(case)
        assert await lived(world, case) == (answer.allowed, answer.reason, answer.policies), case.name


@EACH
async def test_a_task_reaches_the_record_that_it_declared_and_no_other(opened: Open, name: str) -> None:
    """TRAPS 16: a record whose name begins like the declared one is another."""
    world, daily = opened(name), DAILY[name]
    task = await world.begin(daily.agent, daily.type, resources=[daily.scope.partition("#")[0]])
    assert world.honours(await world.ask(task, daily.scope))
    assert await refused(world, task, daily.other) == ("outside_declaration", ())


@EACH
async def test_another_agents_task_is_nobody_elses(opened: Open, name: str) -> None:
    world, daily = opened(name), DAILY[name]
    task = await world.begin(daily.agent, daily.type)
    with pytest.raises(InvalidGrant):
        await world.issue(daily.scope, workload=world.workload_of(daily.stranger), task=task.id, bound=True)


@EACH
async def test_a_task_has_its_leases_and_not_one_more(opened: Open, name: str) -> None:
    world, daily = opened(name), DAILY[name]
    task = await world.begin(daily.agent, daily.type)
    for _ in range(world.registry.content.tasks[daily.type].limits.leases or 0):
        await world.ask(task, daily.scope)
    with pytest.raises(LimitReached) as caught:
        await world.ask(task, daily.scope)
    assert caught.value.reason == "leases_per_task"


@EACH
async def test_a_longer_life_than_the_catalogue_gives_is_cut(opened: Open, name: str) -> None:
    world, daily = opened(name), DAILY[name]
    task = await world.begin(daily.agent, daily.type)
    longest = world.registry.entry(Scope.parse(daily.scope)).action.max_ttl
    assert (await world.ask(task, daily.scope, ttl=longest * 10)).expires_in == longest


@EACH
async def test_when_a_task_has_ended_its_service_honours_nothing_of_it(opened: Open, name: str) -> None:
    world, daily = opened(name), DAILY[name]
    task = await world.begin(daily.agent, daily.type)
    issued = await world.ask(task, daily.scope)
    assert world.honours(issued)
    await world.broker.revocation.end_task(task.id, "completed", Caller("Agent", daily.agent, task.workload))
    assert not world.honours(issued)


@EACH
async def test_all_records_at_once_cannot_be_asked_for(opened: Open, name: str) -> None:
    """There are no wildcards in a token, ever."""
    daily = DAILY[name]
    with pytest.raises(InvalidScope):
        Scope.parse(daily.scope.replace(daily.scope.partition("#")[0].rpartition("/")[2], "*"))


async def test_support_is_not_talked_round_by_asking_again_and_again(opened: Open) -> None:
    world, daily = opened("support"), DAILY["support"]
    task = await world.begin(daily.agent, daily.type)
    for _ in range(11):
        assert (await refused(world, task, "helpdesk:ticket/4711#reply[messages]"))[0] == "outside_task_type"
    world.advance(2_000)
    assert await refused(world, task, daily.scope) == ("forbidden", ("whoever-keeps-asking-waits",))
    await world.live_for(700_000)
    assert world.honours(await world.ask(await world.begin(daily.agent, daily.type), daily.scope))


async def test_finance_prepares_what_an_invoice_says_and_pays_nothing(opened: Open) -> None:
    world, payment = opened("finance"), "payments:payment/p-17"
    task = await world.begin("payables-bot", "pay-invoice")
    before = await world.ask(task, f"{payment}#prepare[amount,reference,supplier]")
    await world.ask(task, "invoices:invoice/17#read[amount,number,supplier]")
    assert world.honours(before)
    assert world.honours(await world.ask(task, f"{payment}#prepare[amount,reference,supplier]"))
    reason, policies = await refused(world, task, f"{payment}#release[amount,reference,supplier]")
    # A person's yes alone would not help: the task is done for nobody who may pay.
    assert reason == "forbidden"
    assert set(policies) == {
        "a-payment-needs-a-person",
        "irreversible-means-approval",
        "payments-are-for-accounts-payable",
        "tainted-tasks-change-nothing",
    }


async def test_operations_pauses_nothing_more_once_a_log_was_read(opened: Open) -> None:
    """The log is read in a sub-task: what a child has read, its parent may have been told (TRAPS 15b)."""
    world, release = opened("operations"), "deployer:release/shop/2027-1"
    root = await world.begin("ops-bot", "recommend")
    pause, recommend = [await world.ask(root, f"{release}#{action}") for action in ("pause", "recommend")]
    child = await world.declare("watch", workload=root.workload, parent=root.id)
    await world.ask(child, "metrics:series/shop/latency#read")
    assert world.honours(pause)
    await world.ask(child, "logs:stream/shop/web#read[message]")
    assert not world.honours(pause)
    assert world.honours(recommend)
    assert await refused(world, root, f"{release}#pause") == ("approval_required", ("tainted-tasks-change-nothing",))


async def test_operations_learns_what_a_policy_on_trial_would_refuse(opened: Open) -> None:
    world = opened("operations")
    shadows = []
    for day in ("Thursday", "Friday"):
        await world.live_until(day, 12)
        task = await world.begin("staging-bot", "roll-out")
        assert world.honours(await world.ask(task, "deployer-staging:release/shop/2027-1#deploy"))
        shadows.append((await recorded(world))[-1].record.shadow)
    assert shadows == [(), ("no-release-before-the-weekend",)]


async def test_operations_is_reduced_to_reading_by_one_word_of_an_operator(opened: Open) -> None:
    world, release = opened("operations"), "deployer:release/shop/2027-1"
    task = await world.begin("ops-bot", "recommend")
    pause = await world.ask(task, f"{release}#pause")
    await world.broker.reduction.reduce(ReductionSelector(agent="ops-bot"), "read-only", "an incident", ADMIN)
    assert not world.honours(pause)
    assert (await refused(world, task, f"{release}#recommend"))[0] == "reduced"
    assert world.honours(await world.ask(task, f"{release}#read"))


async def test_health_offers_no_time_once_anything_about_a_patient_was_read(opened: Open) -> None:
    world, slot = opened("health"), "appointments:slot/2027-01-11t09"
    task = await world.begin("desk-bot", "arrange-appointment")
    await world.ask(task, f"{slot}#read")
    offer = await world.ask(task, f"{slot}#offer[time]")
    assert world.honours(offer)
    insurer = await world.ask(task, "records:patient/8f3k#read[insurer]")
    assert not world.honours(offer)
    assert world.honours(insurer)
    assert await refused(world, task, f"{slot}#offer[time]") == ("forbidden", ("sensitive-data-stays-inside",))


async def test_health_does_not_learn_who_a_patient_is_whom_it_knows(opened: Open) -> None:
    world, patient = opened("health"), "records:patient/8f3k"
    task = await world.begin("ward-bot", "check-medication", resources=[patient])
    child = await world.declare("check-medication", workload=task.workload, parent=task.id)
    await world.ask(child, f"{patient}#read[medication]")
    assert await refused(world, task, f"{patient}#read[name]") == ("forbidden", ("who-has-read-health-asks-not-who",))


async def test_health_records_which_fields_of_whom_were_given_and_for_what(opened: Open) -> None:
    world, scope = opened("health"), "records:patient/8f3k#read[allergies,medication]"
    task = await world.begin("ward-bot", "check-medication")
    issued = await world.ask(task, scope)
    record = next(entry.record for entry in await recorded(world) if entry.record.kind == "token.issued")
    assert (record.scope, record.agent, record.task, record.lease) == (scope, "ward-bot", task.id, issued.lease_id)
    assert record.policies == ("read-inside-own-environment",)


async def test_health_wants_every_field_named(opened: Open) -> None:
    world = opened("health")
    scope = Scope.parse("records:patient/8f3k#read")
    with pytest.raises(BrokerError) as caught:
        ceiling.resolve_fields(scope, world.registry.entry(scope))
    assert caught.value.code == "invalid_scope"


async def test_people_reads_no_file_for_who_is_no_longer_of_the_people_team(opened: Open) -> None:
    """What a token of the provider says of somebody's groups counts for the task it was shown for, and no other."""
    world, leave = opened("people"), "hr:employee/e-118#read[leave.days]"
    petra = await world.begin("people-bot", "answer-employee", user="corp:petra", groups=["people-team"])
    assert world.honours(await world.ask(petra, leave))
    moved = await world.begin("people-bot", "answer-employee", user="corp:petra", groups=["sales"])
    assert await refused(world, moved, leave) == ("forbidden", ("files-are-for-the-people-team",))


async def test_people_shortlists_nobody_once_an_application_was_read(opened: Open) -> None:
    world, application = opened("people"), "recruiting:application/a-77"
    task = await world.begin("recruiting-bot", "sort-applications")
    shortlist, summarise = [await world.ask(task, f"{application}#{action}[stage]") for action in ("shortlist", "summarise")]
    await world.ask(task, f"{application}#read[letter,resume]")
    assert not world.honours(shortlist)
    assert world.honours(summarise)
    answer = await refused(world, task, f"{application}#shortlist[stage]")
    assert answer == ("approval_required", ("tainted-tasks-change-nothing",))


async def test_sales_changes_and_sends_nothing_more_once_a_page_was_read(opened: Open) -> None:
    """Two services hear of it, each on its own stream."""
    world, opportunity = opened("sales"), "crm:opportunity/o-31"
    task = await world.begin("sales-bot", "advance-opportunity")
    update = await world.ask(task, f"{opportunity}#update[next_step]")
    invite = await world.ask(task, "calendar:meeting/m-5#invite[guests,subject,time]")
    read = await world.ask(task, f"{opportunity}#read")
    assert all(map(world.honours, (update, invite, read)))
    await world.ask(task, "web:page/example.org/about#read")
    assert [world.honours(token) for token in (update, invite, read)] == [False, False, True]


async def test_legal_seals_a_document_and_tokens_that_are_out_end(opened: Open) -> None:
    world, filing = opened("legal"), "dms:filing/m-2027-014/statement#read"
    task = await world.begin("review-bot", "review-m-2027-014")
    agreement, other = await world.ask(task, f"{AGREEMENT}#read[text]"), await world.ask(task, filing)
    own = world.folder / "policies" / "legal.cedar"
    own.write_text(own.read_text() + SEAL)
    await world.look()
    await world.broker.redecision.decide_again()
    assert not world.honours(agreement)
    assert world.honours(other)
    assert await refused(world, task, f"{AGREEMENT}#read[text]") == ("forbidden", ("sealed-today",))
