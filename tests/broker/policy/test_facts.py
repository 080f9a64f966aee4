"""What policies see of a request: numbers by bands, rounded up, and no name that they do not look at."""

from pathlib import Path

import msgspec
import pytest

from broker.policy.facts import AGES, OLD, REFUSALS, TTLS, UNNAMED, Facts, Kept, Moment, Seen, band, facts_of, sensitive
from broker.registry import files
from broker.tasks import Exposure
from scopes.claims import Confirmation
from tests.broker.policy.questions import PERMIT_ALL, Asker

ALL, NOTHING = Kept(record_ids=True, user_ids=True), Kept(record_ids=False, user_ids=False)


@pytest.fixture
def asker(tmp_path: Path) -> Asker:
    return Asker(tmp_path, PERMIT_ALL)


@pytest.mark.parametrize("bands", [TTLS, AGES, REFUSALS])
def test_a_number_is_rounded_up_to_its_band_and_stays_where_it_is_one(bands: tuple[int, ...]) -> None:
    """Rounded down, a token would outlive what a policy allowed it."""
    for below, end in zip((-1, *bands), bands, strict=False):
        assert band(end, bands, beyond=-1) == band(below + 1, bands, beyond=-1) == end
    assert band(bands[-1] + 1, bands, beyond=-1) == -1


@pytest.mark.parametrize(("ttl", "seen"), [(1, 15), (15, 15), (16, 30), (61, 120), (3600, 3600), (9999, 3600)])
def test_how_long_a_token_lives_is_seen_by_its_band(asker: Asker, ttl: int, seen: int) -> None:
    assert facts_of(asker.question(ttl=ttl), kept=ALL, now=0).ttl == seen


@pytest.mark.parametrize(
    ("age", "seen"),
    [(-5_000, 60), (0, 60), (60_999, 60), (61_000, 300), (300_999, 300), (86_400_999, 86_400), (86_401_000, OLD)],
)
def test_how_old_a_task_is_is_seen_by_its_band(asker: Asker, age: int, seen: int) -> None:
    """Also where the worker's clock is behind that of the store which opened the task."""
    question = asker.question()
    assert facts_of(question, kept=ALL, now=question.task.created + age).age == seen


@pytest.mark.parametrize(("refusals", "seen"), [(0, 0), (1, 1), (2, 3), (3, 3), (4, 10), (100, 100), (101, 100)])
def test_how_often_an_agent_was_refused_is_seen_by_its_band(asker: Asker, refusals: int, seen: int) -> None:
    assert facts_of(asker.question(recent_refusals=refusals), kept=ALL, now=0).recent_refusals == seen


def test_a_record_is_left_out_where_no_policy_names_one(asker: Asker) -> None:
    question = asker.question("crm:ticket/4711#read[subject]")
    assert facts_of(question, kept=ALL, now=0).record == "crm:ticket/4711"
    assert facts_of(question, kept=NOTHING, now=0).record == "crm:ticket"


@pytest.mark.parametrize(
    ("user", "kept", "seen"),
    [("corp:jane", ALL, "corp:jane"), ("corp:jane", NOTHING, UNNAMED), ("", NOTHING, "")],
)
def test_a_user_is_seen_by_name_only_where_a_policy_looks_at_it(asker: Asker, user: str, kept: Kept, seen: str) -> None:
    question = asker.question()
    question = question._replace(task=msgspec.structs.replace(question.task, user=user, groups=("b", "a")))
    facts = facts_of(question, kept=kept, now=0)
    assert (facts.user, facts.groups) == (seen, ("a", "b"))


def test_all_else_that_is_seen_is_as_it_was_asked(asker: Asker) -> None:
    question = asker.question(
        "crm:ticket/1#edit[subject]",
        depth=2,
        exposure=Exposure(True, frozenset({"pii", "financial"})),
        confirmation=Confirmation(jkt="0ZcO"),
        reductions=("draft-only",),
        approved=True,
    )
    assert facts_of(question, kept=NOTHING, now=0) == Facts(
        agent="bot",
        trust_domain="prod",
        identity_source="jwt-svid",
        task_type="all",
        action="crm:ticket#edit",
        record="crm:ticket",
        ttl=60,
        depth=2,
        fields=("subject",),
        proof="dpop",
        tainted=True,
        labels=("financial", "pii"),
        reductions=("draft-only",),
        approved=True,
    )


def test_facts_say_which_entry_of_the_catalogue_they_are_about(asker: Asker) -> None:
    assert facts_of(asker.question("crm:ticket/1#edit[subject]"), kept=NOTHING, now=0).place == ("crm", "ticket", "edit")


def test_what_an_audit_record_keeps_of_a_decision_reads_back(asker: Asker) -> None:
    seen = asker.decide().seen
    assert seen is not None
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Seen) == seen
    assert seen.moment == asker.policy.moment()


@pytest.mark.parametrize(
    ("milliseconds", "moment"),
    [(0, Moment(0, 4)), (3_599_999, Moment(0, 4)), (3_600_000, Moment(1, 4)), (4 * 86_400_000, Moment(0, 1))],
)
def test_a_moment_is_an_hour_and_a_weekday_in_utc(milliseconds: int, moment: Moment) -> None:
    """The epoch began on a Thursday."""
    assert Moment.at(milliseconds) == moment


def test_a_class_is_sensitive_unless_it_was_declared_not_to_be() -> None:
    text = "[data_classes]\npublic = { sensitive = false }\npii = {}\n"
    registry = files.parse({"all.toml": text}, where="here")
    assert list(sensitive(frozenset({"public", "pii", "unheard-of"}), registry)) == ["pii", "unheard-of"]
