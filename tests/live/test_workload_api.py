"""A broker that reads its trust domain from the Workload API of its machine, while the domain's keys rotate."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from spiffe import WorkloadApiClient

from tests.broker.redis_server import RedisServer
from tests.broker.workload_api import WorkloadApi
from tests.broker.world import BOT, ISSUER, write_files
from tests.live.replica import Replica
from tests.scopes.clocks import eventually
from tests.scopes.tokens import new_key

ROTATIONS = 3
PREPARED = 3.0
"""The seconds for which a key is published before it signs, so that it is known by then; SPIRE takes hours."""

ACCEPTED = (200, "")


class Machine(NamedTuple):
    """A broker with two workers, and the agent of SPIFFE beside it."""

    api: WorkloadApi
    replica: Replica


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    server, api = RedisServer(tmp_path / "redis"), WorkloadApi("development.test", BOT, new_key())
    write_files(tmp_path)
    written = (tmp_path / "broker.toml").read_text().partition("bundle = ")[0]
    (tmp_path / "broker.toml").write_text(f'redis_url = "{server.url}"\n{written}workload_api = "{api.address}"\n')
    replica = Replica(tmp_path, workers=2)
    try:
        made = Machine(api, replica.wait_until_ready())
        # Of two workers the one that answered first may be ready alone.
        eventually(lambda: said(made, api.svid(ISSUER)) == {ACCEPTED})
        yield made
    finally:
        replica.end()
        api.close()
        server.end()


class Agent:
    """Asks for tokens without a pause, each time with an SVID that it fetches from the Workload API just then."""

    def __init__(self, machine: Machine) -> None:
        self.answers: list[tuple[int, str]] = []
        self._machine = machine
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def go_round(self) -> None:
        """Wait until what it presents was fetched after now."""
        asked = len(self.answers)
        eventually(lambda: len(self.answers) > asked + 1)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _ask(self) -> None:
        with WorkloadApiClient(self._machine.api.address, default_timeout=5) as client:
            while not self._stopping.is_set():
                svid = client.fetch_jwt_svid({ISSUER}).token
                self.answers.append(_told(self._machine.replica.token(svid)))


def test_rotation_of_the_domains_keys_is_followed_without_an_error_in_between(machine: Machine) -> None:
    """Issue 4, it shows 4: each key is prepared, signs, and is gone, while SVIDs are presented on end."""
    agent = Agent(machine)
    try:
        for _ in range(ROTATIONS):
            old, new = machine.api.signing, new_key()
            last = machine.api.svid(ISSUER)
            machine.api.publish(old, new)
            eventually(lambda new=new: said(machine, machine.api.svid(ISSUER, key=new)) == {ACCEPTED}, within=PREPARED)
            machine.api.signing = new
            agent.go_round()
            machine.api.publish(new)
            eventually(lambda last=last: {status for status, _ in said(machine, last)} == {401})
            agent.go_round()
    finally:
        agent.stop()
    assert {answer for answer in agent.answers if not _is_busy(answer)} == {ACCEPTED}
    assert agent.answers.count(ACCEPTED) > 10 * ROTATIONS


def test_a_key_that_was_taken_out_signs_for_nobody_within_seconds(machine: Machine) -> None:
    """Also what both workers had verified before."""
    stolen = machine.api.svid(ISSUER)
    assert said(machine, stolen) == {ACCEPTED}
    machine.api.publish(new_key())
    eventually(lambda: ACCEPTED not in said(machine, stolen), within=PREPARED)
    ((status, told),) = said(machine, stolen)
    assert status == 401
    assert "key that is not known" in told


def test_a_broker_goes_on_while_the_agent_of_its_machine_is_away(machine: Machine) -> None:
    svid = machine.api.svid(ISSUER)
    machine.api.leave()
    eventually(lambda: "problem" in httpx2.get(f"{machine.replica.url}/readyz").json(), within=PREPARED)
    assert said(machine, svid) == {ACCEPTED}
    machine.api.open()


def said(machine: Machine, svid: str) -> set[tuple[int, str]]:
    """Return what both workers answer to an SVID; whoever is busy for a moment is asked again."""
    asked = [_told(machine.replica.token(svid)) for _ in range(20)]
    return {answer for answer in asked if not _is_busy(answer)}


def _told(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json().get("error_description", "")


def _is_busy(answer: tuple[int, str]) -> bool:
    """Tell whether the machine was too slow for a moment, which says nothing about who asked; agents ask again."""
    status, told = answer
    return status == 503 and "bundle" not in told
