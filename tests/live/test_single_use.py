"""One use of a token, from end to end: four broker workers on a real Redis, a service of four processes with many threads."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from broker import private_key_file
from broker.client import Operator
from broker.client.answers import AuditRecord
from scopes import AlreadyUsed, Grant, Revoked, Unconfirmed, VerificationError, Verifier, consumption, ulid
from scopes.clock import SystemClock
from tests.broker.counted import KB_WORKLOAD, ONCE, REGISTRY, THRICE, new_use
from tests.broker.world import BOT
from tests.live.conftest import Site, alone
from tests.live.replica import ROOT
from tests.scopes.clocks import eventually

PROCESSES = 4
UNTOLD = {"Unconfirmed", "Stale"}
"""What a service is told while nobody can tell: it honours nothing, and its caller may come again."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker of four workers, which counts the uses of some tokens."""
    with alone(tmp_path_factory.mktemp("single-use"), registry=REGISTRY, workers=4) as made:
        yield made


class Presenters:
    """The processes of a service, each of which says what came of what it was presented with."""

    def __init__(self, site: Site) -> None:
        command = [sys.executable, "-m", "tests.live.presenting_service", str(site.folder), site.issuer]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        piped: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._processes = [subprocess.Popen(command, cwd=ROOT, env=environment, **piped) for _ in range(PROCESSES)]
        for process in self._processes:
            assert process.stdout.readline() == "ready\n"

    def begin(self, token: str, count: int, *, tries: int = 1) -> None:
        """Have every process be presented with the token so often at once, and try so many times where nobody can tell."""
        for process in self._processes:
            process.stdin.write(json.dumps({"token": token, "count": count, "tries": tries}) + "\n")
            process.stdin.flush()

    def outcomes(self) -> Counter[str]:
        """Wait for what came of it."""
        return Counter(outcome for process in self._processes for outcome in json.loads(process.stdout.readline()))

    def present(self, token: str, count: int) -> Counter[str]:
        self.begin(token, count)
        return self.outcomes()

    def settle(self, token: str, count: int) -> Counter[str]:
        """The same until it is certain of each: whoever hears that nobody can tell comes back with the same use."""
        self.begin(token, count, tries=20)
        return self.outcomes()

    def end(self) -> None:
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            process.wait(30)
            process.stdout.close()


@pytest.fixture(scope="module")
def presenters(site: Site) -> Iterator[Presenters]:
    made = Presenters(site)
    yield made
    made.end()


@pytest.fixture
def verifier(site: Site) -> Iterator[Verifier]:
    made = site.verifier(site.replicas[0])
    yield made
    made.close()


def token(site: Site, scope: str = ONCE) -> str:
    """Ask until the broker issues: in a new epoch it waits, and what verifiers report it reads once a second."""
    answers: list[httpx2.Response] = []

    def is_issued() -> bool:
        answers.append(site.replicas[0].token(site.svid(), scope))
        return answers[-1].status_code == 200

    eventually(is_issued, within=20)
    return str(answers[-1].json()["access_token"])


def granted(verifier: Verifier, text: str, action: str = "read") -> Grant:
    """Verify, as soon as the verifier has heard of as much as the token was decided on."""
    grants: list[Grant] = []

    def is_granted() -> bool:
        try:
            grants.append(verifier.verify(text, action=action, resource="crm:ticket/4711"))
        except VerificationError:
            return False
        return True

    eventually(is_granted, within=20)
    return grants[0]


def ask(site: Site, text: str, workload: str) -> tuple[int, str]:
    """Have a use counted as whoever this workload is; return status and code."""
    headers = {"Authorization": f"Bearer {site.svid(workload)}"}
    url = f"{site.replicas[0].url}{consumption.PATH}"
    answer = httpx2.post(url, json={"token": text, "use": new_use()}, headers=headers, timeout=10)
    return answer.status_code, answer.json().get("code", "")


def test_of_a_hundred_presentations_at_once_of_one_single_use_token_exactly_one_is_honoured(
    site: Site, presenters: Presenters
) -> None:
    """D4, TRAPS 15. And TRAPS 15a: on a busy machine some hear that nobody can tell, and come back."""
    for _ in range(3):
        assert presenters.settle(token(site), 100 // PROCESSES) == {"honoured": 1, "AlreadyUsed": 99}


def test_a_token_that_may_be_used_three_times_is_by_whichever_process(site: Site, verifier: Verifier) -> None:
    grant = granted(verifier, token(site, THRICE), "peek")
    for _ in range(3):
        asyncio.run(verifier.consume(grant))
    with pytest.raises(AlreadyUsed):
        asyncio.run(verifier.consume(grant))


class Losing(httpx2.AsyncHTTPTransport):
    """The way to the broker, on which answers are lost after it has done what it was asked."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if not self.left:
            return response
        self.left -= 1
        await response.aread()
        raise httpx2.ReadError("the connection broke")


def test_a_service_whose_answer_was_lost_gets_its_use_by_asking_again(
    site: Site, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRAPS 15a: else the payment neither runs nor can run. First within one call, then over two of them."""
    for lost in (2, 1_000):
        grant, use = granted(verifier, token(site)), new_use()
        with monkeypatch.context() as losing:
            transport = Losing(lost)
            losing.setattr(verifier._consumption, "_client", lambda way=transport: httpx2.AsyncClient(transport=way))
            losing.setattr(consumption, "PATIENCE", 1_500)
            if lost == 2:
                asyncio.run(verifier.consume(grant, use))
            else:
                with pytest.raises(Unconfirmed):
                    asyncio.run(verifier.consume(grant, use))
        asyncio.run(verifier.consume(grant, use))
        with pytest.raises(AlreadyUsed):
            asyncio.run(verifier.consume(grant))


def test_a_stranger_cannot_burn_a_token(site: Site, verifier: Verifier) -> None:
    """TRAPS 15a: neither who holds it, nor another service that saw it, nor somebody who is nobody."""
    text = token(site)
    refusals = [ask(site, text, workload) for workload in (BOT, KB_WORKLOAD, "spiffe://development.test/agent/nobody")]
    assert refusals == [(403, "access_denied"), (404, "not_found"), (403, "access_denied")]
    asyncio.run(verifier.consume(granted(verifier, text)))


def test_a_revoked_token_is_not_used_any_more(site: Site, verifier: Verifier) -> None:
    grant = granted(verifier, token(site))
    assert site.replicas[0].revoke(site.operator(), lease=grant.lease).status_code == 202
    # Whichever of the two hears of it first refuses.
    with pytest.raises(Revoked):
        eventually(lambda: bool(asyncio.run(verifier.consume(grant, ulid.derived(b"one use")))), within=10)


def test_a_store_that_is_killed_in_between_confirms_nothing_and_never_twice(site: Site, presenters: Presenters) -> None:
    """TRAPS 20: no fall-back to memory, no *allow*; and from a snapshot of before the use nothing comes back."""
    text = token(site)
    site.server.take_snapshot()
    first = presenters.settle(text, 2)
    assert first == {"honoured": 1, "AlreadyUsed": 2 * PROCESSES - 1}
    presenters.begin(text, 10)
    site.server.kill()
    during = presenters.outcomes()
    assert set(during) <= {"AlreadyUsed", *UNTOLD}
    down = presenters.present(text, 2)
    assert set(down) <= UNTOLD
    site.server.start()
    after: Counter[str] = Counter()
    began = SystemClock().now()
    while after["Revoked"] < 4 * PROCESSES:
        after += presenters.present(text, 2)
        assert SystemClock().now().since(began) < 60_000
    print(dict(first), dict(during), dict(down), dict(after))
    assert set(after) <= {"Revoked", *UNTOLD}
    assert presenters.settle(text, 2) == {"Revoked": 2 * PROCESSES}
    assert presenters.settle(token(site), 5) == {"honoured": 1, "AlreadyUsed": 5 * PROCESSES - 1}


def test_a_use_is_recorded_once_however_often_it_is_asked_for(site: Site, verifier: Verifier) -> None:
    """J1."""
    grant, use = granted(verifier, token(site)), new_use()
    for _ in range(2):
        asyncio.run(verifier.consume(grant, use))
    used: list[AuditRecord] = []
    with Operator(site.issuer, "admin", private_key_file.read(site.folder / "admin.jwk")) as operator:
        page = operator.audit()
        while page.events:
            used += [record for record in page.events if record.kind == "token.used" and record.use == use]
            page = operator.audit(page.cursor or "")
    assert [(record.lease, record.agent) for record in used] == [(grant.lease, "support-bot")]
