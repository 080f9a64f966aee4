"""Four processes of one service, forked as servers do: each speaks for itself, and what is said of each is what it does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from broker import private_key_file
from broker.client import Operator
from scopes.clock import SystemClock
from tests.broker.cli.typed import Ran, run
from tests.broker.world import REGISTRY
from tests.live.conftest import Site, alone
from tests.live.replica import ROOT
from tests.scopes.clocks import eventually

BOUND = 3_000
"""The longest staleness bound of the service here, in milliseconds."""

SKEW = 1_000
SHORT = REGISTRY.replace('"read",    max_ttl', '"read", max_staleness = 3, max_ttl').replace(
    '"draft",   max_ttl', '"draft", max_staleness = 3, max_ttl'
)


class Service(NamedTuple):
    """The service's processes by the name under which each acknowledges."""

    site: Site
    parent: subprocess.Popen[str]
    processes: dict[str, int]

    @property
    def operator(self) -> Operator:
        return Operator(self.site.issuer, "admin", private_key_file.read(self.site.folder / "admin.jwk"))

    def known(self) -> set[str]:
        with self.operator as operator:
            return {verifier.process for verifier in operator.verifiers().verifiers}

    def states(self, revocation: str) -> dict[str | None, str]:
        with self.operator as operator:
            return {verifier.process: verifier.state for verifier in operator.revocation(revocation).verifiers}

    def revoke(self, wait: float) -> Ran:
        who = ("--broker", self.site.issuer, "--operator-key", str(self.site.folder / "admin.jwk"))
        return run("revoke", "--service", "crm", "--reason", "a test", "--wait", str(wait), "--json", *who)

    def token(self) -> None:
        """Give every process a token to verify from now on, and wait until all of them grant it."""
        answer = self.site.replicas[0].token(self.site.svid())
        assert answer.status_code == 200, answer.text
        aside = self.site.folder / "token.new"
        aside.write_text(answer.json()["access_token"])
        aside.replace(self.site.folder / "token")
        now = SystemClock().now().wall
        eventually(lambda: all("granted" in self.told(name, now) for name in self.processes))

    def told(self, name: str, since: int) -> list[str]:
        """Return what a process was told whenever it looked since then."""
        lines = [line.split() for line in (self.site.folder / f"{name}.log").read_text().splitlines()]
        return [line[1] for line in lines if len(line) == 2 and int(line[0]) >= since]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with alone(tmp_path_factory.mktemp("acknowledging"), registry=SHORT, workers=2) as made:
        yield made


@pytest.fixture
def service(site: Site) -> Iterator[Service]:
    command = [sys.executable, "-m", "tests.live.forked_service", str(site.folder), site.issuer, "4"]
    parent = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        started: list[dict[str, Any]] = [json.loads(parent.stdout.readline()) for _ in range(4)]
        yield Service(site, parent, {one["name"]: one["pid"] for one in started})
    finally:
        # The parent last: it waits for its children.
        for pid in (*children_of(parent.pid), parent.pid):
            for number in (signal.SIGCONT, signal.SIGTERM):
                if is_there(pid):
                    os.kill(pid, number)
        parent.wait(20)
        parent.stdout.close()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def a_child(service: Service) -> str:
    return next(name for name, pid in service.processes.items() if pid != service.parent.pid)


def test_a_process_that_is_stopped_is_open_then_fenced_and_refuses_when_it_goes_on(service: Service) -> None:
    """G6, I1, TRAPS 23c. What is said of a process is compared with what it does."""
    assert service.known() == set(service.processes)
    assert len(service.processes) == 4
    service.token()
    stopped = a_child(service)
    os.kill(service.processes[stopped], signal.SIGSTOP)
    done = service.revoke(wait=1)
    assert done.code == 4, done.err
    by_name = {one["process"]: one for one in done.document["verifiers"]}
    assert {name: one["state"] for name, one in by_name.items()} == {
        name: "open" if name == stopped else "enforced" for name in service.processes
    }
    delays = sorted(one["delay_ms"] for name, one in by_name.items() if name != stopped)
    print(f"enforced after {delays} ms")
    assert all(delay is not None for delay in delays)

    id, fenced_at = done.document["id"], by_name[stopped]["fenced_at"]
    with service.operator as operator:
        assert fenced_at - operator.revocation(id).committed == BOUND + SKEW
    eventually(lambda: service.states(id)[stopped] == "fenced")
    assert SystemClock().now().wall >= fenced_at

    continued = SystemClock().now().wall
    os.kill(service.processes[stopped], signal.SIGCONT)
    eventually(lambda: service.states(id)[stopped] == "enforced")
    eventually(lambda: "Revoked" in service.told(stopped, continued))
    assert "granted" not in service.told(stopped, continued)


def test_what_was_acknowledged_is_refused_from_then_on(service: Service) -> None:
    """I1: no token is accepted after that process acknowledged its revocation."""
    service.token()
    done = service.revoke(wait=20)
    confirmed = SystemClock().now().wall
    assert done.code == 0, done.err
    assert {one["state"] for one in done.document["verifiers"]} == {"enforced"}
    for name in service.processes:
        eventually(lambda name=name: len(service.told(name, confirmed)) > 5)
        assert set(service.told(name, confirmed)) == {"Revoked"}


def test_a_process_that_ends_says_goodbye_and_one_that_is_killed_is_fenced(service: Service) -> None:
    ends, killed = [name for name, pid in service.processes.items() if pid != service.parent.pid][:2]
    os.kill(service.processes[killed], signal.SIGKILL)
    os.kill(service.processes[ends], signal.SIGTERM)
    eventually(lambda: service.known() == set(service.processes) - {ends})
    done = service.revoke(wait=20)
    assert done.code == 0, done.err
    states = {one["process"]: one["state"] for one in done.document["verifiers"]}
    assert states[killed] == "fenced"
    assert [state for name, state in states.items() if name != killed] == ["enforced", "enforced"]
