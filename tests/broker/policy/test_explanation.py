"""Why a request is answered as it is, and what alone would turn the answer."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.policy.explanation import Explanation, explain
from broker.policy.trials import Trial, Trials
from tests.broker.policy.questions import PERMIT_ALL, REGISTRY, Asker

READ = Trial(agent="bot", task="all", scope="crm:ticket/1#read[subject,email]")
EDIT = Trial(agent="bot", task="all", scope="crm:ticket/1#edit[subject]")


def explained(folder: Path, condition: str, trial: Trial, **changes: Any) -> Explanation:
    """Explain what is answered where everything is permitted, but for one condition."""
    forbid = f'@id("no") forbid (principal is Agent, action, resource is Record) when {{ {condition} }};'
    asker = Asker(folder, PERMIT_ALL, forbid, registry_text=REGISTRY)
    trials = Trials(asker.policy.folder, asker.registry, max_ttl=900)
    return explain(msgspec.structs.replace(trial, **changes), trials)


@pytest.mark.parametrize(
    ("condition", "trial", "changes", "turning"),
    [
        ('context.proof == "none"', READ, {"proof": "none"}, ["with a proof by DPoP", "with a proof by a certificate (mtls)"]),
        ('context.proof == "dpop"', READ, {}, ["with a proof by a certificate (mtls)", "without a proof"]),
        ("!context.approved", READ, {}, ["with a person's approval"]),
        ("context.task.tainted", EDIT, {"tainted": True}, ["in a tree that is not tainted"]),
        (
            'context.task.labels.contains("pii")',
            EDIT,
            {"labels": ("pii", "financial")},
            ["in a tree that has not read pii", "in a tree that has read none of these classes of data"],
        ),
        (
            'context.data_classes.contains("pii")',
            READ,
            {},
            ["without fields of class pii", "in a task of type some"][:1],
        ),
        ("context.ttl > 60", READ, {}, ["for 60 seconds"]),
        (
            "context.weekday == 1 && context.hour >= 12",
            READ,
            {},
            ["at another time: Monday, 00:00 to 12:00 UTC; Tuesday to Sunday"],
        ),
        ('!(context has user && context.user.groups.contains("support"))', READ, {}, ["for a user who is in support"]),
        ('!(context has user && context.user.id == "corp:jane")', READ, {}, ["for the user corp:jane"]),
        ("context.task.depth > 0", READ, {"within": ("all",)}, ["in a task that is below no other"]),
        ("context.recent_refusals > 3", READ, {"recent_refusals": 9}, ["without refusals lately"]),
        ('context.reductions.contains("read-only")', READ, {"reductions": ("read-only",)}, ["without any reduction"]),
        ("context.task.tainted && !context.approved", READ, {"proof": "none"}, ["with a person's approval"]),
    ],
)
def test_each_single_change_that_turns_a_refusal_is_named(
    tmp_path: Path, condition: str, trial: Trial, changes: dict[str, Any], turning: list[str]
) -> None:
    found = explained(tmp_path, condition, trial, **changes)
    assert not found.verdict.allowed
    assert [change.what for change in found.changes] == turning
    assert all(change.verdict.allowed for change in found.changes)


def test_where_it_takes_two_changes_none_is_named(tmp_path: Path) -> None:
    assert explained(tmp_path, '!context.approved || context.proof == "none"', READ, proof="none").changes == ()


def test_another_task_type_of_the_agent_can_be_what_it_takes(tmp_path: Path) -> None:
    found = explained(tmp_path, "false", msgspec.structs.replace(READ, task="some", scope="crm:ticket/1#edit[subject]"))
    assert (found.verdict.reason, found.texts) == ("outside_task_type", {})
    assert [change.what for change in found.changes] == ["in a task of type all"]


def test_what_would_end_an_answer_is_named_and_so_is_what_would_turn_it(tmp_path: Path) -> None:
    condition = 'context.task.tainted || context.task.labels.contains("financial")'
    found = explained(tmp_path, condition, EDIT)
    assert (found.verdict.ends_on_taint, found.verdict.ends_on_labels) == (True, ("financial",))
    turning = {change.what: change.verdict.reason for change in found.changes}
    assert turning == {"in a tree that is tainted": "forbidden", "in a tree that has read financial": "forbidden"}


def test_policies_that_decided_are_shown_as_they_stand(tmp_path: Path) -> None:
    found = explained(tmp_path, "context.task.tainted", READ)
    assert list(found.texts) == ["no"]
    assert found.texts["no"].startswith('@id("no")\nforbid (')
    assert "context.task).tainted" in found.texts["no"]


def test_policies_in_shadow_mode_that_would_have_turned_it_are_named_and_shown(tmp_path: Path) -> None:
    shadow = '@id("trying") @shadow forbid (principal is Agent, action, resource is Record);'
    asker = Asker(tmp_path, PERMIT_ALL, shadow)
    found = explain(READ, Trials(asker.policy.folder, asker.registry, max_ttl=900))
    assert (found.verdict.allowed, found.shadow, set(found.texts)) == (True, ("trying",), {"all", "trying"})
