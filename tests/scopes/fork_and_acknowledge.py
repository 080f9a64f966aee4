"""A service with three processes: `python -m tests.scopes.fork_and_acknowledge ISSUER AUDIENCE`.

Each names itself to the issuer, waits until it has acknowledged, and closes. Exits 0 when all of them do.
"""

import os
import sys

from scopes import Verifier, acknowledgements
from tests.scopes.clocks import START, MovableClock, eventually


def main(issuer: str, audience: str) -> None:
    # This clock stands still, so that it would be waited for in vain.
    acknowledgements.SPREAD = 0.0
    verifier = Verifier(issuer, audience, lambda: f"process-{os.getpid()}", clock=MovableClock(START))
    eventually(lambda: has_acknowledged(verifier))
    children = [child for child in (os.fork(),) if child]
    if children:
        children.append(os.fork())
    eventually(lambda: has_acknowledged(verifier))
    verifier.close()
    if all(children) and children:
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


def has_acknowledged(verifier: Verifier) -> bool:
    """Tell whether this process, and not the one it was forked from, was heard."""
    process = verifier._acknowledgements._process
    return process is not None and process.pid == os.getpid() and process.last is not None


if __name__ == "__main__":
    main(*sys.argv[1:])
