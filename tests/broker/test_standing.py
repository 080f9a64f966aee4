"""Who may act at all, by record and date."""

import datetime

import pytest

from broker import standing
from broker.errors import UnauthorizedClient
from broker.registry.records import AgentRecord
from broker.registry.registry import Agent
from broker.standing import Standing
from broker.workload import Workload
from tests.broker.clocks import StillClock

LAST_DAY = datetime.date(2027, 6, 30)
COMPLETE = AgentRecord(owner="jane@example.com", purpose="Drafting", environment="prod", ends=LAST_DAY)


def check(record: AgentRecord, moment: str = "2027-01-01T12:00:00") -> str:
    return Standing(clock=StillClock(moment)).check(Agent("bot", record), Workload("w", 0), {}).name


@pytest.mark.parametrize("moment", ["2027-01-01T00:00:00", "2027-06-30T00:00:00", "2027-06-30T23:59:59.999"])
def test_an_agent_with_a_whole_record_is_active_to_the_end_of_its_last_day(moment: str) -> None:
    assert check(COMPLETE, moment) == "bot"


@pytest.mark.parametrize("moment", ["2027-07-01T00:00:00", "2040-01-01T00:00:00"])
def test_an_agent_past_its_last_day_is_refused(moment: str) -> None:
    with pytest.raises(UnauthorizedClient) as refused:
        check(COMPLETE, moment)
    assert refused.value.reason == "agent_ended"


@pytest.mark.parametrize("missing", ["owner", "purpose", "environment", "ends"])
def test_an_agent_whose_record_lacks_something_is_declared_only(missing: str) -> None:
    """Empty means no: an agent without an end date does not live for ever."""
    values = {name: getattr(COMPLETE, name) for name in ("owner", "purpose", "environment", "ends") if name != missing}
    with pytest.raises(UnauthorizedClient, match=missing) as refused:
        check(AgentRecord(**values))
    assert refused.value.reason == "agent_declared"


@pytest.mark.parametrize("empty", ["owner", "purpose", "environment"])
def test_an_empty_entry_counts_as_missing(empty: str) -> None:
    values = {"owner": "a", "purpose": "b", "environment": "c", "ends": LAST_DAY, empty: ""}
    assert standing.status(Agent("bot", AgentRecord(**values)), LAST_DAY, {}) == "declared"


@pytest.mark.parametrize(
    ("record", "today", "where"),
    [
        (COMPLETE, LAST_DAY, "active"),
        (COMPLETE, LAST_DAY + datetime.timedelta(days=1), "ended"),
        (AgentRecord(), LAST_DAY, "declared"),
    ],
    ids=["active", "ended", "declared"],
)
def test_an_agent_stands_somewhere_in_its_life(record: AgentRecord, today: datetime.date, where: str) -> None:
    assert standing.status(Agent("bot", record), today, {}) == where


@pytest.mark.parametrize(
    ("record", "today", "overdue"),
    [
        (AgentRecord(), LAST_DAY, False),
        (AgentRecord(review_by=LAST_DAY), LAST_DAY, False),
        (AgentRecord(review_by=LAST_DAY), LAST_DAY + datetime.timedelta(days=1), True),
    ],
    ids=["none", "the day", "the day after"],
)
def test_a_review_is_overdue_from_the_day_after_its_date(record: AgentRecord, today: datetime.date, overdue: bool) -> None:
    assert standing.is_review_overdue(Agent("bot", record), today) is overdue


@pytest.mark.parametrize(
    ("ends", "over"),
    [
        (datetime.date(2027, 6, 30), "2027-07-01T00:00:00+00:00"),
        (datetime.date(2027, 12, 31), "2028-01-01T00:00:00+00:00"),
        (datetime.date(2028, 2, 28), "2028-02-29T00:00:00+00:00"),
    ],
)
def test_the_last_day_is_over_at_midnight_in_utc(ends: datetime.date, over: str) -> None:
    moment = datetime.datetime.fromisoformat(over).timestamp() * 1000
    assert standing.end_of_last_day(Agent("bot", AgentRecord(ends=ends))) == moment


def test_the_last_date_there_is_has_an_end_too() -> None:
    assert standing.end_of_last_day(Agent("bot", AgentRecord(ends=datetime.date.max))) == 253_402_300_800_000


def test_an_agent_without_an_end_date_has_ended() -> None:
    assert standing.end_of_last_day(Agent("bot", AgentRecord())) == 0


def test_the_date_is_the_one_in_utc() -> None:
    assert Standing(clock=StillClock("2027-06-30T23:59:59")).today() == LAST_DAY
