"""What a record of the registry says by itself."""

import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.registry.records import STALENESS, Action, AgentRecord, TaskType, WorkloadSelector
from scopes.levels import LEVELS
from tests.broker.world import proven

SEGMENTS = st.sampled_from(["ns", "nsx", "support", "sa", "bot", "bots"])
IDS = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "spiffe://prod/" + "/".join(parts))
SELECTORS = st.tuples(IDS, st.booleans()).map(lambda made: WorkloadSelector(spiffe=made[0] + "/*" if made[1] else made[0]))


def selector(text: str) -> WorkloadSelector:
    return WorkloadSelector(spiffe=text)


@pytest.mark.parametrize(
    ("pattern", "workload", "matches"),
    [
        ("spiffe://prod/ns/bot", "spiffe://prod/ns/bot", True),
        ("spiffe://prod/ns/bot", "spiffe://prod/ns/bots", False),
        ("spiffe://prod/ns/bot", "spiffe://prod/ns/bot/x", False),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/bot", True),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/bot/x", True),
        ("spiffe://prod/ns/*", "spiffe://prod/nsx/bot", False),
        ("spiffe://prod/ns/*", "spiffe://prod/nsx", False),
        ("spiffe://prod/ns/*", "spiffe://prod/ns", False),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/", False),
        ("spiffe://prod/ns/*", "spiffe://other/ns/bot", False),
        ("spiffe://prod/ns/*", "spiffe://prod/NS/bot", False),
    ],
)
def test_a_selector_is_exact_or_a_prefix_that_ends_at_a_segment(pattern: str, workload: str, matches: bool) -> None:
    """TRAPS 9: a prefix `/ns/*` that matches `/nsx`."""
    assert selector(pattern).matches(proven(workload)) is matches


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("spiffe://prod/ns/bot", "spiffe://prod/ns/bot", True),
        ("spiffe://prod/ns/bot", "spiffe://prod/ns/bots", False),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/bot", True),
        ("spiffe://prod/ns/*", "spiffe://prod/nsx/bot", False),
        ("spiffe://prod/ns/*", "spiffe://prod/ns", False),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/support/*", True),
        ("spiffe://prod/ns/*", "spiffe://prod/nsx/*", False),
        ("spiffe://prod/ns/*", "spiffe://prod/ns/*", True),
    ],
)
def test_selectors_overlap_where_one_workload_can_be_both(one: str, other: str, overlap: bool) -> None:
    assert selector(one).overlaps(selector(other)) is overlap
    assert selector(other).overlaps(selector(one)) is overlap


@given(SELECTORS, SELECTORS, IDS)
def test_no_workload_matches_two_selectors_that_do_not_overlap(
    one: WorkloadSelector, other: WorkloadSelector, workload: str
) -> None:
    """TRAPS 9: an identity belongs to one agent."""
    assert one.overlaps(other) or not (one.matches(proven(workload)) and other.matches(proven(workload)))


@pytest.mark.parametrize("level", LEVELS)
def test_an_action_is_as_fresh_as_its_level_wants_unless_it_says_so_itself(level: str) -> None:
    assert msgspec.convert({"level": level}, Action).staleness == STALENESS[level]  # type: ignore[index]
    assert msgspec.convert({"level": level, "max_staleness": 1}, Action).staleness == 1


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ({"level": "trigger"}, True),
        ({"level": "trigger", "single_use": False}, False),
        ({"level": "trigger", "max_uses": 3}, False),
        ({"level": "write"}, False),
        ({"level": "write", "single_use": True}, True),
        ({"level": "read", "single_use": True}, True),
        ({"level": "read"}, False),
    ],
    ids=str,
)
def test_what_triggers_something_is_used_once_unless_its_owner_says_otherwise(said: dict[str, object], holds: bool) -> None:
    """D4."""
    assert msgspec.convert(said, Action).is_single_use is holds


def test_the_more_an_action_does_the_fresher_it_has_to_be() -> None:
    bounds = [STALENESS[level] for level in LEVELS]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_ttl": 0},
        {"max_ttl": -1},
        {"max_staleness": 0},
        {"max_uses": 0},
        {"max_uses": -1},
        {"level": "admin"},
        {"level": None},
    ],
)
def test_an_action_without_a_level_or_with_no_time_is_none(changes: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"level": "read"} | changes, Action)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_is_refused(limit: int) -> None:
    """Zero means that there is no limit where leases are counted, so nobody may write it and mean none."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"purpose": "", "max_duration": 1, "scopes": [], "limits": {"leases": limit}}, TaskType)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"limits": {"live_leases": limit}}, AgentRecord)


def test_a_record_names_what_it_lacks() -> None:
    assert AgentRecord().missing == ("owner", "purpose", "environment", "ends")
    assert AgentRecord(owner="a", purpose="b", environment="c", ends=datetime.date(2027, 1, 1)).missing == ()
