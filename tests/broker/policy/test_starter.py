"""The policies that `broker init` writes: what they give, and what they never give."""

from pathlib import Path

import pytest

from broker import policy as policy_room
from broker.errors import AccessDenied
from broker.tasks import Exposure
from scopes.claims import Confirmation
from tests.broker.policy.questions import PERMIT_ALL, REGISTRY, Asker, operators

STARTER = [path.read_text() for path in sorted((Path(policy_room.__file__).parent / "starter").glob("*.cedar"))]
ROLES = {"ada": "admin", "otto": "operator", "adele": "auditor"}
FLEET = ("Fleet", "fleet")
KEY, CERTIFICATE = Confirmation(jkt="0ZcO"), Confirmation(x5t_s256="bwcK")


@pytest.fixture
def starter(tmp_path: Path) -> Asker:
    return Asker(tmp_path, *STARTER, registry_text=REGISTRY + operators(*ROLES.items()))


def may(
    asker: Asker, principal: tuple[str, str], action: str, resource: tuple[str, str], owner: tuple[str, str] | None = None
) -> bool:
    attributes = {} if owner is None else {owner[0].lower(): {"__entity": {"type": owner[0], "id": owner[1]}}}
    try:
        asker.policy.check_operation(principal, action, resource, attributes)
    except AccessDenied:
        return False
    return True


def test_an_agent_may_read_in_its_own_environment(starter: Asker) -> None:
    assert starter.decide("crm:ticket/1#read[email]").policies == ("read-inside-own-environment",)


@pytest.mark.parametrize("action", ["draft", "edit", "reply"])
def test_every_level_above_read_needs_a_policy_of_your_own(starter: Asker, action: str) -> None:
    decision = starter.decide(f"crm:ticket/1#{action}[subject]", confirmation=KEY)
    # What cannot be taken back is forbidden as well, until a person says yes; and then it still needs a policy.
    assert (decision.allowed, decision.reason) == (False, "forbidden" if action == "reply" else "not_permitted")
    assert not starter.allows(f"crm:ticket/1#{action}[subject]", confirmation=KEY, approved=True)


@pytest.mark.parametrize("action", ["draft", "edit", "reply"])
def test_every_level_above_read_needs_a_proof_whatever_another_policy_permits(tmp_path: Path, action: str) -> None:
    asker = Asker(tmp_path, *STARTER, PERMIT_ALL)
    scope = f"crm:ticket/1#{action}[subject]"
    refused = asker.decide(scope, approved=True)
    assert (refused.allowed, refused.reason, refused.policies) == (False, "proof_required", ("proof-above-read",))
    assert asker.allows(scope, confirmation=KEY, approved=True)
    assert asker.allows(scope, confirmation=CERTIFICATE, approved=True)


def test_reading_needs_no_proof(starter: Asker) -> None:
    assert starter.allows("crm:ticket/1#read[subject]")
    assert starter.allows("crm:ticket/1#read[subject]", confirmation=KEY)


def test_nobody_is_told_to_bring_a_proof_that_would_not_help(starter: Asker) -> None:
    assert starter.decide("crm:ticket/1#draft[subject]").reason == "forbidden"


@pytest.mark.parametrize(
    ("agent", "scope"),
    [("bot", "lab:sample/1#read"), ("probe", "crm:ticket/1#read[subject]")],
    ids=["prod to test", "test to prod"],
)
def test_environments_never_cross(starter: Asker, agent: str, scope: str) -> None:
    decision = starter.decide(scope, agent=agent)
    assert (decision.reason, decision.policies) == ("forbidden", ("environments-never-cross",))


def test_environments_never_cross_whatever_another_policy_permits(tmp_path: Path) -> None:
    asker = Asker(tmp_path, *STARTER, '@id("mine") permit (principal, action, resource);')
    assert asker.allows("crm:ticket/1#reply[subject]", confirmation=KEY, approved=True)
    assert not asker.allows("lab:sample/1#shake", confirmation=KEY)
    assert asker.allows("lab:sample/1#shake", agent="probe", confirmation=KEY)


@pytest.mark.parametrize("action", ["task:show", "task:end"])
def test_an_agent_sees_and_ends_its_own_tasks_only(starter: Asker, action: str) -> None:
    bot = ("Agent", "bot")
    assert may(starter, bot, action, ("Task", "tsk_1"), bot)
    assert not may(starter, bot, action, ("Task", "tsk_1"), ("Agent", "probe"))


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("ada", {"watch", "revoke", "audit:read", "task:show", "task:end", "feed:follow"}),
        ("otto", {"watch", "revoke", "task:show", "task:end"}),
        ("adele", {"watch", "audit:read", "task:show"}),
        ("removed", set()),
    ],
    ids=["admin", "operator", "auditor", "nobody"],
)
def test_operators_do_what_their_role_says(starter: Asker, name: str, actions: set[str]) -> None:
    """TRAPS 28: someone who is not in the registry any more may do nothing."""
    resources = {"task": (("Task", "tsk_1"), ("Agent", "bot")), "feed": (("Feed", "crm"), ("Service", "crm"))}
    for action in ("watch", "revoke", "audit:read", "task:show", "task:end", "feed:follow"):
        resource, owner = resources.get(action.partition(":")[0], (FLEET, None))
        assert may(starter, ("Operator", name), action, resource, owner) is (action in actions), action


def test_a_service_follows_its_own_feed_only(starter: Asker) -> None:
    crm = ("Service", "crm")
    assert may(starter, crm, "feed:follow", ("Feed", "crm"), crm)
    assert not may(starter, crm, "feed:follow", ("Feed", "lab"), ("Service", "lab"))


@pytest.mark.parametrize("action", ["token:introspect", "token:consume"])
def test_a_service_asks_about_and_consumes_its_own_tokens_only(starter: Asker, action: str) -> None:
    crm = ("Service", "crm")
    assert may(starter, crm, action, ("Tokens", "crm"), crm)
    assert not may(starter, crm, action, ("Tokens", "lab"), ("Service", "lab"))


@pytest.mark.parametrize("kind", ["Agent", "Service"])
@pytest.mark.parametrize("action", ["watch", "revoke", "audit:read"])
def test_what_is_for_operators_is_for_nobody_else(starter: Asker, kind: str, action: str) -> None:
    assert not may(starter, (kind, "bot" if kind == "Agent" else "crm"), action, FLEET)


SENSITIVE = Exposure(labels=frozenset({"pii"}))
INVENTED = """
[data_classes]
pii       = {}
financial = {}
public    = { sensitive = false }
payroll   = { office_hours = true }
"""


def everything(tmp_path: Path) -> Asker:
    """Permit all that the starter policies do not forbid."""
    text = REGISTRY.replace('shake = { level = "trigger" }', 'shake = { level = "trigger", external = true }')
    text = text.replace(
        "[services.lab.resources.sample.actions]",
        '[services.lab.resources.sample]\ndata_classes = ["payroll"]\n\n[services.lab.resources.sample.actions]',
    )
    return Asker(tmp_path, *STARTER, PERMIT_ALL, registry_text=INVENTED + text)


def test_what_cannot_be_taken_back_needs_a_persons_yes(tmp_path: Path) -> None:
    asker = everything(tmp_path)
    decision = asker.decide("crm:ticket/1#reply[subject]", confirmation=KEY)
    assert (decision.reason, decision.policies) == ("approval_required", ("irreversible-means-approval",))
    assert asker.allows("crm:ticket/1#reply[subject]", confirmation=KEY, approved=True)
    assert asker.allows("crm:ticket/1#edit[subject]", confirmation=KEY)


@pytest.mark.parametrize(("action", "reason"), [("read", ""), ("draft", ""), ("edit", "approval_required")])
def test_a_tainted_task_reads_and_drafts_and_changes_nothing_by_itself(tmp_path: Path, action: str, reason: str) -> None:
    asker = everything(tmp_path)
    scope = f"crm:ticket/1#{action}[subject]"
    decision = asker.decide(scope, confirmation=KEY, exposure=Exposure(tainted=True))
    assert decision.reason == reason
    assert asker.allows(scope, confirmation=KEY, exposure=Exposure(tainted=True), approved=True)


def test_a_task_that_has_read_sensitive_data_sends_nothing_out_whoever_says_yes(tmp_path: Path) -> None:
    asker = everything(tmp_path)
    send = {"agent": "probe", "confirmation": KEY, "approved": True}
    assert asker.allows("lab:sample/1#shake", **send)
    assert asker.allows("lab:sample/1#shake", exposure=Exposure(labels=frozenset({"public"})), **send)
    decision = asker.decide("lab:sample/1#shake", exposure=SENSITIVE, **send)
    assert (decision.reason, decision.policies) == ("forbidden", ("sensitive-data-stays-inside",))


def test_a_class_that_nobody_declared_is_sensitive(tmp_path: Path) -> None:
    """Unknown means no: a class of data that the registry says nothing of may be anything."""
    asker = Asker(
        tmp_path,
        *STARTER,
        PERMIT_ALL,
        registry_text=REGISTRY.replace('level = "trigger" }', 'level = "trigger", external = true }'),
    )
    send = {"agent": "probe", "confirmation": KEY, "approved": True}
    assert asker.allows("lab:sample/1#shake", **send)
    assert not asker.allows("lab:sample/1#shake", exposure=Exposure(labels=frozenset({"unheard-of"})), **send)


@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        ("2027-01-04T06:00:00", True),
        ("2027-01-04T05:59:59", False),
        ("2027-01-04T18:00:00", False),
        ("2027-01-09T12:00:00", False),
    ],
)
def test_classes_that_say_so_are_for_office_hours(tmp_path: Path, moment: str, allowed: bool) -> None:
    asker = everything(tmp_path)
    asker.clock.set(moment)
    assert asker.allows("lab:sample/1#read", agent="probe") is allowed
    assert asker.allows("crm:ticket/1#read[subject]")
