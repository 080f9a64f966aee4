"""Times of the week as people say them."""

import datetime

import pytest

from broker.policy import windows
from broker.policy.facts import Moment


@pytest.mark.parametrize(
    ("moments", "said"),
    [
        (windows.WEEK, "every day"),
        ([Moment(hour, day) for hour in range(6, 18) for day in range(1, 6)], "Monday to Friday, 06:00 to 18:00 UTC"),
        ([Moment(23, 7)], "Sunday, 23:00 to 24:00 UTC"),
        ([Moment(hour, day) for hour in (0, 1, 5) for day in range(1, 8)], "every day, 00:00 to 02:00 and 05:00 to 06:00 UTC"),
        (
            [*[Moment(hour, 6) for hour in range(24)], Moment(3, 1), Moment(3, 3)],
            "Monday, Wednesday, 03:00 to 04:00 UTC; Saturday",
        ),
        ([], ""),
    ],
)
def test_days_with_the_same_hours_stand_together(moments: list[Moment], said: str) -> None:
    assert windows.said(moments) == said


def test_a_time_is_moved_inside_its_week_whatever_zone_it_is_told_in() -> None:
    told = datetime.datetime.fromisoformat("2027-01-04T01:30+05:00")
    moved = windows.moved(told, Moment(4, 1))
    assert moved == datetime.datetime(2026, 12, 28, 4, 30, tzinfo=datetime.UTC)
    assert Moment.at(int(moved.timestamp() * 1000)) == Moment(4, 1)
