"""From the start of a revoke call to the refusal at each of many verifiers. Run: python -m tests.benchmarks.propagation --help.

Broker, Redis and verifiers are real processes on loopback, the verifiers several in each: every one has its own connection and
its own thread, as in a service. While a token is watched, each process looks at each verifier every two milliseconds, and
verifies the token when the event is in its picture.
"""

import argparse
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import httpx2
import msgspec

from broker import private_key_file
from broker.api.token import CLIENT_CREDENTIALS, JWT_SPIFFE
from broker.identity import development
from scopes import Revoked, VerificationError, Verifier, jose, ulid
from scopes.clock import SystemClock
from tests.benchmarks.figures import machine, quantile
from tests.broker.redis_server import RedisServer, free_port
from tests.broker.world import BOT, CRM, CRM_WORKLOAD, ISSUER, write_files
from tests.live.replica import Replica

_EVERY = 0.002
_LONGEST = 60.0
_SCOPE = "crm:ticket/{}#read[subject]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verifiers", type=int, default=100, help="how many verifiers are connected")
    parser.add_argument("--processes", type=int, default=4, help="in how many processes")
    parser.add_argument("--pause", type=float, default=1.0, help="about how many seconds lie between two revocations")
    parser.add_argument("--revocations", type=int, default=60, help="how many tokens are revoked, one after the other")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisServer(folder / "redis")
        try:
            measure(folder, server, asked)
        finally:
            server.end()
    print(machine())


def measure(folder: Path, server: RedisServer, asked: argparse.Namespace) -> None:
    write_files(folder)
    replica = configured(folder, server)
    try:
        replica.wait_until_ready()
        context, each = multiprocessing.get_context("spawn"), asked.verifiers // asked.processes
        pipes = []
        for _ in range(asked.processes):
            ours, theirs = context.Pipe()
            context.Process(target=watch, args=(theirs, str(folder), replica.url, each), daemon=True).start()
            # One process after the other: how a storm of newcomers is borne is another question.
            assert ours.recv() == "ready"
            pipes.append(ours)
        print(f"{each * asked.processes} verifiers in {asked.processes} processes are connected")
        with httpx2.Client(base_url=replica.url, timeout=10) as client:
            show([one_revocation(folder, client, pipes, number, asked.pause) for number in range(asked.revocations)])
        for pipe in pipes:
            pipe.send(None)
    finally:
        replica.end()


def configured(folder: Path, server: RedisServer) -> Replica:
    """Start a broker that is its own address."""
    port, path = free_port(), folder / "broker.toml"
    path.write_text(f'redis_url = "{server.url}"\n{path.read_text().replace(ISSUER, f"http://127.0.0.1:{port}")}')
    return Replica(folder, port=port)


def one_revocation(folder: Path, client: httpx2.Client, pipes: list[Connection], number: int, pause: float) -> list[float]:
    """Revoke one token; return the milliseconds until each verifier refused it, and those of the call itself."""
    issuer = str(client.base_url).rstrip("/")
    issued = token(client, svid(folder, issuer), _SCOPE.format(number))
    # The acknowledgements of the last revocation are over by then: each is measured by itself.
    time.sleep(random.uniform(pause / 2, pause * 3 / 2))
    claims = msgspec.json.decode(jose.read(issued["access_token"], types=frozenset({"at+jwt"})).unverified_payload)
    for pipe in pipes:
        pipe.send((issued["access_token"], f"crm:ticket/{number}", claims["jti"]))
    for pipe in pipes:
        assert pipe.recv() == "accepted"
    body = {"selector": {"lease": claims["jti"]}, "reason": "a benchmark"}
    headers = {"Authorization": f"Bearer {operator(folder, issuer)}"}
    start = time.monotonic()
    answer = client.post("/v1/revocations", json=body, headers=headers)
    called = (time.monotonic() - start) * 1e3
    assert answer.is_success, answer.text
    refused = [moment for pipe in pipes for moment in pipe.recv()]
    return [called, *((moment - start) * 1e3 for moment in refused)]


def token(client: httpx2.Client, assertion: str, scope: str) -> dict[str, str]:
    form = {
        "grant_type": CLIENT_CREDENTIALS,
        "client_assertion_type": JWT_SPIFFE,
        "client_assertion": assertion,
        "scope": scope,
    }
    issued: dict[str, str] = client.post("/oauth/token", data=form).raise_for_status().json()
    return issued


def watch(pipe: Connection, folder: str, issuer: str, count: int) -> None:
    """Be verifiers of one service: say when each accepts a token, and then at which moment it refuses it."""
    verifiers = [Verifier(issuer, CRM, lambda: svid(Path(folder), issuer, CRM_WORKLOAD)) for _ in range(count)]
    for verifier in verifiers:
        verifier.wait_until_ready(timeout=_LONGEST)
    pipe.send("ready")
    while (told := pipe.recv()) is not None:
        watched = Watched(*told)
        moments(verifiers, watched.is_accepted)
        pipe.send("accepted")
        pipe.send(moments(verifiers, watched.is_refused))


def moments(verifiers: list[Verifier], has_come: Callable[[Verifier], bool]) -> list[float]:
    """Try until it has come for every verifier; return when it did for each."""
    pause, waiting, found = threading.Event(), list(verifiers), []
    end = time.monotonic() + _LONGEST
    while waiting:
        assert time.monotonic() < end, "a verifier did not hear of it"
        for verifier in list(waiting):
            if has_come(verifier):
                found.append(time.monotonic())
                waiting.remove(verifier)
        pause.wait(_EVERY)
    return found


class Watched(NamedTuple):
    """A token that is revoked while verifiers are looked at."""

    token: str
    resource: str
    lease: str

    def is_accepted(self, verifier: Verifier) -> bool:
        try:
            verifier.verify(self.token, action="read", resource=self.resource, fields=["subject"])
        except VerificationError:
            return False
        return True

    def is_refused(self, verifier: Verifier) -> bool:
        # Its picture is looked at first: to verify every token all the time would take most of the machine that is measured.
        if not verifier.picture.has(f"lease {self.lease}"):
            return False
        try:
            verifier.verify(self.token, action="read", resource=self.resource, fields=["subject"])
        except Revoked:
            return True
        raise AssertionError("the event is there, and the token is accepted")


def show(rounds: list[list[float]]) -> None:
    called = [each[0] for each in rounds]
    refused = [moment for each in rounds for moment in each[1:]]
    last = [max(each[1:]) for each in rounds]
    print(f"{len(rounds)} revocations of one lease each, {len(refused):,} refusals; milliseconds from the start of the call")
    for name, values in (("the call's answer", called), ("each refusal", refused), ("the last refusal", last)):
        p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
        print(f"  {name:18} p50 {p50:6.1f}   p99 {p99:6.1f}   worst {max(values):6.1f}   (mean {statistics.mean(values):.1f})")


def svid(folder: Path, issuer: str, workload: str = BOT) -> str:
    return development.sign_svid(folder / "keys" / "development", workload, audience=issuer, clock=SystemClock())


def operator(folder: Path, issuer: str) -> str:
    now = SystemClock().now().wall
    claims = {"iss": "admin", "sub": "admin", "aud": issuer, "iat": now // 1000, "exp": now // 1000 + 60, "jti": ulid.new(now)}
    return jose.write(msgspec.json.encode(claims), type="JWT", key=private_key_file.read(folder / "admin.jwk"))


if __name__ == "__main__":
    main()
