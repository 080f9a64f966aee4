"""The threads of a verifier: that they end, and that a forked process has its own."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scopes import Grant, Stale, Verifier
from scopes.clock import SystemClock
from tests.scopes.asking import read
from tests.scopes.clocks import eventually
from tests.scopes.issuer import STREAM, Issuer
from tests.scopes.tokens import AUDIENCE

ROOT = Path(__file__).parents[2]


def test_closing_is_quick_also_while_the_feed_waits_and_then_all_is_stale_at_once(verifier, make_token):
    """The issuer is told that this process verifies nothing any more, so that has to be true."""
    token = make_token()
    assert read(verifier, token)
    verifier.close()
    names = {"revocation-feed", "issuer-keys", "acknowledgements"}
    assert not [thread for thread in threading.enumerate() if thread.name in names]
    with pytest.raises(Stale):
        read(verifier, token)


def test_verifying_works_inside_an_event_loop(verifier, make_token):
    async def serve() -> Grant:
        return read(verifier, make_token())

    assert asyncio.run(serve()).agent == "support-bot"


class Beating:
    """Beats with the system's time, until it is told to stop."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(0.02):
            self._issuer.beat()


@pytest.fixture
def system_issuer() -> Iterator[Issuer]:
    issuer = Issuer(SystemClock())
    yield issuer
    issuer.close()


@pytest.mark.parametrize("mode", ["follow", "close"])
def test_a_forked_process_follows_by_itself_and_leaves_its_parents_stream_alone(system_issuer, mode):
    """A feed thread that does not exist after a fork (TRAPS 23c)."""
    with Beating(system_issuer):
        command = [sys.executable, "-m", "tests.scopes.fork_and_verify", system_issuer.url, AUDIENCE, mode]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    streams = [request.authorization for request in system_issuer.requests if request.path == STREAM]
    assert streams.count(streams[0]) == 1, "the parent followed one stream all the time"
    assert len(set(streams)) == 2 or mode == "close"


def test_an_identity_read_from_a_file_may_end_in_a_newline(issuer, clock):
    with Verifier(issuer.url, AUDIENCE, identity=lambda: "assertion\n", clock=clock) as verifier:
        eventually(lambda: verifier.is_ready)
    assert {request.authorization for request in issuer.requests if request.path == STREAM} == {"Bearer assertion"}
