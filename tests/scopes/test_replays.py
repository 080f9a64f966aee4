import os
import threading

import pytest

from scopes import replays
from scopes.clock import Instant
from scopes.errors import InvalidProof, ReplayUnknown
from scopes.proof import MAX_LIFETIME, Proof
from scopes.replays import Replays
from tests.scopes.clocks import MovableClock


def proof_of(id: str, now: int, key: str = "key") -> Proof:
    return Proof(key, id, None, now + 60_000)


@pytest.fixture
def remembered(clock: MovableClock) -> Replays:
    return Replays(clock.now())


def test_a_proof_is_taken_once(remembered, clock):
    remembered.spend(proof_of("one", clock.now().wall), clock.now())
    with pytest.raises(InvalidProof):
        remembered.spend(proof_of("one", clock.now().wall), clock.now())


def test_the_ids_of_two_keys_are_two(remembered, clock):
    remembered.spend(proof_of("one", clock.now().wall), clock.now())
    remembered.spend(proof_of("one", clock.now().wall, key="another"), clock.now())


def test_what_is_late_is_forgotten(remembered, clock):
    for _ in range(10):
        remembered.spend(proof_of(str(clock.now().wall), clock.now().wall), clock.now())
        clock.advance(MAX_LIFETIME)
    assert len(remembered._present.spent) + len(remembered._previous.spent) <= 2


def test_what_was_forgotten_is_refused_when_the_clock_is_set_back(remembered, clock):
    """The proof is good again by the clock, and nobody remembers it (trap 7)."""
    early = proof_of("one", clock.now().wall)
    remembered.spend(early, clock.now())
    for _ in range(3):
        clock.advance(MAX_LIFETIME)
        remembered.spend(proof_of(str(clock.now().wall), clock.now().wall), clock.now())
    clock.set_wall(-3 * MAX_LIFETIME)
    with pytest.raises(InvalidProof):
        remembered.spend(early, clock.now())


def test_a_clock_that_stands_still_forgets_nothing_too_early(remembered, clock):
    """The wall clock stopped; the other went on, so that one generation ends, and the proof is in the one before."""
    early = proof_of("one", clock.now().wall)
    remembered.spend(early, clock.now())
    clock.set_boot(MAX_LIFETIME)
    with pytest.raises(InvalidProof):
        remembered.spend(early, clock.now())


def test_a_full_memory_refuses_and_forgets_nothing(remembered, clock, monkeypatch):
    monkeypatch.setattr(replays, "MAX_REMEMBERED", 3)
    first = [proof_of(str(number), clock.now().wall, key=f"key {number}") for number in range(3)]
    for each in first:
        remembered.spend(each, clock.now())
    with pytest.raises(ReplayUnknown):
        remembered.spend(proof_of("more", clock.now().wall), clock.now())
    for each in first:
        with pytest.raises(InvalidProof):
            remembered.spend(each, clock.now())
    clock.advance(MAX_LIFETIME)
    remembered.spend(proof_of("later", clock.now().wall), clock.now())


def test_one_key_cannot_fill_the_memory_for_the_others(remembered, clock, monkeypatch):
    """Trap 25: one bad instance does not lock the fleet."""
    monkeypatch.setattr(replays, "MAX_OF_ONE_KEY", 3)
    for number in range(3):
        remembered.spend(proof_of(str(number), clock.now().wall), clock.now())
    with pytest.raises(ReplayUnknown):
        remembered.spend(proof_of("more", clock.now().wall), clock.now())
    remembered.spend(proof_of("more", clock.now().wall, key="another"), clock.now())


def test_of_threads_that_use_one_proof_at_once_one_has_it(remembered, clock):
    taken: list[int] = []
    start = threading.Barrier(8)

    def use_all(number: int) -> None:
        start.wait()
        for id in range(500):
            try:
                remembered.spend(proof_of(str(id), clock.now().wall), clock.now())
            except InvalidProof:
                continue
            taken.append(number)

    threads = [threading.Thread(target=use_all, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 500


def test_renewed_it_still_knows_what_it_took(remembered, clock):
    remembered.spend(proof_of("one", clock.now().wall), clock.now())
    remembered.renew()
    with pytest.raises(InvalidProof):
        remembered.spend(proof_of("one", clock.now().wall), clock.now())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_not_locked_by_a_thread_of_its_parent():
    remembered, now = Replays(Instant(0, 0)), Instant(0, 0)
    with remembered._lock:
        child = os.fork()
        if not child:
            remembered.spend(proof_of("one", 0), now)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
