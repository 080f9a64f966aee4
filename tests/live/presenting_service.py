"""A process of a service that honours tokens: `python -m tests.live.presenting_service FOLDER ISSUER`.

It says on standard output when it is ready. Each line on its standard input is `{"token", "count"}`: it is presented with the
token so often at once, each time in a thread of its own, and answers with a list of what came of it.
"""

import asyncio
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broker.identity import development
from scopes import VerificationError, Verifier
from scopes.clock import SystemClock
from tests.broker.world import CRM, CRM_WORKLOAD


def presented(verifier: Verifier, token: str, gate: threading.Barrier) -> str:
    """Do what a service does with a request: verify, consume, and only then act."""
    gate.wait(60)
    try:
        grant = verifier.verify(token, action="read", resource="crm:ticket/4711", fields=["subject"])
        asyncio.run(verifier.consume(grant))
    except VerificationError as error:
        return type(error).__name__
    return "honoured"


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
                outcomes = threads.map(lambda _: presented(verifier, asked["token"], gate), range(count))  # noqa: B023
                print(json.dumps(list(outcomes)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
