"""A process of a service that honours tokens: `python -m tests.live.presenting_service FOLDER ISSUER`.

It says on standard output when it is ready. Each line on its standard input is `{"token", "count", "tries"}`: it is presented
with the token so often at once, each time in a thread of its own, and answers with a list of what came of it. Where nobody can
tell, it comes back under the id of the same use, up to so many times.
"""

import asyncio
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broker.identity import development
from scopes import Stale, Unconfirmed, VerificationError, Verifier
from scopes.clock import SystemClock
from tests.broker.counted import new_use
from tests.broker.world import CRM, CRM_WORKLOAD

UNTOLD = (Unconfirmed, Stale)
"""What a service is told while nobody can tell: it honours nothing, and may come back with the same use."""


def presented(verifier: Verifier, token: str, gate: threading.Barrier, *, tries: int) -> str:
    """Do what a service does with a request: verify, consume, and only then act; return what came of it."""
    gate.wait(60)
    use, told = new_use(), ""
    for _ in range(tries):
        try:
            grant = verifier.verify(token, action="read", resource="crm:ticket/4711", fields=["subject"])
            asyncio.run(verifier.consume(grant, use))
        except UNTOLD as error:
            told = type(error).__name__
            threading.Event().wait(0.1)
        except VerificationError as error:
            return type(error).__name__
        else:
            return "honoured"
    return told


def main(folder: Path, issuer: str) -> None:
    def identity() -> str:
        return development.sign_svid(folder / "keys" / "development", CRM_WORKLOAD, audience=issuer, clock=SystemClock())

    with Verifier(issuer, CRM, identity) as verifier:
        verifier.wait_until_ready(30)
        print("ready", flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            count, gate = asked["count"], threading.Barrier(asked["count"])
            with ThreadPoolExecutor(count) as threads:
                asking = [threads.submit(presented, verifier, asked["token"], gate, tries=asked["tries"]) for _ in range(count)]
                print(json.dumps([one.result() for one in asking]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
