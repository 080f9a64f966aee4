"""Acknowledgements: of what `verify` enforces already, by each process under a name of its own, in nobody's way."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import httpx2
import pytest

from scopes import Revoked, Verifier, acknowledgements
from scopes.acknowledgements import SIGN_OF_LIFE, Acknowledgements
from scopes.revocations import Picture
from tests.scopes.asking import read
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import ACKNOWLEDGEMENTS, Answer, Issuer
from tests.scopes.tokens import AUDIENCE, EPOCH, POSITION

ROOT = Path(__file__).parents[2]


class Shown:
    """A picture that the test replaces, and acknowledgements of it whose steps the test takes itself."""

    def __init__(self, issuer: Issuer, clock: MovableClock) -> None:
        self.picture = Picture(epoch=EPOCH, seq=7, id="evt_7", as_of=clock.now().wall, needs_snapshot=False)
        self.identities = iter(f"svid-{number}" for number in range(100))
        self.told = Acknowledgements(
            issuer=issuer.url,
            audience=AUDIENCE,
            client=httpx2.Client,
            headers=lambda: {"Authorization": f"Bearer {next(self.identities)}"},
            picture=lambda: self.picture,
            enforces=("fields", "proof"),
            clock=clock,
        )

    def move(self, seq: int) -> None:
        self.picture = Picture(epoch=EPOCH, seq=seq, id=f"evt_{seq}", needs_snapshot=False)
        self.told.wake()


@pytest.fixture
def shown(issuer: Issuer, clock: MovableClock) -> Iterator[Shown]:
    made = Shown(issuer, clock)
    yield made
    made.told.close()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What is installed in which version, as the test has it."""
    versions, real = {"agent-broker": "1.2.3"}, metadata.version

    def version(name: str) -> str:
        if name == "agent-broker" and not versions:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    acknowledgements._version.cache_clear()
    yield versions
    acknowledgements._version.cache_clear()


def places(issuer: Issuer) -> list[int]:
    return [said["seq"] for said in issuer.acknowledged]


@pytest.mark.usefixtures("installed")
def test_an_acknowledgement_says_who_knows_how_much(shown, issuer, clock):
    assert shown.told.acknowledge() == SIGN_OF_LIFE
    (said,) = issuer.acknowledged
    assert len(said.pop("verifier")) >= 16
    assert said == {
        "aud": AUDIENCE,
        "epoch": EPOCH,
        "seq": 7,
        "id": "evt_7",
        "as_of": clock.now().wall,
        "version": "1.2.3",
        "enforces": ["fields", "proof"],
        "waited": 0,
    }


def test_a_library_that_was_not_installed_has_no_version(shown, issuer, installed):
    installed.clear()
    shown.told.acknowledge()
    assert issuer.acknowledged[0]["version"] == "unknown"


def test_a_verifier_acknowledges_its_snapshot_and_then_each_event_it_enforces(verifier, issuer, clock, make_token):
    """By the time the acknowledgement is there, `verify` refuses (I1)."""
    token = make_token()
    eventually(lambda: places(issuer) == [POSITION])
    read(verifier, token)
    clock.advance(500)
    issuer.revoke("agent", "support-bot")
    eventually(lambda: places(issuer)[-1] == POSITION + 1)
    with pytest.raises(Revoked):
        read(verifier, token)


def test_a_heartbeat_alone_causes_no_acknowledgement(verifier, issuer, clock):
    eventually(lambda: len(issuer.acknowledged) == 1)
    clock.advance(1_000)
    issuer.beat()
    eventually(lambda: verifier.picture.as_of == clock.now().wall)
    assert len(issuer.acknowledged) == 1


def test_a_sign_of_life_shows_how_fresh_the_picture_is(shown, issuer, clock):
    shown.told.acknowledge()
    clock.advance(2_000)
    shown.picture = Picture(epoch=EPOCH, seq=7, id="evt_7", as_of=clock.now().wall, needs_snapshot=False)
    shown.told.acknowledge()
    assert [said["as_of"] for said in issuer.acknowledged] == [clock.now().wall - 2_000, clock.now().wall]


@pytest.mark.parametrize("state", [{"needs_snapshot": True}, {"needs_snapshot": False, "disputed": True}, {}])
def test_what_is_not_known_for_certain_is_not_acknowledged(shown, issuer, state):
    shown.picture = Picture(epoch=EPOCH, seq=9, **state)
    assert shown.told.acknowledge() == SIGN_OF_LIFE
    assert issuer.acknowledged == []


def test_an_event_is_acknowledged_within_a_fifth_of_a_second_with_how_long_it_has_been_enforced(
    shown, issuer, clock, monkeypatch
):
    """A hundred processes that tell at once would be in the way of those who have not heard yet."""
    monkeypatch.setattr(acknowledgements, "SPREAD", 0.2)
    monkeypatch.setattr(acknowledgements.random, "uniform", lambda _, most: most)
    shown.told.acknowledge()
    clock.advance(2_000)
    shown.move(8)
    assert shown.told.acknowledge() == pytest.approx(0.2)
    clock.advance(150)
    assert shown.told.acknowledge() == pytest.approx(0.05)
    shown.move(9)
    clock.advance(50)
    shown.told.acknowledge()
    assert [(said["seq"], said["waited"]) for said in issuer.acknowledged] == [(7, 0), (9, 50)]


def test_the_first_acknowledgement_of_a_process_goes_out_at_once(shown, issuer, monkeypatch):
    """A service that starts is known to enforce before it is given its first token (D7)."""
    monkeypatch.setattr(acknowledgements, "SPREAD", 0.2)
    monkeypatch.setattr(acknowledgements.random, "uniform", lambda _, most: most)
    shown.move(8)
    assert not shown.told.was_tried
    shown.told.acknowledge()
    assert places(issuer) == [8]
    assert shown.told.was_tried


def test_a_verifier_says_which_constraints_it_enforces(issuer, clock):
    """Without an identity it can ask nobody to count, so it counts nothing."""
    made = {
        "all": {"identity": lambda: "svid"},
        "without": {"identity": lambda: "svid", "without": ["proof", "max_uses"]},
        "nameless": {},
    }
    for options in made.values():
        with Verifier(issuer.url, AUDIENCE, clock=clock, **options) as verifier:
            verifier.wait_until_ready()
    assert [said["enforces"] for said in issuer.acknowledged if not said.get("leaving")] == [
        ["fields", "proof", "certificate", "single_use", "max_uses"],
        ["fields", "certificate", "single_use"],
        ["fields", "proof", "certificate"],
    ]


def test_whoever_waits_until_a_verifier_is_ready_waits_until_its_issuer_was_told(issuer, clock):
    """A token that only who enforces may be given is then not refused for want of a verifier (D7)."""
    go_on = threading.Event()

    def answer() -> Answer:
        go_on.wait(5)
        return Answer()

    issuer.answers[ACKNOWLEDGEMENTS] = answer
    with Verifier(issuer.url, AUDIENCE, clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        waiting = threading.Thread(target=verifier.wait_until_ready)
        waiting.start()
        eventually(lambda: len(issuer.acknowledged) == 1)
        assert waiting.is_alive()
        go_on.set()
        waiting.join(5)
        assert not waiting.is_alive()


def test_an_issuer_that_takes_no_acknowledgement_keeps_nobody_from_being_ready(issuer, clock):
    issuer.answers[ACKNOWLEDGEMENTS] = Answer(500)
    with Verifier(issuer.url, AUDIENCE, clock=clock) as verifier:
        verifier.wait_until_ready()
        assert len(issuer.acknowledged) == 1


def test_an_acknowledgement_that_is_not_answered_in_time_is_no_failure(issuer, clock):
    go_on = threading.Event()

    def answer() -> Answer:
        go_on.wait(5)
        return Answer()

    issuer.answers[ACKNOWLEDGEMENTS] = answer
    with Verifier(issuer.url, AUDIENCE, clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        told: list[str] = []
        waiting = threading.Thread(target=lambda: told.append(f"ready: {verifier.wait_until_ready(timeout=1)}"))
        waiting.start()
        eventually(lambda: clock.advance(1_001) or not waiting.is_alive())
        assert told == ["ready: None"]
        go_on.set()


def test_a_stream_of_events_is_acknowledged_twice_a_second_by_its_newest_place(shown, issuer, clock):
    """The first at once; what comes in the meantime is told together."""
    shown.told.acknowledge()
    shown.move(8)
    shown.told.acknowledge()
    for seq in (9, 10, 11):
        shown.move(seq)
        assert 0 < shown.told.acknowledge() <= 0.5
    clock.advance(500)
    shown.told.acknowledge()
    assert places(issuer) == [7, 8, 11]


def test_while_one_acknowledgement_is_under_way_no_other_is_sent(shown, issuer):
    reached, go_on = threading.Event(), threading.Event()

    def answer() -> Answer:
        reached.set()
        go_on.wait(30)
        return Answer()

    issuer.answers[ACKNOWLEDGEMENTS] = answer
    shown.told.start()
    assert reached.wait(30)
    for seq in (8, 9, 10):
        shown.move(seq)
    assert places(issuer) == [7]
    go_on.set()
    eventually(lambda: len(places(issuer)) > 1)
    assert places(issuer)[1] == 10


def test_the_identity_is_asked_for_each_time_for_it_may_rotate(shown, issuer, clock):
    shown.told.acknowledge()
    clock.advance(2_000)
    shown.told.acknowledge()
    assert [request.authorization for request in issuer.requests] == ["Bearer svid-0", "Bearer svid-1"]


def test_a_verifier_without_an_identity_says_none(verifier, issuer):
    eventually(lambda: len(issuer.acknowledged) == 1)
    assert [request.authorization for request in issuer.requests if request.path == ACKNOWLEDGEMENTS] == [None]


def test_an_outage_is_told_once_and_tried_again_with_growing_pauses(shown, issuer, clock, caplog):
    issuer.answers[ACKNOWLEDGEMENTS] = Answer(403)
    pauses = []
    for _ in range(8):
        pauses.append(shown.told.acknowledge())
        clock.advance(10_000)
    assert pauses[0] <= 0.5
    assert all(4.0 <= pause <= 8.0 for pause in pauses[5:])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "answered 403" in caplog.text
    del issuer.answers[ACKNOWLEDGEMENTS]
    assert shown.told.acknowledge() == SIGN_OF_LIFE


def test_events_make_nobody_hammer_an_issuer_that_refuses(shown, issuer):
    issuer.answers[ACKNOWLEDGEMENTS] = Answer(503)
    for seq in range(8, 28):
        shown.move(seq)
        shown.told.acknowledge()
    assert len(issuer.acknowledged) == 1


def test_one_failure_alone_is_no_outage(shown, issuer, clock, caplog):
    """A replica that leaves takes its connections with it."""
    issuer.answers[ACKNOWLEDGEMENTS] = Answer(503)
    shown.told.acknowledge()
    del issuer.answers[ACKNOWLEDGEMENTS]
    clock.advance(1_000)
    shown.told.acknowledge()
    assert caplog.text == ""


def test_an_identity_that_cannot_be_had_is_an_outage_and_never_in_the_log(shown, clock, caplog):
    def headers() -> dict[str, str]:
        raise RuntimeError("eyJ-the-identity")

    shown.told._headers = headers
    for _ in range(2):
        shown.told.acknowledge()
        clock.advance(1_000)
    assert "RuntimeError" in caplog.text
    assert "eyJ" not in caplog.text


def test_verifying_goes_on_whatever_becomes_of_acknowledgements(issuer, clock, make_token):
    issuer.answers[ACKNOWLEDGEMENTS] = Answer(500)
    with Verifier(issuer.url, AUDIENCE, clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
        eventually(lambda: len(issuer.acknowledged) == 1)
        issuer.beat()
        assert read(verifier, make_token())


def test_who_closes_says_goodbye_under_the_same_name(shown, issuer):
    shown.told.acknowledge()
    shown.told.close()
    shown.told.close()
    first, last = issuer.acknowledged
    assert last == {**first, "leaving": True}


def test_who_was_never_heard_or_not_any_more_leaves_without_a_word(shown, issuer, clock):
    Shown(issuer, clock).told.close()
    shown.told.acknowledge()
    issuer.answers[ACKNOWLEDGEMENTS] = Answer(503)
    clock.advance(2_000)
    shown.told.acknowledge()
    shown.told.close()
    assert not [said for said in issuer.acknowledged if "leaving" in said]


def test_an_issuer_that_is_gone_keeps_nobody_from_closing(shown, issuer):
    shown.told.acknowledge()
    issuer.close()
    shown.told.close()


def test_a_failure_while_closing_is_no_news(shown, issuer, clock, caplog):
    issuer.answers[ACKNOWLEDGEMENTS] = Answer(503)
    shown.told.acknowledge()
    shown.told._background.stop()
    clock.advance(1_000)
    shown.told.acknowledge()
    assert caplog.text == ""


def test_every_process_has_a_name_of_its_own(shown, issuer, clock, monkeypatch):
    """One acknowledgement for four worker processes would hide three (TRAPS 23c)."""
    shown.told.acknowledge()
    parent = os.getpid()
    monkeypatch.setattr(acknowledgements.os, "getpid", lambda: parent + 1)
    assert not shown.told.was_tried
    shown.told.acknowledge()
    names = [said["verifier"] for said in issuer.acknowledged]
    assert len(names) == len(set(names)) == 2


def test_a_child_that_closes_what_it_inherited_does_not_say_goodbye_for_its_parent(shown, issuer, monkeypatch):
    shown.told.acknowledge()
    parent = os.getpid()
    with monkeypatch.context() as child:
        child.setattr(acknowledgements.os, "getpid", lambda: parent + 1)
        shown.told.close()
    assert len(issuer.acknowledged) == 1


def test_a_forked_process_acknowledges_by_itself():
    clock = MovableClock()
    issuer = Issuer(clock)
    program = [sys.executable, "-m", "tests.scopes.fork_and_acknowledge", issuer.url, AUDIENCE]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    issuer.close()
    processes = {request.authorization for request in issuer.requests if request.path == ACKNOWLEDGEMENTS}
    names = {said["verifier"] for said in issuer.acknowledged}
    assert len(processes) == len(names) == 3
