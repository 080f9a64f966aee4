"""The policies that `broker init` writes: what they give, and what they never give."""

from pathlib import Path

import pytest

from broker import policy as policy_room
from broker.errors import AccessDenied
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
    assert (decision.allowed, decision.reason) == (False, "not_permitted")


@pytest.mark.parametrize("action", ["draft", "edit", "reply"])
def test_every_level_above_read_needs_a_proof_whatever_another_policy_permits(tmp_path: Path, action: str) -> None:
    asker = Asker(tmp_path, *STARTER, PERMIT_ALL)
    scope = f"crm:ticket/1#{action}[subject]"
    refused = asker.decide(scope)
    assert (refused.allowed, refused.reason, refused.policies) == (False, "proof_required", ("proof-above-read",))
    assert asker.allows(scope, confirmation=KEY)
    assert asker.allows(scope, confirmation=CERTIFICATE)


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
    assert asker.allows("crm:ticket/1#reply[subject]", confirmation=KEY)
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
