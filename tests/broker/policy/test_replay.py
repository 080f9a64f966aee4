"""Decisions that were taken are taken again by others; what a record does not say is never taken for granted."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.policy import Seen
from broker.policy.facts import UNNAMED, Facts
from broker.policy.replay import Again, Replay, Taken
from broker.policy.trials import Trials
from tests.broker.policy.questions import PERMIT_ALL, Asker

FACTS = Facts(
    agent="bot",
    trust_domain="prod",
    identity_source="jwt-svid",
    task_type="all",
    action="lab:sample#read",
    record="lab:sample",
    ttl=60,
)
MONDAY, SUNDAY = (12, 1), (12, 7)


def again(folder: Path, forbidden: str, *, moment: tuple[int, int] = MONDAY, known: str = "", **facts: Any) -> Again:
    """Take a decision again where everything is permitted, but for one condition."""
    forbid = f'@id("no") forbid (principal is Agent, action, resource is Record) when {{ {forbidden} }};'
    asker = Asker(folder, PERMIT_ALL, forbid)
    seen = Seen(msgspec.structs.replace(FACTS, **facts), *moment)
    taken = Taken(seen, "lab:sample/4711#read", user=known)
    return Replay(Trials(asker.policy.folder, asker.registry, max_ttl=900)).again(taken)


@pytest.mark.parametrize(
    ("forbidden", "changes"),
    [
        ("context.weekday == 7", {"moment": SUNDAY}),
        ("context.task.tainted", {"tainted": True}),
        ('context.task.labels.contains("gone")', {"labels": ("gone",)}),
        ("context.task.read_sensitive", {"labels": ("gone",)}),
        ("context.task.depth == 2", {"depth": 2}),
        ("context.task.age > 300", {"age": 900}),
        ("context.recent_refusals == 3", {"recent_refusals": 3}),
        ('context.proof == "mtls"', {"proof": "mtls"}),
        ('context.identity_source == "x509-svid"', {"identity_source": "x509-svid"}),
        ('context has user && context.user.groups.contains("support")', {"user": "*", "groups": ("support",)}),
        ('context.reductions.contains("read-only")', {"reductions": ("read-only",)}),
        ("context.approved", {"approved": True}),
        ("context.ttl == 30", {"ttl": 30}),
    ],
)
def test_everything_that_was_seen_counts_again(tmp_path: Path, forbidden: str, changes: dict[str, Any]) -> None:
    found = again(tmp_path, forbidden, **changes)
    assert (found.verdict.reason in ("forbidden", "approval_required", "proof_required"), found.is_certain) == (True, True)
    assert again(tmp_path, forbidden).verdict.allowed


def test_the_record_is_that_of_the_scope_where_nobody_looked_at_it_before(tmp_path: Path) -> None:
    assert not again(tmp_path, 'resource == Record::"lab:sample/4711"').verdict.allowed
    assert again(tmp_path, 'resource == Record::"lab:sample/4712"').verdict.allowed


def test_a_user_whom_nobody_looked_at_before_is_uncertain_where_it_makes_a_difference(tmp_path: Path) -> None:
    condition = 'context has user && context.user.id == "corp:jane"'
    assert not again(tmp_path, condition, user=UNNAMED).is_certain
    assert again(tmp_path, 'context has user && context.user.id != ""', user=UNNAMED).is_certain
    # Where the record names the user, or there is none, nothing is uncertain.
    assert again(tmp_path, condition, user=UNNAMED, known="corp:jane").verdict.reason == "forbidden"
    assert again(tmp_path, condition).is_certain


@pytest.mark.parametrize("changes", [{"agent": "gone"}, {"task_type": "gone"}, {"fields": ("gone",)}])
def test_what_is_not_there_any_more_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Unknown means no."""
    found = again(tmp_path, "false", **changes)
    assert (found.verdict.allowed, found.verdict.reason, found.is_certain) == (False, "not_there", True)
