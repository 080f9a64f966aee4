import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from scopes.background import Background
from tests.scopes.clocks import eventually

FOR_EVER = 3600.0


class Steps:
    """Counts the steps of a background, which wait for ever unless told otherwise."""

    def __init__(self) -> None:
        self.count = 0
        self.wait = FOR_EVER
        self.failure: Exception | None = None
        self.background = Background("steps", self.step)

    def step(self) -> float:
        self.count += 1
        if self.failure is not None:
            raise self.failure
        return self.wait


@pytest.fixture
def steps() -> Iterator[Steps]:
    steps = Steps()
    steps.background.start()
    eventually(lambda: steps.count == 1)
    yield steps
    steps.background.stop()
    steps.background.join()


def living() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "steps"]


def test_a_step_is_repeated_when_it_wants_to_be():
    steps = Steps()
    steps.wait = 0.0
    steps.background.start()
    eventually(lambda: steps.count > 3)
    steps.background.stop()
    steps.background.join()
    assert living() == []


def test_waking_asks_for_the_next_step_now(steps):
    steps.background.wake()
    eventually(lambda: steps.count == 2)


def test_a_step_that_fails_is_told_in_the_log_and_comes_again(steps, caplog):
    """Whatever it was: a job that raises once and never runs again would leave a verifier blind (TRAPS 24)."""
    steps.failure = RuntimeError("a fault of its own")
    steps.background.wake()
    eventually(lambda: "a fault of its own" in caplog.text)
    steps.failure = None
    steps.background.wake()
    eventually(lambda: steps.count >= 3)
    assert living() != []


def test_stopping_ends_the_thread_though_it_waits_for_ever(steps):
    assert not steps.background.is_stopping
    steps.background.stop()
    steps.background.join()
    assert steps.background.is_stopping
    assert living() == []


def test_joining_what_never_started_returns():
    Steps().background.join()


def test_a_step_that_stops_its_own_thread_does_not_wait_for_itself():
    def stop() -> float:
        background.stop()
        background.join()
        return 0.0

    background = Background("steps", stop)
    background.start()
    eventually(lambda: living() == [])


def test_renewing_runs_the_step_in_a_new_thread(steps):
    """A forked child has the object and not the thread (TRAPS 23c)."""
    steps.wait = 0.0
    steps.background.wake()
    before = set(living())
    steps.background.renew()
    assert set(living()) > before


def test_renewing_starts_nothing_that_was_not_running(steps):
    never_started = Steps()
    never_started.background.renew()
    steps.background.stop()
    eventually(lambda: living() == [])
    steps.background.renew()
    assert living() == []


def test_to_be_made_anew_after_a_fork_keeps_nothing_alive():
    background = Background("steps", lambda: FOR_EVER)
    there = weakref.ref(background)
    del background
    gc.collect()
    assert there() is None
