"""What is fetched again and again: kept through failures, up to an age (TRAPS 5)."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from broker.errors import FetchFailed
from broker.identity.refreshed import HARD_AGE, INTERVAL, MAX_INTERVAL, MIN_INTERVAL, Refreshed
from scopes.errors import InvalidDocument
from tests.scopes.clocks import MovableClock, eventually


def failures(what: str = "test") -> float:
    return REGISTRY.get_sample_value("broker_identity_failures_total", {"what": what}) or 0.0


class Source:
    """Answers what it is told to, or fails."""

    def __init__(self) -> None:
        self.answer: str | Exception = "first"
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def held(source: Source, clock: MovableClock) -> Iterator[Refreshed[str]]:
    held = Refreshed("test", source, clock=clock)
    yield held
    held.close()


def test_nothing_is_known_before_the_first_fetch(held: Refreshed[str]) -> None:
    assert (held.value, held.age, held.problem) == (None, None, "not fetched yet")


def test_a_value_is_fetched_and_its_age_counted(held: Refreshed[str], clock: MovableClock) -> None:
    assert 0.9 * INTERVAL <= held.refresh() <= INTERVAL
    clock.advance(2_000)
    assert (held.value, held.age, held.problem) == ("first", 2, "")


FAILURES = [
    pytest.param(FetchFailed("https://x: answered 500"), "https://x: answered 500", id="not fetched"),
    pytest.param(InvalidDocument("not a key set"), "not a key set", id="not what it should be"),
]


@pytest.mark.parametrize(("error", "problem"), FAILURES)
def test_a_failure_keeps_what_is_known_and_says_so(
    held: Refreshed[str], source: Source, clock: MovableClock, error: Exception, problem: str
) -> None:
    before = failures()
    held.refresh()
    clock.advance(300_000)
    source.answer = error
    held.refresh()
    assert (held.value, held.age, held.problem, failures()) == ("first", 300, problem, before + 1)
    clock.advance(60_000)
    source.answer = "second"
    held.refresh()
    assert (held.value, held.age, held.problem, failures()) == ("second", 0, "", before + 1)


def test_what_nobody_foresaw_keeps_what_is_known_too(held: Refreshed[str], source: Source, clock: MovableClock) -> None:
    """Only its kind is told, for its text can quote anything; the thread that repeats this logs it and goes on."""
    before = failures()
    held.refresh()
    clock.advance(300_000)
    source.answer = KeyError("s3cret")
    with pytest.raises(KeyError):
        held.refresh()
    assert (held.value, held.problem, failures()) == ("first", "KeyError", before + 1)
    held.refresh()
    assert source.asked == 2


def test_what_is_too_old_counts_as_absent(held: Refreshed[str], source: Source, clock: MovableClock) -> None:
    held.refresh()
    source.answer = FetchFailed("gone")
    clock.advance(int(HARD_AGE * 1000) - 1)
    held.refresh()
    assert held.value == "first"
    clock.advance(1)
    assert held.value is None
    assert held.age == HARD_AGE


def test_a_clock_that_is_set_back_does_not_make_it_younger(held: Refreshed[str], clock: MovableClock) -> None:
    held.refresh()
    clock.advance(int(HARD_AGE * 1000))
    clock.set_wall(-int(HARD_AGE * 1000))
    assert held.value is None


@pytest.mark.parametrize(
    ("hint", "interval"),
    [(None, INTERVAL), (0, MIN_INTERVAL), (1, MIN_INTERVAL), (60, 60), (3600, 3600), (10**9, MAX_INTERVAL)],
)
def test_the_source_says_when_it_wants_to_be_asked_within_bounds(
    source: Source, clock: MovableClock, hint: float | None, interval: float
) -> None:
    wanted = Refreshed("test", source, clock=clock, interval=lambda _: hint).refresh()
    assert 0.9 * interval <= wanted <= interval


def test_workers_do_not_ask_at_the_same_moment(source: Source, clock: MovableClock) -> None:
    """TRAPS 5: all of them again at the same second."""
    assert len({Refreshed("test", source, clock=clock).refresh() for _ in range(20)}) > 10


def test_however_often_somebody_wants_a_fetch_there_is_one_in_ten_seconds(
    held: Refreshed[str], source: Source, clock: MovableClock
) -> None:
    """TRAPS 5: an unknown `kid` must not cause a fetch."""
    held.refresh()
    for _ in range(99):
        clock.advance(100)
        assert 0 < held.refresh() <= MIN_INTERVAL
    assert source.asked == 1
    clock.advance(100)
    held.refresh()
    assert source.asked == 2


def test_a_source_that_fails_is_asked_ever_more_rarely(held: Refreshed[str], source: Source, clock: MovableClock) -> None:
    before = failures()
    source.answer = FetchFailed("down")
    pauses = []
    for _ in range(9):
        pause = held.refresh()
        pauses.append(pause)
        assert held.refresh() == pytest.approx(pause)
        clock.advance(int(pause * 1000) + 1)
    assert pauses[0] < 2
    assert pauses[1] > 1.8
    assert 60 <= pauses[-1] <= 66
    assert (source.asked, failures()) == (9, before + 9)


def test_a_source_that_fails_later_is_asked_every_ten_seconds_at_most(
    held: Refreshed[str], source: Source, clock: MovableClock
) -> None:
    held.refresh()
    clock.advance(300_000)
    source.answer = FetchFailed("down")
    assert MIN_INTERVAL <= held.refresh() <= 1.1 * MIN_INTERVAL


def test_it_is_fetched_in_the_background_until_closed(source: Source) -> None:
    held = Refreshed("test", source, clock=MovableClock(), min_interval=0.0)
    held.start()
    try:
        eventually(lambda: held.value == "first")
        source.answer = "second"
        held.wake()
        eventually(lambda: held.value == "second")
    finally:
        held.close()
    asked = source.asked
    held.wake()
    assert source.asked == asked


def test_a_wake_too_early_is_not_forgotten(source: Source, clock: MovableClock) -> None:
    held = Refreshed("test", source, clock=clock)
    held.refresh()
    clock.advance(4_000)
    assert held.refresh() == pytest.approx(MIN_INTERVAL - 4)
