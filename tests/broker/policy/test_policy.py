"""The second lock: Cedar decides inside the ceiling, default deny, `forbid` wins."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import AccessDenied
from broker.policy import policy as policy_file
from scopes.claims import Confirmation
from tests.broker.policy.questions import PERMIT_ALL, READ_TICKET, REGISTRY, Asker, operators

READS = ["crm:ticket/1#read[subject]", "crm:ticket/2#read[email]", "lab:sample/1#read", "crm:ticket/1#reply[subject]"]

# Adding up to more than a Cedar integer holds is the one way to err that the validator cannot see.
ERR = "context.ttl + 9223372036854775807 > 0"


def permit(
    condition: str, *, id: str = "some", effect: str = "permit", action: str = 'action == Action::"crm:ticket#read"'
) -> str:
    return f'@id("{id}") {effect} (principal is Agent, {action}, resource is Record) when {{ {condition} }};\n'


def test_what_no_policy_permits_is_refused(tmp_path: Path) -> None:
    decision = Asker(tmp_path, permit("context.ttl > 1000")).decide()
    assert (decision.allowed, decision.reason, decision.policies) == (False, "not_permitted", ())


def test_what_a_policy_permits_is_allowed_and_the_policy_named(tmp_path: Path) -> None:
    asker = Asker(tmp_path, PERMIT_ALL)
    decision = asker.decide()
    assert (decision.allowed, decision.reason, decision.policies) == (True, "", ("all",))
    assert decision.version == asker.policy.version


def test_forbid_wins_and_is_named(tmp_path: Path) -> None:
    decision = Asker(tmp_path, PERMIT_ALL, permit("true", id="no", effect="forbid")).decide()
    assert (decision.allowed, decision.reason, decision.policies) == (False, "forbidden", ("no",))


def test_every_policy_that_decided_is_named_in_order(tmp_path: Path) -> None:
    decision = Asker(tmp_path, PERMIT_ALL, permit("true", id="zoo"), permit("true", id="ant")).decide()
    assert decision.policies == ("all", "ant", "zoo")


@pytest.mark.parametrize("effect", ["forbid", "permit"])
def test_a_policy_that_errs_refuses_whatever_the_others_say(tmp_path: Path, effect: str) -> None:
    """`DESIGN.md` 3.2: an erroring `forbid` must not fail open. Cedar itself would skip it."""
    decision = Asker(tmp_path, PERMIT_ALL, permit(ERR, effect=effect)).decide()
    assert (decision.allowed, decision.reason) == (False, "policy_error")


def test_a_policy_that_would_err_elsewhere_is_no_matter_here(tmp_path: Path) -> None:
    assert Asker(tmp_path, PERMIT_ALL, permit(ERR, action='action == Action::"crm:ticket#reply"')).allows()


@pytest.mark.parametrize(
    ("condition", "asked", "changes", "allowed"),
    [
        ('principal.owner == "jane@example.com"', READ_TICKET, {}, True),
        ('principal.owner == "joe@example.com"', READ_TICKET, {}, False),
        ('principal.environment == "prod"', READ_TICKET, {}, True),
        ('principal.trust_domain == "prod"', READ_TICKET, {}, True),
        ('principal.trust_domain == "prod"', READ_TICKET, {"trust_domain": "stage"}, False),
        ('resource.service == "crm" && resource.type == "ticket"', READ_TICKET, {}, True),
        ('resource.environment == "prod"', READ_TICKET, {}, True),
        ('resource.data_classes.contains("pii") && resource.untrusted', READ_TICKET, {}, True),
        ('context.fields == ["subject"]', READ_TICKET, {}, True),
        ('context.fields == ["subject"]', "crm:ticket/1#read[email,subject]", {}, False),
        ('context.fields.contains("email")', "crm:ticket/1#read[email,subject]", {}, True),
        ("context.data_classes.isEmpty()", READ_TICKET, {}, True),
        ('context.data_classes == ["pii"]', "crm:ticket/1#read[email,subject]", {}, True),
        ('context.data_classes == ["financial", "pii"]', "crm:ticket/1#read[card_number,email]", {}, True),
        ('context.task.type == "all"', READ_TICKET, {}, True),
        ('context.task.type == "all"', READ_TICKET, {"type": "some"}, False),
        ("context.task.depth == 0", READ_TICKET, {}, True),
        ("context.task.depth == 2", READ_TICKET, {"depth": 2}, True),
        ('context.level == "read" && context.reversible', READ_TICKET, {}, True),
        ("context.ttl <= 60", READ_TICKET, {"ttl": 60}, True),
        ("context.ttl <= 60", READ_TICKET, {"ttl": 61}, False),
    ],
)
def test_a_policy_sees_who_asks_for_what_and_for_which_task(
    tmp_path: Path, condition: str, asked: str, changes: dict[str, object], allowed: bool
) -> None:
    assert Asker(tmp_path, permit(condition)).allows(asked, **changes) is allowed


@pytest.mark.parametrize(("scope", "level"), [("read", "read"), ("draft", "draft"), ("edit", "write"), ("reply", "trigger")])
def test_every_action_is_in_the_group_of_its_level_and_in_no_other(tmp_path: Path, scope: str, level: str) -> None:
    for group in ("read", "draft", "write", "trigger"):
        asker = Asker(tmp_path, permit("true", action=f'action in Action::"{group}"'))
        assert asker.allows(f"crm:ticket/1#{scope}[subject]") is (group == level)


def test_a_policy_sees_what_cannot_be_taken_back(tmp_path: Path) -> None:
    asker = Asker(tmp_path, permit("!context.reversible", action="action"))
    assert asker.allows("crm:ticket/1#reply[subject]")
    assert not asker.allows("crm:ticket/1#draft[subject]")


@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        ("2027-01-04T08:00:00", True),
        ("2027-01-04T07:59:59", False),
        ("2027-01-08T16:59:59", True),
        ("2027-01-08T17:00:00", False),
        ("2027-01-09T12:00:00", False),
        ("2027-01-10T12:00:00", False),
    ],
    ids=["Monday morning", "too early", "Friday afternoon", "too late", "Saturday", "Sunday"],
)
def test_a_policy_sees_the_hour_and_the_weekday_in_utc(tmp_path: Path, moment: str, allowed: bool) -> None:
    asker = Asker(tmp_path, permit("context.hour >= 8 && context.hour < 17 && context.weekday <= 5"))
    asker.clock.set(moment)
    assert asker.allows() is allowed


@pytest.mark.parametrize(
    ("condition", "moments"),
    [
        ("context.hour == 12", {"2027-01-04T12:59:59": True, "2027-01-04T13:00:00": False}),
        ("context.hour == 13", {"2027-01-04T12:59:59": False, "2027-01-04T13:00:00": True}),
        ("context.weekday == 1", {"2027-01-04T12:00:00": True, "2027-01-05T12:00:00": False}),
        ("context.weekday == 2", {"2027-01-04T12:00:00": False, "2027-01-05T12:00:00": True}),
    ],
)
def test_what_was_decided_at_one_time_is_decided_again_at_another(
    tmp_path: Path, condition: str, moments: dict[str, bool]
) -> None:
    asker = Asker(tmp_path, permit(condition))
    for moment, allowed in [*moments.items(), *reversed(moments.items())]:
        asker.clock.set(moment)
        assert asker.allows() is allowed


@pytest.mark.parametrize(
    "record",
    [
        'resource == Record::"crm:ticket/4711"',
        'resource == Record :: "crm:ticket/4711"',
        'resource == Record // the one\n::"crm:ticket/4711"',
        'resource in [Record::"crm:ticket/4711", Record::"crm:ticket/12"]',
    ],
    ids=["plainly", "with spaces", "with a comment between", "in a list"],
)
@pytest.mark.parametrize("order", [("4711", "1"), ("1", "4711")], ids=["named first", "other first"])
def test_a_policy_that_forbids_one_record_forbids_that_record_and_no_other(
    tmp_path: Path, record: str, order: tuple[str, str]
) -> None:
    """What is remembered must not mix records once a policy names one, however it spells that."""
    asker = Asker(tmp_path, PERMIT_ALL, permit(record, effect="forbid"))
    answers = {ticket: asker.allows(f"crm:ticket/{ticket}#read[subject]") for ticket in order}
    assert answers == {"4711": False, "1": True}


def test_a_policy_that_names_a_record_in_its_head_is_honoured(tmp_path: Path) -> None:
    head = '@id("one") permit (principal, action == Action::"crm:ticket#read", resource == Record::"crm:ticket/4711");'
    asker = Asker(tmp_path, head)
    assert not asker.allows("crm:ticket/47#read[subject]")
    assert asker.allows("crm:ticket/4711#read[subject]")


QUESTIONS = st.fixed_dictionaries(
    {
        "text": st.sampled_from(READS),
        "agent": st.sampled_from(["bot", "probe"]),
        "type": st.sampled_from(["all", "some"]),
        "depth": st.integers(0, 2),
        "ttl": st.sampled_from([30, 60, 300]),
        "trust_domain": st.sampled_from(["prod", "stage"]),
    }
)
TANGLED = (
    permit("context.ttl <= 60 || context.task.depth == 1", id="short", action="action")
    + permit('context.fields.contains("email") && context.hour >= 12', id="late", effect="forbid", action="action")
    + permit('principal.trust_domain == "stage" && context.task.type == "all"', id="stage", effect="forbid", action="action")
    + permit('principal == Agent::"probe" && resource.service == "crm"', id="probe", effect="forbid", action="action")
)


@pytest.fixture(scope="module")
def tangled(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Asker]:
    """Policies that look at everything; under `True` they name a record as well."""
    record = permit('resource == Record::"crm:ticket/2"', id="two", effect="forbid", action="action")
    return {names: Asker(tmp_path_factory.mktemp("tangled"), TANGLED, record if names else "") for names in (False, True)}


@given(asked=st.lists(st.tuples(QUESTIONS, st.integers(0, 23)), min_size=1, max_size=12), names_record=st.booleans())
def test_decisions_remembered_are_those_of_a_policy_that_remembers_nothing(
    tangled: dict[bool, Asker], asked: list[tuple[dict[str, Any], int]], names_record: bool
) -> None:
    """What is remembered never answers another question."""
    asker = tangled[names_record]
    remembering = asker.anew()
    for question, hour in asked * 2:
        asker.clock.set(f"2027-01-04T{hour:02}:00:00")
        assert remembering.decide(asker.question(**question)) == asker.anew().decide(asker.question(**question))


@pytest.mark.parametrize("no_first", [False, True], ids=["yes and then no", "no and then yes"])
@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ('principal == Agent::"bot"', {"agent": "bot"}, {"agent": "probe"}),
        ('principal.trust_domain == "prod"', {"trust_domain": "prod"}, {"trust_domain": "stage"}),
        ('context.task.type == "all"', {"type": "all"}, {"type": "some"}),
        ("context.task.depth == 0", {"depth": 0}, {"depth": 1}),
        ('context.fields.contains("subject")', {"text": "crm:ticket/1#read[subject]"}, {"text": "crm:ticket/1#read[email]"}),
        ('context.level == "draft"', {"text": "crm:ticket/1#draft[subject]"}, {"text": "crm:ticket/1#reply[subject]"}),
        ('resource.service == "crm"', {"text": "crm:ticket/1#read[subject]"}, {"text": "lab:sample/1#read"}),
        ("context.ttl == 60", {"ttl": 60}, {"ttl": 300}),
        ("context.ttl == 300", {"ttl": 300}, {"ttl": 60}),
    ],
    ids=["agent", "trust domain", "task type", "depth", "fields", "action", "service", "a short life", "a long life"],
)
def test_questions_that_differ_in_one_thing_are_two(
    tmp_path: Path, condition: str, yes: dict[str, Any], no: dict[str, Any], no_first: bool
) -> None:
    asker = Asker(tmp_path, permit(condition, action="action"))
    asked = [(yes, True), (no, False)]
    for changes, allowed in reversed(asked) if no_first else asked:
        assert asker.allows(**changes) is allowed


def test_what_is_remembered_is_bounded_and_stays_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_file, "MAX_REMEMBERED", 3)
    asker = Asker(tmp_path, permit("context.ttl <= 120"))
    asked = (15, 30, 60, 120, 300, 600, 900)
    assert [asker.allows(ttl=ttl) for ttl in asked * 2] == [ttl <= 120 for ttl in asked * 2]


def operation(asker: Asker, principal: tuple[str, str], action: str, resource: tuple[str, str], **attributes: object) -> str:
    """Ask for an operation; return an empty text, or why it is refused."""
    try:
        asker.policy.check_operation(principal, action, resource, dict(attributes))
    except AccessDenied as error:
        return error.reason
    return ""


def reference(kind: str, name: str) -> dict[str, object]:
    return {"__entity": {"type": kind, "id": name}}


@pytest.mark.parametrize(
    ("condition", "agent", "task_of", "reason"),
    [
        ('principal.environment == "prod"', "bot", "bot", ""),
        ('principal.owner == "jane@example.com"', "bot", "bot", ""),
        ('principal.trust_domain == "prod"', "bot", "bot", ""),
        ('principal.environment == "prod"', "probe", "probe", "not_permitted"),
        ('resource.agent.owner == "joe@example.com"', "bot", "probe", ""),
        ('principal.trust_domain == "prod"', "probe", "probe", "policy_error"),
        ('principal.environment == "prod"', "gone", "gone", "policy_error"),
    ],
    ids=[
        "its environment",
        "its owner",
        "its trust domain",
        "another environment",
        "the owner of the task's agent",
        "of two trust domains",
        "not in the registry any more",
    ],
)  # fmt: skip
def test_a_policy_about_an_operation_can_read_what_the_registry_says_of_an_agent(
    tmp_path: Path, condition: str, agent: str, task_of: str, reason: str
) -> None:
    """What the validator takes must not err on every request; where the registry does not say, it errs, and so refuses."""
    text = f'@id("x") permit (principal is Agent, action == Action::"task:end", resource is Task) when {{ {condition} }};'
    task = reference("Agent", task_of)
    assert operation(Asker(tmp_path, text), ("Agent", agent), "task:end", ("Task", "tsk_1"), agent=task) == reason


def test_a_policy_about_the_feed_can_read_whose_feed_it_is(tmp_path: Path) -> None:
    text = '@id("x") permit (principal is Operator, action, resource is Feed) when { resource.service.environment == "test" };'
    asker = Asker(tmp_path, text, registry_text=REGISTRY + operators(("olga", "operator")))
    answers = {
        name: operation(asker, ("Operator", "olga"), "feed:follow", ("Feed", name), service=reference("Service", name))
        for name in ("crm", "lab")
    }
    assert answers == {"crm": "not_permitted", "lab": ""}


def test_the_operation_that_is_refused_is_named_with_who_wanted_it(tmp_path: Path) -> None:
    asker = Asker(tmp_path, PERMIT_ALL + '@id("stop") forbid (principal, action == Action::"revoke", resource);')
    with pytest.raises(AccessDenied, match="operator olga may not revoke") as refused:
        asker.policy.check_operation(("Operator", "olga"), "revoke", ("Fleet", "fleet"), {})
    assert (refused.value.reason, refused.value.policies) == ("forbidden", ("stop",))


def test_an_operation_that_a_policy_permits_is_allowed_by_name(tmp_path: Path) -> None:
    asker = Asker(tmp_path, PERMIT_ALL)
    decision = asker.policy.check_operation(("Operator", "olga"), "revoke", ("Fleet", "fleet"), {})
    assert decision.policies == ("all",)


PROOF = '@id("proof") forbid (principal, action, resource is Record) when { context.proof == "none" };'
CERTIFICATE_ONLY = '@id("certificate") forbid (principal, action, resource is Record) unless { context.proof == "mtls" };'
NEVER = '@id("never") forbid (principal, action, resource is Record);'
ERRS = '@id("errs") forbid (principal, action, resource is Record) when { context.proof == "none" && context.ttl * LARGE > 0 };'
ERRS_WITHOUT = ERRS.replace("LARGE", "9223372036854775807")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [(PROOF, "proof_required"), (CERTIFICATE_ONLY, "proof_required"), (NEVER, "forbidden"), (PROOF + NEVER, "forbidden")],
    ids=["any proof", "a certificate", "never", "never, proof or not"],
)
def test_a_proof_is_asked_for_where_it_would_help_and_only_there(tmp_path: Path, policy: str, reason: str) -> None:
    asker = Asker(tmp_path, PERMIT_ALL, policy)
    assert [asker.decide().reason for _ in range(2)] == [reason, reason]
    assert not asker.allows()


def test_a_policy_that_errs_without_a_proof_asks_for_none(tmp_path: Path) -> None:
    assert Asker(tmp_path, PERMIT_ALL, ERRS_WITHOUT).decide().reason == "policy_error"


def test_whoever_has_a_proof_is_not_asked_for_another(tmp_path: Path) -> None:
    assert Asker(tmp_path, PERMIT_ALL, CERTIFICATE_ONLY).decide(confirmation=Confirmation(jkt="0ZcO")).reason == "forbidden"


UNLESS_APPROVED = '@id("ask") forbid (principal, action, resource is Record) unless { context.approved };'


@pytest.mark.parametrize(
    ("policy", "changes", "reason"),
    [
        (UNLESS_APPROVED, {}, "approval_required"),
        (UNLESS_APPROVED, {"approved": True}, ""),
        (PROOF + UNLESS_APPROVED, {}, "proof_required"),
        (PROOF + UNLESS_APPROVED, {"confirmation": Confirmation(jkt="0ZcO")}, "approval_required"),
        (PROOF + UNLESS_APPROVED, {"approved": True}, "proof_required"),
        (NEVER + UNLESS_APPROVED, {}, "forbidden"),
        (NEVER + UNLESS_APPROVED, {"approved": True}, "forbidden"),
    ],
    ids=["a yes", "has it", "a proof, then a yes", "has the proof", "has the yes", "neither", "neither, with a yes"],
)
def test_the_reason_is_what_would_help_first(tmp_path: Path, policy: str, changes: dict[str, Any], reason: str) -> None:
    """Of two things that are missing, the one that takes no person's time."""
    assert Asker(tmp_path, PERMIT_ALL, policy).decide(**changes).reason == reason


def test_a_permit_that_waits_for_a_person_says_so_too(tmp_path: Path) -> None:
    assert Asker(tmp_path, permit("context.approved")).decide().reason == "approval_required"
    assert Asker(tmp_path, permit("context.ttl > 1000")).decide().reason == "not_permitted"
