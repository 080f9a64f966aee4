"""Times of the week as people say them: `Monday to Friday, 06:00 to 18:00 UTC`."""

import datetime
import itertools
from collections.abc import Iterable, Iterator, Sequence

from broker.policy.facts import Moment

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEK = tuple(Moment(hour, weekday) for weekday in range(1, 8) for hour in range(24))
"""Every moment that policies can tell from another."""


def said(moments: Iterable[Moment]) -> str:
    """Say when these moments are; days that have the same hours stand together."""
    hours = {weekday: tuple(hour for hour, _ in among) for weekday, among in _by_day(moments)}
    of_hours = {known: [day for day in sorted(hours) if hours[day] == known] for known in dict.fromkeys(hours.values())}
    return "; ".join(f"{_days(days)}{_hours(known)}" for known, days in of_hours.items())


def moved(at: datetime.datetime, moment: Moment) -> datetime.datetime:
    """Return this time, moved to such a moment of the same week."""
    day = at.astimezone(datetime.UTC)
    return day.replace(hour=moment.hour) + datetime.timedelta(days=moment.weekday - day.isoweekday())


def _by_day(moments: Iterable[Moment]) -> Iterator[tuple[int, Iterator[Moment]]]:
    return itertools.groupby(sorted(moments, key=lambda moment: (moment.weekday, moment.hour)), lambda moment: moment.weekday)


def _days(days: Sequence[int]) -> str:
    if len(days) == len(DAYS):
        return "every day"
    return ", ".join(
        DAYS[first - 1] if first == last else f"{DAYS[first - 1]} to {DAYS[last - 1]}" for first, last in _runs(days)
    )


def _hours(hours: Sequence[int]) -> str:
    if len(hours) == 24:
        return ""
    return ", " + " and ".join(f"{first:02}:00 to {last + 1:02}:00" for first, last in _runs(hours)) + " UTC"


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of numbers that follow each other."""
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        known = [number for _, number in run]
        yield known[0], known[-1]
