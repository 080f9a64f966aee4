"""Two replicas as real processes on one Redis: what one gives, the other takes away, and every verifier refuses it."""

import threading
from collections.abc import Iterator

import pytest

from scopes import Revoked, Stale, VerificationError, Verifier
from scopes.clock import SystemClock
from tests.live.conftest import Site

RESOURCE = "crm:ticket/4711"
PATIENCE = 15_000
"""How many milliseconds a revocation may take here; how long it does take is measured, and reported."""


@pytest.fixture
def verifiers(site: Site) -> Iterator[tuple[Verifier, Verifier]]:
    """One verifier of the same service connected to each replica."""
    made = (site.verifier(site.replicas[0]), site.verifier(site.replicas[1]))
    yield made
    for verifier in made:
        verifier.close()


def token(site: Site, replica: int) -> dict:
    answer = site.replicas[replica].token(site.svid())
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(verifier: Verifier, text: str) -> VerificationError | None:
    try:
        verifier.verify(text, action="read", resource=RESOURCE, fields=["subject"])
    except VerificationError as error:
        return error
    return None


def milliseconds_until_revoked(verifier: Verifier, text: str, *, or_else: type[VerificationError] = Revoked) -> int:
    """Ask until the token is refused as revoked; before, it may be good, or refused as `or_else`, and nothing else."""
    clock, pause = SystemClock(), threading.Event()
    start = clock.now()
    while clock.now().since(start) < PATIENCE:
        error = refusal(verifier, text)
        if isinstance(error, Revoked):
            return clock.now().since(start)
        assert error is None or isinstance(error, or_else), error
        pause.wait(0.001)
    raise AssertionError("the verifier goes on accepting it")


def accepted(verifier: Verifier, text: str) -> None:
    """Wait until the verifier has heard of as much as the token was decided on."""
    pause = threading.Event()
    for _ in range(PATIENCE // 10):
        error = refusal(verifier, text)
        if error is None:
            return
        assert isinstance(error, Stale), error
        pause.wait(0.01)
    raise AssertionError("the verifier does not accept it")


@pytest.mark.parametrize(("gives", "takes"), [(0, 1), (1, 0), (0, 0)])
def test_a_lease_of_one_replica_revoked_through_another_is_refused_by_every_verifier(
    site: Site, verifiers: tuple[Verifier, Verifier], gives: int, takes: int
) -> None:
    issued, beside = token(site, gives), token(site, gives)
    for verifier in verifiers:
        accepted(verifier, issued["access_token"])
    answer = site.replicas[takes].revoke(site.operator(), lease=issued["lease_id"])
    answered = SystemClock().now()
    assert (answer.status_code, answer.json()["matched"]) == (202, 1)
    for verifier in verifiers:
        milliseconds_until_revoked(verifier, issued["access_token"])
        print(f"refused {SystemClock().now().since(answered)} ms after the answer at the latest")
        assert refusal(verifier, beside["access_token"]) is None


def test_a_whole_agent_is_stopped_by_one_write_and_may_ask_again(site: Site, verifiers: tuple[Verifier, Verifier]) -> None:
    issued = [token(site, replica) for replica in (0, 1, 0, 1)]
    assert site.replicas[0].revoke(site.operator(), agent="support-bot").status_code == 202
    for verifier in verifiers:
        assert all(milliseconds_until_revoked(verifier, each["access_token"]) < PATIENCE for each in issued)
    accepted(verifiers[1], token(site, 0)["access_token"])


def test_both_replicas_are_in_one_epoch(site: Site, verifiers: tuple[Verifier, Verifier]) -> None:
    assert len({verifier.picture.epoch for verifier in verifiers}) == 1


def test_a_store_that_is_killed_and_comes_back_empty_voids_every_token_everywhere(
    site: Site, verifiers: tuple[Verifier, Verifier]
) -> None:
    """TRAPS 20, from end to end; and afterwards both replicas issue in the same new epoch."""
    old = token(site, 0)["access_token"]
    for verifier in verifiers:
        accepted(verifier, old)
    site.server.kill()
    site.server.start()
    for replica in site.replicas:
        replica.wait_until_ready()
    site.gate.target = site.replicas[0].port
    for verifier in verifiers:
        assert milliseconds_until_revoked(verifier, old, or_else=Stale) < PATIENCE
    new = [fresh_token(site, replica) for replica in (0, 1)]
    for verifier in verifiers:
        for text in new:
            accepted(verifier, text)
    assert len({verifier.picture.epoch for verifier in verifiers}) == 1


def test_a_suspended_agent_stays_so_when_the_store_is_killed_and_comes_back_empty(
    site: Site, verifiers: tuple[Verifier, Verifier]
) -> None:
    """TRAPS 21c, from end to end: at once at every verifier and replica, over the loss, until it is resumed."""
    issued = fresh_token(site, 0)
    for verifier in verifiers:
        accepted(verifier, issued)
    assert site.replicas[0].change(site.operator(), "suspend").status_code == 202
    for verifier in verifiers:
        assert milliseconds_until_revoked(verifier, issued) < PATIENCE
    suspended_everywhere(site)
    site.server.kill()
    site.server.start()
    for replica in site.replicas:
        replica.wait_until_ready()
    suspended_everywhere(site)
    resumed = site.replicas[1].change(site.operator(), "resume")
    assert (resumed.status_code, resumed.json()["was"]) == (202, "suspended")
    for verifier in verifiers:
        accepted(verifier, fresh_token(site, 1))
        assert isinstance(refusal(verifier, issued), Revoked)


def suspended_everywhere(site: Site) -> None:
    """Ask until every worker of every replica has heard of the store again; nobody gives anything."""
    pause, patience = threading.Event(), PATIENCE // 100
    for replica in site.replicas:
        refused = 0
        while refused < 10:
            answer = replica.token(site.svid())
            assert answer.status_code in (400, 503), answer.text
            refused += answer.status_code == 400
            assert answer.status_code == 503 or answer.json()["reason"] == "agent_suspended"
            patience -= 1
            assert patience
            pause.wait(0.1 if answer.status_code == 503 else 0.01)


def fresh_token(site: Site, replica: int) -> str:
    """Ask until a worker answers whose connection to the store has come back, and whose epoch is open."""
    pause = threading.Event()
    for _ in range(20):
        answer = site.replicas[replica].token(site.svid())
        if answer.status_code == 200:
            return answer.json()["access_token"]
        assert answer.status_code == 503
        assert answer.headers["retry-after"] in ("1", "3")
        pause.wait(0.5)
    raise AssertionError("the replica does not issue any more")
