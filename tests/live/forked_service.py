"""A service of several processes that go on verifying one token: `python -m tests.live.forked_service FOLDER ISSUER COUNT`.

The token is what the file `token` of the folder holds. Once it has acknowledged, each process says on standard output who it
is. It writes to `<its name>.log` when it looked and what it was told, until it is terminated.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from broker.identity import development
from scopes import VerificationError, Verifier
from scopes.clock import SystemClock
from tests.broker.world import CRM, CRM_WORKLOAD
from tests.scopes.clocks import eventually

PAUSE = 0.02


def outcome(verifier: Verifier, token: str) -> str:
    try:
        verifier.verify(token, action="read", resource="crm:ticket/4711", fields=["subject"])
    except VerificationError as error:
        return type(error).__name__
    return "granted"


def name_of(verifier: Verifier) -> str:
    """Return the name under which this process has acknowledged, and no other; empty before."""
    process = verifier._acknowledgements._process
    return process.id if process is not None and process.pid == os.getpid() and process.last is not None else ""


def serve(verifier: Verifier, folder: Path, stop: threading.Event) -> None:
    clock = SystemClock()
    eventually(lambda: bool(name_of(verifier)))
    # In one write, which a pipe keeps whole: the processes share it.
    os.write(sys.stdout.fileno(), json.dumps({"pid": os.getpid(), "name": name_of(verifier)}).encode() + b"\n")
    with (folder / f"{name_of(verifier)}.log").open("w", buffering=1) as log:
        while not stop.wait(PAUSE):
            if (folder / "token").exists():
                looked = clock.now().wall
                log.write(f"{looked} {outcome(verifier, (folder / 'token').read_text())}\n")


def main(folder: Path, issuer: str, count: int) -> None:
    keys = folder / "keys" / "development"

    def identity() -> str:
        return development.sign_svid(keys, CRM_WORKLOAD, audience=issuer, clock=SystemClock())

    verifier = Verifier(issuer, CRM, identity)
    verifier.wait_until_ready(30)
    children = []
    for _ in range(count - 1):
        child = os.fork()
        if child == 0:
            children = []
            break
        children.append(child)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    serve(verifier, folder, stop)
    verifier.close()
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
