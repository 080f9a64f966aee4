"""Times as people read them."""

import time

import pytest

from broker.cli import times

NOON = 1_795_348_800  # 2026-11-22 12:00 in UTC


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (1, "in 1s"),
        (59, "in 59s"),
        (240, "in 4m"),
        (3_599, "in 59m"),
        (7_200, "in 2h"),
        (200_000, "in 2d"),
        (-240, "4m ago"),
    ],
)
def test_how_far_away_something_is(seconds, text):
    assert times.distance(seconds) == text


def test_a_moment_of_today_is_a_time_and_one_of_another_day_has_its_date():
    assert times.moment(NOON + 240, at=NOON) == "12:04:00, in 4m"
    assert times.moment(NOON - 86_400, at=NOON) == "2026-11-21 12:00, 1d ago"


def test_without_a_time_to_see_it_from_it_is_seen_from_now():
    assert times.moment(times.now()).endswith(("now", "ago"))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("0s", 0)])
def test_a_span_is_a_number_and_a_unit(text, seconds):
    assert times.span(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "24 h", "1h30m", "9999999d"])
def test_anything_else_is_no_span(text):
    with pytest.raises(ValueError, match="is not a span of time like"):
        times.span(text)
