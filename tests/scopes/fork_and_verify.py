"""A service that forks, as a pre-forking server does: `python -m tests.scopes.fork_and_verify ISSUER AUDIENCE MODE`.

The child follows the feed on its own (`follow`), or closes at once what it inherited (`close`). Exits 0 when both processes
end as they should. Each names itself to the issuer, so that the test can see who asked.
"""

import os
import sys

from scopes import Verifier
from scopes.background import Background
from tests.scopes.clocks import eventually


def as_this_process() -> str:
    return f"process-{os.getpid()}"


def follow(verifier: Verifier) -> None:
    """Wait for a word of the issuer that came after the fork."""
    known = verifier.picture.as_of
    eventually(lambda: verifier.picture.as_of > known)


def main(issuer: str, audience: str, mode: str) -> None:
    never_started = Background("never started", lambda: 0.0)
    dropped = Background("dropped", lambda: 0.0)
    del dropped
    verifier = Verifier(issuer, audience, as_this_process)
    verifier.wait_until_ready()
    child = os.fork()
    if child and mode == "close":
        assert os.waitpid(child, 0)[1] == 0
    if child or mode == "follow":
        follow(verifier)
    verifier.close()
    never_started.join()
    if child and mode == "follow":
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
