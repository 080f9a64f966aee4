"""What policies say beside the answer: what it does not survive, and what policies would say that are not obeyed yet."""

from pathlib import Path
from typing import Any

import pytest

from broker.tasks import Exposure
from tests.broker.policy.questions import PERMIT_ALL, Asker
from tests.broker.policy.test_policy import ERR, NEVER, permit

# Policies that are asked and not obeyed


def shadow(text: str) -> str:
    return f"@shadow {text}"


@pytest.mark.parametrize(
    ("policies", "allowed", "turned"),
    [
        ((PERMIT_ALL, shadow(NEVER)), True, ("never",)),
        ((PERMIT_ALL, shadow(permit("true"))), True, ()),
        ((shadow(permit("true")),), False, ("some",)),
        ((PERMIT_ALL, NEVER, shadow(permit("true"))), False, ()),
        ((PERMIT_ALL, NEVER, shadow(NEVER.replace("never", "also"))), False, ()),
        ((PERMIT_ALL, shadow(permit("false", effect="forbid"))), True, ()),
        ((PERMIT_ALL, shadow(permit("true", id="a", effect="forbid")), shadow(permit("true", id="b"))), True, ("a",)),
    ],
    ids=[
        "would forbid",
        "permits what is",
        "would permit",
        "a permit against a forbid",
        "forbids what is",
        "does not apply",
        "two",
    ],
)
def test_a_policy_in_shadow_mode_is_never_obeyed_and_named_only_where_it_would_turn_the_answer(
    tmp_path: Path, policies: tuple[str, ...], allowed: bool, turned: tuple[str, ...]
) -> None:
    decision = Asker(tmp_path, *policies).decide()
    assert (decision.allowed, decision.shadow) == (allowed, turned)
    assert set(turned).isdisjoint(decision.policies)


def test_a_policy_in_shadow_mode_that_errs_changes_nothing(tmp_path: Path) -> None:
    decision = Asker(tmp_path, PERMIT_ALL, shadow(permit(ERR, effect="forbid"))).decide()
    assert decision.allowed
    assert decision.policies == ("all",)


# What an answer does not survive


def ends_on(asker: Asker, **changes: Any) -> tuple[bool, tuple[str, ...]]:
    return asker.policy.ends_on(asker.decide(**changes))


def forbid(condition: str, id: str = "no") -> str:
    return permit(condition, id=id, effect="forbid")


TAINTED, PII = "context.task.tainted", 'context.task.labels.contains("pii")'
FINANCIAL = 'context.task.labels.contains("financial")'
PII_READ = Exposure(labels=frozenset({"pii"}))


@pytest.mark.parametrize(
    ("policy", "changes", "ends"),
    [
        ("", {}, (False, ())),
        (forbid(TAINTED), {}, (True, ())),
        (forbid(f"!{TAINTED}"), {"exposure": Exposure(tainted=True)}, (False, ())),
        (forbid(PII), {}, (False, ("pii",))),
        (forbid("context.task.read_sensitive"), {}, (False, ("financial", "pii"))),
        (forbid('context.task.read_sensitive && context.level == "trigger"'), {}, (False, ())),
        (forbid(f"{PII} && {FINANCIAL}"), {}, (False, ("financial", "pii"))),
        (forbid(f"{PII} && {FINANCIAL}"), {"exposure": PII_READ}, (False, ("financial",))),
        (forbid(f"{TAINTED} && {PII}"), {}, (True, ("financial", "pii"))),
        (forbid(f"{TAINTED} && {PII}"), {"exposure": PII_READ}, (True, ())),
        (forbid(TAINTED, "one") + forbid(f"{PII} && {FINANCIAL}", "two"), {}, (True, ("financial", "pii"))),
        (
            forbid(f"!{TAINTED}", "one") + forbid(f"{PII} && {FINANCIAL}", "two"),
            {"exposure": Exposure(tainted=True)},
            (False, ("financial", "pii")),
        ),
        (forbid(f"{TAINTED} && {FINANCIAL}"), {"exposure": PII_READ}, (True, ("financial",))),
        (forbid(PII, "one") + forbid(f"{TAINTED} && {FINANCIAL}", "two"), {}, (True, ("financial", "pii"))),
    ],
    ids=[
        "nothing looks at it",
        "taint",
        "tainted already",
        "one class",
        "every sensitive class",
        "of other levels",
        "two classes together",
        "the second of two",
        "taint and a class together",
        "taint, of a class read before",
        "taint, and two classes together",
        "two classes together, of a tree that is tainted already",
        "taint and a class together, of a tree that has read another",
        "a class, and taint with another",
    ],
)
def test_an_answer_says_what_it_does_not_survive(
    tmp_path: Path, policy: str, changes: dict[str, Any], ends: tuple[bool, tuple[str, ...]]
) -> None:
    """Where only several together are too much, each of them ends it: nobody knows which comes first."""
    assert ends_on(Asker(tmp_path, PERMIT_ALL, policy), **changes) == ends


def test_what_an_answer_does_not_survive_is_of_the_moment_of_the_answer(tmp_path: Path) -> None:
    asker = Asker(tmp_path, PERMIT_ALL, forbid("context.task.tainted && context.hour == 12"))
    asker.clock.set("2027-01-04T12:59:59")
    decision = asker.decide()
    asker.clock.set("2027-01-04T13:00:00")
    assert asker.policy.ends_on(decision) == (True, ())


def test_what_one_answer_does_not_survive_is_not_said_of_another(tmp_path: Path) -> None:
    draft = 'action == Action::"crm:ticket#draft"'
    asker = Asker(tmp_path, PERMIT_ALL, f'@id("drafts") forbid (principal, {draft}, resource) when {{ context.task.tainted }};')
    for _ in range(2):
        assert asker.policy.ends_on(asker.decide()) == (False, ())
        assert asker.policy.ends_on(asker.decide("crm:ticket/4711#draft[subject]")) == (True, ())


@pytest.mark.parametrize(
    "condition",
    [
        'context.user == {id: "corp:eve", groups: ["x"]}',
        '[{id: "corp:eve", groups: ["x"]}].contains(context.user)',
        'context.user.id == "corp:eve"',
    ],
)
def test_a_policy_that_compares_a_whole_user_looks_at_its_name(tmp_path: Path, condition: str) -> None:
    """Otherwise the name would be left out of what it sees, and it would never apply."""
    assert Asker(tmp_path, PERMIT_ALL, forbid(f"context has user && {condition}")).policy.folder.kept.user_ids
    assert not Asker(tmp_path, PERMIT_ALL, forbid("context has user", "x")).policy.folder.kept.user_ids
