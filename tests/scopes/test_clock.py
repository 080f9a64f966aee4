import time

import pytest

from scopes.clock import Instant, SystemClock


@pytest.mark.parametrize(
    ("wall", "boot", "passed"),
    [
        pytest.param(1_000, 1_000, 1_000, id="both agree"),
        pytest.param(
            3_600_000, 1_000, 3_600_000, id="the wall clock was set forward, or the boot clock stood still in a pause"
        ),
        pytest.param(-3_600_000, 1_000, 1_000, id="the wall clock was set back"),
        pytest.param(-5, -5, 0, id="both went back"),
    ],
)
def test_the_time_passed_is_the_most_that_either_clock_says(wall, boot, passed):
    """A clock that was set back, or that stood still, never makes anything look younger (TRAPS 23c)."""
    start = Instant(1_000_000, 7_000)
    assert Instant(start.wall + wall, start.boot + boot).since(start) == passed


def test_the_system_clock_tells_milliseconds_and_never_goes_back():
    before, (first, second), after = time.time(), (SystemClock().now(), SystemClock().now()), time.time()
    assert int(before * 1000) <= first.wall <= after * 1000 + 1
    assert first.boot <= second.boot
